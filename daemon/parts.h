/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "apply/actuator.h"

/*
 * The hands for the host's own parts: systemd over the bus, irqbalance over its socket. Used by one thread at a time (the
 * applier). The connection is made with the first step that needs it and is the caller's to end with vbmqd_parts_close().
 */
struct vbmqd_parts {
	const char *where; /* "system", "session" or an address; borrowed */
	sd_bus *bus;
};

struct vbmq_part_actuator vbmqd_parts_actuator(struct vbmqd_parts *p);
void vbmqd_parts_close(struct vbmqd_parts *p);
