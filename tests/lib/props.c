/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "props.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/diff.h"
#include "core/leash.h"
#include "core/planner.h"
#include "say.h"
#include "sim.h"
#include "util/cleanup.h"
#include "util/err.h"

static bool has_diag(const struct vbmq_place_domain *d, const char *code)
{
	for (size_t i = 0; i < d->diags.n; i++)
		if (strcmp(d->diags.items[i].code, code) == 0)
			return true;
	return false;
}

/* --- the placement ---------------------------------------------------------------------------------------------------- */

static struct vbmq_cpuset base_of(const struct vbmq_host *h)
{
	struct vbmq_cpuset base = vbmq_cpuset_andnot(&h->usable, &h->isolated);

	return vbmq_cpuset_is_empty(&base) ? h->usable : base;
}

static bool keeps_place(const struct vbmq_domain *d, const struct vbmq_thread *t)
{
	return d->state != VBMQ_DOMAIN_SHUTOFF && !d->responsive && t && t->held && t->own;
}

/* What threads of guests that do not answer have for themselves. */
static struct vbmq_cpuset kept_places(const struct vbmq_snapshot *s)
{
	struct vbmq_cpuset kept = VBMQ_CPUSET_EMPTY;

	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < s->domains[i]->n_threads; j++) {
			const struct vbmq_thread *t = &s->domains[i]->threads[j];

			if (keeps_place(s->domains[i], t))
				kept = vbmq_cpuset_or(&kept, &t->applied);
		}
	return kept;
}

/* What the owner wants a thread to have, and nothing else: its place. False: no place. */
static bool place_of(const struct vbmq_snapshot *s, const struct vbmq_domain *d, const struct vbmq_thread *t,
		     struct vbmq_cpuset *ret)
{
	struct vbmq_cpuset base = base_of(s->host);

	return vbmq_leash_said(s->host, d, t, ret) && !vbmq_cpuset_is_empty(ret) &&
	       vbmq_leash_of(s->host, &base, d, ret) == VBMQ_LEASH_PLACE;
}

/* CPUs where owners keep vCPUs, or I/O threads of guests that are not managed. */
static struct vbmq_cpuset owners_places(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
					const struct vbmq_placement *p, size_t *ret_floating)
{
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY, place;

	*ret_floating = 0;
	for (size_t i = 0; i < s->n_domains; i++) {
		struct vbmq_wish wish;
		bool dedicated;

		if (vbmq_policy_merge(policy, &s->domains[i]->wish, &wish) < 0)
			abort();
		dedicated = p->domains[i].managed && wish.vcpus == VBMQ_VCPUS_DEDICATED;
		vbmq_wish_done(&wish);
		for (size_t j = 0; j < s->domains[i]->n_threads; j++) {
			const struct vbmq_thread *t = &s->domains[i]->threads[j];
			bool io = t->kind == VBMQ_THREAD_IOTHREAD;

			if (io && p->domains[i].managed)
				continue;
			if ((t->kind == VBMQ_THREAD_VCPU && dedicated) || !place_of(s, s->domains[i], t, &place))
				*ret_floating += !io;
			else if (t->kind != VBMQ_THREAD_EMULATOR)
				all = vbmq_cpuset_or(&all, &place);
		}
	}
	return all;
}

static size_t count_cores(const struct vbmq_host *h, const struct vbmq_cpuset *cpus)
{
	size_t n = 0;

	for (size_t c = 0; c < h->n_cores; c++)
		n += vbmq_cpuset_intersects(&h->cores[c].cpus, cpus);
	return n;
}

/* Whether what floats has to keep off owners' places: enough is left of base, the shared set without any dedicated core. */
static bool keeps_off(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_placement *p,
		      const struct vbmq_cpuset *base, struct vbmq_cpuset *ret)
{
	struct vbmq_cpuset left;
	bool managed = false;
	size_t n;

	for (size_t i = 0; i < p->n_domains; i++)
		managed = managed || p->domains[i].managed;
	*ret = owners_places(s, policy, p, &n);
	left = vbmq_cpuset_andnot(base, ret);
	if (!managed || !vbmq_cpuset_intersects(ret, base) || vbmq_cpuset_is_empty(&left))
		return false;
	if (count_cores(s->host, &left) <= (policy->shared_min_cores ? policy->shared_min_cores : 1))
		return false;
	return policy->shared_min_cores || n <= 4 * (size_t)vbmq_cpuset_count(&left);
}

