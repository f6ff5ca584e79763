/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every step of real plans fails in every way. For a handful of situations (guests arrive, leave, must move), for every
 * call that changes something and every fault, alone and in pairs (the second one hits the taking back):
 *   - at no moment does a step make anybody meet on a place that somebody has for himself, and nothing is touched that the
 *     saved record does not cover (both judged by the fake actuator, step by step);
 *   - other guests finish, or are told who is in their way;
 *   - a new plan from what is left, with the record as it was saved, comes to the full placement;
 *   - restore from what is left gives every thread that still lives bit for bit what it had at first;
 *   - after a crash, no thread that stood on its final place has moved when all is done.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/diff.h"
#include "core/verify.h"
#include "fake_actuator.h"
#include "scene.h"
#include "util/err.h"

struct situation {
	struct vbmq_snapshot *original; /* before we ever came */
	struct vbmq_snapshot *state; /* what is planned and applied from */
	struct vbmq_undo *saved;
	struct vbmq_policy policy;
};

struct fault {
	const char *name;
	enum fake_effect effect;
	int error;
};

static const struct fault faults[] = {
	{ "refused", FAKE_NOTHING, -EIO },
	{ "busy", FAKE_NOTHING, -EBUSY },
	{ "not supported", FAKE_NOTHING, -ENOTSUP },
	{ "no thread", FAKE_NOTHING, -ESRCH },
	{ "timed out", FAKE_NOTHING, -ETIMEDOUT },
	{ "claims to have worked", FAKE_NOTHING, 0 },
	{ "worked with an error", FAKE_WORKS, -EIO },
	{ "worked and timed out", FAKE_WORKS, -ETIMEDOUT },
	{ "cannot be read back", FAKE_BLIND, -EIO },
	{ "hangs at reading back", FAKE_BLIND, -ETIMEDOUT },
	{ "guest vanishes", FAKE_VANISH, 0 },
	{ "thread id reused", FAKE_REUSED, 0 },
	{ "guest hangs", FAKE_SILENT, 0 },
	{ "crash", FAKE_CRASH, 0 },
	{ "crash after", FAKE_CRASH_AFTER, 0 },
};

static char where[256]; /* for messages */

#define check(cond, ...)                                \
	do {                                            \
		if (!(cond)) {                          \
			print_message("# %s: ", where); \
			print_message(__VA_ARGS__);     \
			fail();                         \
		}                                       \
	} while (0)

static void tell(const struct vbmq_plan *p, const struct vbmq_report *r)
{
	for (size_t i = 0; i < p->n_steps; i++) {
		const struct vbmq_step *s = &p->steps[i];
		char *cpus = vbmq_cpulist_format(s->cpus);

		print_message("# %zu: %s %s %s%u cpus %s%s: %s: %s\n", i, vbmq_step_word(s),
			      p->placement->domains[s->domain].name, vbmq_thread_kind_words[s->kind], s->id,
			      s->exclusive ? "!" : "", cpus, r ? vbmq_outcome_words[r->results[i].outcome] : "",
			      r && r->results[i].text ? r->results[i].text : "");
		free(cpus);
	}
}

/* What a capture would find now. */
static struct vbmq_snapshot *capture(const struct fake *f)
{
	struct vbmq_snapshot *s = scene_copy(fake_state(f), NULL);
	struct vbmq_domain *d;

	d = f->reused[0] ? vbmq_snapshot_find(s, f->reused) : NULL;
	for (size_t i = 0; d && i < d->n_threads; i++) {
		if (d->threads[i].kind == f->reused_kind && d->threads[i].id == f->reused_id) {
			d->threads[i].tid += 5000;
			d->threads[i].start += 5000;
		}
	}
	d = f->gone[0] ? vbmq_snapshot_find(s, f->gone) : NULL;
	if (d)
		scene_remove(s, d->name);
	vbmq_undo_prune(f->saved, s);
	vbmq_undo_overlay(f->saved, s);
	return s;
}

