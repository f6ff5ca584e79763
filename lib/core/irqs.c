/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Keeping a disk's interrupts with the I/O threads that submit to it.
 *
 * A request is submitted through the hardware queue of the CPU it is submitted on, and that queue's interrupt tells of its
 * completion. Where a disk has a queue for every CPU, the kernel has bound each queue's interrupt to its CPU and lets nobody
 * move it ("managed"): then all is well by itself. Where it has fewer queues than the host has CPUs, or the kernel
 * spread the CPUs otherwise, the interrupt of a dedicated core may come anywhere. One that can be moved is bound to the
 * CPUs of those I/O threads with a place of their own whose requests it completes. Of one that cannot, the plan says so.
 *
 * Only threads that submit themselves count: not those whose disk goes through QEMU's thread pool, which runs on the
 * emulator's CPUs. An interrupt that nobody needs any more gets back what was found.
 *
 * Limits. One of several queues' interrupts is bound to all their threads' CPUs, and comes on one of them. A running irqbalance
 * has to be told to leave it alone; where it cannot be (silent, or irqbalance=no), nothing is moved.
 */

#include "core/irqs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/diff.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/setref.h"
#include "util/strbuf.h"

#define CHECKS_MAX 10000000u

const char *const vbmq_irq_state_words[] = { "movable", "managed", "foreign", NULL };

/* --- placement -------------------------------------------------------------------------------------------------------- */

static const struct vbmq_disk *find_disk(const struct vbmq_domain *d, const char *target)
{
	for (size_t i = 0; i < d->n_disks; i++)
		if (strcmp(d->disks[i].target, target) == 0)
			return &d->disks[i];
	return NULL;
}

/* The thread's CPUs to the interrupts that complete what it submits to the disk. */
static void want_at(const struct vbmq_snapshot *s, const struct vbmq_disk *disk, const struct vbmq_cpuset *cpus,
		    struct vbmq_placement *p)
{
	for (size_t k = 0; k < s->n_irqs; k++)
		for (size_t i = 0; i < disk->n_devices; i++)
			if (strcmp(s->irqs[k].device, disk->devices[i]) == 0 &&
			    vbmq_cpuset_intersects(&s->irqs[k].cpus, cpus)) {
				p->irqs[k].cpus = vbmq_cpuset_or(&p->irqs[k].cpus, cpus);
				break;
			}
}

static void want_of_disk(const struct vbmq_snapshot *s, const struct vbmq_disk *disk, const struct vbmq_place_domain *d,
			 const struct vbmq_place_disk *place, struct vbmq_placement *p)
{
	uint32_t last = 0;

	for (size_t q = 0; q < place->n_queues; q++) {
		uint32_t id = place->queues[q].iothread;
		const struct vbmq_place_thread *t;

		if (id == 0 || id == last)
			continue;
		last = id;
		t = vbmq_place_thread(d, VBMQ_THREAD_IOTHREAD, id);
		if (t && t->exclusive && t->planned && !t->to_remove)
			want_at(s, disk, t->cpus, p);
	}
}

static void find_wanted(const struct vbmq_snapshot *s, struct vbmq_placement *p)
{
	for (size_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_disks; j++) {
			const struct vbmq_place_disk *place = &p->domains[i].disks[j];
			const struct vbmq_disk *disk = find_disk(s->domains[i], place->target);

			if (disk && disk->n_devices > 0 && !disk->aio_threads && !place->at_next_start)
				want_of_disk(s, disk, &p->domains[i], place, p);
		}
}

/* held: it has been told before. One that is silent for a while (it answers nobody in a scan) has not forgotten. */
static bool irqbalance_would_move_it(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, bool held)
{
	enum vbmq_part_state state = s->host->parts[VBMQ_PART_IRQBALANCE].state;

	return state != VBMQ_PART_ABSENT && ((state == VBMQ_PART_SILENT && !held) || !policy->ban_irqs);
}

static int place_one(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_irq *irq,
		     struct vbmq_place_irq *to, struct vbmq_diags *diags)
{
	bool wanted = policy->move_irqs && !vbmq_cpuset_is_empty(&to->cpus) &&
		      !irqbalance_would_move_it(s, policy, irq->held);
	bool drifted = irq->held && !vbmq_cpuset_equal(&irq->affinity, &irq->applied);
	int r = 0;

	if (irq->state != VBMQ_IRQ_MOVABLE)
		return 0;
	if (drifted)
		r = vbmq_diag_add(diags, VBMQ_DIAG_DRIFT, VBMQ_WARNING, irq->name,
				  "Somebody moved interrupt %u, which VBMq had moved; policy 'drift' says: %s.",
				  irq->irq, vbmq_drift_words[policy->drift]);
	if (r < 0 || (drifted && policy->drift == VBMQ_DRIFT_RESPECT))
		return r;
	to->planned = wanted || irq->held;
	to->put_back = to->planned && !wanted;
	if (to->put_back)
		to->cpus = irq->found;
	return 0;
}

