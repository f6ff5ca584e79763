/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which I/O threads of a domain may serve, in the order in which they would be given up last to first:
 *   mandatory  they serve something that is not ours to map (a hand-written map, one that somebody changed and the policy
 *              respects, a controller, a disk of a running guest without live map),
 *   existing   the rest of what the domain has by itself, lowest id first,
 *   added      by us, before or now: lowest free ids, only as many as are wanted.
 * None of this depends on the pass, so a thread that one plan adds is where the next plan looks for it.
 */

#include <errno.h>
#include <stdlib.h>

#include "core/planner_internal.h"

static bool is_ours(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, const struct vbmq_disk *disk)
{
	if (!d->free_map || disk->no_ioeventfd)
		return false;
	if (d->running && pl->policy->drift == VBMQ_DRIFT_RESPECT && vbmq_disk_drifted(disk))
		return false;
	for (size_t q = 0; disk->mapped && q < disk->n_queues; q++)
		if (disk->queues[q].iothread)
			return false;
	return true;
}

/* How many of the domain's I/O threads can serve this disk. */
static size_t disk_limit(const struct vbmq_pl_domain *d, const struct vbmq_disk *disk)
{
	const struct vbmq_disk_wish *w = vbmq_wish_find_disk(&d->wish, disk->target);
	size_t limit = disk->n_queues;

	if (w && w->iothreads > VBMQ_COUNT_AUTO && (size_t)w->iothreads < limit)
		limit = (size_t)w->iothreads;
	return limit;
}

static void mark_mandatory(const struct vbmq_pl *pl, struct vbmq_pl_domain *d)
{
	for (size_t i = 0; i < d->d->n_disks; i++) {
		const struct vbmq_disk *disk = &d->d->disks[i];

		d->disk_free[i] = d->managed && d->touch && is_ours(pl, d, disk);
		for (size_t q = 0; q < disk->n_queues; q++) {
			struct vbmq_pl_thread *t = NULL;

			if (!d->disk_free[i] && disk->queues[q].iothread)
				t = vbmq_pl_find(d, VBMQ_THREAD_IOTHREAD, disk->queues[q].iothread);
			if (t)
				t->mandatory = true;
		}
	}
	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].kind == VBMQ_THREAD_IOTHREAD &&
		    vbmq_cpuset_has(&d->d->busy_iothreads, d->threads[i].id))
			d->threads[i].mandatory = true;
}

/* How many threads should serve at most (*ret_serve), and how many should be there all in all. */
static size_t count(const struct vbmq_pl_domain *d, size_t n_mandatory, size_t auto_max, size_t *ret_serve)
{
	size_t useful = 0, queues = 0, want;

	for (size_t i = 0; i < d->d->n_disks; i++) {
		queues += d->d->disks[i].n_queues;
		if (d->disk_free[i])
			useful += disk_limit(d, &d->d->disks[i]);
	}
	if (d->wish.iothreads > VBMQ_COUNT_AUTO) {
		want = (size_t)d->wish.iothreads;
	} else {
		want = queues < auto_max ? queues : auto_max;
		if (d->d->n_vcpus && d->d->n_vcpus < want)
			want = d->d->n_vcpus;
	}
	*ret_serve = useful < want ? useful : want;
	if (*ret_serve < n_mandatory)
		*ret_serve = n_mandatory;
	return d->wish.iothreads > VBMQ_COUNT_AUTO && want > *ret_serve ? want : *ret_serve;
}