/* The rest of the world: whoever is not done has been told why. */
static void check_others(const struct fake *f, const struct vbmq_plan *p, const struct vbmq_report *r)
{
	for (uint32_t d = 0; d < p->placement->n_domains; d++) {
		bool excuse = false, done = true;

		for (size_t i = 0; i < p->n_steps; i++) {
			const struct vbmq_step_result *res = &r->results[i];

			check(res->outcome != VBMQ_OUTCOME_PENDING, "step %zu is pending\n", i);
			if (p->steps[i].domain != d)
				continue;
			done &= res->outcome == VBMQ_OUTCOME_DONE;
			excuse |= res->outcome == VBMQ_OUTCOME_FAILED ||
				  (res->outcome == VBMQ_OUTCOME_SKIPPED && res->text &&
				   strstr(res->text, "did not leave"));
			check(res->outcome != VBMQ_OUTCOME_FAILED || (res->error < 0 && res->text),
			      "step %zu: no cause\n", i);
			check(res->outcome == VBMQ_OUTCOME_DONE || res->text || res->outcome == VBMQ_OUTCOME_UNDONE,
			      "step %zu (outcome %d) says nothing\n", i, (int)res->outcome);
		}
		check(done || excuse, "domain %s is not done for no reason\n", p->placement->domains[d].name);
	}
}

/* Everything is where the placement wants it, and nobody meets. */
static void check_full(const struct fake *f, const struct situation *sit, const struct vbmq_plan *p)
{
	struct vbmq_snapshot *after = scene_copy(fake_state(f), f->saved);
	struct vbmq_plan *again = scene_plan(after, &sit->policy);
	struct vbmq_report *report = vbmq_report_new(p);
	struct vbmq_err err = VBMQ_ERR_INIT;

	check(again->n_steps == 0, "the plan after the plan has %zu steps\n", again->n_steps);
	check(vbmq_verify(after, p, report, &err) == 0, "verify: %s\n", err.text);
	for (size_t i = 0; i < report->n_checks; i++)
		check(report->checks[i].kind == VBMQ_CHECK_OK, "verify: %s: %s\n",
		      p->placement->domains[report->checks[i].domain].name, report->checks[i].text);
	vbmq_report_free(report);
	vbmq_plan_free(again);
	vbmq_snapshot_free(after);
}

static void check_stayed(const struct vbmq_snapshot *before, const struct fake *after,
			 const struct vbmq_placement *final)
{
	for (size_t i = 0; i < before->n_domains; i++) {
		for (size_t j = 0; j < before->domains[i]->n_threads; j++) {
			const struct vbmq_thread *t = &before->domains[i]->threads[j], *now;
			const struct vbmq_place_thread *place = vbmq_place_thread(&final->domains[i], t->kind, t->id);

			if (!place || !place->exclusive || !vbmq_cpuset_equal(place->cpus, &t->affinity))
				continue;
			now = vbmq_domain_thread(fake_state(after)->domains[i], t->kind, t->id);
			check(now && vbmq_cpuset_equal(&now->affinity, &t->affinity),
			      "a thread that stood well has moved\n");
		}
	}
}

/* A new daemon with what is on disk. final: after a crash, what the first plan wanted. */
static void recover(const struct situation *sit, const struct fake *left, const struct vbmq_placement *final)
{
	struct vbmq_snapshot *s = capture(left);
	struct vbmq_plan *p = scene_plan(s, &sit->policy);
	struct vbmq_undo *undo = NULL;
	struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	static struct fake f;
	int r;

	fake_init(&f, s, sit->original, left->saved);
	fake_watch(&f, p->placement);
	assert_int_equal(vbmq_undo_copy(left->saved, &undo), 0);
	r = vbmq_apply_plan(&f.apply, s, p, undo, &report, &err);
	check(!f.breach[0], "recovery: %s\n", f.breach);
	check(r == 0, "recovery gives %d: %s\n", r, err.text);
	check_full(&f, sit, p);
	if (final)
		check_stayed(s, &f, final);
	vbmq_report_free(report);
	vbmq_undo_free(undo);
	fake_done(&f);
	vbmq_plan_free(p);
	vbmq_snapshot_free(s);
}

