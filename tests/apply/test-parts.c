/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The host's own work: off dedicated cores before anybody comes there, back when everybody has left, as found after all. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/diff.h"
#include "core/parts.h"
#include "core/verify.h"
#include "fake_actuator.h"
#include "hand.h"
#include "scene.h"
#include "util/err.h"

static const struct scene_domain one[] = {
	{ .name = "A", .vcpus = 2, .iothreads = 1, .queues = 1, .wish = 1 },
	{ .name = NULL },
};

struct host {
	struct vbmq_snapshot *s;
	struct fake f;
	struct vbmq_part_actuator inner, parts;
	struct vbmq_undo *undo;
	struct vbmq_report *report;
	struct vbmq_plan *plan;
	unsigned fail; /* bits of parts whose steps fail */
	bool text_of_irqbalance; /* its last check said something */
	struct vbmq_policy policy;
};

static int execute_part(void *ctx, const struct vbmq_step *step, struct vbmq_err *err)
{
	struct host *h = ctx;

	if (h->fail & 1u << step->id)
		return vbmq_err_set(err, -EACCES, "not today");
	/* what is found must be on disk before the touch */
	assert_non_null(vbmq_undo_part(h->f.saved, h->s->host, step->id));
	return h->inner.ops->execute(h->inner.ctx, step, err);
}

static int observe_part(void *ctx, const struct vbmq_step *step, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct host *h = ctx;

	return h->inner.ops->observe(h->inner.ctx, step, ret, err);
}

static const struct vbmq_part_actuator_ops part_ops = { execute_part, observe_part };

static void part(struct vbmq_snapshot *s, enum vbmq_part_id id, const char *cpus)
{
	s->host->parts[id].state = VBMQ_PART_OK;
	s->host->parts[id].cpus = scene_cpus(cpus);
	if (id == VBMQ_PART_IRQBALANCE) {
		s->host->parts[id].pid = 77;
		s->host->parts[id].start = 7;
	}
}

static struct vbmq_snapshot *host_of(const struct scene_domain *domains)
{
	struct vbmq_snapshot *s = scene_new(1, 4, 1, domains);

	part(s, VBMQ_PART_SYSTEM, "");
	part(s, VBMQ_PART_USER, "0-2");
	part(s, VBMQ_PART_INIT, "");
	part(s, VBMQ_PART_IRQBALANCE, "");
	return s;
}

static void begin(struct host *h, struct vbmq_snapshot *s)
{
	memset(h, 0, sizeof(*h));
	h->s = s;
	vbmq_policy_init(&h->policy);
	fake_init(&h->f, s, NULL, NULL);
	h->inner = vbmq_dryrun_parts(h->f.dry);
	h->parts = (struct vbmq_part_actuator){ &part_ops, h };
	h->f.apply.parts = &h->parts;
	h->undo = vbmq_undo_new();
}

/* Plans on what is, and applies it. */
static int cycle(struct host *h)
{
	struct vbmq_snapshot *now = scene_copy(fake_state(&h->f), h->undo);
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r;

	vbmq_snapshot_free(h->s);
	h->s = now;
	h->plan = vbmq_plan_free(h->plan);
	h->report = vbmq_report_free(h->report);
	h->plan = scene_plan(h->s, &h->policy);
	fake_watch(&h->f, h->plan->placement);
	r = vbmq_apply_plan(&h->f.apply, h->s, h->plan, h->undo, &h->report, &err);
	assert_string_equal(h->f.breach, "");
	return r;
}

static void end(struct host *h)
{
	vbmq_plan_free(h->plan);
	vbmq_report_free(h->report);
	vbmq_undo_free(h->undo);
	vbmq_policy_done(&h->policy);
	fake_done(&h->f);
	vbmq_snapshot_free(h->s);
}

static void assert_part(const struct host *h, enum vbmq_part_id id, const char *cpus)
{
	char *is = vbmq_cpulist_format(&fake_state(&h->f)->host->parts[id].cpus);

	assert_string_equal(is, cpus);
	free(is);
}

/* Bad checks of the plan against what is now. */
static size_t verify(struct host *h)
{
	struct vbmq_report *report = vbmq_report_new(h->plan);
	size_t n;

	assert_int_equal(vbmq_verify(fake_state(&h->f), h->plan, report, NULL), 0);
	n = report->n_bad_checks;
	h->text_of_irqbalance = false;
	for (size_t i = 0; i < report->n_checks; i++)
		if (report->checks[i].is_part && report->checks[i].id == VBMQ_PART_IRQBALANCE)
			h->text_of_irqbalance = report->checks[i].text;
	vbmq_report_free(report);
	return n;
}

