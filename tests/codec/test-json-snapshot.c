/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "attack.h"
#include "codec/json_policy.h"
#include "codec/json_snapshot.h"
#include "codec/plan_id.h"
#include "models.h"
#include "util/cleanup.h"

static int parse(const char *text, size_t len, char **ret_again, struct vbmq_err *err)
{
	struct vbmq_snapshot *s = NULL;
	int r = vbmq_snapshot_parse("doc", text, len, &s, err);

	if (r < 0) {
		assert_null(s);
		return r;
	}
	assert_int_equal(vbmq_snapshot_format(s, false, ret_again, NULL), 0);
	vbmq_snapshot_free(s);
	return 0;
}

static char *text_of(const struct vbmq_snapshot *s, bool pretty)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *text = NULL;

	if (vbmq_snapshot_format(s, pretty, &text, &err) < 0)
		fail_msg("%s", err.text);
	return text;
}

static char *model_text(void)
{
	struct vbmq_snapshot *s = model_snapshot();
	char *text = text_of(s, false);

	vbmq_snapshot_free(s);
	return text;
}

static struct vbmq_snapshot *read_back(const char *text)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_snapshot *s = NULL;

	if (vbmq_snapshot_parse("doc", text, strlen(text), &s, &err) < 0)
		fail_msg("%s", err.text);
	return s;
}

static void test_round_trip(void **state)
{
	_cleanup_free_ char *canonical = model_text(), *pretty = NULL, *again = NULL;
	struct vbmq_snapshot *s;

	attack_round_trip(parse, canonical);
	s = read_back(canonical);
	pretty = text_of(s, true);
	vbmq_snapshot_free(s);
	assert_non_null(strstr(pretty, "\n  \"domains\": [\n"));
	assert_int_equal(pretty[strlen(pretty) - 1], '\n');
	s = read_back(pretty);
	again = text_of(s, false);
	vbmq_snapshot_free(s);
	assert_string_equal(again, canonical);
	assert_null(strchr(canonical, '\n'));
	assert_non_null(strstr(canonical, "{\"busy_iothreads\":\"2\",\"capabilities\":[\"pin\",\"polling\","
					  "\"live-map\",\"placement\"],\"cpuset\":\"0-5\",\"disks\":"));
}

