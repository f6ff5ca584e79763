/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Built upon the planner from outside, by asking it again:
 *   1. the everyday plan is what has to be beaten;
 *   2. L3 domains are given up one by one, the emptiest first: the planner with only the cores of the others to dedicate;
 *   3. the planner on a copy of the snapshot in which nobody who gets a place of his own stands anywhere: so moves cost
 *      nothing, and what comes out is the best set of cores; then the planner on the snapshot itself, with only these
 *      cores to dedicate: the same costs but for the moves, of which it takes the fewest.
 * 2 finds what takes few moves, 3 what takes many together.
 *
 * A candidate is taken only if its score beats the best so far (or equals it with fewer moves), no domain loses a place,
 * and the everyday plan on the state that it leads to is empty. So what is promised is checked, not concluded.
 *
 * Limits. The score is a minimum of what was tried, not of all placements. One planner run for each L3 domain in use.
 */

#include "core/rebalance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/affinity.h"
#include "core/assume.h"
#include "core/diff.h"
#include "core/irqs.h"
#include "core/parts.h"
#include "core/planner.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"

#define MOVES_MAX 10000000u

VBMQ_DEFINE_CLEANUP(struct vbmq_placement *, vbmq_placement_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_assumed_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_rebalance *, vbmq_rebalance_free);

struct way { /* a placement, how to get there and how good it is */
	struct vbmq_placement *placement;
	struct vbmq_step *steps;
	size_t n_steps;
	struct vbmq_score score;
	size_t n_own_moves;
	bool rests;
};

struct search {
	const struct vbmq_snapshot *s;
	const struct vbmq_policy *policy; /* of every day */
	struct vbmq_policy keen; /* ... but gains are taken however small they are */
	const uint32_t *n_allowed; /* as it is, by CPU */
	size_t max_moves;
	struct way everyday, best; /* best.placement NULL: everyday is */
	struct vbmq_err *err;
};

static void way_done(struct way *w)
{
	vbmq_placement_free(w->placement);
	vbmq_steps_free(w->steps, w->n_steps);
	*w = (struct way){ 0 };
}

/* --- moves ------------------------------------------------------------------------------------------------------------ */

static bool moves(const struct vbmq_snapshot *s, uint32_t domain, const struct vbmq_place_thread *to,
		  const uint32_t *n_allowed, struct vbmq_move *ret)
{
	const struct vbmq_thread *was = vbmq_domain_thread(s->domains[domain], to->kind, to->id);

	if (!to->exclusive || !to->planned || (was && vbmq_cpuset_equal(&was->affinity, to->cpus)))
		return false;
	*ret = (struct vbmq_move){ .domain = domain, .kind = to->kind, .id = to->id, .to = *to->cpus };
	if (was) {
		ret->from = was->affinity;
		ret->had_own = vbmq_score_alone(s->host, &was->affinity, false, n_allowed);
	}
	return true;
}

static size_t count_own_moves(const struct search *x, const struct vbmq_placement *p)
{
	struct vbmq_move m;
	size_t n = 0;

	for (uint32_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++)
			n += moves(x->s, i, &p->domains[i].threads[j], x->n_allowed, &m) && m.had_own;
	return n;
}

/* --- candidates ------------------------------------------------------------------------------------------------------- */

static int rests(struct search *x, const struct vbmq_snapshot *after, bool *ret)
{
	_cleanup_(vbmq_placement_freep) struct vbmq_placement *p = NULL;
	struct vbmq_step *steps = NULL;
	size_t n = 0;
	int r = vbmq_planner_run(after, x->policy, &p, x->err);

	if (r == 0)
		r = vbmq_diff(after, p, &steps, &n, x->err);
	vbmq_steps_free(steps, n);
	if (r == 0)
		*ret = n == 0;
	return r;
}

static int look(struct search *x, const struct vbmq_policy *policy, struct way *ret)
{
	_cleanup_(vbmq_assumed_freep) struct vbmq_snapshot *after = NULL;
	struct way w = { 0 };
	int r = vbmq_planner_run(x->s, policy, &w.placement, x->err);

	if (r == 0)
		r = vbmq_diff(x->s, w.placement, &w.steps, &w.n_steps, x->err);
	if (r == 0)
		r = vbmq_assume(x->s, w.steps, w.n_steps, &after, x->err);
	if (r == 0)
		r = vbmq_score(after, x->policy, &w.score, x->err);
	if (r == 0)
		r = rests(x, after, &w.rests);
	if (r < 0) {
		way_done(&w);
		return r;
	}
	w.n_own_moves = count_own_moves(x, w.placement);
	*ret = w;
	return 0;
}