static const struct vbmq_diag *diag(const struct host *h, const char *code, const char *subject)
{
	const struct vbmq_diags *d = &h->plan->placement->diags;

	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->items[i].code, code) == 0 && strcmp(d->items[i].subject, subject) == 0)
			return &d->items[i];
	return NULL;
}

static size_t n_part_steps(const struct host *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->plan->n_steps; i++)
		n += vbmq_step_is_of_host(&h->plan->steps[i]);
	return n;
}

static size_t n_part_entries(const struct host *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->undo->n_entries; i++)
		n += h->undo->entries[i].kind == VBMQ_UNDO_PART;
	return n;
}

/* The core that the scene's one I/O thread gets: the lowest that may be dedicated. */
static struct vbmq_cpuset place(const struct host *h)
{
	return h->plan->placement->dedicated;
}

static void gone(struct host *h)
{
	struct vbmq_snapshot *now = scene_copy(fake_state(&h->f), NULL);
	struct vbmq_undo *saved = NULL;

	scene_remove(now, "A");
	assert_int_equal(vbmq_undo_copy(h->f.saved, &saved), 0);
	fake_done(&h->f);
	fake_init(&h->f, now, NULL, saved);
	vbmq_undo_free(saved);
	vbmq_snapshot_free(now);
	h->inner = vbmq_dryrun_parts(h->f.dry);
	h->f.apply.parts = &h->parts;
}

static void test_off_and_back(void **state)
{
	struct vbmq_cpuset all = scene_cpus("0-3"), left, is;
	bool exclusive_seen = false;
	struct host h;

	begin(&h, host_of(one));
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(vbmq_cpuset_count(&h.plan->placement->dedicated), 1);
	left = vbmq_cpuset_andnot(&all, &h.plan->placement->dedicated);
	is = fake_state(&h.f)->host->parts[VBMQ_PART_SYSTEM].cpus;
	assert_true(vbmq_cpuset_equal(&is, &left));
	is = fake_state(&h.f)->host->parts[VBMQ_PART_INIT].cpus;
	assert_true(vbmq_cpuset_equal(&is, &left));
	is = fake_state(&h.f)->host->parts[VBMQ_PART_IRQBALANCE].cpus;
	assert_true(vbmq_cpuset_equal(&is, &h.plan->placement->dedicated));
	for (size_t i = 0; i < h.plan->n_steps; i++) {
		exclusive_seen |= h.plan->steps[i].exclusive;
		if (h.plan->steps[i].op == VBMQ_STEP_LIMIT_SLICE)
			assert_false(exclusive_seen);
	}
	assert_true(exclusive_seen);
	assert_int_equal(h.plan->steps[h.plan->n_steps - 1].op, VBMQ_STEP_BAN_IRQS);
	assert_int_equal(verify(&h), 0);
	/* only told so far: no fault, and said */
	fake_state(&h.f)->host->parts[VBMQ_PART_IRQBALANCE].pending = true;
	assert_int_equal(verify(&h), 0);
	assert_true(h.text_of_irqbalance);
	fake_state(&h.f)->host->parts[VBMQ_PART_IRQBALANCE].pending = false;
	assert_int_equal(verify(&h), 0);
	assert_false(h.text_of_irqbalance);

	assert_int_equal(cycle(&h), 0); /* idempotent */
	assert_int_equal(h.plan->n_steps, 0);
	assert_true(n_part_entries(&h) >= 3);

	gone(&h);
	assert_int_equal(cycle(&h), 0);
	assert_part(&h, VBMQ_PART_SYSTEM, "");
	assert_part(&h, VBMQ_PART_USER, "0-2");
	assert_part(&h, VBMQ_PART_INIT, "");
	assert_int_equal(n_part_entries(&h), 0);
	end(&h);
}

