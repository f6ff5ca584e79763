/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* When a cycle runs and what it reads. Theory of operation: top of reconcile.c. Main thread only. */

#include <systemd/sd-event.h>

#include "daemon/manager.h"

/* A survey and a cycle are wanted. */
void vbmqd_reconcile_survey(struct vbmqd_manager *m);
void vbmqd_reconcile_event(struct vbmqd_manager *m, const struct vbmqd_virt_event *e);
/* An abandoned call came back. */
void vbmqd_reconcile_returned(struct vbmqd_manager *m, const char *key);
void vbmqd_reconcile_disconnected(struct vbmqd_manager *m);
/* Takes the request. */
void vbmqd_reconcile_request(struct vbmqd_manager *m, struct vbmqd_request *request);
/* Starts what is due, if nothing runs. */
void vbmqd_reconcile_kick(struct vbmqd_manager *m);
/* A cycle is over. */
void vbmqd_reconcile_rest(struct vbmqd_manager *m);
/* Reads every dirty domain, then goes on to plan (phase READ) or to verify (phase CHECK). */
void vbmqd_reconcile_read(struct vbmqd_manager *m, enum vbmqd_phase phase);
/* Frees the cycle and answers all requests with -ECANCELED. */
void vbmqd_reconcile_done(struct vbmqd_manager *m);

int vbmqd_reconcile_on_start_timer(sd_event_source *s, uint64_t usec, void *data);
int vbmqd_reconcile_on_patience_timer(sd_event_source *s, uint64_t usec, void *data);
int vbmqd_reconcile_on_retry_timer(sd_event_source *s, uint64_t usec, void *data);
