/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/domain.h"

/*
 * Node of the device below a block device or a file: partitions to their disk, dm, md, loop and nvme multipath to their
 * members (all on one node: that node; several, or one that is not known: VBMQ_NODE_UNKNOWN), a file to the device of its
 * file system; then numa_node of the first ancestor that says one. sysroot NULL: "/". Not found out is no error:
 * *ret_node is VBMQ_NODE_UNKNOWN and the return value 0; negative only for -ENOMEM and a path that does not exist
 * (-ENOENT; links inside sysroot are followed).
 *
 * And the controllers ("nvme0", "virtio1") below it, each once, in the order they were met; devices of other drivers have
 * none. The caller frees *ret_devices (NULL: none).
 *
 * A recorded tree (sysroot) cannot hold device nodes unless root unpacks it: there any file below /dev stands for the
 * device of the same base name in /sys/class/block ('/' as '!').
 */
int vbmq_blockdev_find(const char *sysroot, const char *path, int32_t *ret_node,
		       char (**ret_devices)[VBMQ_DEVICE_MAX + 1], size_t *ret_n_devices, struct vbmq_err *err);
