/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "util/err.h"

/*
 * The calling thread's last libvirt error as errno and text, "DOING: libvirt's words". Never 0; what the values mean is in
 * the table at the top of error.c. conn: where the call went, NULL for none; on a dead one it is -ECONNRESET whatever libvirt
 * says. (Asking whether it is alive clears the last error, so that must be done in here.)
 */
struct _virConnect;
int vbmq_virt_error(struct vbmq_err *err, struct _virConnect *conn, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* libvirt prints errors to stderr by itself; not in our processes. Once, before the first connection. */
void vbmq_virt_error_silence(void);
