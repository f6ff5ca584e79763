/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A libvirt connection shared by the main thread and the jobs that use it. Every job holds a reference, so a call that hangs
 * for minutes after the daemon has given the connection up still has one. The last reference closes, which is a libvirt call:
 * the main thread therefore gives its own up through a job (jobs.h).
 */

#include <stdint.h>

#include "virt/connection.h"

struct vbmqd_conn;

/* Takes v (closes it when there is no memory, and returns NULL). */
struct vbmqd_conn *vbmqd_conn_new(struct vbmq_virt *v, uint32_t generation);
struct vbmqd_conn *vbmqd_conn_ref(struct vbmqd_conn *c);
/* Not in the main thread. Returns NULL. */
struct vbmqd_conn *vbmqd_conn_unref(struct vbmqd_conn *c);
struct vbmq_virt *vbmqd_conn_virt(const struct vbmqd_conn *c);
uint32_t vbmqd_conn_generation(const struct vbmqd_conn *c);
