/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The undo record: keys and order, instances, what a touch notes, what a snapshot gets laid over, what is pruned. */

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
#include "core/undo.h"
#include "util/err.h"

#define UUID "11111111-1111-4111-8111-111111111111"

/* One guest with a vCPU, I/O thread 1 and a worker of its own on a host of four CPUs. */
static struct vbmq_snapshot *make(void)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_domain *d = vbmq_domain_new();
	static const struct vbmq_thread threads[] = {
		{ .kind = VBMQ_THREAD_VCPU, .id = 0, .tid = 101, .start = 11 },
		{ .kind = VBMQ_THREAD_IOTHREAD, .id = 1, .tid = 102, .start = 12, .has_pin = true },
		{ .kind = VBMQ_THREAD_EMULATOR, .id = 0, .tid = 100, .start = 10 },
	};

	s->host = vbmq_host_new();
	s->host->cores = calloc(4, sizeof(*s->host->cores));
	s->host->l3s = calloc(1, sizeof(*s->host->l3s));
	s->host->nodes = calloc(1, sizeof(*s->host->nodes));
	s->host->n_cores = 4;
	s->host->n_l3s = s->host->n_nodes = 1;
	vbmq_cpuset_add_range(&s->host->online, 0, 3);
	s->host->allowed = s->host->l3s[0].cpus = s->host->nodes[0].cpus = s->host->online;
	for (unsigned i = 0; i < 4; i++)
		vbmq_cpuset_add(&s->host->cores[i].cpus, i);
	assert_int_equal(vbmq_host_finish(s->host, NULL), 0);
	d->name = strdup("g");
	memcpy(d->uuid, UUID, sizeof(d->uuid));
	d->pid = 100;
	d->state = VBMQ_DOMAIN_RUNNING;
	d->n_vcpus = 1;
	d->threads = calloc(3, sizeof(*d->threads));
	memcpy(d->threads, threads, sizeof(threads));
	d->n_threads = 3;
	for (int i = 0; i < 3; i++)
		vbmq_cpuset_add_range(&d->threads[i].affinity, 0, 3);
	vbmq_cpuset_add(&d->threads[1].pin, 2);
	d->odd_tasks = calloc(1, sizeof(*d->odd_tasks));
	d->odd_tasks[0] = (struct vbmq_odd_task){ 105, 15, vbmq_cpuset_of(3) };
	d->n_odd_tasks = 1;
	d->disks = calloc(1, sizeof(*d->disks));
	d->n_disks = 1;
	memcpy(d->disks[0].target, "vda", 4);
	d->disks[0].queues = calloc(2, sizeof(struct vbmq_queue));
	d->disks[0].n_queues = 2;
	d->disks[0].queues[1].iothread = 1;
	assert_int_equal(vbmq_snapshot_add(s, d, NULL), 0);
	assert_int_equal(vbmq_snapshot_finish(s, NULL), 0);
	return s;
}

static void note_pin(struct vbmq_undo *u, const struct vbmq_snapshot *s, enum vbmq_thread_kind kind, uint32_t id,
		     unsigned cpu, bool exclusive)
{
	struct vbmq_cpuset cpus = vbmq_cpuset_of(cpu);
	struct vbmq_step step = { .op = VBMQ_STEP_PIN, .kind = kind, .id = id, .cpus = &cpus, .exclusive = exclusive };

	assert_int_equal(vbmq_undo_note(u, s, &step), 0);
}

static void test_sorted(void **state)
{
	static const char *const uuids[] = { "b", "a", "c" };
	struct vbmq_undo *u = vbmq_undo_new(), *copy = NULL;
	bool is_new = false;

	for (size_t n = 0; n < 300; n++) {
		/* a fixed scramble of 3 x 5 x 20 keys */
		size_t k = n * 77 % 300;
		struct vbmq_undo_entry *e =
			vbmq_undo_entry(u, (enum vbmq_undo_kind)(k / 3 % 5), uuids[k % 3], VBMQ_THREAD_IOTHREAD, 1,
					(uint32_t)(k / 15), "vda", &is_new);

		assert_non_null(e);
		assert_true(is_new);
		e->start = k;
	}
	assert_int_equal(u->n_entries, 300);
	for (size_t k = 0; k < 300; k++) {
		const struct vbmq_undo_entry *e = vbmq_undo_find(u, (enum vbmq_undo_kind)(k / 3 % 5), uuids[k % 3],
								 VBMQ_THREAD_IOTHREAD, 1, (uint32_t)(k / 15), "vda");

		assert_non_null(e);
		assert_int_equal(e->start, k);
	}
	for (size_t i = 1; i < u->n_entries; i++)
		assert_true(strcmp(u->entries[i - 1].uuid, u->entries[i].uuid) <= 0);
	assert_int_equal(vbmq_undo_copy(u, &copy), 0);
	while (copy->n_entries)
		vbmq_undo_drop(copy, &copy->entries[copy->n_entries / 2]);
	assert_int_equal(u->n_entries, 300);
	vbmq_undo_free(copy);
	vbmq_undo_free(u);
}

