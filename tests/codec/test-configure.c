/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * domxml_configure: what it writes for the domains of tests/data/domxml, against tests/data/configured/NAME.xml (with maps)
 * and NAME.old.xml (libvirt before maps). test_schemas.py holds those files to libvirt's own schema.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attack.h"
#include "codec/domxml.h"
#include "support.h"
#include "util/err.h"

#define INPUT "tests/data/domxml"
#define OUTPUT "tests/data/configured"

static struct vbmq_domain *read_domain(const char *xml, size_t len)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;

	if (vbmq_domxml_parse_lenient("domain", xml, len, false, &d, NULL, &err) < 0)
		fail_msg("%s", err.text);
	return d;
}

/* A placement as the planner would make it: disks in order take the I/O threads first, first + 1, ... in turn. */
static void make_place(const struct vbmq_domain *d, uint32_t first, uint32_t n_threads, struct vbmq_place_domain *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->disks = calloc(d->n_disks + 1, sizeof(*ret->disks));
	ret->n_disks = d->n_disks;
	for (size_t i = 0; i < d->n_disks; i++) {
		struct vbmq_place_disk *disk = &ret->disks[i];

		memcpy(disk->target, d->disks[i].target, sizeof(disk->target));
		disk->n_queues = d->disks[i].n_queues;
		disk->at_next_start = true;
		disk->queues = calloc(disk->n_queues, sizeof(*disk->queues));
		for (size_t q = 0; q < disk->n_queues; q++)
			disk->queues[q].iothread = first + (uint32_t)q % n_threads;
	}
}

static void free_place(struct vbmq_place_domain *p)
{
	for (size_t i = 0; i < p->n_disks; i++)
		free(p->disks[i].queues);
	free(p->disks);
}

static char *configure(const char *xml, size_t len, const struct vbmq_place_domain *place, const struct vbmq_wish *wish,
		       bool with_map)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *ret = NULL;

	if (vbmq_domxml_configure("domain", xml, len, place, wish, with_map, &ret, &err) < 0)
		fail_msg("%s", err.text);
	return ret;
}

/* Configured again, with the placement that belongs to the new XML: the same bytes. */
static void check_again(const char *xml, uint32_t first, uint32_t n_threads, const struct vbmq_wish *wish,
			bool with_map)
{
	struct vbmq_domain *d = read_domain(xml, strlen(xml));
	struct vbmq_place_domain place;
	char *again;

	make_place(d, first, n_threads, &place);
	again = configure(xml, strlen(xml), &place, wish, with_map);
	assert_string_equal(again, xml);
	free(again);
	free_place(&place);
	vbmq_domain_free(d);
}

/* Disks that had a map keep it, the others have the placement's; nobody loses an I/O thread. */
static void check_result(const struct vbmq_domain *before, const char *xml, const struct vbmq_place_domain *place,
			 const struct vbmq_wish *wish, bool with_map)
{
	struct vbmq_domain *after = read_domain(xml, strlen(xml));

	assert_int_equal(after->n_disks, before->n_disks);
	for (size_t i = 0; i < before->n_threads; i++)
		assert_non_null(vbmq_domain_thread(after, before->threads[i].kind, before->threads[i].id));
	for (size_t i = 0; i < before->n_disks; i++) {
		const struct vbmq_disk *old = &before->disks[i], *new = &after->disks[i];
		bool wished = wish && vbmq_wish_find_disk(wish, old->target);

		assert_true(new->mapped);
		if (!wished || old->mapped)
			assert_int_equal(new->n_queues, old->n_queues);
		for (size_t q = 0; q < old->n_queues && !wished; q++) {
			if (old->mapped)
				assert_int_equal(new->queues[q].iothread, old->queues[q].iothread);
			else if (with_map)
				assert_int_equal(new->queues[q].iothread, place->disks[i].queues[q].iothread);
			else
				assert_int_equal(new->queues[q].iothread, place->disks[i].queues[0].iothread);
		}
	}
	vbmq_domain_free(after);
}

static void run(const char *file, uint32_t first, uint32_t n_threads, const struct vbmq_wish *wish, bool with_map,
		const char *output)
{
	struct vbmq_place_domain place;
	struct vbmq_domain *before;
	char path[256], *xml, *result;
	size_t len;

	snprintf(path, sizeof(path), INPUT "/%s.xml", file);
	xml = codec_read(path, &len);
	before = read_domain(xml, len);
	make_place(before, first, n_threads, &place);
	result = configure(xml, len, &place, wish, with_map);
	snprintf(path, sizeof(path), OUTPUT "/%s.xml", output);
	assert_true(codec_expect(path, result));
	check_result(before, result, &place, wish, with_map);
	check_again(result, first, n_threads, wish, with_map);
	free(result);
	free_place(&place);
	vbmq_domain_free(before);
	free(xml);
}

static void test_plain(void **state)
{
	run("plain-disk", 1, 4, NULL, true, "plain-disk");
	run("plain-disk", 1, 4, NULL, false, "plain-disk.old");
	run("plain-disk", 1, 1, NULL, true, "plain-disk-one-thread");
}

static void test_kinds(void **state)
{
	run("disk-kinds", 1, 2, NULL, true, "disk-kinds");
	run("metadata", 1, 3, NULL, true, "metadata");
	run("scsi-iothread", 3, 2, NULL, true, "scsi-iothread");
	run("comments", 1, 1, NULL, true, "comments");
	run("utf16", 1, 1, NULL, true, "utf16");
	run("latin1", 1, 1, NULL, true, "latin1");
	run("qemu-commandline", 1, 1, NULL, true, "qemu-commandline");
}

