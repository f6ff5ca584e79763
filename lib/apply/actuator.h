/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The hands of the apply engine. An actuator does one step and tells what is; it decides nothing. Implementations:
 * virt/act_libvirt.c (the real one), apply/act_dryrun.c, the fake in tests/lib. Calls may block, but not for ever: an
 * implementation keeps its own deadline (-ETIMEDOUT).
 *
 * Return values the engine tells apart (all others are plain failures):
 *   -ENOENT    the domain is gone            -ESRCH    the thread is gone, or its tid belongs to another one now
 *   -ETIMEDOUT the domain does not answer    -EBUSY    not now (block job, another job holds the domain): retry later
 *   -ENOTSUP   this domain cannot do that
 */

#include "core/plan.h"
#include "core/snapshot.h"

struct vbmq_err;

struct vbmq_observed {
	bool exists; /* ADD/DEL: whether the I/O thread is there */
	struct vbmq_cpuset cpus; /* PIN: affinity the kernel reports; emulator: union over its threads */
	struct vbmq_polling polling; /* SET_POLLING */
	uint32_t *map; /* MAP_QUEUES; allocated, the engine frees */
	size_t n_map;
};

/* The hands for the host's own parts (steps of host, vbmq_step_is_of_host()). The same rules; -ENOTSUP: cannot be set here. */
struct vbmq_part_actuator_ops {
	int (*execute)(void *ctx, const struct vbmq_step *step, struct vbmq_err *err);
	/* LIMIT_SLICE: what the unit is limited to now. MOVE_IRQ: where it may come now. BAN_IRQS: *ret is step->cpus, as irqbalance tells at its next scan only. */
	int (*observe)(void *ctx, const struct vbmq_step *step, struct vbmq_cpuset *ret, struct vbmq_err *err);
};

struct vbmq_part_actuator {
	const struct vbmq_part_actuator_ops *ops;
	void *ctx;
};

struct vbmq_actuator {
	const struct vbmq_actuator_ops *ops;
	void *ctx;
};

struct vbmq_actuator_ops {
	/* The domain is still the instance the snapshot saw (libvirt id and pid). 0, -ENOENT, -ETIMEDOUT. */
	int (*check_domain)(void *ctx, const struct vbmq_domain *domain, struct vbmq_err *err);
	/* PIN of the emulator: every thread of the process that is neither vCPU nor I/O thread; with step->tid only that one
	 * (-ESRCH when its start time is not step->start), and then observe tells the affinity of that one alone.
	 * For PIN: thread is the snapshot's entry (tid and start must still match: -ESRCH), NULL for a thread added since. */
	int (*execute)(void *ctx, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		       const struct vbmq_step *step, struct vbmq_err *err);
	int (*observe)(void *ctx, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		       const struct vbmq_step *step, struct vbmq_observed *ret, struct vbmq_err *err);
};
