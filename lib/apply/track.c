/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "apply/track.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_track *, vbmq_track_free);

struct vbmq_track *vbmq_track_free(struct vbmq_track *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->n_disks; i++)
		free(t->disks[i].map);
	free(t->disks);
	free(t->threads);
	free(t->first_thread);
	free(t->irqs);
	free(t);
	return NULL;
}

static int copy_disks(struct vbmq_track *t)
{
	for (uint32_t d = 0; d < t->snapshot->n_domains; d++) {
		const struct vbmq_domain *domain = t->snapshot->domains[d];

		for (size_t i = 0; i < domain->n_disks; i++) {
			const struct vbmq_disk *from = &domain->disks[i];
			struct vbmq_track_disk *disk = &t->disks[t->n_disks++];

			disk->domain = d;
			disk->target = from->target;
			disk->map = calloc(from->n_queues ? from->n_queues : 1, sizeof(*disk->map));
			if (!disk->map)
				return -ENOMEM;
			disk->n_map = from->n_queues;
			disk->known = true;
			for (size_t q = 0; q < from->n_queues; q++)
				disk->map[q] = from->queues[q].iothread;
		}
	}
	return 0;
}

static void copy_threads(struct vbmq_track *t)
{
	for (uint32_t d = 0; d < t->snapshot->n_domains; d++) {
		const struct vbmq_domain *domain = t->snapshot->domains[d];

		t->first_thread[d] = t->n_threads;
		for (size_t i = 0; i < domain->n_threads; i++) {
			const struct vbmq_thread *from = &domain->threads[i];

			t->threads[t->n_threads++] = (struct vbmq_track_thread){
				.domain = d,
				.kind = from->kind,
				.id = from->id,
				.thread = from,
				.gone = vbmq_cpuset_is_empty(&from->affinity),
				.known = true,
				.cpus = from->affinity,
				.polling = from->polling,
			};
		}
	}
	t->first_thread[t->snapshot->n_domains] = t->n_threads;
}

static bool stands_alone(const struct vbmq_track *t, const struct vbmq_track_thread *own)
{
	for (size_t i = 0; i < t->n_threads; i++)
		if (&t->threads[i] != own && !t->threads[i].gone &&
		    vbmq_cpuset_intersects(&t->threads[i].cpus, &own->cpus))
			return false;
	return true;
}

/* A place is somebody's own if it was promised to him and he has it: nobody else may run there. */
static void find_exclusive(struct vbmq_track *t, const struct vbmq_placement *placement, const struct vbmq_undo *undo)
{
	for (size_t i = 0; i < t->n_threads; i++) {
		struct vbmq_track_thread *th = &t->threads[i];
		const struct vbmq_undo_entry *e =
			undo ? vbmq_undo_affinity(undo, t->snapshot->domains[th->domain], th->thread) : NULL;
		const struct vbmq_place_thread *place =
			placement ? vbmq_place_thread(&placement->domains[th->domain], th->kind, th->id) : NULL;

		th->exclusive =
			((e && e->exclusive) || (place && place->exclusive)) && !th->gone && stands_alone(t, th);
	}
}

int vbmq_track_new(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
		   const struct vbmq_undo *undo, const struct vbmq_step *steps, size_t n_steps, struct vbmq_track **ret)
{
	_cleanup_(vbmq_track_freep) struct vbmq_track *t = calloc(1, sizeof(*t));
	size_t n_disks = 0;

	if (!t)
		return -ENOMEM;
	t->snapshot = snapshot;
	t->placement = placement;
	for (size_t d = 0; d < snapshot->n_domains; d++) {
		t->max_threads += snapshot->domains[d]->n_threads;
		n_disks += snapshot->domains[d]->n_disks;
	}
	for (size_t i = 0; i < n_steps; i++)
		t->max_threads += steps[i].op == VBMQ_STEP_ADD_IOTHREAD;
	t->threads = calloc(t->max_threads + 1, sizeof(*t->threads));
	t->disks = calloc(n_disks + 1, sizeof(*t->disks));
	t->first_thread = calloc(snapshot->n_domains + 1, sizeof(*t->first_thread));
	t->irqs = calloc(snapshot->n_irqs + 1, sizeof(*t->irqs));
	if (!t->threads || !t->disks || !t->first_thread || !t->irqs || copy_disks(t) < 0)
		return -ENOMEM;
	copy_threads(t);
	find_exclusive(t, placement, undo);
	*ret = VBMQ_STEAL(t);
	return 0;
}

