/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "util/cpuset.h"

#include <errno.h>

#include "util/err.h"
#include "util/strbuf.h"

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static bool is_clear(const struct vbmq_cpuset *s, unsigned from)
{
	for (unsigned i = from; i < s->n; i++)
		if (s->w[i])
			return false;
	return true;
}

void vbmq_cpuset_add_range(struct vbmq_cpuset *s, unsigned first, unsigned last)
{
	for (unsigned c = first; c <= last && c < VBMQ_CPUS_MAX; c++)
		vbmq_cpuset_add(s, c);
}

bool vbmq_cpuset_is_empty(const struct vbmq_cpuset *s)
{
	return is_clear(s, 0);
}

unsigned vbmq_cpuset_count(const struct vbmq_cpuset *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n; i++)
		n += (unsigned)__builtin_popcountll(s->w[i]);
	return n;
}

int vbmq_cpuset_last(const struct vbmq_cpuset *s)
{
	for (unsigned i = s->n; i-- > 0;)
		if (s->w[i])
			return (int)(i * 64 + 63 - (unsigned)__builtin_clzll(s->w[i]));
	return -1;
}

bool vbmq_cpuset_equal(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b)
{
	unsigned n = least(a->n, b->n);

	if (a == b)
		return true;
	for (unsigned i = 0; i < n; i++)
		if (a->w[i] != b->w[i])
			return false;
	return is_clear(a, n) && is_clear(b, n);
}

bool vbmq_cpuset_intersects(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b)
{
	unsigned n = least(a->n, b->n);

	for (unsigned i = 0; i < n; i++)
		if (a->w[i] & b->w[i])
			return true;
	return false;
}

bool vbmq_cpuset_is_subset(const struct vbmq_cpuset *sub, const struct vbmq_cpuset *super)
{
	unsigned n = least(sub->n, super->n);

	for (unsigned i = 0; i < n; i++)
		if (sub->w[i] & ~super->w[i])
			return false;
	return is_clear(sub, n);
}

