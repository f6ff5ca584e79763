/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Metadata: the examples beside the schema, every message, reading and writing. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/metadata.h"
#include "support.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

#define NS "xmlns:vbmq=\"urn:vbmq:domain:1\""

static char *read_example(const char *file, size_t *len)
{
	char path[256];

	snprintf(path, sizeof(path), "schemas/examples/%s", file);
	return codec_read(path, len);
}

static bool wishes_equal(const struct vbmq_wish *a, const struct vbmq_wish *b)
{
	if (a->present != b->present || a->enabled != b->enabled || a->has_priority != b->has_priority ||
	    a->priority != b->priority || a->iothreads != b->iothreads || a->exclusive != b->exclusive ||
	    a->poll != b->poll || a->vcpus != b->vcpus || a->n_disks != b->n_disks)
		return false;
	for (size_t i = 0; i < a->n_disks; i++)
		if (strcmp(a->disks[i].target, b->disks[i].target) != 0 ||
		    a->disks[i].iothreads != b->disks[i].iothreads || a->disks[i].queues != b->disks[i].queues)
			return false;
	return true;
}

/* What was read, written and read again is the same. */
static void test_valid(void **state)
{
	size_t n;
	char **names = codec_list("schemas/examples", "metadata-valid-", ".xml", 4, &n);

	for (size_t i = 0; i < n; i++) {
		struct vbmq_wish wish = VBMQ_WISH_INIT, again = VBMQ_WISH_INIT;
		struct vbmq_err err = VBMQ_ERR_INIT;
		char *formatted = NULL;
		size_t len;
		char *text = read_example(names[i], &len);

		if (vbmq_metadata_parse(names[i], text, len, &wish, &err) != 0)
			fail_msg("refused: %s", err.text);
		assert_int_equal(err.code, 0);
		assert_true(wish.present);
		assert_int_equal(vbmq_metadata_format(&wish, &formatted, &err), 0);
		if (vbmq_metadata_parse("written", formatted, strlen(formatted), &again, &err) != 0)
			fail_msg("%s: what we write is refused: %s\n%s", names[i], err.text, formatted);
		assert_true(wishes_equal(&wish, &again));
		vbmq_wish_done(&wish);
		vbmq_wish_done(&again);
		free(formatted);
		free(text);
	}
	codec_list_free(names, n);
}

/* Every message, in one expected file. */
static void test_invalid(void **state)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	size_t n;
	char **names = codec_list("schemas/examples", "metadata-invalid-", ".xml", 30, &n);

	for (size_t i = 0; i < n; i++) {
		struct vbmq_wish wish = VBMQ_WISH_INIT;
		struct vbmq_err err = VBMQ_ERR_INIT;
		size_t len;
		char *text = read_example(names[i], &len);
		int r = vbmq_metadata_parse(names[i], text, len, &wish, &err);

		if (r >= 0)
			fail_msg("%s was accepted", names[i]);
		assert_int_equal(err.code, r);
		assert_null(wish.disks);
		vbmq_strbuf_printf(&b, "%d %s\n", r, err.text);
		free(text);
	}
	assert_true(codec_expect("tests/data/metadata/messages.txt", b.text));
	codec_list_free(names, n);
}

static void test_values(void **state)
{
	struct vbmq_wish w = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t len;
	char *text = read_example("metadata-valid-all.xml", &len);

	assert_int_equal(vbmq_metadata_parse("all", text, len, &w, &err), 0);
	free(text);
	assert_int_equal(w.enabled, VBMQ_YES);
	assert_true(w.has_priority);
	assert_int_equal(w.priority, 10);
	assert_int_equal(w.iothreads, VBMQ_COUNT_AUTO);
	assert_int_equal(w.exclusive, VBMQ_EXCLUSIVE_CORE);
	assert_int_equal(w.poll, VBMQ_POLL_DEDICATED);
	assert_int_equal(w.vcpus, VBMQ_VCPUS_FOLLOW);
	assert_int_equal(w.n_disks, 2);
	assert_string_equal(w.disks[0].target, "vda");
	assert_int_equal(w.disks[0].iothreads, 4);
	assert_int_equal(w.disks[0].queues, VBMQ_COUNT_AUTO);
	assert_string_equal(w.disks[1].target, "vdb");
	assert_int_equal(w.disks[1].iothreads, VBMQ_COUNT_UNSAID);
	vbmq_wish_done(&w);
}

