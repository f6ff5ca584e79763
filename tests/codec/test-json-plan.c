/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan document, and the explain and report documents that are only written. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "attack.h"
#include "codec/json_plan.h"
#include "models.h"
#include "util/cleanup.h"

static int parse(const char *text, size_t len, char **ret_again, struct vbmq_err *err)
{
	struct vbmq_plan *p = NULL;
	int r = vbmq_plan_parse("doc", text, len, &p, err);

	if (r < 0) {
		assert_null(p);
		return r;
	}
	assert_int_equal(vbmq_plan_format(p, NULL, false, ret_again, NULL), 0);
	vbmq_plan_free(p);
	return 0;
}

static char *model_text(bool pretty)
{
	struct vbmq_plan *p = model_plan();
	char *text = NULL;

	assert_int_equal(vbmq_plan_format(p, NULL, pretty, &text, NULL), 0);
	vbmq_plan_free(p);
	return text;
}

/* The document of DESIGN 7.2: keys in this order. */
static void test_design(void **state)
{
	static const char start[] =
		"{\"schema\":\"vbmq-plan/1\",\"plan_id\":\"0123456789abcdef0123456789abcdef\","
		"\"host\":{\"cpus\":\"0-7\",\"shared\":\"0-1,4-5\",\"dedicated\":\"2-3,6\","
		"\"parts\":{\"system.slice\":\"\",\"irqbalance\":\"6\"},"
		"\"irqs\":[{\"irq\":40,\"name\":\"nvme0q1\",\"device\":\"nvme0\",\"state\":\"movable\",\"cpus\":\"2\","
		"\"on\":\"\"},"
		"{\"irq\":41,\"name\":\"nvme0q2\",\"device\":\"nvme0\",\"state\":\"managed\",\"cpus\":\"2\",\"on\":"
		"\"1\"},"
		"{\"irq\":42,\"name\":\"nvme0q3\",\"state\":\"foreign\",\"cpus\":\"2\",\"on\":\"1\",\"planned\":true,"
		"\"back\":true}]},"
		"\"domains\":[{\"name\":\"db1\",\"uuid\":\"00000000-0000-4000-8000-000000000001\","
		"\"capability\":\"live-map\",\"managed\":true,\"priority\":-10,"
		"\"threads\":[{\"kind\":\"vcpu\",\"id\":0,\"cpus\":\"0-1,4-5\",\"planned\":true},"
		"{\"kind\":\"vcpu\",\"id\":1,\"cpus\":\"0\"},"
		"{\"kind\":\"iothread\",\"id\":1,\"cpus\":\"2\",\"exclusive\":true,\"planned\":true,"
		"\"polling\":{\"max_ns\":1000000,\"grow\":1000,\"shrink\":1}},"
		"{\"kind\":\"iothread\",\"id\":2,\"cpus\":\"3\",\"exclusive\":true,\"planned\":true,\"add\":true},"
		"{\"kind\":\"iothread\",\"id\":3,\"cpus\":\"0-1\",\"planned\":true,\"remove\":true},"
		"{\"kind\":\"emulator\",\"cpus\":\"0-1\",\"planned\":true}],"
		"\"disks\":[{\"target\":\"vda\",\"queues\":[{\"index\":0,\"iothread\":1,\"vcpus\":\"0\",\"distance\":"
		"\"l3\"},"
		"{\"index\":1,\"iothread\":2,\"vcpus\":\"1\"}],\"remap\":true},";
	static const char steps[] =
		"\"steps\":[{\"op\":\"add-iothread\",\"domain\":\"db1\",\"id\":2},"
		"{\"op\":\"pin-emulator\",\"domain\":\"db1\",\"cpus\":\"0\",\"interim\":true},"
		"{\"op\":\"pin-vcpu\",\"domain\":\"web \\\"\xc3\xbc\\\"\",\"id\":0,\"cpus\":\"0-1,4-5\"},"
		"{\"op\":\"pin-iothread\",\"domain\":\"db1\",\"id\":1,\"cpus\":\"2\",\"exclusive\":true},"
		"{\"op\":\"set-polling\",\"domain\":\"db1\",\"id\":1,"
		"\"polling\":{\"max_ns\":1000000,\"grow\":1000,\"shrink\":1,\"mode\":\"dedicated\"}},"
		"{\"op\":\"map-queues\",\"domain\":\"db1\",\"disk\":\"vda\",\"queues\":[2,1]},"
		"{\"op\":\"del-iothread\",\"domain\":\"db1\",\"id\":3},"
		"{\"op\":\"limit-slice\",\"unit\":\"user.slice\",\"cpus\":\"0-1\",\"interim\":true},"
		"{\"op\":\"limit-slice\",\"unit\":\"system.slice\",\"cpus\":\"\"},"
		"{\"op\":\"ban-irqs\",\"cpus\":\"6\"},"
		"{\"op\":\"move-irq\",\"irq\":40,\"name\":\"nvme0q1\",\"cpus\":\"2\"},"
		"{\"op\":\"move-irq\",\"irq\":40,\"name\":\"nvme0q1\",\"cpus\":\"0-7\",\"back\":true}],"
		"\"diagnostics\":[{\"code\":\"pin-conflict\",\"severity\":\"info\",\"subject\":\"host\","
		"\"text\":\"Meets.\"}],\"infeasible\":true}";
	struct vbmq_snapshot *s = model_snapshot();
	struct vbmq_plan *p = model_plan();
	_cleanup_free_ char *text = NULL;
	char *at;

	s->host->usable = model_cpus("0-7");
	assert_int_equal(vbmq_plan_format(p, s->host, false, &text, NULL), 0);
	assert_int_equal(strncmp(text, start, strlen(start)), 0);
	at = strstr(text, "\"steps\"");
	assert_non_null(at);
	assert_string_equal(at, steps);
	vbmq_plan_free(p);
	vbmq_snapshot_free(s);
}

