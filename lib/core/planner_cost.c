/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a core costs a thread (cost.h), in the pieces in which it is needed: distance and nearness are the same for all cores of
 * a zone, so they are worked out once a zone; a move depends on the core; fragmentation on the core and on who is there
 * already, but not on the thread.
 */

#include <errno.h>
#include <stdlib.h>

#include "core/planner_internal.h"

/* vbmq_cost_near() of every zone: what counts is how many CPUs are in its L3 domain, in its node, and elsewhere. */
static int near_zones(const struct vbmq_pl *pl, const struct vbmq_cpuset *place, uint32_t *near)
{
	const struct vbmq_host *h = pl->host;
	uint32_t weight = vbmq_cost_is_fixed(h, place) ? VBMQ_COST_FIXED : VBMQ_COST_FLOATING, n = 0;
	_cleanup_free_ uint32_t *in_zone = calloc(pl->n_zones + h->n_l3s + h->n_nodes, sizeof(*in_zone));
	uint32_t *in_l3 = in_zone + pl->n_zones, *in_node = in_l3 + h->n_l3s;

	if (!in_zone)
		return -ENOMEM;
	for (int c = vbmq_cpuset_next(place, 0); c >= 0; c = vbmq_cpuset_next(place, (unsigned)c + 1)) {
		uint16_t core = h->core_of[c];

		n++;
		if (core == VBMQ_NO_CORE)
			continue;
		in_zone[pl->zone[core]]++;
		in_l3[h->cores[core].l3]++;
		in_node[h->cores[core].node]++;
	}
	for (uint32_t z = 0; z < pl->n_zones; z++) {
		const struct vbmq_core *core = &h->cores[pl->zone_core[z]];
		uint32_t node = in_node[core->node] - in_zone[z], far = n - in_l3[core->l3] - node;

		near[z] = n ? (node + 2 * far) * weight / n : 0;
	}
	return 0;
}

static int near_set(struct vbmq_pl *pl, uint32_t set, const uint32_t **ret)
{
	struct vbmq_pl_set *s = &pl->sets[set];

	if (!s->near) {
		s->near = calloc(pl->n_zones, sizeof(*s->near));
		if (!s->near)
			return -ENOMEM;
		if (near_zones(pl, &s->cpus, s->near) < 0)
			return -ENOMEM;
	}
	*ret = s->near;
	return 0;
}

static void find_served(const struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t, struct vbmq_pl_served *s)
{
	s->vcpus = VBMQ_CPUSET_EMPTY;
	s->n_nodes = 0;
	if (t->kind != VBMQ_THREAD_IOTHREAD)
		return;
	for (size_t i = 0; i < d->d->n_disks; i++) {
		const struct vbmq_disk *disk = &d->d->disks[i];
		bool any = false;

		for (size_t q = 0; q < disk->n_queues; q++) {
			if (d->map[i][q] != t->id)
				continue;
			s->vcpus = vbmq_cpuset_or(&s->vcpus, &disk->queues[q].vcpus);
			any = true;
		}
		if (any && disk->node != VBMQ_NODE_UNKNOWN && s->n_nodes < VBMQ_DISKS_MAX)
			s->nodes[s->n_nodes++] = disk->node;
	}
}

uint64_t vbmq_pl_numa(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, const struct vbmq_pl_served *s,
		      uint32_t node)
{
	uint64_t sum = vbmq_cost_beyond_nearest(pl->host, node, &d->d->memory_nodes);

	for (size_t i = 0; i < s->n_nodes; i++)
		sum += vbmq_cost_beyond(pl->host, node, (uint32_t)s->nodes[i]);
	return sum;
}

/* Adds the nearness of every zone to a set, n times. */
static int add_near(struct vbmq_pl *pl, uint32_t set, uint32_t n, struct vbmq_pl_zone_cost *sum)
{
	const uint32_t *near;

	if (n && near_set(pl, set, &near) < 0)
		return -ENOMEM;
	for (uint32_t z = 0; n && z < pl->n_zones; z++)
		sum[z].locality += (uint64_t)near[z] * n;
	return 0;
}

