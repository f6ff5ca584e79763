/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The engine on plans written by hand: what exactly happens to whom when a given step fails in a given way. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/diff.h"
#include "fake_actuator.h"
#include "hand.h"
#include "scene.h"
#include "util/err.h"

struct run {
	struct vbmq_snapshot *s;
	struct vbmq_plan *p;
	struct fake f;
	struct vbmq_undo *undo;
	struct vbmq_report *report;
	int r;
	struct vbmq_err err;
};

static void begin(struct run *run, struct vbmq_snapshot *s, struct vbmq_plan *p)
{
	memset(run, 0, sizeof(*run));
	run->s = s;
	run->p = p;
	fake_init(&run->f, s, NULL, NULL);
	fake_watch(&run->f, p->placement);
	run->undo = vbmq_undo_new();
}

static void apply(struct run *run)
{
	run->r = vbmq_apply_plan(&run->f.apply, run->s, run->p, run->undo, &run->report, &run->err);
	assert_string_equal(run->f.breach, "");
}

static void end(struct run *run)
{
	vbmq_report_free(run->report);
	vbmq_undo_free(run->undo);
	fake_done(&run->f);
	vbmq_plan_free(run->p);
	vbmq_snapshot_free(run->s);
}

static void assert_on(const struct run *run, const char *thread, const char *cpus)
{
	const struct vbmq_thread *t = hand_thread(fake_state(&run->f), thread);
	struct vbmq_cpuset want = scene_cpus(cpus);
	char *is;

	assert_non_null(t);
	is = vbmq_cpulist_format(&t->affinity);
	if (!vbmq_cpuset_equal(&want, &t->affinity))
		fail_msg("%s is on %s instead of %s", thread, is, cpus);
	free(is);
}

#define assert_outcome(run, i, o) assert_int_equal((run)->report->results[i].outcome, (o))

static void assert_text(const struct run *run, size_t i, const char *part)
{
	const char *text = run->report->results[i].text;

	if (!text || !strstr(text, part))
		fail_msg("step %zu says \"%s\", not \"%s\"", i, text ? text : "(nothing)", part);
}

static const struct scene_domain two[] = { { .name = "A", .vcpus = 1, .iothreads = 1, .queues = 1 },
					   { .name = "B", .vcpus = 1, .iothreads = 1, .queues = 1, .odd_task = true },
					   { .name = NULL } };

/* Two guests that run everywhere on eight CPUs: A gets 6 for its I/O thread, B gets 7. */
static void begin_two(struct run *run)
{
	struct vbmq_snapshot *s = scene_new(1, 8, 1, two);
	struct vbmq_plan *p = hand_plan(s);

	hand_shared(p, "0-5");
	hand_pin(p, "A/vcpu0", "0-5");
	hand_pin(p, "A/emulator", "0-5");
	hand_pin(p, "B/vcpu0", "0-5");
	hand_pin(p, "B/emulator", "0-5");
	hand_pin(p, "A/iothread1", "0-5,6");
	hand_pin(p, "B/iothread1", "!7");
	hand_pin(p, "A/iothread1", "!6");
	hand_polling(p, "A/iothread1", 1000000);
	hand_polling(p, "B/iothread1", 1000000);
	begin(run, s, p);
}

static void test_all_done(void **state)
{
	const struct vbmq_undo_entry *e;
	struct run run;

	begin_two(&run);
	apply(&run);
	assert_int_equal(run.r, 0);
	for (size_t i = 0; i < run.report->n_results; i++)
		assert_outcome(&run, i, VBMQ_OUTCOME_DONE);
	assert_on(&run, "A/iothread1", "6");
	assert_on(&run, "B/iothread1", "7");
	assert_on(&run, "B/emulator", "0-5");
	e = vbmq_undo_affinity(run.f.saved, run.s->domains[0], hand_thread(run.s, "A/iothread1"));
	assert_non_null(e);
	assert_true(e->settled && e->exclusive);
	assert_int_equal(vbmq_cpuset_count(&e->applied), 1);
	assert_int_equal(vbmq_cpuset_count(&e->found), 8);
	assert_int_equal(run.f.n_saves, 2);
	end(&run);
}

