/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What explain.h promises: a change that is named has been tried. So the tests make it, by code of their own, and look. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/explain.h"
#include "core/planner.h"
#include "gen.h"
#include "sim.h"
#include "util/cleanup.h"
#include "util/err.h"

#define LIVE (VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_COLD_MAP | VBMQ_CAP_LIVE_MAP)

static struct vbmq_placement *plan(const struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_placement *p = NULL;

	assert_int_equal(vbmq_planner_run(s, policy, &p, NULL), 0);
	return p;
}

static struct vbmq_explanation *explain(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
					const struct vbmq_placement *p)
{
	struct vbmq_explanation *x = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_explain_make(s, policy, p, VBMQ_EXPLAIN_ALL, &x, &err) < 0)
		fail_msg("%s", err.text);
	return x;
}

static bool is_error(const struct vbmq_diag *d)
{
	return d->severity == VBMQ_ERROR && strcmp(d->code, VBMQ_DIAG_BAD_METADATA) != 0;
}

static bool is_fulfilled(const struct vbmq_placement *p, uint32_t domain)
{
	for (size_t i = 0; i < p->domains[domain].diags.n; i++)
		if (is_error(&p->domains[domain].diags.items[i]))
			return false;
	return true;
}

static const struct vbmq_remedy *remedy(const struct vbmq_explained *c, enum vbmq_remedy_kind kind)
{
	for (size_t i = 0; i < c->n_remedies; i++)
		if (c->remedies[i].kind == kind)
			return &c->remedies[i];
	return NULL;
}

/* The change as a person would make it, on copies; what the planner makes of that. */
static struct vbmq_placement *plan_with(const struct vbmq_snapshot *from, const struct vbmq_policy *old,
					const struct vbmq_remedy *r, int64_t to)
{
	struct vbmq_snapshot *s = sim_copy(from);
	struct vbmq_wish *wish = &s->domains[r->domain]->wish;
	struct vbmq_placement *p;
	struct vbmq_policy policy;

	assert_int_equal(vbmq_policy_copy(old, &policy), 0);
	if (r->kind == VBMQ_REMEDY_REBALANCE)
		policy.move_gain = 0;
	else if (r->kind == VBMQ_REMEDY_SHARED_MIN)
		policy.shared_min_cores = (uint32_t)to;
	else if (r->kind == VBMQ_REMEDY_RESERVED)
		policy.reserved = VBMQ_CPUSET_EMPTY;
	else if (r->kind == VBMQ_REMEDY_DEDICATED)
		policy.dedicated = VBMQ_CPUSET_EMPTY;
	else if (r->kind == VBMQ_REMEDY_IOTHREADS)
		wish->iothreads = (int32_t)to;
	else if (r->kind == VBMQ_REMEDY_EXCLUSIVE)
		wish->exclusive = VBMQ_EXCLUSIVE_CPU;
	else if (r->kind == VBMQ_REMEDY_FOLLOW)
		wish->vcpus = VBMQ_VCPUS_FOLLOW;
	else
		wish->has_priority = true, wish->priority = (int32_t)to;
	p = plan(s, &policy);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
	return p;
}

static bool fulfils(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_remedy *r,
		    int64_t to, uint32_t domain)
{
	struct vbmq_placement *p = plan_with(s, policy, r, to);
	bool yes = is_fulfilled(p, domain);

	vbmq_placement_free(p);
	return yes;
}

static struct vbmq_domain *add_guest(struct vbmq_snapshot *s, const char *name, unsigned vcpus, int32_t iothreads,
				     int32_t node)
{
	struct vbmq_domain *d = gen_plain_domain(s->host, name, vcpus, 0, LIVE);

	gen_add_disk(d, "vda", vcpus, node);
	d->wish.iothreads = iothreads;
	assert_int_equal(vbmq_snapshot_add(s, d, NULL), 0);
	return d;
}

/* Eight cores, four of them to be shared, six wished: two cores more, or two threads fewer, and not one less of either. */
static void test_smallest_change(void **state)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	const struct vbmq_remedy *min, *fewer;
	const struct vbmq_explained *c;
	_cleanup_free_ char *text = NULL;
	struct vbmq_explanation *x;
	struct vbmq_placement *p;
	struct vbmq_policy policy;

	vbmq_policy_init(&policy);
	policy.shared_min_cores = 4;
	s->host = gen_regular_host(1, 1, 8, 1);
	add_guest(s, "db1", 6, 6, VBMQ_NODE_UNKNOWN);
	assert_int_equal(vbmq_snapshot_finish(s, NULL), 0);
	p = plan(s, &policy);
	assert_false(is_fulfilled(p, 0));
	x = explain(s, &policy, p);
	c = vbmq_explanation_find(x, 0, VBMQ_EXPLAIN_ALL);
	assert_non_null(c);
	min = remedy(c, VBMQ_REMEDY_SHARED_MIN);
	fewer = remedy(c, VBMQ_REMEDY_IOTHREADS);
	assert_true(min && fewer);
	assert_int_equal(min->from, 4);
	assert_int_equal(min->to, 2);
	assert_int_equal(min->cores, 2);
	assert_true(fulfils(s, &policy, min, 2, 0) && !fulfils(s, &policy, min, 3, 0));
	assert_int_equal(fewer->from, 6);
	assert_int_equal(fewer->to, 4);
	assert_true(fulfils(s, &policy, fewer, 4, 0) && !fulfils(s, &policy, fewer, 5, 0));
	text = vbmq_remedy_text(min, p);
	assert_string_equal(text, "2 more cores: shared-min-cores from 4 to 2");
	vbmq_explanation_free(x);
	vbmq_placement_free(p);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
}

