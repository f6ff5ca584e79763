/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Interrupts of NVMe and virtio disks, from /sys and /proc/irq. sysroot NULL: "/". */

#include "core/snapshot.h"
#include "core/undo.h"

struct vbmq_err;

/*
 * Fills s->irqs: those of the controllers below all disks of s, and those that the undo record knows (undo may be NULL).
 * What cannot be read is left out. Before vbmq_undo_overlay() and vbmq_snapshot_finish(); does not wait for anybody (what
 * irqbalance spares is known from vbmq_irqbalance_read()). 0 or -ENOMEM.
 */
int vbmq_irqs_read(const char *sysroot, struct vbmq_snapshot *s, const struct vbmq_undo *undo);

/* Where interrupt irq may come. -ENOENT: there is none of that number and name. */
int vbmq_irqs_get(const char *sysroot, uint32_t irq, const char *name, struct vbmq_cpuset *ret, struct vbmq_err *err);

/*
 * Has it come on cpus. stay: a running irqbalance is told first to leave it alone; otherwise that it need not any more.
 * -ENOTSUP: the kernel does not let it be moved; -ENOENT.
 */
int vbmq_irqs_set(const char *sysroot, uint32_t irq, const char *name, const struct vbmq_cpuset *cpus, bool stay,
		  struct vbmq_err *err);
