/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * hwloc says of bad XML that it is bad and no more, and it trusts its input in size: it recurses an object a stack frame
 * deep and makes bitmaps as long as the greatest number in them. So the bytes are looked over first, tag by tag, without
 * building anything: the root element (people hand in domain XML by mistake), depth and number of elements, and
 * the os_index of CPUs and nodes. This is no XML parser, and cannot be fooled into one: whatever it misreads
 * is either refused here or judged by hwloc; comments and declarations are stepped over, CDATA and entity declarations,
 * which lstopo never writes, are refused.
 */
#include "host/topology_xml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/host.h"
#include "util/err.h"
#include "util/parse.h"

#define DEPTH_MAX 128 /* the deepest real machine has some 20 levels */
#define ELEMENTS_MAX 2000000u
#define NAME_MAX_BYTES 64u

struct scan {
	const char *at, *end;
	const char *begin;
	int depth;
	size_t n_elements;
	struct vbmq_err *err;
};

static unsigned line_of(const struct scan *s, const char *at)
{
	unsigned line = 1;

	for (const char *c = s->begin; c < at; c++)
		line += *c == '\n';
	return line;
}

static bool starts(const struct scan *s, const char *what)
{
	size_t n = strlen(what);

	return (size_t)(s->end - s->at) >= n && memcmp(s->at, what, n) == 0;
}

/* Steps behind the next occurrence of what; false when there is none. */
static bool skip_to(struct scan *s, const char *what)
{
	size_t n = strlen(what);
	const char *found = memmem(s->at, (size_t)(s->end - s->at), what, n);

	if (!found)
		return false;
	s->at = found + n;
	return true;
}

static size_t name_length(const char *at, const char *end)
{
	const char *c = at;

	while (c < end && *c != '>' && *c != '/' && *c != ' ' && *c != '\t' && *c != '\n' && *c != '\r')
		c++;
	return (size_t)(c - at);
}

/* Where the tag that starts at s->at ends ('>' outside quotes), or NULL. */
static const char *tag_end(const struct scan *s)
{
	char quote = 0;

	for (const char *c = s->at; c < s->end; c++) {
		if (quote)
			quote = *c == quote ? 0 : quote;
		else if (*c == '"' || *c == '\'')
			quote = *c;
		else if (*c == '>')
			return c;
	}
	return NULL;
}

/* Value of an attribute inside a tag, into value (size bytes); false: not there or too long to be a number. */
static bool attribute(const char *tag, const char *end, const char *key, char *value, size_t size)
{
	size_t key_len = strlen(key);

	for (const char *c = tag; c < end; c++) {
		const char *start, *stop;

		if (*c == '"' || *c == '\'') { /* over a quoted value */
			c = memchr(c + 1, *c, (size_t)(end - c - 1));
			if (!c)
				return false;
			continue;
		}
		if ((size_t)(end - c) <= key_len || memcmp(c, key, key_len) != 0 || c == tag ||
		    (c[-1] != ' ' && c[-1] != '\n' && c[-1] != '\t' && c[-1] != '\r'))
			continue;
		start = c + key_len;
		start += strspn(start, " \t\r\n");
		if (start >= end || *start != '=')
			continue;
		start++;
		start += strspn(start, " \t\r\n");
		if (start >= end || (*start != '"' && *start != '\''))
			return false;
		stop = memchr(start + 1, *start, (size_t)(end - start - 1));
		if (!stop || (size_t)(stop - start - 1) >= size)
			return false;
		memcpy(value, start + 1, (size_t)(stop - start - 1));
		value[stop - start - 1] = '\0';
		return true;
	}
	return false;
}

/* <object type="PU" os_index="N" ...>: is N a number we can hold? */
static int check_object(const struct scan *s, const char *end)
{
	char type[32], index[32];
	uint32_t max, number;
	bool is_cpu;

	if (!attribute(s->at, end, "type", type, sizeof(type)))
		return 0;
	is_cpu = strcmp(type, "PU") == 0;
	if (!is_cpu && strcmp(type, "NUMANode") != 0)
		return 0;
	max = (is_cpu ? VBMQ_CPUS_MAX : VBMQ_NODES_MAX) - 1;
	if (!attribute(s->at, end, "os_index", index, sizeof(index)))
		return vbmq_err_set(s->err, -EINVAL, "line %u: %s has no number (os_index)", line_of(s, s->at),
				    is_cpu ? "a CPU" : "a NUMA node");
	if (vbmq_parse_u32(index, 0, max, &number) < 0)
		return vbmq_err_set(s->err, -ERANGE, "line %u: %s number '%s' is not in 0..%u", line_of(s, s->at),
				    is_cpu ? "CPU" : "NUMA node", index, max);
	return 0;
}

