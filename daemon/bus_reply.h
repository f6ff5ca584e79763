/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What all methods share: errors by name, documents as descriptors, options. */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

struct vbmq_err;

#define VBMQD_BUS_PATH "/org/vbmq1"
#define VBMQD_BUS_MANAGER "org.vbmq1.Manager"

/* Sets *error from e (code as listed in api.h) and returns a negative value for the method to return. */
int vbmqd_bus_error(sd_bus_error *error, const struct vbmq_err *e);
int vbmqd_bus_reply_error(sd_bus_message *msg, const struct vbmq_err *e);

/* Answers with the document in a memfd, preceded by the plan id unless that is NULL. */
int vbmqd_bus_reply(sd_bus_message *msg, const char *plan_id, const char *text);

struct vbmqd_bus_options {
	bool dry_run;
	bool rebalance;
	uint32_t max_moves;
};

/* Reads a{sv}: "dry-run" (b), "rebalance" (b) and "max-moves" (u) where ret is not NULL; anything else is refused. */
int vbmqd_bus_read_options(sd_bus_message *msg, struct vbmqd_bus_options *ret, sd_bus_error *error);
