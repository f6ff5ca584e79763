/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * QMP replies: those recorded from a real QEMU (tools/record-qmp) read right, and every parser against every reply, cut at
 * every byte, with bits flipped, and against what no QEMU would send.
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
#include "codec/qmp_placement.h"
#include "codec/qmp_reply.h"
#include "support.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

#define RECORDED "tests/data/qmp/qemu-10.0"
#define PLACEMENT "../qemu-10.0-vbmq/placement"
#define MAP_QUEUES 5 /* of the device with the recorded round-robin map */

/* --- all parsers under one signature --------------------------------------------------------------------------------- */

static int parse_iothreads(const char *reply, size_t len, struct vbmq_err *err)
{
	struct vbmq_qmp_iothread *items = NULL;
	size_t n = SIZE_MAX;
	int r = vbmq_qmp_iothreads(reply, len, &items, &n, err);

	assert_true(r == 0 ? n <= VBMQ_IOTHREADS_MAX : (!items && n == SIZE_MAX));
	for (size_t i = 1; r == 0 && i < n; i++)
		assert_true(items[i - 1].id < items[i].id);
	free(items);
	return r;
}

static int parse_cpus(const char *reply, size_t len, struct vbmq_err *err)
{
	struct vbmq_qmp_vcpu *items = NULL;
	size_t n = SIZE_MAX;
	int r = vbmq_qmp_cpus(reply, len, &items, &n, err);

	assert_true(r == 0 ? n <= VBMQ_VCPUS_MAX : (!items && n == SIZE_MAX));
	for (size_t i = 1; r == 0 && i < n; i++)
		assert_true(items[i - 1].index < items[i].index);
	free(items);
	return r;
}

static int parse_schema(const char *reply, size_t len, struct vbmq_err *err)
{
	struct vbmq_caps caps = { .bits = 0x80000000u };
	int r = vbmq_qmp_schema_caps(reply, len, &caps, err);

	assert_int_equal(caps.bits >> 31, r < 0);
	return r;
}

static int parse_properties(const char *reply, size_t len, struct vbmq_err *err)
{
	bool has = false;

	return vbmq_qmp_has_vq_mapping(reply, len, &has, err);
}

static int parse_list(const char *reply, size_t len, struct vbmq_err *err)
{
	struct vbmq_qmp_virtio *items = NULL;
	size_t n = 0;
	int r = vbmq_qmp_virtio_list(reply, len, &items, &n, err);

	assert_true(r == 0 || (!items && !n));
	vbmq_qmp_virtio_free(items, n);
	return r;
}

static int parse_status(const char *reply, size_t len, struct vbmq_err *err)
{
	uint32_t n = UINT32_MAX;
	bool started;
	int r = vbmq_qmp_virtio_status(reply, len, &n, &started, err);

	assert_true(r == 0 ? n <= VBMQ_QUEUES_MAX : n == UINT32_MAX);
	return r;
}

static int parse_map(const char *reply, size_t len, struct vbmq_err *err)
{
	uint32_t *map = NULL;
	int r = vbmq_qmp_vq_mapping(reply, len, MAP_QUEUES, &map, err);

	assert_true(r == 0 || !map);
	for (size_t q = 0; map && q < MAP_QUEUES; q++)
		assert_true(map[q] > 0);
	free(map);
	return r;
}

static int parse_u64(const char *reply, size_t len, struct vbmq_err *err)
{
	uint64_t n;

	return vbmq_qmp_u64(reply, len, &n, err);
}

static int parse_placement(const char *reply, size_t len, struct vbmq_err *err)
{
	struct vbmq_qmp_device *devices = NULL;
	size_t n = SIZE_MAX;
	int r = vbmq_qmp_placement(reply, len, &devices, &n, err);

	assert_true(r == 0 || (!devices && n == SIZE_MAX));
	for (size_t i = 0; r == 0 && i < n; i++) {
		assert_non_null(devices[i].path);
		assert_non_null(devices[i].type);
		for (size_t q = 1; q < devices[i].n_queues; q++)
			assert_true(devices[i].queues[q - 1].index < devices[i].queues[q].index);
	}
	if (r == 0) {
		(void)vbmq_qmp_find_disk(devices, n, "virtio-disk0");
		vbmq_qmp_devices_free(devices, n);
	}
	return r;
}