static size_t count_places(const struct vbmq_place_domain *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_threads; i++)
		n += d->threads[i].exclusive;
	return n;
}

static bool nobody_loses(const struct vbmq_placement *by, const struct vbmq_placement *p)
{
	for (size_t i = 0; i < p->n_domains; i++)
		if (count_places(&p->domains[i]) < count_places(&by->domains[i]))
			return false;
	return true;
}

static const struct way *best(const struct search *x)
{
	return x->best.placement ? &x->best : &x->everyday;
}

static bool beats(const struct way *a, const struct way *b)
{
	int r = vbmq_score_compare(&a->score, &b->score);

	return r < 0 || (r == 0 && a->n_own_moves < b->n_own_moves);
}

/* Plans under policy, and keeps the result if it is good. */
static int try_policy(struct search *x, const struct vbmq_policy *policy)
{
	struct way w;
	int r = look(x, policy, &w);

	if (r < 0)
		return r;
	if (w.rests && w.n_own_moves <= x->max_moves && beats(&w, best(x)) &&
	    nobody_loses(x->everyday.placement, w.placement)) {
		way_done(&x->best);
		x->best = w;
	} else {
		way_done(&w);
	}
	return 0;
}

/* ... with only the cores of these CPUs to dedicate. */
static int try_cores(struct search *x, const struct vbmq_cpuset *cpus)
{
	struct vbmq_cpuset whole = vbmq_host_whole_cores(x->s->host, cpus);
	struct vbmq_policy policy;
	int r;

	if (!vbmq_cpuset_is_empty(&x->policy->dedicated))
		whole = vbmq_cpuset_and(&whole, &x->policy->dedicated);
	if (vbmq_cpuset_is_empty(&whole))
		return 0;
	if (vbmq_policy_copy(&x->keen, &policy) < 0)
		return vbmq_err_oom(x->err);
	policy.dedicated = whole;
	r = try_policy(x, &policy);
	vbmq_policy_done(&policy);
	return r;
}

/* --- where to look ---------------------------------------------------------------------------------------------------- */

/* Who gets a place of his own stands nowhere in particular. */
static void forget_places(struct vbmq_snapshot *s, const struct vbmq_placement *p)
{
	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < s->domains[i]->n_threads; j++) {
			struct vbmq_thread *t = &s->domains[i]->threads[j];
			const struct vbmq_place_thread *to = vbmq_place_thread(&p->domains[i], t->kind, t->id);

			if (!to || !to->exclusive || !to->planned)
				continue;
			t->affinity = s->host->usable;
			if (t->held)
				t->applied = t->affinity;
			t->own = false;
		}
}

static int try_from_nothing(struct search *x)
{
	_cleanup_(vbmq_assumed_freep) struct vbmq_snapshot *s = NULL;
	_cleanup_(vbmq_placement_freep) struct vbmq_placement *p = NULL;
	int r = vbmq_assume(x->s, NULL, 0, &s, x->err);

	if (r < 0)
		return r;
	forget_places(s, x->everyday.placement);
	r = vbmq_planner_run(s, &x->keen, &p, x->err);
	return r < 0 ? r : try_cores(x, &p->dedicated);
}

static size_t n_dedicated(const struct vbmq_placement *p, const struct vbmq_l3 *l3)
{
	struct vbmq_cpuset here = vbmq_cpuset_and(&p->dedicated, &l3->cpus);

	return vbmq_cpuset_count(&here);
}

/* Gives up this L3 domain; those that are free stay free, but for that of the boot core, which is never wholly free. */
static int try_without(struct search *x, uint32_t without)
{
	const struct vbmq_host *h = x->s->host;
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;

	for (uint32_t i = 0; i < h->n_l3s; i++)
		if (i != without && (n_dedicated(best(x)->placement, &h->l3s[i]) ||
				     vbmq_cpuset_has(&h->l3s[i].cpus, (unsigned)vbmq_cpuset_next(&h->usable, 0))))
			cpus = vbmq_cpuset_or(&cpus, &h->l3s[i].cpus);
	return try_cores(x, &cpus);
}

