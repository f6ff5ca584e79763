/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Steps between hand-made places: order, cycles, no overlap; then plan, report and verify on their result. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/diff.h"
#include "core/plan.h"
#include "core/planner.h"
#include "core/verify.h"
#include "gen.h"
#include "props.h"
#include "sim.h"
#include "util/err.h"
#include "util/setref.h"

#define ID "0123456789abcdef0123456789abcdef"
#define LIVE (VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_COLD_MAP | VBMQ_CAP_LIVE_MAP)

struct scene {
	struct vbmq_snapshot *s;
	struct vbmq_placement *p;
	struct vbmq_step *steps;
	size_t n;
};

/* One host of 8 cores, one domain with n I/O threads on CPUs at[], and its emulator on 6-7. */
static void set_scene(struct scene *sc, unsigned n, const unsigned *at)
{
	struct vbmq_domain *d;

	*sc = (struct scene){ .s = vbmq_snapshot_new() };
	assert_non_null(sc->s);
	sc->s->host = gen_regular_host(1, 1, 8, 1);
	d = gen_plain_domain(sc->s->host, "a", 0, n, LIVE);
	for (unsigned i = 0; i < n; i++)
		d->threads[i].affinity = vbmq_cpuset_of(at[i]);
	d->threads[n].affinity = VBMQ_CPUSET_EMPTY;
	vbmq_cpuset_add_range(&d->threads[n].affinity, 6, 7);
	assert_int_equal(vbmq_snapshot_add(sc->s, d, NULL), 0);
	assert_int_equal(vbmq_snapshot_finish(sc->s, NULL), 0);
}

static const struct vbmq_cpuset *of(unsigned cpu)
{
	struct vbmq_cpuset set = vbmq_cpuset_of(cpu);
	const struct vbmq_cpuset *ref = vbmq_setref_new(&set);

	assert_non_null(ref);
	return ref;
}

/* Everybody exclusive on CPUs to[]; shared is 6-7. */
static void set_goal(struct scene *sc, unsigned n, const unsigned *to)
{
	struct vbmq_place_domain *d;

	sc->p = calloc(1, sizeof(*sc->p));
	assert_non_null(sc->p);
	sc->p->domains = d = calloc(1, sizeof(*d));
	assert_non_null(d);
	sc->p->n_domains = 1;
	d->name = strdup("a");
	memcpy(d->uuid, sc->s->domains[0]->uuid, sizeof(d->uuid));
	d->managed = true;
	d->threads = calloc(n + 1, sizeof(*d->threads));
	assert_non_null(d->threads);
	d->n_threads = n + 1;
	vbmq_cpuset_add_range(&sc->p->shared, 6, 7);
	for (unsigned i = 0; i < n; i++) {
		d->threads[i] = (struct vbmq_place_thread){
			.kind = VBMQ_THREAD_IOTHREAD,
			.id = i + 1,
			.cpus = of(to[i]),
			.exclusive = true,
			.planned = true,
		};
		vbmq_cpuset_add(&sc->p->dedicated, to[i]);
	}
	d->threads[n] = (struct vbmq_place_thread){
		.kind = VBMQ_THREAD_EMULATOR,
		.cpus = vbmq_setref_new(&sc->p->shared),
		.planned = true,
	};
	assert_int_equal(vbmq_diff(sc->s, sc->p, &sc->steps, &sc->n, NULL), 0);
}

static void end(struct scene *sc)
{
	vbmq_steps_free(sc->steps, sc->n);
	vbmq_placement_free(sc->p);
	vbmq_snapshot_free(sc->s);
}

static void test_nothing_to_do(void **state)
{
	static const unsigned at[] = { 0, 1, 2 };
	struct scene sc;

	set_scene(&sc, 3, at);
	set_goal(&sc, 3, at);
	assert_int_equal(sc.n, 0);
	end(&sc);
}

