/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Memory runs out: the n-th allocation fails, for every n, in everything that stands between a snapshot and a touched
 * guest. Each must end with -ENOMEM or go through unharmed (a text less), leak nothing (run under ASan), and the engine
 * must not have touched anything when it gives up: after the first touch it needs no memory but for texts.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "codec/json_undo.h"
#include "core/diff.h"
#include "core/verify.h"
#include "fake_actuator.h"
#include "oom.h"
#include "scene.h"
#include "util/err.h"

static const struct scene_domain domains[] = {
	{ .name = "A", .vcpus = 2, .queues = 2 },
	{ .name = "B", .vcpus = 1, .iothreads = 1, .queues = 2, .wish = 1, .odd_task = true },
	{ .name = NULL },
};

static struct vbmq_snapshot *s;
static struct vbmq_policy policy;
static struct vbmq_plan *plan;
static struct vbmq_undo *applied; /* the record of a whole apply */
static struct vbmq_snapshot *after;

/* An actuator that needs no memory itself: every step works. */
static size_t n_touched;

static int check_domain(void *ctx, const struct vbmq_domain *d, struct vbmq_err *err)
{
	return 0;
}

static size_t fail_at = SIZE_MAX;

static int execute(void *ctx, const struct vbmq_domain *d, const struct vbmq_thread *t, const struct vbmq_step *step,
		   struct vbmq_err *err)
{
	if (n_touched++ == fail_at)
		return vbmq_err_set(err, -EIO, "refused");
	return 0;
}

static int observe(void *ctx, const struct vbmq_domain *d, const struct vbmq_thread *t, const struct vbmq_step *step,
		   struct vbmq_observed *ret, struct vbmq_err *err)
{
	ret->exists = step->op == VBMQ_STEP_ADD_IOTHREAD;
	ret->cpus = step->cpus ? *step->cpus : VBMQ_CPUSET_EMPTY;
	ret->polling = step->polling;
	ret->n_map = step->n_map;
	if (step->n_map) {
		ret->map = oom_spare(step->n_map * sizeof(*ret->map));
		memcpy(ret->map, step->map, step->n_map * sizeof(*ret->map));
	}
	return 0;
}

static const struct vbmq_actuator_ops ops = { check_domain, execute, observe };
static const struct vbmq_actuator actuator = { &ops, NULL };
static const struct vbmq_apply how = { .actuator = &actuator };

static int do_plan(void)
{
	struct vbmq_plan *p = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = vbmq_plan_make(s, &policy, "00000000000000000000000000000000", &p, &err);

	assert_int_equal(err.code, r);
	assert_true((r == 0) == (p != NULL));
	vbmq_plan_free(p);
	return r;
}

static int do_apply(void)
{
	struct vbmq_undo undo = { .entries = NULL }, *copy = NULL;
	struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r;

	n_touched = 0;
	r = vbmq_apply_plan(&how, s, plan, &undo, &report, &err);
	if (r < 0) {
		assert_int_equal(err.code, r);
		assert_null(report);
		assert_int_equal(n_touched, 0);
		assert_int_equal(undo.n_entries, 0);
	} else {
		/* once begun, it goes through to the end */
		assert_int_equal(r, fail_at == SIZE_MAX ? 0 : 1);
		for (size_t i = 0; i < report->n_results; i++)
			assert_int_not_equal(report->results[i].outcome, VBMQ_OUTCOME_PENDING);
	}
	vbmq_report_free(report);
	oom_disarm();
	assert_int_equal(vbmq_undo_copy(&undo, &copy), 0);
	vbmq_undo_free(copy);
	copy = vbmq_undo_new();
	*copy = undo;
	vbmq_undo_free(copy);
	return r < 0 ? r : 0;
}

static int do_apply_failing(void)
{
	int r;

	fail_at = plan->n_steps - 2;
	r = do_apply();
	fail_at = SIZE_MAX;
	return r;
}

