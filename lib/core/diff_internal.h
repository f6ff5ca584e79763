/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The walk from the snapshot to the placement, private to diff*.c. The theory of operation is at the top of diff.c. */

#include "core/diff.h"

struct vbmq_diff_mover {
	uint32_t domain;
	const struct vbmq_thread *was; /* NULL: to be added */
	const struct vbmq_place_thread *to;
	/* Sets of the snapshot, of the placement, or kept by the walk: thousands of movers would carry them about for a few. */
	const struct vbmq_cpuset *now;
	const struct vbmq_cpuset *area; /* exclusive: its CPUs and the siblings that stay idle for it */
	const struct vbmq_cpuset *sits; /* CPUs where it blocks others until it leaves; empty: it does not sit */
	const struct vbmq_cpuset *way; /* where it counts as in the way of exclusive threads that come */
	bool pending; /* exclusive: not there yet */
	uint8_t n_parked; /* how often it was put aside */
	bool strays; /* somebody moved it from where we had it: that it is to be where it is now has to be said */
	bool stuck; /* floating: all of its target is blocked */
};

struct vbmq_diff_walk {
	const struct vbmq_snapshot *snapshot;
	const struct vbmq_placement *placement;
	struct vbmq_diff_mover *movers; /* by domain, kind, id */
	size_t n_movers;
	uint32_t *n_allowed; /* by CPU: movers that may run there at the start */
	uint32_t *n_sitting; /* by CPU: movers that sit there */
	struct vbmq_cpuset sat_on; /* where that is not 0 */
	uint32_t *n_in_way; /* by CPU: what keeps an exclusive thread from coming */
	struct vbmq_cpuset goals; /* areas of exclusive threads */
	struct vbmq_cpuset closed; /* of exclusive threads that are there, or of nobody's and yet dedicated */
	uint32_t *wanted_by; /* by lowest CPU of the area: first in want of it ... */
	uint32_t *next_wanting; /* ... and by mover the next one */
	uint32_t *queue; /* exclusive movers to look at */
	size_t head, tail, size;
	bool *queued;
	const struct vbmq_cpuset **kept; /* sets made on the way */
	size_t n_kept;
	struct vbmq_step *steps;
	size_t n_steps;
};

/* diff.c: one more step, of that op; NULL: no memory */
struct vbmq_step *vbmq_diff_step(struct vbmq_diff_walk *w, enum vbmq_step_op op, uint32_t domain, uint32_t id);

/* CPUs of set on which nobody but m sits. */
struct vbmq_cpuset vbmq_diff_unblocked(const struct vbmq_diff_walk *w, const struct vbmq_diff_mover *m,
				       const struct vbmq_cpuset *set);
void vbmq_diff_stop_sitting(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m);
int vbmq_diff_aside(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m, const struct vbmq_cpuset *cpus);

/* diff_park.c: nobody can go. Makes one mover leave its place, or give it up; *ret_done false: there is none. */
int vbmq_diff_park(struct vbmq_diff_walk *w, bool *ret_done);

/* diff_serve.c; 0 or -ENOMEM */
int vbmq_diff_polling(struct vbmq_diff_walk *w,
		      bool exclusive); /* of threads that get a core of their own, or of the others */
int vbmq_diff_map_queues(struct vbmq_diff_walk *w);
int vbmq_diff_remove(struct vbmq_diff_walk *w); /* I/O threads that are not wanted any more */
