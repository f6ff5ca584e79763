/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * libvirt's event loop in its thread, and the bridge from it to the main thread's sd-event. One in a process, because
 * libvirt's default event implementation is one in a process.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "virt/connection.h"

struct vbmq_err;
struct vbmqd_virt_loop;

struct vbmqd_virt_event {
	enum vbmq_virt_event kind;
	uint32_t generation; /* of the connection it came from */
	bool lost; /* events were dropped (no memory, flood): everything may have changed; nothing else is set */
	char uuid[37];
	char name[256];
	const char *reason; /* static */
};

/* Main thread. */
typedef void (*vbmqd_virt_event_fn)(void *data, const struct vbmqd_virt_event *event);

int vbmqd_virt_loop_start(sd_event *event, vbmqd_virt_event_fn fn, void *data, struct vbmqd_virt_loop **ret,
			  struct vbmq_err *err);
/* Ends the thread; waits grace_ms at most. True: it ended, and everything is freed. */
bool vbmqd_virt_loop_stop(struct vbmqd_virt_loop *l, uint64_t grace_ms);

/* What vbmq_virt_open() wants, for a connection of that generation. */
void vbmqd_virt_loop_callback(void *data, enum vbmq_virt_event event, const char *uuid, const char *name,
			      const char *reason);
void *vbmqd_virt_loop_callback_data(uint32_t generation);
