/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From the undo record to steps. Only what differs from what was found gets one, in phases over all domains:
 *   1. queue maps (queues leave the threads that will be deleted), 2. polling (nobody spins once cores are shared again),
 *   3. threads that have a place of their own leave it, 4. all other threads, 5. single tasks of emulators, whose process
 *   step 4 has just set to the union, 6. I/O threads that we added are deleted, 7. (of all only) the host's own work.
 * When everything is put back, nobody keeps an exclusive place, and what was found needs no cutting: overlaps that stand
 * afterwards stood before we came. When one domain is put back, the others keep their promise: what was found is cut by
 * every place that a thread of another domain has for itself, that is, where its entry says exclusive and it stands where
 * we put it. The siblings of its CPUs belong to it unless somebody runs there (exclusive=cpu).
 */

#include "core/undo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/diff.h"
#include "core/plan.h"
#include "util/array.h"
#include "util/err.h"
#include "util/setref.h"

#define STEPS_MAX 1000000u

enum phase { PHASE_MAP, PHASE_POLLING, PHASE_EXCLUSIVE, PHASE_AFFINITY, PHASE_TASK, PHASE_DELETE, N_PHASES };

struct make {
	const struct vbmq_undo *undo;
	const struct vbmq_snapshot *snapshot;
	struct vbmq_cpuset cut;
	struct vbmq_step *steps;
	size_t n;
};

/* CPUs a thread has for itself: its own, and those siblings nobody else may run on now. */
static struct vbmq_cpuset own_place(const struct vbmq_snapshot *s, const struct vbmq_thread *own)
{
	struct vbmq_cpuset place = vbmq_host_whole_cores(s->host, &own->affinity);
	struct vbmq_cpuset siblings = vbmq_cpuset_andnot(&place, &own->affinity);

	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < s->domains[i]->n_threads; j++)
			siblings = vbmq_cpuset_andnot(&siblings, &s->domains[i]->threads[j].affinity);
	return vbmq_cpuset_or(&siblings, &own->affinity);
}

static struct vbmq_cpuset places_of_others(const struct vbmq_undo *u, const struct vbmq_snapshot *s, const char *uuid)
{
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY;

	for (size_t i = 0; i < s->n_domains; i++) {
		const struct vbmq_domain *d = s->domains[i];

		if (strcmp(d->uuid, uuid) == 0)
			continue;
		for (size_t j = 0; j < d->n_threads; j++) {
			const struct vbmq_undo_entry *e = vbmq_undo_affinity(u, d, &d->threads[j]);

			if (e && e->exclusive && vbmq_cpuset_equal(&e->applied, &d->threads[j].affinity)) {
				struct vbmq_cpuset place = own_place(s, &d->threads[j]);

				all = vbmq_cpuset_or(&all, &place);
			}
		}
	}
	return all;
}

static struct vbmq_step *add_step(struct make *m, enum vbmq_step_op op, uint32_t domain)
{
	struct vbmq_step *step = vbmq_array_add(m->steps, m->n, STEPS_MAX);

	if (step) {
		step->op = op;
		step->domain = domain;
	}
	return step;
}

static int add_pin(struct make *m, uint32_t domain, const struct vbmq_undo_entry *e)
{
	const struct vbmq_thread *t = vbmq_domain_thread(m->snapshot->domains[domain], e->thread, e->id);
	struct vbmq_cpuset cpus = vbmq_cpuset_andnot(&e->found, &m->cut);
	struct vbmq_step *step;

	if (vbmq_cpuset_is_empty(&cpus) || (t && vbmq_cpuset_equal(&cpus, &t->affinity)))
		return 0;
	step = add_step(m, VBMQ_STEP_PIN, domain);
	if (!step)
		return -ENOMEM;
	step->kind = e->thread;
	step->id = e->id;
	step->cpus = vbmq_setref_new(&cpus);
	return step->cpus ? 0 : -ENOMEM;
}

/* Whether the task stands as found already: then its emulator was not touched, or this was played back before. */
static bool task_is_back(const struct vbmq_domain *d, const struct vbmq_undo_entry *e)
{
	for (size_t i = 0; i < d->n_odd_tasks; i++)
		if (d->odd_tasks[i].tid == e->tid && d->odd_tasks[i].start == e->start)
			return vbmq_cpuset_equal(&d->odd_tasks[i].affinity, &e->found);
	return false;
}