/* CPUs that the operator had left out of a limit do not come in; one that is not touched needs no step. */
static void test_limit_of_the_operator(void **state)
{
	struct vbmq_snapshot *s = host_of(one);
	struct vbmq_cpuset found = scene_cpus("0-2"), want, is;
	struct host h;

	part(s, VBMQ_PART_INIT, "0");
	begin(&h, s);
	h.policy.dedicated = scene_cpus("1");
	assert_int_equal(cycle(&h), 0);
	assert_true(vbmq_cpuset_has(&h.plan->placement->dedicated, 1));
	want = vbmq_cpuset_andnot(&found, &h.plan->placement->dedicated);
	is = fake_state(&h.f)->host->parts[VBMQ_PART_USER].cpus;
	assert_true(vbmq_cpuset_equal(&is, &want));
	assert_part(&h, VBMQ_PART_INIT, "0");
	assert_null(vbmq_undo_part(h.undo, h.s->host, VBMQ_PART_INIT));
	end(&h);
}

static void test_restore(void **state)
{
	struct vbmq_step *steps = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t n = 0, last_thread = 0, first_part = SIZE_MAX;
	struct host h;

	begin(&h, host_of(one));
	assert_int_equal(cycle(&h), 0);
	vbmq_snapshot_free(h.s);
	h.s = scene_copy(fake_state(&h.f), h.undo);
	h.report = vbmq_report_free(h.report);
	fake_release(&h.f, h.s->domains[0]->uuid);
	h.f.restoring = true;
	assert_int_equal(
		vbmq_apply_restore(&h.f.apply, h.s, h.s->domains[0]->uuid, h.undo, &steps, &n, &h.report, &err), 0);
	for (size_t i = 0; i < n; i++)
		assert_false(vbmq_step_is_of_host(&steps[i])); /* of one domain: the host's own work stays away */
	vbmq_steps_free(steps, n);
	h.report = vbmq_report_free(h.report);
	assert_int_equal(vbmq_apply_restore(&h.f.apply, h.s, NULL, h.undo, &steps, &n, &h.report, &err), 0);
	for (size_t i = 0; i < n; i++) {
		if (!vbmq_step_is_of_host(&steps[i]))
			last_thread = i + 1;
		else if (first_part == SIZE_MAX)
			first_part = i;
	}
	assert_true(last_thread <= first_part && first_part < n);
	assert_part(&h, VBMQ_PART_SYSTEM, "");
	assert_part(&h, VBMQ_PART_USER, "0-2");
	assert_part(&h, VBMQ_PART_IRQBALANCE, "");
	assert_int_equal(h.undo->n_entries, 0);
	vbmq_steps_free(steps, n);
	end(&h);
}

static void test_drift(void **state)
{
	struct vbmq_cpuset ours;
	struct host h;

	begin(&h, host_of(one));
	assert_int_equal(cycle(&h), 0);
	ours = fake_state(&h.f)->host->parts[VBMQ_PART_SYSTEM].cpus;
	fake_state(&h.f)->host->parts[VBMQ_PART_SYSTEM].cpus = scene_cpus("0-3");
	assert_int_equal(verify(&h), 1);
	h.policy.drift = VBMQ_DRIFT_RESPECT;
	assert_int_equal(cycle(&h), 0);
	assert_part(&h, VBMQ_PART_SYSTEM, "0-3");
	assert_non_null(diag(&h, VBMQ_DIAG_DRIFT, "system.slice"));
	h.policy.drift = VBMQ_DRIFT_REPAIR;
	assert_int_equal(cycle(&h), 0);
	assert_true(vbmq_cpuset_equal(&fake_state(&h.f)->host->parts[VBMQ_PART_SYSTEM].cpus, &ours));
	/* what was found first is still known */
	assert_true(vbmq_cpuset_is_empty(&vbmq_undo_part(h.undo, h.s->host, VBMQ_PART_SYSTEM)->found));
	end(&h);
}

static void test_guest_inside(void **state)
{
	struct vbmq_snapshot *s = host_of(one);
	struct host h;

	s->domains[0]->in_part = 1 + VBMQ_PART_SYSTEM;
	begin(&h, s);
	assert_int_equal(cycle(&h), 0);
	assert_part(&h, VBMQ_PART_SYSTEM, "");
	assert_non_null(diag(&h, VBMQ_DIAG_SLICES, "system.slice"));
	assert_null(diag(&h, VBMQ_DIAG_SLICES, "init.scope"));
	assert_false(vbmq_cpuset_is_empty(&fake_state(&h.f)->host->parts[VBMQ_PART_INIT].cpus));
	assert_false(h.plan->placement->infeasible);
	end(&h);
}

