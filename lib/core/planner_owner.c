/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What owners say about their threads, and what of the host that leaves to the shared set.
 *
 * The CPUs of a place (leash.h) on which somebody keeps vCPUs, or I/O threads that are not ours to place, are for these alone: what
 * floats, our emulator threads included, is kept off them as it is off dedicated cores. Emulator threads that are pinned to a place keep
 * nobody off: they are little, and owners often give them a corner of what is shared. It goes by what the owner said, not by
 * where a thread happens to be, so that nothing but his word changes the shared set.
 *
 * Should too little be left by that, the shared set is what it is without pins: no more cores than shared-min-cores (auto: than
 * one), of which nobody could have one of his own, or with auto less than a CPU for every VBMQ_VCPUS_PER_CPU vCPUs and emulator
 * threads that float. To run beside a pinned vCPU is better than to crowd. It is all or nothing, so that no order of guests matters.
 *
 * Where no guest is managed nobody asked for anything, and nothing is set apart: whoever just installs this sees nothing change.
 *
 * A leash that lies wholly on such CPUs goes on to be what its owner said: its threads float there.
 */

#include <errno.h>

#include "core/planner_internal.h"

bool vbmq_pl_said(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, const struct vbmq_thread *t,
		  struct vbmq_cpuset *ret)
{
	if (!d->managed || t->kind != VBMQ_THREAD_IOTHREAD)
		return vbmq_leash_said(pl->host, d->d, t, ret);
	if (!d->d->has_cpuset)
		return false;
	*ret = vbmq_cpuset_and(&d->d->cpuset, &pl->host->usable);
	return true;
}

int vbmq_pl_leash(struct vbmq_pl *pl, struct vbmq_pl_domain *d, const struct vbmq_cpuset *says, enum vbmq_leash *ret)
{
	uint32_t set;

	if (vbmq_pl_set(pl, says, &set) < 0)
		return -ENOMEM;
	if (set != d->says) {
		d->leash = vbmq_leash_of(pl->host, &pl->shareable, d->d, says);
		d->says = set;
	}
	*ret = d->leash;
	return 0;
}

/* On a place of the owner's; 0 or 1. */
static int on_place(struct vbmq_pl *pl, struct vbmq_pl_domain *d, const struct vbmq_thread *t, struct vbmq_cpuset *says)
{
	enum vbmq_leash leash;

	if (d->managed && t->kind == VBMQ_THREAD_VCPU && d->wish.vcpus == VBMQ_VCPUS_DEDICATED)
		return 0;
	if (!vbmq_pl_said(pl, d, t, says) || vbmq_cpuset_is_empty(says))
		return 0;
	if (vbmq_pl_leash(pl, d, says, &leash) < 0)
		return -ENOMEM;
	return leash == VBMQ_LEASH_PLACE;
}

/* A vCPU that we gave a place of its own, while its guest does not answer. */
static bool keeps(const struct vbmq_pl_domain *d, const struct vbmq_thread *t)
{
	return d->running && !d->d->responsive && t->held && t->own;
}

static size_t count_cores(const struct vbmq_host *h, const struct vbmq_cpuset *cpus)
{
	size_t n = 0;

	for (size_t c = 0; c < h->n_cores; c++)
		n += vbmq_cpuset_intersects(&h->cores[c].cpus, cpus);
	return n;
}

int vbmq_pl_set_apart(struct vbmq_pl *pl)
{
	struct vbmq_cpuset places = VBMQ_CPUSET_EMPTY, left;
	size_t n_floats = 0, min = pl->policy->shared_min_cores;
	bool managed = false;

	pl->base_all = pl->base;
	for (size_t i = 0; i < pl->n_domains; i++) {
		struct vbmq_pl_domain *d = &pl->domains[i];

		managed = managed || d->managed;
		for (size_t j = 0; j < d->d->n_threads; j++) {
			const struct vbmq_thread *t = &d->d->threads[j];
			struct vbmq_cpuset says;
			int is;

			if (d->managed && t->kind == VBMQ_THREAD_IOTHREAD)
				continue;
			is = on_place(pl, d, t, &says);
			if (is < 0)
				return is;
			if (!is) {
				n_floats += t->kind != VBMQ_THREAD_IOTHREAD;
				pl->n_vcpus += t->kind == VBMQ_THREAD_VCPU && !keeps(d, t);
			}
			if (is && t->kind != VBMQ_THREAD_EMULATOR)
				places = vbmq_cpuset_or(&places, &says);
		}
	}
	pl->places = places;
	if (!managed || !vbmq_cpuset_intersects(&places, &pl->base))
		return 0;
	left = vbmq_cpuset_andnot(&pl->base, &places);
	if (count_cores(pl->host, &left) <= (min ? min : 1) ||
	    (!min && n_floats > vbmq_cpuset_count(&left) * (size_t)VBMQ_VCPUS_PER_CPU))
		return 0;
	pl->apart = vbmq_cpuset_and(&pl->base, &places);
	pl->base = left;
	return 0;
}