/* Field by field: a field that neither the writer nor the reader knows would pass the round trip. */
static void test_nothing_lost(void **state)
{
	_cleanup_free_ char *text = model_text();
	struct vbmq_snapshot *a = model_snapshot(), *b = read_back(text);

	assert_string_equal(a->host->name, b->host->name);
	assert_true(vbmq_cpuset_equal(&a->host->online, &b->host->online));
	assert_true(vbmq_cpuset_equal(&a->host->allowed, &b->host->allowed));
	assert_true(vbmq_cpuset_equal(&a->host->isolated, &b->host->isolated));
	assert_int_equal(a->host->n_cores, b->host->n_cores);
	assert_memory_equal(a->host->cores, b->host->cores, 4 * sizeof(struct vbmq_core));
	assert_int_equal(a->host->n_l3s, b->host->n_l3s);
	assert_memory_equal(a->host->l3s, b->host->l3s, 2 * sizeof(struct vbmq_l3));
	assert_int_equal(a->host->n_nodes, b->host->n_nodes);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(a->host->nodes[i].id, b->host->nodes[i].id);
		assert_int_equal(a->host->nodes[i].memory_kib, b->host->nodes[i].memory_kib);
		assert_true(vbmq_cpuset_equal(&a->host->nodes[i].cpus, &b->host->nodes[i].cpus));
	}
	assert_memory_equal(a->host->distances, b->host->distances, 9 * sizeof(uint32_t));
	assert_int_equal(a->n_domains, b->n_domains);
	for (size_t i = 0; i < a->n_domains; i++) {
		const struct vbmq_domain *x = a->domains[i], *y = b->domains[i];

		assert_string_equal(x->name, y->name);
		assert_string_equal(x->uuid, y->uuid);
		assert_int_equal(x->id, y->id);
		assert_int_equal(x->pid, y->pid);
		assert_int_equal(x->state, y->state);
		assert_int_equal(x->responsive, y->responsive);
		assert_int_equal(x->n_vcpus, y->n_vcpus);
		assert_int_equal(x->has_cpuset, y->has_cpuset);
		assert_true(vbmq_cpuset_equal(&x->cpuset, &y->cpuset));
		assert_true(vbmq_cpuset_equal(&x->memory_nodes, &y->memory_nodes));
		assert_int_equal(x->wish.present, y->wish.present);
		assert_int_equal(x->wish.n_disks, y->wish.n_disks);
		for (size_t j = 0; j < x->wish.n_disks; j++)
			assert_memory_equal(&x->wish.disks[j], &y->wish.disks[j], sizeof(x->wish.disks[j]));
		assert_int_equal(x->wish.priority, y->wish.priority);
		assert_int_equal(x->wish.vcpus, y->wish.vcpus);
		assert_int_equal(x->caps.bits, y->caps.bits);
		assert_int_equal(x->n_threads, y->n_threads);
		for (size_t j = 0; j < x->n_threads; j++) {
			const struct vbmq_thread *t = &x->threads[j], *u = &y->threads[j];

			assert_int_equal(t->kind, u->kind);
			assert_int_equal(t->id, u->id);
			assert_int_equal(t->tid, u->tid);
			assert_int_equal(t->start, u->start);
			assert_true(vbmq_cpuset_equal(&t->affinity, &u->affinity));
			assert_int_equal(t->has_pin, u->has_pin);
			assert_true(vbmq_cpuset_equal(&t->pin, &u->pin));
			assert_int_equal(t->held, u->held);
			assert_true(vbmq_cpuset_equal(&t->applied, &u->applied));
			assert_int_equal(t->added, u->added);
			assert_memory_equal(&t->polling, &u->polling, sizeof(t->polling));
		}
		assert_int_equal(x->n_disks, y->n_disks);
		for (size_t j = 0; j < x->n_disks; j++) {
			assert_string_equal(x->disks[j].target, y->disks[j].target);
			assert_int_equal(x->disks[j].node, y->disks[j].node);
			assert_int_equal(x->disks[j].mapped, y->disks[j].mapped);
			assert_int_equal(x->disks[j].started, y->disks[j].started);
			assert_int_equal(x->disks[j].no_ioeventfd, y->disks[j].no_ioeventfd);
			assert_int_equal(x->disks[j].no_poll, y->disks[j].no_poll);
			assert_int_equal(x->disks[j].aio_threads, y->disks[j].aio_threads);
			assert_int_equal(!x->disks[j].alias, !y->disks[j].alias);
			assert_int_equal(!x->disks[j].source, !y->disks[j].source);
			assert_int_equal(x->disks[j].n_queues, y->disks[j].n_queues);
			for (size_t q = 0; q < x->disks[j].n_queues; q++) {
				assert_int_equal(x->disks[j].queues[q].iothread, y->disks[j].queues[q].iothread);
				assert_int_equal(x->disks[j].queues[q].vcpus_exact, y->disks[j].queues[q].vcpus_exact);
				assert_true(
					vbmq_cpuset_equal(&x->disks[j].queues[q].vcpus, &y->disks[j].queues[q].vcpus));
			}
		}
		assert_true(vbmq_cpuset_equal(&x->busy_iothreads, &y->busy_iothreads));
	}
	assert_int_equal(a->policy->manage_by_default, b->policy->manage_by_default);
	assert_int_equal(a->policy->hold_others, b->policy->hold_others);
	assert_int_equal(a->policy->auto_max, b->policy->auto_max);
	assert_int_equal(a->policy->shared_min_cores, b->policy->shared_min_cores);
	assert_true(vbmq_cpuset_equal(&a->policy->reserved, &b->policy->reserved));
	assert_true(vbmq_cpuset_equal(&a->policy->dedicated, &b->policy->dedicated));
	assert_int_equal(a->policy->drift, b->policy->drift);
	assert_int_equal(a->policy->poll_max_ns, b->policy->poll_max_ns);
	assert_int_equal(a->policy->move_gain, b->policy->move_gain);
	assert_int_equal(a->policy->poll_grow, b->policy->poll_grow);
	assert_int_equal(a->policy->poll_shrink, b->policy->poll_shrink);
	assert_int_equal(b->policy->override.enabled, VBMQ_NO);
	assert_int_equal(b->policy->defaults.exclusive, VBMQ_EXCLUSIVE_CORE);
	vbmq_snapshot_free(a);
	vbmq_snapshot_free(b);
}

