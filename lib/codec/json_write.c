/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "codec/json_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

static void latch(struct vbmq_json_writer *w, int code)
{
	if (w->code == 0)
		w->code = code;
}

static void latch_oom(struct vbmq_json_writer *w)
{
	if (w->code == 0)
		latch(w, vbmq_err_oom(w->err));
}

json_t *vbmq_json_new_object(struct vbmq_json_writer *w)
{
	json_t *o = w->code == 0 ? json_object() : NULL;

	if (!o)
		latch_oom(w);
	return o;
}

json_t *vbmq_json_new_array(struct vbmq_json_writer *w)
{
	json_t *a = w->code == 0 ? json_array() : NULL;

	if (!a)
		latch_oom(w);
	return a;
}

void vbmq_json_put(struct vbmq_json_writer *w, json_t *o, const char *key, json_t *value)
{
	if (json_object_set_new_nocheck(o, key, value) < 0) /* drops value when it fails, takes NULL */
		latch_oom(w);
}

void vbmq_json_append(struct vbmq_json_writer *w, json_t *a, json_t *value)
{
	if (json_array_append_new(a, value) < 0)
		latch_oom(w);
}

void vbmq_json_put_int(struct vbmq_json_writer *w, json_t *o, const char *key, int64_t value)
{
	vbmq_json_put(w, o, key, json_integer(value));
}

void vbmq_json_put_u64(struct vbmq_json_writer *w, json_t *o, const char *key, uint64_t value)
{
	if (value <= INT64_MAX)
		vbmq_json_put(w, o, key, json_integer((json_int_t)value));
	else if (w->code == 0)
		latch(w, vbmq_err_set(w->err, -ERANGE, "%s: %llu does not fit a document, at most 2^63 - 1 does", key,
				      (unsigned long long)value));
}

void vbmq_json_put_bool(struct vbmq_json_writer *w, json_t *o, const char *key, bool value)
{
	vbmq_json_put(w, o, key, json_boolean(value));
}

void vbmq_json_put_true(struct vbmq_json_writer *w, json_t *o, const char *key, bool value)
{
	if (value)
		vbmq_json_put(w, o, key, json_true());
}

/* Bytes of the character at text (NUL-terminated), 0 if it is not UTF-8 (RFC 3629: no surrogates, no long forms). */
static size_t utf8_length(const char *text)
{
	const unsigned char *t = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (t[0] < 0x80)
		return 1;
	if (t[0] >= 0xc2 && t[0] <= 0xdf)
		n = 2;
	else if (t[0] >= 0xe0 && t[0] <= 0xef)
		n = 3;
	else if (t[0] >= 0xf0 && t[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (t[0] == 0xe0)
		low = 0xa0;
	else if (t[0] == 0xed)
		high = 0x9f;
	else if (t[0] == 0xf0)
		low = 0x90;
	else if (t[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < n; i++) {
		if (t[i] < low || t[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return n;
}

static bool is_utf8(const char *text)
{
	while (*text) {
		size_t n = utf8_length(text);

		if (n == 0)
			return false;
		text += n;
	}
	return true;
}

void vbmq_json_put_text(struct vbmq_json_writer *w, json_t *o, const char *key, const char *text)
{
	if (is_utf8(text))
		vbmq_json_put(w, o, key, json_string_nocheck(text));
	else if (w->code == 0)
		latch(w, vbmq_err_set(w->err, -EILSEQ, "%s: \"%.80s\" is not UTF-8", key, text));
}

void vbmq_json_put_prose(struct vbmq_json_writer *w, json_t *o, const char *key, const char *text)
{
	_cleanup_free_ char *copy = NULL;

	if (is_utf8(text)) {
		vbmq_json_put(w, o, key, json_string_nocheck(text));
		return;
	}
	copy = strdup(text);
	if (!copy) {
		latch_oom(w);
		return;
	}
	for (char *t = copy; *t;) {
		size_t n = utf8_length(t);

		if (n == 0)
			*t = '?';
		t += n > 0 ? n : 1;
	}
	vbmq_json_put(w, o, key, json_string_nocheck(copy));
}

void vbmq_json_put_cpus(struct vbmq_json_writer *w, json_t *o, const char *key, const struct vbmq_cpuset *set)
{
	_cleanup_free_ char *text = w->code == 0 ? vbmq_cpulist_format(set) : NULL;

	vbmq_json_put(w, o, key, text ? json_string_nocheck(text) : NULL);
}

void vbmq_json_put_polling(struct vbmq_json_writer *w, json_t *o, const char *key, const struct vbmq_polling *p)
{
	json_t *polling = vbmq_json_new_object(w);

	vbmq_json_put_u64(w, polling, "max_ns", p->max_ns);
	vbmq_json_put_int(w, polling, "grow", p->grow);
	vbmq_json_put_int(w, polling, "shrink", p->shrink);
	if (p->mode != VBMQ_POLL_UNSAID)
		vbmq_json_put_text(w, polling, "mode", vbmq_poll_words[p->mode]);
	vbmq_json_put(w, o, key, polling);
}

void vbmq_json_put_diags(struct vbmq_json_writer *w, json_t *o, const char *key, const struct vbmq_diags *d)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < d->n && w->code == 0; i++) {
		json_t *item = vbmq_json_new_object(w);

		vbmq_json_put_text(w, item, "code", d->items[i].code);
		vbmq_json_put_text(w, item, "severity", vbmq_severity_words[d->items[i].severity]);
		vbmq_json_put_prose(w, item, "subject", d->items[i].subject);
		vbmq_json_put_prose(w, item, "text", d->items[i].text);
		vbmq_json_append(w, list, item);
	}
	vbmq_json_put(w, o, key, list);
}

int vbmq_json_print(struct vbmq_json_writer *w, json_t *root, enum vbmq_json_style style, size_t max, char **ret)
{
	const bool pretty = style == VBMQ_JSON_PRETTY || style == VBMQ_JSON_CANONICAL_PRETTY;
	const bool sorted = style == VBMQ_JSON_CANONICAL || style == VBMQ_JSON_CANONICAL_PRETTY;
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	char *text;

	text = w->code == 0 ? json_dumps(root, (pretty ? JSON_INDENT(2) : JSON_COMPACT) | (sorted ? JSON_SORT_KEYS : 0))
			    : NULL;
	json_decref(root);
	if (!text) {
		latch_oom(w);
		return w->code;
	}
	if (max > 0 && strlen(text) >= max) {
		free(text);
		latch(w, vbmq_err_set(w->err, -EFBIG, "the document would be larger than %zu bytes", max));
		return w->code;
	}
	if (pretty) {
		vbmq_strbuf_add(&b, text);
		vbmq_strbuf_add(&b, "\n");
		free(text);
		text = vbmq_strbuf_steal(&b);
		if (!text) {
			vbmq_strbuf_done(&b);
			latch_oom(w);
			return w->code;
		}
	}
	*ret = text;
	return 0;
}