/* Those of dedicated cores that come elsewhere and stay there, in one sentence. */
static int say_elsewhere(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, struct vbmq_placement *p)
{
	const struct vbmq_irq *first = NULL;
	_cleanup_free_ char *on = NULL;
	size_t n = 0;

	for (size_t i = 0; i < p->n_irqs; i++) {
		const struct vbmq_place_irq *to = &p->irqs[i];
		struct vbmq_cpuset own = vbmq_host_whole_cores(s->host, &to->cpus);

		if (to->planned || vbmq_cpuset_is_empty(&to->cpus) || vbmq_cpuset_is_subset(&to->on, &own))
			continue;
		if (n++ == 0)
			first = &s->irqs[i];
	}
	if (n == 0)
		return 0;
	on = vbmq_cpulist_format(&first->effective);
	return !on ? -ENOMEM
		   : vbmq_diag_add(&p->diags, VBMQ_DIAG_INTERRUPTS, VBMQ_INFO, "host",
				   "%zu interrupt(s) of disks do not come on the dedicated cores whose requests they "
				   "complete, the first: %u (%s) on CPU %s. %s",
				   n, first->irq, first->name, on,
				   first->state == VBMQ_IRQ_MANAGED   ? "The kernel placed it and lets nobody move it."
				   : first->state == VBMQ_IRQ_FOREIGN ? "Somebody has irqbalance leave it alone."
				   : !policy->move_irqs		      ? "interrupts=no in [host] of vbmqd.conf."
							: "irqbalance runs and cannot be told to leave it.");
}

int vbmq_irqs_place(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		    struct vbmq_placement *placement)
{
	if (snapshot->n_irqs == 0)
		return 0;
	placement->irqs = calloc(snapshot->n_irqs, sizeof(*placement->irqs));
	if (!placement->irqs)
		return -ENOMEM;
	placement->n_irqs = snapshot->n_irqs;
	for (size_t i = 0; i < snapshot->n_irqs; i++) {
		const struct vbmq_irq *irq = &snapshot->irqs[i];
		struct vbmq_place_irq *to = &placement->irqs[i];

		to->irq = irq->irq;
		memcpy(to->name, irq->name, sizeof(to->name));
		memcpy(to->device, irq->device, sizeof(to->device));
		to->state = irq->state;
		to->on = irq->effective;
	}
	find_wanted(snapshot, placement);
	for (size_t i = 0; i < snapshot->n_irqs; i++)
		if (place_one(snapshot, policy, &snapshot->irqs[i], &placement->irqs[i], &placement->diags) < 0)
			return -ENOMEM;
	return say_elsewhere(snapshot, policy, placement);
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */

static bool needs_step(const struct vbmq_irq *irq, const struct vbmq_place_irq *to)
{
	return to->planned && (!vbmq_cpuset_equal(&irq->affinity, &to->cpus) || (to->put_back && irq->held) ||
			       (irq->held && !vbmq_cpuset_equal(&irq->applied, &to->cpus)));
}

int vbmq_irqs_add_steps(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
			struct vbmq_step **steps, size_t *n)
{
	struct vbmq_step *all;
	size_t more = 0, at = *n;

	for (size_t i = 0; i < placement->n_irqs; i++)
		more += needs_step(&snapshot->irqs[i], &placement->irqs[i]);
	if (more == 0)
		return 0;
	all = calloc(*n + more, sizeof(*all));
	if (!all)
		return -ENOMEM;
	if (*n)
		memcpy(all, *steps, *n * sizeof(*all));
	for (size_t i = 0; i < placement->n_irqs && at < *n + more; i++) {
		const struct vbmq_place_irq *to = &placement->irqs[i];
		struct vbmq_step *s = &all[at];

		if (!needs_step(&snapshot->irqs[i], to))
			continue;
		s->op = VBMQ_STEP_MOVE_IRQ;
		s->domain = VBMQ_STEP_OF_HOST;
		s->kind = VBMQ_THREAD_EMULATOR;
		s->id = to->irq;
		memcpy(s->target, to->name, sizeof(s->target));
		s->cpus = vbmq_setref_new(&to->cpus);
		if (!s->cpus)
			break;
		s->exclusive = !to->put_back;
		at++;
	}
	if (at < *n + more) {
		while (at > *n)
			vbmq_setref_drop(all[--at].cpus);
		free(all);
		return -ENOMEM;
	}
	free(*steps);
	*steps = all;
	*n = at;
	return 0;
}

/* --- verify ----------------------------------------------------------------------------------------------------------- */

static char *explain(const struct vbmq_cpuset *is, const struct vbmq_cpuset *want, const char *name)
{
	_cleanup_free_ char *is_text = vbmq_cpulist_format(is), *want_text = vbmq_cpulist_format(want);
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

	if (!is_text || !want_text)
		return NULL;
	vbmq_strbuf_printf(&b, "%s may come on CPUs %s, should on %s", name, is_text, want_text);
	return vbmq_strbuf_steal(&b);
}

int vbmq_irqs_verify(const struct vbmq_snapshot *after, const struct vbmq_placement *placement,
		     struct vbmq_report *report)
{
	for (size_t i = 0; i < placement->n_irqs; i++) {
		const struct vbmq_place_irq *to = &placement->irqs[i];
		const struct vbmq_irq *is = vbmq_snapshot_irq(after, to->irq, to->name);
		struct vbmq_check *c;

		/* one that was put back and is not needed is not looked at again; of a device that has gone nothing is left */
		if (!to->planned || !is)
			continue;
		c = vbmq_array_add(report->checks, report->n_checks, CHECKS_MAX);
		if (!c)
			return -ENOMEM;
		c->is_irq = true;
		c->id = to->irq;
		c->want = to->cpus;
		c->is = is->affinity;
		if (vbmq_cpuset_equal(&c->is, &c->want))
			continue;
		c->kind = VBMQ_CHECK_DRIFT;
		report->n_bad_checks++;
		c->text = explain(&c->is, &c->want, to->name);
		if (!c->text)
			return -ENOMEM;
	}
	return 0;
}
