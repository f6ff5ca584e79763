/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two samples, and what they say about the time between. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/stats.h"
#include "util/array.h"

#define SECOND UINT64_C(1000000000)

static void test_queue(void **state)
{
	const struct vbmq_stats_queue before = { .counts = true,
						 .requests = 1000,
						 .kicks = 900,
						 .poll_hits = 50,
						 .interrupts = 500 },
				      after = { .counts = true,
						.requests = 5000,
						.kicks = 902,
						.poll_hits = 4050,
						.interrupts = 2500,
						.in_flight = 7 };
	struct vbmq_queue_rates r = vbmq_queue_rates(&before, &after, 2 * SECOND);

	assert_true(r.counts);
	assert_int_equal(r.requests, 4000);
	assert_int_equal(r.per_second, 2000);
	assert_int_equal(r.kicks, 1); /* 2 in 4000: 0.5 thousandths, rounded */
	assert_int_equal(r.poll_hits, 1000);
	assert_int_equal(r.interrupts, 500);
	r = vbmq_queue_rates(&before, &after, 0);
	assert_int_equal(r.per_second, 0);
}

static void test_queue_idle(void **state)
{
	const struct vbmq_stats_queue before = { .counts = true, .requests = 10, .kicks = 3 },
				      after = { .counts = true, .requests = 10, .kicks = 5 }, none = { .kicks = 7 };
	struct vbmq_queue_rates r = vbmq_queue_rates(&before, &after, SECOND);

	assert_true(r.counts);
	assert_int_equal(r.requests, 0);
	assert_int_equal(r.per_second, 0);
	assert_int_equal(r.kicks, 2000); /* two for nothing */
	assert_false(vbmq_queue_rates(NULL, &after, SECOND).counts);
	assert_false(vbmq_queue_rates(&none, &after, SECOND).counts);
	assert_false(vbmq_queue_rates(&before, &none, SECOND).counts);
}

/* A device that was made anew counts from 0; counters may be as large as they like. */
static void test_queue_extremes(void **state)
{
	const struct vbmq_stats_queue before = { .counts = true, .requests = 1000000 },
				      after = { .counts = true, .requests = 300 },
				      huge = { .counts = true, .requests = UINT64_MAX, .kicks = UINT64_MAX },
				      zero = { .counts = true };
	struct vbmq_queue_rates r = vbmq_queue_rates(&before, &after, SECOND);

	assert_int_equal(r.requests, 300);
	assert_int_equal(r.per_second, 300);
	r = vbmq_queue_rates(&zero, &huge, 1);
	assert_true(r.per_second == UINT64_MAX);
	assert_in_range(r.kicks, 999, 1001);
	r = vbmq_queue_rates(&zero, &huge, UINT64_MAX);
	assert_in_range(r.per_second, SECOND - 2, SECOND + 2);
}

static void test_thread(void **state)
{
	const struct vbmq_stats_thread before = { .runs = true, .counts = true, .run_ns = 5, .poll_hits = 10 },
				       after = { .runs = true,
						 .counts = true,
						 .run_ns = 5 + SECOND / 2,
						 .wait_ns = SECOND / 10,
						 .busy_ns = SECOND / 4,
						 .poll_ns = SECOND / 5,
						 .blocked_ns = 9 * SECOND,
						 .poll_hits = 40,
						 .poll_misses = 90 };
	struct vbmq_thread_rates r = vbmq_thread_rates(&before, &after, SECOND);

	assert_true(r.runs);
	assert_true(r.counts);
	assert_int_equal(r.run, 500);
	assert_int_equal(r.wait, 100);
	assert_int_equal(r.busy, 250);
	assert_int_equal(r.poll, 200);
	assert_int_equal(r.blocked, 1000); /* never more than all of the time */
	assert_int_equal(r.poll_success, 250);
	r = vbmq_thread_rates(NULL, &after, SECOND);
	assert_false(r.runs);
	assert_false(r.counts);
	r = vbmq_thread_rates(&before, &before, SECOND);
	assert_int_equal(r.poll_success, 0);
}

static void add_thread(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id, uint32_t tid)
{
	struct vbmq_thread *t = vbmq_array_add(d->threads, d->n_threads, 10);

	assert_non_null(t);
	t->kind = kind;
	t->id = id;
	t->tid = tid;
	t->polling.max_ns = id;
}

static void test_new(void **state)
{
	struct vbmq_domain *d = vbmq_domain_new();
	struct vbmq_stats *s = NULL;
	struct vbmq_disk *disk;

	assert_non_null(d);
	d->name = strdup("db1");
	strcpy(d->uuid, "00000000-0000-4000-8000-000000000001");
	d->id = 7;
	add_thread(d, VBMQ_THREAD_VCPU, 0, 100);
	add_thread(d, VBMQ_THREAD_IOTHREAD, 1, 101);
	add_thread(d, VBMQ_THREAD_IOTHREAD, 3, 103);
	add_thread(d, VBMQ_THREAD_EMULATOR, 0, 99);
	disk = vbmq_array_add(d->disks, d->n_disks, 10);
	assert_non_null(disk);
	strcpy(disk->target, "vda");
	disk->started = true;
	disk->n_queues = 2;
	disk->queues = calloc(2, sizeof(*disk->queues));
	disk->queues[1].iothread = 3;
	disk->queues[1].vcpus_exact = true;
	vbmq_cpuset_add(&disk->queues[1].vcpus, 5);

	assert_int_equal(vbmq_stats_new(d, &s), 0);
	vbmq_domain_free(d);
	assert_string_equal(s->name, "db1");
	assert_int_equal(s->id, 7);
	assert_int_equal(s->n_threads, 3);
	assert_int_equal(s->threads[0].id, 0);
	assert_int_equal(s->threads[0].tid, 99);
	assert_true(s->threads[0].polling.max_ns == UINT64_MAX);
	assert_int_equal(s->threads[2].id, 3);
	assert_int_equal(s->threads[2].polling.max_ns, 3);
	assert_int_equal(s->n_disks, 1);
	assert_true(s->disks[0].started);
	assert_int_equal(s->disks[0].queues[1].iothread, 3);
	assert_true(s->disks[0].queues[1].vcpus_exact);
	assert_true(vbmq_cpuset_has(&s->disks[0].queues[1].vcpus, 5));
	assert_ptr_equal(vbmq_stats_thread(s, 3, 103), &s->threads[2]);
	assert_null(vbmq_stats_thread(s, 3, 104)); /* another one of that number */
	assert_null(vbmq_stats_thread(NULL, 3, 103));
	assert_ptr_equal(vbmq_stats_queue(s, "vda", 1), &s->disks[0].queues[1]);
	assert_null(vbmq_stats_queue(s, "vda", 2));
	assert_null(vbmq_stats_queue(s, "vdb", 0));
	assert_null(vbmq_stats_free(s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queue),  cmocka_unit_test(test_queue_idle), cmocka_unit_test(test_queue_extremes),
		cmocka_unit_test(test_thread), cmocka_unit_test(test_new),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
