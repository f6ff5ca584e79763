/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Plays steps on a snapshot the way a well-behaved host would. */

#include "core/plan.h"

/* An added thread starts where the emulator is; pins make the thread held. Aborts on a step that names nothing. */
void sim_step(struct vbmq_snapshot *s, const struct vbmq_step *step);
struct vbmq_snapshot *sim_copy(const struct vbmq_snapshot *s); /* without its policy */

/* Everything of a placement or plan as text, for comparing; caller frees. */
char *sim_dump(const struct vbmq_placement *p);
char *sim_dump_snapshot(const struct vbmq_snapshot *s); /* what bears on steps */
char *sim_dump_steps(const struct vbmq_step *steps, size_t n);
