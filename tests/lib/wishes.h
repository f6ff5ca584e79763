/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What one guest's wishes may do to another: plans again with other wishes and compares who has how many cores. Like props.h: NULL,
 * or a text that says what does not hold. The snapshot itself is left as it is.
 */

#include "core/placement.h"
#include "gen.h"

/* Guests of a random priority and above have the same cores, as many and as near, when all below wish for nothing. */
const char *wishes_priority(struct gen *g, const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			    const struct vbmq_placement *p);

/*
 * A random guest wishes for less: then no other one has fewer cores for its I/O threads, nor do its vCPUs lose theirs. With one
 * exception: vCPUs come all or none, so a guest (that one, too) whose vCPUs are served now, and were not before, takes more than was
 * left; whoever stands behind such a one is not looked at. No rule could do without the exception that keeps to priorities and leaves
 * no core idle that somebody wishes for: of three cores one wished for by guest A, all three by the vCPUs of guest B, one by guest C,
 * of falling priority, A and C get theirs; when A wishes for none, B must have its three, and C has none.
 */
const char *wishes_fewer(struct gen *g, const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
			 const struct vbmq_placement *p);