static int by_kind_id(const void *a, const void *b)
{
	const struct vbmq_pl_thread *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int add_new(struct vbmq_pl *pl, struct vbmq_pl_domain *d, size_t n)
{
	struct vbmq_pl_thread *grown;
	struct vbmq_cpuset says = vbmq_cpuset_and(&d->d->cpuset, &pl->host->usable);
	uint32_t set = pl->everywhere, id = 1;

	if (n == 0)
		return 0;
	if (d->d->has_cpuset && vbmq_cpuset_intersects(&says, &pl->base_all)) {
		enum vbmq_leash leash;

		if (vbmq_pl_leash(pl, d, &says, &leash) < 0 ||
		    (leash == VBMQ_LEASH_WIDE && vbmq_pl_set(pl, &says, &set) < 0))
			return -ENOMEM;
	}
	grown = realloc(d->threads, (d->n_threads + n + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	d->threads = grown;
	for (size_t had = d->n_threads; n > 0; id++) {
		bool taken = false;

		for (size_t i = 0; i < had && !taken; i++)
			taken = grown[i].kind == VBMQ_THREAD_IOTHREAD && grown[i].id == id;
		if (taken)
			continue;
		grown[d->n_threads++] = (struct vbmq_pl_thread){
			.kind = VBMQ_THREAD_IOTHREAD,
			.id = id,
			.role = VBMQ_PL_FLOAT,
			.leash = set,
			.unit = VBMQ_PL_NONE,
			.why = VBMQ_PL_NONE,
		};
		n--;
	}
	for (size_t i = 1; i < d->n_threads; i++) { /* nearly sorted: they go before the emulator */
		struct vbmq_pl_thread t = d->threads[i];
		size_t at = i;

		for (; at > 0 && by_kind_id(&d->threads[at - 1], &t) > 0; at--)
			d->threads[at] = d->threads[at - 1];
		if (at < i)
			d->threads[at] = t;
	}
	return 0;
}

/* Appends the threads of one sort to the list, by id. What we add now is of one sort with what we added before, or the next plan
 * would list it elsewhere. */
static size_t list(struct vbmq_pl_domain *d, uint32_t *order, size_t n, bool mandatory, bool ours)
{
	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_pl_thread *t = &d->threads[i];

		if (t->kind == VBMQ_THREAD_IOTHREAD && t->role == VBMQ_PL_FLOAT && t->mandatory == mandatory &&
		    (mandatory || (!t->was || t->was->added) == ours))
			order[n++] = (uint32_t)i;
	}
	return n;
}

bool vbmq_pl_can_add(const struct vbmq_pl_domain *d)
{
	return !d->running || vbmq_caps_has(d->d->caps, VBMQ_CAP_ADD_IOTHREAD);
}

int vbmq_pl_want(struct vbmq_pl *pl, struct vbmq_pl_domain *d)
{
	size_t n_mandatory = 0, n_have = 0, serve, all, n;

	mark_mandatory(pl, d);
	if (!d->managed || !d->touch)
		return 0;
	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_pl_thread *t = &d->threads[i];

		if (t->kind == VBMQ_THREAD_VCPU && t->role == VBMQ_PL_FLOAT && d->wish.vcpus == VBMQ_VCPUS_DEDICATED)
			d->n_vcpus++;
		if (t->kind != VBMQ_THREAD_IOTHREAD || t->role != VBMQ_PL_FLOAT)
			continue;
		n_have++;
		n_mandatory += t->mandatory;
	}
	all = count(d, n_mandatory, pl->policy->auto_max, &serve);
	if (all > VBMQ_IOTHREADS_MAX)
		all = n_have > VBMQ_IOTHREADS_MAX ? n_have : VBMQ_IOTHREADS_MAX;
	if (vbmq_pl_can_add(d) && all > n_have && add_new(pl, d, all - n_have) < 0)
		return -ENOMEM;
	d->io = calloc(d->n_threads + 1, sizeof(*d->io));
	if (!d->io)
		return -ENOMEM;
	n = list(d, d->io, 0, true, false);
	n = list(d, d->io, n, false, false);
	n = list(d, d->io, n, false, true);
	d->n_mandatory = n_mandatory;
	d->n_io = serve < n ? serve : n;
	for (size_t i = 0; i < n && i < all; i++)
		d->threads[d->io[i]].asked = d->wish.iothreads > VBMQ_COUNT_AUTO;
	return 0;
}
