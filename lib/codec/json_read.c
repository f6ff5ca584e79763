/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. jansson does the grammar, UTF-8 and duplicate keys; what is ours is the strictness on top: each
 * object is read by asking for its keys by name, and vbmq_json_end() refuses whatever was not asked for. So the list of
 * allowed keys can never differ from the keys that are read.
 *
 * jansson needs up to some 250 bytes for a value that takes three bytes of text, and it recurses. A document is therefore
 * scanned once before it is parsed: depth and number of values are bounded, with line and column of the place.
 */

#include "codec/json_read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"
#include "util/setref.h"

#define PATH_TEXT_MAX 256u

static void latch(struct vbmq_json_reader *r, int code)
{
	if (r->code == 0)
		r->code = code;
}

void vbmq_json_oom(struct vbmq_json_reader *r)
{
	if (r->code == 0)
		latch(r, vbmq_err_oom(r->err));
}

/* Depth and number of values, before anything is allocated. Grammar is not checked: jansson does that. */
static int scan(struct vbmq_json_reader *r, const char *text, size_t len)
{
	size_t depth = 0, values = 1, line = 1, line_start = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		const char c = text[i];

		if (c == '\n') {
			line++;
			line_start = i + 1;
		}
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"')
			in_string = true;
		else if (c == '[' || c == '{')
			depth++, values++;
		else if ((c == ']' || c == '}') && depth > 0)
			depth--;
		else if (c == ',')
			values++;
		if (depth > VBMQ_JSON_DEPTH_MAX || values > VBMQ_JSON_VALUES_MAX) {
			latch(r,
			      vbmq_err_set(r->err, -EINVAL, "%s:%zu:%zu: %s %u", r->name, line, i - line_start + 1,
					   depth > VBMQ_JSON_DEPTH_MAX ? "nested deeper than" : "more values than",
					   depth > VBMQ_JSON_DEPTH_MAX ? VBMQ_JSON_DEPTH_MAX : VBMQ_JSON_VALUES_MAX));
			return r->code;
		}
	}
	return 0;
}

int vbmq_json_load(struct vbmq_json_reader *r, const char *text, size_t len, size_t max, json_t **ret)
{
	json_error_t e;
	json_t *root;

	if (len > max) {
		latch(r, vbmq_err_set(r->err, -EFBIG, "%s: larger than %zu bytes", r->name, max));
		return r->code;
	}
	if (scan(r, text, len) < 0)
		return r->code;
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!root) {
		if (e.text[0] == '\0' || json_error_code(&e) == json_error_out_of_memory) /* often without a word */
			latch(r, vbmq_err_oom(r->err));
		else
			latch(r, vbmq_err_set(r->err, -EINVAL, "%s:%d:%d: %s", r->name, e.line, e.column, e.text));
		return r->code;
	}
	if (!json_is_object(root)) {
		latch(r, vbmq_err_set(r->err, -EINVAL, "%s: the document is not an object", r->name));
		json_decref(root);
		return r->code;
	}
	*ret = root;
	return 0;
}

struct vbmq_json vbmq_json_root(struct vbmq_json_reader *reader, const json_t *value, const char *key)
{
	return (struct vbmq_json){ .reader = reader, .value = reader->code == 0 ? value : NULL, .key = key };
}

/* Writes the path into buf; returns the bytes used. Paths that do not fit are cut: there are none that long. */
static size_t path_text(const struct vbmq_json *v, char *buf, size_t size)
{
	size_t used = v->up ? path_text(v->up, buf, size) : 0;
	int n;

	if (v->key)
		n = snprintf(buf + used, size - used, "%s%s", used > 0 ? "." : "", v->key);
	else if (v->up)
		n = snprintf(buf + used, size - used, "[%zu]", v->index);
	else
		return used;
	if (n < 0)
		return used;
	return (size_t)n < size - used ? used + (size_t)n : size - 1;
}

void vbmq_json_fail(const struct vbmq_json *v, int code, const char *fmt, ...)
{
	struct vbmq_json_reader *r = v->reader;
	char path[PATH_TEXT_MAX] = "", cause[VBMQ_ERR_TEXT_MAX];
	va_list ap;

	if (r->code < 0)
		return;
	va_start(ap, fmt);
	if (vsnprintf(cause, sizeof(cause), fmt, ap) < 0)
		cause[0] = '\0';
	va_end(ap);
	path_text(v, path, sizeof(path));
	latch(r, vbmq_err_set(r->err, code, "%s%s%s%s%s", r->name ? r->name : "", r->name ? ": " : "", path,
			      path[0] ? ": " : "", cause));
}

static const char *type_name(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number with a fraction or exponent";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		return "null";
	}
	return "of an unknown type";
}

/* True if v is there and of the type; false without an error if it is absent. */
static bool is_type(const struct vbmq_json *v, bool ok, const char *wanted)
{
	if (!v->value || v->reader->code < 0)
		return false;
	if (!ok)
		vbmq_json_fail(v, -EINVAL, "is %s, not %s", type_name(v->value), wanted);
	return ok;
}

