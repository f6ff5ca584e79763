/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/plan.h"
#include "core/score.h"

/*
 * The better placement of all guests together, also where the everyday plan would let threads stand. What comes out is a
 * plan like any other, with these promises (each a property test):
 *   - the state it leads to is never worse than the one of the everyday plan (vbmq_score_compare), and better if it moves
 *     threads that the everyday plan would not, or as good with fewer moves;
 *   - no domain gets fewer places of its own than by the everyday plan;
 *   - it stays: the everyday plan on that state is empty.
 * Where nothing better is found, the plan is the everyday one, and better is false.
 */

#define VBMQ_MOVES_ANY UINT32_MAX

struct vbmq_move { /* of a thread that has, or gets, a place of its own */
	uint32_t domain; /* index, as in the plan's placement */
	enum vbmq_thread_kind kind;
	uint32_t id;
	struct vbmq_cpuset from; /* empty: to be added */
	struct vbmq_cpuset to;
	bool had_own; /* it leaves a place of its own; false: it floated, and max_moves does not count it */
};

struct vbmq_rebalance {
	struct vbmq_plan *plan; /* owned */
	bool better; /* than the everyday plan */
	struct vbmq_score before; /* as it is */
	struct vbmq_score everyday; /* as the everyday plan would leave it */
	struct vbmq_score after;
	struct vbmq_move *moves; /* in the order of domains, kinds, ids; owned */
	size_t n_moves;
	size_t n_own_moves; /* of them with had_own */
};

/* max_moves: threads that may have to leave a place of their own, beyond what the everyday plan moves. id as for
 * vbmq_plan_make(), but a rebalance has its own (codec/plan_id.h). */
int vbmq_rebalance_make(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy, uint32_t max_moves,
			const char *id, struct vbmq_rebalance **ret, struct vbmq_err *err);
struct vbmq_rebalance *vbmq_rebalance_free(struct vbmq_rebalance *r);
