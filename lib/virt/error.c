/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libvirt's errors are a code, a domain (which of its parts) and a text for people; the code is often
 * VIR_ERR_INTERNAL_ERROR or VIR_ERR_OPERATION_FAILED where a caller would like to know more. Callers of lib/virt tell
 * apart only what they act on differently:
 *
 *   -ENOENT      no such domain (any more)
 *   -ETIMEDOUT   a job of somebody else holds the domain (libvirt waits 30 s for it), or its monitor hangs
 *   -EBUSY       not now
 *   -ENOTSUP     this libvirt, this QEMU or this driver cannot do that
 *   -EACCES      not allowed, or a read-only connection
 *   -ENOTCONN    there is no libvirtd to talk to
 *   -ECONNRESET  there was one, and it is gone
 *   -EINVAL      refused for what was asked
 *   -EIO         everything else
 * and, for a system call that failed inside libvirtd (VIR_ERR_SYSTEM_ERROR carries errno), that errno: -ESRCH for the
 * affinity of a thread that has ended.
 */

#include "virt/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "virt/compat.h"

static int code_of(const virError *e)
{
	switch (e->code) {
	case VIR_ERR_NO_DOMAIN:
		return -ENOENT;
	case VIR_ERR_OPERATION_TIMEOUT:
	case VIR_ERR_AGENT_UNRESPONSIVE:
		return -ETIMEDOUT;
	case VIR_ERR_RESOURCE_BUSY:
	case VIR_ERR_OPERATION_ABORTED:
		return -EBUSY;
	case VIR_ERR_NO_SUPPORT:
	case VIR_ERR_OPERATION_UNSUPPORTED:
	case VIR_ERR_CONFIG_UNSUPPORTED:
	case VIR_ERR_ARGUMENT_UNSUPPORTED:
		return -ENOTSUP;
	case VIR_ERR_OPERATION_DENIED:
	case VIR_ERR_ACCESS_DENIED:
	case VIR_ERR_AUTH_FAILED:
	case VIR_ERR_AUTH_CANCELLED:
	case VIR_ERR_AUTH_UNAVAILABLE:
		return -EACCES;
	case VIR_ERR_NO_CONNECT:
	case VIR_ERR_INVALID_CONN:
		return -ENOTCONN;
	case VIR_ERR_NO_MEMORY:
		return -ENOMEM;
	case VIR_ERR_INVALID_ARG:
	case VIR_ERR_XML_ERROR:
	case VIR_ERR_XML_DETAIL:
	case VIR_ERR_XML_INVALID_SCHEMA:
	case VIR_ERR_OPERATION_INVALID:
		return -EINVAL;
	case VIR_ERR_SYSTEM_ERROR:
		return e->int1 > 0 && e->int1 < 4096 ? -e->int1 : -EIO;
	default:
		return -EIO;
	}
}

int vbmq_virt_error(struct vbmq_err *err, struct _virConnect *conn, const char *fmt, ...)
{
	char doing[VBMQ_ERR_TEXT_MAX];
	const virError *e = virGetLastError();
	int code = e ? code_of(e) : -EIO;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(doing, sizeof(doing), fmt, ap);
	va_end(ap);
	(void)vbmq_err_set(err, code, "%s: %s", doing, e && e->message ? e->message : "libvirt gave no reason");
	if (conn && code != -ENOENT && virConnectIsAlive(conn) == 0)
		code = -ECONNRESET;
	if (err)
		err->code = code;
	return code;
}

static void ignore(void *data, virErrorPtr error)
{
}

void vbmq_virt_error_silence(void)
{
	virSetErrorFunc(NULL, ignore);
}
