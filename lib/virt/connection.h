/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A connection to libvirt and its events. All calls block (they are RPCs) and may be made from any thread but not from
 * inside an event callback. The event loop is libvirt's default implementation, run by the caller in a thread of its own
 * (vbmq_virt_loop_run) and started before the first connect.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vbmq_err;
struct vbmq_virt; /* a connection; one owner, calls may be concurrent */

int vbmq_virt_loop_init(struct vbmq_err *err); /* once in a process, before any open */
int vbmq_virt_loop_run(const bool *stop); /* until *stop (atomic read) after a wake-up */
void vbmq_virt_loop_wake(void); /* from any thread */

enum vbmq_virt_event {
	VBMQ_VIRT_DOMAIN_CHANGED, /* started, resumed, device or vCPU added or removed, metadata or pins changed, ... */
	VBMQ_VIRT_DOMAIN_GONE, /* stopped, crashed, migrated away */
	VBMQ_VIRT_CLOSED, /* the connection is dead; uuid NULL */
};

/* Called in the loop thread: copy and return; no libvirt call. reason is a static string for the journal. */
typedef void (*vbmq_virt_event_fn)(void *data, enum vbmq_virt_event event, const char *uuid, const char *name,
				   const char *reason);

/* uri NULL: libvirt's default. keepalive on; read_only: no changes possible (capture by ordinary users). fn may be NULL. */
int vbmq_virt_open(const char *uri, bool read_only, vbmq_virt_event_fn fn, void *data, struct vbmq_virt **ret,
		   struct vbmq_err *err);
struct vbmq_virt *vbmq_virt_close(struct vbmq_virt *v);
bool vbmq_virt_alive(struct vbmq_virt *v);
int vbmq_virt_versions(struct vbmq_virt *v, unsigned long *ret_lib, unsigned long *ret_hypervisor,
		       struct vbmq_err *err);

struct vbmq_virt_name {
	char *name;
	char uuid[37];
	bool active;
};
/* All domains (active only, or also defined ones), sorted by name; free with vbmq_virt_names_free. */
int vbmq_virt_list(struct vbmq_virt *v, bool inactive_too, struct vbmq_virt_name **ret, size_t *ret_n,
		   struct vbmq_err *err);
void vbmq_virt_names_free(struct vbmq_virt_name *names, size_t n);
