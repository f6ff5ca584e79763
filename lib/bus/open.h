/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* A connection of the caller's own. where: "system", "session" or an address. 0 or a negative errno. */
int vbmq_bus_open(const char *where, sd_bus **ret);