uint64_t vbmq_cpuset_hash(const struct vbmq_cpuset *s)
{
	uint64_t hash = 0;

	for (unsigned i = 0; i < s->n; i++)
		if (s->w[i])
			hash = (hash ^ (s->w[i] + i)) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

int vbmq_cpuset_compare(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b)
{
	for (unsigned i = 0; i < a->n || i < b->n; i++) {
		uint64_t x = i < a->n ? a->w[i] : 0, y = i < b->n ? b->w[i] : 0, differ = x ^ y;

		if (differ)
			return (x & (differ & -differ)) ? -1 : 1;
	}
	return 0;
}

struct vbmq_cpuset vbmq_cpuset_or(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b)
{
	const struct vbmq_cpuset *more = a->n > b->n ? a : b;
	struct vbmq_cpuset r;
	unsigned n = least(a->n, b->n), i;

	r.n = more->n;
	for (i = 0; i < n; i++)
		r.w[i] = a->w[i] | b->w[i];
	for (; i < more->n; i++)
		r.w[i] = more->w[i];
	return r;
}

struct vbmq_cpuset vbmq_cpuset_and(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b)
{
	struct vbmq_cpuset r;

	r.n = least(a->n, b->n);
	for (unsigned i = 0; i < r.n; i++)
		r.w[i] = a->w[i] & b->w[i];
	return r;
}

struct vbmq_cpuset vbmq_cpuset_andnot(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b)
{
	struct vbmq_cpuset r;
	unsigned n = least(a->n, b->n), i;

	r.n = a->n;
	for (i = 0; i < n; i++)
		r.w[i] = a->w[i] & ~b->w[i];
	for (; i < a->n; i++)
		r.w[i] = a->w[i];
	return r;
}

void vbmq_cpuset_copy(struct vbmq_cpuset *to, const struct vbmq_cpuset *from)
{
	to->n = from->n;
	for (unsigned i = 0; i < from->n; i++)
		to->w[i] = from->w[i];
}

struct vbmq_cpuset vbmq_cpuset_of(unsigned cpu)
{
	struct vbmq_cpuset r;

	r.n = 0;
	vbmq_cpuset_add(&r, cpu);
	return r;
}

/* --- text ------------------------------------------------------------------------------------------------------------ */

struct list_text {
	const char *text;
	size_t len;
	size_t pos;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int bad(const struct list_text *t, struct vbmq_err *err, const char *cause)
{
	return vbmq_err_set(err, -EINVAL, "CPU list '%.*s%s': %s at position %zu (expected e.g. \"0-3,8\")",
			    t->len > 64 ? 64 : (int)t->len, t->text, t->len > 64 ? "..." : "", cause, t->pos + 1);
}

static int number(struct list_text *t, unsigned *ret, struct vbmq_err *err)
{
	unsigned n = 0;

	if (t->pos == t->len || t->text[t->pos] < '0' || t->text[t->pos] > '9')
		return bad(t, err, "a number is missing");
	while (t->pos < t->len && t->text[t->pos] >= '0' && t->text[t->pos] <= '9') {
		n = n * 10 + (unsigned)(t->text[t->pos] - '0');
		if (n >= VBMQ_CPUS_MAX)
			return vbmq_err_set(err, -ERANGE, "CPU list '%.*s%s': number at position %zu is above %u",
					    t->len > 64 ? 64 : (int)t->len, t->text, t->len > 64 ? "..." : "",
					    t->pos + 1, VBMQ_CPUS_MAX - 1);
		t->pos++;
	}
	*ret = n;
	return 0;
}

static int member(struct list_text *t, unsigned flags, struct vbmq_cpuset *set, struct vbmq_err *err)
{
	unsigned first = 0, last;
	bool exclude = false;
	int r;

	if ((flags & VBMQ_CPULIST_EXCLUDE) && t->pos < t->len && t->text[t->pos] == '^') {
		exclude = true;
		t->pos++;
	}
	r = number(t, &first, err);
	if (r < 0)
		return r;
	last = first;
	if (!exclude && t->pos < t->len && t->text[t->pos] == '-') {
		t->pos++;
		r = number(t, &last, err);
		if (r < 0)
			return r;
		if (last < first)
			return bad(t, err, "the range runs backwards");
	}
	if (exclude)
		vbmq_cpuset_del(set, first);
	else
		vbmq_cpuset_add_range(set, first, last);
	return 0;
}

int vbmq_cpulist_parse(const char *text, size_t len, unsigned flags, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct vbmq_cpuset set = VBMQ_CPUSET_EMPTY;
	struct list_text t = { .text = text, .len = len };
	int r;

	if (len > VBMQ_CPULIST_TEXT_MAX)
		return vbmq_err_set(err, -EINVAL, "CPU list of %zu bytes is longer than %u", len,
				    VBMQ_CPULIST_TEXT_MAX);
	while (t.len && is_space(t.text[t.len - 1]))
		t.len--;
	while (t.len && is_space(t.text[0])) {
		t.text++;
		t.len--;
	}
	while (t.pos < t.len) {
		r = member(&t, flags, &set, err);
		if (r < 0)
			return r;
		if (t.pos == t.len)
			break;
		if (t.text[t.pos] != ',')
			return bad(&t, err, "unexpected character");
		t.pos++;
		if (t.pos == t.len)
			return bad(&t, err, "nothing after the comma");
	}
	*ret = set;
	return 0;
}

char *vbmq_cpulist_format(const struct vbmq_cpuset *s)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	int c = vbmq_cpuset_next(s, 0);

	while (c >= 0) {
		int last = c;

		while (vbmq_cpuset_has(s, (unsigned)last + 1))
			last++;
		vbmq_strbuf_printf(&b, last > c ? "%s%d-%d" : "%s%d", b.len ? "," : "", c, last);
		c = vbmq_cpuset_next(s, (unsigned)last + 1);
	}
	return vbmq_strbuf_steal(&b);
}
