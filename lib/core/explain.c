/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A case is a question that a placement answers with yes or no: is this domain's wish fulfilled, is this thread nearer to
 * what it serves than now. A remedy is a change of policy or of one wish; try() makes it on copies, asks the planner, and
 * the case. Where a remedy has a size (so many cores, so many threads), the smallest one that will do is searched by halving,
 * with the greatest one tried first: if that does not help, none does.
 *
 * Limits. One change at a time. At most TRIALS_MAX planner runs, and no more than TRIALS_CASE_MAX for one case.
 */

#include "core/explain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/assume.h"
#include "core/planner.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

#define TRIALS_MAX 600u
#define TRIALS_CASE_MAX 48u
#define ITEMS_MAX 1000000u

VBMQ_DEFINE_CLEANUP(struct vbmq_placement *, vbmq_placement_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_assumed_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_explanation *, vbmq_explanation_free);

const char *const vbmq_remedy_words[] = { "rebalance",	    "shared-min-cores", "reserved-cpus",
					  "dedicated-cpus", "iothreads",	"exclusive",
					  "vcpus",	    "priority",		NULL };

struct work {
	const struct vbmq_snapshot *s;
	const struct vbmq_policy *policy;
	const struct vbmq_placement *p;
	struct vbmq_explanation *x;
	size_t n_trials, case_end; /* until so many */
	struct vbmq_err *err;
};

/* --- cases ------------------------------------------------------------------------------------------------------------ */

static bool is_shortage(const struct vbmq_diag *d)
{
	static const char *const codes[] = { VBMQ_DIAG_FEWER_IOTHREADS, VBMQ_DIAG_SHARED_CORE, VBMQ_DIAG_SHARED_SET,
					     VBMQ_DIAG_VCPUS_SHARED };

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(codes); i++)
		if (d->severity == VBMQ_ERROR && strcmp(d->code, codes[i]) == 0)
			return true;
	return false;
}

static bool falls_short(const struct vbmq_place_domain *d)
{
	for (size_t i = 0; i < d->diags.n; i++)
		if (is_shortage(&d->diags.items[i]))
			return true;
	return false;
}

static bool nearer(uint64_t numa, uint64_t locality, const struct vbmq_cost *than)
{
	return numa < than->numa || (numa == than->numa && locality < than->locality);
}

static bool is_solved(const struct work *w, const struct vbmq_explained *c, const struct vbmq_placement *p)
{
	const struct vbmq_place_thread *now, *then;

	if (c->thread == VBMQ_EXPLAIN_ALL)
		return !falls_short(&p->domains[c->domain]);
	now = &w->p->domains[c->domain].threads[c->thread];
	then = vbmq_place_thread(&p->domains[c->domain], now->kind, now->id);
	return then && then->exclusive && then->why &&
	       nearer(then->why->cost.numa, then->why->cost.locality, &now->why->cost);
}

/* --- trying ----------------------------------------------------------------------------------------------------------- */

static size_t places(const struct vbmq_place_domain *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_threads; i++)
		n += d->threads[i].exclusive;
	return n;
}

static void change(const struct vbmq_remedy *r, struct vbmq_snapshot *s, struct vbmq_policy *policy)
{
	struct vbmq_wish *wish = &s->domains[r->domain]->wish;

	switch (r->kind) {
	case VBMQ_REMEDY_REBALANCE:
		policy->move_gain = 0;
		break;
	case VBMQ_REMEDY_SHARED_MIN:
		policy->shared_min_cores = (uint32_t)r->to;
		break;
	case VBMQ_REMEDY_RESERVED:
		policy->reserved = VBMQ_CPUSET_EMPTY;
		break;
	case VBMQ_REMEDY_DEDICATED:
		policy->dedicated = VBMQ_CPUSET_EMPTY;
		break;
	case VBMQ_REMEDY_IOTHREADS:
		wish->iothreads = (int32_t)r->to;
		break;
	case VBMQ_REMEDY_EXCLUSIVE:
		wish->exclusive = VBMQ_EXCLUSIVE_CPU;
		break;
	case VBMQ_REMEDY_FOLLOW:
		wish->vcpus = VBMQ_VCPUS_FOLLOW;
		break;
	case VBMQ_REMEDY_PRIORITY:
		wish->has_priority = true;
		wish->priority = (int32_t)r->to;
		break;
	}
}

