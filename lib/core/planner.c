/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The planner: theory of operation.
 *
 * Model    (planner_model.c, planner_want.c, planner_cores.c) Whose thread is whose: FIXED ones are not ours, their narrow
 *          places are taken; FLOATing ones run on the shared set inside their leash; of these, the I/O threads that may
 *          serve and vCPUs that the policy dedicates want a place of their own. Which cores may be dedicated, how many.
 * Grant    (planner_grant.c) Who gets a core: exact by priority, fair in rounds among equals. This is objective 1,
 *          exclusivity; what is not granted is degraded here: fewer threads, several threads of a domain on one core, the
 *          shared set.
 * Queues   (planner_queues.c) Which of the serving threads serves which queue. Needs to know how many there are, and
 *          nothing of where they are.
 * Place    (planner_home.c, planner_cost.c, planner_place.c) Which core: min-cost assignment (assign.c) of objectives 2 to 5
 *          (cost.h), exact over all priorities. Why it is that core: planner_why.c.
 *
 * Stability. A thread that stands on a core of its own leaves it only where that gives another a core that it would not have, or
 * brings less distance, or more locality than policy.move_gain for each thread moved: the threshold is part of the assignment's
 * cost (planner_place.c), so the sum over a chain of moves counts, exactly. Homes follow the same rule (planner_home.c).
 *
 * These three make a pass. Should a leash have lost its last shared core to it, that leash gets one core kept and the
 * pass is done again, from the highest priority down.
 *
 * Fixed point. A placement must be where the planner would leave it: planning on the state it produces must give no step,
 * or a daemon that reconciles would never come to rest. So passes are repeated, each standing on the places the pass
 * before gave, until nothing changes. Mostly the second pass confirms the first, since moving is dearer than any gain but
 * NUMA and locality, which the first pass has optimised already; what can still move are domains with dedicated vCPUs
 * whose homes depend on who is where. Where it can be told cheaply that the next pass would confirm (planner_rest.c) it is not done.
 * After PASSES_MAX the last is taken as it is; the property tests never saw it.
 *
 * Determinism. Domains, threads, disks, cores come sorted; every sort has a total order of stable keys; no address, hash,
 * clock or float is looked at.
 *
 * Work. All but two things go with the number of threads. The matching of the grants goes with units times cores, where paths have to
 * be searched; the assignment with classes of alike units times columns of alike cores, for each unit that has no room where it is
 * cheapest. Memory is what is dear beside it, since the kernel hands it out by the page: sets stand once, everybody else names them.
 * Measured: docs/benchmarks/planner.md.
 *
 * Limits. Optimality is given the grants and the queue maps; which core a leash keeps is a rule, not a search; dedicated vCPUs are
 * drawn to an L3 domain, their exact pairing with I/O threads inside it is not searched for. Units of exclusive=cpu do not share
 * a core across domains.
 */

#include "core/planner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"
#include "util/err.h"
#include "util/setref.h"

#define PASSES_MAX 16u

VBMQ_DEFINE_CLEANUP(struct vbmq_placement *, vbmq_placement_free);

/* --- passes ----------------------------------------------------------------------------------------------------------- */

static bool floats(const struct vbmq_pl_thread *t)
{
	return t->role == VBMQ_PL_FLOAT && t->unit == VBMQ_PL_NONE && t->exists;
}

/*
 * A core for a leash to keep; -1: it has all of them already. Best is one that a unit of the lowest priority has, then one on which
 * none of those stands who got a core.
 */