static bool emulator_has_step(const struct make *m, uint32_t domain)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->steps[i].domain == domain && m->steps[i].op == VBMQ_STEP_PIN &&
		    m->steps[i].kind == VBMQ_THREAD_EMULATOR && m->steps[i].tid == 0)
			return true;
	return false;
}

static int add_task(struct make *m, uint32_t domain, const struct vbmq_undo_entry *e)
{
	struct vbmq_cpuset cpus = vbmq_cpuset_andnot(&e->found, &m->cut);
	struct vbmq_step *step;

	if (vbmq_cpuset_is_empty(&cpus) ||
	    (!emulator_has_step(m, domain) && task_is_back(m->snapshot->domains[domain], e)))
		return 0;
	step = add_step(m, VBMQ_STEP_PIN, domain);
	if (!step)
		return -ENOMEM;
	step->kind = VBMQ_THREAD_EMULATOR;
	step->tid = e->tid;
	step->start = e->start;
	step->cpus = vbmq_setref_new(&cpus);
	return step->cpus ? 0 : -ENOMEM;
}

static int add_polling(struct make *m, uint32_t domain, const struct vbmq_undo_entry *e)
{
	const struct vbmq_thread *t = vbmq_domain_thread(m->snapshot->domains[domain], e->thread, e->id);
	struct vbmq_step *step;

	if (t && t->polling.max_ns == e->polling.max_ns && t->polling.grow == e->polling.grow &&
	    t->polling.shrink == e->polling.shrink && t->polling.mode == e->polling.mode)
		return 0;
	step = add_step(m, VBMQ_STEP_SET_POLLING, domain);
	if (!step)
		return -ENOMEM;
	step->kind = VBMQ_THREAD_IOTHREAD;
	step->id = e->id;
	step->polling = e->polling;
	return 0;
}

static int add_map(struct make *m, uint32_t domain, const struct vbmq_undo_entry *e)
{
	const struct vbmq_disk *disk = vbmq_domain_disk(m->snapshot->domains[domain], e->target);
	struct vbmq_step *step;
	size_t same = 0;

	while (same < e->n_map && disk->queues[same].iothread == e->map[same])
		same++;
	if (same == e->n_map)
		return 0;
	step = add_step(m, VBMQ_STEP_MAP_QUEUES, domain);
	if (!step)
		return -ENOMEM;
	memcpy(step->target, e->target, sizeof(step->target));
	step->map = calloc(e->n_map, sizeof(*step->map));
	if (!step->map)
		return -ENOMEM;
	memcpy(step->map, e->map, e->n_map * sizeof(*step->map));
	step->n_map = e->n_map;
	return 0;
}

static int add_delete(struct make *m, uint32_t domain, const struct vbmq_undo_entry *e)
{
	struct vbmq_step *step = add_step(m, VBMQ_STEP_DEL_IOTHREAD, domain);

	if (!step)
		return -ENOMEM;
	step->kind = VBMQ_THREAD_IOTHREAD;
	step->id = e->id;
	return 0;
}

static enum phase phase_of(const struct vbmq_undo_entry *e)
{
	switch (e->kind) {
	case VBMQ_UNDO_AFFINITY:
		return e->exclusive ? PHASE_EXCLUSIVE : PHASE_AFFINITY;
	case VBMQ_UNDO_TASK:
		return PHASE_TASK;
	case VBMQ_UNDO_POLLING:
		return PHASE_POLLING;
	case VBMQ_UNDO_ADDED:
		return PHASE_DELETE;
	case VBMQ_UNDO_MAP:
		return PHASE_MAP;
	case VBMQ_UNDO_PART:
	case VBMQ_UNDO_IRQ:
		return N_PHASES; /* add_parts() */
	}
	return N_PHASES;
}

