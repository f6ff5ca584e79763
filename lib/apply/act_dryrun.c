/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Steps on a copy. It stays in the order of vbmq_snapshot_finish(), so that it can be planned again. What a real host would refuse is refused: a thread that is not there, one that is there already, a
 * map to a thread that does not exist, deleting a thread that serves a queue, no CPUs.
 */

#include "apply/act_dryrun.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"

struct vbmq_dryrun {
	struct vbmq_snapshot *state;
	uint32_t next_tid;
};

VBMQ_DEFINE_CLEANUP(struct vbmq_dryrun *, vbmq_dryrun_free);

#define FIRST_TID 0x40000000u /* above what Linux gives out, so that added threads meet no real one */

static struct vbmq_domain *find_domain(struct vbmq_dryrun *d, const struct vbmq_domain *like)
{
	return vbmq_snapshot_find(d->state, like->uuid);
}

static struct vbmq_thread *find_thread(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].kind == kind && d->threads[i].id == id)
			return &d->threads[i];
	return NULL;
}

static int check_domain(void *ctx, const struct vbmq_domain *domain, struct vbmq_err *err)
{
	const struct vbmq_domain *d = find_domain(ctx, domain);

	if (!d || d->pid != domain->pid || d->id != domain->id)
		return vbmq_err_set(err, -ENOENT, "domain %s is gone", domain->name);
	return 0;
}

static int add_iothread(struct vbmq_dryrun *dry, struct vbmq_domain *d, uint32_t id, struct vbmq_err *err)
{
	struct vbmq_thread *t;
	size_t at;

	if (find_thread(d, VBMQ_THREAD_IOTHREAD, id))
		return vbmq_err_set(err, -EEXIST, "domain %s has an I/O thread %u already", d->name, id);
	if (!vbmq_array_add(d->threads, d->n_threads, SIZE_MAX))
		return vbmq_err_oom(err);
	at = d->n_threads - 1;
	while (at > 0 && (d->threads[at - 1].kind > VBMQ_THREAD_IOTHREAD ||
			  (d->threads[at - 1].kind == VBMQ_THREAD_IOTHREAD && d->threads[at - 1].id > id)))
		at--;
	t = &d->threads[at];
	memmove(t + 1, t, (d->n_threads - 1 - at) * sizeof(*t));
	*t = (struct vbmq_thread){ .kind = VBMQ_THREAD_IOTHREAD };
	t->id = id;
	t->tid = dry->next_tid++;
	t->start = t->tid;
	t->affinity = d->has_cpuset ? d->cpuset : dry->state->host->usable;
	t->added = true;
	t->polling = (struct vbmq_polling){ .max_ns = 32768, .mode = VBMQ_POLL_UNSAID };
	return 0;
}

static int del_iothread(struct vbmq_domain *d, uint32_t id, struct vbmq_err *err)
{
	struct vbmq_thread *t = find_thread(d, VBMQ_THREAD_IOTHREAD, id);

	if (!t)
		return vbmq_err_set(err, -ESRCH, "domain %s has no I/O thread %u", d->name, id);
	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			if (d->disks[i].queues[q].iothread == id)
				return vbmq_err_set(err, -EINVAL, "I/O thread %u serves disk %s", id,
						    d->disks[i].target);
	memmove(t, t + 1, (d->n_threads - 1 - (size_t)(t - d->threads)) * sizeof(*t));
	d->n_threads--;
	return 0;
}

static int pin(struct vbmq_domain *d, const struct vbmq_thread *thread, const struct vbmq_step *step,
	       struct vbmq_err *err)
{
	struct vbmq_thread *t = find_thread(d, step->kind, step->id);

	if (!t || (thread && (t->tid != thread->tid || t->start != thread->start)))
		return vbmq_err_set(err, -ESRCH, "the thread is gone");
	if (vbmq_cpuset_is_empty(step->cpus))
		return vbmq_err_set(err, -EINVAL, "no CPUs to pin to");
	if (step->tid != 0) {
		for (size_t i = 0; i < d->n_odd_tasks; i++) {
			if (d->odd_tasks[i].tid == step->tid && d->odd_tasks[i].start == step->start) {
				d->odd_tasks[i].affinity = *step->cpus;
				return 0;
			}
		}
		return vbmq_err_set(err, -ESRCH, "the task is gone");
	}
	t->affinity = *step->cpus;
	for (size_t i = 0; step->kind == VBMQ_THREAD_EMULATOR && i < d->n_odd_tasks; i++)
		d->odd_tasks[i].affinity = *step->cpus;
	return 0;
}

