/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "apply/track.h"
#include "core/report.h"
#include "core/undo.h"

/*
 * After an apply: brings the record's entries of the steps up to date with what was seen. What was set last becomes
 * "applied"; a thread whose place could not be read stays unsettled; entries of threads that we did not come to add, or
 * that we deleted, go. Needs no memory.
 */
void vbmq_settle(struct vbmq_undo *undo, struct vbmq_track *track, const struct vbmq_step *steps,
		 const struct vbmq_step_result *results, size_t n_steps);

/* After a restore of uuid (NULL: all): drops every entry whose thing is as found again, and settles the others. */
void vbmq_settle_restored(struct vbmq_undo *undo, struct vbmq_track *track, const char *uuid,
			  const struct vbmq_step *steps, const struct vbmq_step_result *results, size_t n_steps);
