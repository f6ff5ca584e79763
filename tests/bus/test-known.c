/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* After which applies a domain need not be read wholly, and what is taken as known of it then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/known.h"

#define ONE "00000000-0000-0000-0000-000000000001"
#define TWO "00000000-0000-0000-0000-000000000002"

struct world {
	struct vbmqd_manager m;
	struct vbmqd_domain d;
	struct vbmq_thread threads[2];
	char name[4];
	struct vbmq_domain seen;
	struct vbmq_place_domain places[2];
	struct vbmq_placement placement;
	struct vbmq_step steps[3];
	struct vbmq_plan plan;
	struct vbmq_step_result results[3];
	struct vbmq_report report;
};

/* ONE has been pinned and its I/O thread 7 polls anew; TWO has got an I/O thread, which went wrong. */
static void make(struct world *w)
{
	*w = (struct world){
		.name = "one",
		.threads = { { .kind = VBMQ_THREAD_IOTHREAD,
			       .id = 7,
			       .tid = 107,
			       .polling = { .max_ns = 32768, .grow = 2, .shrink = 3, .mode = VBMQ_POLL_ADAPTIVE } },
			     { .kind = VBMQ_THREAD_IOTHREAD, .id = 8, .polling = { .max_ns = 8 } } },
		.steps = { { .op = VBMQ_STEP_PIN, .domain = 0, .kind = VBMQ_THREAD_IOTHREAD, .id = 7 },
			   { .op = VBMQ_STEP_SET_POLLING,
			     .domain = 0,
			     .id = 7,
			     .polling = { .max_ns = 500000, .grow = 1000, .shrink = 1, .mode = VBMQ_POLL_UNSAID } },
			   { .op = VBMQ_STEP_ADD_IOTHREAD, .domain = 1, .id = 1 } },
		.results = { { .outcome = VBMQ_OUTCOME_DONE },
			     { .outcome = VBMQ_OUTCOME_DONE },
			     { .outcome = VBMQ_OUTCOME_FAILED } },
	};
	w->seen = (struct vbmq_domain){ .name = w->name, .uuid = ONE, .threads = w->threads, .n_threads = 2 };
	strcpy(w->places[0].uuid, ONE);
	strcpy(w->places[1].uuid, TWO);
	w->placement.domains = w->places;
	w->placement.n_domains = 2;
	w->plan = (struct vbmq_plan){ .placement = &w->placement, .steps = w->steps, .n_steps = 3 };
	w->report = (struct vbmq_report){ .results = w->results, .n_results = 3 };
	w->m.plan = &w->plan;
	w->m.cycle.report = &w->report;
	w->d = (struct vbmqd_domain){ .uuid = ONE, .seen = &w->seen, .touched = true };
}

static void test_pins_and_polling(void **state)
{
	struct vbmq_domain *known;
	struct world w;

	make(&w);
	known = vbmqd_known_after_apply(&w.m, &w.d);
	assert_non_null(known);
	assert_int_equal(known->threads[0].tid, 107);
	assert_int_equal(known->threads[0].polling.max_ns, 500000);
	assert_int_equal(known->threads[0].polling.grow, 1000);
	assert_int_equal(known->threads[0].polling.shrink, 1);
	assert_int_equal(known->threads[0].polling.mode, VBMQ_POLL_ADAPTIVE); /* what was not set stays */
	assert_int_equal(known->threads[1].polling.max_ns, 8);
	assert_int_equal(w.threads[0].polling.max_ns, 32768); /* a copy */
	vbmq_domain_free(known);
	w.steps[1].polling.max_ns = UINT64_MAX;
	known = vbmqd_known_after_apply(&w.m, &w.d);
	assert_non_null(known);
	assert_int_equal(known->threads[0].polling.max_ns, 32768);
	vbmq_domain_free(known);
}

static void test_everything_else_is_read(void **state)
{
	static const enum vbmq_step_op ops[] = { VBMQ_STEP_ADD_IOTHREAD, VBMQ_STEP_MAP_QUEUES, VBMQ_STEP_DEL_IOTHREAD };
	static const enum vbmq_outcome outcomes[] = { VBMQ_OUTCOME_PENDING, VBMQ_OUTCOME_FAILED, VBMQ_OUTCOME_SKIPPED,
						      VBMQ_OUTCOME_UNDONE, VBMQ_OUTCOME_UNDO_FAILED };
	struct world w;

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		make(&w);
		w.steps[1].op = ops[i];
		assert_null(vbmqd_known_after_apply(&w.m, &w.d));
	}
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
		make(&w);
		w.results[0].outcome = outcomes[i];
		assert_null(vbmqd_known_after_apply(&w.m, &w.d));
	}
	make(&w);
	w.d.touched = false;
	assert_null(vbmqd_known_after_apply(&w.m, &w.d));
	make(&w);
	w.d.seen = NULL;
	assert_null(vbmqd_known_after_apply(&w.m, &w.d));
	make(&w);
	strcpy(w.d.uuid, TWO);
	assert_null(vbmqd_known_after_apply(&w.m, &w.d));
}

/* An event that is no pin since it was read: a disk, a reboot of the guest. A pin is read in any case. */
static void test_events(void **state)
{
	struct vbmq_domain *known;
	struct world w;

	make(&w);
	vbmqd_domain_tuned(&w.d);
	known = vbmqd_known_after_apply(&w.m, &w.d);
	assert_non_null(known);
	vbmq_domain_free(known);
	vbmqd_domain_mark(&w.d);
	assert_null(vbmqd_known_after_apply(&w.m, &w.d));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pins_and_polling),
		cmocka_unit_test(test_everything_else_is_read),
		cmocka_unit_test(test_events),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
