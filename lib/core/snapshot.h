/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is: one host and its domains at one moment. The planner's only input beside the policy. */

#include <stddef.h>

#include "core/domain.h"
#include "core/host.h"
#include "core/policy.h"

#define VBMQ_DOMAINS_MAX 10000u

struct vbmq_snapshot {
	struct vbmq_host *host; /* owned */
	struct vbmq_domain **domains; /* owned, each owned */
	size_t n_domains;
	struct vbmq_irq *irqs; /* of the devices below their disks; sorted by number, owned; none on a described host */
	size_t n_irqs;
	struct vbmq_policy *policy; /* the host policy that was in force when it was captured; owned, may be NULL */
};

struct vbmq_snapshot *vbmq_snapshot_new(void);
struct vbmq_snapshot *vbmq_snapshot_free(struct vbmq_snapshot *s);

/* Takes ownership of d also on failure. -EEXIST: a domain of that name or UUID is there; -E2BIG; -ENOMEM. */
int vbmq_snapshot_add(struct vbmq_snapshot *s, struct vbmq_domain *d, struct vbmq_err *err);

/* Sorts domains (name, UUID), threads (kind, id), disks (target) and checks what the planner relies on: unique names and
 * ids, queues that name existing I/O threads (a running domain), node numbers in range. Needs a finished host. Must be
 * called after the last change; the same content then gives the same bytes. */
int vbmq_snapshot_finish(struct vbmq_snapshot *s, struct vbmq_err *err);

/* The interrupt of that number and name, or NULL. */
struct vbmq_irq *vbmq_snapshot_irq(const struct vbmq_snapshot *s, uint32_t irq, const char *name);

struct vbmq_domain *vbmq_snapshot_find(const struct vbmq_snapshot *s, const char *name_or_uuid); /* or NULL */