/* What `auto` keeps: an eighth of the cores, or enough for a CPU for four of the vCPUs that the plan has floating, half of them at most. */
static size_t auto_min(const struct vbmq_snapshot *s, const struct vbmq_placement *p, const struct vbmq_cpuset *apart)
{
	struct vbmq_cpuset counted = vbmq_cpuset_andnot(&s->host->usable, apart), place;
	size_t n = 0, load = 0, n_cpus = vbmq_cpuset_count(&counted), n_cores = count_cores(s->host, &counted);

	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *t = &p->domains[i].threads[j];
			const struct vbmq_thread *was = vbmq_domain_thread(s->domains[i], t->kind, t->id);

			n += t->kind == VBMQ_THREAD_VCPU && !t->exclusive && was && !keeps_place(s->domains[i], was) &&
			     !place_of(s, s->domains[i], was, &place);
		}
	while (load * n_cpus * VBMQ_VCPUS_PER_CPU < n * n_cores)
		load++;
	if (load > n_cores / 2)
		load = n_cores / 2;
	if (load < n_cores / 8)
		load = n_cores / 8;
	return load ? load : 1;
}

static const char *check_sets(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			      const struct vbmq_placement *p)
{
	const struct vbmq_host *h = s->host;
	size_t shareable = 0, shared = 0, min = policy->shared_min_cores;
	struct vbmq_cpuset none = VBMQ_CPUSET_EMPTY;
	struct vbmq_cpuset base = base_of(h), kept = kept_places(s), apart, free, given, all;
	bool keeps = keeps_off(s, policy, p, &base, &apart);

	if (vbmq_cpuset_is_empty(&kept) && vbmq_cpuset_intersects(&apart, &base) &&
	    keeps == vbmq_cpuset_intersects(&apart, &p->shared))
		return keeps ? "CPUs of pinned vCPUs are shared though enough is left"
			     : "CPUs of pinned vCPUs are not shared though too little is left";
	if (vbmq_cpuset_intersects(&apart, &p->shared) || !vbmq_cpuset_intersects(&apart, &base))
		apart = VBMQ_CPUSET_EMPTY;
	base = vbmq_cpuset_andnot(&base, &apart);
	kept = vbmq_host_whole_cores(h, &kept);
	free = vbmq_cpuset_andnot(&base, &kept);
	given = vbmq_cpuset_andnot(&p->dedicated, &kept);
	all = vbmq_cpuset_or(&p->shared, &p->dedicated);
	if (vbmq_cpuset_is_empty(&p->shared))
		return "the shared set is empty";
	if (!vbmq_cpuset_is_subset(&p->shared, &base))
		return "the shared set has a CPU that is not usable or isolated";
	if (!vbmq_cpuset_is_subset(&base, &all))
		return "a CPU is neither shared nor dedicated";
	if (vbmq_cpuset_intersects(&p->shared, &p->dedicated))
		return "a CPU is shared and dedicated";
	if (vbmq_cpuset_intersects(&policy->reserved, &given))
		return "a reserved CPU is dedicated";
	if (!vbmq_cpuset_is_empty(&policy->dedicated) && !vbmq_cpuset_is_subset(&given, &policy->dedicated))
		return "a CPU is dedicated that the policy does not list";
	for (size_t c = 0; c < h->n_cores; c++) {
		struct vbmq_cpuset cpus = vbmq_cpuset_and(&h->cores[c].cpus, &h->usable);

		shareable += vbmq_cpuset_intersects(&cpus, &free);
		cpus = vbmq_cpuset_and(&cpus, &base);
		shared += !vbmq_cpuset_is_empty(&cpus) && vbmq_cpuset_is_subset(&cpus, &p->shared);
	}
	if (min == 0) {
		size_t without = auto_min(s, p, &none);

		min = auto_min(s, p, &apart);
		/* Whether they count is hard to tell where a guest that hangs has them. */
		if (!vbmq_cpuset_is_empty(&kept) && without < min)
			min = without;
	}
	if (shared < min && shared < shareable)
		return "fewer cores are shared than the policy keeps";
	return NULL;
}

