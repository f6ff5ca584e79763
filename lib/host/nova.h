/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "util/cpuset.h"

/*
 * [compute] cpu_dedicated_set in /etc/nova/nova.conf: the CPUs that Nova gives to its pinned guests. sysroot NULL: "/".
 * Other files of Nova's are not looked at. False: there is none, or it cannot be read.
 */
bool vbmq_nova_dedicated(const char *sysroot, struct vbmq_cpuset *ret);
