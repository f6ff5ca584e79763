/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/cost.h"

int vbmq_cost_compare(const struct vbmq_cost *a, const struct vbmq_cost *b)
{
	if (a->numa != b->numa)
		return a->numa < b->numa ? -1 : 1;
	if (a->locality != b->locality)
		return a->locality < b->locality ? -1 : 1;
	if (a->moves != b->moves)
		return a->moves < b->moves ? -1 : 1;
	if (a->fragment != b->fragment)
		return a->fragment < b->fragment ? -1 : 1;
	return 0;
}

uint32_t vbmq_cost_beyond(const struct vbmq_host *h, uint32_t node, uint32_t id)
{
	int to = vbmq_host_node_index(h, id);

	if (to < 0 || (uint32_t)to == node)
		return 0;
	return vbmq_host_distance(h, node, (uint32_t)to) - VBMQ_DISTANCE_LOCAL;
}

uint32_t vbmq_cost_beyond_nearest(const struct vbmq_host *h, uint32_t node, const struct vbmq_cpuset *ids)
{
	uint32_t best = UINT32_MAX;

	for (int id = vbmq_cpuset_next(ids, 0); id >= 0; id = vbmq_cpuset_next(ids, (unsigned)id + 1)) {
		uint32_t d = vbmq_cost_beyond(h, node, (uint32_t)id);

		if (d < best)
			best = d;
	}
	return best == UINT32_MAX ? 0 : best;
}

bool vbmq_cost_is_fixed(const struct vbmq_host *h, const struct vbmq_cpuset *place)
{
	int first = vbmq_cpuset_next(place, 0);
	const struct vbmq_core *core = first < 0 ? NULL : vbmq_host_core_of(h, (unsigned)first);

	return core && vbmq_cpuset_is_subset(place, &h->l3s[core->l3].cpus);
}

uint32_t vbmq_cost_near(const struct vbmq_host *h, uint32_t core, const struct vbmq_cpuset *place)
{
	uint32_t weight = vbmq_cost_is_fixed(h, place) ? VBMQ_COST_FIXED : VBMQ_COST_FLOATING;
	int here = vbmq_cpuset_next(&h->cores[core].cpus, 0);
	uint32_t sum = 0, n = 0;

	for (int c = vbmq_cpuset_next(place, 0); c >= 0; c = vbmq_cpuset_next(place, (unsigned)c + 1)) {
		enum vbmq_nearness near = vbmq_host_nearness(h, (unsigned)here, (unsigned)c);

		sum += near > VBMQ_NEAR_L3 ? (uint32_t)(near - VBMQ_NEAR_L3) : 0;
		n++;
	}
	return n ? sum * weight / n : 0;
}

uint64_t vbmq_cost_fragment(bool spares_isolated, uint32_t slower, bool boot, uint32_t rank)
{
	if (slower > 63)
		slower = 63;
	return (uint64_t) !!spares_isolated << 20 | (uint64_t)slower << 14 | (uint64_t) !!boot << 13 | (rank & 0xfff);
}