/* Somebody we cannot place, who may be all over some node, or all over what his owner leaves to him. */
static bool roams(const struct vbmq_snapshot *s, const struct vbmq_domain *d, const struct vbmq_thread *was,
		  const struct vbmq_cpuset *at)
{
	struct vbmq_cpuset says, place;

	if (vbmq_leash_covers_node(s->host, at))
		return true;
	return was && !was->held && vbmq_leash_said(s->host, d, was, &says) && !vbmq_cpuset_is_empty(&says) &&
	       !place_of(s, d, was, &place) && vbmq_cpuset_is_subset(&says, at);
}

/* Exclusive threads: a core belongs to one domain; unless it was degraded, to one of its threads. */
static const char *check_exclusive(const struct vbmq_snapshot *s, const struct vbmq_placement *p, uint32_t *owner,
				   uint32_t *n_here)
{
	const struct vbmq_host *h = s->host;

	for (uint32_t i = 0; i < p->n_domains; i++) {
		const struct vbmq_place_domain *d = &p->domains[i];

		for (size_t j = 0; j < d->n_threads; j++) {
			const struct vbmq_place_thread *t = &d->threads[j];
			int cpu = vbmq_cpuset_next(t->cpus, 0);
			struct vbmq_cpuset siblings;
			uint16_t core;

			if (cpu < 0)
				return say("%s: a thread has no CPU", d->name);
			if (!t->exclusive)
				continue;
			core = h->core_of[cpu];
			if (!t->planned &&
			    keeps_place(s->domains[i], vbmq_domain_thread(s->domains[i], t->kind, t->id)))
				continue; /* how such places lie to each other is not of our making */
			if (!t->planned || !d->managed)
				return say("%s: a thread that is not ours is exclusive", d->name);
			if (vbmq_cpuset_count(t->cpus) != 1 || !vbmq_cpuset_is_subset(t->cpus, &p->dedicated))
				return say("%s: an exclusive thread is not on one dedicated CPU", d->name);
			if (owner[core] != UINT32_MAX && owner[core] != i)
				return say("%s and %s have the same core (CPU %d)", d->name,
					   p->domains[owner[core]].name, cpu);
			owner[core] = i;
			siblings = vbmq_cpuset_and(&h->cores[core].cpus, &p->shared);
			if (n_here[core]++ && vbmq_cpuset_is_empty(&siblings) && !has_diag(d, VBMQ_DIAG_SHARED_CORE) &&
			    vbmq_cpuset_count(&h->cores[core].cpus) < n_here[core])
				return say("%s: more threads than CPUs on a core, and no diagnostic", d->name);
		}
	}
	return NULL;
}

