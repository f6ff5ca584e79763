/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The elements of "domains" in a snapshot. Keys that say nothing (no pin, not held, no source) are left out. */

#include <errno.h>
#include <string.h>

#include "codec/json_parts.h"
#include "util/err.h"

#define ALIAS_LIMIT 255u
#define SOURCE_LIMIT 65536u /* a path is 4096 bytes at most, but network sources can be longer */
#define POLLING_UNKNOWN UINT64_MAX

/* --- writing ---------------------------------------------------------------------------------------------------------- */

static json_t *threads_new(struct vbmq_json_writer *w, const struct vbmq_domain *d)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_thread *t = &d->threads[i];
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_text(w, o, "kind", vbmq_thread_kind_words[t->kind]);
		vbmq_json_put_int(w, o, "id", t->id);
		vbmq_json_put_int(w, o, "tid", t->tid);
		vbmq_json_put_u64(w, o, "start", t->start);
		vbmq_json_put_cpus(w, o, "affinity", &t->affinity);
		if (t->has_pin)
			vbmq_json_put_cpus(w, o, "pin", &t->pin);
		if (t->held)
			vbmq_json_put_cpus(w, o, "applied", &t->applied);
		vbmq_json_put_true(w, o, "own", t->held && t->own);
		vbmq_json_put_true(w, o, "added", t->added);
		if (t->kind == VBMQ_THREAD_IOTHREAD && t->polling.max_ns != POLLING_UNKNOWN)
			vbmq_json_put_polling(w, o, "polling", &t->polling);
		if (t->polling_held)
			vbmq_json_put_polling(w, o, "found_polling", &t->found_polling);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *disk_new(struct vbmq_json_writer *w, const struct vbmq_disk *disk)
{
	json_t *o = vbmq_json_new_object(w), *queues = vbmq_json_new_array(w), *devices = NULL;

	vbmq_json_put_text(w, o, "target", disk->target);
	if (disk->alias)
		vbmq_json_put_text(w, o, "alias", disk->alias);
	if (disk->source)
		vbmq_json_put_text(w, o, "source", disk->source);
	if (disk->node != VBMQ_NODE_UNKNOWN)
		vbmq_json_put_int(w, o, "node", disk->node);
	for (size_t i = 0; i < disk->n_devices; i++) {
		if (i == 0)
			devices = vbmq_json_new_array(w);
		vbmq_json_append(w, devices, json_string(disk->devices[i]));
	}
	if (devices)
		vbmq_json_put(w, o, "devices", devices);
	vbmq_json_put_bool(w, o, "mapped", disk->mapped);
	vbmq_json_put_bool(w, o, "started", disk->started);
	vbmq_json_put_true(w, o, "no_ioeventfd", disk->no_ioeventfd);
	vbmq_json_put_true(w, o, "no_poll", disk->no_poll);
	vbmq_json_put_true(w, o, "aio_threads", disk->aio_threads);
	for (size_t i = 0; i < disk->n_queues; i++) {
		json_t *q = vbmq_json_new_object(w);

		vbmq_json_put_int(w, q, "iothread", disk->queues[i].iothread);
		if (disk->held)
			vbmq_json_put_int(w, q, "applied", disk->queues[i].applied);
		vbmq_json_put_cpus(w, q, "vcpus", &disk->queues[i].vcpus);
		vbmq_json_put_bool(w, q, "exact", disk->queues[i].vcpus_exact);
		vbmq_json_append(w, queues, q);
	}
	vbmq_json_put(w, o, "queues", queues);
	return o;
}

json_t *vbmq_json_domain_new(struct vbmq_json_writer *w, const struct vbmq_domain *d)
{
	json_t *o = vbmq_json_new_object(w), *words = vbmq_json_new_array(w), *disks = vbmq_json_new_array(w);

	vbmq_json_put_text(w, o, "name", d->name);
	vbmq_json_put_text(w, o, "uuid", d->uuid);
	vbmq_json_put_int(w, o, "id", d->id);
	vbmq_json_put_int(w, o, "pid", d->pid);
	vbmq_json_put_text(w, o, "state", vbmq_domain_state_words[d->state]);
	vbmq_json_put_bool(w, o, "responsive", d->responsive);
	if (d->in_part)
		vbmq_json_put_text(w, o, "in_part", vbmq_part_words[d->in_part - 1]);
	vbmq_json_put_int(w, o, "vcpus", d->n_vcpus);
	if (d->has_cpuset)
		vbmq_json_put_cpus(w, o, "cpuset", &d->cpuset);
	vbmq_json_put_cpus(w, o, "memory_nodes", &d->memory_nodes);
	if (d->wish.present)
		vbmq_json_put(w, o, "wish", vbmq_json_wish_new(w, &d->wish));
	if (d->metadata_error)
		vbmq_json_put_text(w, o, "metadata_error", d->metadata_error);
	for (unsigned i = 0; vbmq_cap_words[i]; i++)
		if (d->caps.bits & (1u << i))
			vbmq_json_append(w, words, json_string(vbmq_cap_words[i]));
	vbmq_json_put(w, o, "capabilities", words);
	vbmq_json_put(w, o, "threads", threads_new(w, d));
	for (size_t i = 0; i < d->n_disks && w->code == 0; i++)
		vbmq_json_append(w, disks, disk_new(w, &d->disks[i]));
	vbmq_json_put(w, o, "disks", disks);
	vbmq_json_put_cpus(w, o, "busy_iothreads", &d->busy_iothreads);
	return o;
}

