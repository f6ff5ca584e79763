/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "util/cpuset.h"

struct vbmq_err;

/*
 * Nodes on which the guest memory of a QEMU process lies, from /proc/PID/numa_maps: the mappings whose resident size is at
 * least a sixteenth of that of the largest (guest RAM), nodes that hold at least an eighth of these together. Empty: cannot
 * be told (no NUMA in the kernel, no memory touched yet). Where only one node has memory, it is that one. sysroot NULL:
 * "/". -ESRCH: no such process.
 */
int vbmq_guestmem_nodes(const char *sysroot, uint32_t pid, struct vbmq_cpuset *ret_nodes, struct vbmq_err *err);