struct vbmq_track_thread *vbmq_track_thread(const struct vbmq_track *t, uint32_t domain, enum vbmq_thread_kind kind,
					    uint32_t id)
{
	size_t added = t->first_thread[t->snapshot->n_domains];

	/* added ones first: an id that was deleted may have come back */
	for (size_t i = t->n_threads; i-- > added;)
		if (t->threads[i].domain == domain && t->threads[i].kind == kind && t->threads[i].id == id)
			return &t->threads[i];
	for (size_t i = t->first_thread[domain]; i < t->first_thread[domain + 1]; i++)
		if (t->threads[i].kind == kind && t->threads[i].id == id)
			return &t->threads[i];
	return NULL;
}

struct vbmq_track_disk *vbmq_track_disk(const struct vbmq_track *t, uint32_t domain, const char *target)
{
	for (size_t i = 0; i < t->n_disks; i++)
		if (t->disks[i].domain == domain && strcmp(t->disks[i].target, target) == 0)
			return &t->disks[i];
	return NULL;
}

struct vbmq_track_part *vbmq_track_part(struct vbmq_track *t, const struct vbmq_step *step)
{
	const struct vbmq_irq *irq;

	if (step->op != VBMQ_STEP_MOVE_IRQ)
		return step->id < VBMQ_PARTS ? &t->parts[step->id] : NULL;
	irq = vbmq_snapshot_irq(t->snapshot, step->id, step->target);
	return irq ? &t->irqs[irq - t->snapshot->irqs] : NULL;
}

bool vbmq_track_serves(const struct vbmq_track *t, uint32_t domain, uint32_t iothread)
{
	for (size_t i = 0; i < t->n_disks; i++)
		for (size_t q = 0; t->disks[i].domain == domain && q < t->disks[i].n_map; q++)
			if (t->disks[i].map[q] == iothread)
				return true;
	return false;
}

/* --- what steps do ------------------------------------------------------------------------------------------------ */

static void add_thread(struct vbmq_track *t, const struct vbmq_step *step)
{
	struct vbmq_track_thread *th = vbmq_track_thread(t, step->domain, VBMQ_THREAD_IOTHREAD, step->id);

	if (th && !th->gone)
		return;
	if (!th || th->thread) {
		if (t->n_threads >= t->max_threads)
			return;
		th = &t->threads[t->n_threads++];
	}
	*th = (struct vbmq_track_thread){
		.domain = step->domain,
		.kind = VBMQ_THREAD_IOTHREAD,
		.id = step->id,
		.idle = true,
		.cpus = t->snapshot->host->usable,
		.polling = { .max_ns = UINT64_MAX, .mode = VBMQ_POLL_UNSAID },
	};
}

static void learn_map(struct vbmq_track_disk *disk, const struct vbmq_observed *o)
{
	disk->known = o && disk->n_map == o->n_map;
	if (disk->known)
		memcpy(disk->map, o->map, o->n_map * sizeof(*o->map));
}

void vbmq_track_assume(struct vbmq_track *t, const struct vbmq_step *step)
{
	struct vbmq_observed o = {
		.exists = step->op == VBMQ_STEP_ADD_IOTHREAD,
		.cpus = step->cpus ? *step->cpus : VBMQ_CPUSET_EMPTY,
		.polling = step->polling,
		.map = step->map,
		.n_map = step->n_map,
	};

	vbmq_track_learn(t, step, &o);
}

static void learn_pin(struct vbmq_track_thread *th, const struct vbmq_step *step, const struct vbmq_observed *o)
{
	if (step->tid != 0) {
		/* one task of an emulator: the union can only have grown */
		th->cpus = vbmq_cpuset_or(&th->cpus, o ? &o->cpus : step->cpus);
		return;
	}
	if (!o) {
		/* here or there, or on its way: whatever of it was a place of its own may still be one */
		th->cpus = vbmq_cpuset_or(&th->cpus, step->cpus);
		th->exclusive |= step->exclusive;
		th->known = false;
		th->idle = false;
		return;
	}
	if (vbmq_cpuset_equal(&o->cpus, step->cpus)) {
		th->exclusive = step->exclusive;
		th->idle = false;
	} else if (!vbmq_cpuset_equal(&o->cpus, &th->cpus)) {
		th->exclusive = false; /* neither where it was nor where it should be */
		th->idle = false;
	}
	th->cpus = o->cpus;
	th->known = true;
}

