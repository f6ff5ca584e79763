/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The CPU sets that the plan speaks of, each once: a host has thousands of threads, but they stand on few different sets (leashes,
 * the shared set, places of their own). Threads name them by index, so comparing and copying them costs nothing, and what is asked
 * of a set again and again (is it inside one core, how near is it to each zone) is worked out once. The table that finds a set by
 * what is in it decides about nothing: an index is the order in which sets were first met.
 */

#include <errno.h>
#include <stdlib.h>

#include "core/planner_internal.h"
#include "util/array.h"

#define SETS_MAX 1000000u

static int grow_table(struct vbmq_pl *pl)
{
	size_t size = pl->table_size ? pl->table_size * 2 : 256;
	uint32_t *table = calloc(size, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < pl->n_sets; i++) {
		size_t at = vbmq_cpuset_hash(&pl->sets[i].cpus) & (size - 1);

		while (table[at])
			at = (at + 1) & (size - 1);
		table[at] = i + 1;
	}
	free(pl->table);
	pl->table = table;
	pl->table_size = size;
	return 0;
}

static uint32_t core_of(const struct vbmq_host *h, const struct vbmq_cpuset *cpus)
{
	int first = vbmq_cpuset_next(cpus, 0);
	uint16_t core = first < 0 ? VBMQ_NO_CORE : h->core_of[first];

	return core == VBMQ_NO_CORE || !vbmq_cpuset_is_subset(cpus, &h->cores[core].cpus) ? VBMQ_PL_NONE : core;
}

int vbmq_pl_set(struct vbmq_pl *pl, const struct vbmq_cpuset *cpus, uint32_t *ret)
{
	struct vbmq_pl_set *s;
	size_t at;

	if (pl->n_sets * 2 >= pl->table_size && grow_table(pl) < 0)
		return -ENOMEM;
	at = vbmq_cpuset_hash(cpus) & (pl->table_size - 1);
	for (; pl->table[at]; at = (at + 1) & (pl->table_size - 1))
		if (vbmq_cpuset_equal(&pl->sets[pl->table[at] - 1].cpus, cpus)) {
			*ret = pl->table[at] - 1;
			return 0;
		}
	s = vbmq_array_add(pl->sets, pl->n_sets, SETS_MAX);
	if (!s)
		return -ENOMEM;
	s->cpus = *cpus;
	s->core = core_of(pl->host, cpus);
	s->on_base = VBMQ_PL_NONE;
	pl->table[at] = (uint32_t)pl->n_sets;
	*ret = (uint32_t)(pl->n_sets - 1);
	return 0;
}

int vbmq_pl_sets_init(struct vbmq_pl *pl)
{
	struct vbmq_cpuset empty = VBMQ_CPUSET_EMPTY;
	uint32_t index;

	if (vbmq_pl_set(pl, &empty, &index) < 0)
		return -ENOMEM;
	return vbmq_pl_set(pl, &pl->host->usable, &pl->everywhere);
}

int vbmq_pl_on_base(struct vbmq_pl *pl, uint32_t set, uint32_t *ret)
{
	uint32_t on = pl->sets[set].on_base;

	if (on == VBMQ_PL_NONE) {
		struct vbmq_cpuset cpus = vbmq_cpuset_and(&pl->sets[set].cpus, &pl->base);

		if (vbmq_cpuset_is_empty(&cpus))
			cpus = vbmq_cpuset_and(&pl->sets[set].cpus, &pl->base_all);
		if (vbmq_pl_set(pl, &cpus, &on) < 0)
			return -ENOMEM;
		pl->sets[set].on_base = on;
	}
	*ret = on;
	return 0;
}

void vbmq_pl_sets_done(struct vbmq_pl *pl)
{
	for (size_t i = 0; i < pl->n_sets; i++)
		free(pl->sets[i].near);
	free(pl->sets);
	free(pl->table);
}
