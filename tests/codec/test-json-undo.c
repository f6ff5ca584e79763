/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attack.h"
#include "codec/json_undo.h"
#include "models.h"
#include "util/cleanup.h"

static int parse(const char *text, size_t len, char **ret_again, struct vbmq_err *err)
{
	struct vbmq_undo *u = NULL;
	int r = vbmq_undo_parse("doc", text, len, &u, err);

	if (r < 0) {
		assert_null(u);
		return r;
	}
	assert_int_equal(vbmq_undo_format(u, ret_again, NULL), 0);
	vbmq_undo_free(u);
	return 0;
}

static char *model_text(void)
{
	struct vbmq_undo *u = model_undo();
	char *text = NULL;

	assert_int_equal(vbmq_undo_format(u, &text, NULL), 0);
	vbmq_undo_free(u);
	return text;
}

static void test_round_trip(void **state)
{
	_cleanup_free_ char *text = model_text();
	struct vbmq_undo *a = model_undo(), *b = NULL;

	attack_round_trip(parse, text);
	assert_int_equal(vbmq_undo_parse("doc", text, strlen(text), &b, NULL), 0);
	assert_int_equal(a->n_entries, 7);
	assert_int_equal(b->n_entries, 7);
	for (size_t i = 0; i < 7; i++) {
		struct vbmq_undo_entry x = a->entries[i], y = b->entries[i];

		assert_string_equal(x.name ? x.name : "", y.name ? y.name : "");
		assert_int_equal(x.n_map, y.n_map);
		if (x.n_map > 0)
			assert_memory_equal(x.map, y.map, x.n_map * sizeof(*x.map));
		if (x.n_map > 0)
			assert_memory_equal(x.applied_map, y.applied_map, x.n_map * sizeof(*x.applied_map));
		assert_int_equal(x.kind, y.kind);
		assert_string_equal(x.uuid, y.uuid);
		assert_int_equal(x.thread, y.thread);
		assert_int_equal(x.id, y.id);
		assert_int_equal(x.tid, y.tid);
		assert_int_equal(x.start, y.start);
		assert_true(vbmq_cpuset_equal(&x.found, &y.found));
		assert_int_equal(x.had_pin, y.had_pin);
		assert_true(vbmq_cpuset_equal(&x.pin, &y.pin));
		assert_true(vbmq_cpuset_equal(&x.applied, &y.applied));
		assert_int_equal(x.exclusive, y.exclusive);
		assert_int_equal(x.settled, y.settled);
		assert_string_equal(x.target, y.target);
		if (x.kind == VBMQ_UNDO_POLLING)
			assert_memory_equal(&x.polling, &y.polling, sizeof(x.polling));
	}
	vbmq_undo_free(a);
	vbmq_undo_free(b);
}

static void test_empty(void **state)
{
	attack_round_trip(parse, "{\n  \"entries\": [],\n  \"schema\": \"vbmq-undo/1\"\n}\n");
}

/* Entries in any order come out in theirs. */
static void test_order(void **state)
{
	static const char first[] = "{\"kind\":\"added\",\"id\":1,\"name\":\"a\",\"start\":1,\"tid\":1,"
				    "\"uuid\":\"00000000-0000-4000-8000-000000000001\"}",
			  second[] = "{\"kind\":\"added\",\"id\":2,\"name\":\"a\",\"start\":1,\"tid\":1,"
				     "\"uuid\":\"00000000-0000-4000-8000-000000000001\"}";
	char a[1000], b[1000], *x = NULL, *y = NULL;
	struct vbmq_err err;

	snprintf(a, sizeof(a), "{\"schema\":\"vbmq-undo/1\",\"entries\":[%s,%s]}", first, second);
	snprintf(b, sizeof(b), "{\"schema\":\"vbmq-undo/1\",\"entries\":[%s,%s]}", second, first);
	assert_int_equal(attack_one(parse, a, strlen(a), &x, &err), 0);
	assert_int_equal(attack_one(parse, b, strlen(b), &y, &err), 0);
	assert_string_equal(x, y);
	free(x);
	free(y);
	snprintf(a, sizeof(a), "{\"schema\":\"vbmq-undo/1\",\"entries\":[%s,%s]}", first, first);
	assert_int_equal(attack_one(parse, a, strlen(a), NULL, &err), -EINVAL);
	assert_string_equal(err.text, "doc: entries[1]: the thing it speaks of has an entry already");
}