static int core_to_keep(const struct vbmq_pl *pl, const struct vbmq_cpuset *leash)
{
	struct vbmq_cpuset able = vbmq_cpuset_and(leash, &pl->base), standing = VBMQ_CPUSET_EMPTY;
	struct vbmq_cpuset lowest = VBMQ_CPUSET_EMPTY; /* cores */
	int32_t priority = INT32_MAX;
	int keep = -1;

	for (size_t u = 0; u < pl->n_units; u++) {
		const struct vbmq_pl_unit *unit = &pl->units[u];

		if (vbmq_cpuset_intersects(&pl->host->cores[unit->core].cpus, &able) && unit->priority <= priority) {
			if (unit->priority < priority)
				lowest = VBMQ_CPUSET_EMPTY;
			priority = unit->priority;
			vbmq_cpuset_add(&lowest, unit->core);
		}
		for (size_t t = 0; t < unit->n_threads; t++) {
			const struct vbmq_pl_thread *thread = &pl->domains[unit->domain].threads[unit->threads[t]];

			if (vbmq_pl_stands_alone(pl, thread))
				standing = vbmq_cpuset_or(&standing, &pl->sets[thread->now].cpus);
		}
	}
	for (int c = vbmq_cpuset_next(&able, 0); c >= 0; c = vbmq_cpuset_next(&able, (unsigned)c + 1)) {
		uint32_t core = pl->host->core_of[c];

		if (!vbmq_cpuset_has(&lowest, core))
			continue;
		if (keep < 0)
			keep = (int)core;
		if (!vbmq_cpuset_intersects(&pl->host->cores[core].cpus, &standing))
			return (int)core;
	}
	return keep;
}

/* A leash whose threads would have nowhere to go: keeps one core of it shared. False: no leash suffers. Of several it is the first
 * by its CPUs: in which order the sets were met must not matter. */
static bool keep_for_leash(struct vbmq_pl *pl)
{
	const struct vbmq_cpuset *leash = NULL;
	int keep = -1;

	for (size_t i = 0; i < pl->n_sets; i++) {
		const struct vbmq_cpuset *l = &pl->sets[i].cpus;
		int core;

		if (!pl->sets[i].floats || vbmq_cpuset_intersects(l, &pl->shared) ||
		    (leash && vbmq_cpuset_compare(l, leash) > 0))
			continue;
		core = core_to_keep(pl, l);
		if (core < 0)
			continue;
		leash = l;
		keep = core;
	}
	if (keep >= 0)
		vbmq_cpuset_add(&pl->kept, (unsigned)keep);
	return keep >= 0;
}

static int place_floats(struct vbmq_pl *pl)
{
	for (size_t i = 0, n = pl->n_sets; i < n; i++)
		if (pl->sets[i].floats) {
			struct vbmq_cpuset cpus = vbmq_cpuset_and(&pl->sets[i].cpus, &pl->shared);
			uint32_t floating;

			if (vbmq_cpuset_is_empty(&cpus)) /* owners keep others there, and want these there as well */
				cpus = vbmq_cpuset_and(&pl->sets[i].cpus, &pl->apart);
			if (vbmq_pl_set(pl, &cpus, &floating) < 0)
				return -ENOMEM;
			pl->sets[i].floating = floating;
		}
	for (size_t i = 0; i < pl->n_domains; i++) {
		struct vbmq_pl_domain *d = &pl->domains[i];

		for (size_t j = 0; j < d->n_threads; j++)
			if (floats(&d->threads[j]))
				d->threads[j].cpus = pl->sets[d->threads[j].leash].floating;
	}
	return 0;
}

static void mark_leashes(struct vbmq_pl *pl)
{
	for (size_t i = 0; i < pl->n_sets; i++)
		pl->sets[i].floats = false;
	for (size_t i = 0; i < pl->n_domains; i++)
		for (size_t j = 0; j < pl->domains[i].n_threads; j++)
			if (floats(&pl->domains[i].threads[j]))
				pl->sets[pl->domains[i].threads[j].leash].floats = true;
}

static int try_pass(struct vbmq_pl *pl)
{
	int r = vbmq_pl_grant(pl);

	for (size_t i = 0; i < pl->n_domains && r == 0; i++)
		r = vbmq_pl_map_queues(&pl->domains[i]);
	if (r == 0)
		r = vbmq_pl_place(pl);
	if (r == 0)
		mark_leashes(pl);
	return r;
}