static void test_dry_run(void **state)
{
	struct run run;

	begin_two(&run);
	run.f.apply.dry_run = true;
	apply(&run);
	assert_int_equal(run.r, 0);
	for (size_t i = 0; i < run.report->n_results; i++)
		assert_outcome(&run, i, VBMQ_OUTCOME_DRY_RUN);
	assert_true(run.report->dry_run);
	assert_int_equal(run.f.n_executed + run.f.n_saves + run.undo->n_entries, 0);
	end(&run);
}

static void test_save_fails(void **state)
{
	struct run run;

	begin_two(&run);
	run.f.fail_save = 1;
	apply(&run);
	assert_int_equal(run.r, -ENOSPC);
	assert_int_equal(run.err.code, -ENOSPC);
	assert_null(run.report);
	assert_int_equal(run.f.n_executed, 0);
	assert_int_equal(run.undo->n_entries, 0);
	end(&run);

	/* the second save only makes the record finer: said, and not more */
	begin_two(&run);
	run.f.fail_save = 2;
	apply(&run);
	assert_int_equal(run.r, 1);
	assert_text(&run, 8, "undo record");
	end(&run);
}

static void test_cancelled(void **state)
{
	struct run run;

	begin_two(&run);
	run.f.cancel_at = 3;
	apply(&run);
	assert_int_equal(run.r, 1);
	assert_int_equal(run.f.n_executed, 3);
	for (size_t i = 0; i < run.report->n_results; i++)
		assert_outcome(&run, i, i < 3 ? VBMQ_OUTCOME_DONE : VBMQ_OUTCOME_SKIPPED);
	assert_on(&run, "A/vcpu0", "0-5");
	end(&run);
}

/* A's last step is refused: A goes back, but not onto what B has got. B is done. */
static void test_refused(void **state)
{
	static const int errors[] = { -EIO, -EBUSY, -ENOTSUP, -ENOMEM };

	for (size_t k = 0; k < sizeof(errors) / sizeof(errors[0]); k++) {
		struct run run;

		begin_two(&run);
		fake_fault(&run.f, 7, FAKE_NOTHING, errors[k]);
		apply(&run);
		assert_int_equal(run.r, 1);
		assert_int_equal(run.report->n_domains_failed, 1);
		assert_outcome(&run, 7, VBMQ_OUTCOME_FAILED);
		assert_int_equal(run.report->results[7].error, errors[k]);
		assert_text(&run, 7, errors[k] == -EBUSY ? "tried again" : "scripted");
		assert_outcome(&run, 0, VBMQ_OUTCOME_UNDONE);
		assert_text(&run, 0, "without CPUs 7");
		assert_outcome(&run, 6, VBMQ_OUTCOME_UNDONE);
		assert_outcome(&run, 8, VBMQ_OUTCOME_DONE);
		assert_on(&run, "A/iothread1", "0-6");
		assert_on(&run, "A/vcpu0", "0-6");
		assert_on(&run, "A/emulator", "0-6");
		assert_on(&run, "B/iothread1", "7");
		assert_on(&run, "B/vcpu0", "0-5");
		end(&run);
	}
}

/* A fails before B has got its place: A's threads, those let loose again and those that never moved, make way for B. */
static void test_refused_early(void **state)
{
	struct run run;

	begin_two(&run);
	fake_fault(&run.f, 1, FAKE_NOTHING, -EPERM);
	apply(&run);
	assert_outcome(&run, 0, VBMQ_OUTCOME_UNDONE);
	assert_outcome(&run, 1, VBMQ_OUTCOME_FAILED);
	assert_outcome(&run, 4, VBMQ_OUTCOME_SKIPPED);
	assert_text(&run, 4, "held off CPUs 7");
	assert_on(&run, "A/vcpu0", "0-6");
	assert_on(&run, "A/emulator", "0-6");
	assert_on(&run, "A/iothread1", "0-6");
	assert_outcome(&run, 5, VBMQ_OUTCOME_DONE);
	assert_outcome(&run, 8, VBMQ_OUTCOME_DONE);
	assert_int_equal(run.report->n_domains_failed, 1);
	end(&run);
}

