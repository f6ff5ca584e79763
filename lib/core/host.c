/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/err.h"

const char *const vbmq_part_words[] = { "system.slice", "user.slice", "init.scope", "irqbalance", NULL };
const char *const vbmq_part_state_words[] = { "absent", "ok", "cgroup-v1", "no-cpuset", "foreign", "silent", NULL };

struct vbmq_host *vbmq_host_new(void)
{
	return calloc(1, sizeof(struct vbmq_host));
}

struct vbmq_host *vbmq_host_free(struct vbmq_host *h)
{
	if (!h)
		return NULL;
	free(h->name);
	free(h->cores);
	free(h->l3s);
	free(h->nodes);
	free(h->distances);
	free(h);
	return NULL;
}

/* --- finish: sort by lowest CPU (nodes by id) and rewrite the indexes ------------------------------------------------- */

struct order {
	int64_t key;
	uint32_t old;
};

static int by_key(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->old < y->old ? -1 : x->old > y->old;
}

static int64_t lowest(const struct vbmq_cpuset *s)
{
	int c = vbmq_cpuset_next(s, 0);

	return c < 0 ? INT64_MAX : c; /* empty ones last */
}

/* Brings items into the order of their keys; *ret_new_of[old] is the new index. */
static int reorder(void *items, size_t n, size_t item_size, const struct order *unsorted, uint32_t **ret_new_of)
{
	_cleanup_free_ struct order *order = NULL;
	_cleanup_free_ uint32_t *new_of = NULL;
	_cleanup_free_ char *copy = NULL;

	order = malloc(n * sizeof(*order));
	new_of = malloc(n * sizeof(*new_of));
	copy = malloc(n * item_size);
	if (!order || !new_of || !copy)
		return -ENOMEM;
	memcpy(order, unsorted, n * sizeof(*order));
	qsort(order, n, sizeof(*order), by_key);
	memcpy(copy, items, n * item_size);
	for (size_t i = 0; i < n; i++) {
		memcpy((char *)items + i * item_size, copy + order[i].old * item_size, item_size);
		new_of[order[i].old] = (uint32_t)i;
	}
	*ret_new_of = VBMQ_STEAL(new_of);
	return 0;
}

static int sort_nodes(struct vbmq_host *h)
{
	_cleanup_free_ uint32_t *new_of = NULL, *distances = NULL;
	_cleanup_free_ struct order *order = NULL;
	size_t n = h->n_nodes;
	int r;

	order = malloc(n * sizeof(*order));
	distances = malloc(n * n * sizeof(*distances));
	if (!order || !distances)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		order[i] = (struct order){ .key = h->nodes[i].id, .old = (uint32_t)i };
	r = reorder(h->nodes, n, sizeof(*h->nodes), order, &new_of);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++)
			distances[new_of[i] * n + new_of[j]] = h->distances[i * n + j];
	memcpy(h->distances, distances, n * n * sizeof(*distances));
	for (size_t i = 0; i < h->n_cores; i++)
		h->cores[i].node = new_of[h->cores[i].node];
	for (size_t i = 0; i < h->n_l3s; i++)
		h->l3s[i].node = new_of[h->l3s[i].node];
	return 0;
}

static int sort_l3s(struct vbmq_host *h)
{
	_cleanup_free_ struct order *order = malloc(h->n_l3s * sizeof(*order));
	_cleanup_free_ uint32_t *new_of = NULL;
	int r;

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < h->n_l3s; i++)
		order[i] = (struct order){ .key = lowest(&h->l3s[i].cpus), .old = (uint32_t)i };
	r = reorder(h->l3s, h->n_l3s, sizeof(*h->l3s), order, &new_of);
	if (r < 0)
		return r;
	for (size_t i = 0; i < h->n_cores; i++)
		h->cores[i].l3 = new_of[h->cores[i].l3];
	return 0;
}

static int sort_cores(struct vbmq_host *h)
{
	_cleanup_free_ struct order *order = malloc(h->n_cores * sizeof(*order));
	_cleanup_free_ uint32_t *new_of = NULL;

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < h->n_cores; i++)
		order[i] = (struct order){ .key = lowest(&h->cores[i].cpus), .old = (uint32_t)i };
	return reorder(h->cores, h->n_cores, sizeof(*h->cores), order, &new_of);
}

static int fill_distances(struct vbmq_host *h, struct vbmq_err *err)
{
	size_t n = h->n_nodes;

	if (!h->distances) {
		h->distances = malloc(n * n * sizeof(*h->distances));
		if (!h->distances)
			return vbmq_err_oom(err);
		for (size_t i = 0; i < n * n; i++)
			h->distances[i] = i % (n + 1) ? VBMQ_DISTANCE_DEFAULT : VBMQ_DISTANCE_LOCAL;
	}
	for (size_t i = 0; i < n * n; i++)
		if (h->distances[i] < VBMQ_DISTANCE_LOCAL || h->distances[i] > UINT16_MAX)
			return vbmq_err_set(err, -EINVAL, "host: node distance %u is outside %u..%u", h->distances[i],
					    VBMQ_DISTANCE_LOCAL, (unsigned)UINT16_MAX);
	return 0;
}