/* 0 -> 1 -> 2 -> 3: from the end, one step each. */
static void test_chain(void **state)
{
	static const unsigned at[] = { 0, 1, 2 }, to[] = { 1, 2, 3 };
	struct scene sc;

	set_scene(&sc, 3, at);
	set_goal(&sc, 3, to);
	assert_int_equal(sc.n, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(sc.steps[i].id, 3 - i);
		assert_true(sc.steps[i].exclusive && !sc.steps[i].interim);
	}
	assert_null(props_steps(sc.s, sc.p, sc.steps, sc.n));
	end(&sc);
}

/* A ring is opened through the shared set, by one thread, with one step more. */
static void test_cycle(void **state)
{
	static const unsigned at[] = { 0, 1, 2, 5 }, to[] = { 1, 2, 0, 5 };
	struct scene sc;

	set_scene(&sc, 4, at);
	set_goal(&sc, 4, to);
	assert_int_equal(sc.n, 4);
	assert_true(sc.steps[0].interim);
	assert_true(vbmq_cpuset_is_subset(sc.steps[0].cpus, &sc.p->shared));
	assert_int_equal(sc.steps[3].id, sc.steps[0].id);
	assert_null(props_steps(sc.s, sc.p, sc.steps, sc.n));
	end(&sc);
}

/* A floating thread leaves the place to be first, and comes to the place that was only when its thread has left. */
static void test_floating_first_and_last(void **state)
{
	static const unsigned at[] = { 6 }, to[] = { 2 };
	struct scene sc;
	struct vbmq_thread *emulator;

	set_scene(&sc, 1, at);
	emulator = &sc.s->domains[0]->threads[1];
	emulator->affinity = VBMQ_CPUSET_EMPTY;
	vbmq_cpuset_add_range(&emulator->affinity, 0, 5);
	set_goal(&sc, 1, to);
	assert_int_equal(sc.n, 3);
	assert_int_equal(sc.steps[0].kind, VBMQ_THREAD_EMULATOR);
	assert_true(sc.steps[0].interim);
	assert_int_equal(vbmq_cpuset_count(sc.steps[0].cpus), 1);
	assert_true(vbmq_cpuset_has(sc.steps[0].cpus, 7));
	assert_int_equal(sc.steps[1].kind, VBMQ_THREAD_IOTHREAD);
	assert_int_equal(sc.steps[2].kind, VBMQ_THREAD_EMULATOR);
	assert_false(sc.steps[2].interim);
	assert_null(props_steps(sc.s, sc.p, sc.steps, sc.n));
	end(&sc);
}

/* Thread and emulator change places and there is no third one: the thread gives up being alone, then gets its place. */
static void test_swap_with_floating(void **state)
{
	static const unsigned at[] = { 6 }, to[] = { 2 };
	struct scene sc;

	set_scene(&sc, 1, at);
	sc.s->domains[0]->threads[1].affinity = vbmq_cpuset_of(2);
	set_goal(&sc, 1, to);
	vbmq_steps_free(sc.steps, sc.n);
	sc.p->shared = vbmq_cpuset_of(6);
	vbmq_setref_drop(sc.p->domains[0].threads[1].cpus);
	sc.p->domains[0].threads[1].cpus = of(6);
	assert_int_equal(vbmq_diff(sc.s, sc.p, &sc.steps, &sc.n, NULL), 0);
	assert_int_equal(sc.n, 3);
	assert_true(sc.steps[0].interim && !sc.steps[0].exclusive);
	assert_int_equal(sc.steps[1].kind, VBMQ_THREAD_EMULATOR);
	assert_true(sc.steps[2].exclusive);
	assert_null(props_steps(sc.s, sc.p, sc.steps, sc.n));
	end(&sc);
}

