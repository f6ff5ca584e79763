/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Domain XML: tests/data/domxml/NAME.xml against NAME.expect (what was read, or the error). Names that begin with "live-" are
 * read as a running domain's. VBMQ_UPDATE_EXPECTED=1 rewrites the expected files.
 */

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libxml/xmlerror.h>
#include <libxml/xmlmemory.h>
#include <libxml/xmlstring.h>

#include "attack.h"
#include "codec/domxml.h"
#include "codec/metadata.h"
#include "support.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

#define DIRECTORY "tests/data/domxml"

static void add_set(struct vbmq_strbuf *b, const char *word, const struct vbmq_cpuset *set)
{
	char *text = vbmq_cpulist_format(set);

	assert_non_null(text);
	vbmq_strbuf_printf(b, " %s=%s", word, text);
	free(text);
}

static void dump_thread(struct vbmq_strbuf *b, const struct vbmq_thread *t)
{
	vbmq_strbuf_printf(b, "%s %u", vbmq_thread_kind_words[t->kind], t->id);
	if (t->has_pin)
		add_set(b, "pin", &t->pin);
	if (t->polling.max_ns != UINT64_MAX)
		vbmq_strbuf_printf(b, " poll=%" PRIu64 ",%u,%u", t->polling.max_ns, t->polling.grow, t->polling.shrink);
	vbmq_strbuf_add(b, "\n");
	assert_int_equal(t->tid, 0);
	assert_true(vbmq_cpuset_is_empty(&t->affinity));
}

static void dump_disk(struct vbmq_strbuf *b, const struct vbmq_disk *d)
{
	vbmq_strbuf_printf(b, "disk %s alias=%s source=%s%s%s%s%s%s\n ", d->target, d->alias ? d->alias : "-",
			   d->source ? d->source : "-", d->mapped ? " mapped" : "", d->started ? " started" : "",
			   d->no_ioeventfd ? " no-ioeventfd" : "", d->no_poll ? " no-poll" : "",
			   d->aio_threads ? " aio-threads" : "");
	for (size_t q = 0; q < d->n_queues; q++) {
		vbmq_strbuf_printf(b, " %zu:%u", q, d->queues[q].iothread);
		add_set(b, "vcpus", &d->queues[q].vcpus);
	}
	vbmq_strbuf_add(b, "\n");
}

static void dump(struct vbmq_strbuf *b, const struct vbmq_domain *d)
{
	vbmq_strbuf_printf(b, "domain %s %s id=%d state=%s vcpus=%u", d->name, d->uuid, d->id,
			   vbmq_domain_state_words[d->state], d->n_vcpus);
	if (d->has_cpuset)
		add_set(b, "cpuset", &d->cpuset);
	if (!vbmq_cpuset_is_empty(&d->memory_nodes))
		add_set(b, "nodes", &d->memory_nodes);
	if (!vbmq_cpuset_is_empty(&d->busy_iothreads))
		add_set(b, "busy", &d->busy_iothreads);
	vbmq_strbuf_add(b, "\n");
	if (d->wish.present) {
		char *text = NULL;

		assert_int_equal(vbmq_metadata_format(&d->wish, &text, NULL), 0);
		vbmq_strbuf_add(b, text);
		free(text);
	}
	for (size_t i = 0; i < d->n_threads; i++)
		dump_thread(b, &d->threads[i]);
	for (size_t i = 0; i < d->n_disks; i++)
		dump_disk(b, &d->disks[i]);
}

static bool check_fixture(const char *file)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_domain *d = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	char path[256];
	size_t len;
	char *text;
	int r;

	snprintf(path, sizeof(path), DIRECTORY "/%s", file);
	text = codec_read(path, &len);
	r = vbmq_domxml_parse(file, text, len, !strncmp(file, "live-", 5), &d, &err);
	assert_int_equal(err.code, r);
	assert_int_equal(!d, r < 0);
	if ((r < 0) != !strncmp(file, "bad-", 4))
		print_message("# %s: %s\n", file, r < 0 ? err.text : "was accepted");
	if (r < 0)
		vbmq_strbuf_printf(&b, "error %d %s\n", r, err.text);
	else
		dump(&b, d);
	vbmq_domain_free(d);
	free(text);
	snprintf(path + strlen(path) - 3, 8, "expect");
	return (r < 0) == !strncmp(file, "bad-", 4) && codec_expect(path, b.text);
}

static void test_fixtures(void **state)
{
	size_t n, bad = 0;
	char **names = codec_list(DIRECTORY, "", ".xml", 80, &n);

	for (size_t i = 0; i < n; i++)
		bad += !check_fixture(names[i]);
	assert_int_equal(bad, 0);
	codec_list_free(names, n);
}

