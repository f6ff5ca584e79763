/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Host topology by hwloc: live, below a root directory, from lstopo XML, or synthetic. The result is finished
 * (vbmq_host_finish) and owned by the caller.
 */

#include <stddef.h>

#include "core/host.h"

#define VBMQ_TOPOLOGY_XML_MAX (64u * 1024u * 1024u)

/* sysroot NULL: this machine, including cpuset restriction and isolcpus. Else HWLOC_FSROOT-like: sysroot/sys/... */
int vbmq_topology_live(const char *sysroot, struct vbmq_host **ret, struct vbmq_err *err);
int vbmq_topology_xml(const char *name, const void *xml, size_t len, struct vbmq_host **ret, struct vbmq_err *err);
int vbmq_topology_synthetic(const char *description, struct vbmq_host **ret, struct vbmq_err *err);

/* The HOST argument of vbmqctl: "synthetic:DESCRIPTION", "live", or the path of an lstopo XML file. */
int vbmq_topology_from_argument(const char *argument, struct vbmq_host **ret, struct vbmq_err *err);
