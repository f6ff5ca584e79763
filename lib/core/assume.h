/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/plan.h"

/*
 * What will be: a copy of the snapshot as it is after the steps, if every one of them does what it says. The host is lent
 * by the snapshot, which must live longer; the copy has no policy. Steps on a thing that the snapshot does not have are
 * passed over. Free with vbmq_assumed_free(), never with vbmq_snapshot_free().
 */
int vbmq_assume(const struct vbmq_snapshot *snapshot, const struct vbmq_step *steps, size_t n_steps,
		struct vbmq_snapshot **ret, struct vbmq_err *err);
struct vbmq_snapshot *vbmq_assumed_free(struct vbmq_snapshot *s);