static void test_cuts_and_flips(void **state)
{
	_cleanup_free_ char *text = model_text();
	size_t refused;

	attack_cuts(parse, text);
	refused = attack_flips(parse, text, 4000);
	assert_in_range(refused, 1000, 3999);
}

static void test_errors(void **state)
{
	static const struct attack_case cases[] = {
		{ "\"schema\":\"vbmq-snapshot/1\"", "\"schema\":\"vbmq-snapshot/2\"",
		  "doc: schema: \"vbmq-snapshot/2\" where \"vbmq-snapshot/1\" is expected" },
		{ "\"schema\":", "\"scheme\":", "doc: key \"schema\" is missing" },
		{ "\"pid\":4000", "\"pid\":4000,\"pit\":1", "doc: domains[1]: unknown key \"pit\"" },
		{ "\"pid\":4000", "\"pid\":4000,\"pid\":1", "duplicate object key" },
		{ "\"pid\":4000", "\"pid\":-1", "doc: domains[1].pid: -1 is outside 0..2147483647" },
		{ "\"pid\":4000", "\"pid\":2147483648", "domains[1].pid: 2147483648 is outside" },
		{ "\"pid\":4000", "\"pid\":4e3",
		  "domains[1].pid: is a number with a fraction or exponent, not an integer" },
		{ "\"pid\":4000", "\"pid\":\"4000\"", "domains[1].pid: is a string, not an integer" },
		{ "\"pid\":4000", "\"pid\":null", "domains[1].pid: is null, not an integer" },
		{ "\"pid\":4000", "\"pid\":99999999999999999999", "doc:1:" },
		{ "\"pid\":4000", "\"pid\":1e99999", "doc:1:" },
		{ "\"pid\":4000,", "", NULL },
		{ "\"start\":123456789013", "\"start\":-1", "domains[1].threads[1].start: -1 is outside" },
		{ "\"kind\":\"vcpu\"", "\"kind\":\"gpu\"",
		  "domains[1].threads[0].kind: \"gpu\" is none of: vcpu, iothread, emulator" },
		{ "\"affinity\":\"0-7\"", "\"affinity\":\"7-0\"", "domains[1].threads[0].affinity: " },
		{ "\"affinity\":\"0-7\"", "\"affinity\":\"0-4096\"", "domains[1].threads[0].affinity: " },
		{ "\"affinity\":\"0-7\"", "\"affinity\":[0]",
		  "domains[1].threads[0].affinity: is an array, not a string" },
		{ "\"pin\":\"1-2\"", "\"pin\":\"\"", "domains[1].threads[2].pin: is empty" },
		{ "\"state\":\"paused\"", "\"state\":\"\"", "domains[1].state: \"\" is none of" },
		{ "\"vcpus\":2", "\"vcpus\":0", "domains[1].vcpus: 0 is outside 1..4096" },
		{ "\"vcpus\":2", "\"vcpus\":4097", "domains[1].vcpus: 4097 is outside 1..4096" },
		{ "\"live-map\"", "\"pin\"", "domains[1].capabilities[2]: is there twice" },
		{ "\"live-map\"", "7", "domains[1].capabilities[2]: is not a string" },
		{ "\"live-map\"", "\"fly\"", "domains[1].capabilities[2]: \"fly\" is none of: pin, polling" },
		{ "\"target\":\"vdb\"", "\"target\":\"\"", "domains[1].disks[1].target: is empty" },
		{ "\"target\":\"vdb\"", "\"target\":\"vdaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
		  "domains[1].disks[1].target: is 34 bytes long, at most 32 are allowed" },
		{ "\"target\":\"vdb\"", "\"target\":\"vda\"", "doc: domain 'db1': disk vda is there twice" },
		{ "\"node\":2,", "\"node\":3,",
		  "doc: domain 'db1': disk vdb is on node 3, which this host does not have" },
		{ "\"iothread\":1", "\"iothread\":9", "doc: domain 'db1': queue 0 of disk vdb is on I/O thread 9" },
		{ "\"queues\":1024", "\"queues\":1025", "domains[1].wish.disks[0].queues: 1025 is outside 1..1024" },
		{ "\"queues\":1024", "\"queues\":\"many\"",
		  "domains[1].wish.disks[0].queues: \"many\" is none of: auto" },
		{ "\"iothreads\":2", "\"iothreads\":0", "domains[1].wish.iothreads: 0 is outside 1..256" },
		{ "\"priority\":-10", "\"priority\":-1001", "domains[1].wish.priority: -1001 is outside -1000..1000" },
		{ "\"enabled\":true", "\"enabled\":1", "domains[1].wish.enabled: is an integer, not a boolean" },
		{ "\"name\":\"db1\"", "\"name\":\"\"", "domains[1].name: is empty" },
		{ "\"name\":\"db1\"", "\"name\":\"d\\u0000b\"", "doc:1:" },
		{ "\"name\":\"db1\"", "\"name\":\"d\xff\"", "doc:1:" },
		{ "\"name\":\"db1\"", "\"name\":\"b\xc3\xb6se\\n\"",
		  "domains[1]: domain 'b\xc3\xb6se?' is there twice" },
		{ "-4000-8000-000000000001", "-4000-8000-000000000002", "domains[1]: domains '" },
		{ "-4000-8000-000000000001", "-4000-8000-00000000000A",
		  "domains[1].uuid: \"00000000-0000-4000-8000-"
		  "00000000000A\" is not a UUID" },
		{ "\"distances\":[[10,12,13]", "\"distances\":[[10,12]",
		  "host.distances[0]: has 2 elements, at least 3" },
		{ "\"distances\":[[10,12,13]", "\"distances\":[[9,12,13]",
		  "host.distances[0][0]: 9 is outside 10..65535" },
		{ "\"distances\":[[10,12,13]", "\"distances\":[[10,12,13],[1]",
		  "host.distances: has 4 elements, at most 3 are allowed" },
		{ "\"l3\":1", "\"l3\":2", "host.cores[2].l3: 2 is outside 0..1" },
		{ "\"id\":1000", "\"id\":1024", "host.nodes[2].id: 1024 is outside 0..1023" },
		{ "\"id\":1000", "\"id\":0", "doc: host: node 0 is there twice" },
		{ "\"cpus\":\"1,5\"", "\"cpus\":\"0-1,5\"", "doc: host: " },
		{ "\"online\":\"0-7\"", "\"online\":\"\"", "host.online: is empty" },
		{ "\"memory_kib\":1099511627776", "\"memory_kib\":9223372036854775807", "host.nodes[2].memory_kib: " },
		{ "\"auto_max\":64", "\"auto_max\":65", "policy.auto_max: 65 is outside 1..64" },
		{ "\"drift\":\"respect\"", "\"drift\":7", "policy.drift: is an integer, not a string" },
		{ "\"polling\":{\"grow\":2,", "\"polling\":{", "threads[3].polling: key \"grow\" is missing" },
		{ "\"mode\":\"dedicated\"", "\"mode\":\"on\"", "threads[3].polling.mode: \"on\" is none of" },
	};
	_cleanup_free_ char *text = model_text();

	attack_replace(parse, text, cases, VBMQ_ELEMENTSOF(cases));
}

