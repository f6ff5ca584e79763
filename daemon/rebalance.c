/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/rebalance.h"

#include <errno.h>
#include <string.h>

#include "codec/plan_id.h"
#include "core/rebalance.h"
#include "daemon/log.h"
#include "util/cleanup.h"

int vbmqd_rebalance(struct vbmqd_manager *m, const struct vbmqd_request *q, struct vbmq_err *err)
{
	struct vbmq_rebalance *better;
	char id[VBMQ_PLAN_ID_LEN + 1];
	int r;

	vbmq_plan_id_rebalance(m->plan->id, q->max_moves, id);
	if (q->plan_id[0] && strcmp(q->plan_id, id) != 0)
		return vbmq_err_set(err, -ESTALE,
				    "the state has moved since that rebalance was computed; compute it again");
	r = vbmq_rebalance_make(m->cycle.snapshot, &m->conf.policy, q->max_moves, id, &better, err);
	if (r < 0)
		return r;
	vbmq_plan_free(m->plan);
	m->plan = VBMQ_STEAL(better->plan);
	vbmqd_log_about(LOG_NOTICE, &(struct vbmqd_about){ .plan_id = m->plan->id },
			better->better ? "rebalancing: moves from a core of their own: %zu, steps: %zu"
				       : "rebalancing: nothing to gain; everyday moves: %zu, steps: %zu",
			better->n_own_moves, m->plan->n_steps);
	vbmq_rebalance_free(better);
	return 0;
}