static const char *check_floating(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
				  const struct vbmq_placement *p, const uint32_t *owner)
{
	struct vbmq_cpuset base = base_of(s->host), apart;
	struct vbmq_cpuset kept = kept_places(s), given;

	kept = vbmq_host_whole_cores(s->host, &kept);
	given = vbmq_cpuset_andnot(&p->dedicated, &kept);
	keeps_off(s, policy, p, &base, &apart);
	if (vbmq_cpuset_intersects(&apart, &p->shared))
		apart = VBMQ_CPUSET_EMPTY;
	for (uint32_t i = 0; i < p->n_domains; i++) {
		const struct vbmq_domain *is = s->domains[i];
		const struct vbmq_place_domain *d = &p->domains[i];

		for (size_t j = 0; j < d->n_threads; j++) {
			const struct vbmq_place_thread *t = &d->threads[j];
			const struct vbmq_thread *was = vbmq_domain_thread(is, t->kind, t->id);

			if (!was != t->to_add)
				return say("%s: to_add is wrong", d->name);
			/* An owner who pins his threads to the place of a guest that hangs has his will. */
			if (t->planned && !t->exclusive &&
			    vbmq_cpuset_intersects(t->cpus,
						   is->has_cpuset || (was && was->has_pin) ? &given : &p->dedicated))
				return say("%s: %s %u floats on a dedicated core", d->name,
					   vbmq_thread_kind_words[t->kind], t->id);
			if (t->planned && !is->has_cpuset && !(was && was->has_pin) &&
			    vbmq_cpuset_intersects(t->cpus, &apart))
				return say("%s: %s %u is on the CPUs of a pinned vCPU", d->name,
					   vbmq_thread_kind_words[t->kind], t->id);
			if (t->planned && !vbmq_cpuset_is_subset(t->cpus, &s->host->usable))
				return say("%s: %s %u is on a CPU that is not usable", d->name,
					   vbmq_thread_kind_words[t->kind], t->id);
			if (t->planned && is->state != VBMQ_DOMAIN_SHUTOFF && !is->responsive)
				return say("%s does not answer but is planned", d->name);
			if (t->planned || roams(s, is, was, t->cpus))
				continue;
			for (int c = vbmq_cpuset_next(t->cpus, 0); c >= 0;
			     c = vbmq_cpuset_next(t->cpus, (unsigned)c + 1))
				if (s->host->core_of[c] != VBMQ_NO_CORE && owner[s->host->core_of[c]] != UINT32_MAX)
					return say("%s: CPU %d of an owner's pin was given away", d->name, c);
		}
	}
	return NULL;
}

/* What a thread has for itself stays its own while its guest does not answer, unless nothing would be left for the others. */
static const char *check_hung(const struct vbmq_snapshot *s, const struct vbmq_placement *p)
{
	struct vbmq_cpuset kept = kept_places(s), left = vbmq_host_whole_cores(s->host, &kept);

	left = vbmq_cpuset_andnot(&p->shared, &left);
	if (vbmq_cpuset_is_empty(&left))
		return NULL;
	for (size_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *t = &p->domains[i].threads[j];
			const struct vbmq_thread *was = vbmq_domain_thread(s->domains[i], t->kind, t->id);

			/* Where its owner pinned it is the owner's affair. */
			if (t->planned && !s->domains[i]->has_cpuset && !(was && was->has_pin) &&
			    vbmq_cpuset_intersects(t->cpus, &kept))
				return say("%s: %s %u comes to the place of a guest that does not answer",
					   p->domains[i].name, vbmq_thread_kind_words[t->kind], t->id);
		}
	return NULL;
}

static const char *check_disks(const struct vbmq_snapshot *s, const struct vbmq_place_domain *d, uint32_t index)
{
	const struct vbmq_domain *is = s->domains[index];

	if (d->n_disks != is->n_disks)
		return say("%s: disks are missing", d->name);
	for (size_t i = 0; i < d->n_disks; i++) {
		if (d->disks[i].n_queues != is->disks[i].n_queues)
			return say("%s: queues are missing", d->name);
		if (d->disks[i].remap && !vbmq_caps_has(is->caps, VBMQ_CAP_LIVE_MAP))
			return say("%s: remap without the capability", d->name);
		for (size_t q = 0; q < d->disks[i].n_queues; q++) {
			uint32_t id = d->disks[i].queues[q].iothread, was = is->disks[i].queues[q].iothread;
			const struct vbmq_place_thread *t = vbmq_place_thread(d, VBMQ_THREAD_IOTHREAD, id);

			if (id && (!t || t->to_remove))
				return say("%s: queue %zu of %s is on a thread that is not there", d->name, q,
					   d->disks[i].target);
			if (id != was && !d->disks[i].remap && !d->disks[i].at_next_start)
				return say("%s: a map changes silently", d->name);
			if (was && is->disks[i].mapped && id != was)
				return say("%s: a hand-written map was not respected", d->name);
		}
	}
	return NULL;
}

