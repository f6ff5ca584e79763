/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What /proc says about a process and its threads. sysroot NULL: "/". Affinities are read from
 * /proc/PID/task/TID/status (Cpus_allowed_list), so that a test can hand in a tree; a thread that ends between two reads is
 * left out, never an error. One that has ended and was not waited for (a zombie) is as good as gone.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/cpuset.h"

struct vbmq_err;

#define VBMQ_TASKS_MAX 65536u

struct vbmq_task {
	uint32_t tid;
	uint64_t start; /* clock ticks since boot, field 22 of stat */
	char name[32]; /* comm */
	struct vbmq_cpuset affinity; /* the online ones of those it may run on; if none is online, all of these */
};

/* All threads of pid, sorted by tid; caller frees. -ESRCH: no such process. */
int vbmq_process_tasks(const char *sysroot, uint32_t pid, struct vbmq_task **ret, size_t *ret_n, struct vbmq_err *err);
/* The same without affinities (empty). */
int vbmq_process_names(const char *sysroot, uint32_t pid, struct vbmq_task **ret, size_t *ret_n, struct vbmq_err *err);
/* Are all threads of pid among those of n tasks (sorted by tid)? -ESRCH. */
int vbmq_process_only(const char *sysroot, uint32_t pid, const struct vbmq_task *tasks, size_t n, bool *ret,
		      struct vbmq_err *err);
/* One thread. -ESRCH. */
int vbmq_process_task(const char *sysroot, uint32_t pid, uint32_t tid, struct vbmq_task *ret, struct vbmq_err *err);
struct vbmq_load {
	uint64_t run_ns; /* on a CPU, since the thread was made */
	uint64_t wait_ns; /* ready to run while others did */
	uint32_t cpu; /* where it ran last */
};

/* The kernel's account of one thread. -ESRCH; -ENOTSUP: this kernel keeps none (CONFIG_SCHED_INFO). */
int vbmq_process_load(const char *sysroot, uint32_t pid, uint32_t tid, struct vbmq_load *ret, struct vbmq_err *err);
/* Start time of one thread. -ESRCH. */
int vbmq_process_start(const char *sysroot, uint32_t pid, uint32_t tid, uint64_t *ret, struct vbmq_err *err);
/* sched_setaffinity of one thread of this machine, only if its start time is still start (0: not checked). -ESRCH. */
int vbmq_process_set_affinity(uint32_t tid, uint64_t start, const struct vbmq_cpuset *cpus, struct vbmq_err *err);
