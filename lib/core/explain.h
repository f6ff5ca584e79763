/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What would have to change: for a wish that is not fulfilled, and for a thread that has a better place than its own
 * somewhere on the host. Found by making the change on a copy and planning again, never by reckoning: a remedy that is
 * named has been seen to work, by itself alone.
 */

#include "core/placement.h"
#include "core/policy.h"
#include "core/snapshot.h"

#define VBMQ_EXPLAIN_ALL UINT32_MAX
#define VBMQ_REMEDIES_MAX 4u /* named for one thing, the least intrusive first */

enum vbmq_remedy_kind { /* from the least intrusive one */
			VBMQ_REMEDY_REBALANCE, /* policy: move-gain from..0, which is what vbmqctl rebalance does once */
			VBMQ_REMEDY_SHARED_MIN, /* policy: shared-min-cores from..to, the most that will do */
			VBMQ_REMEDY_RESERVED, /* policy: no reserved-cpus */
			VBMQ_REMEDY_DEDICATED, /* policy: no dedicated-cpus, that is, all of them may be */
			VBMQ_REMEDY_IOTHREADS, /* the domain's iothreads count from..to, the most that will do */
			VBMQ_REMEDY_EXCLUSIVE, /* the domain's iothreads exclusive='cpu' instead of 'core' */
			VBMQ_REMEDY_FOLLOW, /* the domain's vcpus placement='follow' instead of 'dedicated' */
			VBMQ_REMEDY_PRIORITY, /* the domain's priority from..to, the least that will do */
};

struct vbmq_remedy {
	enum vbmq_remedy_kind kind;
	uint32_t domain; /* index: whose wish is to change; of the policy's kinds: whom it helps */
	int64_t from, to; /* SHARED_MIN, IOTHREADS, PRIORITY, REBALANCE */
	uint32_t cores; /* SHARED_MIN: so many more may be dedicated */
	size_t n_losers; /* other domains that would have fewer places of their own */
	uint32_t loser; /* the first of them, by index */
};

struct vbmq_explained { /* a thread (index as in the placement) or, with thread VBMQ_EXPLAIN_ALL, a domain's wish */
	uint32_t domain, thread;
	struct vbmq_remedy remedies[VBMQ_REMEDIES_MAX];
	size_t n_remedies;
	/* threads: the better place */
	struct vbmq_cpuset better; /* CPUs of the core */
	uint64_t numa, locality; /* what it would cost there (cost.h) */
	bool held; /* somebody has that core for himself: */
	uint32_t holder, holder_thread; /* indexes in the placement */
};

struct vbmq_explanation {
	struct vbmq_explained *items; /* by domain; its wish before its threads */
	size_t n_items;
	bool cut; /* there was more than could be tried */
};

/* domain: index, or VBMQ_EXPLAIN_ALL. placement: of the planner for this snapshot and policy. */
int vbmq_explain_make(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		      const struct vbmq_placement *placement, uint32_t domain, struct vbmq_explanation **ret,
		      struct vbmq_err *err);
struct vbmq_explanation *vbmq_explanation_free(struct vbmq_explanation *x);
/* NULL: nothing to say. thread VBMQ_EXPLAIN_ALL: the wish. */
const struct vbmq_explained *vbmq_explanation_find(const struct vbmq_explanation *x, uint32_t domain, uint32_t thread);

/* "shared-min-cores from 4 to 2 (2 more cores)"; caller frees, NULL: no memory */
char *vbmq_remedy_text(const struct vbmq_remedy *r, const struct vbmq_placement *p);
extern const char
	*const vbmq_remedy_words[]; /* rebalance shared-min-cores reserved-cpus dedicated-cpus iothreads ... */