/* Guests of two I/O threads each on the cores at[] of a host whose other cores are shared, to go to the cores to[]. */
static void set_crowd(struct scene *sc, struct vbmq_host *h, unsigned n_guests, const unsigned *at, const unsigned *to)
{
	struct vbmq_cpuset rest = h->usable;

	*sc = (struct scene){ .s = vbmq_snapshot_new(), .p = calloc(1, sizeof(*sc->p)) };
	assert_non_null(sc->s);
	assert_non_null(sc->p);
	sc->s->host = h;
	sc->p->domains = calloc(n_guests, sizeof(*sc->p->domains));
	assert_non_null(sc->p->domains);
	for (unsigned i = 0; i < 2 * n_guests; i++)
		rest = vbmq_cpuset_andnot(&rest, &h->cores[at[i]].cpus);
	sc->p->shared = rest;
	sc->p->dedicated = vbmq_cpuset_andnot(&h->usable, &rest);
	for (unsigned i = 0; i < n_guests; i++) {
		struct vbmq_domain *d = gen_plain_domain(h, (char[]){ 'g', (char)('a' + i), 0 }, 0, 2, LIVE);
		struct vbmq_place_domain *goal = &sc->p->domains[sc->p->n_domains++];

		goal->name = strdup(d->name);
		memcpy(goal->uuid, d->uuid, sizeof(goal->uuid));
		goal->threads = calloc(d->n_threads, sizeof(*goal->threads));
		assert_non_null(goal->threads);
		goal->n_threads = d->n_threads;
		for (unsigned j = 0; j < d->n_threads; j++) {
			bool io = d->threads[j].kind == VBMQ_THREAD_IOTHREAD;
			int cpu = io ? vbmq_cpuset_next(&h->cores[at[2 * i + j]].cpus, 0) : 0;
			int goes = io ? vbmq_cpuset_next(&h->cores[to[2 * i + j]].cpus, 0) : 0;

			d->threads[j].affinity = d->threads[j].applied = io ? vbmq_cpuset_of((unsigned)cpu) : rest;
			d->threads[j].held = true;
			goal->threads[j] = (struct vbmq_place_thread){
				.kind = d->threads[j].kind,
				.id = d->threads[j].id,
				.cpus = io ? of((unsigned)goes) : vbmq_setref_new(&rest),
				.exclusive = io,
				.planned = true,
			};
		}
		assert_int_equal(vbmq_snapshot_add(sc->s, d, NULL), 0);
	}
	assert_int_equal(vbmq_snapshot_finish(sc->s, NULL), 0);
	assert_int_equal(vbmq_diff(sc->s, sc->p, &sc->steps, &sc->n, NULL), 0);
}

/* Rings of threads of several guests at once, every dedicated core taken, one core shared: whatever the permutation, no
 * step overlaps, everybody arrives, and a ring costs one step more than it has threads. */
static void test_rings_of_several_guests(void **state)
{
	struct gen g = gen_seed(4711);

	for (unsigned round = 0; round < 300; round++) {
		unsigned smt = 1 + round % 2, n_guests = 1 + gen_below(&g, 6), n = 2 * n_guests, rings = 0, moved = 0;
		unsigned at[12], to[12];
		bool seen[12] = { false };
		const char *wrong;
		struct scene sc;

		for (unsigned i = 0; i < n; i++)
			at[i] = to[i] = i + 1;
		for (unsigned i = n; i > 1; i--) {
			unsigned j = gen_below(&g, i), was = to[i - 1];

			to[i - 1] = to[j];
			to[j] = was;
		}
		for (unsigned i = 0; i < n; i++) {
			moved += to[i] != at[i];
			rings += !seen[i] && to[i] != at[i];
			for (unsigned j = i; !seen[j]; j = to[j] - 1)
				seen[j] = true;
		}
		set_crowd(&sc, gen_regular_host(1, 1, n + 1, smt), n_guests, at, to);
		assert_int_equal(sc.n, moved + rings);
		wrong = props_steps(sc.s, sc.p, sc.steps, sc.n);
		if (wrong)
			fail_msg("round %u: %s", round, wrong);
		for (unsigned i = 0; i < n; i++)
			assert_true(vbmq_cpuset_equal(&sc.s->domains[i / 2]->threads[i % 2].affinity,
						      sc.p->domains[i / 2].threads[i % 2].cpus));
		end(&sc);
	}
}

struct move {
	unsigned at, to;
	bool exclusive; /* afterwards; all others float on just that CPU */
	bool own; /* we gave it its place before */
};

