/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/plan.h"

/*
 * Ordered steps from the snapshot to the placement. Promises, each a property test:
 *   - empty when the snapshot already is as the placement wants (idempotent);
 *   - a thread that already stands where the placement wants it gets no pin step;
 *   - no step creates an overlap: at every moment, a thread that stands alone on its exclusive place (old or new) is met
 *     there by no other thread of any domain. Floating threads leave first; when all wait for each other, one after the other is
 *     put aside (interim): threads that are to float anyway before exclusive ones, which then give up being alone themselves, on
 *     the shared set, on a core that is free, or with threads that wait already;
 *   - with two exceptions, where places that threads have for themselves cover all CPUs that may be used, so that whoever goes
 *     next comes to somebody (diff_park.c): a thread that loses its place in this plan (it is to float, or goes back to where
 *     its owner pinned it) may be met before it has left, and a place where others have been all the time, by one more;
 *   - an exclusive thread that floats until it gets its place is not counted where others arrive: its own step makes it leave;
 *   - add-iothread before its first pin, pin before set-polling with dedicated polling, both before map-queues that use it,
 *     polling back to adaptive before a thread loses its core, del-iothread last and only when no queue is mapped to it.
 */
int vbmq_diff(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
	      struct vbmq_step **ret_steps, size_t *ret_n, struct vbmq_err *err);
void vbmq_steps_free(struct vbmq_step *steps, size_t n);

/* Whether a thread polls as it should: what needs no step, and what verify looks for. A mode that is not said is as good as any. */
bool vbmq_polls_as(const struct vbmq_polling *is, const struct vbmq_polling *want);