const char *props_placement(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			    const struct vbmq_placement *p)
{
	_cleanup_free_ uint32_t *owner = malloc(s->host->n_cores * sizeof(*owner));
	_cleanup_free_ uint32_t *n_here = calloc(s->host->n_cores, sizeof(*n_here));
	const char *wrong;

	if (!owner || !n_here)
		abort();
	for (size_t c = 0; c < s->host->n_cores; c++)
		owner[c] = UINT32_MAX;
	if (p->n_domains != s->n_domains)
		return "domains are missing";
	wrong = check_sets(s, policy, p);
	if (!wrong)
		wrong = check_exclusive(s, p, owner, n_here);
	if (!wrong)
		wrong = check_floating(s, policy, p, owner);
	if (!wrong)
		wrong = check_hung(s, p);
	for (uint32_t i = 0; i < p->n_domains && !wrong; i++)
		wrong = check_disks(s, &p->domains[i], i);
	return wrong;
}

/* --- the way ---------------------------------------------------------------------------------------------------------- */

struct actor {
	uint32_t domain;
	const struct vbmq_place_thread *to;
	struct vbmq_cpuset now;
	struct vbmq_cpuset old_area; /* alone there at the start, and to leave; until it left */
	struct vbmq_cpuset new_area; /* exclusive: what it is to have */
	bool arrived;
	bool held; /* we placed it before */
	bool alone; /* at the start, inside one core */
};

struct stage {
	struct vbmq_snapshot *s;
	const struct vbmq_placement *p;
	struct actor *actors;
	size_t n;
};

static struct actor *find_actor(struct stage *st, uint32_t domain, enum vbmq_thread_kind kind, uint32_t id)
{
	for (size_t i = 0; i < st->n; i++)
		if (st->actors[i].domain == domain && st->actors[i].to->kind == kind && st->actors[i].to->id == id)
			return &st->actors[i];
	return NULL;
}

static bool in_one_core(const struct vbmq_host *h, const struct vbmq_cpuset *s)
{
	int c = vbmq_cpuset_next(s, 0);
	const struct vbmq_core *core = c < 0 ? NULL : vbmq_host_core_of(h, (unsigned)c);

	return core && vbmq_cpuset_is_subset(s, &core->cpus);
}

/* Its place becomes part of where it will float. It has to leave it by spreading before others come; that shows only where
 * there is something to spread to at once. */
static void set_old_area_of_loser(struct stage *st, struct actor *a)
{
	struct vbmq_cpuset room = vbmq_cpuset_andnot(a->to->cpus, &a->now);

	if (!a->alone || !a->held || a->to->exclusive || !vbmq_cpuset_is_subset(&a->now, a->to->cpus))
		return;
	for (size_t i = 0; i < st->n; i++) {
		struct vbmq_cpuset cores;

		if (!st->actors[i].alone || a == &st->actors[i])
			continue;
		cores = vbmq_host_whole_cores(st->s->host, &st->actors[i].now);
		room = vbmq_cpuset_andnot(&room, &cores);
	}
	if (!vbmq_cpuset_is_empty(&room))
		a->old_area = a->now;
}

static void set_stage(struct stage *st)
{
	const struct vbmq_host *h = st->s->host;
	struct vbmq_cpuset idle = st->p->dedicated;
	size_t max = 0;

	for (size_t i = 0; i < st->p->n_domains; i++)
		max += st->p->domains[i].n_threads;
	st->actors = calloc(max + 1, sizeof(*st->actors));
	if (!st->actors)
		abort();
	for (uint32_t i = 0; i < st->p->n_domains; i++)
		for (size_t j = 0; j < st->p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *to = &st->p->domains[i].threads[j];
			const struct vbmq_thread *was = vbmq_domain_thread(st->s->domains[i], to->kind, to->id);
			struct actor *a = &st->actors[st->n];

			if (!to->planned)
				continue;
			st->n++;
			*a = (struct actor){ .domain = i, .to = to };
			if (was)
				a->now = was->affinity;
			a->held = was && was->held;
			if (to->exclusive)
				idle = vbmq_cpuset_andnot(&idle, to->cpus);
		}
	for (size_t i = 0; i < st->n; i++) {
		struct actor *a = &st->actors[i];
		bool alone = in_one_core(h, &a->now);

		if (a->to->exclusive) {
			a->new_area = vbmq_host_whole_cores(h, a->to->cpus);
			a->new_area = vbmq_cpuset_and(&a->new_area, &idle);
			a->new_area = vbmq_cpuset_or(&a->new_area, a->to->cpus);
			a->arrived = vbmq_cpuset_equal(&a->now, a->to->cpus);
		}
		for (size_t j = 0; j < st->n && alone; j++)
			alone = j == i || !vbmq_cpuset_intersects(&a->now, &st->actors[j].now);
		a->alone = alone && !a->arrived;
		if (a->alone && (a->to->exclusive || (a->held && !vbmq_cpuset_is_subset(&a->now, a->to->cpus))))
			a->old_area = a->now;
	}
	for (size_t i = 0; i < st->n; i++)
		set_old_area_of_loser(st, &st->actors[i]);
}

