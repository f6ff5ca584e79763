/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "qom-get DEVICE iothread-vq-mapping": a list of {"iothread": NAME, "vqs": [...]}. QEMU checked it when the device was made
 * (iothread_vq_mapping_validate()): vqs in all entries or in none, every queue once. Nothing of that is taken on trust here.
 */

#include "codec/qmp_reply.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "codec/qmp_json.h"
#include "core/policy.h"
#include "util/cleanup.h"
#include "util/err.h"

static const char command[] = "qom-get iothread-vq-mapping";

/* The queues of entry i. map: 0 where nobody serves the queue yet. */
static int read_vqs(const json_t *vqs, size_t i, uint32_t id, uint32_t *map, size_t n_queues, struct vbmq_err *err)
{
	if (!json_is_array(vqs))
		return vbmq_err_set(err, -EPROTO, "%s: [%zu].vqs is not a list", command, i);
	for (size_t k = 0; k < json_array_size(vqs); k++) {
		const json_t *q = json_array_get(vqs, k);
		json_int_t n = json_integer_value(q);

		if (!json_is_integer(q))
			return vbmq_err_set(err, -EPROTO, "%s: [%zu].vqs[%zu] is not a number", command, i, k);
		if (n < 0 || (uint64_t)n >= n_queues)
			return vbmq_err_set(err, -EPROTO, "%s: [%zu].vqs[%zu] is queue %lld, the device has %zu",
					    command, i, k, (long long)n, n_queues);
		if (map[n])
			return vbmq_err_set(err, -EPROTO, "%s: queue %lld is mapped twice", command, (long long)n);
		map[n] = id;
	}
	return 0;
}

static int read_entries(const json_t *list, uint32_t *map, size_t n_queues, struct vbmq_err *err)
{
	uint32_t order[VBMQ_IOTHREADS_MAX];
	size_t n = json_array_size(list), with_vqs = 0;

	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(list, i), *vqs = json_object_get(item, "vqs");
		const char *name;
		int r = vbmq_qmp_get_text(command, item, i, "iothread", &name, err);

		if (r < 0)
			return r;
		if (!vbmq_qmp_iothread_id(name, &order[i]))
			return vbmq_err_set(err, -EPROTO,
					    "%s: [%zu].iothread '%.64s' is not one of libvirt's (iothread<ID>)",
					    command, i, name);
		for (size_t k = 0; k < i; k++)
			if (order[k] == order[i])
				return vbmq_err_set(err, -EPROTO, "%s: iothread%u comes twice", command, order[i]);
		if (!vqs)
			continue;
		with_vqs++;
		r = read_vqs(vqs, i, order[i], map, n_queues, err);
		if (r < 0)
			return r;
	}
	if (with_vqs && with_vqs < n)
		return vbmq_err_set(err, -EPROTO, "%s: some entries have vqs and some have not", command);
	for (size_t q = 0; q < n_queues; q++) {
		if (!with_vqs)
			map[q] = order[q % n];
		if (!map[q])
			return vbmq_err_set(err, -EPROTO, "%s: queue %zu is not mapped", command, q);
	}
	return 0;
}

int vbmq_qmp_vq_mapping(const char *reply, size_t len, size_t n_queues, uint32_t **ret_map, struct vbmq_err *err)
{
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ uint32_t *map = NULL;
	json_t *list = NULL;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &list, err);

	if (r >= 0)
		r = vbmq_qmp_check_array(command, list, VBMQ_IOTHREADS_MAX, err);
	if (r < 0)
		return r;
	if (json_array_size(list)) {
		if (!n_queues || n_queues > VBMQ_QUEUES_MAX)
			return vbmq_err_set(err, -EINVAL, "%s: a device with %zu queues; 1 to %u are possible", command,
					    n_queues, VBMQ_QUEUES_MAX);
		map = calloc(n_queues, sizeof(*map));
		if (!map)
			return vbmq_err_oom(err);
		r = read_entries(list, map, n_queues, err);
		if (r < 0)
			return r;
	}
	*ret_map = VBMQ_STEAL(map);
	return 0;
}
