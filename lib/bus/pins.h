/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/cpuset.h"

struct vbmq_err;

/* Threads in the cgroup of a unit, and below, that are pinned to less than their cgroup has. */
struct vbmq_bus_pin {
	uint32_t tid;
	uint64_t start;
	struct vbmq_cpuset cpus, had; /* had: its cgroup */
};

struct vbmq_bus_pins {
	struct vbmq_bus_pin *items;
	size_t n;
};

/* sysroot NULL: this host. From Linux 6.2 on there is nothing to look for, and none are found. Threads that end meanwhile are
 * left out. 0 or a negative errno. */
int vbmq_bus_pins_take(const char *sysroot, const char *unit, struct vbmq_bus_pins *ret, struct vbmq_err *err);
/* After the unit was limited to limit (empty: not at all): back to their pins, as far as the limit leaves any of it. Who
 * has ended, or cannot be pinned, is left as he is. */
void vbmq_bus_pins_give_back(const char *sysroot, const struct vbmq_bus_pins *pins, const struct vbmq_cpuset *limit);
void vbmq_bus_pins_done(struct vbmq_bus_pins *pins);