static const struct parser {
	const char *command;
	int (*parse)(const char *reply, size_t len, struct vbmq_err *err);
	const char *file; /* a reply that it takes */
} parsers[] = {
	{ "query-iothreads", parse_iothreads, "iothreads" },
	{ "query-cpus-fast", parse_cpus, "cpus" },
	{ "query-qmp-schema", parse_schema, "schema" },
	{ "device-list-properties", parse_properties, "virtio-blk-pci-properties" },
	{ "x-query-virtio", parse_list, "virtio-list" },
	{ "x-query-virtio-status", parse_status, "virtio-status" },
	{ "qom-get iothread-vq-mapping", parse_map, "map-round-robin" },
	{ "qom-get", parse_u64, "num-queues" },
	{ "query-virtio-placement", parse_placement, PLACEMENT },
};
#define N_PARSERS (sizeof(parsers) / sizeof(parsers[0]))

static char *recorded(const char *name, size_t *len)
{
	char path[256];
	char *text;

	snprintf(path, sizeof(path), RECORDED "/%s.json", name);
	text = codec_read(path, len);
	while (*len && text[*len - 1] == '\n')
		text[--*len] = '\0';
	return text;
}

/* The contract: err set if and only if it failed, and it names the command. */
static int check(const struct parser *p, const char *reply, size_t len, struct vbmq_err *ret_err)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = p->parse(reply, len, &err);

	if (r > 0 || err.code != r)
		fail_msg("%s returned %d and set %d", p->command, r, err.code);
	if (r < 0 && strncmp(err.text, p->command, strlen(p->command)) != 0)
		fail_msg("%s is not named in: %s", p->command, err.text);
	*ret_err = err;
	return r;
}

static int check_text(const struct parser *p, const char *reply, struct vbmq_err *ret_err)
{
	return check(p, reply, strlen(reply), ret_err);
}

/* --- what QEMU 10.0 said --------------------------------------------------------------------------------------------- */

static void test_iothreads(void **state)
{
	static const uint32_t ids[] = { 1, 2, 3, 12 };
	struct vbmq_qmp_iothread *t = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t len, n = 0;
	char *text = recorded("iothreads", &len);

	assert_int_equal(vbmq_qmp_iothreads(text, len, &t, &n, &err), 0);
	assert_int_equal(n, 4); /* "mon_iothread" is not libvirt's */
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(t[i].id, ids[i]);
		assert_true(t[i].tid > 1);
		assert_int_equal(t[i].polling.max_ns, 32768);
		assert_int_equal(t[i].polling.grow, 0);
		assert_int_equal(t[i].polling.shrink, 0);
		assert_int_equal(t[i].polling.mode, VBMQ_POLL_UNSAID);
	}
	assert_int_not_equal(t[0].tid, t[1].tid);
	free(t);
	free(text);
}

