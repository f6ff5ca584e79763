/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pool of cores: which may be dedicated at all, to what shape of unit, and how many. A core is out when a CPU of it
 * is reserved, taken by an owner's narrow pin, or not among those the policy lists.
 */

#include <errno.h>
#include <stdlib.h>

#include "core/planner_internal.h"
#include "util/array.h"

struct vbmq_cpuset vbmq_pl_taken(const struct vbmq_pl *pl)
{
	struct vbmq_cpuset all = pl->places;

	for (size_t i = 0; i < pl->n_domains; i++)
		for (size_t j = 0; j < pl->domains[i].n_threads; j++)
			if (pl->domains[i].threads[j].hard)
				all = vbmq_cpuset_or(&all, &pl->sets[pl->domains[i].threads[j].cpus].cpus);
	return vbmq_host_whole_cores(pl->host, &all);
}

/* The most usual number of CPUs on a core that may be dedicated in part; the greater one of equals. */
static size_t usual_pack(const struct vbmq_pl *pl)
{
	size_t tally[65] = { 0 }, best = 1, best_n = 0;

	for (int c = vbmq_cpuset_next(&pl->part_ok, 0); c >= 0; c = vbmq_cpuset_next(&pl->part_ok, (unsigned)c + 1)) {
		struct vbmq_cpuset avail = vbmq_cpuset_and(&pl->host->cores[c].cpus, &pl->cpu_ok);
		unsigned n = vbmq_cpuset_count(&avail);

		if (n <= 64)
			tally[n]++;
	}
	for (size_t size = 1; size <= 64; size++)
		if (tally[size] && tally[size] >= best_n) {
			best = size;
			best_n = tally[size];
		}
	return best;
}

static int set_zones(struct vbmq_pl *pl)
{
	const struct vbmq_host *h = pl->host;

	pl->zone = calloc(2 * h->n_cores, sizeof(*pl->zone));
	if (!pl->zone)
		return -ENOMEM;
	pl->zone_core = pl->zone + h->n_cores;
	pl->fastest = -1;
	for (uint32_t c = 0; c < h->n_cores; c++) {
		const struct vbmq_core *core = &h->cores[c];
		size_t z = pl->n_zones;

		/* Neighbours in number mostly are neighbours, so the search goes backwards. */
		while (z > 0 && (h->cores[pl->zone_core[z - 1]].l3 != core->l3 ||
				 h->cores[pl->zone_core[z - 1]].node != core->node))
			z--;
		if (z == 0) {
			pl->zone_core[pl->n_zones++] = c;
			z = pl->n_zones;
		}
		pl->zone[c] = (uint32_t)(z - 1);
		if (core->kind > pl->fastest)
			pl->fastest = core->kind;
	}
	pl->boot = h->core_of[vbmq_cpuset_next(&h->usable, 0)];
	return 0;
}

/* An eighth of the cores, and for n floating vCPUs a CPU for four of them, but for their sake no more than half of the cores. */
static size_t auto_min(const struct vbmq_pl *pl, size_t n)
{
	size_t each = pl->n_cpus * VBMQ_VCPUS_PER_CPU, min = pl->n_cores / 8, load;

	load = each ? (n * pl->n_cores + each - 1) / each : 0;
	if (load > pl->n_cores / 2)
		load = pl->n_cores / 2;
	if (min < load)
		min = load;
	return min ? min : 1;
}

void vbmq_pl_ration(struct vbmq_pl *pl, size_t n_own)
{
	/* That a vCPU got an isolated core for itself must not be what gives others a core. */
	if (!vbmq_cpuset_is_empty(&pl->isolated))
		n_own = 0;
	pl->shared_min =
		pl->policy->shared_min_cores ? pl->policy->shared_min_cores : auto_min(pl, pl->n_vcpus - n_own);
	pl->budget = pl->n_shareable > pl->shared_min ? pl->n_shareable - pl->shared_min : 0;
}

int vbmq_pl_cores_init(struct vbmq_pl *pl)
{
	const struct vbmq_host *h = pl->host;
	struct vbmq_cpuset gone = vbmq_pl_taken(pl), kept = vbmq_host_whole_cores(pl->host, &pl->held_places);
	struct vbmq_cpuset counted = h->usable;

	/* By what owners said, not by what of it a guest that does not answer has for itself. */
	if (!vbmq_cpuset_is_empty(&pl->apart))
		counted = vbmq_cpuset_andnot(&h->usable, &pl->places);
	gone = vbmq_cpuset_or(&gone, &kept);
	pl->cpu_ok = vbmq_cpuset_andnot(&h->usable, &gone);
	pl->cpu_ok = vbmq_cpuset_andnot(&pl->cpu_ok, &pl->policy->reserved);
	if (pl->policy->keep_off_nova)
		pl->cpu_ok = vbmq_cpuset_andnot(&pl->cpu_ok, &h->nova);
	if (!vbmq_cpuset_is_empty(&pl->policy->dedicated))
		pl->cpu_ok = vbmq_cpuset_and(&pl->cpu_ok, &pl->policy->dedicated);
	for (unsigned c = 0; c < h->n_cores; c++) {
		struct vbmq_cpuset usable = vbmq_cpuset_and(&h->cores[c].cpus, &h->usable);
		bool is_kept;

		if (vbmq_cpuset_is_empty(&usable))
			continue;
		pl->n_cores += vbmq_cpuset_intersects(&usable, &counted);
		/* One that is kept is not shared as a whole any more, but nobody else's either. */
		is_kept = vbmq_cpuset_intersects(&usable, &kept);
		if (vbmq_cpuset_intersects(&usable, &pl->base))
			pl->n_shareable += !is_kept;
		else if (!is_kept && !vbmq_cpuset_intersects(&usable, &pl->apart))
			vbmq_cpuset_add(&pl->isolated, c);
		if (vbmq_cpuset_is_subset(&usable, &pl->cpu_ok))
			vbmq_cpuset_add(&pl->whole_ok, c);
		if (vbmq_cpuset_intersects(&usable, &pl->cpu_ok))
			vbmq_cpuset_add(&pl->part_ok, c);
	}
	pl->n_cpus = vbmq_cpuset_count(&counted);
	vbmq_pl_ration(pl, 0);
	pl->pack = usual_pack(pl);
	return set_zones(pl);
}

