/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What rebalance.h promises: on hosts small enough to know the right answer, and on random ones that the world went on with. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/diff.h"
#include "core/planner.h"
#include "core/rebalance.h"
#include "gen.h"
#include "props.h"
#include "sim.h"
#include "util/cleanup.h"
#include "util/err.h"

#define ID "0123456789abcdef0123456789abcdef"
#define CAPS (VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_COLD_MAP)

struct scene {
	struct vbmq_snapshot *s;
	struct vbmq_policy policy;
};

/* One I/O thread a guest, guest i on CPU at[i], where we put it; everything else floats on the rest. */
static struct scene set_scene(struct vbmq_host *h, size_t n, const unsigned *at)
{
	struct scene sc = { .s = vbmq_snapshot_new() };
	struct vbmq_cpuset rest = h->usable;

	assert_non_null(sc.s);
	vbmq_policy_init(&sc.policy);
	sc.policy.shared_min_cores = 1;
	sc.s->host = h;
	for (size_t i = 0; i < n; i++) {
		struct vbmq_cpuset core = vbmq_cpuset_of(at[i]);

		core = vbmq_host_whole_cores(h, &core);
		rest = vbmq_cpuset_andnot(&rest, &core);
	}
	for (unsigned i = 0; i < n; i++) {
		struct vbmq_domain *d = gen_plain_domain(h, (char[]){ 'g', (char)('a' + i), 0 }, 1, 1, CAPS);

		gen_add_disk(d, "vda", 1, VBMQ_NODE_UNKNOWN);
		d->disks[0].queues[0].iothread = 1;
		for (size_t j = 0; j < d->n_threads; j++) {
			struct vbmq_thread *t = &d->threads[j];

			t->own = t->kind == VBMQ_THREAD_IOTHREAD;
			t->held = true;
			t->affinity = t->applied = t->own ? vbmq_cpuset_of(at[i]) : rest;
			if (t->own)
				t->polling = (struct vbmq_polling){ sc.policy.poll_max_ns, sc.policy.poll_grow,
								    sc.policy.poll_shrink, VBMQ_POLL_UNSAID };
		}
		assert_int_equal(vbmq_snapshot_add(sc.s, d, NULL), 0);
	}
	assert_int_equal(vbmq_snapshot_finish(sc.s, NULL), 0);
	return sc;
}

static void end(struct scene *sc)
{
	vbmq_snapshot_free(sc->s);
	vbmq_policy_done(&sc->policy);
}

static struct vbmq_rebalance *rebalance(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, uint32_t max)
{
	struct vbmq_rebalance *r = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_rebalance_make(s, policy, max, ID, &r, &err) < 0)
		fail_msg("%s", err.text);
	return r;
}

/* Plays the plan on s step by step: no overlap, and it stays. */
static const char *play(struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_rebalance *r)
{
	const char *wrong = props_placement(s, policy, r->plan->placement);
	struct vbmq_score got;

	if (!wrong)
		wrong = props_steps(s, r->plan->placement, r->plan->steps, r->plan->n_steps);
	if (!wrong)
		wrong = props_at_rest(s, policy, r->plan->placement);
	assert_int_equal(vbmq_score(s, policy, &got, NULL), 0);
	if (!wrong && memcmp(&got, &r->after, sizeof(got)) != 0)
		wrong = "the score is not the one foretold";
	return wrong;
}

/* Four L3 domains of four cores, a thread in each of three: every day they stay, rebalanced one L3 domain is enough. */
static void test_frees_l3_domains(void **state)
{
	static const unsigned at[] = { 5, 9, 13 };
	struct scene sc = set_scene(gen_regular_host(1, 4, 4, 1), 3, at);
	struct vbmq_rebalance *r = rebalance(sc.s, &sc.policy, VBMQ_MOVES_ANY);
	const char *wrong;

	assert_true(r->better);
	assert_int_equal(vbmq_score_compare(&r->before, &r->everyday), 0);
	assert_int_equal(r->before.n_l3_free, 0);
	assert_int_equal(r->before.n_own, 3);
	assert_int_equal(r->after.n_l3_free, 3);
	assert_int_equal(r->after.n_own, 3);
	assert_true(r->n_moves >= 2 && r->n_moves <= 3);
	assert_int_equal(r->n_own_moves, r->n_moves);
	for (size_t i = 0; i < r->n_moves; i++) {
		assert_false(vbmq_cpuset_equal(&r->moves[i].from, &r->moves[i].to));
		assert_int_equal(r->moves[i].kind, VBMQ_THREAD_IOTHREAD);
	}
	wrong = play(sc.s, &sc.policy, r);
	if (wrong)
		fail_msg("%s", wrong);
	vbmq_rebalance_free(r);
	r = rebalance(sc.s, &sc.policy, VBMQ_MOVES_ANY);
	assert_false(r->better);
	assert_int_equal(r->plan->n_steps, 0);
	assert_int_equal(r->n_moves, 0);
	vbmq_rebalance_free(r);
	end(&sc);
}