/* 1: it helps (and r knows at whose cost); 0: it does not, or no more may be tried. */
static int try(struct work *w, const struct vbmq_explained *c, struct vbmq_remedy *r)
{
	_cleanup_(vbmq_assumed_freep) struct vbmq_snapshot *s = NULL;
	_cleanup_(vbmq_placement_freep) struct vbmq_placement *p = NULL;
	struct vbmq_policy policy;
	int code;

	if (w->n_trials >= w->case_end) {
		w->x->cut = w->x->cut || w->n_trials >= TRIALS_MAX;
		return 0;
	}
	w->n_trials++;
	code = vbmq_assume(w->s, NULL, 0, &s, w->err);
	if (code < 0)
		return code;
	if (vbmq_policy_copy(w->policy, &policy) < 0)
		return vbmq_err_oom(w->err);
	change(r, s, &policy);
	code = vbmq_planner_run(s, &policy, &p, w->err);
	vbmq_policy_done(&policy);
	if (code < 0 || !is_solved(w, c, p))
		return code;
	r->n_losers = 0;
	for (uint32_t i = 0; i < p->n_domains; i++)
		if (i != r->domain && places(&p->domains[i]) < places(&w->p->domains[i]) && r->n_losers++ == 0)
			r->loser = i;
	return 1;
}

static void keep(struct vbmq_explained *c, const struct vbmq_remedy *r)
{
	if (c->n_remedies < VBMQ_REMEDIES_MAX)
		c->remedies[c->n_remedies++] = *r;
}

static int try_one(struct work *w, struct vbmq_explained *c, struct vbmq_remedy r)
{
	int code = try(w, c, &r);

	if (code > 0)
		keep(c, &r);
	return code < 0 ? code : 0;
}

/* to: from far, which must help at all, towards near, which would be the smaller change. 1: found one. */
static int try_least(struct work *w, struct vbmq_explained *c, struct vbmq_remedy r, int64_t far, int64_t near)
{
	int64_t good = far, bad = far < near ? near + 1 : near - 1;
	struct vbmq_remedy best;
	int code;

	r.to = far;
	code = try(w, c, &r);
	if (code <= 0)
		return code;
	best = r;
	while (good - bad > 1 || bad - good > 1) {
		r.to = good + (bad - good) / 2;
		code = try(w, c, &r);
		if (code < 0)
			return code;
		if (code > 0) {
			best = r;
			good = r.to;
		} else {
			bad = r.to;
		}
	}
	best.cores = best.kind == VBMQ_REMEDY_SHARED_MIN ? (uint32_t)(best.from - best.to) : 0;
	keep(c, &best);
	return 1;
}

/* --- remedies --------------------------------------------------------------------------------------------------------- */

static int try_policy(struct work *w, struct vbmq_explained *c)
{
	struct vbmq_remedy r = { .domain = c->domain };
	int code = 0;

	if (c->thread != VBMQ_EXPLAIN_ALL && w->policy->move_gain) {
		r.kind = VBMQ_REMEDY_REBALANCE;
		r.from = w->policy->move_gain;
		code = try_one(w, c, r);
	}
	r.kind = VBMQ_REMEDY_SHARED_MIN;
	r.from = w->p->shared_min;
	if (code == 0 && r.from > 1)
		code = try_least(w, c, r, 1, r.from - 1);
	r.from = 0;
	r.kind = VBMQ_REMEDY_RESERVED;
	if (code >= 0 && !vbmq_cpuset_is_empty(&w->policy->reserved))
		code = try_one(w, c, r);
	r.kind = VBMQ_REMEDY_DEDICATED;
	if (code >= 0 && !vbmq_cpuset_is_empty(&w->policy->dedicated))
		code = try_one(w, c, r);
	return code < 0 ? code : 0;
}

