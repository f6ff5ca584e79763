/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Small hosts and guests for the tests of apply, made in a line each. Out of memory aborts. */

#include "core/plan.h"
#include "core/snapshot.h"

struct scene_domain {
	const char *name; /* NULL ends a list */
	unsigned vcpus, iothreads, queues; /* queues: of its disk vda, mapped in turn to the I/O threads */
	int32_t wish; /* I/O threads wanted; 0 auto */
	int32_t priority;
	unsigned caps; /* 0: pin, polling, add, live map */
	bool odd_task; /* a worker thread of the emulator stands apart */
};

#define SCENE_CAPS_ALL (VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_COLD_MAP | VBMQ_CAP_LIVE_MAP)

/* nodes x cores x smt CPUs, one L3 domain a node; every thread may run everywhere. Finished. */
struct vbmq_snapshot *scene_new(unsigned nodes, unsigned cores, unsigned smt, const struct scene_domain *domains);
/* A copy, finished, and with the undo record laid over it where there is one. */
struct vbmq_undo;
struct vbmq_snapshot *scene_copy(const struct vbmq_snapshot *from, const struct vbmq_undo *undo);
/* The domain is taken out (a guest that stopped). */
void scene_remove(struct vbmq_snapshot *s, const char *name);
struct vbmq_cpuset scene_cpus(const char *list);
struct vbmq_plan *scene_plan(const struct vbmq_snapshot *s, const struct vbmq_policy *policy);
