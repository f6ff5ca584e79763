/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What it costs to have an I/O thread (or a dedicated vCPU) on a core: the lexicographic objective of DESIGN 5, 2 to 5,
 * in integers. Exclusivity (1) is not a cost but a constraint. Smaller is better; components add up over threads.
 */

#include <stdint.h>

struct vbmq_cost {
	uint64_t
		numa; /* distance beyond local: core's node to device's node, plus to the nearest node of guest memory */
	uint64_t
		locality; /* sum over the completion vCPUs' places of vbmq_nearness, scaled so that floating vCPUs count less */
	uint64_t moves; /* 1 if the thread stands elsewhere now */
	uint64_t fragment; /* whole free L3 domains broken, hybrid kind mismatch */
};

int vbmq_cost_compare(const struct vbmq_cost *a, const struct vbmq_cost *b); /* <0, 0, >0 */
struct vbmq_cost vbmq_cost_add(const struct vbmq_cost *a, const struct vbmq_cost *b); /* saturating */
