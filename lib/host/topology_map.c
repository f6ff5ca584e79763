/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * hwloc's tree has whatever levels the machine has; struct vbmq_host has the same five for every machine. The tree is
 * read from its leaves: for every PU the ancestors of each type are looked up, so levels that only parts of the machine
 * have (hybrid processors, groups, clusters) need no case of their own.
 *
 *   core     ancestor Core; a PU without one is a core by itself
 *   L3       ancestor L3; without, the L2 when more than one core shares it; without, all CPUs of the node that have none
 *   package  ancestor Package; without, the machine. die: ancestor Die; without, the package. Both are only told apart.
 *   node     of the NUMA nodes whose CPUs include the core: ordinary memory before special (HBM, NVM, GPU, ...), then the
 *            one of fewest CPUs, then the lowest Linux number. So memory-only nodes that hwloc hangs beside a processor's
 *            own never win; they stay in the list of nodes, without CPUs.
 *   kind     efficiency rank of hwloc when it knows at least two
 *
 * Offline CPUs appear in hwloc only as bits of complete_cpuset; those below a core are siblings that are off, and are put
 * into the core unless another core says the same. Distances: the matrix that the firmware gave ("NUMALatency");
 * what it leaves out, or what cannot be (less than local), is the default.
 *
 * Everything is checked against our limits before it is used: the topology may come from a file anybody wrote.
 */
#include "host/topology_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"

#define NO_INDEX UINT32_MAX

/* hwloc objects in the order in which they were met: the index of an object is our number for it. */
struct objects {
	hwloc_obj_t *items;
	size_t n;
};

struct map {
	hwloc_topology_t topology;
	struct vbmq_host *host;
	struct objects cores, l3s, dies, packages;
	hwloc_obj_t *nodes; /* as host->nodes */
	struct vbmq_err *err;
};

static bool to_cpuset(hwloc_const_bitmap_t from, struct vbmq_cpuset *ret)
{
	*ret = VBMQ_CPUSET_EMPTY;
	for (int cpu = from ? hwloc_bitmap_first(from) : -1; cpu >= 0; cpu = hwloc_bitmap_next(from, cpu)) {
		if ((unsigned)cpu >= VBMQ_CPUS_MAX)
			return false;
		vbmq_cpuset_add(ret, (unsigned)cpu);
	}
	return true;
}

/* Index of obj, added if new; NO_INDEX: out of memory. PUs come in order, so the newest is nearly always it. */
static uint32_t object_index(struct objects *list, hwloc_obj_t obj)
{
	hwloc_obj_t *slot;

	for (size_t i = list->n; i-- > 0;)
		if (list->items[i] == obj)
			return (uint32_t)i;
	slot = vbmq_array_add(list->items, list->n, VBMQ_CPUS_MAX);
	if (!slot)
		return NO_INDEX;
	*slot = obj;
	return (uint32_t)list->n - 1;
}

static bool is_special_memory(hwloc_obj_t node)
{
	static const char *const ordinary[] = { "DRAM", "Normal" };

	if (!node->subtype)
		return false;
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(ordinary); i++)
		if (strcmp(node->subtype, ordinary[i]) == 0)
			return false;
	return true;
}

/* Does a suit a core inside both better than b? */
static bool better_node(hwloc_obj_t a, hwloc_obj_t b)
{
	int wa = hwloc_bitmap_weight(a->cpuset), wb = hwloc_bitmap_weight(b->cpuset);

	if (is_special_memory(a) != is_special_memory(b))
		return is_special_memory(b);
	if (wa != wb)
		return wa < wb;
	return a->os_index < b->os_index;
}

static uint32_t node_of_pu(const struct map *m, hwloc_obj_t pu)
{
	uint32_t best = NO_INDEX;

	for (size_t i = 0; i < m->host->n_nodes; i++)
		if (m->nodes[i]->cpuset && hwloc_bitmap_isset(m->nodes[i]->cpuset, pu->os_index) &&
		    (best == NO_INDEX || better_node(m->nodes[i], m->nodes[best])))
			best = (uint32_t)i;
	return best;
}

static int compare_nodes(const void *a, const void *b)
{
	hwloc_obj_t x = *(const hwloc_obj_t *)a, y = *(const hwloc_obj_t *)b;

	return x->os_index < y->os_index ? -1 : x->os_index > y->os_index;
}