/* A hangs before its threads have left: they cannot be moved, and B must not come to where they may run. */
static void test_silent_early(void **state)
{
	struct run run;

	begin_two(&run);
	fake_fault(&run.f, 1, FAKE_SILENT, 0);
	apply(&run);
	assert_outcome(&run, 0, VBMQ_OUTCOME_DONE);
	assert_outcome(&run, 1, VBMQ_OUTCOME_FAILED);
	assert_outcome(&run, 5, VBMQ_OUTCOME_SKIPPED);
	assert_text(&run, 5, "A/");
	assert_outcome(&run, 8, VBMQ_OUTCOME_SKIPPED);
	assert_outcome(&run, 2, VBMQ_OUTCOME_UNDONE);
	assert_on(&run, "B/vcpu0", "0-7");
	assert_int_equal(run.report->n_domains_failed, 1);
	end(&run);
}

static void test_read_back_differs(void **state)
{
	struct run run;

	begin_two(&run);
	fake_fault(&run.f, 6, FAKE_NOTHING, 0);
	apply(&run);
	assert_outcome(&run, 6, VBMQ_OUTCOME_FAILED);
	assert_int_equal(run.report->results[6].error, -EIO);
	assert_text(&run, 6, "reads back CPUs 0-6");
	assert_outcome(&run, 8, VBMQ_OUTCOME_DONE);
	end(&run);
}

/* It worked, and an error came all the same: what it did is taken back as well. */
static void test_worked_with_error(void **state)
{
	struct run run;

	begin_two(&run);
	fake_fault(&run.f, 6, FAKE_WORKS, -EIO);
	apply(&run);
	assert_outcome(&run, 6, VBMQ_OUTCOME_FAILED);
	assert_on(&run, "A/iothread1", "0-6");
	assert_on(&run, "B/iothread1", "7");
	end(&run);

	begin_two(&run);
	fake_fault(&run.f, 6, FAKE_BLIND, -EIO);
	apply(&run);
	assert_outcome(&run, 6, VBMQ_OUTCOME_FAILED);
	assert_on(&run, "A/iothread1", "0-6");
	end(&run);
}

static void test_gone(void **state)
{
	struct run run;

	begin_two(&run);
	fake_fault(&run.f, 4, FAKE_VANISH, 0);
	apply(&run);
	assert_outcome(&run, 0, VBMQ_OUTCOME_DONE);
	assert_outcome(&run, 4, VBMQ_OUTCOME_FAILED);
	assert_int_equal(run.report->results[4].error, -ENOENT);
	assert_outcome(&run, 6, VBMQ_OUTCOME_SKIPPED);
	assert_text(&run, 6, "gone");
	assert_outcome(&run, 5, VBMQ_OUTCOME_DONE);
	assert_outcome(&run, 8, VBMQ_OUTCOME_DONE);
	end(&run);
}

static void test_silent(void **state)
{
	struct run run;

	begin_two(&run);
	fake_fault(&run.f, 6, FAKE_SILENT, 0);
	apply(&run);
	assert_outcome(&run, 6, VBMQ_OUTCOME_FAILED);
	assert_int_equal(run.report->results[6].error, -ETIMEDOUT);
	assert_outcome(&run, 0, VBMQ_OUTCOME_DONE);
	assert_text(&run, 0, "does not answer");
	assert_outcome(&run, 7, VBMQ_OUTCOME_SKIPPED);
	assert_outcome(&run, 8, VBMQ_OUTCOME_DONE);
	assert_int_equal(run.f.n_executed, 8);
	end(&run);
}

/* A moves 6 -> 5, B comes to 6, everybody else spreads over 7, which C gave up. A does not move. */
static const struct scene_domain three[] = { { .name = "A", .vcpus = 1, .iothreads = 1, .queues = 1 },
					     { .name = "B", .vcpus = 1, .iothreads = 1, .queues = 1 },
					     { .name = "C", .vcpus = 1, .iothreads = 1, .queues = 1 },
					     { .name = NULL } };

static void place(struct vbmq_snapshot *s, const char *thread, const char *cpus)
{
	struct vbmq_thread *t = (struct vbmq_thread *)(uintptr_t)hand_thread(s, thread);

	t->affinity = scene_cpus(cpus);
}

