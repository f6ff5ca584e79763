/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "instances.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/diff.h"
#include "core/planner.h"
#include "sim.h"
#include "util/err.h"

/* Parts of the host that owners keep a guest to: of all sizes, inside a node or not. */
static void leash(struct gen *g, const struct vbmq_host *h, struct vbmq_domain *d)
{
	const struct vbmq_node *n = &h->nodes[gen_below(g, (uint32_t)h->n_nodes)];
	struct vbmq_cpuset part = gen_subset(g, gen_chance(g, 70) ? &n->cpus : &h->online, 10 + gen_below(g, 70));

	if (vbmq_cpuset_is_empty(&part))
		return;
	if (gen_chance(g, 50)) {
		d->has_cpuset = true;
		d->cpuset = part;
	}
	for (size_t i = 0; i < d->n_threads && gen_chance(g, 40); i++) {
		d->threads[i].has_pin = true;
		d->threads[i].pin = gen_chance(g, 80) ? part : vbmq_cpuset_of((unsigned)vbmq_cpuset_next(&part, 0));
	}
}

struct vbmq_snapshot *instance_exact(struct gen *g, struct vbmq_policy *policy)
{
	struct vbmq_snapshot *s = gen_snapshot(g, 8 + gen_below(g, 41), 1 + gen_below(g, 12));

	gen_policy(g, s->host, policy);
	policy->defaults.vcpus = VBMQ_VCPUS_FOLLOW;
	policy->manage_by_default = policy->manage_by_default || gen_chance(g, 70);
	for (size_t i = 0; i < s->n_domains; i++) {
		struct vbmq_domain *d = s->domains[i];

		d->wish.vcpus = VBMQ_VCPUS_FOLLOW;
		d->responsive = true;
		if (gen_chance(g, 70))
			d->caps.bits |= VBMQ_CAP_PIN | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_LIVE_MAP;
		if (gen_chance(g, 50))
			d->wish.exclusive = VBMQ_EXCLUSIVE_CORE;
		if (gen_chance(g, 15))
			leash(g, s->host, d);
	}
	return s;
}

/* --- coupled ---------------------------------------------------------------------------------------------------------- */

static struct vbmq_host *small_host(struct gen *g)
{
	unsigned nodes = 1 + gen_below(g, 4), l3s = 1 + gen_below(g, 3), cores = 1 + gen_below(g, 4);
	struct vbmq_host *h;

	while (nodes * l3s * cores > 16)
		l3s > 1 ? l3s-- : cores--;
	h = gen_regular_host(nodes, l3s, cores < 2 && nodes * l3s < 4 ? 4 : cores, 1 + gen_below(g, 2));
	for (size_t i = 0; i < h->n_nodes && gen_chance(g, 30); i++)
		for (size_t j = 0; j < i; j++) {
			h->distances[i * h->n_nodes + j] = 11 + gen_below(g, 20);
			h->distances[j * h->n_nodes + i] = h->distances[i * h->n_nodes + j];
		}
	return h;
}

/* One vCPU here, one there: by turns, or in blocks. */
static void pin_vcpus(struct gen *g, const struct vbmq_host *h, struct vbmq_domain *d)
{
	unsigned first = gen_below(g, (uint32_t)h->n_cores), stride = 1 + gen_below(g, (uint32_t)h->n_cores);
	bool turns = gen_chance(g, 50);

	for (uint32_t v = 0; v < d->n_vcpus; v++) {
		uint32_t core = (first + (turns ? v % 2 : v * 2 / d->n_vcpus) * stride) % (uint32_t)h->n_cores;

		d->threads[v].has_pin = true;
		d->threads[v].pin = vbmq_cpuset_of((unsigned)vbmq_cpuset_next(&h->cores[core].cpus, 0));
		d->threads[v].affinity = d->threads[v].pin;
	}
}

static void add_disks(struct gen *g, const struct vbmq_host *h, struct vbmq_domain *d, unsigned iothreads)
{
	for (unsigned i = 0, n = 1 + gen_below(g, 2); i < n; i++) {
		char target[4] = { 'v', 'd', (char)('a' + i), 0 };
		int32_t node = gen_chance(g, 70) ? (int32_t)h->nodes[gen_below(g, (uint32_t)h->n_nodes)].id
						 : VBMQ_NODE_UNKNOWN;
		unsigned queues = gen_chance(g, 60) ? d->n_vcpus : 1 + gen_below(g, 4);
		struct vbmq_disk *disk = gen_add_disk(d, target, queues, node);

		if (!iothreads || gen_chance(g, 75))
			continue;
		disk->mapped = true;
		for (size_t q = 0; q < disk->n_queues; q++)
			disk->queues[q].iothread = 1 + gen_below(g, iothreads);
	}
}

static struct vbmq_domain *coupled_guest(struct gen *g, const struct vbmq_host *h, unsigned number)
{
	unsigned iothreads = gen_below(g, 4);
	uint32_t caps = VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_LIVE_MAP;
	struct vbmq_domain *d;
	char name[16];

	snprintf(name, sizeof(name), "g%u", number);
	d = gen_plain_domain(h, name, 1 + gen_below(g, 4), iothreads, caps);
	if (gen_chance(g, 60))
		d->wish.vcpus = VBMQ_VCPUS_DEDICATED;
	else if (gen_chance(g, 50))
		pin_vcpus(g, h, d);
	if (gen_chance(g, 60))
		vbmq_cpuset_add(&d->memory_nodes, h->nodes[gen_below(g, (uint32_t)h->n_nodes)].id);
	if (gen_chance(g, 40))
		d->wish.iothreads = (int32_t)(1 + gen_below(g, 3));
	d->wish.has_priority = gen_chance(g, 30);
	d->wish.priority = d->wish.has_priority ? (int32_t)gen_below(g, 2) + 1 : 0;
	add_disks(g, h, d, iothreads);
	return d;
}

/* All stand where they are planned to be. */
static void settle(struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_placement *p = NULL;
	struct vbmq_step *steps = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t n = 0;

	if (vbmq_planner_run(s, policy, &p, &err) < 0 || vbmq_diff(s, p, &steps, &n, &err) < 0)
		abort();
	for (size_t i = 0; i < n; i++)
		sim_step(s, &steps[i]);
	vbmq_steps_free(steps, n);
	vbmq_placement_free(p);
}

struct vbmq_snapshot *instance_coupled(struct gen *g, struct vbmq_policy *policy)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_err err = VBMQ_ERR_INIT;
	unsigned n = 1 + gen_below(g, 3);

	if (!s)
		abort();
	s->host = small_host(g);
	vbmq_policy_init(policy);
	policy->manage_by_default = true;
	policy->shared_min_cores = gen_chance(g, 70);
	for (unsigned i = 0; i < n; i++)
		if (vbmq_snapshot_add(s, coupled_guest(g, s->host, i), &err) < 0)
			abort();
	if (vbmq_snapshot_finish(s, &err) < 0)
		abort();
	if (gen_chance(g, 60))
		return s;
	settle(s, policy);
	if (gen_chance(g, 40)) {
		vbmq_domain_free(s->domains[0]);
		memmove(&s->domains[0], &s->domains[1], (n - 1) * sizeof(s->domains[0]));
		s->n_domains--;
	}
	if (n < 3 && vbmq_snapshot_add(s, coupled_guest(g, s->host, 9), &err) < 0)
		abort();
	if (vbmq_snapshot_finish(s, &err) < 0)
		abort();
	return s;
}