static int map_queues(struct vbmq_domain *d, const struct vbmq_step *step, struct vbmq_err *err)
{
	struct vbmq_disk *disk = vbmq_domain_disk(d, step->target);

	if (!disk || disk->n_queues != step->n_map)
		return vbmq_err_set(err, -EINVAL, "no disk %s with %zu queues", step->target, step->n_map);
	for (size_t q = 0; q < step->n_map; q++)
		if (step->map[q] != 0 && !find_thread(d, VBMQ_THREAD_IOTHREAD, step->map[q]))
			return vbmq_err_set(err, -EINVAL, "there is no I/O thread %u", step->map[q]);
	for (size_t q = 0; q < step->n_map; q++)
		disk->queues[q].iothread = step->map[q];
	return 0;
}

static int execute(void *ctx, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		   const struct vbmq_step *step, struct vbmq_err *err)
{
	struct vbmq_domain *d = find_domain(ctx, domain);
	struct vbmq_thread *t;

	if (!d)
		return vbmq_err_set(err, -ENOENT, "domain %s is gone", domain->name);
	switch (step->op) {
	case VBMQ_STEP_ADD_IOTHREAD:
		return add_iothread(ctx, d, step->id, err);
	case VBMQ_STEP_DEL_IOTHREAD:
		return del_iothread(d, step->id, err);
	case VBMQ_STEP_PIN:
		return pin(d, thread, step, err);
	case VBMQ_STEP_SET_POLLING:
		t = find_thread(d, VBMQ_THREAD_IOTHREAD, step->id);
		if (!t)
			return vbmq_err_set(err, -ESRCH, "domain %s has no I/O thread %u", d->name, step->id);
		t->polling = step->polling;
		return 0;
	case VBMQ_STEP_MAP_QUEUES:
		return map_queues(d, step, err);
	case VBMQ_STEP_LIMIT_SLICE:
	case VBMQ_STEP_BAN_IRQS:
	case VBMQ_STEP_MOVE_IRQ:
		break; /* vbmq_dryrun_parts() */
	}
	return vbmq_err_set(err, -ENOTSUP, "unknown step");
}

static int observe_map(const struct vbmq_domain *d, const char *target, struct vbmq_observed *ret, struct vbmq_err *err)
{
	const struct vbmq_disk *disk = vbmq_domain_disk(d, target);
	uint32_t *map;

	if (!disk)
		return vbmq_err_set(err, -EINVAL, "there is no disk %s", target);
	map = calloc(disk->n_queues ? disk->n_queues : 1, sizeof(*map));
	if (!map)
		return vbmq_err_oom(err);
	for (size_t q = 0; q < disk->n_queues; q++)
		map[q] = disk->queues[q].iothread;
	ret->map = map;
	ret->n_map = disk->n_queues;
	return 0;
}

static int observe(void *ctx, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		   const struct vbmq_step *step, struct vbmq_observed *ret, struct vbmq_err *err)
{
	struct vbmq_domain *d = find_domain(ctx, domain);
	const struct vbmq_thread *t;

	if (!d)
		return vbmq_err_set(err, -ENOENT, "domain %s is gone", domain->name);
	if (step->op == VBMQ_STEP_MAP_QUEUES)
		return observe_map(d, step->target, ret, err);
	t = find_thread(d, step->op == VBMQ_STEP_PIN ? step->kind : VBMQ_THREAD_IOTHREAD, step->id);
	if (step->op == VBMQ_STEP_ADD_IOTHREAD || step->op == VBMQ_STEP_DEL_IOTHREAD) {
		ret->exists = t;
		return 0;
	}
	if (!t || (thread && (t->tid != thread->tid || t->start != thread->start)))
		return vbmq_err_set(err, -ESRCH, "the thread is gone");
	ret->exists = true;
	ret->cpus = t->affinity;
	ret->polling = t->polling;
	for (size_t i = 0; step->tid != 0 && i < d->n_odd_tasks; i++)
		if (d->odd_tasks[i].tid == step->tid)
			ret->cpus = d->odd_tasks[i].affinity;
	return 0;
}

static const struct vbmq_actuator_ops ops = { check_domain, execute, observe };

