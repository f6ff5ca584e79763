/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "core/plan.h"
#include "core/report.h"

#define VBMQ_PLAN_SCHEMA "vbmq-plan/1"
#define VBMQ_EXPLAIN_SCHEMA "vbmq-explain/1"
#define VBMQ_REPORT_SCHEMA "vbmq-report/1"

/* The document of DESIGN 7.2. host gives "cpus". Keys in the order of the design (pretty) for people and scripts alike. */
int vbmq_plan_format(const struct vbmq_plan *plan, const struct vbmq_host *host, bool pretty, char **ret,
		     struct vbmq_err *err);
/* Reading back what we printed (vbmqctl shows documents of the daemon): strict. snapshot_host may be NULL. */
int vbmq_plan_parse(const char *name, const char *json, size_t len, struct vbmq_plan **ret, struct vbmq_err *err);

/* Why every thread is where it is. domain NULL: all; kind/id < 0: all threads. */
int vbmq_explain_format(const struct vbmq_plan *plan, const char *domain, bool pretty, char **ret,
			struct vbmq_err *err);

/* steps: the plan's, or those of a restore. */
int vbmq_report_format(const struct vbmq_report *report, const struct vbmq_plan *plan, const struct vbmq_step *steps,
		       size_t n_steps, bool pretty, char **ret, struct vbmq_err *err);
