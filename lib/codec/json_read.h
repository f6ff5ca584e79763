/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Strict reading of JSON documents; for the json_*.c files of this directory only. Every value carries the way to it, so
 * that a message can say "s.json: domains[3].threads[0].id: ...". The first error is latched in the reader: from then on
 * all calls return their fallback and change nothing, and the caller looks at reader->code once at the end.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/domain.h"
#include "util/array.h"
#include "util/cpuset.h"

struct vbmq_err;

#define VBMQ_JSON_DEPTH_MAX 32u /* the deepest document of ours has 8 levels */
#define VBMQ_JSON_VALUES_MAX (4u << 20) /* values in one document: bounds the memory that a small text can ask for */
#define VBMQ_JSON_KEYS_MAX 24u /* keys of one object */

struct vbmq_json_reader {
	const char *name; /* of the document, for messages; NULL: none */
	struct vbmq_err *err;
	int code; /* 0, or what the first error was */
};

/* A value in its document. Lives on the stack of the function that reads it; children point to it. */
struct vbmq_json {
	struct vbmq_json_reader *reader;
	const struct vbmq_json *up; /* NULL: the root */
	const char *key; /* NULL: an element of an array (or the root) */
	size_t index;
	const json_t *value; /* NULL: absent, or an error came before */
	const char *known[VBMQ_JSON_KEYS_MAX]; /* keys asked for so far, for vbmq_json_end() */
	size_t n_known;
};

/* Bytes -> tree. Refuses what is larger than max or nested too deeply, has duplicate keys, bytes that are not UTF-8, NUL,
 * or anything after the document. The root must be an object. 0, -EINVAL, -EFBIG or -ENOMEM, also latched in reader. */
int vbmq_json_load(struct vbmq_json_reader *reader, const char *text, size_t len, size_t max, json_t **ret);

struct vbmq_json vbmq_json_root(struct vbmq_json_reader *reader, const json_t *value, const char *key);

/* Latches "NAME: PATH: cause". */
void vbmq_json_fail(const struct vbmq_json *v, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A member of an object (o itself need not be one: that is an error), and the check that no other keys are there. */
struct vbmq_json vbmq_json_need(struct vbmq_json *o, const char *key);
struct vbmq_json vbmq_json_opt(struct vbmq_json *o, const char *key); /* value NULL if absent */
void vbmq_json_end(const struct vbmq_json *o);

/* Number of elements of an array; anything else, or a number outside min..max, is an error and 0. Absent: 0. */
size_t vbmq_json_array(const struct vbmq_json *a, size_t min, size_t max);
struct vbmq_json vbmq_json_item(const struct vbmq_json *a, size_t index);

/* Values. An absent one (value NULL) gives the fallback. */
int64_t vbmq_json_int(const struct vbmq_json *v, int64_t min, int64_t max, int64_t fallback);
const char *vbmq_json_text(const struct vbmq_json *v, size_t min, size_t max); /* bytes; borrowed; or NULL */
char *vbmq_json_dup(const struct vbmq_json *v, size_t min, size_t max); /* owned by the caller; or NULL */
int vbmq_json_word(const struct vbmq_json *v, const char *const *words, int fallback);
void vbmq_json_cpus(const struct vbmq_json *v, bool may_be_empty, struct vbmq_cpuset *ret);
void vbmq_json_polling(struct vbmq_json *v, struct vbmq_polling *ret); /* {"max_ns","grow","shrink","mode"?} */

/* The same for a member of an object in one go. */
int64_t vbmq_json_need_int(struct vbmq_json *o, const char *key, int64_t min, int64_t max);
int64_t vbmq_json_opt_int(struct vbmq_json *o, const char *key, int64_t min, int64_t max, int64_t fallback);
bool vbmq_json_need_bool(struct vbmq_json *o, const char *key);
bool vbmq_json_opt_bool(struct vbmq_json *o, const char *key, bool fallback);
char *vbmq_json_need_dup(struct vbmq_json *o, const char *key, size_t min, size_t max);
char *vbmq_json_opt_dup(struct vbmq_json *o, const char *key, size_t min, size_t max);
int vbmq_json_need_word(struct vbmq_json *o, const char *key, const char *const *words);
void vbmq_json_need_cpus(struct vbmq_json *o, const char *key, bool may_be_empty, struct vbmq_cpuset *ret);
const struct vbmq_cpuset *vbmq_json_need_setref(struct vbmq_json *o, const char *key, bool may_be_empty); /* setref.h */
bool vbmq_json_opt_cpus(struct vbmq_json *o, const char *key, bool may_be_empty,
			struct vbmq_cpuset *ret); /* present? */
void vbmq_json_need_uuid(struct vbmq_json *o, const char *key, char ret[37]);
void vbmq_json_need_target(struct vbmq_json *o, const char *key, char ret[VBMQ_TARGET_MAX + 1]);
void vbmq_json_need_schema(struct vbmq_json *o, const char *schema); /* the member "schema" must be just that */

/* vbmq_array_add() for an array in a model that a document fills; no memory is latched. The caller has checked max. */
#define vbmq_json_add(reader, items, n_items, max)                             \
	({                                                                     \
		__typeof__(items) _item = vbmq_array_add(items, n_items, max); \
		if (!_item)                                                    \
			vbmq_json_oom(reader);                                 \
		_item;                                                         \
	})
void vbmq_json_oom(struct vbmq_json_reader *reader);
