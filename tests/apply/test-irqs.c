/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Interrupts of disks: to the I/O threads that submit, kept, put back when nobody needs them, and by restore. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/diff.h"
#include "core/irqs.h"
#include "core/verify.h"
#include "fake_actuator.h"
#include "scene.h"
#include "util/array.h"
#include "util/err.h"

/* A's I/O thread is placed on its own, B floats. Both have a disk on nvme0. */
static const struct scene_domain two[] = {
	{ .name = "A", .vcpus = 2, .iothreads = 1, .queues = 2, .wish = 1 },
	{ .name = "B", .vcpus = 1, .queues = 1, .wish = -1 },
	{ .name = NULL },
};

struct host {
	struct vbmq_snapshot *s;
	struct fake f;
	struct vbmq_part_actuator inner, parts;
	struct vbmq_undo *undo;
	struct vbmq_policy policy;
	struct vbmq_plan *plan;
	struct vbmq_report *report;
	int refuse; /* what moving an interrupt ends with */
	unsigned n_moves;
	bool stays; /* of the last one */
};

static int execute(void *ctx, const struct vbmq_step *step, struct vbmq_err *err)
{
	struct host *h = ctx;

	if (step->op == VBMQ_STEP_MOVE_IRQ) {
		const struct vbmq_irq *irq = vbmq_snapshot_irq(h->s, step->id, step->target);

		assert_non_null(irq);
		/* what is found must be on disk before the touch */
		assert_non_null(vbmq_undo_irq(h->f.saved, irq));
		h->n_moves++;
		h->stays = step->exclusive;
		if (h->refuse)
			return vbmq_err_set(err, h->refuse, "not today");
	}
	return h->inner.ops->execute(h->inner.ctx, step, err);
}

static int observe(void *ctx, const struct vbmq_step *step, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct host *h = ctx;

	return h->inner.ops->observe(h->inner.ctx, step, ret, err);
}

static const struct vbmq_part_actuator_ops ops = { execute, observe };

static void add_irq(struct vbmq_snapshot *s, uint32_t number, const char *name, const char *cpus, const char *on)
{
	struct vbmq_irq *irq = vbmq_array_add(s->irqs, s->n_irqs, 10);

	assert_non_null(irq);
	irq->irq = number;
	strcpy(irq->name, name);
	strcpy(irq->device, "nvme0");
	irq->cpus = scene_cpus(cpus);
	irq->affinity = irq->effective = scene_cpus(on);
}

/* Four CPUs, two hardware queues: 0-1 and 2-3. The interrupts come where nobody wants them. */
static struct vbmq_snapshot *host_of(const struct scene_domain *domains)
{
	static const char devices[1][VBMQ_DEVICE_MAX + 1] = { "nvme0" };
	struct vbmq_snapshot *s = scene_new(1, 4, 1, domains);

	for (size_t i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i]->name, "B") == 0)
			s->domains[i]->wish.enabled = VBMQ_NO;
	add_irq(s, 40, "nvme0q1", "0-1", "3");
	add_irq(s, 41, "nvme0q2", "2-3", "0");
	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < s->domains[i]->n_disks; j++)
			assert_int_equal(vbmq_disk_set_devices(&s->domains[i]->disks[j], devices, 1), 0);
	return s;
}