static int64_t count_iothreads(const struct vbmq_place_domain *d)
{
	int64_t n = 0;

	for (size_t i = 0; i < d->n_threads; i++)
		n += d->threads[i].kind == VBMQ_THREAD_IOTHREAD && !d->threads[i].to_remove;
	return n;
}

/* Of the domain whose case it is, or of another one. */
static int try_fewer_iothreads(struct work *w, struct vbmq_explained *c, uint32_t of)
{
	struct vbmq_remedy r = { .kind = VBMQ_REMEDY_IOTHREADS, .domain = of };
	struct vbmq_wish wish = VBMQ_WISH_INIT;

	if (vbmq_policy_merge(w->policy, &w->s->domains[of]->wish, &wish) < 0)
		return vbmq_err_oom(w->err);
	r.from = wish.iothreads > VBMQ_COUNT_AUTO ? wish.iothreads : count_iothreads(&w->p->domains[of]);
	vbmq_wish_done(&wish);
	return r.from > 1 ? try_least(w, c, r, 1, r.from - 1) : 0;
}

static int try_own_wish(struct work *w, struct vbmq_explained *c)
{
	struct vbmq_remedy r = { .domain = c->domain };
	struct vbmq_wish wish = VBMQ_WISH_INIT;
	bool core, dedicated;
	int code = try_fewer_iothreads(w, c, c->domain);

	if (code < 0)
		return code;
	if (vbmq_policy_merge(w->policy, &w->s->domains[c->domain]->wish, &wish) < 0)
		return vbmq_err_oom(w->err);
	core = wish.exclusive == VBMQ_EXCLUSIVE_CORE;
	dedicated = wish.vcpus == VBMQ_VCPUS_DEDICATED;
	vbmq_wish_done(&wish);
	r.kind = VBMQ_REMEDY_EXCLUSIVE;
	code = core ? try_one(w, c, r) : 0;
	r.kind = VBMQ_REMEDY_FOLLOW;
	return code == 0 && dedicated ? try_one(w, c, r) : code;
}

/* The first other domain whose threads stand in the way; for a better place just its holder. */
static int try_others(struct work *w, struct vbmq_explained *c)
{
	for (uint32_t i = 0; i < w->p->n_domains; i++) {
		bool asked = c->thread == VBMQ_EXPLAIN_ALL || (c->held && i == c->holder);
		int code;

		if (i == c->domain || !asked || places(&w->p->domains[i]) < 2)
			continue;
		code = try_fewer_iothreads(w, c, i);
		if (code != 0)
			return code < 0 ? code : 0;
	}
	return 0;
}

static int try_priority(struct work *w, struct vbmq_explained *c)
{
	struct vbmq_remedy r = { .kind = VBMQ_REMEDY_PRIORITY, .domain = c->domain };
	int64_t most = VBMQ_PRIORITY_MIN;
	int code;

	for (size_t i = 0; i < w->p->n_domains; i++)
		if (i != c->domain && places(&w->p->domains[i]) && w->p->domains[i].priority > most)
			most = w->p->domains[i].priority;
	r.from = w->p->domains[c->domain].priority;
	if (r.from > most || most >= VBMQ_PRIORITY_MAX)
		return 0;
	code = try_least(w, c, r, most + 1, r.from + 1);
	return code < 0 ? code : 0;
}

static int try_all(struct work *w, struct vbmq_explained *c)
{
	int code;

	w->case_end = w->n_trials + TRIALS_CASE_MAX < TRIALS_MAX ? w->n_trials + TRIALS_CASE_MAX : TRIALS_MAX;
	code = try_policy(w, c);
	if (code == 0 && c->thread == VBMQ_EXPLAIN_ALL)
		code = try_own_wish(w, c);
	if (code == 0)
		code = try_others(w, c);
	return code == 0 ? try_priority(w, c) : code;
}

/* --- the better place ------------------------------------------------------------------------------------------------- */

