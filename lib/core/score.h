/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How good a state is, all guests together: the objective of DESIGN 5 looked at from outside. Not what the planner adds up
 * (cost.h), but what a person can count on the host: a state that nobody planned has a score, too.
 *
 * Looked at are the threads of managed domains that want a place of their own: I/O threads that serve a queue (unless the
 * wish says exclusive='none') and vCPUs that the policy dedicates.
 */

#include <stddef.h>

#include "core/policy.h"
#include "core/snapshot.h"

struct vbmq_score {
	size_t n_threads; /* that want a place of their own */
	size_t n_own; /* ... and are alone on it */
	size_t n_served; /* I/O threads whose device or guest memory has a known node */
	size_t n_remote; /* ... and that may run on another node */
	uint64_t numa; /* distances beyond local, added up, the farthest CPU of each thread */
	size_t n_completions; /* pairs of I/O thread and completion vCPU that is kept inside one L3 domain */
	size_t n_far; /* ... and the thread may run outside of it */
	uint64_t locality; /* vbmq_cost_near() of all pairs, added up */
	uint64_t awkward; /* threads on the boot core, slower cores, not on isolated ones though there are (cost.h) */
	size_t n_l3; /* L3 domains with usable CPUs, less that of the boot core, which is the host's own */
	size_t n_l3_free; /* ... where no thread of any domain stands inside one core */
};

int vbmq_score(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, struct vbmq_score *ret,
	       struct vbmq_err *err);

/* Lexicographic in the order of the objective: own, numa, locality, awkward, L3 domains. <0: a is better. */
int vbmq_score_compare(const struct vbmq_score *a, const struct vbmq_score *b);

/* Alone inside one core: nobody else of the snapshot may run where t may, nor (whole_core) on a sibling. n_allowed: by CPU,
 * vbmq_score_allowed(). */
void vbmq_score_allowed(const struct vbmq_snapshot *s, uint32_t *n_allowed);
bool vbmq_score_alone(const struct vbmq_host *h, const struct vbmq_cpuset *affinity, bool whole_core,
		      const uint32_t *n_allowed);