static void test_first_touch_counts(void **state)
{
	struct vbmq_snapshot *s = make();
	struct vbmq_undo *u = vbmq_undo_new();
	struct vbmq_domain *d = s->domains[0];
	const struct vbmq_undo_entry *e;

	note_pin(u, s, VBMQ_THREAD_IOTHREAD, 1, 1, true);
	d->threads[1].affinity = vbmq_cpuset_of(1);
	d->threads[1].has_pin = false;
	note_pin(u, s, VBMQ_THREAD_IOTHREAD, 1, 2, false);
	assert_int_equal(u->n_entries, 1);
	e = vbmq_undo_affinity(u, d, &d->threads[1]);
	assert_non_null(e);
	assert_int_equal(vbmq_cpuset_count(&e->found), 4);
	assert_true(e->had_pin && vbmq_cpuset_has(&e->pin, 2));
	assert_true(vbmq_cpuset_has(&e->applied, 2) && !e->exclusive && !e->settled);

	/* another thread has its number now: what the first one had is no answer any more */
	d->threads[1].start = 99;
	assert_null(vbmq_undo_affinity(u, d, &d->threads[1]));
	note_pin(u, s, VBMQ_THREAD_IOTHREAD, 1, 3, false);
	assert_int_equal(u->n_entries, 1);
	e = vbmq_undo_affinity(u, d, &d->threads[1]);
	assert_int_equal(e->start, 99);
	assert_true(vbmq_cpuset_equal(&e->found, &d->threads[1].affinity));
	vbmq_undo_free(u);
	vbmq_snapshot_free(s);
}

static void test_emulator_notes_workers(void **state)
{
	struct vbmq_snapshot *s = make();
	struct vbmq_undo *u = vbmq_undo_new();

	note_pin(u, s, VBMQ_THREAD_EMULATOR, 0, 1, false);
	assert_int_equal(u->n_entries, 2);
	assert_int_equal(u->entries[1].kind, VBMQ_UNDO_TASK);
	assert_int_equal(u->entries[1].tid, 105);
	assert_true(vbmq_cpuset_has(&u->entries[1].found, 3));
	/* at a second touch they stand where the first one put them */
	s->domains[0]->odd_tasks[0].affinity = vbmq_cpuset_of(0);
	note_pin(u, s, VBMQ_THREAD_EMULATOR, 0, 2, false);
	assert_int_equal(u->n_entries, 2);
	assert_true(vbmq_cpuset_has(&u->entries[1].found, 3));
	/* the guest was restarted */
	for (size_t i = 0; i < 3; i++)
		s->domains[0]->threads[i].start += 1000;
	s->domains[0]->n_odd_tasks = 0;
	note_pin(u, s, VBMQ_THREAD_EMULATOR, 0, 2, false);
	assert_int_equal(u->n_entries, 1);
	vbmq_undo_free(u);
	vbmq_snapshot_free(s);
}

