/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Host topology by hwloc: live, below a root directory, from lstopo XML, or synthetic. The result is finished
 * (vbmq_host_finish) and owned by the caller.
 */

#include <stddef.h>

#include "core/host.h"

#define VBMQ_TOPOLOGY_XML_MAX (64u * 1024u * 1024u)

/*
 * sysroot NULL: this machine. "allowed" is what the cgroup of all guests leaves (root and machine.slice), not the cpuset
 * of the caller. Else the tree below sysroot (sysroot/sys/...): goes through the environment for the time of the call,
 * so never from a program with other threads.
 */
int vbmq_topology_live(const char *sysroot, struct vbmq_host **ret, struct vbmq_err *err);
/* Has a child process read it first (topology_trial.h), so not for a program with threads. name: for messages, and the host's name (its base name) when the XML has no HostName. */
int vbmq_topology_xml(const char *name, const void *xml, size_t len, struct vbmq_host **ret, struct vbmq_err *err);
int vbmq_topology_synthetic(const char *description, struct vbmq_host **ret, struct vbmq_err *err);

/* The HOST argument of vbmqctl: "synthetic:DESCRIPTION", "live", or the path of an lstopo XML file. */
int vbmq_topology_from_argument(const char *argument, struct vbmq_host **ret, struct vbmq_err *err);
