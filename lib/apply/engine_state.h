/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of the engine share: engine.c goes forward, back.c takes back. Theory of operation: top of engine.c. */

#include "apply/engine.h"
#include "apply/track.h"

/* Of a domain. Above GOOD nothing more is tried. */
enum vbmq_engine_status {
	VBMQ_ENGINE_FRESH,
	VBMQ_ENGINE_GOOD,
	VBMQ_ENGINE_FAILED,
	VBMQ_ENGINE_BLOCKED,
	VBMQ_ENGINE_GONE,
	VBMQ_ENGINE_SILENT,
};

struct vbmq_engine_before { /* what a step found */
	bool tried; /* the actuator was asked */
	bool exclusive; /* PIN, as are cpus */
	struct vbmq_cpuset cpus;
	struct vbmq_polling polling;
	uint32_t *map; /* MAP_QUEUES; owned */
};

struct vbmq_engine {
	const struct vbmq_apply *a;
	const struct vbmq_snapshot *snapshot;
	const struct vbmq_plan *plan;
	struct vbmq_report *report;
	struct vbmq_track *actual, *planned;
	enum vbmq_engine_status *status; /* by domain */
	struct vbmq_engine_before *before; /* by step */
	bool differs; /* actual and planned picture may differ */
	bool reduced; /* some pin did without CPUs */
};

/* Sets a step's outcome and adds text (may be NULL) to what is said of it already. */
void vbmq_engine_result(struct vbmq_engine *e, size_t step, enum vbmq_outcome outcome, int error, const char *text);

/* Notes an error that ends all dealings with a domain (gone, silent). True: it is one of those. */
bool vbmq_engine_end_of_domain(struct vbmq_engine *e, uint32_t domain, int error);

/* Step of a domain did not come about (status and result are set): takes back what the domain had got so far, last first,
 * as far as that takes nothing from others, and then has its threads make way for them. */
void vbmq_engine_fail_domain(struct vbmq_engine *e, size_t step);
