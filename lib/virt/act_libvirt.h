/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "apply/actuator.h"
#include "virt/connection.h"

/* Borrows v for its life, and the operations (usually vbmq_capture_task_ops), which are the same for all actuators on v.
 * Safe for concurrent use. Nothing to release. Threads of the emulator beyond the main thread are set through task (lib/host's
 * vbmq_process_set_affinity and friends, handed in because virt may not use host). */
struct vbmq_task_ops {
	/* Sets every thread of pid that is not in skip_tids. */
	int (*set_rest)(uint32_t pid, const uint32_t *skip_tids, size_t n_skip, const struct vbmq_cpuset *cpus,
			struct vbmq_err *err);
	/* Union of the affinities of the threads of pid that are not in skip_tids. */
	int (*get_rest)(uint32_t pid, const uint32_t *skip_tids, size_t n_skip, struct vbmq_cpuset *ret,
			struct vbmq_err *err);
	/* The I/O threads of pid that are not among the known ones, by the names QEMU gives its threads; caller frees. -ENODATA:
	 * the known ones' names show that it does not name them. */
	int (*new_iothreads)(uint32_t pid, const uint32_t *known_tids, size_t n_known, uint32_t **ret_tids,
			     size_t *ret_n, struct vbmq_err *err);
	/* Affinity (ret may be NULL) and start time of one thread. -ESRCH. */
	int (*get)(uint32_t pid, uint32_t tid, uint64_t *ret_start, struct vbmq_cpuset *ret, struct vbmq_err *err);
	/* Sets one thread (PIN of the emulator with step->tid), if its start time is still start. -ESRCH. */
	int (*set)(uint32_t tid, uint64_t start, const struct vbmq_cpuset *cpus, struct vbmq_err *err);
};

void vbmq_act_libvirt(struct vbmq_virt *v, const struct vbmq_task_ops *task_ops, struct vbmq_actuator *ret);