static void begin(struct host *h, struct vbmq_snapshot *s)
{
	memset(h, 0, sizeof(*h));
	h->s = s;
	vbmq_policy_init(&h->policy);
	h->policy.dedicated = scene_cpus("1");
	fake_init(&h->f, s, NULL, NULL);
	h->inner = vbmq_dryrun_parts(h->f.dry);
	h->parts = (struct vbmq_part_actuator){ &ops, h };
	h->f.apply.parts = &h->parts;
	h->undo = vbmq_undo_new();
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

static int cycle(struct host *h)
{
	struct vbmq_snapshot *now = scene_copy(fake_state(&h->f), h->undo);
	struct vbmq_err err = VBMQ_ERR_INIT;

	vbmq_snapshot_free(h->s);
	h->s = now;
	vbmq_plan_free(h->plan);
	h->report = vbmq_report_free(h->report);
	h->plan = scene_plan(h->s, &h->policy);
	fake_watch(&h->f, h->plan->placement);
	return vbmq_apply_plan(&h->f.apply, h->s, h->plan, h->undo, &h->report, &err);
}

static void gone(struct host *h, const char *name)
{
	struct vbmq_snapshot *now = scene_copy(fake_state(&h->f), NULL);
	struct vbmq_undo *saved = NULL;

	scene_remove(now, name);
	assert_int_equal(vbmq_undo_copy(h->f.saved, &saved), 0);
	fake_done(&h->f);
	fake_init(&h->f, now, NULL, saved);
	vbmq_undo_free(saved);
	vbmq_snapshot_free(now);
	h->inner = vbmq_dryrun_parts(h->f.dry);
	h->f.apply.parts = &h->parts;
}

static void assert_on(const struct host *h, size_t i, const char *cpus)
{
	char *is = vbmq_cpulist_format(&fake_state(&h->f)->irqs[i].affinity);

	assert_string_equal(is, cpus);
	free(is);
}

static size_t n_steps(const struct host *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->plan->n_steps; i++)
		n += h->plan->steps[i].op == VBMQ_STEP_MOVE_IRQ;
	return n;
}

static bool says(const struct host *h, const char *code, const char *text)
{
	const struct vbmq_diags *d = &h->plan->placement->diags;

	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->items[i].code, code) == 0 && strstr(d->items[i].text, text))
			return true;
	return false;
}

static size_t verify(const struct host *h)
{
	struct vbmq_report *report = vbmq_report_new(h->plan);
	size_t n;

	assert_int_equal(vbmq_verify(fake_state(&h->f), h->plan, report, NULL), 0);
	n = report->n_bad_checks;
	vbmq_report_free(report);
	return n;
}

/* Only the interrupt of the queue that the thread's core goes through, and after the thread is there. */
static void test_goes_with_the_thread(void **state)
{
	struct host h;

	begin(&h, host_of(two));
	assert_int_equal(cycle(&h), 0);
	assert_true(vbmq_cpuset_has(&h.plan->placement->dedicated, 1));
	assert_on(&h, 0, "1");
	assert_on(&h, 1, "0");
	assert_true(h.stays);
	assert_int_equal(h.plan->steps[h.plan->n_steps - 1].op, VBMQ_STEP_MOVE_IRQ);
	assert_int_equal(verify(&h), 0);
	assert_int_equal(cycle(&h), 0); /* idempotent */
	assert_int_equal(h.plan->n_steps, 0);
	assert_false(says(&h, VBMQ_DIAG_INTERRUPTS, ""));
	gone(&h, "A");
	assert_int_equal(cycle(&h), 0);
	assert_on(&h, 0, "3");
	assert_false(h.stays);
	assert_int_equal(h.n_moves, 2);
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(n_steps(&h), 0);
	for (size_t i = 0; i < h.undo->n_entries; i++)
		assert_int_not_equal(h.undo->entries[i].kind, VBMQ_UNDO_IRQ);
	end(&h);
}

