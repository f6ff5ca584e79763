/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The working model, made once: whose thread is whose to place (roles), and where each may be at all (leashes).
 *
 * What an owner means by the CPUs he names is said in leash.h. A thread that he wants on a place is FIXED, we do not touch it, and its
 * cores are taken, which means that nobody gets them for his own; a vCPU's CPUs are no part of the shared set either, if enough
 * is left without them (planner_owner.c). On a leash it FLOATs. The I/O threads of a managed domain are the exception: where
 * they go is what VBMq was asked for, so an iothreadpin is replaced.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"
#include "util/err.h"

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

/* Who may run all over a node, or all over the leash that his owner gave him (not we), is nowhere in particular. */
static int roams(struct vbmq_pl *pl, struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t,
		 const struct vbmq_cpuset *at)
{
	struct vbmq_cpuset says;
	enum vbmq_leash leash;

	if (vbmq_leash_covers_node(pl->host, at))
		return 1;
	if (t->was->held || !vbmq_pl_said(pl, d, t->was, &says) || vbmq_cpuset_is_empty(&says) ||
	    !vbmq_cpuset_is_subset(&says, at))
		return 0;
	return vbmq_pl_leash(pl, d, &says, &leash) < 0 ? -ENOMEM : leash != VBMQ_LEASH_PLACE;
}

static int stay(struct vbmq_pl *pl, struct vbmq_pl_domain *d, struct vbmq_pl_thread *t,
		const struct vbmq_cpuset *otherwise)
{
	const struct vbmq_cpuset *at = vbmq_cpuset_is_empty(&t->was->affinity) ? otherwise : &t->was->affinity;
	int anywhere = roams(pl, d, t, at);

	if (anywhere < 0)
		return anywhere;
	t->role = VBMQ_PL_FIXED;
	t->hard = !anywhere;
	return vbmq_pl_set(pl, at, &t->cpus);
}

/* The owner wants it on exactly these CPUs. Without cgroups libvirt pins but the main one of the emulator's threads when asked
 * at run time: the others, still all over the host, follow. */
static int owners(struct vbmq_pl *pl, struct vbmq_pl_domain *d, struct vbmq_pl_thread *t, const struct vbmq_cpuset *pin)
{
	const struct vbmq_cpuset *is = &t->was->affinity;
	bool strays = t->kind == VBMQ_THREAD_EMULATOR && vbmq_leash_covers_node(pl->host, is) &&
		      vbmq_cpuset_is_subset(pin, is);

	if ((!t->was->held && !strays) || vbmq_cpuset_equal(is, pin))
		return stay(pl, d, t, pin);
	t->role = VBMQ_PL_BACK;
	t->hard = true;
	return vbmq_pl_set(pl, pin, &t->cpus);
}

static int set_role(struct vbmq_pl *pl, struct vbmq_pl_domain *d, struct vbmq_pl_thread *t)
{
	bool placed = d->managed && (t->kind == VBMQ_THREAD_IOTHREAD ||
				     (t->kind == VBMQ_THREAD_VCPU && d->wish.vcpus == VBMQ_VCPUS_DEDICATED));
	bool drifted = t->was->held && !vbmq_cpuset_equal(&t->was->affinity, &t->was->applied), said;
	struct vbmq_cpuset says;
	uint32_t on;

	if (!d->touch || (drifted && pl->policy->drift == VBMQ_DRIFT_RESPECT) ||
	    (!d->managed && !pl->policy->hold_others))
		return stay(pl, d, t, &pl->host->usable);
	t->role = VBMQ_PL_FLOAT;
	t->leash = pl->everywhere;
	said = vbmq_pl_said(pl, d, t->was, &says);
	if (said && vbmq_cpuset_is_empty(&says) && !placed) {
		t->conflict = true;
		return stay(pl, d, t, &pl->host->usable);
	}
	if (said && !vbmq_cpuset_is_empty(&says)) {
		enum vbmq_leash leash;

		if (vbmq_pl_leash(pl, d, &says, &leash) < 0)
			return -ENOMEM;
		if (leash == VBMQ_LEASH_PLACE && !placed)
			return owners(pl, d, t, &says);
		if ((leash == VBMQ_LEASH_WIDE || !placed) && vbmq_pl_set(pl, &says, &t->leash) < 0)
			return -ENOMEM;
	}
	if (vbmq_pl_on_base(pl, t->leash, &on) < 0)
		return -ENOMEM;
	if (on != VBMQ_PL_NOWHERE)
		return 0;
	/* Nothing of its leash can ever be in the shared set (all isolated). */
	if (!placed) {
		struct vbmq_cpuset leash = pl->sets[t->leash].cpus;

		t->conflict = true;
		return stay(pl, d, t, &leash);
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
	d->says = VBMQ_PL_NONE;
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
	return 0;
}

static int init_threads(struct vbmq_pl *pl, struct vbmq_pl_domain *d)
{
	const struct vbmq_domain *from = d->d;
	int r;

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
	pl->shareable = pl->base;
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
	if (vbmq_pl_set_apart(pl) < 0)
		return vbmq_err_oom(err);
	for (size_t i = 0; i < snapshot->n_domains; i++) {
		r = init_threads(pl, &pl->domains[i]);
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
