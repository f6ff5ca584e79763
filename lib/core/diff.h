/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/plan.h"

/*
 * Ordered steps from the snapshot to the placement. Promises, each a property test:
 *   - empty when the snapshot already is as the placement wants (idempotent);
 *   - a thread that already stands where the placement wants it gets no pin step;
 *   - no step creates an overlap: at every moment, a thread that stands alone on its exclusive place (old or new) is met
 *     there by no other thread of any domain. Floating threads leave first; a cycle of exclusive moves is broken through a
 *     free core or, for one thread at a time, the shared set (interim);
 *   - add-iothread before its first pin, pin before set-polling with dedicated polling, both before map-queues that use it,
 *     polling back to adaptive before a thread loses its core, del-iothread last and only when no queue is mapped to it.
 */
int vbmq_diff(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
	      struct vbmq_step **ret_steps, size_t *ret_n, struct vbmq_err *err);
void vbmq_steps_free(struct vbmq_step *steps, size_t n);