static void check_as_found(const struct situation *sit, const struct vbmq_snapshot *live, const struct fake *f)
{
	for (size_t i = 0; i < live->n_domains; i++) {
		const struct vbmq_domain *is = vbmq_snapshot_find(fake_state(f), live->domains[i]->uuid);
		const struct vbmq_domain *was = vbmq_snapshot_find(sit->original, live->domains[i]->uuid);

		check(is->n_threads == was->n_threads, "%s has %zu threads, had %zu\n", was->name, is->n_threads,
		      was->n_threads);
		for (size_t j = 0; j < was->n_threads; j++) {
			const struct vbmq_thread *a = &was->threads[j], *b = &is->threads[j];

			if (a->tid != b->tid || a->start != b->start)
				continue;
			check(vbmq_cpuset_equal(&a->affinity, &b->affinity), "%s kind %d id %u is not back\n",
			      was->name, (int)a->kind, a->id);
			check(a->polling.max_ns == b->polling.max_ns, "%s: polling of %u is not back\n", was->name,
			      a->id);
		}
		for (size_t j = 0; j < was->n_odd_tasks; j++)
			check(vbmq_cpuset_equal(&was->odd_tasks[j].affinity, &is->odd_tasks[j].affinity),
			      "%s: a worker is not back\n", was->name);
		for (size_t j = 0; j < was->n_disks; j++)
			for (size_t q = 0; q < was->disks[j].n_queues; q++)
				check(was->disks[j].queues[q].iothread == is->disks[j].queues[q].iothread,
				      "%s: map is not back\n", was->name);
	}
}

static void restore(const struct situation *sit, const struct fake *left)
{
	struct vbmq_snapshot *s = capture(left);
	struct vbmq_step *steps = NULL;
	struct vbmq_undo *undo = NULL;
	struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	static struct fake f;
	size_t n = 0;
	int r;

	fake_init(&f, s, sit->original, left->saved);
	f.restoring = true;
	assert_int_equal(vbmq_undo_copy(left->saved, &undo), 0);
	r = vbmq_apply_restore(&f.apply, s, NULL, undo, &steps, &n, &report, &err);
	check(r == 0, "restore gives %d: %s\n", r, err.text);
	check_as_found(sit, s, &f);
	check(f.saved->n_entries == 0, "%zu entries are left in the record\n", f.saved->n_entries);
	vbmq_steps_free(steps, n);
	vbmq_report_free(report);
	vbmq_undo_free(undo);
	fake_done(&f);
	vbmq_snapshot_free(s);
}

/* One apply with the given faults, and everything that can be asked of what it leaves. Returns the calls it made. */
static size_t run(const struct situation *sit, const struct vbmq_plan *p, const struct fault *a, size_t at,
		  const struct fault *b, size_t b_at)
{
	struct vbmq_undo *undo = NULL;
	struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	static struct fake f;
	size_t n;
	int r;

	fake_init(&f, sit->state, sit->original, sit->saved);
	fake_watch(&f, p->placement);
	if (a)
		fake_fault(&f, at, a->effect, a->error);
	if (b)
		fake_fault(&f, b_at, b->effect, b->error);
	assert_int_equal(vbmq_undo_copy(sit->saved, &undo), 0);
	r = vbmq_apply_plan(&f.apply, sit->state, p, undo, &report, &err);
	if (f.breach[0])
		tell(p, report);
	check(!f.breach[0], "%s\n", f.breach);
	check(r == (a && at < f.n_executed), "apply gives %d: %s\n", r, err.text);
	if (!f.dead)
		check_others(&f, p, report);
	restore(sit, &f);
	recover(sit, &f, f.dead ? p->placement : NULL);
	n = f.n_executed;
	vbmq_report_free(report);
	vbmq_undo_free(undo);
	fake_done(&f);
	return n;
}

/* One guest, or all, put back with a fault on the way; then all that is left without. */
static size_t put_back(const struct situation *sit, const struct fake *left, const struct vbmq_plan *p,
		       const char *uuid, const struct fault *a, size_t at)
{
	struct vbmq_snapshot *s = capture(left);
	struct vbmq_step *steps = NULL;
	struct vbmq_undo *undo = NULL;
	struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	static struct fake f;
	size_t n = 0, calls;
	int r;

	fake_init(&f, s, sit->original, left->saved);
	f.restoring = true;
	if (uuid) {
		fake_watch(&f, p->placement);
		fake_release(&f, uuid);
	}
	if (a)
		fake_fault(&f, at, a->effect, a->error);
	assert_int_equal(vbmq_undo_copy(left->saved, &undo), 0);
	r = vbmq_apply_restore(&f.apply, s, uuid, undo, &steps, &n, &report, &err);
	check(!f.breach[0], "%s\n", f.breach);
	check(r == (a && at < f.n_executed), "restore gives %d: %s\n", r, err.text);
	restore(sit, &f);
	calls = f.n_executed;
	vbmq_steps_free(steps, n);
	vbmq_report_free(report);
	vbmq_undo_free(undo);
	fake_done(&f);
	vbmq_snapshot_free(s);
	return calls;
}

