/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What must hold for every plan (planner.h, diff.h). Each returns NULL if it does, or a text that says what does not
 * (static or in a static buffer; single-threaded). For property tests and the fuzzer of the planner.
 */

#include "core/plan.h"

const char *props_placement(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			    const struct vbmq_placement *p);

/* Plays the steps on s, looking for overlaps after each; s is afterwards as the placement wants it. */
const char *props_steps(struct vbmq_snapshot *s, const struct vbmq_placement *p, const struct vbmq_step *steps,
			size_t n);

/* s is as p wants it: no step from there, and planning again gives none either. */
const char *props_at_rest(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			  const struct vbmq_placement *p);