static int add_nodes(struct map *m)
{
	struct vbmq_host *h = m->host;
	int n = hwloc_get_nbobjs_by_type(m->topology, HWLOC_OBJ_NUMANODE);

	if (n < 1 || (unsigned)n > VBMQ_NODES_MAX)
		return vbmq_err_set(m->err, -EINVAL, "%d NUMA nodes; 1 to %u are supported", n, VBMQ_NODES_MAX);
	h->nodes = calloc((size_t)n, sizeof(*h->nodes));
	m->nodes = calloc((size_t)n, sizeof(*m->nodes));
	if (!h->nodes || !m->nodes)
		return vbmq_err_oom(m->err);
	for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(m->topology, HWLOC_OBJ_NUMANODE, o));) {
		if (h->n_nodes >= (size_t)n || o->os_index >= VBMQ_NODES_MAX)
			return vbmq_err_set(m->err, -ERANGE, "NUMA node %u: numbers up to %u are supported",
					    o->os_index, VBMQ_NODES_MAX - 1);
		m->nodes[h->n_nodes++] = o;
	}
	qsort(m->nodes, h->n_nodes, sizeof(*m->nodes), compare_nodes);
	for (size_t i = 0; i < h->n_nodes; i++) {
		h->nodes[i].id = m->nodes[i]->os_index;
		h->nodes[i].memory_kib = m->nodes[i]->attr->numanode.local_memory / 1024;
	}
	return 0;
}

static hwloc_obj_t ancestor(const struct map *m, hwloc_obj_type_t type, hwloc_obj_t obj)
{
	return hwloc_get_ancestor_obj_by_type(m->topology, type, obj);
}

/* The object that stands for the last-level cache domain of a PU: a cache, or the node object. */
static hwloc_obj_t cache_of(const struct map *m, hwloc_obj_t pu, hwloc_obj_t core, uint32_t node)
{
	hwloc_obj_t cache = ancestor(m, HWLOC_OBJ_L3CACHE, pu);

	if (cache)
		return cache;
	cache = ancestor(m, HWLOC_OBJ_L2CACHE, pu);
	if (cache && !hwloc_bitmap_isincluded(cache->cpuset, core->cpuset))
		return cache;
	return m->nodes[node];
}

static int32_t kind_of(const struct map *m, hwloc_obj_t core)
{
	int kind, efficiency;

	if (hwloc_cpukinds_get_nr(m->topology, 0) < 2)
		return -1;
	kind = hwloc_cpukinds_get_by_cpuset(m->topology, core->cpuset, 0);
	if (kind < 0 || hwloc_cpukinds_get_info(m->topology, (unsigned)kind, NULL, &efficiency, NULL, NULL, 0) < 0)
		return -1;
	return efficiency;
}

/* A core that is met for the first time. */
static int add_core(struct map *m, hwloc_obj_t pu, hwloc_obj_t core_obj)
{
	hwloc_obj_t package = ancestor(m, HWLOC_OBJ_PACKAGE, pu), die = ancestor(m, HWLOC_OBJ_DIE, pu);
	struct vbmq_host *h = m->host;
	uint32_t node = node_of_pu(m, pu);
	struct vbmq_core *core;
	hwloc_obj_t cache;

	if (node == NO_INDEX)
		return vbmq_err_set(m->err, -EINVAL, "CPU %u belongs to no NUMA node", pu->os_index);
	core = vbmq_array_add(h->cores, h->n_cores, VBMQ_CPUS_MAX);
	if (!core)
		return vbmq_err_oom(m->err);
	if (!package)
		package = hwloc_get_root_obj(m->topology);
	cache = cache_of(m, pu, core_obj, node);
	core->node = node;
	core->l3 = object_index(&m->l3s, cache);
	core->package = object_index(&m->packages, package);
	core->die = object_index(&m->dies, die ? die : package);
	core->kind = kind_of(m, core_obj);
	if (core->l3 == NO_INDEX || core->package == NO_INDEX || core->die == NO_INDEX)
		return vbmq_err_oom(m->err);
	return 0;
}

static int add_cpus(struct map *m)
{
	struct vbmq_host *h = m->host;

	for (hwloc_obj_t pu = NULL; (pu = hwloc_get_next_obj_by_type(m->topology, HWLOC_OBJ_PU, pu));) {
		hwloc_obj_t core = ancestor(m, HWLOC_OBJ_CORE, pu);
		uint32_t index;
		int r;

		if (pu->os_index >= VBMQ_CPUS_MAX)
			return vbmq_err_set(m->err, -ERANGE, "CPU %u: numbers up to %u are supported", pu->os_index,
					    VBMQ_CPUS_MAX - 1);
		if (vbmq_cpuset_has(&h->online, pu->os_index))
			return vbmq_err_set(m->err, -EINVAL, "CPU %u appears twice", pu->os_index);
		if (!core)
			core = pu;
		index = object_index(&m->cores, core);
		if (index == NO_INDEX)
			return vbmq_err_oom(m->err);
		if (index == h->n_cores) {
			r = add_core(m, pu, core);
			if (r < 0)
				return r;
		}
		vbmq_cpuset_add(&h->online, pu->os_index);
		vbmq_cpuset_add(&h->cores[index].cpus, pu->os_index);
	}
	if (h->n_cores == 0)
		return vbmq_err_set(m->err, -EINVAL, "it has no CPU");
	return 0;
}