static void exhaust_restore(const char *name, const struct situation *sit, const struct vbmq_plan *p)
{
	struct vbmq_undo *undo = NULL;
	struct vbmq_report *report = NULL;
	static struct fake done;

	fake_init(&done, sit->state, sit->original, sit->saved);
	fake_watch(&done, p->placement);
	assert_int_equal(vbmq_undo_copy(sit->saved, &undo), 0);
	assert_int_equal(vbmq_apply_plan(&done.apply, sit->state, p, undo, &report, NULL), 0);
	for (size_t d = 0; d <= sit->state->n_domains; d++) {
		const char *uuid = d < sit->state->n_domains ? sit->state->domains[d]->uuid : NULL;
		size_t n;

		snprintf(where, sizeof(where), "%s: restore %s", name, uuid ? sit->state->domains[d]->name : "all");
		n = put_back(sit, &done, p, uuid, NULL, 0);
		for (size_t at = 0; at < n; at++) {
			for (size_t a = 0; a < sizeof(faults) / sizeof(faults[0]); a++) {
				/* a worker of which the actuator says that it has ended is believed to have */
				if (faults[a].error == -ESRCH)
					continue;
				snprintf(where, sizeof(where), "%s: restore %s: call %zu: %s", name,
					 uuid ? sit->state->domains[d]->name : "all", at, faults[a].name);
				put_back(sit, &done, p, uuid, &faults[a], at);
			}
		}
	}
	vbmq_report_free(report);
	vbmq_undo_free(undo);
	fake_done(&done);
}

static void exhaust(const char *name, struct situation *sit)
{
	struct vbmq_plan *p = scene_plan(sit->state, &sit->policy);
	const size_t n_faults = sizeof(faults) / sizeof(faults[0]);
	size_t n, n_runs = 0;

	snprintf(where, sizeof(where), "%s", name);
	n = run(sit, p, NULL, 0, NULL, 0);
	check(n == p->n_steps && n > 0, "%zu steps, %zu calls\n", p->n_steps, n);
	for (size_t at = 0; at < n; at++) {
		for (size_t a = 0; a < n_faults; a++) {
			size_t calls;

			snprintf(where, sizeof(where), "%s: call %zu: %s", name, at, faults[a].name);
			calls = run(sit, p, &faults[a], at, NULL, 0);
			n_runs++;
			/* the call after the fault is the first of taking back; later ones are reached from there */
			for (size_t b = 0; b < n_faults && faults[a].effect < FAKE_VANISH; b++) {
				size_t second = at + 1 + (a + b) % 3;

				if (second >= calls || (at + a + b) % 3 != 0)
					continue;
				snprintf(where, sizeof(where), "%s: call %zu: %s, call %zu: %s", name, at,
					 faults[a].name, second, faults[b].name);
				run(sit, p, &faults[a], at, &faults[b], second);
				n_runs++;
			}
		}
	}
	exhaust_restore(name, sit, p);
	print_message("# %s: %zu steps, %zu runs\n", name, n, n_runs);
	vbmq_plan_free(p);
}

/* --- situations --------------------------------------------------------------------------------------------------- */

static void situation_done(struct situation *sit)
{
	vbmq_snapshot_free(sit->original);
	vbmq_snapshot_free(sit->state);
	vbmq_undo_free(sit->saved);
	vbmq_policy_done(&sit->policy);
}

/* Guests that nobody has touched yet. */
static struct situation fresh(unsigned nodes, unsigned cores, unsigned smt, const struct scene_domain *domains)
{
	struct situation sit = { .original = scene_new(nodes, cores, smt, domains), .saved = vbmq_undo_new() };

	sit.state = scene_copy(sit.original, NULL);
	vbmq_policy_init(&sit.policy);
	return sit;
}

