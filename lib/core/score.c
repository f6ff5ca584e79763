/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/score.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cost.h"
#include "util/cleanup.h"
#include "util/err.h"

#define FOR_EACH_CPU(c, set) for (int c = vbmq_cpuset_next(set, 0); c >= 0; c = vbmq_cpuset_next(set, (unsigned)c + 1))

struct look {
	const struct vbmq_snapshot *s;
	const struct vbmq_host *h;
	uint32_t *n_allowed; /* by CPU */
	struct vbmq_cpuset used_l3; /* indexes */
	struct vbmq_score score;
};

void vbmq_score_allowed(const struct vbmq_snapshot *s, uint32_t *n_allowed)
{
	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < s->domains[i]->n_threads; j++)
			FOR_EACH_CPU(c, &s->domains[i]->threads[j].affinity)
	n_allowed[c]++;
}

static const struct vbmq_core *one_core(const struct vbmq_host *h, const struct vbmq_cpuset *affinity)
{
	int first = vbmq_cpuset_next(affinity, 0);
	const struct vbmq_core *core = first < 0 ? NULL : vbmq_host_core_of(h, (unsigned)first);

	return core && vbmq_cpuset_is_subset(affinity, &core->cpus) ? core : NULL;
}

bool vbmq_score_alone(const struct vbmq_host *h, const struct vbmq_cpuset *affinity, bool whole_core,
		      const uint32_t *n_allowed)
{
	const struct vbmq_core *core = one_core(h, affinity);
	const struct vbmq_cpuset *room = whole_core && core ? &core->cpus : affinity;

	if (!core)
		return false;
	FOR_EACH_CPU(c, room)
	if (n_allowed[c] > (vbmq_cpuset_has(affinity, (unsigned)c) ? 1u : 0u))
		return false;
	return true;
}

/* --- one thread ------------------------------------------------------------------------------------------------------- */

static uint64_t awkward(const struct vbmq_host *h, const struct vbmq_core *core)
{
	struct vbmq_cpuset isolated = vbmq_cpuset_and(&h->isolated, &h->usable);
	bool all_isolated = vbmq_cpuset_is_subset(&h->usable, &isolated);
	bool spares =
		!vbmq_cpuset_is_empty(&isolated) && !all_isolated && !vbmq_cpuset_intersects(&core->cpus, &isolated);
	int32_t fastest = core->kind;

	for (size_t c = 0; c < h->n_cores; c++)
		if (core->kind >= 0 && h->cores[c].kind > fastest)
			fastest = h->cores[c].kind;
	return vbmq_cost_fragment(spares, (uint32_t)(fastest - core->kind),
				  vbmq_cpuset_has(&core->cpus, (unsigned)vbmq_cpuset_next(&h->usable, 0)), 0);
}

/* The farthest node where it may run, from its devices and the guest's memory. */
static void add_numa(struct look *l, const struct vbmq_domain *d, const struct vbmq_thread *t)
{
	uint64_t worst = 0;
	bool known = !vbmq_cpuset_is_empty(&d->memory_nodes);

	for (uint32_t n = 0; n < l->h->n_nodes; n++) {
		uint64_t sum;

		if (!vbmq_cpuset_intersects(&t->affinity, &l->h->nodes[n].cpus))
			continue;
		sum = vbmq_cost_beyond_nearest(l->h, n, &d->memory_nodes);
		for (size_t i = 0; i < d->n_disks; i++) {
			bool serves = false;

			for (size_t q = 0; q < d->disks[i].n_queues && !serves; q++)
				serves = d->disks[i].queues[q].iothread == t->id;
			if (!serves || d->disks[i].node == VBMQ_NODE_UNKNOWN)
				continue;
			known = true;
			sum += vbmq_cost_beyond(l->h, n, (uint32_t)d->disks[i].node);
		}
		if (sum > worst)
			worst = sum;
	}
	l->score.numa += worst;
	l->score.n_served += known;
	l->score.n_remote += worst > 0;
}

/* Where a vCPU is to be met: where it is kept, or all of where its owner lets it float. What of that is shared at the
 * moment is no reason to move anybody. */
static struct vbmq_cpuset home_of(const struct look *l, const struct vbmq_domain *d, const struct vbmq_thread *vcpu)
{
	const struct vbmq_cpuset *leash = vcpu->has_pin ? &vcpu->pin : d->has_cpuset ? &d->cpuset : &l->h->usable;

	return vbmq_cost_is_fixed(l->h, &vcpu->affinity) ? vcpu->affinity : vbmq_cpuset_and(leash, &l->h->usable);
}

