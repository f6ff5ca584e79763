/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A snapshot (core/snapshot.h) made of what the manager knows: copies of the domains as last read, the host lent. */

#include "daemon/manager.h"
#include "util/cleanup.h"

/* hold: domains in back-off count as not answering. policy: with the policy in force, as a document wants it. -EBUSY: the host
 * has not been read yet. */
int vbmqd_snapshot(struct vbmqd_manager *m, bool hold, bool policy, struct vbmq_snapshot **ret, struct vbmq_err *err);
/* Not vbmq_snapshot_free(): the host is the manager's. */
struct vbmq_snapshot *vbmqd_snapshot_free(struct vbmq_snapshot *s);
VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmqd_snapshot_free);

/* Whether d alone makes a sound snapshot: one inconsistent read must not stop the planning of all others. */
int vbmqd_snapshot_check_domain(struct vbmqd_manager *m, struct vbmq_domain *d, struct vbmq_err *err);
