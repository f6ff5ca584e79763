/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_stats *, vbmq_stats_free);

struct vbmq_stats *vbmq_stats_free(struct vbmq_stats *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_disks; i++)
		free(s->disks[i].queues);
	free(s->disks);
	free(s->threads);
	free(s->name);
	free(s);
	return NULL;
}

static int copy_disk(const struct vbmq_disk *from, struct vbmq_stats_disk *to)
{
	to->queues = calloc(from->n_queues ? from->n_queues : 1, sizeof(*to->queues));
	if (!to->queues)
		return -ENOMEM;
	memcpy(to->target, from->target, sizeof(to->target));
	to->started = from->started;
	to->n_queues = from->n_queues;
	for (size_t q = 0; q < from->n_queues; q++) {
		to->queues[q].iothread = from->queues[q].iothread;
		to->queues[q].vcpus = from->queues[q].vcpus;
		to->queues[q].vcpus_exact = from->queues[q].vcpus_exact;
	}
	return 0;
}

int vbmq_stats_new(const struct vbmq_domain *d, struct vbmq_stats **ret)
{
	_cleanup_(vbmq_stats_freep) struct vbmq_stats *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->name = strdup(d->name);
	s->threads = calloc(d->n_threads + 1, sizeof(*s->threads));
	s->disks = calloc(d->n_disks + 1, sizeof(*s->disks));
	if (!s->name || !s->threads || !s->disks)
		return -ENOMEM;
	memcpy(s->uuid, d->uuid, sizeof(s->uuid));
	s->id = d->id;
	for (int main_loop = 1; main_loop >= 0; main_loop--)
		for (size_t i = 0; i < d->n_threads; i++) {
			const struct vbmq_thread *t = &d->threads[i];
			struct vbmq_stats_thread *to = &s->threads[s->n_threads];

			if (t->kind != (main_loop ? VBMQ_THREAD_EMULATOR : VBMQ_THREAD_IOTHREAD))
				continue;
			to->id = main_loop ? 0 : t->id;
			to->tid = t->tid;
			to->affinity = t->affinity;
			to->polling = t->polling;
			if (main_loop)
				to->polling = (struct vbmq_polling){ .max_ns = UINT64_MAX, .mode = VBMQ_POLL_UNSAID };
			s->n_threads++;
		}
	for (; s->n_disks < d->n_disks; s->n_disks++)
		if (copy_disk(&d->disks[s->n_disks], &s->disks[s->n_disks]) < 0)
			return -ENOMEM;
	*ret = VBMQ_STEAL(s);
	return 0;
}

/* --- rates ------------------------------------------------------------------------------------------------------------ */

static uint64_t grown(uint64_t before, uint64_t after)
{
	return after >= before ? after - before : after;
}

/* part * scale / whole, rounded (where the product is too large for that, nearly); saturating. */
static uint64_t ratio(uint64_t part, uint64_t scale, uint64_t whole)
{
	if (whole == 0)
		return 0;
	if (part <= (UINT64_MAX - whole / 2) / scale)
		return (part * scale + whole / 2) / whole;
	return whole / scale ? part / (whole / scale) : UINT64_MAX;
}

static uint32_t share(uint64_t before, uint64_t after, uint64_t between)
{
	uint64_t r = ratio(grown(before, after), 1000, between);

	return r > 1000 ? 1000 : (uint32_t)r;
}

struct vbmq_thread_rates vbmq_thread_rates(const struct vbmq_stats_thread *before,
					   const struct vbmq_stats_thread *after, uint64_t between)
{
	struct vbmq_thread_rates r = { .runs = false };
	uint64_t hits, misses;

	if (!before)
		return r;
	r.runs = before->runs && after->runs;
	if (r.runs) {
		r.run = share(before->run_ns, after->run_ns, between);
		r.wait = share(before->wait_ns, after->wait_ns, between);
	}
	r.counts = before->counts && after->counts;
	if (r.counts) {
		r.busy = share(before->busy_ns, after->busy_ns, between);
		r.poll = share(before->poll_ns, after->poll_ns, between);
		r.blocked = share(before->blocked_ns, after->blocked_ns, between);
		hits = grown(before->poll_hits, after->poll_hits);
		misses = grown(before->poll_misses, after->poll_misses);
		r.poll_success = misses > UINT64_MAX - hits ? 0 : (uint32_t)ratio(hits, 1000, hits + misses);
	}
	return r;
}

struct vbmq_queue_rates vbmq_queue_rates(const struct vbmq_stats_queue *before, const struct vbmq_stats_queue *after,
					 uint64_t between)
{
	struct vbmq_queue_rates r = { .counts = false };
	uint64_t each;

	if (!before || !before->counts || !after->counts)
		return r;
	r.counts = true;
	r.requests = grown(before->requests, after->requests);
	r.per_second = ratio(r.requests, 1000000000, between);
	each = r.requests ? r.requests : 1;
	r.kicks = ratio(grown(before->kicks, after->kicks), 1000, each);
	r.interrupts = ratio(grown(before->interrupts, after->interrupts), 1000, each);
	r.poll_hits = ratio(grown(before->poll_hits, after->poll_hits), 1000, each);
	return r;
}

const struct vbmq_stats_thread *vbmq_stats_thread(const struct vbmq_stats *s, uint32_t id, uint32_t tid)
{
	for (size_t i = 0; s && i < s->n_threads; i++)
		if (s->threads[i].id == id && s->threads[i].tid == tid)
			return &s->threads[i];
	return NULL;
}

const struct vbmq_stats_queue *vbmq_stats_queue(const struct vbmq_stats *s, const char *target, size_t index)
{
	for (size_t i = 0; s && i < s->n_disks; i++)
		if (strcmp(s->disks[i].target, target) == 0)
			return index < s->disks[i].n_queues ? &s->disks[i].queues[index] : NULL;
	return NULL;
}
