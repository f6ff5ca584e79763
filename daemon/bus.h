/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* org.vbmq1 on D-Bus (daemon/data/org.vbmq1.xml, org.vbmq1(5)): binds api.h, knows nothing else. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

struct vbmq_err;
struct vbmqd_bus;
struct vbmqd_manager;

/*
 * where: "system", "session" or an address. A bus that is not there is no failure: it is tried again, and the daemon does its
 * work without. A name that somebody else owns is: fatal is called, the daemon runs already. ready is called once, when the name is
 * ours or it is clear that there is no bus for now.
 */
int vbmqd_bus_new(struct vbmqd_manager *m, sd_event *event, const char *where, void (*ready)(void *data),
		  void (*fatal)(void *data, const char *why), void *data, struct vbmqd_bus **ret, struct vbmq_err *err);
/* Sends what is queued (answers of a daemon that stops), then frees. */
struct vbmqd_bus *vbmqd_bus_free(struct vbmqd_bus *b);
