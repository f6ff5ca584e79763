/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What to do when nobody can go: everybody who is left waits for a place that another one leaves only afterwards. One of them
 * is put aside, for as long as it takes; the first that helps:
 *   1. a thread that loses its place anyway (it is to float, or goes back to where its owner pinned it),
 *   2. an exclusive thread: it gives up being alone itself, nobody comes to it.
 * Where to: the shared set less the places of others; else one core that is to be somebody's who is not there yet, best one
 * where others wait already (what was the shared set before, mostly); else idle siblings of a place; else where some wait who are
 * not to be there; else a core that is nobody's.
 *
 * There is such a CPU unless the places of those who wait cover all the host has but what belongs to threads that have arrived.
 * They do not if all of them are exclusive, each on one CPU and each on its way to another: the shared set, which is never empty,
 * comes on top of the places they go to. So it takes threads that lose theirs, and that may go nowhere but to each other's or to an
 * exclusive thread's place. Then, and only then, one of these gives up being alone before it leaves.
 */

#include <errno.h>

#include "core/diff_internal.h"

#define PARKED_MAX 2u /* the second time to the shared set only, where it is in nobody's way */

static bool wanted(const struct vbmq_diff_walk *w, const struct vbmq_diff_mover *m)
{
	for (size_t i = 0; i < w->n_movers; i++) {
		const struct vbmq_diff_mover *o = &w->movers[i];

		if (o != m && ((o->pending && vbmq_cpuset_intersects(o->area, m->way)) ||
			       (o->stuck && vbmq_cpuset_intersects(o->to->cpus, m->sits))))
			return true;
	}
	return false;
}

/* CPUs on which others sit, without the idle siblings that they have with them. */
static struct vbmq_cpuset seats(const struct vbmq_diff_walk *w, const struct vbmq_diff_mover *but)
{
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY;

	for (size_t i = 0; i < w->n_movers; i++)
		if (&w->movers[i] != but && !vbmq_cpuset_is_empty(w->movers[i].sits))
			all = vbmq_cpuset_or(&all, w->movers[i].now);
	return all;
}

/* Of these CPUs those of one core: where somebody waits already, or else the first one. */
static struct vbmq_cpuset one_core(const struct vbmq_diff_walk *w, const struct vbmq_cpuset *of)
{
	int best = -1;

	for (int c = vbmq_cpuset_next(of, 0); c >= 0; c = vbmq_cpuset_next(of, (unsigned)c + 1)) {
		if (best < 0)
			best = c;
		if (w->n_in_way[c]) {
			best = c;
			break;
		}
	}
	return best < 0 ? VBMQ_CPUSET_EMPTY
			: vbmq_cpuset_and(of, &vbmq_host_core_of(w->snapshot->host, (unsigned)best)->cpus);
}

/* Where m could wait; empty: nowhere. */
static struct vbmq_cpuset find_room(const struct vbmq_diff_walk *w, const struct vbmq_diff_mover *m)
{
	const struct vbmq_cpuset *shared = &w->placement->shared;
	struct vbmq_cpuset taken = vbmq_cpuset_or(&w->closed, m->way), all, room, others = VBMQ_CPUSET_EMPTY;

	room = vbmq_diff_unblocked(w, m, shared);
	room = vbmq_cpuset_andnot(&room, m->way);
	if (!vbmq_cpuset_is_empty(&room) || m->n_parked)
		return room;
	all = vbmq_cpuset_or(shared, &w->goals);
	all = vbmq_cpuset_andnot(&all, &taken);
	room = vbmq_diff_unblocked(w, m, &all);
	if (!vbmq_cpuset_is_empty(&room))
		return one_core(w, &room);
	others = seats(w, m);
	room = vbmq_cpuset_andnot(&all, &others);
	if (!vbmq_cpuset_is_empty(&room))
		return one_core(w, &room);
	taken = vbmq_cpuset_or(&others, m->way);
	for (size_t i = 0; i < w->n_movers; i++)
		if (w->movers[i].stuck && &w->movers[i] != m)
			room = vbmq_cpuset_or(&room, w->movers[i].now);
	room = vbmq_cpuset_andnot(&room, &taken);
	if (vbmq_cpuset_is_empty(&room)) {
		room = vbmq_cpuset_andnot(&w->snapshot->host->usable, &w->placement->dedicated);
		room = vbmq_cpuset_andnot(&room, &w->placement->pinned);
		room = vbmq_cpuset_andnot(&room, &taken);
	}
	return one_core(w, &room);
}

static bool can_leave(const struct vbmq_diff_walk *w, const struct vbmq_diff_mover *m, bool loses)
{
	if (loses)
		return m->stuck && !vbmq_cpuset_is_empty(m->sits);
	return m->pending && m->n_parked < PARKED_MAX && !vbmq_cpuset_is_empty(m->way);
}

int vbmq_diff_park(struct vbmq_diff_walk *w, bool *ret_done)
{
	for (int loses = 1; loses >= 0; loses--)
		for (size_t i = 0; i < w->n_movers; i++) {
			struct vbmq_diff_mover *m = &w->movers[i];
			struct vbmq_cpuset room;

			if (!can_leave(w, m, loses) || !wanted(w, m))
				continue;
			room = find_room(w, m);
			if (vbmq_cpuset_is_empty(&room))
				continue;
			*ret_done = true;
			return vbmq_diff_aside(w, m, &room);
		}
	for (size_t i = 0; i < w->n_movers; i++) {
		struct vbmq_diff_mover *m = &w->movers[i];

		if (!can_leave(w, m, true) || !wanted(w, m))
			continue;
		vbmq_diff_stop_sitting(w, m);
		*ret_done = true;
		return 0;
	}
	return 0;
}