static struct vbmq_json member(struct vbmq_json *o, const char *key, bool required)
{
	struct vbmq_json m = { .reader = o->reader, .up = o, .key = key };

	if (!is_type(o, json_is_object(o->value), "an object"))
		return m;
	if (o->n_known < VBMQ_JSON_KEYS_MAX)
		o->known[o->n_known++] = key;
	m.value = json_object_get(o->value, key);
	if (!m.value && required)
		vbmq_json_fail(o, -EINVAL, "key \"%s\" is missing", key);
	return m;
}

struct vbmq_json vbmq_json_need(struct vbmq_json *o, const char *key)
{
	return member(o, key, true);
}

struct vbmq_json vbmq_json_opt(struct vbmq_json *o, const char *key)
{
	return member(o, key, false);
}

void vbmq_json_end(const struct vbmq_json *o)
{
	const char *key;
	json_t *value, *object = (json_t *)(uintptr_t)o->value; /* jansson's iterators are not const-correct */

	if (!is_type(o, json_is_object(o->value), "an object"))
		return;
	json_object_foreach(object, key, value)
	{
		size_t i = 0;

		while (i < o->n_known && strcmp(o->known[i], key) != 0)
			i++;
		if (i == o->n_known) {
			vbmq_json_fail(o, -EINVAL, "unknown key \"%s\"", key);
			return;
		}
	}
}

size_t vbmq_json_array(const struct vbmq_json *a, size_t min, size_t max)
{
	size_t n;

	if (!is_type(a, json_is_array(a->value), "an array"))
		return 0;
	n = json_array_size(a->value);
	if (n >= min && n <= max)
		return n;
	if (n < min)
		vbmq_json_fail(a, -EINVAL, "has %zu elements, at least %zu must be there", n, min);
	else
		vbmq_json_fail(a, -EINVAL, "has %zu elements, at most %zu are allowed", n, max);
	return 0;
}

struct vbmq_json vbmq_json_item(const struct vbmq_json *a, size_t index)
{
	return (struct vbmq_json){ .reader = a->reader,
				   .up = a,
				   .index = index,
				   .value = a->reader->code == 0 ? json_array_get(a->value, index) : NULL };
}

int64_t vbmq_json_int(const struct vbmq_json *v, int64_t min, int64_t max, int64_t fallback)
{
	int64_t n;

	if (!is_type(v, json_is_integer(v->value), "an integer"))
		return fallback;
	n = json_integer_value(v->value);
	if (n >= min && n <= max)
		return n;
	vbmq_json_fail(v, -EINVAL, "%lld is outside %lld..%lld", (long long)n, (long long)min, (long long)max);
	return fallback;
}

const char *vbmq_json_text(const struct vbmq_json *v, size_t min, size_t max)
{
	size_t n;

	if (!is_type(v, json_is_string(v->value), "a string"))
		return NULL;
	n = json_string_length(v->value);
	if (n >= min && n <= max)
		return json_string_value(v->value);
	if (n < min)
		vbmq_json_fail(v, -EINVAL, "is empty");
	else
		vbmq_json_fail(v, -EINVAL, "is %zu bytes long, at most %zu are allowed", n, max);
	return NULL;
}

char *vbmq_json_dup(const struct vbmq_json *v, size_t min, size_t max)
{
	const char *text = vbmq_json_text(v, min, max);
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		vbmq_json_oom(v->reader);
	return copy;
}

int vbmq_json_word(const struct vbmq_json *v, const char *const *words, int fallback)
{
	const char *text = vbmq_json_text(v, 0, SIZE_MAX);
	char all[PATH_TEXT_MAX] = "";
	size_t used = 0;
	int i;

	if (!text)
		return fallback;
	i = vbmq_parse_word(text, words);
	if (i >= 0)
		return i;
	for (size_t w = 0; words[w] && used < sizeof(all) - 1; w++) {
		int n = snprintf(all + used, sizeof(all) - used, "%s%s", w > 0 ? ", " : "", words[w]);

		used += n > 0 ? (size_t)n : 0;
	}
	vbmq_json_fail(v, -EINVAL, "\"%.40s\" is none of: %s", text, all);
	return fallback;
}

void vbmq_json_cpus(const struct vbmq_json *v, bool may_be_empty, struct vbmq_cpuset *ret)
{
	const char *text = vbmq_json_text(v, may_be_empty ? 0 : 1, VBMQ_CPULIST_TEXT_MAX);
	struct vbmq_err cause = VBMQ_ERR_INIT;
	struct vbmq_cpuset set;

	if (!text)
		return;
	if (vbmq_cpulist_parse(text, strlen(text), 0, &set, &cause) < 0)
		vbmq_json_fail(v, -EINVAL, "%s", cause.text);
	else if (!may_be_empty && vbmq_cpuset_is_empty(&set))
		vbmq_json_fail(v, -EINVAL, "is an empty list");
	else
		*ret = set;
}

