/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What should be: for every thread of every domain the CPUs it may run on, for every queue the thread that serves it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/cost.h"
#include "core/diag.h"
#include "core/domain.h"
#include "core/host.h"

struct vbmq_why { /* explain: why this place */
	struct vbmq_cost cost;
	enum vbmq_nearness nearness; /* to its completion vCPUs, the worst of them */
	uint32_t from_device; /* NUMA distance to the device's node, 0 unknown */
	uint32_t from_memory; /* NUMA distance to the nearest memory node, 0 unknown */
	bool has_next; /* there was another free core */
	uint32_t next_cpu; /* the next best place ... */
	struct vbmq_cost next_cost; /* ... and what it would have cost */
};

struct vbmq_place_thread {
	enum vbmq_thread_kind kind;
	uint32_t id;
	const struct vbmq_cpuset *cpus; /* where it may run, counted (setref.h); never empty */
	bool exclusive; /* nobody else may run on these CPUs' cores (exclusive=cpu: on these CPUs) */
	bool planned; /* ours to place; false: owner's pin, unresponsive or unmanaged and not to be held */
	bool to_add; /* I/O thread that does not exist yet */
	bool to_remove; /* I/O thread we added that is not wanted any more and serves nothing */
	bool has_polling;
	struct vbmq_polling polling; /* what its polling should be; with has_polling */
	const struct vbmq_why *why; /* in the placement's; NULL: it was not chosen a place (floating, foreign) */
};

enum vbmq_completes { /* the smallest part of the host that a thread and the vCPUs it completes on never leave */
		      VBMQ_COMPLETES_UNKNOWN, /* no completion vCPU is known */
		      VBMQ_COMPLETES_CORE,
		      VBMQ_COMPLETES_L3,
		      VBMQ_COMPLETES_NODE,
		      VBMQ_COMPLETES_REMOTE,
};
extern const char *const vbmq_completes_words[]; /* unknown same-core l3 node remote */

struct vbmq_place_queue {
	uint32_t iothread; /* id; 0: main loop */
	const struct vbmq_cpuset *vcpus; /* completion vCPUs, counted (setref.h) */
	enum vbmq_completes completes; /* set by vbmq_plan_make() (affinity.h) */
};

struct vbmq_place_disk {
	char target[VBMQ_TARGET_MAX + 1];
	struct vbmq_place_queue *queues;
	size_t n_queues;
	bool remap; /* the map differs from what is and the capability lets us change it live */
	bool at_next_start; /* the map is what configure would write; it holds from the next start only */
};

struct vbmq_place_domain {
	char *name;
	char uuid[37];
	enum vbmq_capability capability;
	bool managed;
	int32_t priority;
	struct vbmq_place_thread *threads; /* sorted by kind, id */
	size_t n_threads;
	struct vbmq_place_disk *disks; /* sorted by target */
	size_t n_disks;
	struct vbmq_diags diags;
};

struct vbmq_place_part {
	bool planned; /* ours to set, or to put back */
	struct vbmq_cpuset cpus; /* as in struct vbmq_part; empty: unit not limited, irqbalance's ban handed back */
};

struct vbmq_place_irq {
	uint32_t irq;
	char name[VBMQ_TARGET_MAX + 1];
	char device[VBMQ_DEVICE_MAX + 1];
	enum vbmq_irq_state state;
	struct vbmq_cpuset
		cpus; /* where it should come: the I/O threads with a place of their own that need it; empty: none */
	struct vbmq_cpuset on; /* where it comes now */
	bool planned; /* ours to move there; false: only shown */
	bool put_back; /* with planned: nobody needs it any more, cpus is what was found */
};

struct vbmq_placement {
	struct vbmq_cpuset shared; /* usable CPUs on no dedicated core, without those of vCPUs' pins; never empty */
	struct vbmq_cpuset dedicated; /* all CPUs of dedicated cores, idle siblings included */
	struct vbmq_cpuset pinned; /* usable CPUs of cores where threads stay that owners pinned or that cannot be
				    * moved: never dedicated; shared as far as they are in shared as well */
	uint32_t shared_min; /* so many cores had to stay shared; 0: not known (a plan that was read) */
	struct vbmq_place_domain *domains; /* in the order of the snapshot */
	size_t n_domains;
	struct vbmq_place_part parts[VBMQ_PARTS]; /* the host's own work */
	struct vbmq_place_irq *irqs; /* as many as the snapshot has, in its order */
	size_t n_irqs;
	struct vbmq_diags diags; /* about the host */
	struct vbmq_why *whys; /* owned */
	bool infeasible; /* some diagnostic is an error */
};

struct vbmq_placement *vbmq_placement_free(struct vbmq_placement *p);
const struct vbmq_place_domain *vbmq_placement_domain(const struct vbmq_placement *p, const char *name_or_uuid);
const struct vbmq_place_thread *vbmq_place_thread(const struct vbmq_place_domain *d, enum vbmq_thread_kind kind,
						  uint32_t id);
