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
#include "codec/conf.h"
#include "models.h"
#include "util/cleanup.h"

static int parse(const char *text, size_t len, char **ret_again, struct vbmq_err *err)
{
	struct vbmq_conf c;
	int r;

	vbmq_conf_init(&c);
	r = vbmq_conf_parse("doc", text, len, &c, err);
	if (r == 0)
		assert_int_equal(vbmq_conf_format(&c, ret_again, NULL), 0);
	else
		assert_int_equal(c.workers, 4); /* as before */
	vbmq_conf_done(&c);
	return r;
}

static char *text_of(const struct vbmq_conf *c)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *text = NULL;

	if (vbmq_conf_format(c, &text, &err) < 0)
		fail_msg("%s", err.text);
	return text;
}

static void read_into(struct vbmq_conf *c, const char *text)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_conf_parse("doc", text, strlen(text), c, &err) < 0)
		fail_msg("%s", err.text);
}

/* The table's defaults are those of vbmq_conf_init(), and every key has its words. */
static void test_table(void **state)
{
	struct vbmq_conf c, d;
	_cleanup_free_ char *all = NULL, *from_table = NULL;

	vbmq_conf_init(&c);
	vbmq_conf_init(&d);
	c.uri = strdup("wrong:///");
	c.observe = !d.observe;
	c.debounce_ms = c.recheck_ms = c.call_timeout_ms = c.retry_max_ms = c.workers = 9999;
	c.policy.manage_by_default = !d.policy.manage_by_default;
	c.policy.hold_others = !d.policy.hold_others;
	c.policy.defaults.iothreads = 7;
	c.policy.defaults.exclusive = VBMQ_EXCLUSIVE_NONE;
	c.policy.defaults.poll = VBMQ_POLL_OFF;
	c.policy.defaults.vcpus = VBMQ_VCPUS_DEDICATED;
	c.policy.defaults.priority = 5;
	c.policy.move_gain = 77;
	c.policy.auto_max = c.policy.shared_min_cores = c.policy.poll_grow = c.policy.poll_shrink = 77;
	c.policy.poll_max_ns = 77;
	c.policy.reserved = c.policy.dedicated = vbmq_cpuset_of(1);
	c.policy.drift = VBMQ_DRIFT_RESPECT;
	for (size_t i = 0; i < vbmq_conf_n_keys(); i++) {
		const struct vbmq_conf_key *k = vbmq_conf_key(i);
		char line[300];

		assert_true(strlen(k->help) > 10 && strlen(k->range) > 2);
		snprintf(line, sizeof(line), "[%s]\n%s=%s\n", k->section, k->name, k->fallback);
		read_into(&c, line);
	}
	assert_null(vbmq_conf_key(vbmq_conf_n_keys()));
	all = text_of(&d);
	from_table = text_of(&c);
	assert_string_equal(from_table, all);
	vbmq_conf_done(&c);
}

static const char everything[] =
	"[daemon]\nuri=test:///x\nmode=observe\ndebounce=10ms\nrecheck=90s\ncall-timeout=1500ms\n"
	"retry-max=1h\nworkers=64\n\n[policy]\ndefault=manage\nhold-others=no\niothreads=256\n"
	"exclusive=cpu\npoll=off\nvcpus=dedicated\npriority=-1000\nauto-max=1\nshared-min-cores=2\n"
	"reserved-cpus=0-3,8\ndedicated-cpus=9-4095\ndrift=respect\nmove-gain=0\npoll-max-ns=500000\npoll-grow=2\n"
	"poll-shrink=0\n\n[host]\nslices=no\nirqbalance=no\ninterrupts=no\nnova=no\n";

