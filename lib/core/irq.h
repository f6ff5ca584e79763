/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * An interrupt of a hardware queue of a host's disk (NVMe, virtio) that guests use. Filled by lib/host on a live host only
 * (vbmq_irqs_read()); then vbmq_undo_overlay() adds what the undo record knows.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/policy.h"
#include "util/cpuset.h"

#define VBMQ_DEVICE_MAX 31u
#define VBMQ_DEVICES_MAX 256u /* controllers below one disk of a guest */
#define VBMQ_IRQS_MAX 65536u

enum vbmq_irq_state {
	VBMQ_IRQ_MOVABLE,
	VBMQ_IRQ_MANAGED, /* the kernel spread the device's interrupts itself and lets nobody move them */
	VBMQ_IRQ_FOREIGN, /* somebody told irqbalance to leave it alone: its place is his */
};

struct vbmq_irq {
	uint32_t irq; /* Linux number */
	char name[VBMQ_TARGET_MAX + 1]; /* its action, "nvme0q3": tells a number that was given to another one */
	char device[VBMQ_DEVICE_MAX + 1]; /* controller, "nvme0"; "": no guest uses it (any more) */
	enum vbmq_irq_state state;
	struct vbmq_cpuset cpus; /* requests of these CPUs are completed by it */
	struct vbmq_cpuset affinity; /* where it may come */
	struct vbmq_cpuset effective; /* where it comes; = affinity where the kernel does not say */
	bool held; /* we moved it before: */
	struct vbmq_cpuset found; /* what its affinity was then */
	struct vbmq_cpuset applied; /* what we set last */
};

extern const char *const vbmq_irq_state_words[]; /* movable managed foreign */