static void add_locality(struct look *l, const struct vbmq_domain *d, const struct vbmq_thread *t)
{
	struct vbmq_cpuset vcpus = VBMQ_CPUSET_EMPTY;
	int first = vbmq_cpuset_next(&t->affinity, 0);

	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			if (d->disks[i].queues[q].iothread == t->id)
				vcpus = vbmq_cpuset_or(&vcpus, &d->disks[i].queues[q].vcpus);
	FOR_EACH_CPU(v, &vcpus)
	{
		const struct vbmq_thread *vcpu = vbmq_domain_thread(d, VBMQ_THREAD_VCPU, (uint32_t)v);
		const struct vbmq_core *at;
		struct vbmq_cpuset home;

		if (!vcpu || first < 0 || l->h->core_of[first] == VBMQ_NO_CORE)
			continue;
		home = home_of(l, d, vcpu);
		l->score.locality += vbmq_cost_near(l->h, l->h->core_of[first], &home);
		if (!vbmq_cost_is_fixed(l->h, &home))
			continue;
		at = vbmq_host_core_of(l->h, (unsigned)vbmq_cpuset_next(&home, 0));
		l->score.n_completions++;
		l->score.n_far += !vbmq_cpuset_is_subset(&t->affinity, &l->h->l3s[at->l3].cpus);
	}
}

static bool serves_any(const struct vbmq_domain *d, uint32_t id)
{
	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			if (d->disks[i].queues[q].iothread == id)
				return true;
	return false;
}

static void add_thread(struct look *l, const struct vbmq_domain *d, const struct vbmq_thread *t,
		       const struct vbmq_wish *wish)
{
	bool io = t->kind == VBMQ_THREAD_IOTHREAD && wish->exclusive != VBMQ_EXCLUSIVE_NONE && serves_any(d, t->id);
	bool vcpu = t->kind == VBMQ_THREAD_VCPU && wish->vcpus == VBMQ_VCPUS_DEDICATED;
	const struct vbmq_core *core = one_core(l->h, &t->affinity);

	if (!io && !vcpu)
		return;
	l->score.n_threads++;
	if (vbmq_score_alone(l->h, &t->affinity, vcpu || wish->exclusive == VBMQ_EXCLUSIVE_CORE, l->n_allowed)) {
		l->score.n_own++;
		l->score.awkward += awkward(l->h, core);
	}
	if (io) {
		add_numa(l, d, t);
		add_locality(l, d, t);
	}
}

/* --- all of them ------------------------------------------------------------------------------------------------------ */

static int add_domain(struct look *l, const struct vbmq_domain *d, const struct vbmq_policy *policy)
{
	struct vbmq_wish wish = VBMQ_WISH_INIT;

	for (size_t j = 0; j < d->n_threads; j++) {
		const struct vbmq_core *core = one_core(l->h, &d->threads[j].affinity);

		if (core)
			vbmq_cpuset_add(&l->used_l3, core->l3);
	}
	if (vbmq_policy_merge(policy, &d->wish, &wish) < 0)
		return -ENOMEM;
	for (size_t j = 0; j < d->n_threads && wish.enabled != VBMQ_NO && !d->metadata_error; j++)
		add_thread(l, d, &d->threads[j], &wish);
	vbmq_wish_done(&wish);
	return 0;
}

int vbmq_score(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, struct vbmq_score *ret,
	       struct vbmq_err *err)
{
	_cleanup_free_ uint32_t *n_allowed = calloc(VBMQ_CPUS_MAX, sizeof(*n_allowed));
	struct look l = { .s = s, .h = s->host, .n_allowed = n_allowed };
	unsigned boot;

	if (!n_allowed)
		return vbmq_err_oom(err);
	boot = (unsigned)vbmq_cpuset_next(&s->host->usable, 0);
	vbmq_score_allowed(s, n_allowed);
	for (size_t i = 0; i < s->n_domains; i++)
		if (add_domain(&l, s->domains[i], policy) < 0)
			return vbmq_err_oom(err);
	for (unsigned i = 0; i < s->host->n_l3s; i++) {
		bool usable = vbmq_cpuset_intersects(&s->host->l3s[i].cpus, &s->host->usable) &&
			      !vbmq_cpuset_has(&s->host->l3s[i].cpus, boot);

		l.score.n_l3 += usable;
		l.score.n_l3_free += usable && !vbmq_cpuset_has(&l.used_l3, i);
	}
	*ret = l.score;
	return 0;
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

int vbmq_score_compare(const struct vbmq_score *a, const struct vbmq_score *b)
{
	int r = compare(b->n_own, a->n_own);

	r = r ? r : compare(a->numa, b->numa);
	r = r ? r : compare(a->locality, b->locality);
	r = r ? r : compare(a->awkward, b->awkward);
	return r ? r : compare(b->n_l3_free, a->n_l3_free);
}
