/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A capture during which libvirtd falls silent: the list was to be had, then no more is. On libvirt's test driver; the silence
 * is that of vbmq_virt_look(), which the linker sends here. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "capture/capture.h"
#include "util/err.h"
#include "virt/read.h"
#include "virt/xml.h"

#define DB1_UUID "6695eb01-f6a4-8304-79aa-97f2502e1931"

int __real_vbmq_virt_look(struct vbmq_virt *v, const char *name_or_uuid, struct vbmq_virt_facts *ret,
			  struct vbmq_err *err);
int __wrap_vbmq_virt_look(struct vbmq_virt *v, const char *name_or_uuid, struct vbmq_virt_facts *ret,
			  struct vbmq_err *err);

static int silence; /* 0 or the errno of db1 */

int __wrap_vbmq_virt_look(struct vbmq_virt *v, const char *name_or_uuid, struct vbmq_virt_facts *ret,
			  struct vbmq_err *err)
{
	if (silence && !strcmp(name_or_uuid, DB1_UUID))
		return vbmq_err_set(err, silence, "silence");
	return __real_vbmq_virt_look(v, name_or_uuid, ret, err);
}

static char uri[4096];

/* The skipped ones, NULL: none; *ret NULL: failed. Caller frees both. */
static char *capture(struct vbmq_virt *v, struct vbmq_snapshot **ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *skipped = NULL;

	*ret = NULL;
	if (vbmq_capture_all(v, NULL, NULL, ret, &skipped, &err) < 0)
		fail_msg("%s", err.text);
	return skipped;
}

static const struct vbmq_domain *find(const struct vbmq_snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->n_domains; i++) {
		if (!strcmp(s->domains[i]->name, name))
			return s->domains[i];
	}
	return NULL;
}

static void silent_with(int code)
{
	struct vbmq_virt *v = NULL;
	struct vbmq_snapshot *s;
	char *skipped;

	silence = code;
	assert_int_equal(vbmq_virt_open(uri, false, NULL, NULL, &v, NULL), 0);
	skipped = capture(v, &s);
	assert_null(skipped);
	assert_non_null(find(s, "db1"));
	assert_false(find(s, "db1")->responsive);
	assert_string_equal(find(s, "db1")->uuid, DB1_UUID);
	assert_true(find(s, "app2")->responsive);
	vbmq_snapshot_free(s);
	vbmq_virt_close(v);
}

static void test_silent(void **state)
{
	silent_with(-ETIMEDOUT);
	silent_with(-EBUSY);
}

static void test_other_failures(void **state)
{
	struct vbmq_virt *v = NULL;
	struct vbmq_snapshot *s;
	char *skipped;

	assert_int_equal(vbmq_virt_open(uri, false, NULL, NULL, &v, NULL), 0);
	silence = -ENOENT; /* it stopped */
	skipped = capture(v, &s);
	assert_null(skipped);
	assert_null(find(s, "db1"));
	vbmq_snapshot_free(s);
	silence = -EIO;
	skipped = capture(v, &s);
	assert_non_null(skipped);
	assert_non_null(strstr(skipped, "db1: silence"));
	assert_null(find(s, "db1"));
	vbmq_snapshot_free(s);
	free(skipped);
	vbmq_virt_close(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_other_failures),
	};
	const char *node = getenv("VBMQ_TEST_NODE");

	(void)snprintf(uri, sizeof(uri), "test://%s", node ? node : "/nonexistent");
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