/* The next lower priority of any domain; false: there is none. */
static bool lower(struct vbmq_pl *pl)
{
	int32_t next = INT32_MIN;
	bool found = false;

	for (size_t i = 0; i < pl->n_domains; i++)
		if (pl->domains[i].wish.priority < pl->least && (!found || pl->domains[i].wish.priority > next)) {
			next = pl->domains[i].wish.priority;
			found = true;
		}
	pl->least = next;
	return found;
}

/* Where a leash suffers, what it keeps is settled for the highest priority first, as if those below wished for nothing, and so
 * on: or their wishes would decide at which core the higher ones lose. */
static int run_pass(struct vbmq_pl *pl)
{
	int r;

	pl->kept = VBMQ_CPUSET_EMPTY;
	pl->least = INT32_MIN;
	r = try_pass(pl);
	if (r < 0)
		return r;
	if (keep_for_leash(pl)) {
		pl->kept = VBMQ_CPUSET_EMPTY;
		pl->least = INT32_MAX;
		while (lower(pl))
			do {
				r = try_pass(pl);
				if (r < 0)
					return r;
			} while (keep_for_leash(pl));
	}
	return place_floats(pl);
}

/* Everybody stands where the pass put him. True if that is news. */
static bool stand(struct vbmq_pl *pl)
{
	bool changed = false;

	pl->slipped = false;
	for (size_t i = 0; i < pl->n_domains; i++)
		for (size_t j = 0; j < pl->domains[i].n_threads; j++) {
			struct vbmq_pl_thread *t = &pl->domains[i].threads[j];

			if (t->role != VBMQ_PL_FLOAT || !t->exists || t->now == t->cpus)
				continue;
			pl->slipped = pl->slipped || (t->stood && pl->sets[t->now].core != VBMQ_PL_NONE &&
						      pl->sets[t->now].core == pl->sets[t->cpus].core);
			t->now = t->cpus;
			/* Elsewhere on the core where it is, that is still where it is. */
			t->stood =
				pl->sets[t->is].core != VBMQ_PL_NONE && pl->sets[t->is].core == pl->sets[t->now].core;
			changed = true;
		}
	return changed;
}

/* Nothing changes any more. Where a leash had to keep a core, that took several placements, each of which depends on how dear moves
 * are: so it is asked once more as the next plan will ask. False: that was so. */
static bool settle(struct vbmq_pl *pl)
{
	bool news = false;

	for (size_t i = 0; i < pl->n_domains && !vbmq_cpuset_is_empty(&pl->kept); i++)
		for (size_t j = 0; j < pl->domains[i].n_threads; j++) {
			struct vbmq_pl_thread *t = &pl->domains[i].threads[j];

			news = news || !t->stood;
			t->stood = true;
		}
	return news;
}

static int run_passes(struct vbmq_pl *pl)
{
	for (unsigned i = 0; i < PASSES_MAX; i++) {
		int r = run_pass(pl);

		if (r < 0)
			return r;
		if (!stand(pl) && !settle(pl))
			break;
		r = vbmq_pl_rests(pl);
		if (r < 0)
			return r;
		if (r > 0)
			break;
	}
	for (size_t i = 0; i < pl->n_domains; i++)
		for (size_t j = 0; j < pl->domains[i].n_threads; j++) {
			struct vbmq_pl_thread *t = &pl->domains[i].threads[j];

			t->now = t->is;
		}
	return vbmq_pl_explain(pl);
}

/* --- the placement ---------------------------------------------------------------------------------------------------- */

/* A thread polls for all that it serves or for nothing: one descriptor that has to be waited for ends it. */
static bool can_poll(const struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t)
{
	for (size_t i = 0; i < d->d->n_disks; i++)
		for (size_t q = 0; d->d->disks[i].no_poll && q < d->d->disks[i].n_queues; q++)
			if (d->map[i][q] == t->id)
				return false;
	return true;
}