/* It is on no place of its own any more when all steps are done: it floats, or goes where its owner pinned it. */
static bool loses(const struct actor *a)
{
	return !a->to->exclusive;
}

/*
 * Whether some CPU is nobody's place at this moment, so that whoever is in the way could wait there. Where there is none, a thread
 * that loses its place has to be met there: each of those who wait could only go to another's place, and those whom the placement
 * gives a place come first.
 */
static bool has_room(const struct stage *st)
{
	struct vbmq_cpuset room = st->s->host->usable, goals = VBMQ_CPUSET_EMPTY, idle;
	struct vbmq_cpuset owners = vbmq_cpuset_andnot(&st->p->pinned, &st->p->shared);

	room = vbmq_cpuset_andnot(&room, &owners);
	for (size_t i = 0; i < st->n; i++) {
		const struct actor *a = &st->actors[i];

		goals = vbmq_cpuset_or(&goals, &a->new_area);
		room = vbmq_cpuset_andnot(&room, &a->old_area);
		if (a->arrived)
			room = vbmq_cpuset_andnot(&room, &a->new_area);
	}
	idle = vbmq_cpuset_andnot(&st->p->dedicated, &goals);
	room = vbmq_cpuset_andnot(&room, &idle);
	return !vbmq_cpuset_is_empty(&room);
}

/* It has arrived where others still are: it stood there with them at the start, and they cannot go yet. */
static bool has_company(const struct stage *st, const struct actor *o)
{
	for (size_t i = 0; i < st->n; i++)
		if (&st->actors[i] != o && !st->actors[i].to->exclusive &&
		    vbmq_cpuset_intersects(&st->actors[i].now, &o->new_area))
			return true;
	return false;
}

static const char *step_overlap(struct stage *st, const struct actor *a, const struct vbmq_cpuset *to, bool final)
{
	bool room = has_room(st);

	for (size_t i = 0; i < st->n; i++) {
		struct actor *o = &st->actors[i];
		bool mates = o->domain == a->domain && o->to->exclusive && a->to->exclusive;

		if (o == a)
			continue;
		if (vbmq_cpuset_intersects(to, &o->old_area) && !vbmq_cpuset_intersects(&a->now, &o->old_area) &&
		    (room || !loses(o)))
			return say("meets %s %u of domain %u on its old place", vbmq_thread_kind_words[o->to->kind],
				   o->to->id, o->domain);
		if (vbmq_cpuset_intersects(to, &o->old_area))
			o->old_area = VBMQ_CPUSET_EMPTY; /* it had to give it up */
		if (o->arrived && !mates && vbmq_cpuset_intersects(to, &o->new_area) &&
		    !vbmq_cpuset_intersects(&a->now, &o->new_area) && (room || !has_company(st, o)))
			return say("meets %s %u of domain %u on its new place", vbmq_thread_kind_words[o->to->kind],
				   o->to->id, o->domain);
		if (final && a->to->exclusive && !mates && vbmq_cpuset_intersects(&o->now, &a->new_area) &&
		    !(o->to->exclusive && !in_one_core(st->s->host, &o->now)))
			return say("arrives where %s %u of domain %u is", vbmq_thread_kind_words[o->to->kind],
				   o->to->id, o->domain);
	}
	return NULL;
}

