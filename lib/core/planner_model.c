/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The working model, made once: whose thread is whose to place (roles), and where each may be at all (leashes).
 *
 * An owner's pin that covers all usable CPUs of at least one node is a leash: stay near this memory. A narrower one is a
 * wish for these very CPUs: such a thread is FIXED, we do not touch it, and its cores are taken, which means that nobody
 * gets them for his own; but they stay in the shared set, for the owner did not ask for exclusivity. The I/O threads of
 * a managed domain are the exception: where they go is what VBMq was asked for, so an iothreadpin is replaced.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"
#include "util/err.h"

bool vbmq_pl_is_wide(const struct vbmq_host *h, const struct vbmq_cpuset *cpus)
{
	for (size_t i = 0; i < h->n_nodes; i++) {
		struct vbmq_cpuset usable = vbmq_cpuset_and(&h->nodes[i].cpus, &h->usable);

		if (!vbmq_cpuset_is_empty(&usable) && vbmq_cpuset_is_subset(&usable, cpus))
			return true;
	}
	return false;
}

struct vbmq_pl_thread *vbmq_pl_find(struct vbmq_pl_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	size_t low = 0, high = d->n_threads;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		struct vbmq_pl_thread *t = &d->threads[mid];

		if (t->kind == kind && t->id == id)
			return t;
		if (t->kind < kind || (t->kind == kind && t->id < id))
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* --- roles ------------------------------------------------------------------------------------------------------------ */

static int stay(struct vbmq_pl *pl, struct vbmq_pl_thread *t, const struct vbmq_cpuset *otherwise)
{
	const struct vbmq_cpuset *at = vbmq_cpuset_is_empty(&t->was->affinity) ? otherwise : &t->was->affinity;

	t->role = VBMQ_PL_FIXED;
	t->hard = !vbmq_pl_is_wide(pl->host, at);
	return vbmq_pl_set(pl, at, &t->cpus);
}

/* The owner wants it on exactly these CPUs. Without cgroups libvirt pins but the main one of the emulator's threads when asked
 * at run time: the others, still all over the host, follow. */
static int owners(struct vbmq_pl *pl, struct vbmq_pl_thread *t, const struct vbmq_cpuset *pin)
{
	const struct vbmq_cpuset *is = &t->was->affinity;
	bool strays =
		t->kind == VBMQ_THREAD_EMULATOR && vbmq_pl_is_wide(pl->host, is) && vbmq_cpuset_is_subset(pin, is);

	if ((!t->was->held && !strays) || vbmq_cpuset_equal(is, pin))
		return stay(pl, t, pin);
	t->role = VBMQ_PL_BACK;
	t->hard = true;
	return vbmq_pl_set(pl, pin, &t->cpus);
}

/* What the owner says about its place: his pin, or the domain's cpuset, cut to the usable CPUs. */
static struct vbmq_cpuset owner_says(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d,
				     const struct vbmq_pl_thread *t, bool ours)
{
	const struct vbmq_cpuset *says = t->was->has_pin && !ours ? &t->was->pin : &d->d->cpuset;

	return vbmq_cpuset_and(says, &pl->host->usable);
}

static int set_role(struct vbmq_pl *pl, const struct vbmq_pl_domain *d, struct vbmq_pl_thread *t)
{
	bool ours = d->managed && t->kind == VBMQ_THREAD_IOTHREAD;
	bool dedicate = d->managed && t->kind == VBMQ_THREAD_VCPU && d->wish.vcpus == VBMQ_VCPUS_DEDICATED;
	bool drifted = t->was->held && !vbmq_cpuset_equal(&t->was->affinity, &t->was->applied);
	uint32_t on;

	if (!d->touch || (drifted && pl->policy->drift == VBMQ_DRIFT_RESPECT) ||
	    (!d->managed && !pl->policy->hold_others))
		return stay(pl, t, &pl->host->usable);
	t->role = VBMQ_PL_FLOAT;
	t->leash = pl->everywhere;
	if ((t->was->has_pin && !ours) || d->d->has_cpuset) {
		struct vbmq_cpuset says = owner_says(pl, d, t, ours);

		if (vbmq_cpuset_is_empty(&says) && !ours && !dedicate) {
			t->conflict = true;
			return stay(pl, t, &pl->host->usable);
		}
		if (vbmq_pl_is_wide(pl->host, &says)) {
			if (vbmq_pl_set(pl, &says, &t->leash) < 0)
				return -ENOMEM;
		} else if (!ours && !dedicate) {
			return owners(pl, t, &says);
		}
	}
	if (vbmq_pl_on_base(pl, t->leash, &on) < 0)
		return -ENOMEM;
	if (on != VBMQ_PL_NOWHERE)
		return 0;
	/* Nothing of its leash can ever be in the shared set (all isolated). */
	if (!ours && !dedicate) {
		struct vbmq_cpuset leash = pl->sets[t->leash].cpus;

		t->conflict = true;
		return stay(pl, t, &leash);
	}
	t->leash = pl->everywhere;
	return 0;
}

static int set_stands(struct vbmq_pl *pl, struct vbmq_pl_thread *t)
{
	struct vbmq_cpuset stands;

	if (t->role == VBMQ_PL_FLOAT)
		return vbmq_pl_on_base(pl, t->leash, &t->stands);
	stands = vbmq_cpuset_and(&pl->sets[t->cpus].cpus, &pl->host->usable);
	return vbmq_pl_set(pl, &stands, &t->stands);
}

/* --- making ----------------------------------------------------------------------------------------------------------- */

/* Where a thread counts as standing: somebody who moved one of ours did not thereby give it another home. */
static const struct vbmq_cpuset *stands_on(const struct vbmq_pl *pl, const struct vbmq_thread *was)
{
	if (was->held && pl->policy->drift == VBMQ_DRIFT_REPAIR && !vbmq_cpuset_is_empty(&was->applied))
		return &was->applied;
	return &was->affinity;
}

static int init_domain(struct vbmq_pl *pl, struct vbmq_pl_domain *d, const struct vbmq_domain *from)
{
	int r;

	d->d = from;
	d->home = VBMQ_PL_NONE;
	r = vbmq_policy_merge(pl->policy, &from->wish, &d->wish);
	if (r < 0)
		return r;
	d->managed = d->wish.enabled != VBMQ_NO && !from->metadata_error;
	d->running = from->state != VBMQ_DOMAIN_SHUTOFF;
	d->touch = !d->running || (from->responsive && vbmq_caps_has(from->caps, VBMQ_CAP_PIN));
	d->free_map = !d->running || vbmq_caps_has(from->caps, VBMQ_CAP_LIVE_MAP);
	d->threads = calloc(from->n_threads + 1, sizeof(*d->threads));
	d->disk_free = calloc(from->n_disks + 1, sizeof(*d->disk_free));
	d->map = calloc(from->n_disks + 1, sizeof(*d->map));
	if (!d->threads || !d->disk_free || !d->map)
		return -ENOMEM;
	d->n_threads = from->n_threads;
	for (size_t i = 0; i < from->n_threads; i++) {
		struct vbmq_pl_thread *t = &d->threads[i];

		t->kind = from->threads[i].kind;
		t->id = from->threads[i].id;
		t->was = &from->threads[i];
		t->stood = true;
		t->unit = VBMQ_PL_NONE;
		t->leash = pl->everywhere;
		t->why = VBMQ_PL_NONE;
		r = vbmq_pl_set(pl, stands_on(pl, t->was), &t->is);
		t->now = t->is;
		if (r == 0)
			r = set_role(pl, d, t);
		if (r == 0)
			r = set_stands(pl, t);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < from->n_disks; i++) {
		d->map[i] = calloc(from->disks[i].n_queues + 1, sizeof(**d->map));
		if (!d->map[i])
			return -ENOMEM;
	}
	return vbmq_pl_want(pl, d);
}

/* The room of a thread that has a place of its own: its CPUs, or their whole cores. */
static struct vbmq_cpuset room_of(const struct vbmq_pl *pl, const struct vbmq_thread *t, const struct vbmq_wish *wish)
{
	if (t->kind == VBMQ_THREAD_IOTHREAD && wish->exclusive == VBMQ_EXCLUSIVE_CPU)
		return t->applied;
	return vbmq_host_whole_cores(pl->host, &t->applied);
}

/* A guest that does not answer cannot be planned; what we gave its threads for themselves stays theirs, unless the shared
 * set would have nothing left. */
static int keep_places(struct vbmq_pl *pl, const struct vbmq_domain *d)
{
	struct vbmq_wish wish;

	if (d->responsive || d->state == VBMQ_DOMAIN_SHUTOFF)
		return 0;
	if (vbmq_policy_merge(pl->policy, &d->wish, &wish) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_threads; i++) {
		struct vbmq_cpuset room, left;

		if (!d->threads[i].held || !d->threads[i].own)
			continue;
		room = room_of(pl, &d->threads[i], &wish);
		left = vbmq_cpuset_andnot(&pl->base, &room);
		if (vbmq_cpuset_is_empty(&left))
			continue;
		pl->base = left;
		pl->held_places = vbmq_cpuset_or(&pl->held_places, &room);
	}
	vbmq_wish_done(&wish);
	return 0;
}

int vbmq_pl_init(struct vbmq_pl *pl, const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		 struct vbmq_err *err)
{
	const struct vbmq_host *h = snapshot->host;
	int r;

	*pl = (struct vbmq_pl){ .snapshot = snapshot, .host = h, .policy = policy };
	if (vbmq_cpuset_is_empty(&h->usable))
		return vbmq_err_set(err, -EINVAL, "host '%s' has no usable CPU (online and allowed)", h->name);
	pl->base = vbmq_cpuset_andnot(&h->usable, &h->isolated);
	if (policy->keep_off_nova)
		pl->base = vbmq_cpuset_andnot(&pl->base, &h->nova);
	if (vbmq_cpuset_is_empty(&pl->base))
		pl->base = h->usable; /* everything isolated: then nothing is, somebody has to do the work */
	for (size_t i = 0; i < snapshot->n_domains; i++)
		if (keep_places(pl, snapshot->domains[i]) < 0)
			return vbmq_err_oom(err);
	if (vbmq_pl_sets_init(pl) < 0)
		return vbmq_err_oom(err);
	pl->domains = calloc(snapshot->n_domains + 1, sizeof(*pl->domains));
	if (!pl->domains)
		return vbmq_err_oom(err);
	for (size_t i = 0; i < snapshot->n_domains; i++) {
		pl->n_domains++;
		r = init_domain(pl, &pl->domains[i], snapshot->domains[i]);
		if (r < 0)
			return vbmq_err_set(err, r, "domain '%s': out of memory", snapshot->domains[i]->name);
	}
	return vbmq_pl_cores_init(pl) < 0 ? vbmq_err_oom(err) : 0;
}

void vbmq_pl_done(struct vbmq_pl *pl)
{
	vbmq_pl_units_done(pl);
	for (size_t i = 0; i < pl->n_domains; i++) {
		struct vbmq_pl_domain *d = &pl->domains[i];

		vbmq_wish_done(&d->wish);
		for (size_t j = 0; d->map && j < d->d->n_disks; j++)
			free(d->map[j]);
		free(d->map);
		free(d->disk_free);
		free(d->threads);
		free(d->io);
	}
	free(pl->domains);
	vbmq_pl_sets_done(pl);
	free(pl->whys);
	free(pl->fits);
	free(pl->zone);
}
