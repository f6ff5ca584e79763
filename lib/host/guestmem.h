/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "util/cpuset.h"

struct vbmq_err;

/*
 * Nodes on which the guest memory of a QEMU process lies, from /proc/PID/numa_maps: the mappings that hold at least a
 * sixteenth of the pages of the largest kind (guest RAM), nodes that hold at least an eighth of those. Empty: cannot be
 * told (no NUMA in the kernel, no memory touched yet). libnuma supplies what the kernel may use (mems allowed).
 */
int vbmq_guestmem_nodes(const char *sysroot, uint32_t pid, struct vbmq_cpuset *ret_nodes, struct vbmq_err *err);