void vbmq_track_learn(struct vbmq_track *t, const struct vbmq_step *step, const struct vbmq_observed *o)
{
	struct vbmq_track_thread *th =
		vbmq_step_is_of_host(step) ? NULL : vbmq_track_thread(t, step->domain, step->kind, step->id);
	struct vbmq_track_disk *disk;

	switch (step->op) {
	case VBMQ_STEP_LIMIT_SLICE:
	case VBMQ_STEP_BAN_IRQS:
	case VBMQ_STEP_MOVE_IRQ:
		return; /* run.c: of no thread */
	case VBMQ_STEP_PIN:
		if (th)
			learn_pin(th, step, o);
		return;
	case VBMQ_STEP_ADD_IOTHREAD:
		if (!o || o->exists)
			add_thread(t, step);
		return;
	case VBMQ_STEP_DEL_IOTHREAD:
		th = vbmq_track_thread(t, step->domain, VBMQ_THREAD_IOTHREAD, step->id);
		if (th && o && !o->exists)
			th->gone = true;
		return;
	case VBMQ_STEP_SET_POLLING:
		th = vbmq_track_thread(t, step->domain, VBMQ_THREAD_IOTHREAD, step->id);
		if (th && o)
			th->polling = o->polling;
		else if (th)
			th->polling.max_ns = UINT64_MAX;
		return;
	case VBMQ_STEP_MAP_QUEUES:
		disk = vbmq_track_disk(t, step->domain, step->target);
		if (disk)
			learn_map(disk, o);
		return;
	}
}

void vbmq_track_domain_gone(struct vbmq_track *t, uint32_t domain)
{
	for (size_t i = 0; i < t->n_threads; i++)
		if (t->threads[i].domain == domain)
			t->threads[i].gone = true;
}

/* --- who is in whose way ------------------------------------------------------------------------------------------ */

unsigned vbmq_track_meet(const struct vbmq_track *t, const struct vbmq_cpuset *a_cpus, bool a_exclusive,
			 const struct vbmq_track_thread *b)
{
	struct vbmq_cpuset cores;

	if (b->gone || b->idle || (!a_exclusive && !b->exclusive))
		return 0;
	if (vbmq_cpuset_intersects(a_cpus, &b->cpus))
		return 2;
	cores = vbmq_host_whole_cores(t->snapshot->host, a_exclusive ? a_cpus : &b->cpus);
	return vbmq_cpuset_intersects(&cores, a_exclusive ? &b->cpus : a_cpus);
}

/* Its final place, if the thread has it, or may have it, for itself; else empty. */
static struct vbmq_cpuset final_place(const struct vbmq_track *t, const struct vbmq_track_thread *th)
{
	const struct vbmq_place_thread *place =
		t->placement ? vbmq_place_thread(&t->placement->domains[th->domain], th->kind, th->id) : NULL;

	return place && place->exclusive && vbmq_cpuset_is_subset(place->cpus, &th->cpus) ? *place->cpus
											  : VBMQ_CPUSET_EMPTY;
}

struct vbmq_cpuset vbmq_track_held(const struct vbmq_track *t, const struct vbmq_track_thread *except)
{
	const struct vbmq_host *host = t->snapshot->host;
	struct vbmq_cpuset own = VBMQ_CPUSET_EMPTY, placed = VBMQ_CPUSET_EMPTY, siblings, final;

	for (size_t i = 0; i < t->n_threads; i++) {
		const struct vbmq_track_thread *th = &t->threads[i];

		if (th == except || th->gone || !th->exclusive)
			continue;
		own = vbmq_cpuset_or(&own, &th->cpus);
		final = final_place(t, th);
		placed = vbmq_cpuset_or(&placed, &final);
	}
	siblings = vbmq_host_whole_cores(host, &own);
	siblings = vbmq_cpuset_andnot(&siblings, &own);
	for (size_t i = 0; i < t->n_threads; i++)
		if (&t->threads[i] != except && !t->threads[i].gone && !t->threads[i].idle)
			siblings = vbmq_cpuset_andnot(&siblings, &t->threads[i].cpus);
	own = vbmq_cpuset_or(&own, &siblings);
	if (vbmq_cpuset_is_empty(&placed))
		return own;
	placed = vbmq_host_whole_cores(host, &placed);
	placed = vbmq_cpuset_andnot(&placed, &t->placement->shared);
	return vbmq_cpuset_or(&own, &placed);
}
