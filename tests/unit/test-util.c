/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* util: sets, lists, parsers, strings, digest, errors, files. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/array.h"
#include "util/cleanup.h"
#include "util/cpuset.h"
#include "util/err.h"
#include "util/file.h"
#include "util/parse.h"
#include "util/sha256.h"
#include "util/strbuf.h"

/* --- CPU sets --------------------------------------------------------------------------------------------------------- */

static void set_members(void **state)
{
	struct vbmq_cpuset s = VBMQ_CPUSET_EMPTY;

	assert_true(vbmq_cpuset_is_empty(&s));
	assert_int_equal(vbmq_cpuset_next(&s, 0), -1);
	assert_int_equal(vbmq_cpuset_last(&s), -1);
	vbmq_cpuset_add(&s, 0);
	vbmq_cpuset_add(&s, 63);
	vbmq_cpuset_add(&s, 64);
	vbmq_cpuset_add(&s, VBMQ_CPUS_MAX - 1);
	vbmq_cpuset_add(&s, VBMQ_CPUS_MAX); /* no effect */
	assert_int_equal(vbmq_cpuset_count(&s), 4);
	assert_int_equal(vbmq_cpuset_next(&s, 0), 0);
	assert_int_equal(vbmq_cpuset_next(&s, 1), 63);
	assert_int_equal(vbmq_cpuset_next(&s, 64), 64);
	assert_int_equal(vbmq_cpuset_next(&s, 65), VBMQ_CPUS_MAX - 1);
	assert_int_equal(vbmq_cpuset_next(&s, VBMQ_CPUS_MAX), -1);
	assert_int_equal(vbmq_cpuset_last(&s), VBMQ_CPUS_MAX - 1);
	vbmq_cpuset_del(&s, 63);
	assert_false(vbmq_cpuset_has(&s, 63));
	assert_true(vbmq_cpuset_has(&s, 64));
	assert_false(vbmq_cpuset_has(&s, 1u << 31));
}

static struct vbmq_cpuset set(const char *text)
{
	struct vbmq_cpuset s;

	assert_int_equal(vbmq_cpulist_parse(text, strlen(text), VBMQ_CPULIST_EXCLUDE, &s, NULL), 0);
	return s;
}

static void set_algebra(void **state)
{
	struct vbmq_cpuset a = set("0-3,100"), b = set("2-5"), r;

	r = vbmq_cpuset_and(&a, &b);
	assert_true(vbmq_cpuset_equal(&r, &(struct vbmq_cpuset[]){ set("2-3") }[0]));
	r = vbmq_cpuset_or(&a, &b);
	assert_true(vbmq_cpuset_equal(&r, &(struct vbmq_cpuset[]){ set("0-5,100") }[0]));
	r = vbmq_cpuset_andnot(&a, &b);
	assert_true(vbmq_cpuset_equal(&r, &(struct vbmq_cpuset[]){ set("0-1,100") }[0]));
	assert_true(vbmq_cpuset_is_subset(&r, &a));
	assert_false(vbmq_cpuset_is_subset(&a, &r));
	assert_true(vbmq_cpuset_intersects(&a, &b));
	assert_false(vbmq_cpuset_intersects(&r, &b));
	assert_true(vbmq_cpuset_compare(&a, &b) < 0); /* a has 0, the lowest differing one */
	assert_true(vbmq_cpuset_compare(&b, &a) > 0);
	assert_int_equal(vbmq_cpuset_compare(&a, &a), 0);
}

static void list_round_trip(void **state)
{
	static const char *const texts[] = { "", "0", "0-3", "0-3,8", "5,7,9-11", "4095", "0-4095" };
	static const struct {
		const char *in, *out;
	} loose[] = { { " 1,0 \n", "0-1" }, { "0-3,2-5", "0-5" }, { "0-7,^3", "0-2,4-7" }, { "3,3,3", "3" } };

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(texts); i++) {
		struct vbmq_cpuset s = set(texts[i]);
		char *back = vbmq_cpulist_format(&s);

		assert_string_equal(back, texts[i]);
		free(back);
	}
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(loose); i++) {
		struct vbmq_cpuset s = set(loose[i].in);
		char *back = vbmq_cpulist_format(&s);

		assert_string_equal(back, loose[i].out);
		free(back);
	}
}