static void test_iothreads_of_the_series(void **state)
{
	static const char reply[] =
		"{\"return\":[{\"id\":\"iothread2\",\"thread-id\":7,\"poll-max-ns\":1,\"poll-grow\":2,\"poll-shrink\":"
		"3,"
		"\"poll-mode\":\"dedicated\"},{\"id\":\"iothread1\",\"thread-id\":8,\"poll-max-ns\":0,\"poll-grow\":"
		"9999999999,"
		"\"poll-shrink\":0,\"poll-mode\":\"adaptive\",\"busy-ns\":1},{\"id\":\"iothread3\",\"thread-id\":9,"
		"\"poll-max-ns\":0,\"poll-grow\":0,\"poll-shrink\":0,\"poll-mode\":\"of the year "
		"2030\"}],\"id\":\"libvirt-9\"}";
	struct vbmq_qmp_iothread *t = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t n = 0;

	assert_int_equal(vbmq_qmp_iothreads(reply, strlen(reply), &t, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_int_equal(t[0].polling.mode, VBMQ_POLL_ADAPTIVE);
	assert_int_equal(t[0].polling.grow, UINT32_MAX);
	assert_int_equal(t[1].polling.mode, VBMQ_POLL_DEDICATED);
	assert_int_equal(t[1].polling.max_ns, 1);
	assert_int_equal(t[1].polling.grow, 2);
	assert_int_equal(t[1].polling.shrink, 3);
	assert_int_equal(t[2].polling.mode, VBMQ_POLL_UNSAID);
	free(t);
}

static void test_cpus(void **state)
{
	static const char unsorted[] =
		"{\"return\":[{\"cpu-index\":5,\"thread-id\":9},{\"cpu-index\":0,\"thread-id\":8}]}";
	struct vbmq_qmp_vcpu *v = NULL;
	size_t len, n = 0;
	char *text = recorded("cpus", &len);

	assert_int_equal(vbmq_qmp_cpus(text, len, &v, &n, NULL), 0);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(v[i].index, i);
		assert_true(v[i].tid > 1);
	}
	free(v);
	free(text);
	assert_int_equal(vbmq_qmp_cpus(unsorted, strlen(unsorted), &v, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_int_equal(v[0].index, 0);
	assert_int_equal(v[0].tid, 8);
	assert_int_equal(v[1].index, 5);
	free(v);
}

static void test_properties(void **state)
{
	bool has = false;
	size_t len;
	char *text = recorded("virtio-blk-pci-properties", &len);

	assert_int_equal(vbmq_qmp_has_vq_mapping(text, len, &has, NULL), 0);
	assert_true(has);
	free(text);
	text = recorded("rng-pci-properties", &len);
	assert_int_equal(vbmq_qmp_has_vq_mapping(text, len, &has, NULL), 0);
	assert_false(has);
	free(text);
}

static void test_virtio(void **state)
{
	struct vbmq_qmp_virtio *v = NULL;
	uint32_t num_vqs = 0;
	bool started = true;
	size_t len, n = 0;
	char *text = recorded("virtio-list", &len);

	assert_int_equal(vbmq_qmp_virtio_list(text, len, &v, &n, NULL), 0);
	assert_int_equal(n, 6);
	assert_string_equal(v[0].path, "/machine/peripheral/rng0/virtio-backend");
	assert_string_equal(v[0].name, "virtio-rng");
	assert_string_equal(v[2].path, "/machine/peripheral/virtio-disk0/virtio-backend");
	assert_string_equal(v[2].name, "virtio-blk");
	vbmq_qmp_virtio_free(v, n);
	free(text);
	text = recorded("virtio-status", &len);
	assert_int_equal(vbmq_qmp_virtio_status(text, len, &num_vqs, &started, NULL), 0);
	assert_int_equal(num_vqs, 5);
	assert_false(started);
	free(text);
}

static void check_map(const char *file, size_t n_queues, const uint32_t *expected)
{
	uint32_t *map = NULL;
	size_t len;
	char *text = recorded(file, &len);

	assert_int_equal(vbmq_qmp_vq_mapping(text, len, n_queues, &map, NULL), 0);
	if (!expected)
		assert_null(map);
	for (size_t q = 0; expected && q < n_queues; q++)
		assert_int_equal(map[q], expected[q]);
	free(map);
	free(text);
}

static void test_maps(void **state)
{
	static const uint32_t vqs[] = { 2, 1, 1, 2 }, round_robin[] = { 12, 1, 12, 1, 12 };
	uint64_t n = 0;
	size_t len;
	char *text = recorded("num-queues", &len);

	check_map("map-vqs", 4, vqs);
	check_map("map-round-robin", 5, round_robin);
	check_map("map-none", 4, NULL);
	assert_int_equal(vbmq_qmp_u64(text, len, &n, NULL), 0);
	assert_int_equal(n, 3);
	free(text);
}

/* The schema as the patched QEMU shows it: the recorded one with more in it. */
static void test_schema(void **state)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	static const char member[] = "{\"name\":\"poll-max-ns\",";
	struct vbmq_caps caps = { .bits = 0 };
	size_t len;
	char *text = recorded("schema", &len), *at;

	assert_int_equal(vbmq_qmp_schema_caps(text, len, &caps, NULL), 0);
	assert_int_equal(caps.bits, VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD);

	vbmq_strbuf_add_bytes(&b, text, len - 2);
	vbmq_strbuf_add(
		&b, ",{\"name\":\"virtio-blk-set-iothread-vq-mapping\",\"meta-type\":\"command\",\"arg-type\":\"0\","
		    "\"ret-type\":\"0\"}]}");
	assert_int_equal(vbmq_qmp_schema_caps(b.text, b.len, &caps, NULL), 0);
	assert_int_equal(caps.bits, VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_LIVE_MAP);

	b.len -= 2;
	b.text[b.len] = '\0';
	vbmq_strbuf_add(&b, ",{\"name\":\"query-virtio-placement\",\"meta-type\":\"command\"},"
			    "{\"name\":\"query-iothreads-of-another-kind\",\"meta-type\":\"event\"}]}");
	assert_int_equal(vbmq_qmp_schema_caps(b.text, b.len, &caps, NULL), 0);
	assert_int_equal(caps.bits, VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_LIVE_MAP | VBMQ_CAP_PLACEMENT);

	/* Every object that has poll-max-ns gets poll-mode; one of them is what object-add takes for an I/O thread. */
	b.len = 0;
	for (const char *from = text;; from = at) {
		at = strstr(from + 1, member);
		vbmq_strbuf_add_bytes(&b, from, at ? (size_t)(at - from) : strlen(from));
		if (!at)
			break;
		vbmq_strbuf_add(&b, "{\"name\":\"poll-mode\",\"type\":\"str\"},");
	}
	assert_int_equal(vbmq_qmp_schema_caps(b.text, b.len, &caps, NULL), 0);
	assert_int_equal(caps.bits, VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_POLL_MODE);
	free(text);
}

/* An event of that name is no command, and a QEMU that can nothing of it is not an error. */
static void test_schema_without(void **state)
{
	static const char reply[] =
		"{\"return\":[{\"name\":\"virtio-blk-set-iothread-vq-mapping\",\"meta-type\":\"event\"}]}";
	struct vbmq_caps caps = { .bits = 7 };

	assert_int_equal(vbmq_qmp_schema_caps(reply, strlen(reply), &caps, NULL), 0);
	assert_int_equal(caps.bits, 0);
}

/* --- what the series says ---------------------------------------------------------------------------------------------- */

static void test_counts_of_iothreads(void **state)
{
	static const char reply[] =
		"{\"return\":[{\"id\":\"iothread1\",\"thread-id\":7,\"poll-max-ns\":1,\"poll-grow\":2,\"poll-shrink\":"
		"3,"
		"\"busy-ns\":10,\"poll-ns\":11,\"blocked-ns\":9223372036854775807,\"poll-hits\":13,\"poll-misses\":14},"
		"{\"id\":\"iothread2\",\"thread-id\":8,\"poll-max-ns\":1,\"poll-grow\":2,\"poll-shrink\":3,"
		"\"busy-ns\":10,\"poll-ns\":11,\"poll-hits\":13,\"poll-misses\":14}]}";
	struct vbmq_qmp_iothread *t = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *bad = strdup(reply);
	size_t n = 0;

	assert_int_equal(vbmq_qmp_iothreads(reply, strlen(reply), &t, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_true(t[0].counts);
	assert_int_equal(t[0].busy_ns, 10);
	assert_int_equal(t[0].poll_ns, 11);
	assert_int_equal(t[0].blocked_ns, INT64_MAX);
	assert_int_equal(t[0].poll_hits, 13);
	assert_int_equal(t[0].poll_misses, 14);
	assert_false(t[1].counts); /* not all of them */
	free(t);
	assert_non_null(bad);
	memcpy(strstr(bad, ":10,"), ":-1,", 4);
	assert_int_equal(vbmq_qmp_iothreads(bad, strlen(bad), &t, &n, &err), -EPROTO);
	assert_non_null(strstr(err.text, "[0].busy-ns is -1, outside"));
	free(bad);
}

static void test_placement(void **state)
{
	struct vbmq_qmp_device *devices = NULL;
	const struct vbmq_qmp_device *d;
	size_t len, n = 0;
	char *text = recorded(PLACEMENT, &len);

	assert_int_equal(vbmq_qmp_placement(text, len, &devices, &n, NULL), 0);
	free(text);
	assert_int_equal(n, 3);
	assert_string_equal(devices[0].path, "/machine/peripheral-anon/device[0]");
	assert_string_equal(devices[0].type, "virtio-rng");
	assert_null(devices[0].id);
	assert_int_equal(devices[0].n_queues, 0);
	d = &devices[1];
	assert_string_equal(d->id, "virtio-disk0");
	assert_true(d->started);
	assert_int_equal(d->n_queues, 4);
	for (size_t q = 0; q < 4; q++)
		assert_int_equal(d->queues[q].index, q);
	assert_int_equal(d->queues[0].iothread, 1);
	assert_int_equal(d->queues[0].tid, 4106);
	assert_int_equal(d->queues[0].irq, VBMQ_QMP_IRQ_VCPU);
	assert_int_equal(d->queues[0].vector, 1);
	assert_int_equal(d->queues[0].vcpu, 0);
	assert_int_equal(d->queues[1].iothread, 2);
	assert_int_equal(d->queues[1].vcpu, 3);
	assert_int_equal(d->queues[1].kicks, 12);
	assert_int_equal(d->queues[1].poll_hits, 900);
	assert_int_equal(d->queues[1].interrupts, 870);
	assert_int_equal(d->queues[1].completed, 1001);
	assert_int_equal(d->queues[1].in_flight, 5);
	assert_int_equal(d->queues[1].parked, 1);
	assert_int_equal(d->queues[2].iothread, 0);
	assert_false(d->queues[2].foreign);
	assert_int_equal(d->queues[2].irq, VBMQ_QMP_IRQ_MASKED);
	assert_int_equal(d->queues[3].iothread, 0);
	assert_true(d->queues[3].foreign);
	assert_int_equal(d->queues[3].irq, VBMQ_QMP_IRQ_UNKNOWN);
	assert_false(devices[2].started);
	assert_int_equal(devices[2].queues[1].irq, VBMQ_QMP_IRQ_NONE);

	assert_ptr_equal(vbmq_qmp_find_disk(devices, n, "virtio-disk0"), d);
	assert_ptr_equal(vbmq_qmp_find_disk(devices, n, "virtio-disk1"), &devices[2]);
	assert_null(vbmq_qmp_find_disk(devices, n, "virtio-disk"));
	assert_null(vbmq_qmp_find_disk(devices, n, "device[0]"));
	free(devices[1].id); /* then by its path, also by that of the backend */
	devices[1].id = NULL;
	assert_ptr_equal(vbmq_qmp_find_disk(devices, n, "virtio-disk0"), d);
	free(devices[1].path);
	devices[1].path = strdup("/machine/peripheral/virtio-disk0/virtio-backend");
	assert_ptr_equal(vbmq_qmp_find_disk(devices, n, "virtio-disk0"), d);
	devices[1].queues[3].index = 9; /* not 0 to n-1 */
	assert_null(vbmq_qmp_find_disk(devices, n, "virtio-disk0"));
	vbmq_qmp_devices_free(devices, n);
}

static void test_busy(void **state)
{
	static const char drained[] = "{\"error\":{\"class\":\"GenericError\",\"desc\":\"device is being drained, try "
				      "again\"}}",
			  other[] = "{\"error\":{\"class\":\"GenericError\",\"desc\":\"IOThread iothread9 does not "
				    "exist\"}}",
			  unknown[] =
				  "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"device is being drained\"}}";
	struct vbmq_err err = VBMQ_ERR_INIT;

	assert_int_equal(vbmq_qmp_done("{\"return\":{}}", 13, &err), 0);
	assert_int_equal(err.code, 0);
	assert_int_equal(vbmq_qmp_done(drained, strlen(drained), &err), -EBUSY);
	assert_int_equal(err.code, -EBUSY);
	assert_non_null(strstr(err.text, "try again"));
	assert_int_equal(vbmq_qmp_done(other, strlen(other), &err), -EREMOTEIO);
	assert_int_equal(vbmq_qmp_done(unknown, strlen(unknown), &err), -ENOTSUP);
}

/* --- errors of QEMU -------------------------------------------------------------------------------------------------- */

static void test_error_replies(void **state)
{
	static const struct {
		const char *file, *class;
		int code;
	} errors[] = { { "error-no-device", "DeviceNotFound", -EREMOTEIO },
		       { "error-no-property", "GenericError", -EREMOTEIO },
		       { "error-no-command", "CommandNotFound", -ENOTSUP } };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		size_t len;
		char *text = recorded(errors[i].file, &len);

		for (size_t p = 0; p < N_PARSERS; p++) {
			struct vbmq_err err;

			assert_int_equal(check(&parsers[p], text, len, &err), errors[i].code);
			assert_non_null(strstr(err.text, errors[i].class));
			assert_non_null(strstr(err.text, "not "));
		}
		free(text);
	}
}

/* --- no replies at all, for every parser ----------------------------------------------------------------------------- */

static void test_not_a_reply(void **state)
{
	static const char *const texts[] = {
		"",
		" ",
		"null",
		"[]",
		"17",
		"\"return\"",
		"{}",
		"{\"id\":1}",
		"{\"return\":[],\"return\":[]}",
		"{\"return\":[],\"error\":{\"class\":\"GenericError\",\"desc\":\"x\"}}",
		"{\"error\":{}}",
		"{\"error\":17}",
		"{\"error\":{\"class\":1,\"desc\":2}}",
		"{\"return\":null}",
		"{\"return\":true}",
		"{\"return\":-1}",
		"{\"return\":1.5}",
		"{\"return\":\"text\"}",
		"{\"return\":99999999999999999999999}",
		"{\"return\":[]}{\"return\":[]}",
		"{\"return\":[]} x",
		"{\"return\":[17]}",
		"{\"return\":[[]]}",
		"{\"return\":[{}]}",
		"{\"return\":{\"\":{}}}",
		"{\"timestamp\":{\"seconds\":1,\"microseconds\":2},\"event\":\"STOP\"}",
		"{\"event\":\"STOP\",\"return\":[]}",
		"{\"QMP\":{\"version\":{},\"capabilities\":[]}}",
		"{\"return\":[{\"iothread\":\"iothread1\",\"vqs\":17}]}",
	};

	for (size_t p = 0; p < N_PARSERS; p++)
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			struct vbmq_err err;

			if (check_text(&parsers[p], texts[i], &err) >= 0)
				fail_msg("%s took %s", parsers[p].command, texts[i]);
			assert_true(err.code == -EPROTO || err.code == -EREMOTEIO);
		}
}

static void test_deep_and_long(void **state)
{
	static const size_t levels = 100000;
	char *text = malloc(VBMQ_QMP_REPLY_MAX + 2);
	struct vbmq_err err;

	assert_non_null(text);
	memset(text, ' ', VBMQ_QMP_REPLY_MAX + 1);
	assert_int_equal(check(&parsers[0], text, VBMQ_QMP_REPLY_MAX, &err), -EPROTO);
	for (size_t p = 0; p < N_PARSERS; p++) {
		memset(text, '[', levels);
		memcpy(text, "{\"return\":", 10);
		assert_int_equal(check(&parsers[p], text, levels, &err), -EPROTO);
		memset(text, ' ', levels);
		assert_int_equal(check(&parsers[p], text, VBMQ_QMP_REPLY_MAX + 1, &err), -EFBIG);
	}
	free(text);
}

/* Every parser takes its own reply and no other's. */
static void test_exchanged(void **state)
{
	for (size_t i = 0; i < N_PARSERS; i++) {
		size_t len;
		char *text = recorded(parsers[i].file, &len);

		for (size_t p = 0; p < N_PARSERS; p++) {
			struct vbmq_err err;
			int r = check(&parsers[p], text, len, &err);
			/* device-list-properties only looks for names: the schema is a list of such things, too */
			bool fits = p == i ||
				    (!strcmp(parsers[p].file, "virtio-blk-pci-properties") &&
				     (!strcmp(parsers[i].file, "schema") || !strcmp(parsers[i].file, "virtio-list")));

			if ((r >= 0) != fits)
				fail_msg("%s %s %s: %s", parsers[p].command, r < 0 ? "refuses" : "takes",
					 parsers[i].file, err.text);
		}
		free(text);
	}
}

/* --- one thing wrong ------------------------------------------------------------------------------------------------- */

static void test_one_thing_wrong(void **state)
{
	static const struct {
		const char *file, *from, *to, *error;
	} cases[] = {
		{ "iothreads", "\"thread-id\"", "\"thread_id\"", "[0].thread-id is missing" },
		{ "iothreads", "\"poll-max-ns\":32768", "\"poll-max-ns\":-1", "poll-max-ns is -1, outside" },
		{ "iothreads", "\"poll-max-ns\":32768", "\"poll-max-ns\":\"32768\"",
		  "[0].poll-max-ns is not a number" },
		{ "iothreads", "\"poll-grow\":0", "\"poll-grow\":0.5", "[0].poll-grow is not a number" },
		{ "iothreads", "\"id\":\"iothread3\"", "\"id\":\"iothread1\"", "number 1 comes twice" },
		{ "iothreads", "\"id\":\"iothread3\"", "\"id\":null", "[0].id is not a text" },
		{ "iothreads", "\"id\":\"iothread3\"", "\"id\":\"iothread3\",\"id\":\"iothread4\"", "not JSON" },
		{ "iothreads", "\"id\":\"iothread3\"", "\"id\":\"iothread3\\u0000\"", "iothreads: " },
		{ "iothreads", "\"poll-shrink\":0", "\"poll-mode\":1,\"poll-shrink\":0",
		  "[0].poll-mode is not a text" },
		{ "cpus", "\"cpu-index\":0", "\"cpu-index\":1", "number 1 comes twice" },
		{ "cpus", "\"cpu-index\":0", "\"cpu-index\":4294967296", "[0].cpu-index is 4294967296, outside" },
		{ "cpus", "\"cpu-index\":0", "\"cpu_index\":0", "[0].cpu-index is missing" },
		{ "virtio-list", "\"path\"", "\"Path\"", "[0].path is missing" },
		{ "virtio-list", "\"name\":\"virtio-blk\"", "\"name\":[]", "[0].name is not a text" },
		{ "virtio-status", "\"num-vqs\":5", "\"num-vqs\":1025", "num-vqs is 1025, outside 0..1024" },
		{ "virtio-status", "\"started\":false", "\"started\":0", "started is not a boolean" },
		{ "virtio-status", "\"started\"", "\"begun\"", "started is missing" },
		{ "map-round-robin", "\"iothread1\"", "\"iothread12\"", "iothread12 comes twice" },
		{ "map-round-robin", "\"iothread1\"", "\"io1\"", "'io1' is not one of libvirt's" },
		{ "map-round-robin", "\"iothread1\"", "\"iothread0\"", "'iothread0' is not one of libvirt's" },
		{ "map-round-robin", "\"iothread1\"", "\"iothread1\",\"vqs\":[0]", "some entries have vqs" },
		{ "map-vqs", "[0,3]", "[0,4]", "queue 3 is not mapped" },
		{ "map-vqs", "[0,3]", "[0,3,1,4]", "queue 1 is mapped twice" },
		{ "map-vqs", "[0,3]", "[0,3,5]", "vqs[2] is queue 5, the device has 5" },
		{ "map-vqs", "[0,3]", "[0,-3]", "vqs[1] is queue -3" },
		{ "map-vqs", "[0,3]", "[0,\"3\"]", "[0].vqs[1] is not a number" },
		{ "map-vqs", "[0,3]", "{}", "[0].vqs is not a list" },
		{ "virtio-blk-pci-properties", "\"name\":", "\"Name\":", ".name is missing" },
		{ PLACEMENT, "\"qom-path\"", "\"path\"", "[0].qom-path is missing" },
		{ PLACEMENT, "\"type\":\"virtio-rng\"", "\"type\":7", "[2].type is not a text" },
		{ PLACEMENT, "\"id\":\"virtio-disk1\"", "\"id\":false", "[0].id is not a text" },
		{ PLACEMENT, "\"ioeventfd-started\":true", "\"ioeventfd-started\":1",
		  "[1].ioeventfd-started is not a boolean" },
		{ PLACEMENT, "\"queues\":[]", "\"queues\":{}", "[2].queues is not a list" },
		{ PLACEMENT, "\"queues\":[]", "\"queue\":[]", "[2].queues is missing" },
		{ PLACEMENT, "\"queue\":3", "\"queue\":1", "[1].queues: queue 1 comes twice" },
		{ PLACEMENT, "\"queue\":3", "\"queue\":1025", "[1].queues: [3].queue is 1025, outside 0..1023" },
		{ PLACEMENT, "\"thread-id\":4107", "\"thread-id\":0", "[1].queues: [0].thread-id is 0, outside" },
		{ PLACEMENT, "\"iothread\":\"iothread2\"", "\"iothread\":null", "[0].iothread is not a text" },
		{ PLACEMENT, "\"vector\":2", "\"vector\":65536", "[0].vector is 65536" },
		{ PLACEMENT, "\"masked\":true", "\"masked\":\"yes\"", "[2].masked is not a boolean" },
		{ PLACEMENT, "\"cpu-index\":3", "\"cpu-index\":-3", "[0].cpu-index is -3" },
		{ PLACEMENT, "\"stats\":{\"kicks\":12,", "\"statistics\":{\"kicks\":12,", "[0].stats is missing" },
		{ PLACEMENT, "\"kicks\":12,", "", "[1].queues: [0].kicks is missing" },
		{ PLACEMENT, "\"in-flight\":5", "\"in-flight\":4294967296", "[0].in-flight is 4294967296" },
		{ PLACEMENT, "/machine/peripheral/virtio-disk1", "/machine/peripheral/virtio-disk0", "comes twice" },
		{ "schema", "\"name\":", "\"Name\":", "[0].name is missing" },
		{ "schema", "\"meta-type\":\"command\"", "\"meta-type\":1", ".meta-type is not a text" },
		{ "schema", "{\"return\":[", "{\"return\":[{\"name\":\"quit\",\"meta-type\":\"command\"},",
		  "command 'quit' comes twice" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
		const char *file = !strcmp(cases[i].file, "map-vqs") ? "map-round-robin" : cases[i].file;
		struct vbmq_err err;
		size_t len, p;
		char *text = recorded(cases[i].file, &len), *at = strstr(text, cases[i].from);

		for (p = 0; strcmp(parsers[p].file, file) != 0; p++)
			;
		assert_non_null(at);
		vbmq_strbuf_add_bytes(&b, text, (size_t)(at - text));
		vbmq_strbuf_add(&b, cases[i].to);
		vbmq_strbuf_add(&b, at + strlen(cases[i].from));
		if (check(&parsers[p], b.text, b.len, &err) >= 0)
			fail_msg("%s with %s was accepted", cases[i].file, cases[i].to);
		if (!strstr(err.text, cases[i].error))
			fail_msg("%s with %s: expected '%s', got '%s'", cases[i].file, cases[i].to, cases[i].error,
				 err.text);
		free(text);
	}
}

static void test_map_queue_counts(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	uint32_t *map = NULL;
	size_t len;
	char *text = recorded("map-round-robin", &len);

	assert_int_equal(vbmq_qmp_vq_mapping(text, len, 0, &map, &err), -EINVAL);
	assert_int_equal(vbmq_qmp_vq_mapping(text, len, VBMQ_QUEUES_MAX + 1, &map, &err), -EINVAL);
	assert_null(map);
	free(text);
}

/* --- cut and flipped ------------------------------------------------------------------------------------------------- */

static void must_fail(const char *bytes, size_t len, void *data)
{
	const struct parser *p = data;
	struct vbmq_err err;

	if (check(p, bytes, len, &err) >= 0)
		fail_msg("%s: accepted when cut after %zu bytes", p->command, len);
}

static void may_fail(const char *bytes, size_t len, void *data)
{
	struct vbmq_err err;

	check(data, bytes, len, &err);
}

/* Every byte; of the schema (200 KiB, 8 ms to read) every byte at its beginning, some between, and every one at its end. */
static void test_cut(void **state)
{
	for (size_t i = 0; i < N_PARSERS; i++) {
		void *p = (void *)(uintptr_t)&parsers[i];
		size_t len;
		char *text = recorded(parsers[i].file, &len);

		if (len < 10000) {
			codec_each_cut(text, len, 1, must_fail, p);
		} else {
			codec_each_cut(text, 2048, 1, must_fail, p);
			codec_each_cut(text, len, 4001, must_fail, p);
			for (size_t n = len - 24; n < len; n++)
				must_fail(text, n, p);
		}
		free(text);
	}
}

static void test_flipped(void **state)
{
	for (size_t i = 0; i < N_PARSERS; i++) {
		size_t len;
		char *text = recorded(parsers[i].file, &len);

		codec_each_flip(text, len, len < 10000 ? 2000 : 25, may_fail, (void *)(uintptr_t)&parsers[i]);
		free(text);
	}
}

/* --- no memory ------------------------------------------------------------------------------------------------------- */

struct memory_work {
	const struct parser *p;
	char *text;
	size_t len;
};

static int memory_work(void *data, struct vbmq_err *err)
{
	struct memory_work *w = data;

	return w->p->parse(w->text, w->len, err);
}

static void test_no_memory(void **state)
{
	static const char small_schema[] = "{\"return\":[{\"name\":\"quit\",\"meta-type\":\"command\"},{\"name\":\"0\","
					   "\"meta-type\":\"object\"}]}";

	for (size_t i = 0; i < N_PARSERS; i++) {
		struct memory_work w = { .p = &parsers[i] };

		if (parsers[i].parse == parse_schema) {
			w.text = strdup(small_schema);
			w.len = strlen(small_schema);
		} else {
			w.text = recorded(parsers[i].file, &w.len);
		}
		assert_non_null(w.text);
		attack_memory(memory_work, &w);
		free(w.text);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iothreads),
		cmocka_unit_test(test_iothreads_of_the_series),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_properties),
		cmocka_unit_test(test_virtio),
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_schema),
		cmocka_unit_test(test_schema_without),
		cmocka_unit_test(test_counts_of_iothreads),
		cmocka_unit_test(test_placement),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_error_replies),
		cmocka_unit_test(test_not_a_reply),
		cmocka_unit_test(test_deep_and_long),
		cmocka_unit_test(test_exchanged),
		cmocka_unit_test(test_one_thing_wrong),
		cmocka_unit_test(test_map_queue_counts),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_no_memory),
	};

	codec_test_init(argc, argv);
	return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