/* The cores of the device's node belong to a guest of higher priority: it is named, and so is what would help. */
static void test_names_the_holder(void **state)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	const struct vbmq_explained *c = NULL;
	const struct vbmq_remedy *r;
	struct vbmq_explanation *x;
	struct vbmq_placement *p;
	struct vbmq_policy policy;
	struct vbmq_domain *big;

	vbmq_policy_init(&policy);
	policy.shared_min_cores = 1;
	s->host = gen_regular_host(2, 1, 3, 1);
	big = add_guest(s, "big", 3, 3, 1);
	big->wish.has_priority = true;
	big->wish.priority = 5;
	add_guest(s, "small", 1, 1, 1);
	assert_int_equal(vbmq_snapshot_finish(s, NULL), 0);
	p = plan(s, &policy);
	assert_true(is_fulfilled(p, 0) && is_fulfilled(p, 1));
	x = explain(s, &policy, p);
	for (uint32_t i = 0; i < p->domains[1].n_threads && !c; i++)
		c = vbmq_explanation_find(x, 1, i);
	assert_non_null(c);
	assert_true(c->held);
	assert_int_equal(c->holder, 0);
	assert_int_equal(c->numa, 0);
	assert_true(vbmq_cpuset_is_subset(&c->better, &s->host->nodes[1].cpus));
	r = remedy(c, VBMQ_REMEDY_IOTHREADS);
	assert_non_null(r);
	assert_int_equal(r->domain, 0);
	assert_int_equal(r->to, 2);
	vbmq_placement_free(p);
	p = plan_with(s, &policy, r, r->to);
	assert_int_equal(vbmq_place_thread(&p->domains[1], VBMQ_THREAD_IOTHREAD, 1)->why->cost.numa, 0);
	vbmq_placement_free(p);
	vbmq_explanation_free(x);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
}

static void test_nothing_to_explain(void **state)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_explanation *x;
	struct vbmq_placement *p;
	struct vbmq_policy policy;

	vbmq_policy_init(&policy);
	s->host = gen_regular_host(2, 2, 4, 2);
	add_guest(s, "db1", 2, 2, 1);
	assert_int_equal(vbmq_snapshot_finish(s, NULL), 0);
	p = plan(s, &policy);
	x = explain(s, &policy, p);
	assert_int_equal(x->n_items, 0);
	vbmq_explanation_free(x);
	vbmq_placement_free(p);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
}

/* Random shortages: every remedy of a wish makes it possible; every remedy of a place makes it nearer. */
static void check_item(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_placement *p,
		       const struct vbmq_explained *c, uint64_t seed)
{
	for (size_t i = 0; i < c->n_remedies; i++) {
		struct vbmq_placement *then = plan_with(s, policy, &c->remedies[i], c->remedies[i].to);
		const struct vbmq_place_thread *was, *is;
		bool good;

		if (c->thread == VBMQ_EXPLAIN_ALL) {
			good = is_fulfilled(then, c->domain);
		} else {
			was = &p->domains[c->domain].threads[c->thread];
			is = vbmq_place_thread(&then->domains[c->domain], was->kind, was->id);
			good = is && is->exclusive &&
			       (is->why->cost.numa < was->why->cost.numa ||
				(is->why->cost.numa == was->why->cost.numa &&
				 is->why->cost.locality < was->why->cost.locality));
		}
		if (!good)
			fail_msg("seed %llu: %s of %s does not help", (unsigned long long)seed,
				 vbmq_remedy_words[c->remedies[i].kind], p->domains[c->remedies[i].domain].name);
		vbmq_placement_free(then);
	}
}

static void test_named_changes_help(void **state)
{
	size_t n_wishes = 0, n_places = 0;

	for (uint64_t seed = 1; seed <= 600; seed++) {
		struct gen g = gen_seed(seed);
		struct vbmq_snapshot *s = gen_snapshot(&g, 24, 6);
		struct vbmq_explanation *x;
		struct vbmq_placement *p;
		struct vbmq_policy policy;

		gen_policy(&g, s->host, &policy);
		p = plan(s, &policy);
		x = explain(s, &policy, p);
		for (size_t i = 0; i < x->n_items; i++) {
			check_item(s, &policy, p, &x->items[i], seed);
			*(x->items[i].thread == VBMQ_EXPLAIN_ALL ? &n_wishes : &n_places) += x->items[i].n_remedies;
		}
		vbmq_explanation_free(x);
		vbmq_placement_free(p);
		vbmq_policy_done(&policy);
		vbmq_snapshot_free(s);
	}
	assert_true(n_wishes >= 50 && n_places >= 10); /* or the test would look at nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smallest_change),
		cmocka_unit_test(test_names_the_holder),
		cmocka_unit_test(test_nothing_to_explain),
		cmocka_unit_test(test_named_changes_help),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