static void list_refuses(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *says;
	} bad[] = {
		{ "3-1", -EINVAL, "backwards" },   { "1,", -EINVAL, "after the comma" },
		{ ",1", -EINVAL, "missing" },	   { "1,,2", -EINVAL, "missing" },
		{ "a", -EINVAL, "missing" },	   { "1-", -EINVAL, "missing" },
		{ "-1", -EINVAL, "missing" },	   { "1 2", -EINVAL, "unexpected" },
		{ "+1", -EINVAL, "missing" },	   { "0x1", -EINVAL, "unexpected" },
		{ "4096", -ERANGE, "above 4095" }, { "99999999999999999999", -ERANGE, "above" },
		{ "0-3,^1", -EINVAL, "missing" },  { "1;2", -EINVAL, "unexpected" },
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(bad); i++) {
		struct vbmq_cpuset s = vbmq_cpuset_of(7), before = s;
		struct vbmq_err err = VBMQ_ERR_INIT;

		assert_int_equal(vbmq_cpulist_parse(bad[i].text, strlen(bad[i].text), 0, &s, &err), bad[i].code);
		assert_int_equal(err.code, bad[i].code);
		assert_non_null(strstr(err.text, bad[i].says));
		assert_true(vbmq_cpuset_equal(&s, &before)); /* untouched on failure */
	}
	{
		size_t len = VBMQ_CPULIST_TEXT_MAX + 1;
		char *huge = malloc(len);
		struct vbmq_cpuset s;

		memset(huge, '1', len);
		assert_int_equal(vbmq_cpulist_parse(huge, len, 0, &s, NULL), -EINVAL);
		free(huge);
	}
}

/* --- parsers ---------------------------------------------------------------------------------------------------------- */

