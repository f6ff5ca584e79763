/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QMP replies. First byte: the parser, 'a' to 'j'; for the queue map the second one is the number of queues. */
#include "codec/qmp_placement.h"
#include "codec/qmp_reply.h"
#include "fuzz.h"

static int fuzz_iothreads(const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_qmp_iothread *threads = NULL;
	size_t n;
	int r = vbmq_qmp_iothreads(text, len, &threads, &n, err);

	for (size_t i = 0; r == 0 && i < n; i++)
		FUZZ_ASSERT(threads[i].id > 0);
	FUZZ_ASSERT(r == 0 || !threads);
	free(threads);
	return r;
}

static int fuzz_cpus(const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_qmp_vcpu *cpus = NULL;
	size_t n;
	int r = vbmq_qmp_cpus(text, len, &cpus, &n, err);

	for (size_t i = 0; r == 0 && i < n; i++)
		FUZZ_ASSERT(cpus[i].tid > 0);
	FUZZ_ASSERT(r == 0 || !cpus);
	free(cpus);
	return r;
}

static int fuzz_list(const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_qmp_virtio *devices = NULL;
	size_t n;
	int r = vbmq_qmp_virtio_list(text, len, &devices, &n, err);

	FUZZ_ASSERT(r == 0 || !devices);
	for (size_t i = 0; r == 0 && i < n; i++)
		FUZZ_ASSERT(devices[i].path && devices[i].name);
	if (r == 0)
		vbmq_qmp_virtio_free(devices, n);
	return r;
}

static int fuzz_mapping(const char *text, size_t len, size_t n_queues, struct vbmq_err *err)
{
	uint32_t *map = NULL;
	int r = vbmq_qmp_vq_mapping(text, len, n_queues, &map, err);

	FUZZ_ASSERT(r == 0 || !map);
	for (size_t i = 0; r == 0 && map && i < n_queues; i++)
		FUZZ_ASSERT(map[i] <= INT32_MAX);
	free(map);
	return r;
}

static int fuzz_placement(const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_qmp_device *devices = NULL;
	const struct vbmq_qmp_device *disk;
	size_t n;
	int r = vbmq_qmp_placement(text, len, &devices, &n, err);

	FUZZ_ASSERT(r == 0 || !devices);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		for (size_t q = 0; q < devices[i].n_queues; q++) {
			FUZZ_ASSERT(devices[i].queues[q].tid > 0);
			FUZZ_ASSERT(!devices[i].queues[q].foreign || !devices[i].queues[q].iothread);
			FUZZ_ASSERT(q == 0 || devices[i].queues[q - 1].index < devices[i].queues[q].index);
		}
	disk = vbmq_qmp_find_disk(devices, n, "virtio-disk0");
	for (size_t q = 0; disk && q < disk->n_queues; q++)
		FUZZ_ASSERT(disk->queues[q].index == q);
	vbmq_qmp_devices_free(devices, n);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_caps caps = { 0 };
	uint32_t queues;
	uint64_t number;
	bool flag;
	int r = 0;

	if (size == 0)
		return 0;
	size--;
	switch (data[0]) {
	case 'a':
		r = fuzz_iothreads(text, size, &err);
		break;
	case 'b':
		r = fuzz_cpus(text, size, &err);
		break;
	case 'c':
		r = vbmq_qmp_schema_caps(text, size, &caps, &err);
		break;
	case 'd':
		r = vbmq_qmp_has_vq_mapping(text, size, &flag, &err);
		break;
	case 'e':
		r = fuzz_list(text, size, &err);
		break;
	case 'f':
		r = vbmq_qmp_virtio_status(text, size, &queues, &flag, &err);
		break;
	case 'g':
		if (size)
			r = fuzz_mapping(text + 1, size - 1, data[1], &err);
		break;
	case 'h':
		r = vbmq_qmp_u64(text, size, &number, &err);
		break;
	case 'i':
		r = vbmq_qmp_done(text, size, &err);
		break;
	case 'j':
		r = fuzz_placement(text, size, &err);
		break;
	default:
		break;
	}
	fuzz_check_err(r, &err);
	return 0;
}