struct vbmq_cpuset vbmq_pl_avail(const struct vbmq_pl *pl, uint32_t core, bool part, uint32_t leash)
{
	struct vbmq_cpuset cpus = vbmq_cpuset_and(&pl->host->cores[core].cpus, &pl->sets[leash].cpus);

	cpus = vbmq_cpuset_and(&cpus, &pl->host->usable);
	return part ? vbmq_cpuset_and(&cpus, &pl->cpu_ok) : cpus;
}

int vbmq_pl_fits(struct vbmq_pl *pl, bool part, size_t size, uint32_t leash, uint32_t *ret)
{
	const struct vbmq_cpuset *pool = part ? &pl->part_ok : &pl->whole_ok;
	struct vbmq_pl_fits *f;

	for (size_t i = 0; i < pl->n_fits; i++) {
		f = &pl->fits[i];
		if (f->part == part && f->size == size && f->leash == leash) {
			*ret = (uint32_t)i;
			return 0;
		}
	}
	f = vbmq_array_add(pl->fits, pl->n_fits, VBMQ_DOMAINS_MAX * 8);
	if (!f)
		return -ENOMEM;
	*f = (struct vbmq_pl_fits){ .part = part, .size = size, .leash = leash };
	for (int c = vbmq_cpuset_next(pool, 0); c >= 0; c = vbmq_cpuset_next(pool, (unsigned)c + 1)) {
		struct vbmq_cpuset avail = vbmq_pl_avail(pl, (uint32_t)c, part, leash);

		if (vbmq_cpuset_count(&avail) >= size)
			vbmq_cpuset_add(&f->cores, (unsigned)c);
	}
	*ret = (uint32_t)(pl->n_fits - 1);
	return 0;
}

bool vbmq_pl_stands_alone(const struct vbmq_pl *pl, const struct vbmq_pl_thread *t)
{
	uint32_t core = pl->sets[t->now].core;

	return core != VBMQ_PL_NONE && vbmq_cpuset_has(&pl->part_ok, core) &&
	       !vbmq_cpuset_intersects(&pl->mixed, &pl->sets[t->now].cpus);
}

static void dedicate(struct vbmq_pl *pl, const struct vbmq_cpuset *cpus)
{
	for (int c = vbmq_cpuset_next(cpus, 0); c >= 0; c = vbmq_cpuset_next(cpus, (unsigned)c + 1))
		vbmq_cpuset_add(&pl->dedicated, (unsigned)c);
}

/* A thread that stands on one CPU of the core keeps it; the others get the lowest ones left, in turn if there are few. */
int vbmq_pl_place_unit(struct vbmq_pl *pl, const struct vbmq_pl_unit *u)
{
	struct vbmq_pl_domain *d = &pl->domains[u->domain];
	struct vbmq_cpuset avail = vbmq_pl_avail(pl, u->core, u->part, u->leash), left = avail;
	bool crowded = vbmq_cpuset_count(&avail) < u->n_threads;

	for (size_t i = 0; i < u->n_threads; i++) {
		struct vbmq_pl_thread *t = &d->threads[u->threads[i]];
		const struct vbmq_cpuset *now = &pl->sets[t->now].cpus;
		int cpu = pl->sets[t->now].core == u->core ? vbmq_cpuset_next(now, 0) : -1;

		t->crowded = crowded;
		t->cpus = VBMQ_PL_NOWHERE;
		if (cpu < 0 || vbmq_cpuset_count(now) != 1 || !vbmq_cpuset_has(&left, (unsigned)cpu))
			continue;
		t->cpus = t->now;
		vbmq_cpuset_del(&left, (unsigned)cpu);
	}
	for (size_t i = 0; i < u->n_threads; i++) {
		struct vbmq_pl_thread *t = &d->threads[u->threads[i]];

		if (t->cpus == VBMQ_PL_NOWHERE) {
			struct vbmq_cpuset cpu;

			if (vbmq_cpuset_is_empty(&left))
				left = avail;
			cpu = vbmq_cpuset_of((unsigned)vbmq_cpuset_next(&left, 0));
			if (vbmq_pl_set(pl, &cpu, &t->cpus) < 0)
				return -ENOMEM;
			vbmq_cpuset_del(&left, (unsigned)vbmq_cpuset_next(&cpu, 0));
		}
		dedicate(pl, &pl->sets[t->cpus].cpus);
	}
	if (!u->part)
		dedicate(pl, &pl->host->cores[u->core].cpus);
	return 0;
}