/* Applies what the policy wants to all guests but without (may be NULL), which then comes back as it was. */
static void settle(struct situation *sit, const char *without)
{
	struct vbmq_snapshot *s = scene_copy(sit->state, NULL);
	struct vbmq_report *report = NULL;
	struct vbmq_undo *undo = NULL;
	struct vbmq_domain *copy;
	struct vbmq_plan *p;
	static struct fake f;

	if (without)
		scene_remove(s, without);
	p = scene_plan(s, &sit->policy);
	fake_init(&f, s, NULL, sit->saved);
	fake_watch(&f, p->placement);
	assert_int_equal(vbmq_undo_copy(sit->saved, &undo), 0);
	assert_int_equal(vbmq_apply_plan(&f.apply, s, p, undo, &report, NULL), 0);
	vbmq_snapshot_free(s);
	s = scene_copy(fake_state(&f), NULL);
	if (without) {
		assert_int_equal(vbmq_domain_copy(vbmq_snapshot_find(sit->original, without), &copy), 0);
		assert_int_equal(vbmq_snapshot_add(s, copy, NULL), 0);
		assert_int_equal(vbmq_snapshot_finish(s, NULL), 0);
	}
	vbmq_undo_overlay(f.saved, s);
	vbmq_snapshot_free(sit->state);
	sit->state = s;
	vbmq_undo_free(sit->saved);
	assert_int_equal(vbmq_undo_copy(f.saved, &sit->saved), 0);
	vbmq_report_free(report);
	vbmq_undo_free(undo);
	vbmq_plan_free(p);
	fake_done(&f);
}

static void test_arrive(void **state)
{
	static const struct scene_domain domains[] = {
		{ .name = "A", .vcpus = 2, .iothreads = 2, .queues = 2, .wish = 2 },
		{ .name = "B", .vcpus = 1, .iothreads = 1, .queues = 1, .odd_task = true },
		{ .name = NULL },
	};
	struct situation sit = fresh(1, 8, 1, domains);

	exhaust("two guests arrive", &sit);
	situation_done(&sit);
}

static void test_convert(void **state)
{
	static const struct scene_domain domains[] = {
		{ .name = "A", .vcpus = 2, .queues = 2 },
		{ .name = "B", .vcpus = 1, .iothreads = 1, .queues = 2, .wish = 1 },
		{ .name = NULL },
	};
	struct situation sit = fresh(2, 4, 2, domains);

	exhaust("a plain guest gets I/O threads", &sit);
	situation_done(&sit);
}

static const struct scene_domain three[] = {
	{ .name = "A", .vcpus = 2, .iothreads = 1, .queues = 2, .wish = 1 },
	{ .name = "B", .vcpus = 2, .iothreads = 2, .queues = 2, .wish = 2, .priority = 5 },
	{ .name = "C", .vcpus = 1, .iothreads = 1, .queues = 1, .wish = 1, .odd_task = true },
	{ .name = NULL },
};

static void test_second_arrives(void **state)
{
	struct situation sit = fresh(2, 4, 2, three);

	settle(&sit, "B");
	exhaust("one more guest arrives", &sit);
	situation_done(&sit);
}

static void test_stops(void **state)
{
	struct situation sit = fresh(2, 4, 2, three);

	settle(&sit, NULL);
	scene_remove(sit.state, "B");
	scene_remove(sit.original, "B");
	vbmq_undo_prune(sit.saved, sit.state);
	exhaust("a guest stopped, its cores return", &sit);
	situation_done(&sit);
}

/* Exclusive threads must change places: what was allowed before is reserved now. */
static void test_must_move(void **state)
{
	struct situation sit = fresh(1, 8, 1, three);

	sit.policy.dedicated = scene_cpus("4-7");
	settle(&sit, NULL);
	sit.policy.dedicated = scene_cpus("2-5");
	exhaust("all must move", &sit);
	situation_done(&sit);
}

static void test_shortage(void **state)
{
	struct situation sit = fresh(1, 4, 2, three);

	settle(&sit, "C");
	exhaust("cores run short", &sit);
	situation_done(&sit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arrive), cmocka_unit_test(test_convert),	 cmocka_unit_test(test_second_arrives),
		cmocka_unit_test(test_stops),  cmocka_unit_test(test_must_move), cmocka_unit_test(test_shortage),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
