/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/plan.h"

/* Digest of canonical snapshot and policy: the first VBMQ_PLAN_ID_LEN hexadecimal digits of SHA-256 over the canonical
 * bytes of the snapshot (without its own "policy"), one newline, and the canonical bytes of the policy. */
int vbmq_plan_id(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy, char ret[VBMQ_PLAN_ID_LEN + 1],
		 struct vbmq_err *err);

/* A rebalance of the same state is another plan: digest of the id above and of how many moves it may make. */
void vbmq_plan_id_rebalance(const char *id, uint32_t max_moves, char ret[VBMQ_PLAN_ID_LEN + 1]);
