/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/affinity.h"
#include "core/diff.h"
#include "core/irqs.h"
#include "core/parts.h"
#include "core/planner.h"
#include "util/cleanup.h"
#include "util/err.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_plan *, vbmq_plan_free);

int vbmq_plan_make(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy, const char *id,
		   struct vbmq_plan **ret, struct vbmq_err *err)
{
	_cleanup_(vbmq_plan_freep) struct vbmq_plan *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return vbmq_err_oom(err);
	if (strlen(id) != VBMQ_PLAN_ID_LEN)
		return vbmq_err_set(err, -EINVAL, "plan id '%s' does not have %u digits", id, VBMQ_PLAN_ID_LEN);
	memcpy(p->id, id, sizeof(p->id));
	r = vbmq_planner_run(snapshot, policy, &p->placement, err);
	if (r < 0)
		return r;
	vbmq_affinity_fill(snapshot->host, p->placement);
	if (vbmq_parts_place(snapshot, policy, p->placement) < 0 || vbmq_irqs_place(snapshot, policy, p->placement) < 0)
		return vbmq_err_oom(err);
	r = vbmq_diff(snapshot, p->placement, &p->steps, &p->n_steps, err);
	if (r < 0)
		return r;
	if (vbmq_parts_add_steps(snapshot, p->placement, &p->steps, &p->n_steps) < 0 ||
	    vbmq_irqs_add_steps(snapshot, p->placement, &p->steps, &p->n_steps) < 0)
		return vbmq_err_oom(err);
	*ret = VBMQ_STEAL(p);
	return 0;
}

struct vbmq_plan *vbmq_plan_free(struct vbmq_plan *p)
{
	if (!p)
		return NULL;
	vbmq_placement_free(p->placement);
	vbmq_steps_free(p->steps, p->n_steps);
	free(p);
	return NULL;
}

const char *vbmq_step_word(const struct vbmq_step *s)
{
	static const char *const pin[] = {
		[VBMQ_THREAD_VCPU] = "pin-vcpu",
		[VBMQ_THREAD_IOTHREAD] = "pin-iothread",
		[VBMQ_THREAD_EMULATOR] = "pin-emulator",
	};

	switch (s->op) {
	case VBMQ_STEP_ADD_IOTHREAD:
		return "add-iothread";
	case VBMQ_STEP_PIN:
		return pin[s->kind];
	case VBMQ_STEP_SET_POLLING:
		return "set-polling";
	case VBMQ_STEP_MAP_QUEUES:
		return "map-queues";
	case VBMQ_STEP_DEL_IOTHREAD:
		return "del-iothread";
	case VBMQ_STEP_LIMIT_SLICE:
		return "limit-slice";
	case VBMQ_STEP_BAN_IRQS:
		return "ban-irqs";
	case VBMQ_STEP_MOVE_IRQ:
		return "move-irq";
	}
	return "unknown";
}