static void test_unsaid(void **state)
{
	static const char text[] = "<vbmq:domain " NS "/>";
	struct vbmq_wish w = VBMQ_WISH_INIT;

	assert_int_equal(vbmq_metadata_parse("empty", text, strlen(text), &w, NULL), 0);
	assert_true(w.present);
	assert_int_equal(w.enabled, VBMQ_UNSAID);
	assert_false(w.has_priority);
	assert_int_equal(w.iothreads, VBMQ_COUNT_UNSAID);
	assert_int_equal(w.exclusive, VBMQ_EXCLUSIVE_UNSAID);
	assert_int_equal(w.poll, VBMQ_POLL_UNSAID);
	assert_int_equal(w.vcpus, VBMQ_VCPUS_UNSAID);
	assert_int_equal(w.n_disks, 0);
}

/* What the schema cannot say. */
static void test_beside_the_schema(void **state)
{
	struct vbmq_wish w = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t len;
	char *text = codec_read("tests/data/metadata/disk-twice.xml", &len);

	assert_int_equal(vbmq_metadata_parse("m.xml", text, len, &w, &err), -EINVAL);
	assert_string_equal(err.text,
			    "m.xml:3: attribute 'target' of <vbmq:disk>: disk 'vda' has a <vbmq:disk> already");
	free(text);
	err = VBMQ_ERR_INIT;
	text = codec_read("tests/data/metadata/doctype.xml", &len);
	assert_int_equal(vbmq_metadata_parse("m.xml", text, len, &w, &err), -EINVAL);
	assert_string_equal(err.text, "m.xml:1: a DOCTYPE has no place in this document; remove it");
	free(text);
}

static void test_limits(void **state)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_wish w = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;

	vbmq_strbuf_add(&b, "<vbmq:domain " NS ">");
	for (unsigned i = 0; i < VBMQ_DISKS_MAX; i++)
		vbmq_strbuf_printf(&b, "<vbmq:disk target=\"vd%u\"/>", i);
	vbmq_strbuf_add(&b, "</vbmq:domain>");
	assert_int_equal(vbmq_metadata_parse("m", b.text, b.len, &w, &err), 0);
	assert_int_equal(w.n_disks, VBMQ_DISKS_MAX);
	vbmq_wish_done(&w);
	b.len -= strlen("</vbmq:domain>");
	b.text[b.len] = '\0';
	vbmq_strbuf_add(&b, "<vbmq:disk target=\"vdx\"/></vbmq:domain>");
	assert_int_equal(vbmq_metadata_parse("m", b.text, b.len, &w, &err), -EINVAL);
	assert_non_null(strstr(err.text, "more than 256 <vbmq:disk>"));
	while (b.len <= VBMQ_METADATA_MAX)
		vbmq_strbuf_add(&b, "<!-- padding -->");
	assert_int_equal(vbmq_metadata_parse("m", b.text, b.len, &w, &err), -EFBIG);
	assert_null(w.disks);
}

static void test_format_refuses(void **state)
{
	struct vbmq_wish w = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *text = NULL;

	assert_non_null(vbmq_wish_disk(&w, "a\"/><x", true));
	assert_int_equal(vbmq_metadata_format(&w, &text, &err), -EINVAL);
	assert_null(text);
	vbmq_wish_done(&w);
}

static void must_fail(const char *bytes, size_t len, void *data)
{
	struct vbmq_wish w = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_metadata_parse("cut", bytes, len, &w, &err) >= 0)
		fail_msg("accepted when cut after %zu bytes", len);
	assert_true(err.code < 0 && err.text[0]);
}

static void may_fail(const char *bytes, size_t len, void *data)
{
	struct vbmq_wish w = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = vbmq_metadata_parse("flip", bytes, len, &w, &err);

	assert_int_equal(err.code, r < 0 ? r : 0);
	vbmq_wish_done(&w);
}

static void test_cut_and_flipped(void **state)
{
	size_t len;
	char *text = read_example("metadata-valid-all.xml", &len);

	len = (size_t)(strrchr(text, '>') + 1 - text);
	codec_each_cut(text, len, 1, must_fail, NULL);
	codec_each_flip(text, len, 2000, may_fail, NULL);
	free(text);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),	       cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_values),	       cmocka_unit_test(test_unsaid),
		cmocka_unit_test(test_limits),	       cmocka_unit_test(test_beside_the_schema),
		cmocka_unit_test(test_format_refuses), cmocka_unit_test(test_cut_and_flipped),
	};

	codec_test_init(argc, argv);
	return cmocka_run_group_tests_name("metadata", tests, NULL, NULL);
}
