/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "wishes.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/planner.h"
#include "say.h"
#include "sim.h"
#include "util/err.h"

static struct vbmq_placement *plan(const struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_placement *p = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_planner_run(s, policy, &p, &err) < 0) {
		fprintf(stderr, "wishes: %s\n", err.text);
		abort();
	}
	return p;
}

/* Cores of its own that a guest has for its threads of one kind. */
static size_t cores_of(const struct vbmq_host *h, const struct vbmq_place_domain *d, enum vbmq_thread_kind kind)
{
	struct vbmq_cpuset cores = VBMQ_CPUSET_EMPTY;

	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_place_thread *t = &d->threads[i];

		if (t->kind == kind && t->exclusive && t->planned)
			vbmq_cpuset_add(&cores, h->core_of[vbmq_cpuset_next(t->cpus, 0)]);
	}
	return vbmq_cpuset_count(&cores);
}

/* Without a core of its own it floats over the whole shared set, so that its wish has no bearing but on the cores it takes. */
static bool is_free(const struct vbmq_domain *d)
{
	if (d->has_cpuset)
		return false;
	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].has_pin && d->threads[i].kind == VBMQ_THREAD_VCPU)
			return false;
	return true;
}

/* --- priorities ------------------------------------------------------------------------------------------------------- */

const char *wishes_priority(struct gen *g, const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			    const struct vbmq_placement *p)
{
	struct vbmq_snapshot *other;
	struct vbmq_placement *q;
	const char *wrong = NULL;
	bool changed = false;
	int32_t from;

	if (p->n_domains < 2)
		return NULL;
	from = p->domains[gen_below(g, (uint32_t)p->n_domains)].priority;
	other = sim_copy(s);
	for (size_t i = 0; i < p->n_domains; i++) {
		if (p->domains[i].priority >= from || !p->domains[i].managed || !is_free(s->domains[i]))
			continue;
		other->domains[i]->wish.exclusive = VBMQ_EXCLUSIVE_NONE;
		other->domains[i]->wish.vcpus = VBMQ_VCPUS_FOLLOW;
		changed = true;
	}
	q = changed ? plan(other, policy) : NULL;
	for (size_t i = 0; i < p->n_domains && q && !wrong; i++)
		for (int kind = VBMQ_THREAD_VCPU; kind <= VBMQ_THREAD_IOTHREAD && !wrong; kind++) {
			size_t has = cores_of(s->host, &p->domains[i], (enum vbmq_thread_kind)kind);
			size_t alone = cores_of(s->host, &q->domains[i], (enum vbmq_thread_kind)kind);

			if (p->domains[i].priority >= from && has != alone)
				wrong = say("%s of priority %d has %zu %s cores, and %zu when all below %d want none",
					    p->domains[i].name, p->domains[i].priority, has,
					    vbmq_thread_kind_words[kind], alone, from);
		}
	vbmq_placement_free(q);
	vbmq_snapshot_free(other);
	return wrong;
}

/* --- fewer wishes ----------------------------------------------------------------------------------------------------- */

static void lessen(struct gen *g, struct vbmq_domain *d)
{
	switch (gen_below(g, 3)) {
	case 0:
		d->wish.exclusive = VBMQ_EXCLUSIVE_NONE;
		d->wish.vcpus = VBMQ_VCPUS_FOLLOW;
		break;
	case 1:
		d->wish.vcpus = VBMQ_VCPUS_FOLLOW;
		break;
	default:
		d->wish.iothreads = 1;
		break;
	}
}

const char *wishes_fewer(struct gen *g, const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			 const struct vbmq_placement *p)
{
	struct vbmq_snapshot *other;
	struct vbmq_placement *q;
	const char *wrong = NULL;
	int32_t gained = INT32_MIN;
	uint32_t who;

	if (p->n_domains < 2)
		return NULL;
	who = gen_below(g, (uint32_t)p->n_domains);
	if (!p->domains[who].managed || !is_free(s->domains[who]))
		return NULL;
	other = sim_copy(s);
	lessen(g, other->domains[who]);
	q = plan(other, policy);
	for (size_t i = 0; i < p->n_domains; i++)
		if (p->domains[i].priority > gained && cores_of(s->host, &q->domains[i], VBMQ_THREAD_VCPU) >
							       cores_of(s->host, &p->domains[i], VBMQ_THREAD_VCPU))
			gained = p->domains[i].priority;
	for (size_t i = 0; i < p->n_domains && !wrong; i++)
		for (int kind = VBMQ_THREAD_VCPU; kind <= VBMQ_THREAD_IOTHREAD && !wrong; kind++) {
			size_t had = cores_of(s->host, &p->domains[i], (enum vbmq_thread_kind)kind);
			size_t has = cores_of(s->host, &q->domains[i], (enum vbmq_thread_kind)kind);
			/* I/O threads of a priority come before its vCPUs. */
			bool before = p->domains[i].priority > gained ||
				      (p->domains[i].priority == gained && kind == VBMQ_THREAD_IOTHREAD);

			if (i != who && before && has < had)
				wrong = say("%s has %zu %s cores instead of %zu because %s wishes for less",
					    p->domains[i].name, has, vbmq_thread_kind_words[kind], had,
					    p->domains[who].name);
		}
	vbmq_placement_free(q);
	vbmq_snapshot_free(other);
	return wrong;
}