static void expect(const char *text, size_t len, const char *error)
{
	struct vbmq_err err;

	assert_true(attack_one(parse, text, len, NULL, &err) < 0);
	if (!strstr(err.text, error))
		fail_msg("message is\n%s\nwithout\n%s", err.text, error);
}

static void test_documents_that_are_none(void **state)
{
	const size_t n = 100000;
	char *bomb = malloc(4 * n + 1), *big;

	assert_non_null(bomb);
	expect("", 0, "doc:1:");
	expect("[]", 2, "doc: the document is not an object");
	expect("{}", 2, "key \"schema\" is missing");
	expect("{}\n{}", 5, "doc:2:1: ");
	expect("{}\0", 3, "doc:1:");
	expect("{\n  \"a\": tru}", 13, "doc:2:10: ");
	expect("\xef\xbb\xbf{}", 5, "doc:1:");
	memset(bomb, '[', n);
	expect(bomb, n, "doc:1:33: nested deeper than 32");
	memcpy(bomb, "{\n", 2);
	expect(bomb, n, "doc:2:32: nested deeper than 32");
	for (size_t i = 0; i < n; i++)
		memcpy(bomb + 4 * i, "{\"\":", 4);
	expect(bomb, 4 * n, "nested deeper than 32");
	free(bomb);
	big = malloc(VBMQ_SNAPSHOT_JSON_MAX + 1);
	assert_non_null(big);
	memset(big, ',', VBMQ_SNAPSHOT_JSON_MAX + 1);
	expect(big, VBMQ_SNAPSHOT_JSON_MAX + 1, "doc: larger than 67108864 bytes");
	expect(big, VBMQ_SNAPSHOT_JSON_MAX, "more values than 4194304");
	memset(big, ' ', VBMQ_SNAPSHOT_JSON_MAX);
	expect(big, VBMQ_SNAPSHOT_JSON_MAX, "doc:1:");
	free(big);
}

