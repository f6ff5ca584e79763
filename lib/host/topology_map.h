/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A loaded hwloc topology -> struct vbmq_host. Private to lib/host. */

#include <hwloc.h>

#include "core/host.h"

/* Not finished: the caller sets name, allowed and isolated where it knows more, then calls vbmq_host_finish(). */
int vbmq_topology_map(hwloc_topology_t topology, struct vbmq_host **ret, struct vbmq_err *err);
