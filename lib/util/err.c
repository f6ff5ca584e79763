/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "util/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Text can come from a hostile file: nothing in it may drive the reader's terminal. Bytes of UTF-8 stay. */
static void clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
}

/* Cut between characters: half a UTF-8 character would be refused by D-Bus and JSON. */
static void mark_cut(char *text)
{
	size_t at = VBMQ_ERR_TEXT_MAX - 4;

	while (at && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--;
	memcpy(text + at, "...", 4);
}

int vbmq_err_set(struct vbmq_err *err, int code, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!err)
		return code;
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(err->text))
		mark_cut(err->text);
	clean(err->text);
	err->code = code;
	return code;
}

int vbmq_err_prefix(struct vbmq_err *err, const char *fmt, ...)
{
	char old[VBMQ_ERR_TEXT_MAX];
	size_t room, len;
	va_list ap;
	int n;

	if (!err)
		return 0;
	if (!err->code)
		return 0;
	memcpy(old, err->text, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n < 0 || n >= (int)sizeof(err->text)) {
		mark_cut(err->text);
	} else {
		room = sizeof(err->text) - (size_t)n;
		len = strlen(old);
		memcpy(err->text + n, old, len < room ? len + 1 : room);
		if (len >= room)
			mark_cut(err->text);
	}
	clean(err->text);
	return err->code;
}

int vbmq_err_oom(struct vbmq_err *err)
{
	return vbmq_err_set(err, -ENOMEM, "out of memory");
}
