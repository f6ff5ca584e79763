/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What came of it: outcome of every step, and the comparison of what is with what should be. Made by apply and verify. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/plan.h"

enum vbmq_outcome {
	VBMQ_OUTCOME_PENDING,
	VBMQ_OUTCOME_DONE, /* done and read back */
	VBMQ_OUTCOME_DRY_RUN, /* would be done */
	VBMQ_OUTCOME_FAILED, /* refused, timed out, or read back differently */
	VBMQ_OUTCOME_SKIPPED, /* not tried: an earlier step of the domain, or one it depends on, failed */
	VBMQ_OUTCOME_UNDONE, /* was done, then taken back */
	VBMQ_OUTCOME_UNDO_FAILED,
};

struct vbmq_step_result {
	enum vbmq_outcome outcome;
	int error; /* negative errno for FAILED */
	char *text; /* cause, owned; NULL where there is none */
};

enum vbmq_check_kind { /* what verify found about one thread or disk */
		       VBMQ_CHECK_OK,
		       VBMQ_CHECK_DRIFT, /* affinity is not what the plan says */
		       VBMQ_CHECK_OVERLAP, /* somebody else may run on its exclusive core (text says who) */
		       VBMQ_CHECK_MISSING, /* the thread, disk or domain is gone */
		       VBMQ_CHECK_MAP, /* queue map differs */
		       VBMQ_CHECK_POLLING, /* polling differs */
};

struct vbmq_check {
	enum vbmq_check_kind kind;
	uint32_t domain; /* index in plan->placement->domains */
	enum vbmq_thread_kind thread; /* with is_disk false */
	uint32_t id;
	bool is_disk;
	bool is_irq; /* of the host: id is the interrupt */
	bool is_part; /* of the host: id is the part, domain means nothing */
	char target[VBMQ_TARGET_MAX + 1];
	struct vbmq_cpuset want, is; /* for OK, DRIFT, OVERLAP */
	char *text; /* NULL for OK, unless it is only known from what we set */
};

struct vbmq_report {
	char plan_id[VBMQ_PLAN_ID_LEN + 1];
	bool dry_run;
	struct vbmq_step_result *results; /* as many as plan->n_steps, or none (verify only) */
	size_t n_results;
	struct vbmq_check *checks; /* none before verify */
	size_t n_checks;
	bool host_failed; /* a step of the host itself FAILED */
	size_t n_domains_failed; /* domains with a FAILED step */
	size_t n_bad_checks; /* checks that are not OK */
	char **unread; /* names of domains that verify could not look at; owned */
	size_t n_unread;
};

struct vbmq_report *vbmq_report_new(const struct vbmq_plan *plan); /* results all PENDING */
struct vbmq_report *vbmq_report_free(struct vbmq_report *r);
int vbmq_report_unread(struct vbmq_report *r, const char *domain); /* adds one; 0 or -ENOMEM */

extern const char *const vbmq_outcome_words[]; /* pending done dry-run failed skipped undone undo-failed */
extern const char *const vbmq_check_words[]; /* ok drift overlap missing map polling */