static void set_polling(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t,
			struct vbmq_place_thread *p)
{
	bool has_mode = vbmq_caps_has(d->d->caps, VBMQ_CAP_POLL_MODE);
	bool can = can_poll(d, t);
	bool dedicated = d->wish.poll == VBMQ_POLL_DEDICATED && p->exclusive && !t->crowded && can;

	if (!p->planned || t->kind != VBMQ_THREAD_IOTHREAD || p->to_remove)
		return;
	if (d->running && !vbmq_caps_has(d->d->caps, VBMQ_CAP_POLLING))
		return;
	if (!d->managed) { /* not any more: it lost its core, and must not go on polling as if it had one */
		p->has_polling = t->was && t->was->polling_held;
		if (p->has_polling)
			p->polling = t->was->found_polling;
		return;
	}
	p->has_polling = true;
	p->polling = (struct vbmq_polling){ .max_ns = 32768, .mode = VBMQ_POLL_UNSAID }; /* as QEMU starts a thread */
	if (d->wish.poll == VBMQ_POLL_OFF || !can)
		p->polling.max_ns = 0;
	if (dedicated) {
		p->polling.max_ns = pl->policy->poll_max_ns;
		p->polling.grow = pl->policy->poll_grow;
		p->polling.shrink = pl->policy->poll_shrink;
	}
	if (has_mode)
		p->polling.mode = dedicated ? VBMQ_POLL_DEDICATED : VBMQ_POLL_ADAPTIVE;
}

/* See keep_places() in planner_model.c. */
static bool keeps_place(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t)
{
	return d->running && !d->d->responsive && t->was && t->was->held && t->was->own &&
	       vbmq_cpuset_equal(&t->was->affinity, &t->was->applied) &&
	       vbmq_cpuset_is_subset(&pl->sets[t->cpus].cpus, &pl->held_places);
}

struct building {
	const struct vbmq_pl *pl;
	const struct vbmq_cpuset **refs; /* set -> what the placement has for it, NULL: nothing yet */
	struct vbmq_why *whys;
	const struct vbmq_place_disk *like; /* the disk before: its queues mostly complete on the same vCPUs */
};

static const struct vbmq_cpuset *refer(struct building *b, uint32_t set)
{
	if (b->refs[set])
		return vbmq_setref(b->refs[set]);
	b->refs[set] = vbmq_setref_new(&b->pl->sets[set].cpus);
	return b->refs[set];
}

static int build_threads(struct building *b, const struct vbmq_pl_domain *d, struct vbmq_place_domain *p)
{
	const struct vbmq_pl *pl = b->pl;

	p->threads = calloc(d->n_threads + 1, sizeof(*p->threads));
	if (!p->threads)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_pl_thread *t = &d->threads[i];
		struct vbmq_place_thread *to = &p->threads[p->n_threads];

		if (!t->exists)
			continue;
		p->n_threads++;
		to->kind = t->kind;
		to->id = t->id;
		to->cpus = refer(b, t->cpus);
		if (!to->cpus)
			return -ENOMEM;
		to->exclusive = t->unit != VBMQ_PL_NONE || keeps_place(pl, d, t);
		to->planned = t->role != VBMQ_PL_FIXED;
		to->to_add = !t->was;
		to->to_remove = t->kind == VBMQ_THREAD_IOTHREAD && t->was && t->was->added && d->managed &&
				t->role == VBMQ_PL_FLOAT && !t->serves && !t->asked && vbmq_pl_can_add(d);
		if (to->exclusive && t->why != VBMQ_PL_NONE)
			to->why = &b->whys[t->why];
		set_polling(pl, d, t, to);
	}
	return 0;
}