static void test_round_trip(void **state)
{
	struct vbmq_conf c;

	attack_round_trip(parse, everything);
	vbmq_conf_init(&c);
	read_into(&c, everything);
	assert_string_equal(c.uri, "test:///x");
	assert_true(c.observe);
	assert_int_equal(c.debounce_ms, 10);
	assert_int_equal(c.recheck_ms, 90000);
	assert_int_equal(c.call_timeout_ms, 1500);
	assert_int_equal(c.retry_max_ms, 3600000);
	assert_int_equal(c.workers, 64);
	assert_true(c.policy.manage_by_default);
	assert_false(c.policy.hold_others);
	assert_int_equal(c.policy.defaults.iothreads, 256);
	assert_int_equal(c.policy.defaults.exclusive, VBMQ_EXCLUSIVE_CPU);
	assert_int_equal(c.policy.defaults.poll, VBMQ_POLL_OFF);
	assert_int_equal(c.policy.defaults.vcpus, VBMQ_VCPUS_DEDICATED);
	assert_int_equal(c.policy.defaults.priority, -1000);
	assert_int_equal(c.policy.auto_max, 1);
	assert_int_equal(c.policy.shared_min_cores, 2);
	assert_int_equal(vbmq_cpuset_count(&c.policy.reserved), 5);
	assert_int_equal(vbmq_cpuset_last(&c.policy.dedicated), 4095);
	assert_int_equal(c.policy.drift, VBMQ_DRIFT_RESPECT);
	assert_int_equal(c.policy.poll_max_ns, 500000);
	assert_int_equal(c.policy.move_gain, 0);
	assert_int_equal(c.policy.poll_grow, 2);
	assert_int_equal(c.policy.poll_shrink, 0);
	assert_false(c.policy.limit_slices);
	assert_false(c.policy.ban_irqs);
	assert_false(c.policy.move_irqs);
	assert_false(c.policy.keep_off_nova);
	vbmq_conf_done(&c);
	assert_null(c.uri);
	assert_int_equal(c.workers, 4);
}

static void test_forms(void **state)
{
	struct vbmq_conf c;

	vbmq_conf_init(&c);
	read_into(&c,
		  "\xef\xbb\xbf# comment\n; comment\n\n  [policy]  \r\n\tpoll = adaptive ; why not\r\n  auto-max: 9\n"
		  "[daemon]\n[policy]\ndrift=respect");
	assert_int_equal(c.policy.defaults.poll, VBMQ_POLL_ADAPTIVE);
	assert_int_equal(c.policy.auto_max, 9);
	assert_int_equal(c.policy.drift, VBMQ_DRIFT_RESPECT);
	/* a second file is on top of the first; CPU lists add up until one is empty */
	read_into(&c, "[policy]\npoll=off\nreserved-cpus=1\nreserved-cpus=3-4\n");
	read_into(&c, "[policy]\nreserved-cpus=8\n");
	assert_int_equal(c.policy.defaults.poll, VBMQ_POLL_OFF);
	assert_int_equal(c.policy.auto_max, 9);
	assert_int_equal(vbmq_cpuset_count(&c.policy.reserved), 4);
	read_into(&c, "[policy]\nreserved-cpus=\nreserved-cpus=5\n");
	assert_int_equal(vbmq_cpuset_count(&c.policy.reserved), 1);
	read_into(&c, "");
	vbmq_conf_done(&c);
}

/* A list that is longer than a line is written as several. */
static void test_long_list(void **state)
{
	_cleanup_free_ char *text = NULL, *again = NULL;
	struct vbmq_err err;
	struct vbmq_conf c;

	vbmq_conf_init(&c);
	for (unsigned i = 0; i < VBMQ_CPUS_MAX; i += 2)
		vbmq_cpuset_add(&c.policy.dedicated, i);
	text = text_of(&c);
	for (const char *line = text; *line; line = strchr(line, '\n') + 1)
		assert_in_range(strcspn(line, "\n"), 0, VBMQ_CONF_LINE_MAX);
	assert_int_equal(attack_one(parse, text, strlen(text), &again, &err), 0);
	assert_string_equal(again, text);
	vbmq_conf_done(&c);
}

