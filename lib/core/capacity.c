/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/capacity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/diag.h"

static const char *const shortages[] = {
	VBMQ_DIAG_FEWER_IOTHREADS, VBMQ_DIAG_SHARED_CORE,  VBMQ_DIAG_SHARED_SET,
	VBMQ_DIAG_VCPUS_SHARED,	   VBMQ_DIAG_BAD_METADATA,
};

enum vbmq_placed vbmq_capacity_placed(const struct vbmq_place_domain *d)
{
	enum vbmq_placed worst = VBMQ_PLACED_WHOLLY;

	for (size_t i = 0; i < d->diags.n; i++)
		for (size_t s = 0; s < sizeof(shortages) / sizeof(shortages[0]); s++)
			if (strcmp(d->diags.items[i].code, shortages[s]) == 0) {
				if (d->diags.items[i].severity == VBMQ_ERROR)
					return VBMQ_PLACED_FAILED;
				worst = VBMQ_PLACED_SHORT;
			}
	return worst;
}

/* --- guests ----------------------------------------------------------------------------------------------------------- */

static uint32_t queues_on(const struct vbmq_place_domain *d, uint32_t iothread)
{
	uint32_t n = 0;

	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			n += d->disks[i].queues[q].iothread == iothread;
	return n;
}

void vbmq_capacity_count(const struct vbmq_place_domain *d, struct vbmq_capacity_group *ret)
{
	ret->guests[vbmq_capacity_placed(d)]++;
	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_place_thread *t = &d->threads[i];

		if (t->kind == VBMQ_THREAD_VCPU) {
			ret->vcpus++;
			ret->vcpus_own += t->exclusive;
		} else if (t->kind == VBMQ_THREAD_IOTHREAD && !t->to_remove) {
			uint32_t queues = queues_on(d, t->id);

			ret->iothreads++;
			ret->iothreads_own += t->exclusive;
			ret->queues += queues;
			if (queues > ret->queues_most)
				ret->queues_most = queues;
		}
	}
	for (size_t i = 0; i < d->diags.n; i++) {
		if (!strstr(d->diags.items[i].subject, "/iothread"))
			continue;
		ret->numa_misses += strcmp(d->diags.items[i].code, VBMQ_DIAG_REMOTE_NODE) == 0;
		ret->l3_misses += strcmp(d->diags.items[i].code, VBMQ_DIAG_REMOTE_L3) == 0;
	}
}

/* --- the host --------------------------------------------------------------------------------------------------------- */

struct pool {
	const struct vbmq_host *host;
	const struct vbmq_policy *policy;
	const struct vbmq_placement *p;
	uint32_t shareable, shareable_free, isolated_free; /* cores */
};

static bool is_free(const struct pool *pool, const struct vbmq_cpuset *usable)
{
	return !vbmq_cpuset_intersects(usable, &pool->p->dedicated) &&
	       !vbmq_cpuset_intersects(usable, &pool->p->pinned) &&
	       !vbmq_cpuset_intersects(usable, &pool->policy->reserved) &&
	       (vbmq_cpuset_is_empty(&pool->policy->dedicated) ||
		vbmq_cpuset_is_subset(usable, &pool->policy->dedicated));
}

static void count_core(struct pool *pool, const struct vbmq_core *core, struct vbmq_capacity_node *node, bool *l3_taken)
{
	struct vbmq_cpuset usable = vbmq_cpuset_and(&core->cpus, &pool->host->usable);
	bool shared = vbmq_cpuset_intersects(&usable, &pool->p->shared);

	if (vbmq_cpuset_is_empty(&usable))
		return;
	pool->shareable += shared;
	node->cores++;
	node->dedicated += vbmq_cpuset_intersects(&usable, &pool->p->dedicated);
	node->pinned += vbmq_cpuset_intersects(&usable, &pool->p->pinned);
	if (!is_free(pool, &usable)) {
		l3_taken[core->l3] = true;
		return;
	}
	node->free++;
	if (shared)
		pool->shareable_free++;
	else
		pool->isolated_free++;
}