static void begin_three(struct run *run)
{
	struct vbmq_snapshot *s = scene_new(1, 8, 1, three);
	static const char *const floats[] = {
		"A/vcpu0", "A/emulator", "B/vcpu0", "B/emulator", "C/vcpu0", "C/emulator"
	};
	struct vbmq_plan *p;

	for (size_t i = 0; i < 6; i++)
		place(s, floats[i], "0-4");
	place(s, "A/iothread1", "6");
	place(s, "B/iothread1", "5");
	place(s, "C/iothread1", "7");
	p = hand_plan(s);
	hand_shared(p, "0-4,7");
	hand_pin(p, "C/iothread1", "0-4"); /* 0 */
	hand_pin(p, "B/iothread1", "0-4"); /* 1: out of the way, on its way to 6 */
	hand_pin(p, "A/iothread1", "!5"); /* 2 */
	hand_pin(p, "B/iothread1", "!6"); /* 3 */
	hand_polling(p, "B/iothread1", 1000000); /* 4 */
	for (size_t i = 0; i < 6; i++) /* 5-10 */
		hand_pin(p, floats[i], "0-4,7");
	hand_pin(p, "C/iothread1", "0-4,7"); /* 11 */
	/* the promise of A and B from the beginning */
	p->placement->domains[0].threads[1].exclusive = true;
	p->placement->domains[1].threads[1].exclusive = true;
	begin(run, s, p);
}

static void test_blocked(void **state)
{
	struct run run;

	begin_three(&run);
	fake_fault(&run.f, 2, FAKE_NOTHING, -EIO);
	apply(&run);
	assert_outcome(&run, 2, VBMQ_OUTCOME_FAILED);
	assert_outcome(&run, 3, VBMQ_OUTCOME_SKIPPED);
	assert_text(&run, 3, "A/iothread1");
	assert_outcome(&run, 1, VBMQ_OUTCOME_UNDONE);
	assert_outcome(&run, 4, VBMQ_OUTCOME_SKIPPED);
	assert_on(&run, "A/iothread1", "6");
	assert_on(&run, "B/iothread1", "5");
	/* those who only spread over what C gave up are not held up */
	assert_on(&run, "C/vcpu0", "0-4,7");
	assert_outcome(&run, 9, VBMQ_OUTCOME_DONE);
	assert_int_equal(run.report->n_domains_failed, 1);
	end(&run);
}

/* A hangs on its way from 6 to 5: it may come to stand on either, so B gets neither 6 nor its 5 back. */
static void test_silent_holds_both(void **state)
{
	struct run run;

	begin_three(&run);
	fake_fault(&run.f, 2, FAKE_SILENT, 0);
	apply(&run);
	assert_outcome(&run, 2, VBMQ_OUTCOME_FAILED);
	assert_outcome(&run, 3, VBMQ_OUTCOME_SKIPPED);
	assert_outcome(&run, 1, VBMQ_OUTCOME_DONE);
	assert_text(&run, 1, "belong to others");
	assert_on(&run, "B/iothread1", "0-4");
	assert_outcome(&run, 9, VBMQ_OUTCOME_DONE);
	end(&run);
}

/* C does not leave 7: the others spread without it. */
static void test_spread_without(void **state)
{
	struct run run;

	begin_three(&run);
	/* C has a place of its own still, until its first step says otherwise */
	run.p->placement->domains[2].threads[1].exclusive = true;
	fake_watch(&run.f, run.p->placement);
	fake_fault(&run.f, 0, FAKE_NOTHING, -EIO);
	apply(&run);
	assert_outcome(&run, 0, VBMQ_OUTCOME_FAILED);
	assert_outcome(&run, 5, VBMQ_OUTCOME_DONE);
	assert_text(&run, 5, "without CPUs 7");
	assert_on(&run, "A/vcpu0", "0-4");
	assert_on(&run, "A/iothread1", "5");
	assert_on(&run, "B/iothread1", "6");
	assert_int_equal(run.r, 1);
	end(&run);
}

