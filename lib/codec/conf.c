/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. inih does the lines; it is made strict from outside, because its switches are either fixed when the
 * library is built or (Debian) process-wide variables:
 *   - it cuts lines at 200 bytes and parses the rest as another line: our reader hands over whole lines only, and stops at
 *     one that is too long;
 *   - an indented line continues the one before: our reader takes the indentation off, so there are none;
 *   - it goes on after an error: our handler latches the first, and the reader ends the input there.
 * The reader also counts the lines, since the handler is not told.
 */

#include "codec/conf.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "codec/conf_keys.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define SEEN_MAX 64u

struct parser {
	const char *name;
	const char *text, *end; /* what is not read yet */
	unsigned line; /* of the last line handed over */
	struct vbmq_conf *conf;
	bool seen[SEEN_MAX]; /* by index of key */
	struct vbmq_err *err;
	int code; /* 0, or what the first error was */
};

/* --- life --------------------------------------------------------------------------------------------------------- */

void vbmq_conf_init(struct vbmq_conf *c)
{
	*c = (struct vbmq_conf){
		.debounce_ms = 250,
		.recheck_ms = 60000,
		.call_timeout_ms = 10000,
		.retry_max_ms = 300000,
		.workers = 4,
	};
	vbmq_policy_init(&c->policy);
}

void vbmq_conf_done(struct vbmq_conf *c)
{
	free(c->uri);
	vbmq_policy_done(&c->policy);
	vbmq_conf_init(c);
}

int vbmq_conf_copy(const struct vbmq_conf *from, struct vbmq_conf *ret)
{
	struct vbmq_conf copy = *from;

	copy.uri = from->uri ? strdup(from->uri) : NULL;
	if (from->uri && !copy.uri)
		return -ENOMEM;
	if (vbmq_policy_copy(&from->policy, &copy.policy) < 0) {
		free(copy.uri);
		return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

/* --- one value ---------------------------------------------------------------------------------------------------- */

static int parse_number(const struct vbmq_conf_entry *e, const char *value, void *field)
{
	switch (e->type) {
	case VBMQ_CONF_MSEC:
		return vbmq_parse_msec(value, (uint64_t)e->min, (uint64_t)e->max, field);
	case VBMQ_CONF_U64:
		return vbmq_parse_u64(value, (uint64_t)e->min, (uint64_t)e->max, field);
	case VBMQ_CONF_AUTO:
		if (strcmp(value, "auto") == 0) {
			*(uint32_t *)field = 0;
			return 0;
		}
		return vbmq_parse_u32(value, (uint32_t)e->min, (uint32_t)e->max, field);
	case VBMQ_CONF_COUNT:
		if (strcmp(value, "auto") == 0) {
			*(int32_t *)field = VBMQ_COUNT_AUTO;
			return 0;
		}
		return vbmq_parse_i32(value, (int32_t)e->min, (int32_t)e->max, field);
	case VBMQ_CONF_I32:
		return vbmq_parse_i32(value, (int32_t)e->min, (int32_t)e->max, field);
	default:
		return vbmq_parse_u32(value, (uint32_t)e->min, (uint32_t)e->max, field);
	}
}

static int parse_uri(const char *value, char **field, struct vbmq_err *cause)
{
	int r = vbmq_conf_check_uri(value, cause);
	char *copy;

	if (r < 0)
		return r;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int parse_cpus(const char *value, struct vbmq_cpuset *field, struct vbmq_err *cause)
{
	struct vbmq_cpuset set;
	int r;

	if (!*value) {
		*field = VBMQ_CPUSET_EMPTY;
		return 0;
	}
	r = vbmq_cpulist_parse(value, strlen(value), 0, &set, cause);
	if (r < 0)
		return r;
	*field = vbmq_cpuset_or(field, &set);
	return 0;
}

static int parse_value(const struct vbmq_conf_entry *e, const char *value, struct vbmq_conf *c, struct vbmq_err *cause)
{
	void *field = (char *)c + e->offset;
	int r;

	switch (e->type) {
	case VBMQ_CONF_URI:
		return parse_uri(value, field, cause);
	case VBMQ_CONF_BOOL:
		return vbmq_parse_bool(value, field);
	case VBMQ_CONF_FLAG:
	case VBMQ_CONF_WORD:
		r = vbmq_parse_word(value, e->words);
		if (r < 0)
			return r;
		if (e->type == VBMQ_CONF_FLAG)
			*(bool *)field = r == 1;
		else
			memcpy(field, &r, sizeof(r)); /* enums are ints: asserted below */
		return 0;
	case VBMQ_CONF_CPUS:
		return parse_cpus(value, field, cause);
	default:
		return parse_number(e, value, field);
	}
}

_Static_assert(sizeof(enum vbmq_exclusive) == sizeof(int) && sizeof(enum vbmq_poll) == sizeof(int) &&
		       sizeof(enum vbmq_vcpus) == sizeof(int) && sizeof(enum vbmq_drift) == sizeof(int),
	       "words are stored as int");

/* --- a file ------------------------------------------------------------------------------------------------------- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static bool is_section(const char *name, size_t len)
{
	for (size_t i = 0; i < vbmq_conf_n_entries; i++) {
		const char *section = vbmq_conf_entries[i].key.section;

		if (strlen(section) == len && memcmp(section, name, len) == 0)
			return true;
	}
	return false;
}

/* inih says nothing about sections without keys and ignores what follows the bracket. */
static void check_section(struct parser *p, const char *line)
{
	const char *stop = strchr(line, ']'), *rest;

	if (!stop)
		return; /* inih's to refuse */
	rest = stop + 1;
	while (is_space(*rest))
		rest++;
	if (!is_section(line + 1, (size_t)(stop - line - 1)))
		p->code = vbmq_err_set(p->err, -EINVAL,
				       "%s:%u: section %.*s is not known, only [daemon] and [policy] are", p->name,
				       p->line, (int)(stop - line + 1), line);
	else if (*rest && *rest != ';')
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
	if (len > VBMQ_CONF_LINE_MAX || size <= 0 || len >= (size_t)size) {
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: the line has %zu bytes, at most %u are allowed",
				       p->name, p->line, len, VBMQ_CONF_LINE_MAX);
		return NULL;
	}
	memcpy(buf, start, len);
	buf[len] = '\0';
	if (buf[0] == '[')
		check_section(p, buf);
	return p->code == 0 ? buf : NULL;
}

static const struct vbmq_conf_entry *find_key(struct parser *p, const char *section, const char *name)
{
	for (size_t i = 0; i < vbmq_conf_n_entries; i++) {
		const struct vbmq_conf_key *key = &vbmq_conf_entries[i].key;

		if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
			return &vbmq_conf_entries[i];
	}
	if (!*section)
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: '%s' stands before any section ([daemon] or [policy])",
				       p->name, p->line, name);
	else
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: there is no key '%s' in [%s]", p->name, p->line, name,
				       section);
	return NULL;
}