static int locality(struct vbmq_pl *pl, struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t,
		    const struct vbmq_pl_served *s, struct vbmq_pl_zone_cost *sum)
{
	uint32_t before = VBMQ_PL_NONE, n = 0;

	if (t->kind == VBMQ_THREAD_VCPU)
		return d->home != VBMQ_PL_NONE ? add_near(pl, d->home, 1, sum) : 0;
	for (int v = vbmq_cpuset_next(&s->vcpus, 0); v >= 0; v = vbmq_cpuset_next(&s->vcpus, (unsigned)v + 1)) {
		const struct vbmq_pl_thread *vcpu = vbmq_pl_find(d, VBMQ_THREAD_VCPU, (uint32_t)v);
		uint32_t set;

		if (!vcpu)
			continue;
		set = vcpu->unit != VBMQ_PL_NONE && d->home != VBMQ_PL_NONE ? d->home : vcpu->stands;
		if (set != before && add_near(pl, before, n, sum) < 0)
			return -ENOMEM;
		n = set == before ? n + 1 : 1;
		before = set;
	}
	return add_near(pl, before, n, sum);
}

bool vbmq_pl_moves(const struct vbmq_pl *pl, const struct vbmq_pl_thread *t, uint32_t core)
{
	return t->now != VBMQ_PL_NOWHERE && pl->sets[t->now].core != core;
}

int vbmq_pl_zone_costs(struct vbmq_pl_pool *p, struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t,
		       struct vbmq_pl_zone_cost *sum)
{
	const struct vbmq_pl *pl = p->pl;
	uint32_t node = VBMQ_PL_NONE;
	uint64_t far = 0;

	find_served(d, t, &p->served);
	for (uint32_t z = 0; z < pl->n_zones; z++) {
		uint32_t of = pl->host->cores[pl->zone_core[z]].node;

		if (of != node)
			far = vbmq_pl_numa(pl, d, &p->served, of);
		node = of;
		sum[z].numa += far;
	}
	return locality(p->pl, d, t, &p->served, sum);
}

/* --- the order in which L3 domains are filled up ---------------------------------------------------------------------- */

struct l3_rank {
	bool whole; /* nobody has anything there yet: last */
	size_t free;
	uint32_t l3;
};

static int by_rank(const void *a, const void *b)
{
	const struct l3_rank *x = a, *y = b;

	if (x->whole != y->whole)
		return x->whole ? 1 : -1;
	if (x->free != y->free)
		return x->free < y->free ? -1 : 1;
	return x->l3 < y->l3 ? -1 : x->l3 > y->l3;
}

int vbmq_pl_pool_rank(struct vbmq_pl_pool *p)
{
	const struct vbmq_pl *pl = p->pl;
	const struct vbmq_host *h = pl->host;
	_cleanup_free_ struct l3_rank *ranks = calloc(h->n_l3s, sizeof(*ranks));

	if (!ranks)
		return -ENOMEM;
	for (uint32_t i = 0; i < h->n_l3s; i++)
		ranks[i] = (struct l3_rank){ .whole = h->cores[pl->boot].l3 != i, .l3 = i };
	for (unsigned c = 0; c < h->n_cores; c++) {
		struct l3_rank *r = &ranks[h->cores[c].l3];

		if (vbmq_cpuset_has(&p->used, c))
			r->whole = false;
		else if (vbmq_cpuset_has(&p->all, c))
			r->free++;
	}
	qsort(ranks, h->n_l3s, sizeof(*ranks), by_rank);
	for (uint32_t i = 0; i < h->n_l3s; i++)
		p->rank[ranks[i].l3] = i < 4095 ? i : 4095;
	for (uint32_t c = 0; c < h->n_cores; c++) {
		bool spares = !vbmq_cpuset_is_empty(&pl->isolated) && !vbmq_cpuset_has(&pl->isolated, c);
		uint32_t slower = h->cores[c].kind < 0 ? 0 : (uint32_t)(pl->fastest - h->cores[c].kind);

		p->fragment[c] = vbmq_cost_fragment(spares, slower, c == pl->boot, p->rank[h->cores[c].l3]);
	}
	return 0;
}

/* --- the pool --------------------------------------------------------------------------------------------------------- */

struct vbmq_pl_pool *vbmq_pl_pool_new(struct vbmq_pl *pl)
{
	struct vbmq_pl_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->pl = pl;
	p->rank = calloc(pl->host->n_l3s, sizeof(*p->rank));
	p->fragment = calloc(pl->host->n_cores, sizeof(*p->fragment));
	if (!p->rank || !p->fragment)
		return vbmq_pl_pool_free(p);
	for (size_t i = 0; i < pl->n_fits; i++)
		if (pl->fits[i].n_units)
			p->all = vbmq_cpuset_or(&p->all, &pl->fits[i].cores);
	p->all = vbmq_cpuset_andnot(&p->all, &pl->kept);
	return p;
}

struct vbmq_pl_pool *vbmq_pl_pool_free(struct vbmq_pl_pool *p)
{
	if (p) {
		free(p->rank);
		free(p->fragment);
	}
	free(p);
	return NULL;
}