/* Bad metadata must not hide the domain from who asks so. */
static void test_lenient(void **state)
{
	struct vbmq_err metadata = VBMQ_ERR_INIT, err = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;
	size_t len;
	char *text = codec_read(DIRECTORY "/bad-metadata.xml", &len);

	assert_int_equal(vbmq_domxml_parse_lenient("m", text, len, false, &d, &metadata, &err), 0);
	assert_int_equal(err.code, 0);
	assert_int_equal(metadata.code, -EINVAL);
	assert_string_equal(metadata.text,
			    "m:10: attribute 'enabled' of <vbmq:domain>: 'maybe' is neither 'yes' nor 'no'");
	assert_false(d->wish.present);
	assert_int_equal(d->n_vcpus, 4);
	vbmq_domain_free(d);
	free(text);
	text = codec_read(DIRECTORY "/metadata.xml", &len);
	metadata = VBMQ_ERR_INIT;
	assert_int_equal(vbmq_domxml_parse_lenient("m", text, len, false, &d, &metadata, &err), 0);
	assert_int_equal(metadata.code, 0);
	assert_int_equal(d->wish.iothreads, 3);
	vbmq_domain_free(d);
	free(text);
}

static int parse_text(const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_domain *d = NULL;
	int r = vbmq_domxml_parse("big", text, len, false, &d, err);

	assert_int_equal(!d, r < 0);
	vbmq_domain_free(d);
	return r;
}

static void test_too_big(void **state)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *padding = malloc(1u << 20);

	assert_non_null(padding);
	memset(padding, ' ', 1u << 20);
	vbmq_strbuf_add(&b, "<domain><name>b</name><!--");
	while (b.len + (2u << 20) < VBMQ_DOMXML_MAX)
		vbmq_strbuf_add_bytes(&b, padding, 1u << 20);
	vbmq_strbuf_add(&b, "--></domain>");
	/* Below our limit; libxml2 may have a lower one for a comment, but must come back with an answer. */
	parse_text(b.text, b.len, &err);
	err = VBMQ_ERR_INIT;
	for (unsigned i = 0; i < 4; i++)
		vbmq_strbuf_add_bytes(&b, padding, 1u << 20);
	assert_int_equal(parse_text(b.text, b.len, &err), -EFBIG);
	assert_non_null(strstr(err.text, "16777216"));
	free(padding);
}

static void test_too_deep(void **state)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;

	vbmq_strbuf_add(&b, "<domain><name>d</name>");
	for (unsigned i = 0; i < 100000; i++)
		vbmq_strbuf_add(&b, "<a>");
	assert_int_equal(parse_text(b.text, b.len, &err), -EINVAL);
}

/* A domain of the greatest size that is allowed is read. */
static void test_greatest(void **state)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;

	vbmq_strbuf_printf(&b, "<domain><name>g</name><vcpu>%u</vcpu><iothreads>256</iothreads><cputune>",
			   VBMQ_VCPUS_MAX);
	for (unsigned i = 0; i < VBMQ_VCPUS_MAX; i++)
		vbmq_strbuf_printf(&b, "<vcpupin vcpu='%u' cpuset='%u'/>\n", i, VBMQ_VCPUS_MAX - 1 - i);
	vbmq_strbuf_add(&b, "</cputune><devices>");
	for (unsigned i = 0; i < VBMQ_DISKS_MAX; i++)
		vbmq_strbuf_printf(&b, "<disk><target dev='vd%u' bus='virtio'/></disk>\n", i);
	vbmq_strbuf_add(&b, "</devices></domain>");
	if (vbmq_domxml_parse("g", b.text, b.len, false, &d, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(d->n_threads, VBMQ_VCPUS_MAX + 256 + 1);
	assert_int_equal(d->n_disks, VBMQ_DISKS_MAX);
	assert_int_equal(d->disks[0].n_queues, VBMQ_QUEUES_MAX);
	assert_true(vbmq_cpuset_has(&d->threads[4095].pin, 0));
	vbmq_domain_free(d);
	b.len -= strlen("</devices></domain>");
	b.text[b.len] = '\0';
	vbmq_strbuf_add(&b, "<disk><target dev='vdx' bus='virtio'/></disk></devices></domain>");
	assert_int_equal(parse_text(b.text, b.len, &err), -E2BIG);
	assert_non_null(strstr(err.text, "more than 256 virtio disks"));
}

/* Lines beyond the 16 bits that libxml2 keeps for them by default. */
static void test_far_line(void **state)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;

	vbmq_strbuf_add(&b, "<domain><name>g</name>");
	for (unsigned i = 0; i < 70000; i++)
		vbmq_strbuf_add(&b, "<!-- -->\n");
	vbmq_strbuf_add(&b, "<vcpu>none</vcpu></domain>");
	assert_int_equal(parse_text(b.text, b.len, &err), -EINVAL);
	assert_string_equal(err.text, "big:70001: <vcpu>: 'none' is not a number from 1 to 4096");
}