static int execute_part(void *ctx, const struct vbmq_step *step, struct vbmq_err *err)
{
	struct vbmq_dryrun *dry = ctx;
	struct vbmq_irq *irq = vbmq_snapshot_irq(dry->state, step->id, step->target);
	struct vbmq_part *part;

	if (step->op == VBMQ_STEP_MOVE_IRQ) {
		if (!irq)
			return vbmq_err_set(err, -ENOENT, "interrupt %u is not there", step->id);
		if (irq->state == VBMQ_IRQ_MANAGED)
			return vbmq_err_set(err, -ENOTSUP, "the kernel manages interrupt %u", step->id);
		irq->affinity = irq->effective = *step->cpus;
		return 0;
	}
	part = &dry->state->host->parts[step->id];
	if (part->state != VBMQ_PART_OK)
		return vbmq_err_set(err, -ENOTSUP, "%s is not there, or not to be set", vbmq_part_words[step->id]);
	part->cpus = *step->cpus;
	return 0;
}

static int observe_part(void *ctx, const struct vbmq_step *step, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct vbmq_dryrun *dry = ctx;
	const struct vbmq_irq *irq = vbmq_snapshot_irq(dry->state, step->id, step->target);

	if (step->op == VBMQ_STEP_MOVE_IRQ && !irq)
		return vbmq_err_set(err, -ENOENT, "interrupt %u is not there", step->id);
	*ret = step->op == VBMQ_STEP_MOVE_IRQ ? irq->affinity : dry->state->host->parts[step->id].cpus;
	return 0;
}

struct vbmq_part_actuator vbmq_dryrun_parts(struct vbmq_dryrun *d)
{
	static const struct vbmq_part_actuator_ops part_ops = { execute_part, observe_part };

	return (struct vbmq_part_actuator){ &part_ops, d };
}

static int copy_host(const struct vbmq_host *from, struct vbmq_host **ret)
{
	struct vbmq_host *h = vbmq_host_new();

	if (!h)
		return -ENOMEM;
	*h = *from;
	h->name = from->name ? strdup(from->name) : NULL;
	h->cores = calloc(from->n_cores + 1, sizeof(*h->cores));
	h->l3s = calloc(from->n_l3s + 1, sizeof(*h->l3s));
	h->nodes = calloc(from->n_nodes + 1, sizeof(*h->nodes));
	h->distances = calloc(from->n_nodes * from->n_nodes + 1, sizeof(*h->distances));
	if ((from->name && !h->name) || !h->cores || !h->l3s || !h->nodes || !h->distances) {
		vbmq_host_free(h);
		return -ENOMEM;
	}
	memcpy(h->cores, from->cores, from->n_cores * sizeof(*h->cores));
	memcpy(h->l3s, from->l3s, from->n_l3s * sizeof(*h->l3s));
	memcpy(h->nodes, from->nodes, from->n_nodes * sizeof(*h->nodes));
	memcpy(h->distances, from->distances, from->n_nodes * from->n_nodes * sizeof(*h->distances));
	*ret = h;
	return 0;
}

static int copy_snapshot(const struct vbmq_snapshot *from, struct vbmq_snapshot *to)
{
	int r = copy_host(from->host, &to->host);

	if (r < 0)
		return r;
	if (from->policy) {
		to->policy = calloc(1, sizeof(*to->policy));
		if (!to->policy)
			return -ENOMEM;
		vbmq_policy_init(to->policy);
		r = vbmq_policy_copy(from->policy, to->policy);
		if (r < 0)
			return r;
	}
	if (from->n_irqs) {
		to->irqs = calloc(from->n_irqs, sizeof(*to->irqs));
		if (!to->irqs)
			return -ENOMEM;
		memcpy(to->irqs, from->irqs, from->n_irqs * sizeof(*to->irqs));
		to->n_irqs = from->n_irqs;
	}
	for (size_t i = 0; i < from->n_domains; i++) {
		struct vbmq_domain *d;

		r = vbmq_domain_copy(from->domains[i], &d);
		if (r < 0)
			return r;
		r = vbmq_snapshot_add(to, d, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

int vbmq_dryrun_new(const struct vbmq_snapshot *snapshot, struct vbmq_dryrun **ret, struct vbmq_actuator *ret_actuator)
{
	_cleanup_(vbmq_dryrun_freep) struct vbmq_dryrun *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->next_tid = FIRST_TID;
	d->state = vbmq_snapshot_new();
	if (!d->state)
		return -ENOMEM;
	r = copy_snapshot(snapshot, d->state);
	if (r < 0)
		return r;
	*ret_actuator = (struct vbmq_actuator){ &ops, d };
	*ret = VBMQ_STEAL(d);
	return 0;
}

struct vbmq_dryrun *vbmq_dryrun_free(struct vbmq_dryrun *d)
{
	if (!d)
		return NULL;
	vbmq_snapshot_free(d->state);
	free(d);
	return NULL;
}

const struct vbmq_snapshot *vbmq_dryrun_state(const struct vbmq_dryrun *d)
{
	return d->state;
}
