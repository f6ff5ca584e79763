/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What of the undo record (undo.h) is of the host itself: its parts and interrupts. Internal to core. */

#include "core/plan.h"
#include "core/undo.h"

/* vbmq_undo_prune() for them; they stand first, *ret_next is the first entry of a domain. */
size_t vbmq_undo_host_prune(struct vbmq_undo *u, const struct vbmq_snapshot *s, size_t *ret_next);
/* vbmq_undo_note() for a step of the host. */
int vbmq_undo_host_note(struct vbmq_undo *u, const struct vbmq_snapshot *s, const struct vbmq_step *step);
void vbmq_undo_host_overlay(const struct vbmq_undo *u, struct vbmq_snapshot *snapshot);