void vbmq_json_polling(struct vbmq_json *v, struct vbmq_polling *ret)
{
	struct vbmq_polling p;
	struct vbmq_json mode;

	p.max_ns = (uint64_t)vbmq_json_need_int(v, "max_ns", 0, INT64_MAX);
	p.grow = (uint32_t)vbmq_json_need_int(v, "grow", 0, UINT32_MAX);
	p.shrink = (uint32_t)vbmq_json_need_int(v, "shrink", 0, UINT32_MAX);
	mode = vbmq_json_opt(v, "mode");
	p.mode = (enum vbmq_poll)vbmq_json_word(&mode, vbmq_poll_words, VBMQ_POLL_UNSAID);
	vbmq_json_end(v);
	if (v->reader->code == 0)
		*ret = p;
}

/* --- members in one go ------------------------------------------------------------------------------------------------ */

int64_t vbmq_json_need_int(struct vbmq_json *o, const char *key, int64_t min, int64_t max)
{
	struct vbmq_json v = member(o, key, true);

	return vbmq_json_int(&v, min, max, min);
}

int64_t vbmq_json_opt_int(struct vbmq_json *o, const char *key, int64_t min, int64_t max, int64_t fallback)
{
	struct vbmq_json v = member(o, key, false);

	return vbmq_json_int(&v, min, max, fallback);
}

static bool get_bool(const struct vbmq_json *v, bool fallback)
{
	return is_type(v, json_is_boolean(v->value), "a boolean") ? json_is_true(v->value) : fallback;
}

bool vbmq_json_need_bool(struct vbmq_json *o, const char *key)
{
	struct vbmq_json v = member(o, key, true);

	return get_bool(&v, false);
}

bool vbmq_json_opt_bool(struct vbmq_json *o, const char *key, bool fallback)
{
	struct vbmq_json v = member(o, key, false);

	return get_bool(&v, fallback);
}

char *vbmq_json_need_dup(struct vbmq_json *o, const char *key, size_t min, size_t max)
{
	struct vbmq_json v = member(o, key, true);

	return vbmq_json_dup(&v, min, max);
}

char *vbmq_json_opt_dup(struct vbmq_json *o, const char *key, size_t min, size_t max)
{
	struct vbmq_json v = member(o, key, false);

	return vbmq_json_dup(&v, min, max);
}

int vbmq_json_need_word(struct vbmq_json *o, const char *key, const char *const *words)
{
	struct vbmq_json v = member(o, key, true);

	return vbmq_json_word(&v, words, 0);
}

void vbmq_json_need_cpus(struct vbmq_json *o, const char *key, bool may_be_empty, struct vbmq_cpuset *ret)
{
	struct vbmq_json v = member(o, key, true);

	vbmq_json_cpus(&v, may_be_empty, ret);
}

const struct vbmq_cpuset *vbmq_json_need_setref(struct vbmq_json *o, const char *key, bool may_be_empty)
{
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	const struct vbmq_cpuset *ref;

	vbmq_json_need_cpus(o, key, may_be_empty, &cpus);
	ref = vbmq_setref_new(&cpus);
	if (!ref)
		vbmq_json_oom(o->reader);
	return ref;
}

bool vbmq_json_opt_cpus(struct vbmq_json *o, const char *key, bool may_be_empty, struct vbmq_cpuset *ret)
{
	struct vbmq_json v = member(o, key, false);

	vbmq_json_cpus(&v, may_be_empty, ret);
	return v.value != NULL;
}

void vbmq_json_need_uuid(struct vbmq_json *o, const char *key, char ret[37])
{
	struct vbmq_json v = member(o, key, true);
	const char *text = vbmq_json_text(&v, 0, SIZE_MAX);
	char uuid[37];

	if (!text)
		return;
	if (vbmq_parse_uuid(text, uuid) < 0 || strcmp(text, uuid) != 0)
		vbmq_json_fail(&v, -EINVAL, "\"%.40s\" is not a UUID in lower case (8-4-4-4-12)", text);
	else
		memcpy(ret, uuid, sizeof(uuid));
}

void vbmq_json_need_target(struct vbmq_json *o, const char *key, char ret[VBMQ_TARGET_MAX + 1])
{
	struct vbmq_json v = member(o, key, true);
	const char *text = vbmq_json_text(&v, 1, VBMQ_TARGET_MAX);

	if (text)
		memcpy(ret, text, strlen(text) + 1);
}

void vbmq_json_need_schema(struct vbmq_json *o, const char *schema)
{
	struct vbmq_json v = member(o, "schema", true);
	const char *text = vbmq_json_text(&v, 0, SIZE_MAX);

	if (text && strcmp(text, schema) != 0)
		vbmq_json_fail(&v, -EINVAL, "\"%.40s\" where \"%s\" is expected", text, schema);
}
