/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/manager.h"

/* Looks for what somebody else changed after we had set it, and says it once: in the journal, and to the listener. */
void vbmqd_drift_watch(struct vbmqd_manager *m, const struct vbmq_snapshot *s);