static void test_what_cannot_be_written(void **state)
{
	struct vbmq_snapshot *s = model_snapshot();
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *text = NULL;

	s->domains[1]->threads[0].start = (uint64_t)INT64_MAX + 1;
	assert_int_equal(vbmq_snapshot_format(s, false, &text, &err), -ERANGE);
	assert_non_null(strstr(err.text, "domain 'db1': start: 9223372036854775808 does not fit"));
	s->domains[1]->threads[0].start = INT64_MAX;
	assert_int_equal(vbmq_snapshot_format(s, false, &text, NULL), 0);
	attack_round_trip(parse, text);
	free(text);
	text = NULL;
	err = VBMQ_ERR_INIT;
	strcpy(s->domains[1]->disks[1].alias, "a\xed\xa0\x80"); /* a surrogate */
	assert_int_equal(vbmq_snapshot_format(s, false, &text, &err), -EILSEQ);
	assert_non_null(strstr(err.text, "domain 'db1': alias: "));
	assert_null(text);
	vbmq_snapshot_free(s);
}

static int format_and_parse(void *data, struct vbmq_err *err)
{
	struct vbmq_snapshot *again;
	char *text;
	int r = vbmq_snapshot_format(data, true, &text, err);

	if (r < 0)
		return r;
	r = vbmq_snapshot_parse("doc", text, strlen(text), &again, err);
	free(text);
	if (r == 0)
		vbmq_snapshot_free(again);
	return r;
}

