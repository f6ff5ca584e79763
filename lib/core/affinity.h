/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/placement.h"

/* Fills completes of every queue: how far the thread that serves it (the emulator's, for the main loop) is from the vCPUs that
 * it completes on, wherever each of them may run: the worst that can happen. */
void vbmq_affinity_fill(const struct vbmq_host *host, struct vbmq_placement *p);