static void place_cost(const struct work *w, const struct vbmq_explained *c, uint32_t core, uint64_t *numa,
		       uint64_t *locality)
{
	const struct vbmq_host *h = w->s->host;
	const struct vbmq_domain *d = w->s->domains[c->domain];
	const struct vbmq_place_domain *p = &w->p->domains[c->domain];
	struct vbmq_cpuset vcpus = VBMQ_CPUSET_EMPTY;
	uint32_t id = p->threads[c->thread].id;

	*numa = vbmq_cost_beyond_nearest(h, h->cores[core].node, &d->memory_nodes);
	*locality = 0;
	for (size_t i = 0; i < p->n_disks && i < d->n_disks; i++) {
		bool serves = false;

		for (size_t q = 0; q < p->disks[i].n_queues; q++)
			if (p->disks[i].queues[q].iothread == id) {
				vcpus = vbmq_cpuset_or(&vcpus, p->disks[i].queues[q].vcpus);
				serves = true;
			}
		if (serves && d->disks[i].node != VBMQ_NODE_UNKNOWN)
			*numa += vbmq_cost_beyond(h, h->cores[core].node, (uint32_t)d->disks[i].node);
	}
	for (int v = vbmq_cpuset_next(&vcpus, 0); v >= 0; v = vbmq_cpuset_next(&vcpus, (unsigned)v + 1)) {
		const struct vbmq_place_thread *vcpu = vbmq_place_thread(p, VBMQ_THREAD_VCPU, (uint32_t)v);

		/* One that floats is met wherever the thread goes. */
		if (vcpu && vbmq_cost_is_fixed(h, vcpu->cpus))
			*locality += vbmq_cost_near(h, core, vcpu->cpus);
	}
}

static bool find_holder(const struct work *w, const struct vbmq_core *core, struct vbmq_explained *c)
{
	for (uint32_t i = 0; i < w->p->n_domains; i++)
		for (uint32_t j = 0; j < w->p->domains[i].n_threads; j++)
			if (w->p->domains[i].threads[j].exclusive &&
			    vbmq_cpuset_intersects(w->p->domains[i].threads[j].cpus, &core->cpus)) {
				c->holder = i;
				c->holder_thread = j;
				return true;
			}
	return false;
}

/* The nearest core of the host, whoever has it: one that nobody has before one that somebody has. False: it stands there. */
static bool find_better(const struct work *w, struct vbmq_explained *c)
{
	const struct vbmq_host *h = w->s->host;
	const struct vbmq_place_thread *t = &w->p->domains[c->domain].threads[c->thread];
	uint32_t here = h->core_of[vbmq_cpuset_next(t->cpus, 0)];
	bool found = false;

	place_cost(w, c, here, &c->numa, &c->locality);
	for (uint32_t i = 0; i < h->n_cores; i++) {
		struct vbmq_cost best = { .numa = c->numa, .locality = c->locality };
		struct vbmq_explained other = *c;
		bool same;

		if (!vbmq_cpuset_intersects(&h->cores[i].cpus, &h->usable))
			continue;
		place_cost(w, c, i, &other.numa, &other.locality);
		same = found && other.numa == c->numa && other.locality == c->locality && c->held;
		if (!same && !nearer(other.numa, other.locality, &best))
			continue;
		other.held = find_holder(w, &h->cores[i], &other);
		if (same && other.held && w->p->domains[other.holder].priority >= w->p->domains[c->holder].priority)
			continue;
		other.better = h->cores[i].cpus;
		*c = other;
		found = true;
	}
	return found;
}

/* --- all of it -------------------------------------------------------------------------------------------------------- */

static int add(struct work *w, const struct vbmq_explained *c)
{
	struct vbmq_explained *slot = vbmq_array_add(w->x->items, w->x->n_items, ITEMS_MAX);

	if (!slot)
		return vbmq_err_oom(w->err);
	*slot = *c;
	return 0;
}

