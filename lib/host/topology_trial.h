/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Lets a child process load lstopo XML first. Private to lib/host. */

#include <stddef.h>

struct vbmq_err;

/*
 * 0: hwloc loads it and survives; -EINVAL: it refuses, or dies of it. xml is NUL-terminated, len without the NUL. Forks: not
 * for a program with threads. Leaves signal handlers and children of the caller alone.
 */
int vbmq_topology_trial(const char *xml, size_t len, struct vbmq_err *err);