static void numbers(void **state)
{
	uint64_t u = 99;
	uint32_t v = 99;
	int32_t i = 99;
	bool b;

	assert_int_equal(vbmq_parse_u64("18446744073709551615", 0, UINT64_MAX, &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(vbmq_parse_u64("18446744073709551616", 0, UINT64_MAX, &u), -ERANGE);
	assert_true(u == UINT64_MAX);
	for (const char **p = (const char *[]){ "", " 1", "1 ", "+1", "-1", "0x1", "01", "1e3", "1.0", NULL }; *p; p++)
		assert_int_equal(vbmq_parse_u64(*p, 0, UINT64_MAX, &u), -EINVAL);
	assert_int_equal(vbmq_parse_u32("0", 0, 5, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(vbmq_parse_u32("6", 0, 5, &v), -ERANGE);
	assert_int_equal(vbmq_parse_i32("-1000", -1000, 1000, &i), 0);
	assert_int_equal(i, -1000);
	assert_int_equal(vbmq_parse_i32("-1001", -1000, 1000, &i), -ERANGE);
	assert_int_equal(vbmq_parse_i32("--1", -1000, 1000, &i), -EINVAL);
	assert_int_equal(vbmq_parse_i32("-2147483648", INT32_MIN, INT32_MAX, &i), 0);
	assert_int_equal(i, INT32_MIN);
	assert_int_equal(vbmq_parse_bool("yes", &b), 0);
	assert_true(b);
	assert_int_equal(vbmq_parse_bool("off", &b), 0);
	assert_false(b);
	assert_int_equal(vbmq_parse_bool("Yes", &b), -EINVAL);
}

static void durations(void **state)
{
	uint64_t ms = 0;

	assert_int_equal(vbmq_parse_msec("250ms", 0, UINT64_MAX, &ms), 0);
	assert_int_equal(ms, 250);
	assert_int_equal(vbmq_parse_msec("5", 0, UINT64_MAX, &ms), 0);
	assert_int_equal(ms, 5000);
	assert_int_equal(vbmq_parse_msec("2min", 0, UINT64_MAX, &ms), 0);
	assert_int_equal(ms, 120000);
	assert_int_equal(vbmq_parse_msec("1h", 0, UINT64_MAX, &ms), 0);
	assert_int_equal(ms, 3600000);
	assert_int_equal(vbmq_parse_msec("1 s", 0, UINT64_MAX, &ms), -EINVAL);
	assert_int_equal(vbmq_parse_msec("ms", 0, UINT64_MAX, &ms), -EINVAL);
	assert_int_equal(vbmq_parse_msec("1d", 0, UINT64_MAX, &ms), -EINVAL);
	assert_int_equal(vbmq_parse_msec("99999999999999999999h", 0, UINT64_MAX, &ms), -ERANGE);
	assert_int_equal(vbmq_parse_msec("5124095576030432h", 0, UINT64_MAX, &ms), -ERANGE);
	assert_int_equal(vbmq_parse_msec("9ms", 10, 100, &ms), -ERANGE);
}

static void uuids(void **state)
{
	char u[37] = "untouched";

	assert_int_equal(vbmq_parse_uuid("C7A5FDBD-EDAF-9455-926A-D65C16DB1809", u), 0);
	assert_string_equal(u, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
	assert_int_equal(vbmq_parse_uuid("c7a5fdbdedaf9455926ad65c16db1809", u), 0);
	assert_string_equal(u, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
	assert_int_equal(vbmq_parse_uuid("c7a5fdbd-edaf-9455-926a-d65c16db180", u), -EINVAL);
	assert_int_equal(vbmq_parse_uuid("c7a5fdbd-edaf-9455-926a_d65c16db1809", u), -EINVAL);
	assert_int_equal(vbmq_parse_uuid("g7a5fdbdedaf9455926ad65c16db1809", u), -EINVAL);
	assert_string_equal(u, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
}

/* --- strings, arrays, errors ------------------------------------------------------------------------------------------ */

static void strings(void **state)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	char *text;

	text = vbmq_strbuf_steal(&b);
	assert_string_equal(text, "");
	free(text);
	for (int i = 0; i < 1000; i++)
		vbmq_strbuf_printf(&b, "%d,", i);
	text = vbmq_strbuf_steal(&b);
	assert_int_equal(strlen(text), 10 * 2 + 90 * 3 + 900 * 4);
	assert_non_null(strstr(text, ",998,999,"));
	free(text);
	assert_null(b.text);
	b.failed = true; /* latched: nothing more is added, nothing comes out */
	vbmq_strbuf_add(&b, "x");
	assert_null(vbmq_strbuf_steal(&b));
}

static void arrays(void **state)
{
	uint32_t *items = NULL;
	size_t n = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t *item = vbmq_array_add(items, n, 1000);

		assert_non_null(item);
		assert_int_equal(*item, 0);
		*item = i;
	}
	assert_null(vbmq_array_add(items, n, 1000));
	assert_int_equal(n, 1000);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(items[i], i);
	free(items);
}

static void errors(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char long_text[2 * VBMQ_ERR_TEXT_MAX];

	assert_int_equal(vbmq_err_set(NULL, -EINVAL, "nobody listens"), -EINVAL);
	assert_int_equal(vbmq_err_prefix(&err, "no effect: "), 0);
	assert_string_equal(err.text, "");
	assert_int_equal(vbmq_err_set(&err, -EIO, "bad \033[31m%s", "thing\n"), -EIO);
	assert_string_equal(err.text, "bad ?[31mthing?"); /* the reader's terminal is not ours to drive */
	assert_int_equal(vbmq_err_prefix(&err, "%s: ", "file"), -EIO);
	assert_string_equal(err.text, "file: bad ?[31mthing?");
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	vbmq_err_set(&err, -EIO, "%s", long_text);
	assert_int_equal(strlen(err.text), VBMQ_ERR_TEXT_MAX - 1);
	assert_string_equal(err.text + VBMQ_ERR_TEXT_MAX - 4, "...");
	vbmq_err_prefix(&err, "place: ");
	assert_memory_equal(err.text, "place: xxx", 10);
	assert_int_equal(strlen(err.text), VBMQ_ERR_TEXT_MAX - 1);
	vbmq_err_prefix(&err, "%s", long_text);
	assert_int_equal(strlen(err.text), VBMQ_ERR_TEXT_MAX - 1);
	for (size_t i = 0; i + 3 < sizeof(long_text); i += 3)
		memcpy(long_text + i, "\xe2\x82\xac", 3); /* a euro sign, three bytes */
	for (int shift = 0; shift < 3; shift++) {
		vbmq_err_set(&err, -EIO, "%.*s%s", shift, "ab", long_text);
		assert_int_equal((strlen(err.text) - 3 - (size_t)shift) % 3, 0);
		assert_string_equal(err.text + strlen(err.text) - 3, "...");
	}
}

/* --- digest: vectors of FIPS 180 -------------------------------------------------------------------------------------- */

static void digest_is(const char *text, size_t times, const char *want)
{
	struct vbmq_sha256 s;
	uint8_t digest[32];
	char hex[65];

	vbmq_sha256_init(&s);
	for (size_t i = 0; i < times; i++)
		vbmq_sha256_add(&s, text, strlen(text));
	vbmq_sha256_end(&s, digest);
	vbmq_sha256_hex(digest, 64, hex);
	assert_string_equal(hex, want);
}

static void digests(void **state)
{
	digest_is("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	digest_is("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	digest_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	digest_is("aaaaaaaaaa", 100000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* --- files ------------------------------------------------------------------------------------------------------------ */

static void files(void **state)
{
	char dir[] = "/tmp/vbmq-test-XXXXXX", path[64];
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct stat st;
	size_t len = 0;
	char *text = NULL;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
	assert_int_equal(vbmq_file_read(path, 10, &text, &len, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_null(text);
	assert_int_equal(vbmq_file_replace(path, "0123456789", 10, 0600, NULL), 0);
	assert_int_equal(vbmq_file_read(path, 10, &text, &len, NULL), 0);
	assert_int_equal(len, 10);
	assert_string_equal(text, "0123456789");
	free(text);
	assert_int_equal(vbmq_file_read(path, 9, &text, &len, &err), -EFBIG);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(vbmq_file_replace(path, "x", 1, 0644, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 1);
	assert_int_equal(st.st_mode & 0777, 0644);
	unlink(path);
	assert_int_equal(rmdir(dir), 0); /* no temporary file is left */
	assert_true(vbmq_file_replace(path, "x", 1, 0644, &err) < 0);
	assert_int_equal(vbmq_file_read("/proc/self/status", 1 << 20, &text, &len, NULL), 0); /* no size in stat */
	assert_true(len > 100);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_members),	cmocka_unit_test(set_algebra), cmocka_unit_test(list_round_trip),
		cmocka_unit_test(list_refuses), cmocka_unit_test(numbers),     cmocka_unit_test(durations),
		cmocka_unit_test(uuids),	cmocka_unit_test(strings),     cmocka_unit_test(arrays),
		cmocka_unit_test(errors),	cmocka_unit_test(digests),     cmocka_unit_test(files),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("util", tests, NULL, NULL);
}
