/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A plan: the placement and the ordered steps that lead to it from the snapshot. Its id is the digest of canonical
 * snapshot and policy (codec/plan_id.h): apply names the id and is refused if the state has moved since.
 */

#include <stddef.h>

#include "core/placement.h"
#include "core/snapshot.h"

#define VBMQ_PLAN_ID_LEN 32u /* hexadecimal digits */

enum vbmq_step_op {
	VBMQ_STEP_ADD_IOTHREAD, /* id */
	VBMQ_STEP_PIN, /* kind, id, cpus; "pin-vcpu", "pin-iothread", "pin-emulator" in documents */
	VBMQ_STEP_SET_POLLING, /* id, polling */
	VBMQ_STEP_MAP_QUEUES, /* target, map */
	VBMQ_STEP_DEL_IOTHREAD, /* id */
	VBMQ_STEP_LIMIT_SLICE, /* of the host: id is the part, cpus its limit (empty: none); interim */
	VBMQ_STEP_BAN_IRQS, /* of the host: id is VBMQ_PART_IRQBALANCE, cpus what it bans (empty: as it would by itself) */
	VBMQ_STEP_MOVE_IRQ, /* of the host: id is the interrupt, target its name, cpus where it is to come; exclusive: it is to stay
			     * there (irqbalance is told to leave it alone), else it is put back */
};

#define VBMQ_STEP_OF_HOST UINT32_MAX /* domain of the steps that concern none */

struct vbmq_step {
	enum vbmq_step_op op;
	uint32_t domain; /* index in placement->domains (= index in snapshot->domains), or VBMQ_STEP_OF_HOST */
	enum vbmq_thread_kind kind; /* PIN */
	uint32_t id;
	uint32_t tid; /* PIN of the emulator, restore only: just this one of its threads; 0: all of them */
	uint64_t start; /* ... and its start time */
	const struct vbmq_cpuset *cpus; /* PIN, LIMIT_SLICE, BAN_IRQS: counted (setref.h); NULL for the others */
	bool exclusive; /* PIN: from here on nobody else may be there */
	bool interim; /* PIN: a stop on the way (cycle broken, or not yet the whole shared set) */
	struct vbmq_polling polling; /* SET_POLLING */
	char target[VBMQ_TARGET_MAX + 1]; /* MAP_QUEUES */
	uint32_t *map; /* MAP_QUEUES: I/O thread id by queue; owned */
	size_t n_map;
};

struct vbmq_plan {
	char id[VBMQ_PLAN_ID_LEN + 1];
	struct vbmq_placement *placement; /* owned */
	struct vbmq_step *steps; /* owned */
	size_t n_steps;
};

/* Runs planner and diff. id: VBMQ_PLAN_ID_LEN digits from codec/plan_id.h, copied. */
int vbmq_plan_make(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy, const char *id,
		   struct vbmq_plan **ret, struct vbmq_err *err);
struct vbmq_plan *vbmq_plan_free(struct vbmq_plan *p);

static inline bool vbmq_step_is_of_host(const struct vbmq_step *s)
{
	return s->op == VBMQ_STEP_LIMIT_SLICE || s->op == VBMQ_STEP_BAN_IRQS || s->op == VBMQ_STEP_MOVE_IRQ;
}

/* The document's word of a step: limit-slice, ban-irqs, move-irq, add-iothread, pin-vcpu, pin-iothread, pin-emulator, set-polling, map-queues, del-iothread */
const char *vbmq_step_word(const struct vbmq_step *s);