static void test_round_trip(void **state)
{
	_cleanup_free_ char *text = model_text(false), *pretty = model_text(true);
	struct vbmq_plan *a = model_plan(), *b = NULL;
	const struct vbmq_place_domain *d;

	attack_round_trip(parse, text);
	assert_int_equal(vbmq_plan_parse("doc", pretty, strlen(pretty), &b, NULL), 0);
	assert_string_equal(b->id, a->id);
	assert_true(b->placement->infeasible);
	assert_int_equal(b->n_steps, a->n_steps);
	for (size_t i = 0; i < a->n_steps; i++) {
		assert_int_equal(a->steps[i].op, b->steps[i].op);
		assert_int_equal(a->steps[i].domain, b->steps[i].domain);
		assert_int_equal(a->steps[i].kind, b->steps[i].kind);
		assert_int_equal(a->steps[i].id, b->steps[i].id);
		assert_int_equal(a->steps[i].exclusive, b->steps[i].exclusive);
		assert_int_equal(a->steps[i].interim, b->steps[i].interim);
		assert_true(b->steps[i].cpus ? vbmq_cpuset_equal(a->steps[i].cpus, b->steps[i].cpus)
					     : vbmq_cpuset_is_empty(a->steps[i].cpus));
		assert_memory_equal(&a->steps[i].polling, &b->steps[i].polling, sizeof(a->steps[i].polling));
		assert_string_equal(a->steps[i].target, b->steps[i].target);
		assert_int_equal(a->steps[i].n_map, b->steps[i].n_map);
	}
	d = &b->placement->domains[0];
	assert_int_equal(d->diags.n, 2);
	assert_ptr_equal(d->diags.items[0].code, vbmq_diag_code(VBMQ_DIAG_FEWER_IOTHREADS));
	assert_string_equal(d->diags.items[0].text, "Two \"of\" four.\n");
	assert_true(d->threads[4].to_remove);
	assert_true(d->disks[1].at_next_start);
	assert_null(d->threads[2].why);
	vbmq_plan_free(a);
	vbmq_plan_free(b);
}

static void test_cuts_and_flips(void **state)
{
	_cleanup_free_ char *text = model_text(false);

	attack_cuts(parse, text);
	assert_in_range(attack_flips(parse, text, 4000), 1000, 3999);
}

