/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The plan to apply instead of the everyday one, for a call that asks for it. */

#include "daemon/api.h"
#include "daemon/manager.h"

/* Needs snapshot and everyday plan of the cycle; puts its own plan in the place of the latter. -ESTALE: the call names another one. */
int vbmqd_rebalance(struct vbmqd_manager *m, const struct vbmqd_request *q, struct vbmq_err *err);