/* Guests of one I/O thread each on a host of n_cpus cores; shared is where nobody exclusive goes. */
static void set_moves(struct scene *sc, unsigned n_cpus, unsigned n, const struct move *moves)
{
	struct vbmq_host *h = gen_regular_host(1, 1, n_cpus, 1);

	*sc = (struct scene){ .s = vbmq_snapshot_new(), .p = calloc(1, sizeof(*sc->p)) };
	assert_non_null(sc->s);
	assert_non_null(sc->p);
	sc->s->host = h;
	sc->p->domains = calloc(n, sizeof(*sc->p->domains));
	assert_non_null(sc->p->domains);
	for (unsigned i = 0; i < n; i++) {
		struct vbmq_domain *d = gen_plain_domain(h, (char[]){ 'g', (char)('a' + i), 0 }, 0, 1, LIVE);
		struct vbmq_place_domain *goal = &sc->p->domains[sc->p->n_domains++];
		struct vbmq_place_thread *t = calloc(1, sizeof(*t));

		assert_non_null(t);
		d->threads[0].affinity = d->threads[0].applied = vbmq_cpuset_of(moves[i].at);
		d->threads[0].held = d->threads[0].own = moves[i].own;
		*t = (struct vbmq_place_thread){
			.kind = VBMQ_THREAD_IOTHREAD,
			.id = 1,
			.cpus = of(moves[i].to),
			.exclusive = moves[i].exclusive,
			.planned = true,
		};
		if (moves[i].exclusive)
			vbmq_cpuset_add(&sc->p->dedicated, moves[i].to);
		goal->name = strdup(d->name);
		memcpy(goal->uuid, d->uuid, sizeof(goal->uuid));
		goal->threads = t;
		goal->n_threads = 1;
		assert_int_equal(vbmq_snapshot_add(sc->s, d, NULL), 0);
	}
	sc->p->shared = vbmq_cpuset_andnot(&h->usable, &sc->p->dedicated);
	assert_int_equal(vbmq_snapshot_finish(sc->s, NULL), 0);
	assert_int_equal(vbmq_diff(sc->s, sc->p, &sc->steps, &sc->n, NULL), 0);
}

static void assert_moves(unsigned n_cpus, unsigned n, const struct move *moves, size_t n_steps, size_t n_interim)
{
	struct scene sc;
	const char *wrong;

	set_moves(&sc, n_cpus, n, moves);
	assert_int_equal(sc.n, n_steps);
	for (size_t i = 0; i < sc.n; i++)
		n_interim -= sc.steps[i].interim;
	assert_int_equal(n_interim, 0);
	wrong = props_steps(sc.s, sc.p, sc.steps, sc.n);
	if (wrong)
		fail_msg("%s", wrong);
	for (unsigned i = 0; i < n; i++)
		assert_true(
			vbmq_cpuset_equal(&sc.s->domains[i]->threads[0].affinity, sc.p->domains[i].threads[0].cpus));
	end(&sc);
}

/* No core is free, and the shared set becomes the place of one whose place becomes the shared set, over a third one who loses
 * his: he waits with those who float until the others have gone. */
static void test_shared_set_moves(void **state)
{
	static const struct move moves[] = {
		{ 0, 1, false, false }, { 1, 2, true, true }, { 2, 1, false, true }, { 3, 0, true, true }
	};

	assert_moves(4, 4, moves, 5, 1);
}

/* Threads that go back to their owners' pins in a circle: opened through a core that nobody has for himself. */
static void test_circle_of_owners_pins(void **state)
{
	static const struct move moves[] = { { 0, 1, false, true }, { 1, 2, false, true }, { 2, 0, false, true } };

	assert_moves(4, 3, moves, 4, 1);
}

/* The same with no such core: one is met before it has left. That it has to be is what props_steps() then looks at. */
static void test_circle_without_room(void **state)
{
	static const struct move pins[] = { { 0, 1, false, true }, { 1, 2, false, true }, { 2, 0, false, true } };
	static const struct move swap[] = { { 0, 1, true, true }, { 1, 0, false, true } };

	assert_moves(3, 3, pins, 3, 0);
	assert_moves(2, 2, swap, 3, 1); /* the one that keeps a place goes to the other, and is not met itself */
}

