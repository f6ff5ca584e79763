/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* QMP replies -> numbers and names of the model. Lists come back sorted by id: QEMU's order means nothing. */

#include "codec/qmp_reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/qmp_json.h"
#include "core/policy.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"

#define TID_MAX INT32_MAX
#define LIST_MAX 65536u /* entries of any list; QEMU's own limits are far below */

static int by_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* items are structs that begin with their id. */
static int sort_unique(const char *command, void *items, size_t n, size_t size, struct vbmq_err *err)
{
	const char *bytes = items;

	if (!n)
		return 0;
	qsort(items, n, size, by_u32);
	for (size_t i = 1; i < n; i++)
		if (by_u32(bytes + (i - 1) * size, bytes + i * size) == 0)
			return vbmq_err_set(err, -EPROTO, "%s: number %u comes twice", command,
					    *(const uint32_t *)(const void *)(bytes + i * size));
	return 0;
}

static int read_iothread(const json_t *item, size_t i, struct vbmq_qmp_iothread *t, struct vbmq_err *err)
{
	static const char command[] = "query-iothreads";
	uint64_t tid, grow, shrink;
	int r = vbmq_qmp_get_u64(command, item, i, "thread-id", 1, TID_MAX, &tid, err);

	if (r >= 0)
		r = vbmq_qmp_get_u64(command, item, i, "poll-max-ns", 0, INT64_MAX, &t->polling.max_ns, err);
	if (r >= 0)
		r = vbmq_qmp_get_u64(command, item, i, "poll-grow", 0, INT64_MAX, &grow, err);
	if (r >= 0)
		r = vbmq_qmp_get_u64(command, item, i, "poll-shrink", 0, INT64_MAX, &shrink, err);
	if (r < 0)
		return r;
	t->tid = (uint32_t)tid;
	t->polling.grow = grow < UINT32_MAX ? (uint32_t)grow : UINT32_MAX;
	t->polling.shrink = shrink < UINT32_MAX ? (uint32_t)shrink : UINT32_MAX;
	return 0;
}

/* poll-mode is of our series; a word we do not know is "not known". */
static int read_poll_mode(const json_t *item, size_t i, enum vbmq_poll *ret, struct vbmq_err *err)
{
	const char *word;
	int r;

	*ret = VBMQ_POLL_UNSAID;
	if (!json_object_get(item, "poll-mode"))
		return 0;
	r = vbmq_qmp_get_text("query-iothreads", item, i, "poll-mode", &word, err);
	if (r < 0)
		return r;
	if (!strcmp(word, "dedicated"))
		*ret = VBMQ_POLL_DEDICATED;
	else if (!strcmp(word, "adaptive"))
		*ret = VBMQ_POLL_ADAPTIVE;
	return 0;
}

/* All of them or none: where QEMU has only some, none is known. */
static int read_counts(const json_t *item, size_t i, struct vbmq_qmp_iothread *t, struct vbmq_err *err)
{
	const struct {
		const char *key;
		uint64_t *to;
	} counters[] = {
		{ "busy-ns", &t->busy_ns },	{ "poll-ns", &t->poll_ns },	    { "blocked-ns", &t->blocked_ns },
		{ "poll-hits", &t->poll_hits }, { "poll-misses", &t->poll_misses },
	};

	for (size_t k = 0; k < VBMQ_ELEMENTSOF(counters); k++)
		if (!json_object_get(item, counters[k].key))
			return 0;
	for (size_t k = 0; k < VBMQ_ELEMENTSOF(counters); k++) {
		int r = vbmq_qmp_get_u64("query-iothreads", item, i, counters[k].key, 0, INT64_MAX, counters[k].to,
					 err);

		if (r < 0)
			return r;
	}
	t->counts = true;
	return 0;
}

int vbmq_qmp_iothreads(const char *reply, size_t len, struct vbmq_qmp_iothread **ret, size_t *ret_n,
		       struct vbmq_err *err)
{
	static const char command[] = "query-iothreads";
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ struct vbmq_qmp_iothread *items = NULL;
	json_t *list = NULL;
	size_t n = 0;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &list, err);

	if (r >= 0)
		r = vbmq_qmp_check_array(command, list, LIST_MAX, err);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		struct vbmq_qmp_iothread *t, read = { .id = 0 };
		const char *name;

		r = vbmq_qmp_get_text(command, item, i, "id", &name, err);
		if (r >= 0)
			r = read_iothread(item, i, &read, err);
		if (r >= 0)
			r = read_poll_mode(item, i, &read.polling.mode, err);
		if (r >= 0)
			r = read_counts(item, i, &read, err);
		if (r < 0 || !vbmq_qmp_iothread_id(name, &read.id))
			continue;
		if (n >= VBMQ_IOTHREADS_MAX)
			return vbmq_err_set(err, -E2BIG, "%s: more than %u I/O threads", command, VBMQ_IOTHREADS_MAX);
		t = vbmq_array_add(items, n, VBMQ_IOTHREADS_MAX);
		if (!t)
			return vbmq_err_oom(err);
		*t = read;
	}
	if (r >= 0)
		r = sort_unique(command, items, n, sizeof(*items), err);
	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(items);
	*ret_n = n;
	return 0;
}