static int try_l3_by_l3(struct search *x)
{
	const struct vbmq_host *h = x->s->host;
	_cleanup_free_ bool *tried = calloc(h->n_l3s + 1, sizeof(*tried));

	if (!tried)
		return vbmq_err_oom(x->err);
	for (;;) {
		size_t least = SIZE_MAX;
		uint32_t emptiest = 0;
		int r;

		for (uint32_t i = 0; i < h->n_l3s; i++) {
			size_t n = n_dedicated(best(x)->placement, &h->l3s[i]);

			if (!tried[i] && n && n < least) {
				least = n;
				emptiest = i;
			}
		}
		if (least == SIZE_MAX)
			return 0;
		tried[emptiest] = true;
		r = try_without(x, emptiest);
		if (r < 0)
			return r;
	}
}

static int find_better(struct search *x)
{
	int r;

	if (vbmq_policy_copy(x->policy, &x->keen) < 0)
		return vbmq_err_oom(x->err);
	x->keen.move_gain = 0;
	r = try_policy(x, &x->keen);
	if (r == 0)
		r = try_l3_by_l3(x);
	if (r == 0)
		r = try_from_nothing(x);
	vbmq_policy_done(&x->keen);
	return r;
}

/* --- the result ------------------------------------------------------------------------------------------------------- */

static int list_moves(const struct search *x, struct vbmq_rebalance *r)
{
	const struct vbmq_placement *p = r->plan->placement;

	for (uint32_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			struct vbmq_move m, *slot;

			if (!moves(x->s, i, &p->domains[i].threads[j], x->n_allowed, &m))
				continue;
			slot = vbmq_array_add(r->moves, r->n_moves, MOVES_MAX);
			if (!slot)
				return vbmq_err_oom(x->err);
			*slot = m;
			r->n_own_moves += m.had_own;
		}
	return 0;
}

static int finish(struct search *x, const char *id, struct vbmq_rebalance **ret)
{
	_cleanup_(vbmq_rebalance_freep) struct vbmq_rebalance *r = calloc(1, sizeof(*r));
	struct way *w = x->best.placement ? &x->best : &x->everyday;
	int code;

	if (r)
		r->plan = calloc(1, sizeof(*r->plan));
	if (!r || !r->plan)
		return vbmq_err_oom(x->err);
	memcpy(r->plan->id, id, sizeof(r->plan->id));
	r->better = w == &x->best;
	r->everyday = x->everyday.score;
	r->after = w->score;
	r->plan->placement = VBMQ_STEAL(w->placement);
	vbmq_affinity_fill(x->s->host, r->plan->placement);
	r->plan->steps = VBMQ_STEAL(w->steps);
	r->plan->n_steps = w->n_steps;
	w->n_steps = 0;
	if (vbmq_parts_place(x->s, x->policy, r->plan->placement) < 0 ||
	    vbmq_irqs_place(x->s, x->policy, r->plan->placement) < 0 ||
	    vbmq_parts_add_steps(x->s, r->plan->placement, &r->plan->steps, &r->plan->n_steps) < 0 ||
	    vbmq_irqs_add_steps(x->s, r->plan->placement, &r->plan->steps, &r->plan->n_steps) < 0)
		return vbmq_err_oom(x->err);
	code = vbmq_score(x->s, x->policy, &r->before, x->err);
	if (code == 0)
		code = list_moves(x, r);
	if (code == 0)
		*ret = VBMQ_STEAL(r);
	return code;
}

int vbmq_rebalance_make(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy, uint32_t max_moves,
			const char *id, struct vbmq_rebalance **ret, struct vbmq_err *err)
{
	_cleanup_free_ uint32_t *n_allowed = calloc(VBMQ_CPUS_MAX, sizeof(*n_allowed));
	struct search x = { .s = snapshot, .policy = policy, .n_allowed = n_allowed, .err = err };
	int r;

	if (!n_allowed)
		return vbmq_err_oom(err);
	if (strlen(id) != VBMQ_PLAN_ID_LEN)
		return vbmq_err_set(err, -EINVAL, "plan id '%s' does not have %u digits", id, VBMQ_PLAN_ID_LEN);
	vbmq_score_allowed(snapshot, n_allowed);
	r = look(&x, policy, &x.everyday);
	if (r == 0) {
		x.max_moves = max_moves == VBMQ_MOVES_ANY ? SIZE_MAX : x.everyday.n_own_moves + max_moves;
		r = find_better(&x);
	}
	if (r == 0)
		r = finish(&x, id, ret);
	way_done(&x.everyday);
	way_done(&x.best);
	return r;
}

struct vbmq_rebalance *vbmq_rebalance_free(struct vbmq_rebalance *r)
{
	if (!r)
		return NULL;
	vbmq_plan_free(r->plan);
	free(r->moves);
	free(r);
	return NULL;
}
