/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One cycle from "everything is read" to "verified and reported". Main thread only. */

#include "daemon/manager.h"

/* request NULL: the daemon's own. Takes the request. */
void vbmqd_cycle_begin(struct vbmqd_manager *m, struct vbmqd_request *request);
/* The reads are in. */
void vbmqd_cycle_plan(struct vbmqd_manager *m);
/* The reads after the apply are in. */
void vbmqd_cycle_verify(struct vbmqd_manager *m);
/* Ends the cycle without a result; a request is answered with the error. */
void vbmqd_cycle_fail(struct vbmqd_manager *m, int code, const char *text);
/* The same without going on to whatever is next: the daemon stops. */
void vbmqd_cycle_drop(struct vbmqd_manager *m, int code, const char *text);