int vbmq_qmp_cpus(const char *reply, size_t len, struct vbmq_qmp_vcpu **ret, size_t *ret_n, struct vbmq_err *err)
{
	static const char command[] = "query-cpus-fast";
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ struct vbmq_qmp_vcpu *items = NULL;
	json_t *list = NULL;
	size_t n = 0;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &list, err);

	if (r >= 0)
		r = vbmq_qmp_check_array(command, list, VBMQ_VCPUS_MAX, err);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		uint64_t index, tid;
		struct vbmq_qmp_vcpu *v;

		r = vbmq_qmp_get_u64(command, item, i, "cpu-index", 0, UINT32_MAX, &index, err);
		if (r >= 0)
			r = vbmq_qmp_get_u64(command, item, i, "thread-id", 1, TID_MAX, &tid, err);
		if (r < 0)
			break;
		v = vbmq_array_add(items, n, VBMQ_VCPUS_MAX);
		if (!v)
			return vbmq_err_oom(err);
		v->index = (uint32_t)index;
		v->tid = (uint32_t)tid;
	}
	if (r >= 0)
		r = sort_unique(command, items, n, sizeof(*items), err);
	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(items);
	*ret_n = n;
	return 0;
}

int vbmq_qmp_has_vq_mapping(const char *reply, size_t len, bool *ret, struct vbmq_err *err)
{
	static const char command[] = "device-list-properties";
	_cleanup_json_ json_t *doc = NULL;
	json_t *list = NULL;
	bool found = false;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &list, err);

	if (r >= 0)
		r = vbmq_qmp_check_array(command, list, LIST_MAX, err);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		const char *name;

		r = vbmq_qmp_get_text(command, json_array_get(list, i), i, "name", &name, err);
		if (r >= 0 && !strcmp(name, "iothread-vq-mapping"))
			found = true;
	}
	if (r >= 0)
		*ret = found;
	return r < 0 ? r : 0;
}

void vbmq_qmp_virtio_free(struct vbmq_qmp_virtio *v, size_t n)
{
	for (size_t i = 0; v && i < n; i++) {
		free(v[i].path);
		free(v[i].name);
	}
	free(v);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct vbmq_qmp_virtio *)a)->path, ((const struct vbmq_qmp_virtio *)b)->path);
}

static int add_virtio(const json_t *item, size_t i, struct vbmq_qmp_virtio **items, size_t *n, struct vbmq_err *err)
{
	static const char command[] = "x-query-virtio";
	const char *path = NULL, *name = NULL;
	struct vbmq_qmp_virtio *v;
	int r = vbmq_qmp_get_text(command, item, i, "path", &path, err);

	if (r >= 0)
		r = vbmq_qmp_get_text(command, item, i, "name", &name, err);
	if (r < 0)
		return r;
	v = vbmq_array_add(*items, *n, LIST_MAX);
	if (!v)
		return vbmq_err_oom(err);
	v->path = strdup(path);
	v->name = strdup(name);
	return v->path && v->name ? 0 : vbmq_err_oom(err);
}

int vbmq_qmp_virtio_list(const char *reply, size_t len, struct vbmq_qmp_virtio **ret, size_t *ret_n,
			 struct vbmq_err *err)
{
	static const char command[] = "x-query-virtio";
	_cleanup_json_ json_t *doc = NULL;
	struct vbmq_qmp_virtio *items = NULL;
	json_t *list = NULL;
	size_t n = 0;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &list, err);

	if (r >= 0)
		r = vbmq_qmp_check_array(command, list, LIST_MAX, err);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++)
		r = add_virtio(json_array_get(list, i), i, &items, &n, err);
	if (r < 0) {
		vbmq_qmp_virtio_free(items, n);
		return r;
	}
	if (n)
		qsort(items, n, sizeof(*items), by_path);
	*ret = items;
	*ret_n = n;
	return 0;
}

int vbmq_qmp_virtio_status(const char *reply, size_t len, uint32_t *ret_num_vqs, bool *ret_started,
			   struct vbmq_err *err)
{
	static const char command[] = "x-query-virtio-status";
	_cleanup_json_ json_t *doc = NULL;
	json_t *object = NULL;
	uint64_t num_vqs;
	bool started;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &object, err);

	if (r >= 0)
		r = vbmq_qmp_get_u64(command, object, SIZE_MAX, "num-vqs", 0, VBMQ_QUEUES_MAX, &num_vqs, err);
	if (r >= 0)
		r = vbmq_qmp_get_bool(command, object, SIZE_MAX, "started", &started, err);
	if (r < 0)
		return r;
	*ret_num_vqs = (uint32_t)num_vqs;
	*ret_started = started;
	return 0;
}

int vbmq_qmp_u64(const char *reply, size_t len, uint64_t *ret, struct vbmq_err *err)
{
	static const char command[] = "qom-get";
	_cleanup_json_ json_t *doc = NULL;
	json_t *value = NULL;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &value, err);

	if (r < 0)
		return r;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return vbmq_err_set(err, -EPROTO, "%s: 'return' is not a number of 0 or more", command);
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

int vbmq_qmp_done(const char *reply, size_t len, struct vbmq_err *err)
{
	_cleanup_json_ json_t *doc = NULL;
	json_t *value = NULL;
	struct vbmq_err why = VBMQ_ERR_INIT;
	int r = vbmq_qmp_reply("command", reply, len, &doc, &value, &why);

	/* QMP has no class for it: GenericError, and the text that our series gives. */
	if (r == -EREMOTEIO && strstr(why.text, "device is being drained"))
		r = -EBUSY;
	return r < 0 ? vbmq_err_set(err, r, "%s", why.text) : 0;
}
