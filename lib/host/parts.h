/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The host's own work as it is: AllowedCPUs= of systemd's units as the kernel has them, and irqbalance. sysroot NULL: "/".
 * Setting a unit's is systemd's affair (daemon, cli). */

#include "core/host.h"

struct vbmq_err;

/* Everything but what the undo record knows (held, found, applied). What cannot be read is ABSENT. */
void vbmq_parts_read(const char *sysroot, struct vbmq_part ret[VBMQ_PARTS]);

/* What a unit (part < VBMQ_SLICES) is limited to; empty: nothing, or to CPUs among which all that are online are. */
int vbmq_parts_read_unit(const char *sysroot, unsigned part, struct vbmq_cpuset *ret, struct vbmq_err *err);

/*
 * Every CPU that this machine can ever have. What a unit has to be limited to before its limit is taken away: with an empty
 * AllowedCPUs= systemd leaves the file alone, in which the kernel keeps the last limit.
 */
int vbmq_parts_possible(const char *sysroot, struct vbmq_cpuset *ret, struct vbmq_err *err);

/* 1 + the unit in whose cgroup (v2) a process runs; 0: none of them. */
uint8_t vbmq_parts_of_process(const char *sysroot, uint32_t pid);

#define VBMQ_PARTS_MASK_MAX (VBMQ_CPUS_MAX / 8u)
/* The set as systemd takes it: a byte for 8 CPUs, lowest first, no zero bytes at the end. Returns their number. */
size_t vbmq_parts_mask(const struct vbmq_cpuset *cpus, uint8_t ret[VBMQ_PARTS_MASK_MAX]);
