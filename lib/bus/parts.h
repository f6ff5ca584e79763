/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "apply/actuator.h"

/*
 * The hands for the host's own parts: systemd over the bus, irqbalance over its socket. Used by one thread at a time. The
 * connection is made with the first step that needs it, lasts for all of them, and is the caller's to end with
 * vbmq_bus_parts_close() (which may be called twice).
 */
struct vbmq_bus_parts {
	const char *where; /* "system", "session" or an address; borrowed */
	const char *sysroot; /* what is read and irqbalance, NULL: this host; borrowed */
	sd_bus *bus;
};

/* p is borrowed. */
struct vbmq_part_actuator vbmq_bus_parts_actuator(struct vbmq_bus_parts *p);
/* A call of that method of systemd's manager, to be filled in; connects if there is no connection. 0 or a negative errno. */
int vbmq_bus_parts_call_new(struct vbmq_bus_parts *p, const char *method, sd_bus_message **ret);
void vbmq_bus_parts_close(struct vbmq_bus_parts *p);
