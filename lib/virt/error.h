/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "util/err.h"

/*
 * The calling thread's last libvirt error as errno and text, "DOING: libvirt's words". Never 0; what the values mean is in
 * the table at the top of error.c. alive: the connection's, as the call saw it (a dead one is -ECONNRESET whatever
 * libvirt says).
 */
int vbmq_virt_error(struct vbmq_err *err, bool alive, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* libvirt prints errors to stderr by itself; not in our processes. Once, before the first connection. */
void vbmq_virt_error_silence(void);
