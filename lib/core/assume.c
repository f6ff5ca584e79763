/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/assume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"

struct vbmq_snapshot *vbmq_assumed_free(struct vbmq_snapshot *s)
{
	if (s)
		s->host = NULL; /* lent */
	return vbmq_snapshot_free(s);
}
VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_assumed_free);

static int copy(const struct vbmq_snapshot *s, struct vbmq_snapshot **ret)
{
	_cleanup_(vbmq_assumed_freep) struct vbmq_snapshot *c = vbmq_snapshot_new();

	if (!c)
		return -ENOMEM;
	c->host = s->host;
	c->domains = calloc(s->n_domains + 1, sizeof(struct vbmq_domain *));
	if (!c->domains)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_domains; i++) {
		if (vbmq_domain_copy(s->domains[i], &c->domains[i]) < 0)
			return -ENOMEM;
		c->n_domains++;
	}
	*ret = VBMQ_STEAL(c);
	return 0;
}

static struct vbmq_thread *find(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	size_t at = 0;

	while (at < d->n_threads && (d->threads[at].kind != kind || d->threads[at].id != id))
		at++;
	return at < d->n_threads ? &d->threads[at] : NULL;
}

/* Keeps the order by kind and id. A new thread starts where the emulator is. */
static int add_iothread(struct vbmq_domain *d, uint32_t id)
{
	const struct vbmq_thread *emulator = find(d, VBMQ_THREAD_EMULATOR, 0);
	struct vbmq_thread t = {
		.kind = VBMQ_THREAD_IOTHREAD,
		.id = id,
		.affinity = emulator ? emulator->affinity : VBMQ_CPUSET_EMPTY,
		.added = true,
		.polling = { .max_ns = 32768, .mode = VBMQ_POLL_UNSAID },
	};
	size_t at = 0;

	if (find(d, VBMQ_THREAD_IOTHREAD, id))
		return 0;
	if (!vbmq_array_add(d->threads, d->n_threads, VBMQ_VCPUS_MAX + VBMQ_IOTHREADS_MAX + 1))
		return -ENOMEM;
	while (at < d->n_threads - 1 && (d->threads[at].kind < VBMQ_THREAD_IOTHREAD ||
					 (d->threads[at].kind == VBMQ_THREAD_IOTHREAD && d->threads[at].id < id)))
		at++;
	memmove(&d->threads[at + 1], &d->threads[at], (d->n_threads - 1 - at) * sizeof(t));
	d->threads[at] = t;
	return 0;
}

static void del_iothread(struct vbmq_domain *d, struct vbmq_thread *t)
{
	size_t at = (size_t)(t - d->threads);

	memmove(t, t + 1, (d->n_threads - at - 1) * sizeof(*t));
	d->n_threads--;
}

static void map_queues(struct vbmq_domain *d, const struct vbmq_step *s)
{
	struct vbmq_disk *disk = vbmq_domain_disk(d, s->target);

	if (!disk)
		return;
	for (size_t q = 0; q < s->n_map && q < disk->n_queues; q++)
		disk->queues[q].iothread = disk->queues[q].applied = s->map[q];
	disk->held = true;
}

static int play(struct vbmq_domain *d, const struct vbmq_step *s)
{
	struct vbmq_thread *t = find(d, s->op == VBMQ_STEP_PIN ? s->kind : VBMQ_THREAD_IOTHREAD, s->id);

	if (s->op == VBMQ_STEP_ADD_IOTHREAD)
		return add_iothread(d, s->id);
	if (s->op == VBMQ_STEP_MAP_QUEUES)
		map_queues(d, s);
	if (!t)
		return 0;
	if (s->op == VBMQ_STEP_PIN) {
		t->affinity = t->applied = *s->cpus;
		t->held = true;
		t->own = s->exclusive;
	} else if (s->op == VBMQ_STEP_SET_POLLING) {
		t->polling = s->polling;
	} else if (s->op == VBMQ_STEP_DEL_IOTHREAD) {
		del_iothread(d, t);
	}
	return 0;
}

int vbmq_assume(const struct vbmq_snapshot *snapshot, const struct vbmq_step *steps, size_t n_steps,
		struct vbmq_snapshot **ret, struct vbmq_err *err)
{
	_cleanup_(vbmq_assumed_freep) struct vbmq_snapshot *c = NULL;

	if (copy(snapshot, &c) < 0)
		return vbmq_err_oom(err);
	for (size_t i = 0; i < n_steps; i++)
		if (steps[i].domain < c->n_domains && play(c->domains[steps[i].domain], &steps[i]) < 0)
			return vbmq_err_oom(err);
	*ret = VBMQ_STEAL(c);
	return 0;
}