static const struct vbmq_cpuset *refer_vcpus(const struct building *b, size_t queue, const struct vbmq_cpuset *vcpus)
{
	const struct vbmq_cpuset *like = b->like && queue < b->like->n_queues ? b->like->queues[queue].vcpus : NULL;

	return like && vbmq_cpuset_equal(like, vcpus) ? vbmq_setref(like) : vbmq_setref_new(vcpus);
}

static int build_disks(struct building *b, const struct vbmq_pl_domain *d, struct vbmq_place_domain *p)
{
	p->disks = calloc(d->d->n_disks + 1, sizeof(*p->disks));
	if (!p->disks)
		return -ENOMEM;
	for (size_t i = 0; i < d->d->n_disks; i++) {
		const struct vbmq_disk *disk = &d->d->disks[i];
		struct vbmq_place_disk *to = &p->disks[i];
		bool differs = false;

		to->queues = calloc(disk->n_queues + 1, sizeof(*to->queues));
		if (!to->queues)
			return -ENOMEM;
		p->n_disks++;
		memcpy(to->target, disk->target, sizeof(to->target));
		to->n_queues = disk->n_queues;
		for (size_t q = 0; q < disk->n_queues; q++) {
			to->queues[q].iothread = d->map[i][q];
			to->queues[q].vcpus = refer_vcpus(b, q, &disk->queues[q].vcpus);
			if (!to->queues[q].vcpus)
				return -ENOMEM;
			differs = differs || d->map[i][q] != disk->queues[q].iothread;
		}
		to->remap = differs && d->running;
		to->at_next_start = differs && !d->running;
		b->like = to;
	}
	return 0;
}

static int build(struct vbmq_pl *pl, struct vbmq_placement *p)
{
	_cleanup_free_ const struct vbmq_cpuset **refs = calloc(pl->n_sets, sizeof(*refs));
	struct building b = { .pl = pl, .refs = refs };

	p->shared = pl->shared;
	p->dedicated = pl->dedicated;
	p->whys = b.whys = VBMQ_STEAL(pl->whys);
	p->pinned = vbmq_pl_taken(pl);
	p->pinned = vbmq_cpuset_and(&p->pinned, &pl->host->usable);
	p->shared_min = (uint32_t)pl->shared_min;
	p->domains = calloc(pl->n_domains + 1, sizeof(*p->domains));
	if (!refs || !p->domains)
		return -ENOMEM;
	for (size_t i = 0; i < pl->n_domains; i++) {
		const struct vbmq_pl_domain *d = &pl->domains[i];
		struct vbmq_place_domain *to = &p->domains[p->n_domains++];

		to->name = strdup(d->d->name);
		if (!to->name)
			return -ENOMEM;
		memcpy(to->uuid, d->d->uuid, sizeof(to->uuid));
		to->capability = vbmq_caps_level(d->d->caps);
		to->managed = d->managed;
		to->priority = d->wish.priority;
		if (build_threads(&b, d, to) < 0 || build_disks(&b, d, to) < 0)
			return -ENOMEM;
	}
	return vbmq_pl_diags(pl, p);
}

int vbmq_planner_run(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		     struct vbmq_placement **ret, struct vbmq_err *err)
{
	_cleanup_(vbmq_placement_freep) struct vbmq_placement *p = calloc(1, sizeof(*p));
	struct vbmq_pl *pl = calloc(1, sizeof(*pl));
	int r = -ENOMEM;

	if (!p || !pl) {
		free(pl);
		return vbmq_err_oom(err);
	}
	r = vbmq_pl_init(pl, snapshot, policy, err);
	if (r == 0) {
		r = run_passes(pl);
		if (r == 0)
			r = build(pl, p);
		if (r < 0)
			vbmq_err_set(err, r,
				     r == -ENOMEM ? "planner: out of memory"
						  : "planner: the granted cores cannot be assigned");
	}
	vbmq_pl_done(pl);
	free(pl);
	if (r == 0)
		*ret = VBMQ_STEAL(p);
	return r;
}