static void test_cannot_be_moved(void **state)
{
	static const struct {
		enum vbmq_irq_state state;
		enum vbmq_part_state irqbalance;
		bool ban, move;
		const char *why; /* NULL: it is moved */
	} cases[] = {
		{ VBMQ_IRQ_MANAGED, VBMQ_PART_ABSENT, true, true, "The kernel placed it" },
		{ VBMQ_IRQ_FOREIGN, VBMQ_PART_OK, true, true, "Somebody has irqbalance leave it" },
		{ VBMQ_IRQ_MOVABLE, VBMQ_PART_SILENT, true, true, "irqbalance runs and cannot be told" },
		{ VBMQ_IRQ_MOVABLE, VBMQ_PART_OK, false, true, "irqbalance runs and cannot be told" },
		{ VBMQ_IRQ_MOVABLE, VBMQ_PART_ABSENT, true, false, "interrupts=no" },
		{ VBMQ_IRQ_MOVABLE, VBMQ_PART_OK, true, true, NULL },
		{ VBMQ_IRQ_MOVABLE, VBMQ_PART_FOREIGN, true, true, NULL },
		{ VBMQ_IRQ_MOVABLE, VBMQ_PART_ABSENT, false, true, NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vbmq_snapshot *s = host_of(two);
		struct host h;

		s->irqs[0].state = cases[i].state;
		s->host->parts[VBMQ_PART_IRQBALANCE].state = cases[i].irqbalance;
		s->host->parts[VBMQ_PART_IRQBALANCE].pid = cases[i].irqbalance == VBMQ_PART_ABSENT ? 0 : 77;
		begin(&h, s);
		h.policy.ban_irqs = cases[i].ban;
		h.policy.move_irqs = cases[i].move;
		assert_int_equal(cycle(&h), 0);
		assert_on(&h, 0, cases[i].why ? "3" : "1");
		assert_int_equal(n_steps(&h), cases[i].why == NULL);
		assert_int_equal(says(&h, VBMQ_DIAG_INTERRUPTS, cases[i].why ? cases[i].why : ""),
				 cases[i].why != NULL);
		assert_true(vbmq_cpuset_equal(&h.plan->placement->irqs[0].cpus, &h.plan->placement->dedicated));
		assert_int_equal(h.plan->placement->irqs[0].planned, cases[i].why == NULL);
		assert_true(vbmq_cpuset_is_empty(&h.plan->placement->irqs[1].cpus));
		end(&h);
	}
}

/* One that comes on the core already, by itself, is no matter to speak of. */
static void test_managed_and_well(void **state)
{
	struct vbmq_snapshot *s = host_of(two);
	struct host h;

	s->irqs[0].state = VBMQ_IRQ_MANAGED;
	s->irqs[0].affinity = scene_cpus("0-1");
	s->irqs[0].effective = scene_cpus("1");
	begin(&h, s);
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(n_steps(&h), 0);
	assert_false(says(&h, VBMQ_DIAG_INTERRUPTS, ""));
	end(&h);
}

/* Through QEMU's thread pool, or on another device: not its interrupt. */
static void test_not_its_own(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct vbmq_snapshot *s = host_of(two);
		struct host h;

		if (i == 0)
			vbmq_domain_disk(s->domains[0], "vda")->aio_threads = true;
		else
			strcpy(s->irqs[0].device, "nvme1");
		begin(&h, s);
		assert_int_equal(cycle(&h), 0);
		assert_int_equal(n_steps(&h), 0);
		end(&h);
	}
}

static void test_drift(void **state)
{
	struct host h;

	begin(&h, host_of(two));
	assert_int_equal(cycle(&h), 0);
	fake_state(&h.f)->irqs[0].affinity = scene_cpus("2");
	assert_int_equal(verify(&h), 1);
	h.policy.drift = VBMQ_DRIFT_RESPECT;
	assert_int_equal(cycle(&h), 0);
	assert_on(&h, 0, "2");
	assert_true(says(&h, VBMQ_DIAG_DRIFT, "interrupt 40"));
	h.policy.drift = VBMQ_DRIFT_REPAIR;
	assert_int_equal(cycle(&h), 0);
	assert_on(&h, 0, "1");
	/* an irqbalance that is silent has been told before; one that is not to be told may move it, so it goes back */
	fake_state(&h.f)->host->parts[VBMQ_PART_IRQBALANCE] = (struct vbmq_part){ .state = VBMQ_PART_SILENT, .pid = 7 };
	assert_int_equal(cycle(&h), 0);
	assert_int_equal(n_steps(&h), 0);
	h.policy.ban_irqs = false;
	assert_int_equal(cycle(&h), 0);
	assert_on(&h, 0, "3");
	fake_state(&h.f)->host->parts[VBMQ_PART_IRQBALANCE] = (struct vbmq_part){ .state = VBMQ_PART_ABSENT };
	assert_int_equal(cycle(&h), 0);
	assert_on(&h, 0, "1");
	/* switched off: what was found first */
	h.policy.move_irqs = false;
	assert_int_equal(cycle(&h), 0);
	assert_on(&h, 0, "3");
	end(&h);
}