static void test_errors(void **state)
{
	static const struct attack_case cases[] = {
		{ "uri=test:///x", "uri=", "doc:2: uri=: a URI of 0 bytes, allowed are 1..186" },
		{ "uri=test:///x", "uri=a b", "doc:2: uri=a b: a URI has no white space" },
		{ "[policy]", "[policy] x=y", "doc:10: 'x=y' after the section's name" },
		{ "[policy]", "[policy] ; rest", NULL },
		{ "[policy]", "[]\n[policy]", "doc:10: section [] is not known" },
		{ "mode=observe", "mode=Observe", "doc:3: mode=Observe: allowed is manage | observe" },
		{ "debounce=10ms", "debounce=9ms", "doc:4: debounce=9ms: allowed is 10ms..60s" },
		{ "recheck=90s", "recheck=1.5min", "doc:5: recheck=1.5min: allowed is 1s..1h" },
		{ "workers=64", "workers=65", "doc:8: workers=65: allowed is 1..64" },
		{ "workers=64", "workers", "doc:8: neither a [section] nor key=value" },
		{ "workers=64", "worker=64", "doc:8: there is no key 'worker' in [daemon]" },
		{ "workers=64", "workers=64\nworkers=64", "doc:9: 'workers' is there twice" },
		{ "workers=64", "workers=64\n[daemon]\nworkers=64", "doc:10: 'workers' is there twice" },
		{ "workers=64", "workers=064", "doc:8: workers=064: " },
		{ "workers=64", "workers=+4", "doc:8: workers=+4: " },
		{ "[policy]", "[Policy]", "doc:10: section [Policy] is not known" },
		{ "[policy]", "[policy", "doc:10: neither a [section] nor key=value" },
		{ "[daemon]", "", "doc:2: 'uri' stands before any section" },
		{ "iothreads=256", "iothreads=257", "doc:13: iothreads=257: allowed is auto | 1..256" },
		{ "iothreads=256", "iothreads=auto", NULL },
		{ "iothreads=256", "iothreads=-1", "doc:13: iothreads=-1: allowed is auto | 1..256" },
		{ "priority=-1000", "priority=-1001", "doc:17: priority=-1001: allowed is -1000..1000" },
		{ "shared-min-cores=2", "shared-min-cores=0", "doc:19: shared-min-cores=0: allowed is auto | 1..4096" },
		{ "reserved-cpus=0-3,8", "reserved-cpus=3-0", "doc:20: reserved-cpus=3-0: " },
		{ "reserved-cpus=0-3,8", "reserved-cpus=4096", "doc:20: reserved-cpus=4096: " },
		/* two mistakes: the first one counts, whichever of the two kinds it is */
		{ "mode=observe\ndebounce=10ms", "mode\ndebounce=1", "doc:3: neither" },
		{ "mode=observe\ndebounce=10ms", "mode=x\ndebounce", "doc:3: mode=x" },
		/* an indented line is a line, not the rest of the one before */
		{ "poll=off\n", "poll=off\n  auto-max=2\n", "doc:19: 'auto-max' is there twice" },
		{ "poll=off\n", "poll=off\n  adaptive\n", "doc:16: neither a [section] nor key=value" },
	};

	attack_replace(parse, everything, cases, VBMQ_ELEMENTSOF(cases));
}

