/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What it costs to have an I/O thread (or a dedicated vCPU) on a core: the lexicographic objective of DESIGN 5, 2 to 5,
 * in integers. Exclusivity (1) is not a cost but a constraint. Smaller is better; components add up over threads.
 * This file is the only place that knows how dear anything is. tests/oracle has its own reading of the same text.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/host.h"

struct vbmq_cost {
	/* distance beyond local: core's node to device's node(s), plus to the nearest node of guest memory */
	uint64_t numa;
	/* sum over the completion vCPUs' places of vbmq_cost_near(), fixed vCPUs counting more than floating ones */
	uint64_t locality;
	/* 1 if the thread stands elsewhere now */
	uint64_t moves;
	/* whole free L3 domains broken, not isolated though there are isolated cores, slower kind of core */
	uint64_t fragment;
};

int vbmq_cost_compare(const struct vbmq_cost *a, const struct vbmq_cost *b); /* <0, 0, >0 */

typedef __int128 vbmq_cost_key; /* levels of the objective weighted into one number (planner_place.c) */

/* Distance beyond local from node (index) to the node with Linux number id; 0 when the host does not have it. */
uint32_t vbmq_cost_beyond(const struct vbmq_host *h, uint32_t node, uint32_t id);

/* The least of them over ids (Linux numbers); 0 for the empty set. */
uint32_t vbmq_cost_beyond_nearest(const struct vbmq_host *h, uint32_t node, const struct vbmq_cpuset *ids);

#define VBMQ_COST_FIXED 64u /* weight of a vCPU that is known to stay inside one L3 domain */
#define VBMQ_COST_FLOATING 16u /* of one that wanders further */

/* One vCPU's share of locality: weight times the mean over the CPUs where it may run of: same L3 domain 0, same node 1,
 * further 2. The core itself is no nearer than its L3 domain: whoever gets it alone is never met there by the vCPU. */
uint32_t vbmq_cost_near(const struct vbmq_host *h, uint32_t core, const struct vbmq_cpuset *place);

/* True if all of place is in one L3 domain: its weight is VBMQ_COST_FIXED then. False for the empty set. */
bool vbmq_cost_is_fixed(const struct vbmq_host *h, const struct vbmq_cpuset *place);

/* rank: place of the core's L3 domain in the order in which L3 domains should be filled up (below 4096);
 * slower: how many faster kinds of core there are; boot: it has the lowest CPU of the host, which is best left to it. */
uint64_t vbmq_cost_fragment(bool spares_isolated, uint32_t slower, bool boot, uint32_t rank);