/* The first element says what the document is. */
static int check_root(const struct scan *s, const char *name, size_t n)
{
	if (n == 8 && memcmp(name, "topology", n) == 0)
		return 0;
	if (n == 6 && memcmp(name, "domain", n) == 0)
		return vbmq_err_set(
			s->err, -EINVAL,
			"this is the XML of a libvirt domain, not of a host; give it with --domain, and as host an "
			"lstopo XML file ('lstopo host.xml') or 'synthetic:node:2 core:4 pu:2'");
	if (n == 12 && memcmp(name, "capabilities", n) == 0)
		return vbmq_err_set(
			s->err, -EINVAL,
			"this is 'virsh capabilities', which lacks caches; write the host's description with 'lstopo "
			"host.xml'");
	return vbmq_err_set(
		s->err, -EINVAL,
		"the document is <%.*s>, not <topology>; write the host's description with 'lstopo host.xml'",
		(int)(n < NAME_MAX_BYTES ? n : NAME_MAX_BYTES), name);
}

/* One start tag at s->at ("<name ..."), not consumed; end at its '>'. */
static int check_tag(struct scan *s, const char *end)
{
	const char *name = s->at + 1;
	size_t n = name_length(name, end);
	int r = 0;

	if (n == 0)
		return vbmq_err_set(s->err, -EINVAL, "line %u: '<' without a name", line_of(s, s->at));
	if (s->n_elements++ == 0)
		r = check_root(s, name, n);
	else if (s->depth == 0)
		return vbmq_err_set(s->err, -EINVAL, "line %u: something follows the end of the document",
				    line_of(s, s->at));
	if (r < 0)
		return r;
	if (s->n_elements > ELEMENTS_MAX)
		return vbmq_err_set(s->err, -ERANGE, "more than %u elements", ELEMENTS_MAX);
	if (n == 6 && memcmp(name, "object", n) == 0) {
		r = check_object(s, end);
		if (r < 0)
			return r;
	}
	if (end[-1] != '/' && ++s->depth > DEPTH_MAX)
		return vbmq_err_set(s->err, -ERANGE, "line %u: elements nested more than %d deep", line_of(s, s->at),
				    DEPTH_MAX);
	return 0;
}

/* At '<': steps over one piece of markup. */
static int step(struct scan *s)
{
	const char *start = s->at, *end;
	int r = 0;

	if (starts(s, "<?"))
		return skip_to(s, "?>")
			       ? 0
			       : vbmq_err_set(s->err, -EINVAL, "line %u: '<?' is not closed", line_of(s, start));
	if (starts(s, "<!--"))
		return skip_to(s, "-->")
			       ? 0
			       : vbmq_err_set(s->err, -EINVAL, "line %u: a comment is not closed", line_of(s, start));
	end = tag_end(s);
	if (!end)
		return vbmq_err_set(s->err, -EINVAL, "line %u: a tag is not closed; is the file cut off?",
				    line_of(s, start));
	if (starts(s, "<!")) {
		if (!starts(s, "<!DOCTYPE") || memchr(start, '[', (size_t)(end - start)))
			return vbmq_err_set(s->err, -EINVAL, "line %u: declarations and CDATA are not accepted",
					    line_of(s, start));
	} else if (starts(s, "</")) {
		if (--s->depth < 0)
			return vbmq_err_set(s->err, -EINVAL, "line %u: an end tag without a start", line_of(s, start));
	} else {
		r = check_tag(s, end);
	}
	s->at = end + 1;
	return r;
}

int vbmq_topology_xml_check(const char *xml, size_t len, struct vbmq_err *err)
{
	struct scan s = { .at = xml, .begin = xml, .end = xml + len, .err = err };
	const char *next;
	int r;

	if (memchr(xml, '\0', len))
		return vbmq_err_set(err, -EINVAL, "a NUL byte in it: this is no XML text");
	while ((next = memchr(s.at, '<', (size_t)(s.end - s.at)))) {
		s.at = next;
		r = step(&s);
		if (r < 0)
			return r;
	}
	if (s.n_elements == 0)
		return vbmq_err_set(err, -EINVAL,
				    "this is no XML; write the host's description with 'lstopo host.xml', or give "
				    "'synthetic:node:2 core:4 pu:2'");
	if (s.depth != 0)
		return vbmq_err_set(err, -EINVAL, "the file is cut off: %d elements are not closed", s.depth);
	return 0;
}