static size_t first(const struct vbmq_plan *p, enum vbmq_step_op op, uint32_t id)
{
	for (size_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].op == op && (op == VBMQ_STEP_MAP_QUEUES || p->steps[i].id == id) &&
		    (op != VBMQ_STEP_PIN || p->steps[i].kind == VBMQ_THREAD_IOTHREAD))
			return i;
	fail_msg("no such step");
	return 0;
}

static struct vbmq_plan *make_plan(struct vbmq_snapshot **ret_s, struct vbmq_domain **ret_d)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_policy policy;
	struct vbmq_plan *p = NULL;

	vbmq_policy_init(&policy);
	assert_non_null(s);
	s->host = gen_regular_host(1, 1, 8, 1);
	*ret_d = gen_plain_domain(s->host, "db1", 2, 0, LIVE);
	gen_add_disk(*ret_d, "vda", 2, 0);
	assert_int_equal(vbmq_snapshot_add(s, *ret_d, NULL), 0);
	assert_int_equal(vbmq_snapshot_finish(s, NULL), 0);
	assert_int_equal(vbmq_plan_make(s, &policy, ID, &p, NULL), 0);
	*ret_s = s;
	return p;
}

static void test_order_of_kinds(void **state)
{
	struct vbmq_snapshot *s;
	struct vbmq_domain *d;
	struct vbmq_plan *p = make_plan(&s, &d);

	for (uint32_t id = 1; id <= 2; id++) {
		assert_true(first(p, VBMQ_STEP_ADD_IOTHREAD, id) < first(p, VBMQ_STEP_PIN, id));
		assert_true(first(p, VBMQ_STEP_PIN, id) < first(p, VBMQ_STEP_SET_POLLING, id));
		assert_true(first(p, VBMQ_STEP_SET_POLLING, id) < first(p, VBMQ_STEP_MAP_QUEUES, 0));
	}
	assert_string_equal(vbmq_step_word(&p->steps[first(p, VBMQ_STEP_PIN, 1)]), "pin-iothread");
	assert_string_equal(vbmq_step_word(&p->steps[first(p, VBMQ_STEP_MAP_QUEUES, 0)]), "map-queues");
	assert_string_equal(vbmq_step_word(&p->steps[first(p, VBMQ_STEP_ADD_IOTHREAD, 1)]), "add-iothread");
	vbmq_plan_free(p);
	vbmq_snapshot_free(s);
}

/* Back to the shared set: polling is put back before the thread loses its core. */
static void test_polling_first_when_leaving(void **state)
{
	struct vbmq_snapshot *s;
	struct vbmq_domain *d;
	struct vbmq_plan *p = make_plan(&s, &d), *back = NULL;
	struct vbmq_policy policy;

	for (size_t i = 0; i < p->n_steps; i++)
		sim_step(s, &p->steps[i]);
	vbmq_policy_init(&policy);
	policy.defaults.exclusive = VBMQ_EXCLUSIVE_NONE;
	assert_int_equal(vbmq_plan_make(s, &policy, ID, &back, NULL), 0);
	for (uint32_t id = 1; id <= 2; id++)
		assert_true(first(back, VBMQ_STEP_SET_POLLING, id) < first(back, VBMQ_STEP_PIN, id));
	vbmq_plan_free(back);
	vbmq_plan_free(p);
	vbmq_snapshot_free(s);
}

