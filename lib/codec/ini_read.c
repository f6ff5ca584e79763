/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. inih does the lines; it is made strict from outside, because its switches are either fixed when the
 * library is built or (Debian) process-wide variables:
 *   - it cuts lines at 200 bytes and parses the rest as another line: our reader hands over whole lines only, and stops at
 *     one that is too long;
 *   - an indented line continues the one before: our reader takes the indentation off, so there are none;
 *   - it goes on after an error: our handler latches the first, and the reader ends the input there.
 * The reader also counts the lines, since the handler is not told, and sees the sections, of which inih says nothing.
 */

#include "codec/ini_read.h"

#include <errno.h>
#include <ini.h>
#include <string.h>

#include "util/err.h"

struct parser {
	const char *name;
	const char *text, *end; /* what is not read yet */
	unsigned line; /* of the last line handed over */
	const struct vbmq_ini_reader *reader;
	struct vbmq_err *err;
	int code; /* 0, or what the first error was */
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* Latches what a callback returned. */
static void latch(struct parser *p, int r, const struct vbmq_err *cause)
{
	if (r == -ENOMEM)
		p->code = vbmq_err_oom(p->err);
	else if (r < 0)
		p->code = vbmq_err_set(p->err, r, "%s:%u: %s", p->name, p->line, cause->text);
}

static void on_section(struct parser *p, char *line)
{
	char *stop = strchr(line, ']');
	struct vbmq_err cause = VBMQ_ERR_INIT;
	const char *rest;

	if (!stop)
		return; /* inih's to refuse */
	rest = stop + 1;
	while (is_space(*rest))
		rest++;
	*stop = '\0';
	latch(p, p->reader->section(p->reader->user, line + 1, p->line, &cause), &cause);
	*stop = ']';
	if (p->code == 0 && *rest && *rest != ';')
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: '%s' after the section's name", p->name, p->line, rest);
}

/* An fgets() for inih: whole lines, without white space at the ends. */
static char *read_line(char *buf, int size, void *stream)
{
	struct parser *p = stream;
	const char *start = p->text, *stop;
	size_t len;

	if (p->code < 0 || p->text == p->end)
		return NULL;
	stop = memchr(start, '\n', (size_t)(p->end - start));
	p->text = stop ? stop + 1 : p->end;
	if (!stop)
		stop = p->end;
	p->line++;
	while (start < stop && is_space(*start))
		start++;
	while (stop > start && is_space(stop[-1]))
		stop--;
	len = (size_t)(stop - start);
	if (memchr(start, '\0', len)) {
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: a NUL byte", p->name, p->line);
		return NULL;
	}
	if (len > VBMQ_INI_LINE_MAX || size <= 0 || len >= (size_t)size) {
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: the line has %zu bytes, at most %u are allowed",
				       p->name, p->line, len, VBMQ_INI_LINE_MAX);
		return NULL;
	}
	memcpy(buf, start, len);
	buf[len] = '\0';
	if (buf[0] == '[')
		on_section(p, buf);
	return p->code == 0 ? buf : NULL;
}

/* inih: 1 goes on. */
static int on_key(void *user, const char *section, const char *key, const char *value)
{
	struct vbmq_err cause = VBMQ_ERR_INIT;
	struct parser *p = user;

	if (p->code < 0)
		return 0;
	latch(p, p->reader->key(p->reader->user, section, key, value, p->line, &cause), &cause);
	return p->code == 0;
}

int vbmq_ini_parse(const char *name, const char *text, size_t len, const struct vbmq_ini_reader *reader,
		   struct vbmq_err *err)
{
	struct vbmq_err first = VBMQ_ERR_INIT;
	struct parser p = { .name = name, .text = text, .end = text + len, .reader = reader, .err = &first };
	int r = ini_parse_stream(read_line, &p, on_key, &p);

	/* r: the first line that is not INI at all or that on_key() refused; whichever came first counts */
	if (r == -2)
		p.code = vbmq_err_oom(&first);
	else if (r > 0 && (p.code == 0 || (unsigned)r < p.line))
		p.code = vbmq_err_set(&first, -EINVAL, "%s:%d: neither a [section] nor key=value", name, r);
	return p.code < 0 ? vbmq_err_set(err, first.code, "%s", first.text) : 0;
}