static void test_limits(void **state)
{
	char text[1000], *big = malloc(VBMQ_CONF_MAX + 1);
	struct vbmq_conf c;
	struct vbmq_err err;

	assert_non_null(big);
	memset(big, '\n', VBMQ_CONF_MAX + 1);
	assert_int_equal(attack_one(parse, big, VBMQ_CONF_MAX, NULL, &err), 0);
	assert_int_equal(attack_one(parse, big, VBMQ_CONF_MAX + 1, NULL, &err), -EINVAL);
	free(big);
	/* the longest line, indented, and one byte more: never cut */
	snprintf(text, sizeof(text), "[daemon]\n%300suri=x:///%0*d\n", "", (int)VBMQ_CONF_LINE_MAX - 9, 7);
	assert_int_equal(attack_one(parse, text, strlen(text), NULL, &err), 0);
	snprintf(text, sizeof(text), "[daemon]\n%300suri=x:///%0*d\n", "", (int)VBMQ_CONF_LINE_MAX - 8, 7);
	assert_int_equal(attack_one(parse, text, strlen(text), NULL, &err), -EINVAL);
	assert_string_equal(err.text, "doc:2: the line has 191 bytes, at most 190 are allowed");
	/* a line of 200 bytes and more whose rest looks like another line */
	snprintf(text, sizeof(text), "[policy]\npoll=off\n#%0*d\nworkers=1\n", 250, 7);
	assert_int_equal(attack_one(parse, text, strlen(text), NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "doc:3: the line has 251 bytes"));
	assert_int_equal(attack_one(parse, "[policy]\npoll=off\0\n", 19, NULL, &err), -EINVAL);
	assert_string_equal(err.text, "doc:2: a NUL byte");
	assert_int_equal(attack_one(parse, "[policy]\npoll=o\0ff", 18, NULL, &err), -EINVAL);
	vbmq_conf_init(&c);
	c.uri = strdup("a b");
	assert_int_equal(vbmq_conf_format(&c, &big, NULL), -EINVAL);
	vbmq_conf_done(&c);
}

/* Half a configuration may be one: only what is refused must be refused well. */
static void test_cuts_and_flips(void **state)
{
	const size_t len = strlen(everything);
	struct vbmq_err err;

	for (size_t n = 0; n < len; n++)
		attack_one(parse, everything, n, NULL, &err);
	assert_in_range(attack_flips(parse, everything, 4000), 2000, 3999);
}

/* The shipped file: as it is, it changes nothing; with every key taken out of its comment, too. */
static void test_example(void **state)
{
	_cleanup_free_ char *text = NULL, *defaults = NULL, *got = NULL;
	struct vbmq_conf c;
	size_t keys = 0;

	vbmq_conf_init(&c);
	defaults = text_of(&c);
	assert_int_equal(vbmq_conf_example(&text, NULL), 0);
	for (const char *line = text; *line; line = strchr(line, '\n') + 1)
		assert_in_range(strcspn(line, "\n"), 0, 120);
	c.workers = 9;
	read_into(&c, text);
	assert_int_equal(c.workers, 9);
	for (char *at = text; (at = strstr(at, "\n#")); at++)
		if (at[2] != ' ') {
			at[1] = ' ';
			keys++;
		}
	assert_int_equal(keys, vbmq_conf_n_keys());
	read_into(&c, text);
	got = text_of(&c);
	assert_string_equal(got, defaults);
	vbmq_conf_done(&c);
}

static int format_and_parse(void *data, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL, *example = NULL;
	struct vbmq_conf c;
	int r;

	vbmq_conf_init(&c);
	r = vbmq_conf_parse("doc", everything, strlen(everything), &c, err);
	if (r == 0)
		r = vbmq_conf_format(&c, &text, err);
	if (r == 0)
		r = vbmq_conf_example(&example, err);
	if (r == 0)
		r = vbmq_conf_parse("doc", text, strlen(text), &c, err);
	vbmq_conf_done(&c);
	return r;
}

static void test_memory(void **state)
{
	attack_memory(format_and_parse, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	       cmocka_unit_test(test_round_trip), cmocka_unit_test(test_forms),
		cmocka_unit_test(test_long_list),      cmocka_unit_test(test_errors),	  cmocka_unit_test(test_limits),
		cmocka_unit_test(test_cuts_and_flips), cmocka_unit_test(test_example),	  cmocka_unit_test(test_memory),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