static int do_restore(void)
{
	struct vbmq_undo *undo = NULL;
	struct vbmq_step *steps = NULL;
	struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t n = 0;
	int r = vbmq_undo_copy(applied, &undo);

	if (r < 0)
		return r;
	n_touched = 0;
	r = vbmq_apply_restore(&how, after, NULL, undo, &steps, &n, &report, &err);
	if (r < 0) {
		assert_int_equal(err.code, r);
		assert_null(report);
		assert_null(steps);
		assert_int_equal(n_touched, 0);
		assert_int_equal(undo->n_entries, applied->n_entries);
	} else {
		assert_int_equal(undo->n_entries, 0);
	}
	vbmq_steps_free(steps, n);
	vbmq_report_free(report);
	vbmq_undo_free(undo);
	return r;
}

static int do_dryrun(void)
{
	struct vbmq_dryrun *d = NULL;
	struct vbmq_actuator a;
	int r = vbmq_dryrun_new(after, &d, &a);

	assert_true((r == 0) == (d != NULL));
	vbmq_dryrun_free(d);
	return r;
}

static int do_verify(void)
{
	struct vbmq_report *report = vbmq_report_new(plan);
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = report ? vbmq_verify(after, plan, report, &err) : -ENOMEM;

	vbmq_report_free(report);
	return r;
}

static int do_undo_json(void)
{
	struct vbmq_undo *u = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *json = NULL;
	int r = vbmq_undo_format(applied, &json, &err);

	if (r == 0)
		r = vbmq_undo_parse("test", json, strlen(json), &u, &err);
	assert_int_equal(err.code, r);
	free(json);
	vbmq_undo_free(u);
	return r;
}

/* Every n with one failure, and with all after it failing too, until it goes through without any. */
static void exhaust(int (*what)(void))
{
	assert_int_equal(what(), 0);
	for (int all = 0; all < 2; all++) {
		size_t n = 0;

		for (;; n++) {
			int r;

			oom_arm(n, all);
			r = what();
			if (!oom_disarm() && r == 0)
				break;
			assert_true(r == 0 || r == -ENOMEM);
			assert_true(n < 100000);
		}
		assert_true(n > 2);
		print_message("# %zu allocations\n", n);
	}
}

static void test_plan(void **state)
{
	exhaust(do_plan);
}

static void test_apply(void **state)
{
	exhaust(do_apply);
}

static void test_apply_failing(void **state)
{
	exhaust(do_apply_failing);
}

static void test_restore(void **state)
{
	exhaust(do_restore);
}

static void test_dryrun(void **state)
{
	exhaust(do_dryrun);
}

static void test_verify(void **state)
{
	exhaust(do_verify);
}

static void test_undo_json(void **state)
{
	exhaust(do_undo_json);
}

static int set_up(void **state)
{
	static struct fake f;
	struct vbmq_report *report = NULL;

	s = scene_new(1, 8, 1, domains);
	vbmq_policy_init(&policy);
	plan = scene_plan(s, &policy);
	fake_init(&f, s, NULL, NULL);
	fake_watch(&f, plan->placement);
	applied = vbmq_undo_new();
	if (vbmq_apply_plan(&f.apply, s, plan, applied, &report, NULL) != 0)
		return -1;
	after = scene_copy(fake_state(&f), applied);
	vbmq_report_free(report);
	fake_done(&f);
	return 0;
}

static int tear_down(void **state)
{
	vbmq_snapshot_free(s);
	vbmq_snapshot_free(after);
	vbmq_plan_free(plan);
	vbmq_undo_free(applied);
	vbmq_policy_done(&policy);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan),	  cmocka_unit_test(test_apply),	 cmocka_unit_test(test_apply_failing),
		cmocka_unit_test(test_restore),	  cmocka_unit_test(test_dryrun), cmocka_unit_test(test_verify),
		cmocka_unit_test(test_undo_json),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