static int make_id(void *data, struct vbmq_err *err)
{
	const struct vbmq_snapshot *s = data;
	char id[VBMQ_PLAN_ID_LEN + 1];

	return vbmq_plan_id(s, s->policy, id, err);
}

static void test_memory(void **state)
{
	struct vbmq_snapshot *s = model_snapshot();

	attack_memory(format_and_parse, s);
	attack_memory(make_id, s);
	vbmq_snapshot_free(s);
}

static void get_id(const struct vbmq_snapshot *s, const struct vbmq_policy *p, char id[VBMQ_PLAN_ID_LEN + 1])
{
	assert_int_equal(vbmq_plan_id(s, p, id, NULL), 0);
	assert_int_equal(strlen(id), VBMQ_PLAN_ID_LEN);
	assert_int_equal(strspn(id, "0123456789abcdef"), VBMQ_PLAN_ID_LEN);
}

static void test_plan_id(void **state)
{
	_cleanup_free_ char *text = model_text();
	struct vbmq_snapshot *s = model_snapshot(), *read = read_back(text);
	char id[VBMQ_PLAN_ID_LEN + 1], other[VBMQ_PLAN_ID_LEN + 1];
	struct vbmq_policy *own = s->policy, p;

	get_id(s, own, id);
	get_id(read, own, other);
	assert_string_equal(other, id);
	s->policy = NULL; /* the snapshot's own policy does not count, the one that is used does */
	get_id(s, own, other);
	assert_string_equal(other, id);
	s->policy = own;
	vbmq_policy_init(&p);
	get_id(s, &p, other);
	assert_string_not_equal(other, id);
	s->domains[1]->threads[0].tid++;
	get_id(s, own, other);
	assert_string_not_equal(other, id);
	s->domains[1]->threads[0].tid--;
	get_id(s, own, other);
	assert_string_equal(other, id);
	s->domains[1]->disks[0].started = true;
	get_id(s, own, other);
	assert_string_not_equal(other, id);
	vbmq_policy_done(&p);
	vbmq_snapshot_free(s);
	vbmq_snapshot_free(read);
}

static void test_policy_alone(void **state)
{
	struct vbmq_policy p, q;
	struct vbmq_wish w = VBMQ_WISH_INIT, v = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	json_t *a, *b;

	vbmq_policy_init(&p);
	p.override.iothreads = VBMQ_COUNT_AUTO;
	a = vbmq_policy_to_json(&p);
	assert_non_null(a);
	assert_int_equal(vbmq_policy_from_json(a, "policy", &q, NULL), 0);
	b = vbmq_policy_to_json(&q);
	assert_true(json_equal(a, b));
	assert_int_equal(q.override.iothreads, VBMQ_COUNT_AUTO);
	vbmq_policy_done(&q);
	json_decref(b);
	json_object_set_new(json_object_get(a, "defaults"), "poll", json_string("wild"));
	assert_int_equal(vbmq_policy_from_json(a, "policy", &q, &err), -EINVAL);
	assert_string_equal(err.text, "policy.defaults.poll: \"wild\" is none of: off, adaptive, dedicated");
	json_decref(a);
	w.vcpus = VBMQ_VCPUS_DEDICATED;
	a = vbmq_wish_to_json(&w);
	assert_int_equal(json_object_size(a), 1);
	assert_int_equal(vbmq_wish_from_json(a, "w", &v, NULL), 0);
	assert_true(v.present);
	assert_int_equal(v.vcpus, VBMQ_VCPUS_DEDICATED);
	assert_int_equal(v.poll, VBMQ_POLL_UNSAID);
	json_decref(a);
	vbmq_policy_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_nothing_lost),
		cmocka_unit_test(test_cuts_and_flips),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_documents_that_are_none),
		cmocka_unit_test(test_what_cannot_be_written),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_plan_id),
		cmocka_unit_test(test_policy_alone),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("json-snapshot", tests, NULL, NULL);
}