static void count_l3s(const struct vbmq_host *h, const bool *l3_taken, struct vbmq_capacity_node *node, uint32_t index)
{
	for (size_t i = 0; i < h->n_l3s; i++) {
		if (h->l3s[i].node != index || !vbmq_cpuset_intersects(&h->l3s[i].cpus, &h->usable))
			continue;
		node->l3s++;
		node->l3s_free += !l3_taken[i];
	}
}

int vbmq_capacity_left(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_placement *p,
		       struct vbmq_capacity *ret)
{
	struct pool pool = { .host = s->host, .policy = policy, .p = p };
	bool *l3_taken = calloc(s->host->n_l3s + 1, sizeof(*l3_taken));
	struct vbmq_capacity c = { .nodes = calloc(s->host->n_nodes + 1, sizeof(*c.nodes)) };

	if (!l3_taken || !c.nodes) {
		free(l3_taken);
		free(c.nodes);
		return -ENOMEM;
	}
	for (uint32_t n = 0; n < s->host->n_nodes; n++) {
		struct vbmq_capacity_node *node = &c.nodes[c.n_nodes];

		*node = (struct vbmq_capacity_node){ .node = s->host->nodes[n].id };
		node->shared = vbmq_cpuset_and(&p->shared, &s->host->nodes[n].cpus);
		for (size_t i = 0; i < s->host->n_cores; i++)
			if (s->host->cores[i].node == n)
				count_core(&pool, &s->host->cores[i], node, l3_taken);
		count_l3s(s->host, l3_taken, node, n);
		c.n_nodes += node->cores > 0;
	}
	free(l3_taken);
	c.free = pool.shareable > p->shared_min ? pool.shareable - p->shared_min : 0;
	if (c.free > pool.shareable_free)
		c.free = pool.shareable_free;
	c.free += pool.isolated_free;
	c.shared = vbmq_cpuset_count(&p->shared);
	for (size_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++)
			c.floating += p->domains[i].threads[j].kind == VBMQ_THREAD_VCPU &&
				      !p->domains[i].threads[j].exclusive;
	*ret = c;
	return 0;
}

void vbmq_capacity_done(struct vbmq_capacity *c)
{
	free(c->nodes);
	*c = (struct vbmq_capacity){ .nodes = NULL };
}

/* --- a fleet ---------------------------------------------------------------------------------------------------------- */

bool vbmq_fleet_overcommitted(const struct vbmq_fleet *f, const struct vbmq_capacity *left)
{
	return f->overcommit && left->floating > (uint64_t)f->overcommit * left->shared;
}

int vbmq_fleet_report(const struct vbmq_fleet *f, const uint32_t *members, const struct vbmq_snapshot *s,
		      const struct vbmq_policy *policy, const struct vbmq_placement *p, struct vbmq_fleet_report *ret)
{
	struct vbmq_fleet_report report = { .fleet = f };

	report.groups = calloc(f->n_templates + 1, sizeof(*report.groups));
	if (!report.groups)
		return -ENOMEM;
	if (vbmq_capacity_left(s, policy, p, &report.left) < 0) {
		free(report.groups);
		return -ENOMEM;
	}
	for (size_t i = 0; i < p->n_domains; i++)
		vbmq_capacity_count(&p->domains[i],
				    &report.groups[members[i] == VBMQ_NO_TEMPLATE ? f->n_templates : members[i]]);
	report.overcommitted = vbmq_fleet_overcommitted(f, &report.left);
	*ret = report;
	return 0;
}

void vbmq_fleet_report_done(struct vbmq_fleet_report *r)
{
	free(r->groups);
	free(r->max);
	vbmq_capacity_done(&r->left);
	*r = (struct vbmq_fleet_report){ .fleet = NULL };
}
