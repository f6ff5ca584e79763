/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * query-virtio-placement: a list of devices, each with its queues. Where a queue interrupts is told by "irq": without it there
 * is no message at all; QEMU leaves "cpu-index" out where it cannot be exact.
 */

#include "codec/qmp_placement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/qmp_json.h"
#include "core/policy.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"

static const char command[] = "query-virtio-placement";

#define DEVICES_MAX 4096u /* virtio devices of one guest, whatever their type */
#define CPU_INDEX_MAX INT32_MAX

void vbmq_qmp_devices_free(struct vbmq_qmp_device *devices, size_t n)
{
	for (size_t i = 0; devices && i < n; i++) {
		free(devices[i].path);
		free(devices[i].id);
		free(devices[i].type);
		free(devices[i].queues);
	}
	free(devices);
}

static int read_irq(const char *where, const json_t *item, size_t i, struct vbmq_qmp_queue *q, struct vbmq_err *err)
{
	const json_t *irq = json_object_get(item, "irq");
	uint64_t vector, vcpu;
	bool masked;
	int r;

	q->irq = VBMQ_QMP_IRQ_NONE;
	if (!irq)
		return 0;
	r = vbmq_qmp_get_u64(where, irq, i, "vector", 0, UINT16_MAX, &vector, err);
	if (r >= 0)
		r = vbmq_qmp_get_bool(where, irq, i, "masked", &masked, err);
	if (r < 0)
		return r;
	q->vector = (uint32_t)vector;
	if (masked) {
		q->irq = VBMQ_QMP_IRQ_MASKED;
		return 0;
	}
	q->irq = VBMQ_QMP_IRQ_UNKNOWN;
	if (!json_object_get(irq, "cpu-index"))
		return 0;
	r = vbmq_qmp_get_u64(where, irq, i, "cpu-index", 0, CPU_INDEX_MAX, &vcpu, err);
	if (r < 0)
		return r;
	q->irq = VBMQ_QMP_IRQ_VCPU;
	q->vcpu = (uint32_t)vcpu;
	return 0;
}

static int read_counters(const char *where, const json_t *item, size_t i, struct vbmq_qmp_queue *q,
			 struct vbmq_err *err)
{
	const json_t *stats = json_object_get(item, "stats");
	const struct {
		const char *key;
		uint64_t *to;
	} counters[] = {
		{ "kicks", &q->kicks },
		{ "poll-hits", &q->poll_hits },
		{ "interrupts", &q->interrupts },
		{ "completed", &q->completed },
	};
	uint64_t in_flight = 0, parked = 0;
	int r = 0;

	if (!stats)
		return vbmq_err_set(err, -EPROTO, "%s: [%zu].stats is missing", where, i);
	for (size_t k = 0; r >= 0 && k < sizeof(counters) / sizeof(counters[0]); k++)
		r = vbmq_qmp_get_u64(where, stats, i, counters[k].key, 0, INT64_MAX, counters[k].to, err);
	if (r >= 0)
		r = vbmq_qmp_get_u64(where, stats, i, "in-flight", 0, UINT32_MAX, &in_flight, err);
	if (r >= 0)
		r = vbmq_qmp_get_u64(where, stats, i, "parked", 0, UINT32_MAX, &parked, err);
	if (r < 0)
		return r;
	q->in_flight = (uint32_t)in_flight;
	q->parked = (uint32_t)parked;
	return 0;
}

/* where: command and device, for messages */
static int read_queue(const char *where, const json_t *item, size_t i, struct vbmq_qmp_queue *q, struct vbmq_err *err)
{
	uint64_t index, tid;
	const char *name;
	int r = vbmq_qmp_get_u64(where, item, i, "queue", 0, VBMQ_QUEUES_MAX - 1, &index, err);

	if (r >= 0)
		r = vbmq_qmp_get_u64(where, item, i, "thread-id", 1, INT32_MAX, &tid, err);
	if (r < 0)
		return r;
	q->index = (uint32_t)index;
	q->tid = (uint32_t)tid;
	if (json_object_get(item, "iothread")) {
		r = vbmq_qmp_get_text(where, item, i, "iothread", &name, err);
		if (r < 0)
			return r;
		q->foreign = !vbmq_qmp_iothread_id(name, &q->iothread);
	}
	r = read_irq(where, item, i, q, err);
	return r < 0 ? r : read_counters(where, item, i, q, err);
}