static int explain_domain(struct work *w, uint32_t domain)
{
	const struct vbmq_place_domain *d = &w->p->domains[domain];
	struct vbmq_explained c = { .domain = domain, .thread = VBMQ_EXPLAIN_ALL };
	int r = 0;

	if (falls_short(d)) {
		r = try_all(w, &c);
		if (r == 0)
			r = add(w, &c);
	}
	for (uint32_t i = 0; i < d->n_threads && r == 0; i++) {
		const struct vbmq_place_thread *t = &d->threads[i];

		c = (struct vbmq_explained){ .domain = domain, .thread = i };
		if (t->kind != VBMQ_THREAD_IOTHREAD || !t->exclusive || !t->why || !find_better(w, &c))
			continue;
		r = try_all(w, &c);
		if (r == 0)
			r = add(w, &c);
	}
	return r;
}

int vbmq_explain_make(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		      const struct vbmq_placement *placement, uint32_t domain, struct vbmq_explanation **ret,
		      struct vbmq_err *err)
{
	_cleanup_(vbmq_explanation_freep) struct vbmq_explanation *x = calloc(1, sizeof(*x));
	struct work w = { .s = snapshot, .policy = policy, .p = placement, .x = x, .err = err };

	if (!x)
		return vbmq_err_oom(err);
	for (uint32_t i = 0; i < placement->n_domains; i++) {
		int r = domain == VBMQ_EXPLAIN_ALL || domain == i ? explain_domain(&w, i) : 0;

		if (r < 0)
			return r;
	}
	*ret = VBMQ_STEAL(x);
	return 0;
}

struct vbmq_explanation *vbmq_explanation_free(struct vbmq_explanation *x)
{
	if (x)
		free(x->items);
	free(x);
	return NULL;
}

const struct vbmq_explained *vbmq_explanation_find(const struct vbmq_explanation *x, uint32_t domain, uint32_t thread)
{
	for (size_t i = 0; x && i < x->n_items; i++)
		if (x->items[i].domain == domain && x->items[i].thread == thread)
			return &x->items[i];
	return NULL;
}

/* --- words ------------------------------------------------------------------------------------------------------------ */

char *vbmq_remedy_text(const struct vbmq_remedy *r, const struct vbmq_placement *p)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	const char *name = p->domains[r->domain].name;
	char *text;

	switch (r->kind) {
	case VBMQ_REMEDY_REBALANCE:
		vbmq_strbuf_add(&b, "vbmqctl rebalance, which moves threads also for less than move-gain");
		break;
	case VBMQ_REMEDY_SHARED_MIN:
		vbmq_strbuf_printf(&b, "%u more core%s: shared-min-cores from %lld to %lld", r->cores,
				   r->cores == 1 ? "" : "s", (long long)r->from, (long long)r->to);
		break;
	case VBMQ_REMEDY_RESERVED:
		vbmq_strbuf_add(&b, "no reserved-cpus in the policy");
		break;
	case VBMQ_REMEDY_DEDICATED:
		vbmq_strbuf_add(&b, "no dedicated-cpus in the policy, so that all others may be dedicated, too");
		break;
	case VBMQ_REMEDY_IOTHREADS:
		vbmq_strbuf_printf(&b, "iothreads of %s from %lld to %lld", name, (long long)r->from, (long long)r->to);
		break;
	case VBMQ_REMEDY_EXCLUSIVE:
		vbmq_strbuf_printf(&b, "exclusive='cpu' instead of 'core' for the I/O threads of %s", name);
		break;
	case VBMQ_REMEDY_FOLLOW:
		vbmq_strbuf_printf(&b, "placement='follow' instead of 'dedicated' for the vCPUs of %s", name);
		break;
	case VBMQ_REMEDY_PRIORITY:
		vbmq_strbuf_printf(&b, "priority of %s from %lld to %lld", name, (long long)r->from, (long long)r->to);
		break;
	}
	if (r->n_losers == 1)
		vbmq_strbuf_printf(&b, ", at the cost of %s", p->domains[r->loser].name);
	else if (r->n_losers)
		vbmq_strbuf_printf(&b, ", at the cost of %s and %zu more", p->domains[r->loser].name, r->n_losers - 1);
	text = vbmq_strbuf_steal(&b);
	if (!text)
		vbmq_strbuf_done(&b);
	return text;
}