/* B moved 5 -> shared -> 6 and then fails; 5 is A's by now: B stays on 6, a place of its own, rather than lose one. */
static void test_no_way_back(void **state)
{
	struct run run;

	begin_three(&run);
	fake_fault(&run.f, 4, FAKE_NOTHING, -EIO);
	apply(&run);
	assert_outcome(&run, 4, VBMQ_OUTCOME_FAILED);
	assert_outcome(&run, 1, VBMQ_OUTCOME_DONE);
	assert_text(&run, 1, "stays on CPUs");
	assert_on(&run, "A/iothread1", "5");
	assert_outcome(&run, 9, VBMQ_OUTCOME_DONE);
	end(&run);
}

static const struct scene_domain plain[] = { { .name = "A", .vcpus = 2, .queues = 2 }, { .name = NULL } };

static void begin_add(struct run *run)
{
	static const uint32_t map[] = { 1, 2 };
	struct vbmq_snapshot *s = scene_new(1, 8, 1, plain);
	struct vbmq_plan *p = hand_plan(s);

	hand_shared(p, "0-5");
	hand_pin(p, "A/vcpu0", "0-5");
	hand_pin(p, "A/vcpu1", "0-5");
	hand_pin(p, "A/emulator", "0-5");
	hand_add(p, "A/iothread1"); /* 3 */
	hand_pin(p, "A/iothread1", "!6");
	hand_add(p, "A/iothread2"); /* 5 */
	hand_pin(p, "A/iothread2", "!7");
	hand_polling(p, "A/iothread1", 1000000);
	hand_polling(p, "A/iothread2", 1000000);
	hand_map(p, "A/vda", map, 2); /* 9 */
	hand_polling(p, "A/iothread1", 900000); /* 10 */
	begin(run, s, p);
}

static void test_added_taken_back(void **state)
{
	for (size_t at = 3; at <= 10; at++) {
		struct run run;

		begin_add(&run);
		fake_fault(&run.f, at, FAKE_NOTHING, -EIO);
		apply(&run);
		assert_outcome(&run, at, VBMQ_OUTCOME_FAILED);
		assert_null(hand_thread(fake_state(&run.f), "A/iothread1"));
		assert_null(hand_thread(fake_state(&run.f), "A/iothread2"));
		assert_int_equal(fake_state(&run.f)->domains[0]->disks[0].queues[1].iothread, 0);
		assert_on(&run, "A/vcpu0", "0-7");
		assert_on(&run, "A/emulator", "0-7");
		for (size_t i = 0; i < run.f.saved->n_entries; i++)
			assert_int_not_equal(run.f.saved->entries[i].kind, VBMQ_UNDO_ADDED);
		end(&run);
	}
}

/* What was set last is in the record, and is there as known only when it was read back. */
static void test_map_is_recorded(void **state)
{
	for (int fault = 0; fault < 3; fault++) {
		const struct vbmq_undo_entry *e;
		struct run run;

		begin_add(&run);
		if (fault == 1)
			fake_fault(&run.f, 10, FAKE_NOTHING, -EIO); /* all is taken back */
		else if (fault == 2)
			fake_fault(&run.f, 9, FAKE_WORKS, -ETIMEDOUT);
		apply(&run);
		e = vbmq_undo_map(run.f.saved, run.s->domains[0], "vda");
		assert_non_null(e);
		assert_int_equal(e->settled, fault != 2);
		assert_int_equal(e->map[0], 0);
		for (uint32_t q = 0; q < 2 && fault != 2; q++)
			assert_int_equal(e->applied_map[q], fault ? 0 : q + 1);
		end(&run);
	}
}

/* Somebody else added I/O thread 1 meanwhile: it is not ours, neither to pin nor to delete. */
static void test_added_by_somebody(void **state)
{
	struct run run;

	begin_add(&run);
	fake_fault(&run.f, 3, FAKE_WORKS, -EEXIST);
	apply(&run);
	assert_outcome(&run, 3, VBMQ_OUTCOME_FAILED);
	assert_non_null(hand_thread(fake_state(&run.f), "A/iothread1"));
	assert_false(vbmq_undo_added(run.undo, run.s->domains[0], 1));
	assert_on(&run, "A/vcpu0", "0-7");
	end(&run);
}