static int by_index(const void *a, const void *b)
{
	const struct vbmq_qmp_queue *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static int read_queues(const json_t *list, size_t i, struct vbmq_qmp_device *d, struct vbmq_err *err)
{
	size_t n = json_array_size(list);
	char where[64];
	int r;

	if (!json_is_array(list))
		return vbmq_err_set(err, -EPROTO, "%s: [%zu].queues is not a list", command, i);
	snprintf(where, sizeof(where), "%s: [%zu].queues", command, i);
	if (n > VBMQ_QUEUES_MAX)
		return vbmq_err_set(err, -E2BIG, "%s: [%zu].queues: a list of %zu entries; at most %u are read",
				    command, i, n, VBMQ_QUEUES_MAX);
	if (n == 0)
		return 0;
	d->queues = calloc(n, sizeof(*d->queues));
	if (!d->queues)
		return vbmq_err_oom(err);
	for (; d->n_queues < n; d->n_queues++) {
		r = read_queue(where, json_array_get(list, d->n_queues), d->n_queues, &d->queues[d->n_queues], err);
		if (r < 0)
			return r;
	}
	qsort(d->queues, n, sizeof(*d->queues), by_index);
	for (size_t k = 1; k < n; k++)
		if (d->queues[k - 1].index == d->queues[k].index)
			return vbmq_err_set(err, -EPROTO, "%s: [%zu].queues: queue %u comes twice", command, i,
					    d->queues[k].index);
	return 0;
}

static int read_device(const json_t *item, size_t i, struct vbmq_qmp_device *d, struct vbmq_err *err)
{
	const char *path, *type, *id = NULL;
	int r = vbmq_qmp_get_text(command, item, i, "qom-path", &path, err);

	if (r >= 0)
		r = vbmq_qmp_get_text(command, item, i, "type", &type, err);
	if (r >= 0 && json_object_get(item, "id"))
		r = vbmq_qmp_get_text(command, item, i, "id", &id, err);
	if (r >= 0)
		r = vbmq_qmp_get_bool(command, item, i, "ioeventfd-started", &d->started, err);
	if (r < 0)
		return r;
	d->path = strdup(path);
	d->type = strdup(type);
	d->id = id ? strdup(id) : NULL;
	if (!d->path || !d->type || (id && !d->id))
		return vbmq_err_oom(err);
	if (!json_object_get(item, "queues"))
		return vbmq_err_set(err, -EPROTO, "%s: [%zu].queues is missing", command, i);
	return read_queues(json_object_get(item, "queues"), i, d, err);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct vbmq_qmp_device *)a)->path, ((const struct vbmq_qmp_device *)b)->path);
}

int vbmq_qmp_placement(const char *reply, size_t len, struct vbmq_qmp_device **ret, size_t *ret_n, struct vbmq_err *err)
{
	_cleanup_json_ json_t *doc = NULL;
	struct vbmq_qmp_device *items = NULL;
	json_t *list = NULL;
	size_t n = 0;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &list, err);

	if (r >= 0)
		r = vbmq_qmp_check_array(command, list, DEVICES_MAX, err);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		struct vbmq_qmp_device *d = vbmq_array_add(items, n, DEVICES_MAX);

		r = d ? read_device(json_array_get(list, i), i, d, err) : vbmq_err_oom(err);
	}
	if (r >= 0 && n)
		qsort(items, n, sizeof(*items), by_path);
	for (size_t i = 1; r >= 0 && i < n; i++)
		if (!strcmp(items[i - 1].path, items[i].path))
			r = vbmq_err_set(err, -EPROTO, "%s: device '%.200s' comes twice", command, items[i].path);
	if (r < 0) {
		vbmq_qmp_devices_free(items, n);
		return r;
	}
	*ret = items;
	*ret_n = n;
	return 0;
}

/* "/machine/peripheral/ALIAS", or something below it. */
static bool is_below(const char *path, const char *alias)
{
	static const char root[] = "/machine/peripheral/";
	size_t len = strlen(alias);

	if (strncmp(path, root, sizeof(root) - 1) != 0)
		return false;
	path += sizeof(root) - 1;
	return !strncmp(path, alias, len) && (path[len] == '\0' || path[len] == '/');
}

bool vbmq_qmp_is_disk(const struct vbmq_qmp_device *d)
{
	return !strcmp(d->type, "virtio-blk") || !strcmp(d->type, "virtio-blk-device");
}

const struct vbmq_qmp_device *vbmq_qmp_find_disk(const struct vbmq_qmp_device *devices, size_t n, const char *alias)
{
	for (size_t i = 0; i < n; i++) {
		const struct vbmq_qmp_device *d = &devices[i];

		if (!vbmq_qmp_is_disk(d))
			continue;
		if (!(d->id && !strcmp(d->id, alias)) && !is_below(d->path, alias))
			continue;
		return d->n_queues && d->queues[d->n_queues - 1].index == d->n_queues - 1 ? d : NULL;
	}
	return NULL;
}