static void test_cannot(void **state)
{
	static const enum vbmq_part_state states[] = { VBMQ_PART_CGROUP_V1, VBMQ_PART_NO_CPUSET, VBMQ_PART_ABSENT };

	for (size_t i = 0; i < 3; i++) {
		struct vbmq_snapshot *s = host_of(one);
		struct host h;

		for (unsigned p = 0; p < VBMQ_PARTS; p++)
			s->host->parts[p].state = p < VBMQ_SLICES ? states[i] : VBMQ_PART_ABSENT;
		begin(&h, s);
		assert_int_equal(cycle(&h), 0);
		assert_int_equal(n_part_steps(&h), 0);
		assert_int_equal(h.plan->placement->diags.n, states[i] == VBMQ_PART_ABSENT ? 0 : 1);
		assert_int_equal(verify(&h), 0);
		end(&h);
	}
}

static void test_opt_out(void **state)
{
	struct host h;

	begin(&h, host_of(one));
	h.policy.limit_slices = h.policy.ban_irqs = false;
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(n_part_steps(&h), 0);
	h.policy.limit_slices = h.policy.ban_irqs = true;
	assert_int_equal(cycle(&h), 0);
	assert_true(n_part_steps(&h) > 2);
	h.policy.limit_slices = h.policy.ban_irqs = false; /* what is held is given back */
	assert_int_equal(cycle(&h), 0);
	assert_part(&h, VBMQ_PART_SYSTEM, "");
	assert_int_equal(n_part_entries(&h), 0);
	assert_false(vbmq_cpuset_is_empty(&h.plan->placement->dedicated));
	end(&h);
}

/* A unit that systemd does not set keeps no guest from its core, and is tried again. */
static void test_failure(void **state)
{
	struct host h;

	begin(&h, host_of(one));
	h.fail = 1u << VBMQ_PART_SYSTEM;
	assert_int_equal(cycle(&h), 1);
	assert_true(h.report->host_failed);
	assert_int_equal(h.report->n_domains_failed, 0);
	assert_int_equal(h.report->results[0].outcome, VBMQ_OUTCOME_FAILED);
	assert_string_equal(h.report->results[0].text, "system.slice: not today");
	assert_int_equal(verify(&h), 1); /* the thread is where it should be, the unit is not */
	assert_part(&h, VBMQ_PART_SYSTEM, "");
	h.fail = 0;
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(h.plan->n_steps, 1);
	assert_int_equal(verify(&h), 0);
	end(&h);
}

static void test_irqbalance_of_others(void **state)
{
	static const enum vbmq_part_state states[] = { VBMQ_PART_FOREIGN, VBMQ_PART_SILENT };

	for (size_t i = 0; i < 2; i++) {
		struct vbmq_snapshot *s = host_of(one);
		struct host h;

		s->host->parts[VBMQ_PART_IRQBALANCE].state = states[i];
		begin(&h, s);
		assert_int_equal(cycle(&h), 0);
		assert_part(&h, VBMQ_PART_IRQBALANCE, "");
		assert_non_null(diag(&h, VBMQ_DIAG_IRQBALANCE, "irqbalance"));
		/* a list that has the dedicated cores is as good as ours */
		fake_state(&h.f)->host->parts[VBMQ_PART_IRQBALANCE].cpus = place(&h);
		assert_int_equal(cycle(&h), 0);
		assert_null(diag(&h, VBMQ_DIAG_IRQBALANCE, "irqbalance"));
		end(&h);
	}
}

static void test_irqbalance_restarts(void **state)
{
	struct vbmq_snapshot *s = host_of(one);
	struct vbmq_part *p;
	struct vbmq_cpuset want;
	struct host h;

	part(s, VBMQ_PART_IRQBALANCE, "3"); /* isolated CPUs that it bans by itself stay banned */
	begin(&h, s);
	h.policy.dedicated = scene_cpus("1");
	assert_int_equal(cycle(&h), 0);
	assert_part(&h, VBMQ_PART_IRQBALANCE, "1,3");
	p = &fake_state(&h.f)->host->parts[VBMQ_PART_IRQBALANCE];
	p->cpus = scene_cpus("");
	p->pid++;
	vbmq_snapshot_free(h.s);
	h.s = scene_copy(fake_state(&h.f), h.undo);
	assert_null(vbmq_undo_part(h.undo, h.s->host, VBMQ_PART_IRQBALANCE));
	assert_true(vbmq_undo_prune(h.undo, h.s) == 1);
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(h.plan->n_steps, 1);
	want = place(&h);
	assert_true(vbmq_cpuset_equal(&p->cpus, &want));
	/* units last: pruning leaves them */
	assert_non_null(vbmq_undo_part(h.undo, h.s->host, VBMQ_PART_SYSTEM));
	end(&h);
}

