/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * May the sender of a message do that? Asynchronous: polkit may have to ask a person for a password. Root always may; without
 * polkit on the bus nobody else.
 */

#include <stdbool.h>

#include <systemd/sd-bus.h>

#define VBMQD_ACTION_APPLY "org.vbmq1.apply"
#define VBMQD_ACTION_MANAGE "org.vbmq1.manage"

struct vbmqd_polkit;

/* Called once: error NULL means allowed. In the main loop, never from inside vbmqd_polkit_check. */
typedef void (*vbmqd_polkit_fn)(void *data, sd_bus_message *message, const sd_bus_error *error);

/* The checks under way on bus; bus is referenced by each of them. */
int vbmqd_polkit_new(struct vbmqd_polkit **ret);
/* Checks under way are dropped; their fn is called with an error first. */
struct vbmqd_polkit *vbmqd_polkit_free(struct vbmqd_polkit *p);

/*
 * > 0: allowed at once, fn will not be called. 0: fn will be called; message is referenced meanwhile. Negative errno: *error is
 * set. data is the caller's in every case until fn was called.
 */
int vbmqd_polkit_check(struct vbmqd_polkit *p, sd_bus_message *message, const char *action, vbmqd_polkit_fn fn,
		       void *data, sd_bus_error *error);
