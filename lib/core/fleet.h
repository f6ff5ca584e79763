/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A described fleet: so many guests of each template, to be planned on a host before they exist. Plain data, filled by
 * codec (fleet_conf.h, domxml.h); vbmq_fleet_fill() makes domains of it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/placement.h"
#include "core/policy.h"
#include "core/snapshot.h"

struct vbmq_err;

#define VBMQ_TEMPLATES_MAX 1000u
#define VBMQ_OVERCOMMIT_MAX 1000u

struct vbmq_template {
	char *name; /* of the template */
	char *origin; /* where it was described, for messages: "fleet.conf:3", "small.xml" */
	char *pattern; /* of its guests' names: one "%d" or "%0Nd" stands for their number, from 1 */
	uint32_t count; /* guests, may be 0 */
	bool memory_auto; /* a node each: the one with the fewest vCPUs for its CPUs so far */
	struct vbmq_domain *model; /* what each guest is, but for name, UUID and what is auto; owned */
	struct vbmq_cpuset auto_disks; /* indexes in model->disks: their device is on the (lowest) node of the memory */
};

struct vbmq_fleet {
	struct vbmq_template *templates; /* owned, in the order of their description */
	size_t n_templates;
	uint32_t overcommit; /* at most so many floating vCPUs for a CPU of the shared set; 0: no limit */
};

void vbmq_fleet_done(struct vbmq_fleet *f); /* frees what it owns, back to { 0 } */

/* Adds an empty template and takes model over, also on failure. -EEXIST: one of that name is there; -EINVAL: pattern. */
int vbmq_fleet_add(struct vbmq_fleet *f, const char *origin, const char *name, const char *pattern, uint32_t count,
		   struct vbmq_domain *model, struct vbmq_err *err);

/* 0, or -EINVAL with the cause: not just one "%d" or "%0Nd" (N 1..9), a control character, or too long. */
int vbmq_fleet_check_pattern(const char *pattern, struct vbmq_err *err);

/*
 * Adds the guests to a snapshot with a finished host; vbmq_snapshot_finish() is the caller's. Deterministic. counts: so many
 * of each template instead of what it says; NULL: as it says. -EEXIST: a name is taken; -E2BIG: more than VBMQ_DOMAINS_MAX;
 * -EINVAL: a node that the host does not have.
 */
int vbmq_fleet_fill(const struct vbmq_fleet *f, const uint32_t *counts, struct vbmq_snapshot *s, struct vbmq_err *err);

/* For each domain of the finished snapshot the index of its template, or VBMQ_NO_TEMPLATE. Caller frees; NULL: no memory. */
uint32_t *vbmq_fleet_members(const struct vbmq_fleet *f, const uint32_t *counts, const struct vbmq_snapshot *s);
#define VBMQ_NO_TEMPLATE UINT32_MAX