static void test_restore(void **state)
{
	struct vbmq_step *steps = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct host h;
	size_t n = 0;

	begin(&h, host_of(two));
	assert_int_equal(cycle(&h), 0);
	assert_on(&h, 0, "1");
	vbmq_snapshot_free(h.s);
	h.s = scene_copy(fake_state(&h.f), h.undo);
	h.report = vbmq_report_free(h.report);
	fake_release(&h.f, h.s->domains[0]->uuid);
	fake_release(&h.f, h.s->domains[1]->uuid);
	h.f.restoring = true;
	assert_int_equal(
		vbmq_apply_restore(&h.f.apply, h.s, h.s->domains[0]->uuid, h.undo, &steps, &n, &h.report, &err), 0);
	assert_on(&h, 0, "1"); /* of one domain: another one may need it */
	vbmq_steps_free(steps, n);
	h.report = vbmq_report_free(h.report);
	assert_int_equal(vbmq_apply_restore(&h.f.apply, h.s, NULL, h.undo, &steps, &n, &h.report, &err), 0);
	assert_on(&h, 0, "3");
	assert_false(h.stays);
	assert_int_equal(h.undo->n_entries, 0);
	vbmq_steps_free(steps, n);
	end(&h);
}

/* A step that fails is said, keeps no guest from its place, and is tried again; of a device that has gone nothing is kept. */
static void test_failures(void **state)
{
	struct host h;

	begin(&h, host_of(two));
	h.refuse = -EACCES;
	assert_int_equal(cycle(&h), 1);
	assert_true(h.report->host_failed);
	assert_int_equal(h.report->n_domains_failed, 0);
	assert_on(&h, 0, "3");
	assert_non_null(vbmq_undo_irq(h.undo, &h.s->irqs[0]));
	h.refuse = 0;
	assert_int_equal(cycle(&h), 0);
	assert_on(&h, 0, "1");
	assert_int_equal(h.undo->n_entries > 0, 1);
	h.refuse = -ENOENT;
	gone(&h, "A");
	assert_int_equal(cycle(&h), 1);
	assert_null(vbmq_undo_irq(h.undo, &h.s->irqs[0]));
	end(&h);
}

static void test_prune(void **state)
{
	struct vbmq_snapshot *s;
	struct host h;
	size_t n;

	begin(&h, host_of(two));
	assert_int_equal(cycle(&h), 0);
	s = scene_copy(fake_state(&h.f), h.undo);
	n = h.undo->n_entries;
	assert_true(s->irqs[0].held);
	assert_int_equal(vbmq_undo_prune(h.undo, s), 0);
	strcpy(s->irqs[0].name, "nvme7q1"); /* the number is somebody else's now */
	assert_int_equal(vbmq_undo_prune(h.undo, s), 1);
	assert_int_equal(h.undo->n_entries, n - 1);
	vbmq_snapshot_free(s);
	end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_goes_with_the_thread),
		cmocka_unit_test(test_cannot_be_moved),
		cmocka_unit_test(test_managed_and_well),
		cmocka_unit_test(test_not_its_own),
		cmocka_unit_test(test_drift),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_prune),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("irqs", tests, NULL, NULL);
}