static void test_errors(void **state)
{
	static const struct attack_case cases[] = {
		{ "vbmq-plan/1", "vbmq-plan/2", "doc: schema: \"vbmq-plan/2\" where" },
		{ "0123456789abcdef0", "0123456789abcdeF0",
		  "doc: plan_id: is not 32 hexadecimal digits in lower case" },
		{ "0123456789abcdef0", "0123456789abcdef", "doc: plan_id: is not 32" },
		{ "\"shared\":\"0-1,4-5\"", "\"shared\":\"\"", "doc: host.shared: is empty" },
		{ "\"managed\":true", "\"managed\":\"yes\"", "domains[0].managed: is a string, not a boolean" },
		{ "\"capability\":\"live-map\"", "\"capability\":\"map\"",
		  "domains[0].capability: \"map\" is none of" },
		{ "\"kind\":\"emulator\",", "\"kind\":\"emulator\",\"id\":0,",
		  "domains[0].threads[5]: unknown key \"id\"" },
		{ "\"id\":1,\"cpus\":\"0\"", "\"id\":1,\"cpus\":\"\"", "domains[0].threads[1].cpus: is empty" },
		{ "\"index\":1", "\"index\":2", "domains[0].disks[0].queues[1].index: 2 is outside 1..1" },
		{ "\"fewer-iothreads\"", "\"less\"", "domains[0].diagnostics[0].code: \"less\" is no diagnostic code" },
		{ "\"severity\":\"error\"", "\"severity\":\"bad\"",
		  "domains[0].diagnostics[0].severity: \"bad\" is none" },
		{ "\"op\":\"pin-vcpu\"", "\"op\":\"pin\"", "doc: steps[2].op: \"pin\" is no operation" },
		{ "\"op\":\"pin-vcpu\"", "\"op\":\"pin-emulator\"", "doc: steps[2]: unknown key \"id\"" },
		{ "\"op\":\"del-iothread\",\"domain\":\"db1\"", "\"op\":\"del-iothread\",\"domain\":\"db2\"",
		  "steps[6].domain: \"db2\" is none of the plan's domains" },
		{ "\"queues\":[2,1]", "\"queues\":[]", "steps[5].queues: has 0 elements, at least 1" },
		{ "\"queues\":[2,1]", "\"queues\":[2,-1]", "steps[5].queues[1]: -1 is outside" },
		{ "\"infeasible\":true", "\"infeasible\":true,\"x\":1", "doc: unknown key \"x\"" },
		{ ",\"infeasible\":true", "", "doc: key \"infeasible\" is missing" },
		{ "\"name\":\"web \\\"\xc3\xbc\\\"\"", "\"name\":\"db1\"",
		  "domains[1]: domain \"db1\" is there twice" },
	};
	_cleanup_free_ char *text = model_text(false);

	attack_replace(parse, text, cases, VBMQ_ELEMENTSOF(cases));
}

static const char *reason_of(const json_t *root, size_t thread)
{
	const json_t *domain = json_array_get(json_object_get(root, "domains"), 0);
	const json_t *t = json_array_get(json_object_get(domain, "threads"), thread);

	return json_string_value(json_object_get(t, "reason"));
}

