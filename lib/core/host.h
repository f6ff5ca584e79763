/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The host: what there is to place threads on. Plain data, filled by lib/host (live, sysroot, lstopo XML, synthetic) or
 * by codec (snapshot JSON), then closed by vbmq_host_finish(), which sorts, indexes and checks.
 *
 * Numbers: CPUs and nodes by their Linux numbers (sparse is fine); cores, L3 domains, dies and packages by index in
 * their array, in the order of their lowest CPU. A machine without a cache level or without NUMA gets one L3 domain per
 * node and one node: readers never have to ask whether a level exists.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/cpuset.h"

struct vbmq_err;

#define VBMQ_NODES_MAX 1024u /* node numbers 0..1023 (Linux: MAX_NUMNODES) */
#define VBMQ_DISTANCE_LOCAL 10u /* ACPI SLIT */
#define VBMQ_DISTANCE_DEFAULT 20u /* assumed between two nodes when the host does not say */

struct vbmq_core {
	struct vbmq_cpuset cpus; /* SMT siblings, at least one; also offline ones where they are known */
	uint32_t l3; /* index in host->l3s */
	uint32_t node; /* index in host->nodes */
	uint32_t die; /* die and package: numbers as recorded; only equality means something */
	uint32_t package;
	int32_t kind; /* efficiency class on hybrid machines, higher is faster; -1: all alike */
};

struct vbmq_l3 {
	struct vbmq_cpuset cpus;
	uint32_t node; /* index of the node of its lowest CPU */
};

struct vbmq_node {
	uint32_t id; /* Linux number */
	struct vbmq_cpuset cpus; /* may be empty: memory-only, CXL, GPU nodes */
	uint64_t memory_kib; /* 0: none or not known */
};

/*
 * The parts of the host's own work that can be kept off dedicated cores. Filled by lib/host on a live host only; then
 * vbmq_undo_overlay() adds what the undo record knows.
 */
enum vbmq_part_id {
	VBMQ_PART_SYSTEM, /* system.slice, user.slice, init.scope: AllowedCPUs= */
	VBMQ_PART_USER,
	VBMQ_PART_INIT,
	VBMQ_PART_IRQBALANCE, /* its ban list */
	VBMQ_PARTS,
};
#define VBMQ_SLICES ((unsigned)VBMQ_PART_IRQBALANCE) /* parts below this are units of systemd */

enum vbmq_part_state {
	VBMQ_PART_ABSENT, /* not there, or not looked at (a described host) */
	VBMQ_PART_OK, /* can be set */
	VBMQ_PART_CGROUP_V1, /* units: systemd limits CPUs on the unified hierarchy only */
	VBMQ_PART_NO_CPUSET, /* units: the kernel's cpuset controller is not there */
	VBMQ_PART_FOREIGN, /* irqbalance: the ban list is the operator's or another program's */
	VBMQ_PART_SILENT, /* irqbalance: runs, but cannot be asked */
};

struct vbmq_part {
	enum vbmq_part_state state;
	struct vbmq_cpuset cpus; /* unit: what it is limited to, empty: nothing; irqbalance: what it bans */
	uint32_t pid; /* irqbalance: the process and its start time; 0 otherwise */
	uint64_t start;
	bool pending; /* irqbalance: cpus is what it was told, it has not said so itself yet. Not in the document */
	bool held; /* we set it before: */
	struct vbmq_cpuset found; /* what it was then */
	struct vbmq_cpuset applied; /* what we set last */
};

extern const char *const vbmq_part_words[]; /* system.slice user.slice init.scope irqbalance */
extern const char *const vbmq_part_state_words[]; /* absent ok cgroup-v1 no-cpuset foreign silent */

struct vbmq_host {
	char *name; /* host name or origin of the description; never NULL after finish */
	struct vbmq_cpuset online;
	struct vbmq_cpuset allowed; /* what the root cpuset leaves to guests and us; = online where nothing restricts */
	struct vbmq_cpuset
		isolated; /* isolcpus=, nohz_full=, TuneD's isolated_cores: good for dedicated threads, never in the shared set */
	struct vbmq_cpuset nova; /* what Nova has for its pinned guests: never dedicated or shared by us */
	struct vbmq_core *cores;
	size_t n_cores;
	struct vbmq_l3 *l3s;
	size_t n_l3s;
	struct vbmq_node *nodes;
	size_t n_nodes;
	uint32_t *distances; /* n_nodes x n_nodes, row: from; ACPI units, local 10; never NULL after finish */

	struct vbmq_part parts[VBMQ_PARTS];

	/* made by vbmq_host_finish() */
	struct vbmq_cpuset usable; /* online and allowed */
	uint16_t core_of[VBMQ_CPUS_MAX]; /* CPU -> index in cores, or VBMQ_NO_CORE */
};

#define VBMQ_NO_CORE UINT16_MAX

struct vbmq_host *vbmq_host_new(void);
struct vbmq_host *vbmq_host_free(struct vbmq_host *h);

/*
 * Sorts cores, L3 domains (by lowest CPU) and nodes (by id) and rewrites the indexes accordingly, fills what is derived,
 * and checks: every usable CPU in exactly one core, every core inside one L3 domain and one node, no duplicate node,
 * distances of plausible range (10..65535). -EINVAL with the cause. Must be called once before anybody reads h.
 */
int vbmq_host_finish(struct vbmq_host *h, struct vbmq_err *err);

int vbmq_host_node_index(const struct vbmq_host *h, uint32_t id); /* or -1 */
uint32_t vbmq_host_distance(const struct vbmq_host *h, uint32_t from_index, uint32_t to_index);
const struct vbmq_core *vbmq_host_core_of(const struct vbmq_host *h, unsigned cpu); /* or NULL */

/* All CPUs of the cores that have at least one member in cpus ("the cores of these CPUs"). */
struct vbmq_cpuset vbmq_host_whole_cores(const struct vbmq_host *h, const struct vbmq_cpuset *cpus);

/* How far CPU b is from CPU a: 0 same core, 1 same L3 domain, 2 same node, 3 further. */
enum vbmq_nearness { VBMQ_NEAR_CORE, VBMQ_NEAR_L3, VBMQ_NEAR_NODE, VBMQ_NEAR_REMOTE };
enum vbmq_nearness vbmq_host_nearness(const struct vbmq_host *h, unsigned a, unsigned b);