/* inih: 1 goes on. */
static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct vbmq_err cause = VBMQ_ERR_INIT;
	const struct vbmq_conf_entry *e;
	struct parser *p = user;
	size_t index;
	int r;

	if (p->code < 0)
		return 0;
	e = find_key(p, section, name);
	if (!e)
		return 0;
	index = (size_t)(e - vbmq_conf_entries);
	if (p->seen[index] && e->type != VBMQ_CONF_CPUS) {
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: '%s' is there twice", p->name, p->line, name);
		return 0;
	}
	p->seen[index] = true;
	r = parse_value(e, value, p->conf, &cause);
	if (r == -ENOMEM)
		p->code = vbmq_err_oom(p->err);
	else if (r < 0 && cause.code < 0)
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: %s=%s: %s", p->name, p->line, name, value, cause.text);
	else if (r < 0)
		p->code = vbmq_err_set(p->err, -EINVAL, "%s:%u: %s=%s: allowed is %s", p->name, p->line, name, value,
				       e->key.range);
	return r == 0;
}

_Static_assert(SEEN_MAX >= 32, "one for every key");

int vbmq_conf_parse(const char *name, const char *text, size_t len, struct vbmq_conf *c, struct vbmq_err *err)
{
	struct parser p = { .name = name, .text = text, .end = text + len, .err = err };
	struct vbmq_err first = VBMQ_ERR_INIT;
	struct vbmq_conf copy;
	int r;

	if (len > VBMQ_CONF_MAX)
		return vbmq_err_set(err, -EINVAL, "%s: larger than %u bytes", name, VBMQ_CONF_MAX);
	if (vbmq_conf_copy(c, &copy) < 0)
		return vbmq_err_oom(err);
	p.conf = &copy;
	p.err = &first;
	r = ini_parse_stream(read_line, &p, on_key, &p);
	/* r: the first line that is not INI at all or that on_key() refused; whichever came first counts */
	if (r == -2)
		p.code = vbmq_err_oom(&first);
	else if (r > 0 && (p.code == 0 || (unsigned)r < p.line))
		p.code = vbmq_err_set(&first, -EINVAL, "%s:%d: neither a [section] nor key=value", name, r);
	if (p.code < 0) {
		vbmq_conf_done(&copy);
		return vbmq_err_set(err, first.code, "%s", first.text);
	}
	vbmq_conf_done(c);
	*c = copy;
	return 0;
}
