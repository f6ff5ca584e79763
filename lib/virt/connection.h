/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A connection to libvirt and its events. All calls block (they are RPCs), but not longer than the connection's time limit
 * for each RPC or short sequence of them; they may be made from any thread but not from inside an event callback. The event loop is libvirt's default implementation, run by the caller in a thread of its own
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
	VBMQ_VIRT_DOMAIN_CHANGED, /* started, resumed, device or vCPU added or removed, metadata changed, ... */
	VBMQ_VIRT_DOMAIN_TUNED, /* pins or limits changed, nothing else */
	VBMQ_VIRT_DOMAIN_GONE, /* stopped, crashed, migrated away */
	VBMQ_VIRT_CLOSED, /* the connection is dead; uuid NULL */
};

/* Called in the loop thread: copy and return; no libvirt call. reason is a static string for the journal. */
typedef void (*vbmq_virt_event_fn)(void *data, enum vbmq_virt_event event, const char *uuid, const char *name,
				   const char *reason);

/*
 * uri NULL: libvirt's default. read_only: no changes possible and no monitor (capture by ordinary users). fn may be NULL:
 * no events, no loop needed. -ENOTCONN: no libvirtd; -EACCES. No keepalive of ours: the connections meant here are local
 * sockets, which a dead libvirtd closes, and one that hangs is found by the time limit of calls; pings would wake an
 * idle daemon. (libvirtd itself pings clients that take events every keepalive_interval of libvirtd.conf, 5 s unless
 * changed; no client can decline.)
 */
int vbmq_virt_open(const char *uri, bool read_only, vbmq_virt_event_fn fn, void *data, struct vbmq_virt **ret,
		   struct vbmq_err *err);
/* After it returns fn is not called any more. Must not be called from fn. With events, the loop has to run on for a while:
 * libvirt lets go of its side in there. */
struct vbmq_virt *vbmq_virt_close(struct vbmq_virt *v);
/*
 * Limit of one call on this connection, default VBMQ_VIRT_TIMEOUT_MS; set it before other threads use v. A call that
 * takes longer returns -ETIMEDOUT and is left behind: see the top of call.c.
 */
#define VBMQ_VIRT_TIMEOUT_MS 10000u
void vbmq_virt_set_timeout(struct vbmq_virt *v, unsigned ms);
bool vbmq_virt_alive(struct vbmq_virt *v);
/* Versions of the libvirtd and of the hypervisor (its default one: for QEMU the one libvirtd found), major * 1000000 +
 * minor * 1000 + release. */
int vbmq_virt_versions(struct vbmq_virt *v, unsigned long *ret_lib, unsigned long *ret_hypervisor,
		       struct vbmq_err *err);

struct vbmq_virt_name {
	char *name;
	char uuid[37];
	bool active;
	int32_t id; /* libvirt's, -1: not running */
};
/* All domains (active only, or also defined ones), sorted by name; free with vbmq_virt_names_free. */
int vbmq_virt_list(struct vbmq_virt *v, bool inactive_too, struct vbmq_virt_name **ret, size_t *ret_n,
		   struct vbmq_err *err);
void vbmq_virt_names_free(struct vbmq_virt_name *names, size_t n);