/* --- reading ---------------------------------------------------------------------------------------------------------- */

static void read_thread(struct vbmq_json *v, struct vbmq_thread *t)
{
	struct vbmq_json polling;

	t->kind = (enum vbmq_thread_kind)vbmq_json_need_word(v, "kind", vbmq_thread_kind_words);
	t->id = (uint32_t)vbmq_json_need_int(v, "id", 0, UINT32_MAX);
	t->tid = (uint32_t)vbmq_json_opt_int(v, "tid", 0, INT32_MAX, 0);
	t->start = (uint64_t)vbmq_json_opt_int(v, "start", 0, INT64_MAX, 0);
	vbmq_json_opt_cpus(v, "affinity", true, &t->affinity);
	t->has_pin = vbmq_json_opt_cpus(v, "pin", false, &t->pin);
	t->held = vbmq_json_opt_cpus(v, "applied", true, &t->applied);
	t->own = vbmq_json_opt_bool(v, "own", false) && t->held;
	t->added = vbmq_json_opt_bool(v, "added", false);
	t->polling = (struct vbmq_polling){ .max_ns = POLLING_UNKNOWN, .mode = VBMQ_POLL_UNSAID };
	polling = vbmq_json_opt(v, "polling");
	if (polling.value && t->kind != VBMQ_THREAD_IOTHREAD)
		vbmq_json_fail(&polling, -EINVAL, "only an I/O thread polls");
	else if (polling.value)
		vbmq_json_polling(&polling, &t->polling);
	polling = vbmq_json_opt(v, "found_polling");
	t->polling_held = polling.value;
	if (polling.value && t->kind != VBMQ_THREAD_IOTHREAD)
		vbmq_json_fail(&polling, -EINVAL, "only an I/O thread polls");
	else if (polling.value)
		vbmq_json_polling(&polling, &t->found_polling);
	vbmq_json_end(v);
}

static void read_queues(struct vbmq_json *disk, struct vbmq_disk *ret)
{
	struct vbmq_json list = vbmq_json_need(disk, "queues");
	size_t n = vbmq_json_array(&list, 1, VBMQ_QUEUES_MAX);

	for (size_t i = 0; i < n && disk->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		struct vbmq_queue *q = vbmq_json_add(v.reader, ret->queues, ret->n_queues, VBMQ_QUEUES_MAX);
		int64_t applied;

		if (!q)
			return;
		q->iothread = (uint32_t)vbmq_json_need_int(&v, "iothread", 0, UINT32_MAX);
		applied = vbmq_json_opt_int(&v, "applied", 0, UINT32_MAX, -1);
		if (i == 0)
			ret->held = applied >= 0;
		else if (ret->held != (applied >= 0))
			vbmq_json_fail(&v, -EINVAL, "either all queues of a disk have \"applied\" or none");
		q->applied = ret->held ? (uint32_t)applied : 0;
		vbmq_json_opt_cpus(&v, "vcpus", true, &q->vcpus);
		q->vcpus_exact = vbmq_json_opt_bool(&v, "exact", false);
		vbmq_json_end(&v);
	}
}

static void read_devices(struct vbmq_json *disk, struct vbmq_disk *ret)
{
	struct vbmq_json list = vbmq_json_opt(disk, "devices");
	size_t n = vbmq_json_array(&list, 0, VBMQ_DEVICES_MAX);

	for (size_t i = 0; i < n && disk->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		const char *name = vbmq_json_text(&v, 1, VBMQ_DEVICE_MAX);
		char(*slot)[VBMQ_DEVICE_MAX + 1] =
			name ? vbmq_json_add(v.reader, ret->devices, ret->n_devices, VBMQ_DEVICES_MAX) : NULL;

		if (slot)
			memcpy(*slot, name, strlen(name) + 1);
	}
}

