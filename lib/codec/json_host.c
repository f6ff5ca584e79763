/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The "host" object of a snapshot. Nodes are named by their Linux numbers, L3 domains by their place in "l3". */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json_parts.h"
#include "util/err.h"

#define HOST_NAME_LIMIT 4096u /* a host name, a file, or a synthetic description */
#define MEMORY_KIB_LIMIT (INT64_C(1) << 52)

/* --- writing ---------------------------------------------------------------------------------------------------------- */

static json_t *cores_new(struct vbmq_json_writer *w, const struct vbmq_host *h)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < h->n_cores; i++) {
		const struct vbmq_core *core = &h->cores[i];
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_cpus(w, o, "cpus", &core->cpus);
		vbmq_json_put_int(w, o, "l3", core->l3);
		vbmq_json_put_int(w, o, "node", h->nodes[core->node].id);
		vbmq_json_put_int(w, o, "die", core->die);
		vbmq_json_put_int(w, o, "package", core->package);
		if (core->kind >= 0)
			vbmq_json_put_int(w, o, "kind", core->kind);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *l3s_new(struct vbmq_json_writer *w, const struct vbmq_host *h)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < h->n_l3s; i++) {
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_cpus(w, o, "cpus", &h->l3s[i].cpus);
		vbmq_json_put_int(w, o, "node", h->nodes[h->l3s[i].node].id);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *nodes_new(struct vbmq_json_writer *w, const struct vbmq_host *h)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < h->n_nodes; i++) {
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_int(w, o, "id", h->nodes[i].id);
		vbmq_json_put_cpus(w, o, "cpus", &h->nodes[i].cpus);
		vbmq_json_put_u64(w, o, "memory_kib", h->nodes[i].memory_kib);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *distances_new(struct vbmq_json_writer *w, const struct vbmq_host *h)
{
	json_t *rows = vbmq_json_new_array(w);

	for (size_t i = 0; i < h->n_nodes; i++) {
		json_t *row = vbmq_json_new_array(w);

		for (size_t j = 0; j < h->n_nodes; j++)
			vbmq_json_append(w, row, json_integer(h->distances[i * h->n_nodes + j]));
		vbmq_json_append(w, rows, row);
	}
	return rows;
}

static json_t *parts_new(struct vbmq_json_writer *w, const struct vbmq_host *h)
{
	json_t *list = vbmq_json_new_array(w);

	for (unsigned i = 0; i < VBMQ_PARTS; i++) {
		const struct vbmq_part *part = &h->parts[i];
		json_t *o;

		if (part->state == VBMQ_PART_ABSENT)
			continue;
		o = vbmq_json_new_object(w);
		vbmq_json_put_text(w, o, "part", vbmq_part_words[i]);
		vbmq_json_put_text(w, o, "state", vbmq_part_state_words[part->state]);
		vbmq_json_put_cpus(w, o, "cpus", &part->cpus);
		if (part->pid) {
			vbmq_json_put_int(w, o, "pid", part->pid);
			vbmq_json_put_u64(w, o, "start", part->start);
		}
		if (part->held) {
			vbmq_json_put_cpus(w, o, "found", &part->found);
			vbmq_json_put_cpus(w, o, "applied", &part->applied);
		}
		vbmq_json_append(w, list, o);
	}
	return list;
}

static bool has_parts(const struct vbmq_host *h)
{
	for (unsigned i = 0; i < VBMQ_PARTS; i++)
		if (h->parts[i].state != VBMQ_PART_ABSENT)
			return true;
	return false;
}

json_t *vbmq_json_host_new(struct vbmq_json_writer *w, const struct vbmq_host *h)
{
	json_t *o = vbmq_json_new_object(w);

	vbmq_json_put_text(w, o, "name", h->name);
	vbmq_json_put_cpus(w, o, "online", &h->online);
	vbmq_json_put_cpus(w, o, "allowed", &h->allowed);
	vbmq_json_put_cpus(w, o, "isolated", &h->isolated);
	if (!vbmq_cpuset_is_empty(&h->nova))
		vbmq_json_put_cpus(w, o, "nova", &h->nova);
	if (has_parts(h))
		vbmq_json_put(w, o, "parts", parts_new(w, h));
	vbmq_json_put(w, o, "cores", cores_new(w, h));
	vbmq_json_put(w, o, "l3", l3s_new(w, h));
	vbmq_json_put(w, o, "nodes", nodes_new(w, h));
	vbmq_json_put(w, o, "distances", distances_new(w, h));
	return o;
}

/* --- reading: nodes first, for the others name them ------------------------------------------------------------------- */

static void read_nodes(struct vbmq_json *host, struct vbmq_host *ret)
{
	struct vbmq_json list = vbmq_json_need(host, "nodes");
	size_t n = vbmq_json_array(&list, 1, VBMQ_NODES_MAX);

	for (size_t i = 0; i < n && host->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		struct vbmq_node *node = vbmq_json_add(v.reader, ret->nodes, ret->n_nodes, VBMQ_NODES_MAX);

		if (!node)
			return;
		node->id = (uint32_t)vbmq_json_need_int(&v, "id", 0, VBMQ_NODES_MAX - 1);
		vbmq_json_need_cpus(&v, "cpus", true, &node->cpus);
		node->memory_kib = (uint64_t)vbmq_json_opt_int(&v, "memory_kib", 0, MEMORY_KIB_LIMIT, 0);
		vbmq_json_end(&v);
	}
}

/* A Linux node number -> index in ret->nodes. */
static uint32_t need_node(struct vbmq_json *o, const struct vbmq_host *host)
{
	struct vbmq_json v = vbmq_json_need(o, "node");
	uint32_t id = (uint32_t)vbmq_json_int(&v, 0, VBMQ_NODES_MAX - 1, 0);
	int index = vbmq_host_node_index(host, id);

	if (index < 0)
		vbmq_json_fail(&v, -EINVAL, "%u is the id of no node in host.nodes", id);
	return index < 0 ? 0 : (uint32_t)index;
}

static void read_l3s(struct vbmq_json *host, struct vbmq_host *ret)
{
	struct vbmq_json list = vbmq_json_need(host, "l3");
	size_t n = vbmq_json_array(&list, 1, VBMQ_CPUS_MAX);

	for (size_t i = 0; i < n && host->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		struct vbmq_l3 *l3 = vbmq_json_add(v.reader, ret->l3s, ret->n_l3s, VBMQ_CPUS_MAX);

		if (!l3)
			return;
		vbmq_json_need_cpus(&v, "cpus", false, &l3->cpus);
		l3->node = need_node(&v, ret);
		vbmq_json_end(&v);
	}
}

static void read_cores(struct vbmq_json *host, struct vbmq_host *ret)
{
	struct vbmq_json list = vbmq_json_need(host, "cores");
	size_t n = vbmq_json_array(&list, 1, VBMQ_CPUS_MAX);

	for (size_t i = 0; i < n && host->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		struct vbmq_core *core = vbmq_json_add(v.reader, ret->cores, ret->n_cores, VBMQ_CPUS_MAX);

		if (!core)
			return;
		vbmq_json_need_cpus(&v, "cpus", false, &core->cpus);
		core->l3 = (uint32_t)vbmq_json_need_int(&v, "l3", 0, ret->n_l3s > 0 ? (int64_t)ret->n_l3s - 1 : 0);
		core->node = need_node(&v, ret);
		core->die = (uint32_t)vbmq_json_opt_int(&v, "die", 0, UINT32_MAX, 0);
		core->package = (uint32_t)vbmq_json_opt_int(&v, "package", 0, UINT32_MAX, 0);
		core->kind = (int32_t)vbmq_json_opt_int(&v, "kind", 0, INT32_MAX, -1);
		vbmq_json_end(&v);
	}
}

static void read_distances(struct vbmq_json *host, struct vbmq_host *ret)
{
	struct vbmq_json rows = vbmq_json_opt(host, "distances");
	size_t n = ret->n_nodes;

	if (!rows.value || host->reader->code < 0)
		return;
	vbmq_json_array(&rows, n, n);
	ret->distances = calloc(n * n, sizeof(*ret->distances));
	if (!ret->distances) {
		vbmq_json_oom(host->reader);
		return;
	}
	for (size_t i = 0; i < n && host->reader->code == 0; i++) {
		struct vbmq_json row = vbmq_json_item(&rows, i);

		vbmq_json_array(&row, n, n);
		for (size_t j = 0; j < n && host->reader->code == 0; j++) {
			struct vbmq_json v = vbmq_json_item(&row, j);

			ret->distances[i * n + j] = (uint32_t)vbmq_json_int(&v, VBMQ_DISTANCE_LOCAL, UINT16_MAX, 0);
		}
	}
}

static void read_parts(struct vbmq_json *host, struct vbmq_host *ret)
{
	struct vbmq_json list = vbmq_json_opt(host, "parts");
	size_t n = vbmq_json_array(&list, 0, VBMQ_PARTS);

	for (size_t i = 0; i < n && host->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		int id = vbmq_json_need_word(&v, "part", vbmq_part_words);
		struct vbmq_part *part = &ret->parts[id < 0 ? 0 : id];

		if (part->state != VBMQ_PART_ABSENT)
			vbmq_json_fail(&v, -EINVAL, "the part is there twice");
		part->state = (enum vbmq_part_state)vbmq_json_need_word(&v, "state", vbmq_part_state_words);
		vbmq_json_need_cpus(&v, "cpus", true, &part->cpus);
		part->pid = (uint32_t)vbmq_json_opt_int(&v, "pid", 0, INT32_MAX, 0);
		part->start = (uint64_t)vbmq_json_opt_int(&v, "start", 0, INT64_MAX, 0);
		part->held = vbmq_json_opt_cpus(&v, "found", true, &part->found);
		if (part->held)
			vbmq_json_need_cpus(&v, "applied", true, &part->applied);
		vbmq_json_end(&v);
	}
}

void vbmq_json_host(struct vbmq_json *v, struct vbmq_host *ret)
{
	ret->name = vbmq_json_need_dup(v, "name", 1, HOST_NAME_LIMIT);
	vbmq_json_need_cpus(v, "online", false, &ret->online);
	if (!vbmq_json_opt_cpus(v, "allowed", false, &ret->allowed))
		ret->allowed = ret->online;
	vbmq_json_opt_cpus(v, "isolated", true, &ret->isolated);
	vbmq_json_opt_cpus(v, "nova", true, &ret->nova);
	read_parts(v, ret);
	read_nodes(v, ret);
	read_l3s(v, ret);
	read_cores(v, ret);
	read_distances(v, ret);
	vbmq_json_end(v);
}