static const char *play(struct stage *st, const struct vbmq_step *step)
{
	struct actor *a, *emulator;
	const char *wrong = NULL;

	sim_step(st->s, step);
	if (step->op == VBMQ_STEP_ADD_IOTHREAD) {
		a = find_actor(st, step->domain, VBMQ_THREAD_IOTHREAD, step->id);
		emulator = find_actor(st, step->domain, VBMQ_THREAD_EMULATOR, 0);
		if (!a || !a->to->to_add)
			return "adds a thread that the placement does not add";
		if (emulator)
			a->now = emulator->now;
	}
	if (step->op != VBMQ_STEP_PIN)
		return NULL;
	a = find_actor(st, step->domain, step->kind, step->id);
	if (!a)
		return "pins a thread that is not ours";
	wrong = step_overlap(st, a, step->cpus, !step->interim);
	a->now = *step->cpus;
	a->old_area = VBMQ_CPUSET_EMPTY;
	a->arrived = a->to->exclusive && !step->interim;
	return wrong;
}

/* It was moved by somebody to where it is to be: that this is our will, too, has to be recorded. */
static bool drifted_there(const struct vbmq_snapshot *s, const struct vbmq_step *step)
{
	const struct vbmq_thread *t = vbmq_domain_thread(s->domains[step->domain], step->kind, step->id);

	return t && t->held && !vbmq_cpuset_equal(&t->applied, step->cpus);
}

const char *props_steps(struct vbmq_snapshot *s, const struct vbmq_placement *p, const struct vbmq_step *steps,
			size_t n)
{
	struct stage st = { .s = s, .p = p };
	const char *wrong = NULL;

	set_stage(&st);
	for (size_t i = 0; i < n && !wrong; i++) {
		static char text[1024];
		const struct actor *a = find_actor(&st, steps[i].domain, steps[i].kind, steps[i].id);

		if (steps[i].op == VBMQ_STEP_PIN && a && a->to->exclusive && !steps[i].interim && a->arrived &&
		    !drifted_there(s, &steps[i]))
			wrong = "pins a thread that is there already";
		if (!wrong)
			wrong = play(&st, &steps[i]);
		if (wrong) {
			snprintf(text, sizeof(text), "step %zu (%s of domain %u, id %u) %s", i,
				 vbmq_step_word(&steps[i]), steps[i].domain, steps[i].id, wrong);
			wrong = text;
		}
	}
	free(st.actors);
	return wrong;
}

/* --- at rest ---------------------------------------------------------------------------------------------------------- */

const char *props_at_rest(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			  const struct vbmq_placement *p)
{
	struct vbmq_placement *again = NULL;
	struct vbmq_step *steps = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	const char *wrong = NULL;
	size_t n = 0;

	for (uint32_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *t = &p->domains[i].threads[j];
			const struct vbmq_thread *is = vbmq_domain_thread(s->domains[i], t->kind, t->id);

			if (t->to_remove && is)
				return say("%s: a thread was not removed", p->domains[i].name);
			if (!t->to_remove && !is)
				return say("%s: a thread was not added", p->domains[i].name);
			if (!t->to_remove && t->planned && !vbmq_cpuset_equal(&is->affinity, t->cpus))
				return say("%s: %s %u is not where it should be", p->domains[i].name,
					   vbmq_thread_kind_words[t->kind], t->id);
		}
	if (vbmq_planner_run(s, policy, &again, &err) < 0)
		return say("planning again fails: %s", err.text);
	if (vbmq_diff(s, again, &steps, &n, &err) < 0) {
		vbmq_placement_free(again);
		return say("diff fails: %s", err.text);
	}
	if (n) {
		_cleanup_free_ char *text = sim_dump_steps(steps, n < 5 ? n : 5);

		wrong = say("not at rest: %zu steps, %s", n, text ? text : "?");
	}
	vbmq_steps_free(steps, n);
	vbmq_placement_free(again);
	return wrong;
}
