/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "core/capacity.h"
#include "core/explain.h"
#include "core/plan.h"
#include "core/report.h"

#define VBMQ_PLAN_SCHEMA "vbmq-plan/1"
#define VBMQ_EXPLAIN_SCHEMA "vbmq-explain/1"
#define VBMQ_REPORT_SCHEMA "vbmq-report/1"
#define VBMQ_PLAN_JSON_MAX (64u * 1024u * 1024u)
#define VBMQ_STEPS_MAX (1u << 20)

/* The document of DESIGN 7.2. host gives "cpus"; NULL (a plan that was read from a document): the CPUs of the shared set
 * and the dedicated cores. Keys in the order of the design, indented (pretty) for people and scripts alike. Caller frees. */
int vbmq_plan_format(const struct vbmq_plan *plan, const struct vbmq_host *host, bool pretty, char **ret,
		     struct vbmq_err *err);
/* The same with the summary of a described fleet ("fleet"); report may be NULL. */
int vbmq_plan_format_fleet(const struct vbmq_plan *plan, const struct vbmq_host *host,
			   const struct vbmq_fleet_report *report, bool pretty, char **ret, struct vbmq_err *err);
/* Reading back what we printed (vbmqctl shows documents of the daemon): strict. The explanations (why) are not in there,
 * and what is said about a fleet follows from the rest: it is not looked at. */
int vbmq_plan_parse(const char *name, const char *json, size_t len, struct vbmq_plan **ret, struct vbmq_err *err);

/* Why every thread is where it is. domain (name or UUID) NULL: all of them; one that is not in the plan: -ENOENT. */
int vbmq_explain_format(const struct vbmq_plan *plan, const char *domain, bool pretty, char **ret,
			struct vbmq_err *err);
/* ... and what would have to change, x of vbmq_explain_make() for this plan's placement; NULL: without. */
int vbmq_explain_format_with(const struct vbmq_plan *plan, const struct vbmq_explanation *x, const char *domain,
			     bool pretty, char **ret, struct vbmq_err *err);

/* steps: the plan's, or those of a restore. Domains get their names from plan or, where that is NULL (restore), from
 * snapshot; the other one may be NULL. */
int vbmq_report_format(const struct vbmq_report *report, const struct vbmq_plan *plan,
		       const struct vbmq_snapshot *snapshot, const struct vbmq_step *steps, size_t n_steps, bool pretty,
		       char **ret, struct vbmq_err *err);
