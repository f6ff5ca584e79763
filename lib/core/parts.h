/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The host's own work (host.h, struct vbmq_part): where it should be once cores are dedicated, and the steps to it. */

#include <stddef.h>

#include "core/plan.h"
#include "core/placement.h"
#include "core/report.h"
#include "core/snapshot.h"

/* Fills placement->parts from placement->dedicated, and adds diagnostics of the host. 0 or -ENOMEM. */
int vbmq_parts_place(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		     struct vbmq_placement *placement);

/*
 * Puts the steps of the host around those of the domains: units leave dedicated cores before anybody comes there, and get
 * back what is not dedicated any more after everybody has left. irqbalance comes last: it acts at its next scan only.
 * The array may move; on -ENOMEM it is as before.
 */
int vbmq_parts_add_steps(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
			 struct vbmq_step **steps, size_t *n);

/* Adds a check for every part that is ours. 0 or -ENOMEM. */
int vbmq_parts_verify(const struct vbmq_snapshot *after, const struct vbmq_placement *placement,
		      struct vbmq_report *report);