/* Maps of the owner stay, byte for byte. */
static void test_respected(void **state)
{
	static const char *const files[] = { "map-queues", "map-round-robin", "pins", "iothread-ids", "live-hotplug" };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[256], *xml, *result, *untouched;
		struct vbmq_place_domain place;
		struct vbmq_domain *d;
		size_t len;

		snprintf(path, sizeof(path), INPUT "/%s.xml", files[i]);
		xml = codec_read(path, &len);
		d = read_domain(xml, len);
		make_place(d, 1, 1, &place);
		result = configure(xml, len, &place, NULL, true);
		untouched = configure(xml, len, NULL, NULL, true);
		assert_string_equal(result, untouched);
		free(result);
		free(untouched);
		free_place(&place);
		vbmq_domain_free(d);
		free(xml);
	}
}

/* Ids that are not 1..n are listed, all of them. */
static void test_sparse_ids(void **state)
{
	run("old-machine", 7, 2, NULL, true, "sparse-ids");
}

static void test_queue_wish(void **state)
{
	struct vbmq_wish wish = VBMQ_WISH_INIT;

	vbmq_wish_disk(&wish, "vda", true)->queues = 6;
	vbmq_wish_disk(&wish, "vdb", true)->queues = 1;
	run("metadata", 1, 4, &wish, true, "queue-wish");
	run("metadata", 1, 4, &wish, false, "queue-wish.old");
	vbmq_wish_done(&wish);
}

/* The main loop cannot stand in a map: such queues are shared out; a disk that is wholly on it is left alone. */
static void test_main_loop(void **state)
{
	static const char xml[] =
		"<domain><name>m</name><vcpu>4</vcpu><devices><disk><target dev='vda' bus='virtio'/></disk>"
		"<disk><target dev='vdb' bus='virtio'/></disk></devices></domain>";
	struct vbmq_domain *d = read_domain(xml, strlen(xml)), *after;
	struct vbmq_place_domain place;
	char *result;

	make_place(d, 1, 2, &place);
	place.disks[0].queues[2].iothread = 0;
	for (size_t q = 0; q < 4; q++)
		place.disks[1].queues[q].iothread = 0;
	result = configure(xml, strlen(xml), &place, NULL, true);
	after = read_domain(result, strlen(result));
	assert_true(after->disks[0].mapped);
	assert_int_equal(after->disks[0].queues[2].iothread, 1);
	assert_int_equal(after->disks[0].queues[3].iothread, 2);
	assert_false(after->disks[1].mapped);
	free(result);
	vbmq_domain_free(after);
	free_place(&place);
	vbmq_domain_free(d);
}

/* One line stays one line, and the bytes around what is written stay. */
static void test_exact(void **state)
{
	static const char xml[] =
		"<domain><name>m</name><vcpu>2</vcpu><devices><disk><target dev=\"vda\" bus=\"virtio\"/></disk>"
		"</devices><x:y xmlns:x=\"urn:x\"> &lt; </x:y></domain>";
	struct vbmq_domain *d = read_domain(xml, strlen(xml));
	struct vbmq_place_domain place;
	char *result;

	make_place(d, 1, 2, &place);
	result = configure(xml, strlen(xml), &place, NULL, true);
	assert_string_equal(
		result, "<domain><name>m</name><vcpu>2</vcpu><iothreads>2</iothreads><devices><disk>"
			"<target dev=\"vda\" bus=\"virtio\"/><driver name=\"qemu\" queues=\"2\"><iothreads>"
			"<iothread id=\"1\"><queue id=\"0\"/></iothread><iothread id=\"2\"><queue id=\"1\"/></iothread>"
			"</iothreads></driver></disk></devices><x:y xmlns:x=\"urn:x\"> &lt; </x:y></domain>\n");
	free(result);
	free_place(&place);
	vbmq_domain_free(d);
}

static void test_refused(void **state)
{
	size_t n;
	char **names = codec_list(INPUT, "bad-", ".xml", 50, &n);

	for (size_t i = 0; i < n; i++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		char path[256], *xml, *result = NULL;
		size_t len;
		int r;

		if (!strncmp(names[i], "bad-metadata", strlen("bad-metadata")))
			continue; /* not a reason to refuse: metadata is the owner's */
		snprintf(path, sizeof(path), INPUT "/%s", names[i]);
		xml = codec_read(path, &len);
		r = vbmq_domxml_configure(names[i], xml, len, NULL, NULL, true, &result, &err);
		if (r >= 0)
			fail_msg("%s was accepted", names[i]);
		assert_int_equal(err.code, r);
		assert_null(result);
		free(xml);
	}
	codec_list_free(names, n);
}

static void test_too_many(void **state)
{
	static const char xml[] = "<domain><name>m</name><vcpu>2</vcpu><iothreads>256</iothreads><devices><disk>"
				  "<target dev='vda' bus='virtio'/></disk></devices></domain>";
	struct vbmq_domain *d = read_domain(xml, strlen(xml));
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_place_domain place;
	char *result = NULL;

	make_place(d, 256, 2, &place);
	assert_int_equal(vbmq_domxml_configure("m", xml, strlen(xml), &place, NULL, true, &result, &err), -E2BIG);
	assert_string_equal(err.text, "m: the domain would have 257 I/O threads, at most 256 are possible");
	assert_null(result);
	free_place(&place);
	vbmq_domain_free(d);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),	   cmocka_unit_test(test_kinds),      cmocka_unit_test(test_respected),
		cmocka_unit_test(test_sparse_ids), cmocka_unit_test(test_queue_wish), cmocka_unit_test(test_main_loop),
		cmocka_unit_test(test_exact),	   cmocka_unit_test(test_refused),    cmocka_unit_test(test_too_many),
	};

	codec_test_init(argc, argv);
	return cmocka_run_group_tests_name("configure", tests, NULL, NULL);
}
