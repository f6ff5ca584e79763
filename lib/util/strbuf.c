/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "util/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

static bool reserve(struct vbmq_strbuf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 64;
	char *grown;

	if (b->failed)
		return false;
	if (n > VBMQ_STRBUF_MAX || b->len + n + 1 > VBMQ_STRBUF_MAX) {
		b->failed = true;
		return false;
	}
	while (cap < b->len + n + 1)
		cap *= 2;
	if (cap == b->cap)
		return true;
	grown = realloc(b->text, cap);
	if (!grown) {
		b->failed = true;
		return false;
	}
	b->text = grown;
	b->cap = cap;
	return true;
}

void vbmq_strbuf_add_bytes(struct vbmq_strbuf *b, const void *bytes, size_t n)
{
	if (!reserve(b, n))
		return;
	if (n)
		memcpy(b->text + b->len, bytes, n);
	b->len += n;
	b->text[b->len] = '\0';
}

void vbmq_strbuf_add(struct vbmq_strbuf *b, const char *text)
{
	vbmq_strbuf_add_bytes(b, text, strlen(text));
}

void vbmq_strbuf_vprintf(struct vbmq_strbuf *b, const char *fmt, va_list ap)
{
	char small[256]; /* for most it is enough: then the text is made once */
	va_list again;
	int n;

	if (!strchr(fmt, '%')) {
		vbmq_strbuf_add(b, fmt);
		return;
	}
	va_copy(again, ap);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	if (n < 0) {
		b->failed = true;
	} else if ((size_t)n < sizeof(small)) {
		vbmq_strbuf_add_bytes(b, small, (size_t)n);
	} else if (reserve(b, (size_t)n)) {
		vsnprintf(b->text + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void vbmq_strbuf_printf(struct vbmq_strbuf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vbmq_strbuf_vprintf(b, fmt, ap);
	va_end(ap);
}

char *vbmq_strbuf_steal(struct vbmq_strbuf *b)
{
	char *text;

	vbmq_strbuf_add_bytes(b, "", 0);
	if (b->failed) {
		vbmq_strbuf_done(b);
		return NULL;
	}
	text = VBMQ_STEAL(b->text);
	*b = VBMQ_STRBUF_INIT;
	return text;
}

void vbmq_strbuf_done(struct vbmq_strbuf *b)
{
	free(b->text);
	*b = VBMQ_STRBUF_INIT;
}