/* Offline siblings that exactly one core claims. */
static void add_offline(struct map *m)
{
	struct vbmq_host *h = m->host;
	struct vbmq_cpuset taken = h->online;

	for (size_t i = 0; i < h->n_cores; i++) {
		struct vbmq_cpuset complete, off;

		if (!to_cpuset(m->cores.items[i]->complete_cpuset, &complete))
			continue; /* "all CPUs there could ever be" */
		off = vbmq_cpuset_andnot(&complete, &taken);
		h->cores[i].cpus = vbmq_cpuset_or(&h->cores[i].cpus, &off);
		taken = vbmq_cpuset_or(&taken, &off);
	}
}

static int add_domains(struct map *m)
{
	struct vbmq_host *h = m->host;

	h->l3s = calloc(m->l3s.n, sizeof(*h->l3s));
	if (!h->l3s)
		return vbmq_err_oom(m->err);
	h->n_l3s = m->l3s.n;
	for (size_t i = 0; i < h->n_cores; i++) {
		struct vbmq_l3 *l3 = &h->l3s[h->cores[i].l3];
		struct vbmq_node *node = &h->nodes[h->cores[i].node];

		if (vbmq_cpuset_is_empty(&l3->cpus) ||
		    vbmq_cpuset_next(&h->cores[i].cpus, 0) < vbmq_cpuset_next(&l3->cpus, 0))
			l3->node = h->cores[i].node;
		l3->cpus = vbmq_cpuset_or(&l3->cpus, &h->cores[i].cpus);
		node->cpus = vbmq_cpuset_or(&node->cpus, &h->cores[i].cpus);
	}
	return 0;
}

static uint32_t node_index(const struct map *m, hwloc_obj_t obj)
{
	for (size_t i = 0; obj && i < m->host->n_nodes; i++)
		if (m->nodes[i] == obj)
			return (uint32_t)i;
	return NO_INDEX;
}

static int add_distances(struct map *m)
{
	struct vbmq_host *h = m->host;
	struct hwloc_distances_s *d = NULL;
	size_t n = h->n_nodes;
	unsigned nr = 1;

	h->distances = malloc(n * n * sizeof(*h->distances));
	if (!h->distances)
		return vbmq_err_oom(m->err);
	for (size_t i = 0; i < n * n; i++)
		h->distances[i] = i % (n + 1) == 0 ? VBMQ_DISTANCE_LOCAL : VBMQ_DISTANCE_DEFAULT;
	if (hwloc_distances_get_by_name(m->topology, "NUMALatency", &nr, &d, 0) < 0 || nr == 0 || !d)
		return 0;
	for (unsigned i = 0; i < d->nbobjs; i++) {
		uint32_t from = node_index(m, d->objs[i]);

		for (unsigned k = 0; from != NO_INDEX && k < d->nbobjs; k++) {
			uint32_t to = node_index(m, d->objs[k]);
			hwloc_uint64_t value = d->values[(size_t)i * d->nbobjs + k];

			if (to != NO_INDEX && to != from && value >= VBMQ_DISTANCE_LOCAL && value <= UINT16_MAX)
				h->distances[from * n + to] = (uint32_t)value;
		}
	}
	hwloc_distances_release(m->topology, d);
	return 0;
}

static void set_allowed(struct map *m)
{
	struct vbmq_cpuset allowed;

	if (!to_cpuset(hwloc_topology_get_allowed_cpuset(m->topology), &allowed))
		allowed = m->host->online; /* "all there could ever be" */
	m->host->allowed = vbmq_cpuset_and(&allowed, &m->host->online);
}

int vbmq_topology_map(hwloc_topology_t topology, struct vbmq_host **ret, struct vbmq_err *err)
{
	struct map m = { .topology = topology, .host = vbmq_host_new(), .err = err };
	int r;

	r = m.host ? add_nodes(&m) : vbmq_err_oom(err);
	if (r == 0)
		r = add_cpus(&m);
	if (r == 0) {
		add_offline(&m);
		r = add_domains(&m);
	}
	if (r == 0)
		r = add_distances(&m);
	if (r == 0)
		set_allowed(&m);
	free(m.cores.items);
	free(m.l3s.items);
	free(m.dies.items);
	free(m.packages.items);
	free(m.nodes);
	if (r < 0) {
		vbmq_host_free(m.host);
		return r;
	}
	*ret = m.host;
	return 0;
}
