/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Whether another pass would change nothing, without doing it. Everybody stands where the last pass has put him. Then, if none of the
 * conditions below is hurt:
 *
 * Grants. Whoever was granted something now stands on it, and nobody else does. So within each round of a priority the claims that were
 * granted come before those that were refused, in the order they had. Sets of units that can be matched form a matroid: what
 * was granted can be granted in any order, and what was refused after some of it is refused after all of it.
 * Homes. They are chosen again, here, for real: they depend on where threads stand, and on the order of the grants.
 * Assignment. With the same units and homes, distance and locality of every assignment are what they were, and so is what is feasible.
 * Compared with the last pass, any other assignment T than the one we have, S, has at most as much taken off for moves (those that S
 * made cost nothing any more, wherever T puts these threads), S has all of it taken off, and T has one more move at least. S was no
 * worse than T, priority by priority, level by level; so now it is better, and it is the only one that is as good as itself.
 * CPUs. A thread that stands on one CPU of its core keeps it. Who stands on another CPU of its core than before does not count as having
 * stood there any more, so it could be made to move now (slipped).
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_pl_pool *, vbmq_pl_pool_free);

struct turn {
	const struct vbmq_pl_unit *unit;
	bool vcpu;
	bool running;
	uint32_t index;
};

/* As they would be granted now, but for the I/O threads of a priority among each other, which does not matter to homes. */
static int by_turn(const void *a, const void *b)
{
	const struct turn *x = a, *y = b;

	if (x->unit->priority != y->unit->priority)
		return x->unit->priority > y->unit->priority ? -1 : 1;
	if (x->vcpu != y->vcpu)
		return x->vcpu ? 1 : -1;
	if (x->vcpu && x->running != y->running)
		return x->running ? -1 : 1;
	if (x->vcpu && x->unit->domain != y->unit->domain)
		return x->unit->domain < y->unit->domain ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Somebody floats inside one core, or threads are doubled up: who stands alone is not who was granted a core. */
static bool is_blurred(const struct vbmq_pl *pl)
{
	for (size_t i = 0; i < pl->n_sets; i++)
		if (pl->sets[i].floats && pl->sets[pl->sets[i].floating].core != VBMQ_PL_NONE)
			return true;
	for (size_t i = 0; i < pl->n_domains; i++) {
		const struct vbmq_pl_domain *d = &pl->domains[i];
		size_t pack = d->wish.exclusive == VBMQ_EXCLUSIVE_CPU ? pl->pack : 1;

		if (d->n_units && d->n_serving > d->n_units * pack)
			return true;
	}
	return false;
}

static struct vbmq_pl_unit *units_in_turn(const struct vbmq_pl *pl)
{
	struct vbmq_pl_unit *units = calloc(pl->n_units + 1, sizeof(*units));
	_cleanup_free_ struct turn *turns = calloc(pl->n_units + 1, sizeof(*turns));

	if (!units || !turns) {
		free(units);
		return NULL;
	}
	for (uint32_t u = 0; u < pl->n_units; u++) {
		const struct vbmq_pl_unit *unit = &pl->units[u];
		const struct vbmq_pl_domain *d = &pl->domains[unit->domain];

		turns[u] = (struct turn){ unit, d->threads[unit->threads[0]].kind == VBMQ_THREAD_VCPU, d->running, u };
	}
	qsort(turns, pl->n_units, sizeof(*turns), by_turn);
	for (size_t u = 0; u < pl->n_units; u++)
		units[u] = *turns[u].unit;
	return units;
}

/* 1: the same homes would be chosen. The units are lent in the other order meanwhile. */
static int keeps_homes(struct vbmq_pl *pl)
{
	_cleanup_(vbmq_pl_pool_freep) struct vbmq_pl_pool *p = vbmq_pl_pool_new(pl);
	_cleanup_free_ struct vbmq_pl_unit *turned = units_in_turn(pl);
	_cleanup_free_ uint32_t *homes = calloc(pl->n_domains + 1, sizeof(*homes));
	struct vbmq_pl_unit *units = pl->units;
	bool same = true;
	int r;

	if (!p || !turned || !homes)
		return -ENOMEM;
	for (size_t i = 0; i < pl->n_domains; i++) {
		homes[i] = pl->domains[i].home;
		pl->domains[i].home = VBMQ_PL_NONE;
	}
	pl->units = turned;
	pl->mixed = VBMQ_CPUSET_EMPTY; /* or it would be blurred */
	r = vbmq_pl_choose_homes(p);
	pl->units = units;
	for (size_t i = 0; i < pl->n_domains; i++) {
		same = same && pl->domains[i].home == homes[i];
		pl->domains[i].home = homes[i];
	}
	return r < 0 ? r : same;
}

int vbmq_pl_rests(struct vbmq_pl *pl)
{
	if (pl->slipped || !vbmq_cpuset_is_empty(&pl->kept) || is_blurred(pl))
		return 0;
	for (size_t i = 0; i < pl->n_domains; i++)
		if (pl->domains[i].home != VBMQ_PL_NONE)
			return keeps_homes(pl);
	return 1;
}
