/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/placement.h"
#include "core/snapshot.h"

/*
 * Snapshot + policy -> placement. Pure: same bytes in, same bytes out. Always succeeds but for -ENOMEM and a snapshot on
 * which nothing can be planned (-EINVAL: no usable CPU); shortage and contradiction become diagnostics. The theory of
 * operation is at the top of planner.c. The snapshot must be finished (vbmq_snapshot_finish).
 */
int vbmq_planner_run(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		     struct vbmq_placement **ret, struct vbmq_err *err);
