/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/parts.h"

/*
 * Removes what taking limits away has left: drop-ins of system.slice, user.slice and init.scope that set AllowedCPUs= to
 * nothing and nothing else, at run time. Then systemd reads its files again, if there was one. What is in force does not
 * change. How many were removed, or a negative errno (some may have been).
 */
int vbmq_bus_dropins_remove(struct vbmq_bus_parts *p, struct vbmq_err *err);