static void restore(struct run *run, const char *uuid)
{
	struct vbmq_snapshot *s = scene_copy(fake_state(&run->f), run->f.saved);
	struct vbmq_step *steps = NULL;
	size_t n = 0;

	run->report = vbmq_report_free(run->report);
	run->f.restoring = true;
	run->r = vbmq_apply_restore(&run->f.apply, s, uuid, run->undo, &steps, &n, &run->report, &run->err);
	vbmq_steps_free(steps, n);
	vbmq_snapshot_free(s);
}

static void test_restore(void **state)
{
	struct run run;

	begin_add(&run);
	apply(&run);
	assert_int_equal(run.r, 0);
	restore(&run, NULL);
	assert_int_equal(run.r, 0);
	assert_null(hand_thread(fake_state(&run.f), "A/iothread1"));
	assert_on(&run, "A/vcpu0", "0-7");
	assert_int_equal(run.undo->n_entries, 0);
	assert_int_equal(run.f.saved->n_entries, 0);
	end(&run);

	begin_two(&run);
	apply(&run);
	restore(&run, NULL);
	assert_int_equal(run.r, 0);
	assert_int_equal(run.f.saved->n_entries, 0);
	assert_on(&run, "B/iothread1", "0-7");
	assert_int_equal(hand_thread(fake_state(&run.f), "B/iothread1")->polling.max_ns, 32768);
	/* the worker that stood apart stands apart again */
	assert_int_equal(vbmq_cpuset_count(&fake_state(&run.f)->domains[1]->odd_tasks[0].affinity), 1);
	end(&run);
}

/* One guest is put back: not onto the places of the others, and the record keeps what is still missing. */
static void test_restore_one(void **state)
{
	struct run run;

	begin_two(&run);
	apply(&run);
	restore(&run, run.s->domains[0]->uuid);
	assert_int_equal(run.r, 0);
	assert_on(&run, "A/iothread1", "0-6");
	assert_on(&run, "A/vcpu0", "0-6");
	assert_on(&run, "B/iothread1", "7");
	assert_text(&run, 1, "without CPUs 7");
	assert_true(run.f.saved->n_entries > 0);
	restore(&run, NULL);
	assert_int_equal(run.r, 0);
	assert_on(&run, "A/iothread1", "0-7");
	assert_int_equal(run.f.saved->n_entries, 0);
	end(&run);
}

/* A step of restore fails: the rest goes on, and what failed stays in the record. */
static void test_restore_fails(void **state)
{
	struct run run;

	begin_two(&run);
	apply(&run);
	fake_fault(&run.f, 9 + 2, FAKE_NOTHING, -EIO);
	restore(&run, NULL);
	assert_int_equal(run.r, 1);
	assert_int_equal(run.report->n_domains_failed, 1);
	assert_int_equal(run.f.saved->n_entries, 1);
	restore(&run, NULL);
	assert_int_equal(run.r, 0);
	assert_int_equal(run.f.saved->n_entries, 0);
	assert_on(&run, "A/iothread1", "0-7");
	assert_on(&run, "B/iothread1", "0-7");
	end(&run);
}

static void test_wrong_plan(void **state)
{
	struct run run;

	begin_two(&run);
	run.p->placement->domains[1].uuid[0] = 'f';
	apply(&run);
	assert_int_equal(run.r, -EINVAL);
	assert_null(run.report);
	run.p->placement->domains[1].uuid[0] = '0';
	end(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_done),
		cmocka_unit_test(test_dry_run),
		cmocka_unit_test(test_save_fails),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_early),
		cmocka_unit_test(test_silent_early),
		cmocka_unit_test(test_read_back_differs),
		cmocka_unit_test(test_worked_with_error),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_blocked),
		cmocka_unit_test(test_silent_holds_both),
		cmocka_unit_test(test_spread_without),
		cmocka_unit_test(test_no_way_back),
		cmocka_unit_test(test_added_taken_back),
		cmocka_unit_test(test_map_is_recorded),
		cmocka_unit_test(test_added_by_somebody),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_restore_one),
		cmocka_unit_test(test_restore_fails),
		cmocka_unit_test(test_wrong_plan),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
