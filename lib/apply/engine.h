/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Carries out a plan: precheck, undo record to disk, step, read back, next. A failed step takes back that domain's
 * earlier steps (as far as that makes no overlap with what others have got meanwhile) and skips its later ones, and the
 * steps of other domains that need room it did not give; everybody else goes on. A step of the host that fails keeps nobody
 * from anything. Blocking; single-threaded; no I/O of its
 * own. Theory of operation: top of engine.c.
 */

#include <stdbool.h>

#include "apply/actuator.h"
#include "core/report.h"
#include "core/undo.h"

struct vbmq_apply {
	const struct vbmq_actuator *actuator;
	const struct vbmq_part_actuator *parts; /* NULL: steps of the host itself are skipped */
	bool dry_run; /* nothing is executed or saved; outcomes are DRY_RUN */
	/* Persists the undo record; called before the first touch and whenever it grew. A failure stops the apply before
	 * anything was touched. NULL only in dry runs and tests. */
	int (*save_undo)(void *data, const struct vbmq_undo *undo, struct vbmq_err *err);
	/* After every step, for progress and the journal; may be NULL. */
	void (*progress)(void *data, size_t step, const struct vbmq_step_result *result);
	/* True: stop before the next step (the rest is SKIPPED, nothing is undone); may be NULL. */
	bool (*cancelled)(void *data);
	void *data;
};

/*
 * 0: every step done. 1: something failed, was skipped or undone (see *ret_report, which is set in both cases).
 * Negative: nothing was touched (undo record not saved, no memory); then *ret_report is untouched.
 * undo is updated in memory and through save_undo.
 */
int vbmq_apply_plan(const struct vbmq_apply *a, const struct vbmq_snapshot *snapshot, const struct vbmq_plan *plan,
		    struct vbmq_undo *undo, struct vbmq_report **ret_report, struct vbmq_err *err);

/* Plays the undo record back (uuid NULL: all domains) and drops what was put back from it. The same results; *ret_steps
 * (owned by the caller, vbmq_steps_free) are the steps the report speaks of. */
int vbmq_apply_restore(const struct vbmq_apply *a, const struct vbmq_snapshot *snapshot, const char *uuid,
		       struct vbmq_undo *undo, struct vbmq_step **ret_steps, size_t *ret_n_steps,
		       struct vbmq_report **ret_report, struct vbmq_err *err);