/* A value that is cut for the message is cut between characters. */
static void test_cut_character(void **state)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;

	vbmq_strbuf_add(&b, "<domain><name>g</name><vcpu>x");
	for (unsigned i = 0; i < 64; i++)
		vbmq_strbuf_add(&b, "\xe2\x82\xac");
	vbmq_strbuf_add(&b, "</vcpu></domain>");
	assert_int_equal(parse_text(b.text, b.len, &err), -EINVAL);
	assert_non_null(strstr(err.text, "'x\xe2\x82\xac"));
	assert_true(xmlCheckUTF8((const unsigned char *)err.text));
}

static void must_fail(const char *bytes, size_t len, void *data)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (parse_text(bytes, len, &err) >= 0)
		fail_msg("%s: accepted when cut after %zu bytes", (const char *)data, len);
	assert_true(err.code < 0 && err.text[0]);
}

static void may_fail(const char *bytes, size_t len, void *data)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = parse_text(bytes, len, &err);

	assert_int_equal(err.code, r < 0 ? r : 0);
}

static void test_cut_and_flipped(void **state)
{
	static const char *const files[] = { "map-queues.xml", "live-hotplug.xml", "numa.xml", "metadata.xml",
					     "utf16.xml" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[256];
		size_t len, end;
		char *text;

		snprintf(path, sizeof(path), DIRECTORY "/%s", files[i]);
		text = codec_read(path, &len);
		for (end = len; end && text[end - 1] != '>'; end--)
			;
		codec_each_cut(text, end, 1, must_fail, (void *)(uintptr_t)files[i]);
		codec_each_flip(text, len, 1000, may_fail, NULL);
		free(text);
	}
}

/* --- no memory: libxml2's allocations are counted here, our own by attack.c -------------------------------------------- */

static size_t xml_allocations_left = SIZE_MAX;
static bool xml_failed;

static bool xml_may(void)
{
	if (xml_allocations_left == SIZE_MAX)
		return true;
	if (xml_allocations_left--)
		return true;
	xml_allocations_left = 0;
	xml_failed = true;
	return false;
}

static void *xml_malloc(size_t n)
{
	return xml_may() ? malloc(n) : NULL;
}

static void *xml_realloc(void *p, size_t n)
{
	return xml_may() ? realloc(p, n) : NULL;
}

static char *xml_strdup(const char *text)
{
	return xml_may() ? strdup(text) : NULL;
}

/* libxml2 2.9 says "out of memory" on stderr of its own in a few places. */
static void silent(void *data, const char *fmt, ...)
{
}

struct memory_work {
	char *text;
	size_t len;
};

static int memory_work(void *data, struct vbmq_err *err)
{
	struct memory_work *w = data;

	return parse_text(w->text, w->len, err);
}

/* Without metadata: the regular expressions of libxml2 2.9, behind the schema's patterns, do not survive this themselves. */
static void test_no_memory(void **state)
{
	static const char *const files[] = { "map-queues.xml", "live-hotplug.xml", "numa.xml", "pins.xml",
					     "utf16.xml" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct memory_work w;
		char path[256];
		size_t n;

		snprintf(path, sizeof(path), DIRECTORY "/%s", files[i]);
		w.text = codec_read(path, &w.len);
		attack_memory(memory_work, &w);
		for (n = 0, xml_failed = true; xml_failed; n++) {
			struct vbmq_err err = VBMQ_ERR_INIT;
			int r;

			xml_failed = false;
			xml_allocations_left = n;
			r = memory_work(&w, &err);
			xml_allocations_left = SIZE_MAX;
			if (r != (xml_failed ? -ENOMEM : 0))
				fail_msg("%s: allocation %zu failed and %d came out (%s)", files[i], n, r, err.text);
		}
		assert_true(n > 20);
		free(w.text);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixtures),      cmocka_unit_test(test_lenient),
		cmocka_unit_test(test_too_big),	      cmocka_unit_test(test_too_deep),
		cmocka_unit_test(test_greatest),      cmocka_unit_test(test_far_line),
		cmocka_unit_test(test_cut_character), cmocka_unit_test(test_cut_and_flipped),
		cmocka_unit_test(test_no_memory),
	};

	if (xmlMemSetup(free, xml_malloc, xml_realloc, xml_strdup) != 0)
		return 1;
	xmlSetGenericErrorFunc(NULL, silent);
	codec_test_init(argc, argv);
	return cmocka_run_group_tests_name("domxml", tests, NULL, NULL);
}
