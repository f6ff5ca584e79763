/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/report.h"
#include "core/snapshot.h"

/*
 * Compares a snapshot taken afterwards with the plan's placement and adds a check for every planned thread and disk to
 * *report (made by vbmq_report_new for that plan). Overlap is looked for among all threads of all domains in the
 * snapshot, also those the plan does not know. Likewise one for every part of the host that is ours.
 */
int vbmq_verify(const struct vbmq_snapshot *after, const struct vbmq_plan *plan, struct vbmq_report *report,
		struct vbmq_err *err);