static void test_cuts_and_flips(void **state)
{
	_cleanup_free_ char *text = model_text();

	attack_cuts(parse, text);
	assert_in_range(attack_flips(parse, text, 4000), 1000, 3999);
}

static void test_errors(void **state)
{
	static const struct attack_case cases[] = {
		{ "vbmq-undo/1", "vbmq-undo/3", "doc: schema: \"vbmq-undo/3\" where \"vbmq-undo/1\" is expected" },
		{ "\"kind\": \"added\"", "\"kind\": \"gone\"", "entries[3].kind: \"gone\" is none of: affinity, task" },
		{ "\"kind\": \"added\"", "\"kind\": \"polling\"", NULL },
		{ "\"kind\": \"added\"", "\"kind\": \"map\"", "entries[3]: key \"target\" is missing" },
		{ "\"kind\": \"task\"", "\"kind\": \"added\"", "entries[2]: key \"id\" is missing" },
		{ "\"settled\": true,", "", "entries[0]: key \"settled\" is missing" },
		{ "\"settled\": true", "\"settled\": 1", "entries[0].settled: is an integer, not a boolean" },
		{ "\"thread\": \"iothread\"", "\"thread\": \"cpu\"", "entries[4].thread: \"cpu\" is none of" },
		{ "\"pin\": \"1-2\"", "\"pin\": \"2-1\"", "entries[4].pin: " },
		{ "\"pin\": \"1-2\",", "", NULL },
		{ "\"start\": 987654321", "\"start\": 0.5", "entries[0].start: is a number with a fraction" },
		{ "\"map\": [", "\"map\": [-1,", "entries[6].map[0]: -1 is outside 0..4294967295" },
		{ "\"map\": [", "\"map\": [1,", "entries[6].applied: has not as many queues as \"map\"" },
		{ "\"applied\": [", "\"applied\": [[],", "entries[6].applied: has not as many queues as \"map\"" },
		{ "\"part\": \"irqbalance\"", "\"part\": \"cron\"", "entries[0].part: \"cron\" is none of" },
		{ "\"part\": \"irqbalance\"", "\"uuid\": \"irqbalance\"", "entries[0]: key \"part\" is missing" },
		{ "\"name\": \"nvme0q1\"", "\"name\": \"..\"", "entries[1].name: is no name of an interrupt" },
		{ "\"name\": \"nvme0q1\"", "\"name\": \"a/b\"", "entries[1].name: is no name of an interrupt" },
		{ "\"irq\": 3", "\"irq\": -1", "entries[1].irq: -1 is outside 0..2147483647" },
		{ "\"target\": \"vda\"", "\"target\": 1", "entries[6].target: is an integer, not a string" },
	};
	_cleanup_free_ char *text = model_text();

	attack_replace(parse, text, cases, VBMQ_ELEMENTSOF(cases));
}

static int format_and_parse(void *data, struct vbmq_err *err)
{
	struct vbmq_undo *again;
	char *text;
	int r = vbmq_undo_format(data, &text, err);

	if (r < 0)
		return r;
	r = vbmq_undo_parse("doc", text, strlen(text), &again, err);
	free(text);
	if (r == 0)
		vbmq_undo_free(again);
	return r;
}

static void test_memory(void **state)
{
	struct vbmq_undo *u = model_undo();

	attack_memory(format_and_parse, u);
	vbmq_undo_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_empty),  cmocka_unit_test(test_order),
		cmocka_unit_test(test_cuts_and_flips), cmocka_unit_test(test_errors), cmocka_unit_test(test_memory),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("json-undo", tests, NULL, NULL);
}
