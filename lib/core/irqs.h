/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Interrupts of the disks below the guests' (irq.h): where they should come once I/O threads have cores of their own. */

#include <stddef.h>

#include "core/placement.h"
#include "core/plan.h"
#include "core/report.h"
#include "core/snapshot.h"

/* Fills placement->irqs, and adds diagnostics of the host. 0 or -ENOMEM. */
int vbmq_irqs_place(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		    struct vbmq_placement *placement);

/* Adds the steps to it at the end. The array may move; on -ENOMEM it is as before. */
int vbmq_irqs_add_steps(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
			struct vbmq_step **steps, size_t *n);

/* Adds a check for every interrupt that is ours. 0 or -ENOMEM. */
int vbmq_irqs_verify(const struct vbmq_snapshot *after, const struct vbmq_placement *placement,
		     struct vbmq_report *report);
