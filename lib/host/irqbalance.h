/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A running irqbalance, over the socket it has below /run/irqbalance (irqbalance >= 1.5). sysroot NULL: "/". Safe to call
 * from several threads. Asking blocks for VBMQ_IRQBALANCE_PATIENCE_MS at most; telling it something is not tried again soon,
 * and blocks for VBMQ_IRQBALANCE_TELL_PATIENCE_MS at most: it takes one caller at a time, and none while it scans.
 */

#include "core/host.h"

struct vbmq_err;

#define VBMQ_IRQBALANCE_PATIENCE_MS 1000u
#define VBMQ_IRQBALANCE_TELL_PATIENCE_MS 20000u

/* Fills state, cpus (what it bans), pid and start. ABSENT: none runs, or it has no socket there. */
void vbmq_irqbalance_read(const char *sysroot, struct vbmq_part *ret);

/*
 * After a ban: waits until it says itself that it bans them, for ms at most, and not longer than two of its scans. Does not wait where
 * nothing was set in this process. What it says is then what vbmq_irqbalance_read() gives, or that it has not said so yet.
 */
void vbmq_irqbalance_wait(const char *sysroot, uint64_t ms);

/* Whether it leaves that interrupt alone, as it told when it was read last, or as it was told since. */
bool vbmq_irqbalance_spares(uint32_t irq);

/* Has it leave that interrupt alone, or not any more; others that it leaves alone stay. 0 also where none runs. -E2BIG: more
 * of them than it can take; -ETIMEDOUT. */
int vbmq_irqbalance_spare(const char *sysroot, uint32_t irq, bool spare, struct vbmq_err *err);

/* Has it ban these CPUs and no others; empty: what it would ban by itself. It does so at its next scan. -ENOENT: none runs;
 * -E2BIG: the list is longer than it can take; -ETIMEDOUT. */
int vbmq_irqbalance_ban(const char *sysroot, const struct vbmq_cpuset *cpus, struct vbmq_err *err);