static int add_entry(struct make *m, uint32_t domain, const struct vbmq_undo_entry *e)
{
	switch (e->kind) {
	case VBMQ_UNDO_AFFINITY:
		return add_pin(m, domain, e);
	case VBMQ_UNDO_TASK:
		return add_task(m, domain, e);
	case VBMQ_UNDO_POLLING:
		return add_polling(m, domain, e);
	case VBMQ_UNDO_ADDED:
		return add_delete(m, domain, e);
	case VBMQ_UNDO_MAP:
		return add_map(m, domain, e);
	case VBMQ_UNDO_PART:
	case VBMQ_UNDO_IRQ:
		return 0;
	}
	return 0;
}

/* Also one that stands as found: irqbalance is to have it again. */
static int add_irqs(struct make *m)
{
	for (size_t i = 0; i < m->snapshot->n_irqs; i++) {
		const struct vbmq_irq *irq = &m->snapshot->irqs[i];
		const struct vbmq_undo_entry *e = vbmq_undo_irq(m->undo, irq);
		struct vbmq_step *step;

		if (!e || irq->state == VBMQ_IRQ_MANAGED)
			continue;
		step = add_step(m, VBMQ_STEP_MOVE_IRQ, VBMQ_STEP_OF_HOST);
		if (!step)
			return -ENOMEM;
		step->kind = VBMQ_THREAD_EMULATOR;
		step->id = irq->irq;
		memcpy(step->target, irq->name, sizeof(step->target));
		step->cpus = vbmq_setref_new(&e->found);
		if (!step->cpus)
			return -ENOMEM;
	}
	return 0;
}

/* The host's own work comes back last, when all threads have left. irqbalance finds its own ban list again by itself. */
static int add_parts(struct make *m)
{
	const struct vbmq_cpuset none = VBMQ_CPUSET_EMPTY;

	for (unsigned i = 0; i < VBMQ_PARTS; i++) {
		const struct vbmq_undo_entry *e = vbmq_undo_part(m->undo, m->snapshot->host, i);
		const struct vbmq_part *is = &m->snapshot->host->parts[i];
		struct vbmq_step *step;

		if (!e || is->state != VBMQ_PART_OK || (i < VBMQ_SLICES && vbmq_cpuset_equal(&is->cpus, &e->found)))
			continue;
		step = add_step(m, i < VBMQ_SLICES ? VBMQ_STEP_LIMIT_SLICE : VBMQ_STEP_BAN_IRQS, VBMQ_STEP_OF_HOST);
		if (!step)
			return -ENOMEM;
		step->kind = VBMQ_THREAD_EMULATOR;
		step->id = i;
		step->cpus = vbmq_setref_new(i < VBMQ_SLICES ? &e->found : &none);
		if (!step->cpus)
			return -ENOMEM;
	}
	return 0;
}

static int find_domain(const struct vbmq_snapshot *s, const char *uuid, uint32_t *cached)
{
	if (*cached < s->n_domains && strcmp(s->domains[*cached]->uuid, uuid) == 0)
		return 0;
	for (size_t i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i]->uuid, uuid) == 0) {
			*cached = (uint32_t)i;
			return 0;
		}
	return -ENOENT;
}

int vbmq_undo_steps(const struct vbmq_undo *u, const struct vbmq_snapshot *snapshot, const char *uuid,
		    struct vbmq_step **ret_steps, size_t *ret_n, struct vbmq_err *err)
{
	struct make m = { .undo = u, .snapshot = snapshot };
	uint32_t domain = 0;

	if (uuid)
		m.cut = places_of_others(u, snapshot, uuid);
	for (enum phase phase = 0; phase < N_PHASES; phase++) {
		for (size_t i = 0; i < u->n_entries; i++) {
			const struct vbmq_undo_entry *e = &u->entries[i];

			if (phase_of(e) != phase || (uuid && strcmp(e->uuid, uuid) != 0) ||
			    find_domain(snapshot, e->uuid, &domain) < 0 ||
			    vbmq_undo_standing(u, e, snapshot->domains[domain]) != VBMQ_UNDO_CURRENT)
				continue;
			if (add_entry(&m, domain, e) < 0) {
				vbmq_steps_free(m.steps, m.n);
				return vbmq_err_oom(err);
			}
		}
	}
	if (!uuid && (add_irqs(&m) < 0 || add_parts(&m) < 0)) {
		vbmq_steps_free(m.steps, m.n);
		return vbmq_err_oom(err);
	}
	*ret_steps = m.steps;
	*ret_n = m.n;
	return 0;
}