static void test_no_more_moves_than_allowed(void **state)
{
	static const unsigned at[] = { 5, 9, 13 };
	struct scene sc = set_scene(gen_regular_host(1, 4, 4, 1), 3, at);
	struct vbmq_rebalance *r = rebalance(sc.s, &sc.policy, 0);
	const char *wrong;

	assert_false(r->better);
	assert_int_equal(r->n_moves, 0);
	assert_int_equal(r->plan->n_steps, 0);
	vbmq_rebalance_free(r);
	r = rebalance(sc.s, &sc.policy, 1);
	assert_true(r->better);
	assert_int_equal(r->n_own_moves, 1);
	assert_int_equal(r->after.n_l3_free, 1);
	wrong = play(sc.s, &sc.policy, r);
	if (wrong)
		fail_msg("%s", wrong);
	vbmq_rebalance_free(r);
	end(&sc);
}

/* A thread on the core of the lowest CPU, where the host itself has its work. */
static void test_leaves_the_boot_core(void **state)
{
	static const unsigned at[] = { 0 };
	struct scene sc = set_scene(gen_regular_host(1, 1, 2, 1), 1, at);
	struct vbmq_rebalance *r = rebalance(sc.s, &sc.policy, VBMQ_MOVES_ANY);
	const char *wrong;

	assert_true(r->better);
	assert_true(r->before.awkward > r->after.awkward);
	assert_int_equal(r->n_moves, 1);
	assert_true(vbmq_cpuset_has(&r->moves[0].to, 1));
	wrong = play(sc.s, &sc.policy, r);
	if (wrong)
		fail_msg("%s", wrong);
	vbmq_rebalance_free(r);
	end(&sc);
}

static void test_bad_id(void **state)
{
	static const unsigned at[] = { 1 };
	struct scene sc = set_scene(gen_regular_host(1, 1, 2, 1), 1, at);
	struct vbmq_rebalance *r = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;

	assert_int_equal(vbmq_rebalance_make(sc.s, &sc.policy, 0, "short", &r, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_null(r);
	end(&sc);
}

/* --- random hosts ----------------------------------------------------------------------------------------------------- */

static size_t places_of(const struct vbmq_place_domain *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_threads; i++)
		n += d->threads[i].exclusive;
	return n;
}

static const char *promises(const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			    const struct vbmq_rebalance *r, uint32_t max)
{
	struct vbmq_plan *everyday = NULL;
	const char *wrong = NULL;

	assert_int_equal(vbmq_plan_make(s, policy, ID, &everyday, NULL), 0);
	for (size_t i = 0; i < s->n_domains && !wrong; i++)
		if (places_of(&r->plan->placement->domains[i]) < places_of(&everyday->placement->domains[i]))
			wrong = "a domain lost a place";
	if (!wrong && r->better && everyday->n_steps == 0 && vbmq_score_compare(&r->after, &r->everyday) >= 0)
		wrong = "not better, though it says so";
	if (!wrong && vbmq_score_compare(&r->after, &r->everyday) > 0)
		wrong = "worse than the everyday plan";
	if (!wrong && !r->better && r->plan->n_steps != everyday->n_steps)
		wrong = "not better, and yet another plan";
	if (!wrong && max == 0 && r->better && everyday->n_steps == 0 && r->n_own_moves)
		wrong = "moves although none was allowed";
	vbmq_plan_free(everyday);
	return wrong;
}

/* A fifth of the domains leave: gaps that the everyday plan does not fill. */
static void thin_out(struct gen *g, struct vbmq_snapshot *s)
{
	for (size_t i = s->n_domains; i-- > 0;) {
		if (!gen_chance(g, 20))
			continue;
		vbmq_domain_free(s->domains[i]);
		memmove(&s->domains[i], &s->domains[i + 1], (s->n_domains - i - 1) * sizeof(s->domains[0]));
		s->n_domains--;
	}
}

static void settle(struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_plan *p = NULL;

	assert_int_equal(vbmq_plan_make(s, policy, ID, &p, NULL), 0);
	for (size_t i = 0; i < p->n_steps; i++)
		sim_step(s, &p->steps[i]);
	vbmq_plan_free(p);
}

static void test_properties(void **state)
{
	static const uint32_t budgets[] = { VBMQ_MOVES_ANY, 0, 2 };
	unsigned better = 0;

	for (uint64_t seed = 1; seed <= 1000; seed++) {
		struct gen g = gen_seed(seed);
		struct vbmq_snapshot *s = gen_snapshot(&g, seed % 10 ? 48 : 128, 8);
		uint32_t max = budgets[seed % 3];
		struct vbmq_rebalance *r;
		struct vbmq_policy policy;
		const char *wrong;

		gen_policy(&g, s->host, &policy);
		settle(s, &policy);
		thin_out(&g, s);
		if (seed % 4)
			settle(s, &policy);
		r = rebalance(s, &policy, max);
		wrong = promises(s, &policy, r, max);
		if (!wrong)
			wrong = play(s, &policy, r);
		if (wrong) {
			_cleanup_free_ char *text = sim_dump_steps(r->plan->steps, r->plan->n_steps);

			fail_msg("seed %llu: %s\n%s", (unsigned long long)seed, wrong, text ? text : "");
		}
		better += r->better;
		vbmq_rebalance_free(r);
		vbmq_policy_done(&policy);
		vbmq_snapshot_free(s);
	}
	assert_true(better >= 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frees_l3_domains),
		cmocka_unit_test(test_leaves_the_boot_core),
		cmocka_unit_test(test_no_more_moves_than_allowed),
		cmocka_unit_test(test_bad_id),
		cmocka_unit_test(test_properties),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
