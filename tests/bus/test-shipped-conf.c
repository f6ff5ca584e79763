/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/data/vbmqd.conf is what the table of keys says: rewrite it with VBMQ_UPDATE_EXPECTED=1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/conf.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"

static void test_shipped(void **state)
{
	_cleanup_free_ char *want = NULL, *is = NULL;
	size_t len;

	assert_int_equal(vbmq_conf_example(&want, NULL), 0);
	if (getenv("VBMQ_UPDATE_EXPECTED"))
		assert_int_equal(vbmq_file_replace(VBMQ_TEST_CONF, want, strlen(want), 0644, NULL), 0);
	assert_int_equal(vbmq_file_read(VBMQ_TEST_CONF, VBMQ_CONF_MAX, &is, &len, NULL), 0);
	assert_string_equal(is, want);
}

static void test_shipped_is_the_defaults(void **state)
{
	_cleanup_free_ char *text = NULL, *from_file = NULL, *defaults = NULL;
	struct vbmq_conf read, built_in;
	size_t len;

	vbmq_conf_init(&read);
	vbmq_conf_init(&built_in);
	assert_int_equal(vbmq_file_read(VBMQ_TEST_CONF, VBMQ_CONF_MAX, &text, &len, NULL), 0);
	/* "#key=value" are the keys; text for people has a space after the sign. */
	for (char *p = text; p; p = strstr(p, "\n#")) {
		p += p != text || *p == '\n';
		if (p[0] == '#' && p[1] != ' ' && p[1] != '\n')
			p[0] = ' ';
	}
	assert_int_equal(vbmq_conf_parse("vbmqd.conf", text, len, &read, NULL), 0);
	assert_int_equal(vbmq_conf_format(&read, &from_file, NULL), 0);
	assert_int_equal(vbmq_conf_format(&built_in, &defaults, NULL), 0);
	assert_string_equal(from_file, defaults);
	vbmq_conf_done(&read);
	vbmq_conf_done(&built_in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shipped),
		cmocka_unit_test(test_shipped_is_the_defaults),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
