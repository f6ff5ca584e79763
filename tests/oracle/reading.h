/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The oracle's own reading of a snapshot, a policy and a placement, from docs/benchmarks/planner.md alone: nothing of planner_internal.h or
 * cost.h is used. From the placement it takes what the exact part has as given: where threads stand that are not ours to place,
 * which I/O threads have a place of their own, which of them share a core (a unit), and which queues each serves.
 */

#include "core/placement.h"
#include "core/snapshot.h"

#define CORES_MAX 512
#define UNITS_MAX 256

enum level { LEVEL_NUMA, LEVEL_LOCALITY, LEVEL_MOVES, LEVEL_FRAGMENT, N_LEVELS };
extern const char *const level_names[];

struct unit {
	uint32_t domain;
	int32_t priority;
	const struct vbmq_place_thread *threads[64];
	size_t n_threads;
	bool part; /* takes CPUs, not the core */
	bool fits[CORES_MAX];
	int64_t cost[N_LEVELS - 1][CORES_MAX]; /* all but fragmentation, which depends on who is there already */
	uint32_t core; /* where the placement has it */
};

struct reading {
	const struct vbmq_snapshot *s;
	const struct vbmq_host *h;
	const struct vbmq_policy *policy;
	const struct vbmq_placement *p;
	struct vbmq_cpuset everything; /* CPUs that would be shared if there were no guests */
	struct vbmq_cpuset places; /* where owners want vCPUs, or I/O threads that are not ours */
	struct vbmq_cpuset
		base; /* CPUs that would be shared if nothing was dedicated: without those where owners keep vCPUs */
	struct vbmq_cpuset free; /* CPUs that may be dedicated */
	bool isolated[CORES_MAX]; /* cores */
	bool any_isolated;
	bool keeps_off; /* what floats is kept off places */
	int64_t n_vcpus; /* that no owner keeps on a place: they float */
	int64_t budget;
	size_t pack; /* threads of a domain on one core under exclusive=cpu */
	struct unit units[UNITS_MAX];
	size_t n_units;
};

/* False: more than the arrays hold. */
bool reading_make(struct reading *r, const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
		  const struct vbmq_placement *p);

/* How many cores the I/O threads of a domain should have, before anything is short; ret_fits by core, for one of them with n
 * threads (0: as many as fit on a core). */
size_t reading_wanted(const struct reading *r, uint32_t domain);
void reading_fits(const struct reading *r, uint32_t domain, size_t unit, size_t n_wanted_threads, bool *ret_fits);
size_t reading_wanted_threads(const struct reading *r, uint32_t domain);

/* Fragmentation of every core for those of one priority, when the cores in used have gone to higher ones. */
void reading_fragment(const struct reading *r, const bool *used, int64_t *ret);

/* The leash of a thread that floats: false if it does not float. */
bool reading_leash(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *t,
		   struct vbmq_cpuset *ret);

/* Pieces of the reading that coupled.c builds on. */
bool reading_disk_is_ours(const struct vbmq_domain *d, const struct vbmq_disk *disk);
int64_t reading_beyond(const struct vbmq_host *h, uint32_t from, uint32_t id); /* node index, Linux number */
struct vbmq_cpuset reading_vcpu_place(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *v);
int64_t reading_near(const struct reading *r, uint32_t core, const struct vbmq_cpuset *place);
int64_t reading_move(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *t, uint32_t core);
bool reading_priority(const struct reading *r, int64_t below, int32_t *ret); /* the next lower one that a guest has */