/* What is Nova's is neither dedicated nor shared. */
static void test_nova(void **state)
{
	struct vbmq_snapshot *s = host_of(one);
	struct vbmq_cpuset nova = scene_cpus("1-2");
	struct host h;

	s->host->nova = nova;
	begin(&h, s);
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(vbmq_cpuset_count(&h.plan->placement->dedicated), 1);
	assert_false(vbmq_cpuset_intersects(&h.plan->placement->dedicated, &nova));
	assert_false(vbmq_cpuset_intersects(&h.plan->placement->shared, &nova));
	assert_non_null(diag(&h, VBMQ_DIAG_NOVA, "host"));
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(h.plan->n_steps, 0);
	h.policy.keep_off_nova = false;
	assert_int_equal(cycle(&h), 0);
	assert_true(vbmq_cpuset_intersects(&h.plan->placement->shared, &nova));
	assert_null(diag(&h, VBMQ_DIAG_NOVA, "host"));
	end(&h);
}

/* --- steps alone ------------------------------------------------------------------------------------------------------ */

static void test_moving_core(void **state)
{
	struct vbmq_snapshot *s = host_of(one);
	struct vbmq_plan *p = hand_plan(s);
	struct vbmq_cpuset both = scene_cpus("0,3"), want = scene_cpus("0,2-3");

	part(s, VBMQ_PART_SYSTEM, "0-1,3");
	p->placement->parts[VBMQ_PART_SYSTEM] = (struct vbmq_place_part){ true, scene_cpus("0,2-3") };
	hand_pin(p, "A/iothread1", "!1");
	assert_int_equal(vbmq_parts_add_steps(s, p->placement, &p->steps, &p->n_steps), 0);
	assert_int_equal(p->n_steps, 3);
	assert_true(p->steps[0].interim && vbmq_cpuset_equal(p->steps[0].cpus, &both));
	assert_int_equal(p->steps[1].op, VBMQ_STEP_PIN);
	assert_true(!p->steps[2].interim && vbmq_cpuset_equal(p->steps[2].cpus, &want));
	vbmq_plan_free(p);
	vbmq_snapshot_free(s);
}

/* A thread that does not leave its place keeps the host off it, whatever the plan had thought. */
static void test_place_not_given_up(void **state)
{
	struct vbmq_cpuset all = scene_cpus("0-3"), held;
	struct host h;

	begin(&h, host_of(one));
	assert_int_equal(cycle(&h), 0);
	held = place(&h);
	h.policy.defaults.exclusive = VBMQ_EXCLUSIVE_NONE;
	h.policy.override.exclusive = VBMQ_EXCLUSIVE_NONE; /* it is to lose its core ... */
	for (size_t at = 0; at < 4; at++)
		fake_fault(&h.f, h.f.n_executed + at, FAKE_NOTHING, -EBUSY); /* ... and nothing of it moves */
	assert_int_equal(cycle(&h), 1);
	assert_true(vbmq_cpuset_is_empty(&h.plan->placement->dedicated));
	held = vbmq_cpuset_andnot(&all, &held);
	assert_true(vbmq_cpuset_equal(&fake_state(&h.f)->host->parts[VBMQ_PART_SYSTEM].cpus, &held));
	h.f.n_faults = 0;
	assert_int_equal(cycle(&h), 0);
	assert_part(&h, VBMQ_PART_SYSTEM, "");
	end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off_and_back),
		cmocka_unit_test(test_limit_of_the_operator),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_drift),
		cmocka_unit_test(test_guest_inside),
		cmocka_unit_test(test_cannot),
		cmocka_unit_test(test_opt_out),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_irqbalance_of_others),
		cmocka_unit_test(test_irqbalance_restarts),
		cmocka_unit_test(test_nova),
		cmocka_unit_test(test_moving_core),
		cmocka_unit_test(test_place_not_given_up),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
