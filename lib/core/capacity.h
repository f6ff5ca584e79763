/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a placement makes of groups of guests, and what it leaves of the host: counts for a summary. Looks, decides nothing. */

#include <stddef.h>
#include <stdint.h>

#include "core/fleet.h"
#include "core/placement.h"
#include "core/policy.h"
#include "core/snapshot.h"

/* A guest is placed wholly when nothing is said about it that means a shortage of cores; short: with a warning (it gets less
 * than it would use); failed: with an error. A guest that is not managed wishes for nothing and is whole. */
enum vbmq_placed { VBMQ_PLACED_WHOLLY, VBMQ_PLACED_SHORT, VBMQ_PLACED_FAILED };
enum vbmq_placed vbmq_capacity_placed(const struct vbmq_place_domain *d);

struct vbmq_capacity_group {
	uint32_t guests[3]; /* by enum vbmq_placed */
	uint32_t iothreads, iothreads_own; /* all that there would be, and those with a core (or CPU) of their own */
	uint32_t vcpus, vcpus_own;
	uint32_t queues; /* of the disks that an I/O thread serves */
	uint32_t queues_most; /* on one I/O thread */
	uint32_t numa_misses; /* I/O threads on another node than their device or the guest's memory */
	uint32_t l3_misses; /* I/O threads that complete for a vCPU with a place of its own in another L3 domain */
};

/* Adds one guest to its group. */
void vbmq_capacity_count(const struct vbmq_place_domain *d, struct vbmq_capacity_group *ret);

struct vbmq_capacity_node {
	uint32_t node; /* Linux number */
	uint32_t cores; /* usable ones */
	uint32_t dedicated; /* cores */
	uint32_t pinned; /* cores that their owners pinned threads to */
	uint32_t free; /* cores that could still be dedicated, if the host's share allowed all of them */
	uint32_t l3s, l3s_free; /* L3 domains; those of which every usable core is free */
	struct vbmq_cpuset shared; /* its part of the shared set */
};

struct vbmq_capacity {
	struct vbmq_capacity_node *nodes; /* those with usable CPUs, in the order of the host; owned */
	size_t n_nodes;
	uint32_t free; /* cores that could still be dedicated: some have to stay shared (shared-min-cores) */
	uint32_t floating; /* vCPUs without a place of their own, of all domains */
	uint32_t shared; /* CPUs of the shared set */
};

/* 0 or -ENOMEM; release with vbmq_capacity_done(). */
int vbmq_capacity_left(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_placement *p,
		       struct vbmq_capacity *ret);
void vbmq_capacity_done(struct vbmq_capacity *c);

/* All of it about one planned fleet. */
struct vbmq_fleet_report {
	const struct vbmq_fleet *fleet;
	struct vbmq_capacity_group *groups; /* by template, and at the end one for all other domains; owned */
	struct vbmq_capacity left;
	bool overcommitted; /* more floating vCPUs than the fleet allows */
	bool has_max;
	struct vbmq_fleet_max *max; /* by template, with has_max; owned */
};

struct vbmq_fleet_max {
	bool unlimited; /* nothing of it needs a place of its own: cores do not limit it */
	uint32_t total; /* so many guests would be placed wholly, the others as they are */
};

/* members: from vbmq_fleet_members(). 0 or -ENOMEM; release with vbmq_fleet_report_done(). */
int vbmq_fleet_report(const struct vbmq_fleet *f, const uint32_t *members, const struct vbmq_snapshot *s,
		      const struct vbmq_policy *policy, const struct vbmq_placement *p, struct vbmq_fleet_report *ret);
void vbmq_fleet_report_done(struct vbmq_fleet_report *r);

/* Whether floating vCPUs exceed what the fleet allows on the shared set. */
bool vbmq_fleet_overcommitted(const struct vbmq_fleet *f, const struct vbmq_capacity *left);
