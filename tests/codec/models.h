/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Models in which every field that a document shows has a value of its own; for the tests of the JSON documents. They
 * abort the test program when memory runs out. */

#include <stdbool.h>

#include "core/explain.h"
#include "core/plan.h"
#include "core/report.h"
#include "core/snapshot.h"
#include "core/stats.h"
#include "core/undo.h"

struct vbmq_snapshot *model_snapshot(void); /* 2 nodes, 4 cores, 2 domains; finished */
struct vbmq_plan *model_plan(void); /* every kind of step and diagnostic */
/* What would have to change for the plan of model_plan(); every kind of remedy. */
struct vbmq_explanation *model_explanation(void);
struct vbmq_report *model_report(const struct vbmq_plan *plan); /* every outcome and check */
struct vbmq_stats *model_stats(unsigned n); /* a guest; n 0: at first, 1: a second later */
struct vbmq_undo *model_undo(void); /* every kind of entry */

/* For the models' own use. */
#define MODEL_UUID_1 "00000000-0000-4000-8000-000000000001"
#define MODEL_UUID_2 "00000000-0000-4000-8000-000000000002"
struct vbmq_cpuset model_cpus(const char *list);
char *model_copy(const char *text);
void model_must(bool ok, const char *what);