static void test_bad_plan_id(void **state)
{
	struct vbmq_snapshot *s;
	struct vbmq_domain *d;
	struct vbmq_plan *p = make_plan(&s, &d), *none = NULL;
	struct vbmq_policy policy;
	struct vbmq_err err = VBMQ_ERR_INIT;

	vbmq_policy_init(&policy);
	assert_int_equal(vbmq_plan_make(s, &policy, "short", &none, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_null(none);
	vbmq_plan_free(p);
	vbmq_snapshot_free(s);
}

/* --- verify ----------------------------------------------------------------------------------------------------------- */

static const struct vbmq_check *check_of(const struct vbmq_report *r, enum vbmq_thread_kind kind, uint32_t id)
{
	for (size_t i = 0; i < r->n_checks; i++)
		if (!r->checks[i].is_disk && r->checks[i].thread == kind && r->checks[i].id == id)
			return &r->checks[i];
	fail_msg("no such check");
	return NULL;
}

static struct vbmq_report *verify(const struct vbmq_snapshot *s, const struct vbmq_plan *p)
{
	struct vbmq_report *r = vbmq_report_new(p);

	assert_non_null(r);
	assert_int_equal(r->n_results, p->n_steps);
	assert_int_equal(vbmq_verify(s, p, r, NULL), 0);
	return r;
}

static void test_verify(void **state)
{
	struct vbmq_snapshot *s;
	struct vbmq_domain *d;
	struct vbmq_plan *p = make_plan(&s, &d);
	struct vbmq_report *r = verify(s, p);

	/* Before: the threads are not there, the others too wide, the map is not made. */
	assert_int_equal(check_of(r, VBMQ_THREAD_IOTHREAD, 1)->kind, VBMQ_CHECK_MISSING);
	assert_int_equal(check_of(r, VBMQ_THREAD_VCPU, 0)->kind, VBMQ_CHECK_DRIFT);
	assert_true(r->checks[r->n_checks - 1].is_disk);
	assert_int_equal(r->checks[r->n_checks - 1].kind, VBMQ_CHECK_MAP);
	assert_int_equal(r->n_bad_checks, r->n_checks);
	vbmq_report_free(r);

	for (size_t i = 0; i < p->n_steps; i++)
		sim_step(s, &p->steps[i]);
	r = verify(s, p);
	assert_int_equal(r->n_bad_checks, 0);
	assert_int_equal(r->n_checks, 6); /* two vCPUs, two I/O threads, emulator, disk */
	vbmq_report_free(r);

	/* A stranger that the plan does not know, on the core of I/O thread 1: named. */
	assert_int_equal(vbmq_snapshot_add(s, gen_plain_domain(s->host, "new", 1, 0, LIVE), NULL), 0);
	r = verify(s, p);
	assert_int_equal(check_of(r, VBMQ_THREAD_IOTHREAD, 1)->kind, VBMQ_CHECK_OVERLAP);
	assert_non_null(strstr(check_of(r, VBMQ_THREAD_IOTHREAD, 1)->text, "new/vcpu0"));
	assert_int_equal(r->n_bad_checks, 2);
	vbmq_report_free(r);

	vbmq_domain_free(s->domains[--s->n_domains]);
	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].kind == VBMQ_THREAD_IOTHREAD && d->threads[i].id == 2)
			d->threads[i].polling.max_ns = 5;
	r = verify(s, p);
	assert_int_equal(check_of(r, VBMQ_THREAD_IOTHREAD, 2)->kind, VBMQ_CHECK_POLLING);
	assert_int_equal(r->n_bad_checks, 1);
	vbmq_report_free(r);

	vbmq_domain_free(s->domains[--s->n_domains]);
	r = verify(s, p);
	assert_int_equal(r->n_bad_checks, r->n_checks);
	assert_int_equal(check_of(r, VBMQ_THREAD_EMULATOR, 0)->kind, VBMQ_CHECK_MISSING);
	vbmq_report_free(r);
	vbmq_plan_free(p);
	vbmq_snapshot_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_to_do),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_cycle),
		cmocka_unit_test(test_rings_of_several_guests),
		cmocka_unit_test(test_shared_set_moves),
		cmocka_unit_test(test_circle_of_owners_pins),
		cmocka_unit_test(test_circle_without_room),
		cmocka_unit_test(test_floating_first_and_last),
		cmocka_unit_test(test_swap_with_floating),
		cmocka_unit_test(test_order_of_kinds),
		cmocka_unit_test(test_polling_first_when_leaving),
		cmocka_unit_test(test_bad_plan_id),
		cmocka_unit_test(test_verify),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
