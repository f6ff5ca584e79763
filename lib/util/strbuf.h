/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A string that grows. Out of memory (or a length above max) is latched: later calls do nothing, and
 * vbmq_strbuf_steal() returns NULL, so callers check once at the end. printf formats must not depend on the locale:
 * use integers and %s only.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct vbmq_strbuf {
	char *text; /* NUL-terminated, or NULL while empty */
	size_t len;
	size_t cap;
	bool failed;
};

#define VBMQ_STRBUF_INIT ((struct vbmq_strbuf){ .text = NULL })
#define VBMQ_STRBUF_MAX (256u * 1024u * 1024u)

void vbmq_strbuf_add(struct vbmq_strbuf *b, const char *text);
void vbmq_strbuf_add_bytes(struct vbmq_strbuf *b, const void *bytes, size_t n);
void vbmq_strbuf_printf(struct vbmq_strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void vbmq_strbuf_vprintf(struct vbmq_strbuf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
char *vbmq_strbuf_steal(struct vbmq_strbuf *b); /* caller frees; "" is allocated for an empty one; NULL if failed */
void vbmq_strbuf_done(struct vbmq_strbuf *b); /* for _cleanup_(vbmq_strbuf_done) */