static void test_added(void **state)
{
	struct vbmq_snapshot *s = make();
	struct vbmq_undo *u = vbmq_undo_new();
	struct vbmq_domain *d = s->domains[0];
	struct vbmq_step add = { .op = VBMQ_STEP_ADD_IOTHREAD, .id = 2 };
	struct vbmq_step *steps = NULL;
	size_t n = 0;

	/* a thread that is there is not ours, whatever the step says */
	add.id = 1;
	assert_int_equal(vbmq_undo_note(u, s, &add), 0);
	assert_int_equal(u->n_entries, 0);
	add.id = 2;
	assert_int_equal(vbmq_undo_note(u, s, &add), 0);
	note_pin(u, s, VBMQ_THREAD_IOTHREAD, 2, 3, true);
	assert_true(vbmq_undo_added(u, d, 2));
	assert_false(vbmq_undo_added(u, d, 1));
	assert_int_equal(u->n_entries, 2);

	/* the next snapshot has it */
	d->threads = realloc(d->threads, 4 * sizeof(*d->threads));
	d->threads[3] = d->threads[2];
	d->threads[2] = (struct vbmq_thread){ .kind = VBMQ_THREAD_IOTHREAD, .id = 2, .tid = 107, .start = 17 };
	d->threads[2].affinity = vbmq_cpuset_of(3);
	d->n_threads = 4;
	vbmq_undo_overlay(u, s);
	assert_true(d->threads[2].added && d->threads[2].held && !d->threads[2].has_pin);
	assert_false(d->threads[1].added || d->threads[1].held);
	assert_int_equal(vbmq_undo_prune(u, s), 0);
	assert_int_equal(vbmq_undo_steps(u, s, NULL, &steps, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_int_equal(steps[0].op, VBMQ_STEP_DEL_IOTHREAD);
	vbmq_steps_free(steps, n);

	/* the same guest, restarted, with an I/O thread 2 of its owner's */
	d->threads[3].start = 99;
	assert_false(vbmq_undo_added(u, d, 2));
	assert_int_equal(vbmq_undo_prune(u, s), 2);
	assert_int_equal(u->n_entries, 0);
	vbmq_undo_free(u);
	vbmq_snapshot_free(s);
}

static void test_overlay_unsettled(void **state)
{
	struct vbmq_snapshot *s = make();
	struct vbmq_undo *u = vbmq_undo_new();
	struct vbmq_thread *t = &s->domains[0]->threads[1];

	note_pin(u, s, VBMQ_THREAD_IOTHREAD, 1, 1, true);
	t->affinity = vbmq_cpuset_of(2);
	t->has_pin = false;
	vbmq_undo_overlay(u, s);
	assert_true(t->held && t->has_pin && vbmq_cpuset_has(&t->pin, 2));
	assert_true(vbmq_cpuset_equal(&t->applied, &t->affinity)); /* we may have been on the way: no drift */
	u->entries[0].settled = true;
	vbmq_undo_overlay(u, s);
	assert_true(vbmq_cpuset_has(&t->applied, 1)); /* somebody else moved it */
	vbmq_undo_free(u);
	vbmq_snapshot_free(s);
}

/* A map that we set is known as ours, in the instance in which we set it, once the apply is over. */
static void test_overlay_map(void **state)
{
	struct vbmq_snapshot *s = make();
	struct vbmq_undo *u = vbmq_undo_new();
	struct vbmq_domain *d = s->domains[0];
	struct vbmq_disk *disk = &d->disks[0];
	struct vbmq_step map = { .op = VBMQ_STEP_MAP_QUEUES, .target = "vda" };

	assert_int_equal(vbmq_undo_note(u, s, &map), 0);
	vbmq_undo_overlay(u, s);
	assert_false(disk->held); /* it may have been us */
	u->entries[0].applied_map[0] = 1;
	u->entries[0].settled = true;
	vbmq_undo_overlay(u, s);
	assert_true(disk->held);
	assert_int_equal(disk->queues[0].applied, 1);
	assert_int_equal(disk->queues[1].applied, 0);
	assert_true(vbmq_disk_drifted(disk)); /* queue 1 is on I/O thread 1 */
	disk->queues[1].iothread = 0;
	assert_false(vbmq_disk_drifted(disk)); /* reset */
	disk->queues[0].iothread = 1;
	assert_false(vbmq_disk_drifted(disk)); /* as we set it */
	disk->queues[0].iothread = 2;
	assert_true(vbmq_disk_drifted(disk));

	assert_int_equal(vbmq_undo_note(u, s, &map), 0); /* the next apply begins */
	assert_int_equal(u->n_entries, 1);
	assert_int_equal(u->entries[0].map[1], 1);
	vbmq_undo_overlay(u, s);
	assert_false(disk->held);
	u->entries[0].settled = true;
	d->threads[2].start = 99; /* another QEMU */
	vbmq_undo_overlay(u, s);
	assert_false(disk->held);
	vbmq_undo_free(u);
	vbmq_snapshot_free(s);
}

static void test_prune(void **state)
{
	struct vbmq_snapshot *s = make();
	struct vbmq_undo *u = vbmq_undo_new();
	struct vbmq_domain *d = s->domains[0];
	struct vbmq_step map = { .op = VBMQ_STEP_MAP_QUEUES, .target = "vda" };
	struct vbmq_step polling = { .op = VBMQ_STEP_SET_POLLING, .id = 1 };

	note_pin(u, s, VBMQ_THREAD_EMULATOR, 0, 1, false);
	note_pin(u, s, VBMQ_THREAD_IOTHREAD, 1, 1, true);
	assert_int_equal(vbmq_undo_note(u, s, &map), 0);
	assert_int_equal(vbmq_undo_note(u, s, &polling), 0);
	assert_int_equal(u->n_entries, 5);
	assert_int_equal(vbmq_undo_prune(u, s), 0);
	/* a guest that did not answer may have shown less than it has */
	d->responsive = false;
	d->n_disks = 0;
	assert_int_equal(vbmq_undo_prune(u, s), 0);
	d->responsive = true;
	assert_int_equal(vbmq_undo_prune(u, s), 1);
	d->n_disks = 1;
	d->threads[1].tid = 999;
	assert_int_equal(vbmq_undo_prune(u, s), 2);
	d->threads[2].start = 999;
	assert_int_equal(vbmq_undo_prune(u, s), 2);
	assert_int_equal(u->n_entries, 0);
	vbmq_undo_free(u);
	vbmq_snapshot_free(s);
}

/* maps, polling, threads with a place of their own, others, workers: in this order, and only what differs */
static void test_order_of_steps(void **state)
{
	struct vbmq_snapshot *s = make();
	struct vbmq_undo *u = vbmq_undo_new();
	struct vbmq_domain *d = s->domains[0];
	struct vbmq_step map = { .op = VBMQ_STEP_MAP_QUEUES, .target = "vda" };
	struct vbmq_step polling = { .op = VBMQ_STEP_SET_POLLING, .id = 1 };
	struct vbmq_step *steps = NULL;
	size_t n = 0;

	note_pin(u, s, VBMQ_THREAD_EMULATOR, 0, 1, false);
	note_pin(u, s, VBMQ_THREAD_VCPU, 0, 1, false);
	note_pin(u, s, VBMQ_THREAD_IOTHREAD, 1, 0, true);
	assert_int_equal(vbmq_undo_note(u, s, &map), 0);
	assert_int_equal(vbmq_undo_note(u, s, &polling), 0);
	assert_int_equal(vbmq_undo_steps(u, s, NULL, &steps, &n, NULL), 0);
	assert_int_equal(n, 0);
	vbmq_steps_free(steps, n);
	for (size_t i = 0; i < 3; i++)
		d->threads[i].affinity = vbmq_cpuset_of(i == 1 ? 0 : 1);
	d->threads[1].polling.max_ns = 5;
	d->disks[0].queues[0].iothread = 1;
	assert_int_equal(vbmq_undo_steps(u, s, NULL, &steps, &n, NULL), 0);
	assert_int_equal(n, 6);
	assert_int_equal(steps[0].op, VBMQ_STEP_MAP_QUEUES);
	assert_int_equal(steps[0].map[0], 0);
	assert_int_equal(steps[1].op, VBMQ_STEP_SET_POLLING);
	assert_int_equal(steps[2].kind, VBMQ_THREAD_IOTHREAD);
	assert_int_equal(steps[3].kind, VBMQ_THREAD_VCPU);
	assert_int_equal(steps[4].kind, VBMQ_THREAD_EMULATOR);
	assert_int_equal(steps[4].tid, 0);
	assert_int_equal(steps[5].tid, 105);
	vbmq_steps_free(steps, n);
	vbmq_undo_free(u);
	vbmq_snapshot_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sorted),
		cmocka_unit_test(test_first_touch_counts),
		cmocka_unit_test(test_emulator_notes_workers),
		cmocka_unit_test(test_added),
		cmocka_unit_test(test_overlay_unsettled),
		cmocka_unit_test(test_overlay_map),
		cmocka_unit_test(test_prune),
		cmocka_unit_test(test_order_of_steps),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