static int check_indexes(const struct vbmq_host *h, struct vbmq_err *err)
{
	if (h->n_cores == 0 || h->n_nodes == 0 || h->n_l3s == 0)
		return vbmq_err_set(err, -EINVAL, "host: it has no %s",
				    h->n_cores == 0   ? "core"
				    : h->n_nodes == 0 ? "NUMA node"
						      : "L3 domain");
	if (h->n_nodes > VBMQ_NODES_MAX || h->n_cores > VBMQ_CPUS_MAX || h->n_l3s > VBMQ_CPUS_MAX)
		return vbmq_err_set(err, -E2BIG, "host: more than %u nodes or %u cores", VBMQ_NODES_MAX, VBMQ_CPUS_MAX);
	for (size_t i = 0; i < h->n_cores; i++)
		if (h->cores[i].l3 >= h->n_l3s || h->cores[i].node >= h->n_nodes)
			return vbmq_err_set(err, -EINVAL, "host: core %zu names an L3 domain or node that is not there",
					    i);
	for (size_t i = 0; i < h->n_l3s; i++)
		if (h->l3s[i].node >= h->n_nodes)
			return vbmq_err_set(err, -EINVAL, "host: L3 domain %zu names a node that is not there", i);
	for (size_t i = 0; i < h->n_nodes; i++)
		if (h->nodes[i].id >= VBMQ_NODES_MAX)
			return vbmq_err_set(err, -ERANGE, "host: node number %u is above %u", h->nodes[i].id,
					    VBMQ_NODES_MAX - 1);
	return 0;
}

static int index_cores(struct vbmq_host *h, struct vbmq_err *err)
{
	for (size_t i = 0; i < VBMQ_CPUS_MAX; i++)
		h->core_of[i] = VBMQ_NO_CORE;
	for (size_t i = 0; i < h->n_cores; i++) {
		const struct vbmq_core *core = &h->cores[i];

		if (vbmq_cpuset_is_empty(&core->cpus))
			return vbmq_err_set(err, -EINVAL, "host: core %zu has no CPU", i);
		if (!vbmq_cpuset_is_subset(&core->cpus, &h->l3s[core->l3].cpus))
			return vbmq_err_set(err, -EINVAL, "host: core of CPU %d is not inside its L3 domain",
					    vbmq_cpuset_next(&core->cpus, 0));
		for (int c = vbmq_cpuset_next(&core->cpus, 0); c >= 0;
		     c = vbmq_cpuset_next(&core->cpus, (unsigned)c + 1)) {
			if (h->core_of[c] != VBMQ_NO_CORE)
				return vbmq_err_set(err, -EINVAL, "host: CPU %d is in two cores", c);
			h->core_of[c] = (uint16_t)i;
		}
	}
	for (int c = vbmq_cpuset_next(&h->usable, 0); c >= 0; c = vbmq_cpuset_next(&h->usable, (unsigned)c + 1))
		if (h->core_of[c] == VBMQ_NO_CORE)
			return vbmq_err_set(err, -EINVAL, "host: CPU %d is online but in no core", c);
	return 0;
}

int vbmq_host_finish(struct vbmq_host *h, struct vbmq_err *err)
{
	int r = check_indexes(h, err);

	if (r < 0)
		return r;
	if (!h->name) {
		h->name = strdup("host");
		if (!h->name)
			return vbmq_err_oom(err);
	}
	r = fill_distances(h, err);
	if (r < 0)
		return r;
	if (sort_nodes(h) < 0 || sort_l3s(h) < 0 || sort_cores(h) < 0)
		return vbmq_err_oom(err);
	for (size_t i = 1; i < h->n_nodes; i++)
		if (h->nodes[i].id == h->nodes[i - 1].id)
			return vbmq_err_set(err, -EINVAL, "host: node %u is there twice", h->nodes[i].id);
	h->usable = vbmq_cpuset_and(&h->online, &h->allowed);
	return index_cores(h, err);
}

/* --- look-ups --------------------------------------------------------------------------------------------------------- */

int vbmq_host_node_index(const struct vbmq_host *h, uint32_t id)
{
	for (size_t i = 0; i < h->n_nodes; i++)
		if (h->nodes[i].id == id)
			return (int)i;
	return -1;
}

uint32_t vbmq_host_distance(const struct vbmq_host *h, uint32_t from_index, uint32_t to_index)
{
	return h->distances[from_index * h->n_nodes + to_index];
}

const struct vbmq_core *vbmq_host_core_of(const struct vbmq_host *h, unsigned cpu)
{
	if (cpu >= VBMQ_CPUS_MAX || h->core_of[cpu] == VBMQ_NO_CORE)
		return NULL;
	return &h->cores[h->core_of[cpu]];
}

struct vbmq_cpuset vbmq_host_whole_cores(const struct vbmq_host *h, const struct vbmq_cpuset *cpus)
{
	struct vbmq_cpuset all = *cpus;

	for (int c = vbmq_cpuset_next(cpus, 0); c >= 0; c = vbmq_cpuset_next(cpus, (unsigned)c + 1)) {
		const struct vbmq_core *core = vbmq_host_core_of(h, (unsigned)c);

		if (core)
			all = vbmq_cpuset_or(&all, &core->cpus);
	}
	return all;
}

enum vbmq_nearness vbmq_host_nearness(const struct vbmq_host *h, unsigned a, unsigned b)
{
	const struct vbmq_core *x = vbmq_host_core_of(h, a), *y = vbmq_host_core_of(h, b);

	if (!x || !y)
		return VBMQ_NEAR_REMOTE;
	if (x == y)
		return VBMQ_NEAR_CORE;
	if (x->l3 == y->l3)
		return VBMQ_NEAR_L3;
	return x->node == y->node ? VBMQ_NEAR_NODE : VBMQ_NEAR_REMOTE;
}
