/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Why a thread is where it is: what its core costs it, and the best one that is free beside it. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_pl_pool *, vbmq_pl_pool_free);

/* From a core to the nearest CPU of a place. */
static enum vbmq_nearness nearest(const struct vbmq_host *h, uint32_t core, const struct vbmq_cpuset *place)
{
	const struct vbmq_core *c = &h->cores[core];
	int here = vbmq_cpuset_next(&c->cpus, 0);

	if (vbmq_cpuset_intersects(place, &c->cpus))
		return VBMQ_NEAR_CORE;
	if (vbmq_cpuset_intersects(place, &h->l3s[c->l3].cpus))
		return VBMQ_NEAR_L3;
	for (int cpu = vbmq_cpuset_next(place, 0); cpu >= 0; cpu = vbmq_cpuset_next(place, (unsigned)cpu + 1))
		if (vbmq_host_nearness(h, (unsigned)here, (unsigned)cpu) == VBMQ_NEAR_NODE)
			return VBMQ_NEAR_NODE;
	return VBMQ_NEAR_REMOTE;
}

/* To each of its vCPUs the nearest CPU where that may run; the worst of these. */
static enum vbmq_nearness worst_nearness(const struct vbmq_pl_pool *p, struct vbmq_pl_domain *d, uint32_t core)
{
	const struct vbmq_cpuset *vcpus = &p->served.vcpus;
	enum vbmq_nearness worst = VBMQ_NEAR_CORE;
	const struct vbmq_pl_thread *before = NULL;

	for (int v = vbmq_cpuset_next(vcpus, 0); v >= 0; v = vbmq_cpuset_next(vcpus, (unsigned)v + 1)) {
		const struct vbmq_pl_thread *vcpu = vbmq_pl_find(d, VBMQ_THREAD_VCPU, (uint32_t)v);
		enum vbmq_nearness best;

		if (!vcpu || (before && vcpu->cpus == before->cpus))
			continue;
		best = nearest(p->pl->host, core, &p->pl->sets[vcpu->cpus].cpus);
		worst = best > worst ? best : worst;
		before = vcpu;
	}
	return worst;
}

static void explain_distances(const struct vbmq_pl_pool *p, const struct vbmq_pl_domain *d, uint32_t node,
			      struct vbmq_why *why)
{
	const struct vbmq_host *h = p->pl->host;

	for (size_t i = 0; i < p->served.n_nodes; i++) {
		uint32_t far = VBMQ_DISTANCE_LOCAL + vbmq_cost_beyond(h, node, (uint32_t)p->served.nodes[i]);

		if (far > why->from_device)
			why->from_device = far;
	}
	if (!vbmq_cpuset_is_empty(&d->d->memory_nodes))
		why->from_memory = VBMQ_DISTANCE_LOCAL + vbmq_cost_beyond_nearest(h, node, &d->d->memory_nodes);
}

static struct vbmq_cost cost_of(const struct vbmq_pl_pool *p, const struct vbmq_pl_thread *t,
				const struct vbmq_pl_zone_cost *zones, uint32_t core)
{
	const struct vbmq_pl_zone_cost *z = &zones[p->pl->zone[core]];

	return (struct vbmq_cost){
		.numa = z->numa,
		.locality = z->locality,
		.moves = vbmq_pl_moves(p->pl, t, core),
		.fragment = p->fragment[core],
	};
}

static int explain_thread(struct vbmq_pl_pool *p, const struct vbmq_pl_unit *u, struct vbmq_pl_thread *t,
			  struct vbmq_pl_zone_cost *zones)
{
	struct vbmq_pl *pl = p->pl;
	struct vbmq_pl_domain *d = &pl->domains[u->domain];
	bool rationed = !vbmq_cpuset_has(&pl->isolated, u->core);
	struct vbmq_cpuset free = vbmq_cpuset_andnot(&p->all, &p->used);
	uint32_t next = VBMQ_PL_NONE;
	struct vbmq_cost best = { 0 };
	struct vbmq_why *why;

	memset(zones, 0, pl->n_zones * sizeof(*zones));
	if (vbmq_pl_zone_costs(p, d, t, zones) < 0)
		return -ENOMEM;
	t->why = (uint32_t)pl->n_whys;
	why = &pl->whys[pl->n_whys++];
	why->cost = cost_of(p, t, zones, u->core);
	why->nearness = worst_nearness(p, d, u->core);
	explain_distances(p, d, pl->host->cores[u->core].node, why);
	free = vbmq_cpuset_and(&free, &pl->fits[u->fits].cores);
	for (int c = vbmq_cpuset_next(&free, 0); c >= 0; c = vbmq_cpuset_next(&free, (unsigned)c + 1)) {
		struct vbmq_cost cost = cost_of(p, t, zones, (uint32_t)c);

		if (!vbmq_cpuset_has(&pl->isolated, (unsigned)c) && !rationed && p->n_rationed >= pl->budget)
			continue;
		if (next == VBMQ_PL_NONE || vbmq_cost_compare(&cost, &best) < 0) {
			next = (uint32_t)c;
			best = cost;
		}
	}
	if (next != VBMQ_PL_NONE) {
		struct vbmq_cpuset avail = vbmq_pl_avail(pl, next, u->part, u->leash);

		why->has_next = true;
		why->next_cpu = (uint32_t)vbmq_cpuset_next(&avail, 0);
		why->next_cost = best;
	}
	return 0;
}

int vbmq_pl_explain(struct vbmq_pl *pl)
{
	_cleanup_(vbmq_pl_pool_freep) struct vbmq_pl_pool *p = vbmq_pl_pool_new(pl);
	_cleanup_free_ struct vbmq_pl_zone_cost *zones = calloc(pl->n_zones, sizeof(*zones));
	size_t n = 0;

	for (size_t u = 0; u < pl->n_units; u++)
		n += pl->units[u].n_threads;
	pl->whys = calloc(n + 1, sizeof(*pl->whys));
	if (!p || !zones || !pl->whys)
		return -ENOMEM;
	for (size_t u = 0; u < pl->n_units; u++) {
		vbmq_cpuset_add(&p->used, pl->units[u].core);
		p->n_rationed += !vbmq_cpuset_has(&pl->isolated, pl->units[u].core);
	}
	if (vbmq_pl_pool_rank(p) < 0)
		return -ENOMEM;
	for (size_t u = 0; u < pl->n_units; u++) {
		struct vbmq_pl_unit *unit = &pl->units[u];

		for (size_t i = 0; i < unit->n_threads; i++)
			if (explain_thread(p, unit, &pl->domains[unit->domain].threads[unit->threads[i]], zones) < 0)
				return -ENOMEM;
	}
	return 0;
}
