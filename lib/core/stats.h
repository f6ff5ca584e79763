/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the threads and queues of a running guest do: counters at one moment (a sample), and what two samples of the same
 * guest say about the time between them. Counters start again from 0 with a new instance or device; what went backwards
 * is taken as having started again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/domain.h"

struct vbmq_err;

struct vbmq_stats_thread {
	uint32_t id; /* libvirt id of an I/O thread; 0: the main loop */
	uint32_t tid;
	struct vbmq_cpuset affinity; /* what the kernel says; empty: it has ended */
	struct vbmq_polling polling; /* max_ns UINT64_MAX: not known (also the main loop's) */
	bool runs; /* the kernel's account is there: */
	uint64_t run_ns; /* it was on a CPU, also when just polling */
	uint64_t wait_ns; /* it wanted to be, and others were */
	uint32_t cpu; /* where it ran last */
	bool counts; /* QEMU's account is there: */
	uint64_t busy_ns, poll_ns, blocked_ns; /* had something to do, looked for it, slept */
	uint64_t poll_hits, poll_misses;
};

struct vbmq_stats_queue {
	uint32_t iothread; /* id; 0: the main loop */
	struct vbmq_cpuset vcpus; /* completion vCPUs; empty: not known */
	bool vcpus_exact;
	bool counts; /* QEMU's account is there: */
	uint64_t requests; /* completed */
	uint64_t kicks; /* wake-ups by the guest */
	uint64_t poll_hits;
	uint64_t interrupts;
	uint32_t in_flight; /* at this moment */
	uint32_t parked; /* those of them that wait for an error to be resolved */
};

struct vbmq_stats_disk {
	char target[VBMQ_TARGET_MAX + 1];
	bool started;
	struct vbmq_stats_queue *queues;
	size_t n_queues;
};

struct vbmq_stats { /* of one guest */
	char *name;
	char uuid[37];
	int32_t id; /* libvirt's, of the instance */
	uint64_t time_ns; /* of a steady clock */
	bool counts; /* its QEMU has the counters at all */
	struct vbmq_stats_thread *threads; /* sorted by id, the main loop first */
	size_t n_threads;
	struct vbmq_stats_disk *disks; /* sorted by target */
	size_t n_disks;
};

struct vbmq_stats *vbmq_stats_free(struct vbmq_stats *s);

/* Places, queues and names as d has them, no counter yet. -ENOMEM. */
int vbmq_stats_new(const struct vbmq_domain *d, struct vbmq_stats **ret);

/* Shares are in thousandths of the time between, 1000 at most. */
struct vbmq_thread_rates {
	bool runs, counts; /* as in both samples */
	uint32_t run, wait; /* with runs */
	uint32_t busy, poll, blocked; /* with counts */
	uint32_t poll_success; /* with counts: looks that found something, in thousandths of all */
};

struct vbmq_queue_rates {
	bool counts;
	uint64_t requests; /* in all the time between */
	uint64_t per_second;
	/* in thousandths a request; without requests those of all the time between, if any, count as of one */
	uint64_t kicks, interrupts, poll_hits;
};

/* between: nanoseconds; 0 gives nothing but zeros. before NULL: there was none, no rates. */
struct vbmq_thread_rates vbmq_thread_rates(const struct vbmq_stats_thread *before,
					   const struct vbmq_stats_thread *after, uint64_t between);
struct vbmq_queue_rates vbmq_queue_rates(const struct vbmq_stats_queue *before, const struct vbmq_stats_queue *after,
					 uint64_t between);

/* The same thread (id and tid) or queue in another sample of the same instance; NULL: it is not there. */
const struct vbmq_stats_thread *vbmq_stats_thread(const struct vbmq_stats *s, uint32_t id, uint32_t tid);
const struct vbmq_stats_queue *vbmq_stats_queue(const struct vbmq_stats *s, const char *target, size_t index);