static void read_disk(struct vbmq_json *v, struct vbmq_disk *disk)
{
	vbmq_json_need_target(v, "target", disk->target);
	disk->alias = vbmq_json_opt_dup(v, "alias", 1, ALIAS_LIMIT);
	disk->source = vbmq_json_opt_dup(v, "source", 1, SOURCE_LIMIT);
	disk->node = (int32_t)vbmq_json_opt_int(v, "node", 0, VBMQ_NODES_MAX - 1, VBMQ_NODE_UNKNOWN);
	disk->mapped = vbmq_json_opt_bool(v, "mapped", false);
	disk->started = vbmq_json_opt_bool(v, "started", false);
	disk->no_ioeventfd = vbmq_json_opt_bool(v, "no_ioeventfd", false);
	disk->no_poll = vbmq_json_opt_bool(v, "no_poll", false);
	disk->aio_threads = vbmq_json_opt_bool(v, "aio_threads", false);
	read_devices(v, disk);
	read_queues(v, disk);
	vbmq_json_end(v);
}

static void read_caps(struct vbmq_json *domain, struct vbmq_caps *ret)
{
	struct vbmq_json list = vbmq_json_opt(domain, "capabilities");
	size_t n = vbmq_json_array(&list, 0, 32);

	for (size_t i = 0; i < n; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		uint32_t bit;

		if (!json_is_string(v.value)) {
			vbmq_json_fail(&v, -EINVAL, "is not a string");
			return;
		}
		bit = 1u << vbmq_json_word(&v, vbmq_cap_words, 0);
		if (domain->reader->code < 0)
			return;
		if (ret->bits & bit)
			vbmq_json_fail(&v, -EINVAL, "is there twice");
		ret->bits |= bit;
	}
}

void vbmq_json_domain(struct vbmq_json *v, struct vbmq_domain *ret)
{
	struct vbmq_json m;
	size_t n;

	ret->name = vbmq_json_need_dup(v, "name", 1, VBMQ_NAME_MAX);
	vbmq_json_need_uuid(v, "uuid", ret->uuid);
	ret->id = (int32_t)vbmq_json_opt_int(v, "id", -1, INT32_MAX, -1);
	ret->pid = (uint32_t)vbmq_json_opt_int(v, "pid", 0, INT32_MAX, 0);
	ret->state = (enum vbmq_domain_state)vbmq_json_need_word(v, "state", vbmq_domain_state_words);
	ret->responsive = vbmq_json_opt_bool(v, "responsive", true);
	m = vbmq_json_opt(v, "in_part");
	ret->in_part = (uint8_t)(vbmq_json_word(&m, vbmq_part_words, -1) + 1);
	if (ret->in_part > VBMQ_SLICES)
		vbmq_json_fail(&m, -EINVAL, "is no unit");
	ret->n_vcpus = (uint32_t)vbmq_json_need_int(v, "vcpus", 1, VBMQ_VCPUS_MAX);
	ret->has_cpuset = vbmq_json_opt_cpus(v, "cpuset", false, &ret->cpuset);
	vbmq_json_opt_cpus(v, "memory_nodes", true, &ret->memory_nodes);
	m = vbmq_json_opt(v, "wish");
	if (m.value)
		vbmq_json_wish(&m, &ret->wish);
	ret->metadata_error = vbmq_json_opt_dup(v, "metadata_error", 1, VBMQ_ERR_TEXT_MAX - 1);
	read_caps(v, &ret->caps);
	m = vbmq_json_need(v, "threads");
	n = vbmq_json_array(&m, 0, VBMQ_JSON_THREADS_MAX);
	for (size_t i = 0; i < n && v->reader->code == 0; i++) {
		struct vbmq_json item = vbmq_json_item(&m, i);
		struct vbmq_thread *t = vbmq_json_add(v->reader, ret->threads, ret->n_threads, VBMQ_JSON_THREADS_MAX);

		if (t)
			read_thread(&item, t);
	}
	m = vbmq_json_opt(v, "disks");
	n = vbmq_json_array(&m, 0, VBMQ_DISKS_MAX);
	for (size_t i = 0; i < n && v->reader->code == 0; i++) {
		struct vbmq_json item = vbmq_json_item(&m, i);
		struct vbmq_disk *disk = vbmq_json_add(v->reader, ret->disks, ret->n_disks, VBMQ_DISKS_MAX);

		if (disk)
			read_disk(&item, disk);
	}
	vbmq_json_opt_cpus(v, "busy_iothreads", true, &ret->busy_iothreads);
	vbmq_json_end(v);
}