static void test_explain(void **state)
{
	struct vbmq_plan *p = model_plan();
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *text = NULL, *one = NULL;
	json_t *root;

	assert_int_equal(vbmq_explain_format(p, NULL, false, &text, NULL), 0);
	root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_string_equal(reason_of(root, 0), "Floats on the whole shared set, off all dedicated cores.");
	assert_string_equal(reason_of(root, 1),
			    "Left where it is: its owner pinned it, or its domain is not to be touched.");
	assert_string_equal(
		reason_of(root, 2),
		"CPU 2 for itself alone: at NUMA distance 21 (local: 10) from its device, on the node of the "
		"guest's memory, on the node of, but not in the L3 domain of, its completion vCPUs; the next "
		"best place, CPU 7, would have cost 3 more in distance to the completion vCPUs.");
	assert_string_equal(
		reason_of(root, 3),
		"CPU 3 for itself alone: the node of its device is not known, the node of the guest's memory "
		"is not known, on the core of its completion vCPUs; there was no other place.");
	assert_string_equal(reason_of(root, 4), "VBMq added it, it serves no queue any more, and it will be removed.");
	assert_string_equal(reason_of(root, 5),
			    "Floats on CPUs 0-1: what its pin or its domain's cpuset leaves of the shared set.");
	assert_non_null(strstr(text, "\"cost\":{\"numa\":11,\"locality\":2,\"moves\":0,\"fragment\":1},\"next\":"
				     "{\"cpus\":\"7\",\"cost\":{\"numa\":11,\"locality\":5,\"moves\":1,\"fragment\":0},"
				     "\"extra\":{\"locality\":3}}"));
	assert_int_equal(json_array_size(json_object_get(root, "domains")), 2);
	json_decref(root);
	/* the places of all threads are chosen together: one of them may have had a better one by itself, or one as good */
	p->placement->whys[0].next_cost = (struct vbmq_cost){ 10, 9, 9, 9 };
	free(text);
	text = NULL;
	assert_int_equal(vbmq_explain_format(p, NULL, false, &text, NULL), 0);
	assert_non_null(strstr(text, "would have cost 1 less by itself, but more for others, in NUMA distance."));
	assert_non_null(strstr(text, "\"extra\":{\"numa\":-1}"));
	p->placement->whys[0].next_cost = p->placement->whys[0].cost;
	free(text);
	text = NULL;
	assert_int_equal(vbmq_explain_format(p, NULL, false, &text, NULL), 0);
	assert_non_null(strstr(text, "the next best place, CPU 7, would have cost the same."));
	assert_non_null(strstr(text, "\"extra\":{}"));
	assert_int_equal(vbmq_explain_format(p, p->placement->domains[1].uuid, true, &one, NULL), 0);
	assert_null(strstr(one, "db1"));
	free(one);
	one = NULL;
	assert_int_equal(vbmq_explain_format(p, "nobody", true, &one, &err), -ENOENT);
	assert_string_equal(err.text, "domain 'nobody' is not in the plan");
	vbmq_plan_free(p);
}

static void test_remedies(void **state)
{
	struct vbmq_plan *p = model_plan();
	struct vbmq_explanation *x = model_explanation();
	_cleanup_free_ char *text = NULL;

	assert_int_equal(vbmq_explain_format_with(p, x, NULL, false, &text, NULL), 0);
	assert_non_null(strstr(text,
			       "\"remedies\":[{\"change\":\"shared-min-cores\",\"from\":4,\"to\":2,\"losers\":0,"
			       "\"text\":\"2 more cores: shared-min-cores from 4 to 2\"},{\"change\":\"iothreads\","
			       "\"domain\":\"db1\",\"from\":4,\"to\":3,\"losers\":0,"
			       "\"text\":\"iothreads of db1 from 4 to 3\"}"));
	assert_non_null(strstr(text, "\"better\":{\"cpus\":\"1,5\",\"numa\":0,\"locality\":7,\"held_by\":{"
				     "\"domain\":\"db1\",\"kind\":\"iothread\",\"id\":2,\"priority\":-10}}"));
	assert_non_null(strstr(text, "\"better\":{\"cpus\":\"0,4\",\"numa\":11,\"locality\":0},\"remedies\":[]"));
	assert_non_null(strstr(text, "\"losers\":1,"));
	assert_non_null(strstr(text, ", at the cost of web "));
	vbmq_explanation_free(x);
	vbmq_plan_free(p);
}

static void test_report(void **state)
{
	struct vbmq_plan *p = model_plan();
	struct vbmq_report *r = model_report(p);
	_cleanup_free_ char *text = NULL, *good = NULL, *restored = NULL, *unread = NULL;
	struct vbmq_snapshot *s = model_snapshot();
	struct vbmq_step step = { .op = VBMQ_STEP_PIN, .kind = VBMQ_THREAD_EMULATOR, .tid = 77, .domain = 1 };
	struct vbmq_cpuset all;

	assert_int_equal(vbmq_report_format(r, p, NULL, p->steps, p->n_steps, false, &text, NULL), 0);
	assert_non_null(strstr(text,
			       "{\"schema\":\"vbmq-report/1\",\"plan_id\":\"0123456789abcdef0123456789abcdef\","
			       "\"dry_run\":false,\"ok\":false,\"steps\":[{\"op\":\"add-iothread\",\"domain\":\"db1\","
			       "\"id\":2,\"outcome\":\"pending\"}"));
	assert_non_null(strstr(text, "\"cpus\":\"2\",\"exclusive\":true,\"outcome\":\"failed\",\"error\":\"ETIMEDOUT\","
				     "\"text\":\"the monitor does not answer, cut ?\"}"));
	assert_non_null(strstr(text, "\"checks\":[{\"check\":\"ok\",\"domain\":\"db1\",\"kind\":\"emulator\","
				     "\"want\":\"2\",\"is\":\"2-3\"},{\"check\":\"drift\",\"domain\":\"db1\","
				     "\"kind\":\"iothread\",\"id\":1,"));
	assert_non_null(strstr(text, "{\"check\":\"map\",\"domain\":\"db1\",\"disk\":\"vda\",\"text\":\"why\"}"));
	assert_non_null(strstr(text, "{\"check\":\"ok\",\"host\":\"init.scope\",\"want\":\"0\",\"is\":\"0\"}"));
	assert_non_null(strstr(text, "{\"check\":\"ok\",\"irq\":40,\"want\":\"2\",\"is\":\"2\"}"));
	assert_non_null(strstr(text, "\"counts\":{\"steps\":12,\"pending\":2,\"done\":2,\"dry_run\":2,\"failed\":2,"
				     "\"skipped\":2,\"undone\":1,\"undo_failed\":1,\"domains_failed\":1,\"checks\":10,"
				     "\"bad_checks\":5}}"));
	for (size_t i = 0; i < r->n_results; i++)
		r->results[i].outcome = VBMQ_OUTCOME_DONE;
	r->n_domains_failed = r->n_bad_checks = r->n_checks = 0;
	assert_int_equal(vbmq_report_format(r, p, NULL, p->steps, p->n_steps, false, &unread, NULL), 0);
	assert_non_null(strstr(unread, "\"ok\":false"));
	assert_non_null(strstr(unread, "\"unread\":[\"böse\\n\"]"));
	r->n_unread = 0;
	assert_int_equal(vbmq_report_format(r, p, NULL, p->steps, p->n_steps, false, &good, NULL), 0);
	assert_non_null(strstr(good, "\"ok\":true"));
	all = model_cpus("0-7");
	step.cpus = &all;
	assert_int_equal(vbmq_report_format(r, NULL, s, &step, 1, false, &restored, NULL), 0);
	assert_non_null(strstr(restored, "{\"op\":\"pin-emulator\",\"domain\":\"db1\",\"tid\":77,\"cpus\":\"0-7\","
					 "\"outcome\":\"done\""));
	r->n_checks = VBMQ_CHECK_POLLING + 1; /* the arrays are as they were */
	r->n_unread = 1;
	vbmq_report_free(r);
	vbmq_plan_free(p);
	vbmq_snapshot_free(s);
}

static int all_formats(void *data, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL, *explained = NULL, *reported = NULL;
	struct vbmq_plan *p = NULL;
	int r = vbmq_plan_parse("doc", data, strlen(data), &p, err);

	if (r == 0)
		r = vbmq_plan_format(p, NULL, true, &text, err);
	if (r == 0)
		r = vbmq_explain_format(p, NULL, true, &explained, err);
	if (r == 0) {
		struct vbmq_report empty = { .dry_run = true };

		r = vbmq_report_format(&empty, p, NULL, p->steps, p->n_steps, true, &reported, err);
	}
	vbmq_plan_free(p);
	return r;
}

static void test_memory(void **state)
{
	_cleanup_free_ char *text = model_text(false);

	attack_memory(all_formats, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_design), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_cuts_and_flips),
		cmocka_unit_test(test_errors), cmocka_unit_test(test_explain),	  cmocka_unit_test(test_remedies),
		cmocka_unit_test(test_report), cmocka_unit_test(test_memory),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("json-plan", tests, NULL, NULL);
}
