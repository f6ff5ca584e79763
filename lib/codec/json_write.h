/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Building JSON documents; for the json_*.c files of this directory only. The first error is latched in the writer and
 * nothing is done from then on; all calls accept NULL objects, so that a document is built in a straight line and looked
 * at once, in vbmq_json_print().
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/diag.h"
#include "core/domain.h"
#include "util/cpuset.h"

struct vbmq_err;

struct vbmq_json_writer {
	struct vbmq_err *err;
	int code;
};

enum vbmq_json_style {
	VBMQ_JSON_CANONICAL, /* keys sorted, no white space */
	VBMQ_JSON_CANONICAL_PRETTY, /* keys sorted, indented by two */
	VBMQ_JSON_COMPACT, /* keys in the order they were put */
	VBMQ_JSON_PRETTY,
};

json_t *vbmq_json_new_object(struct vbmq_json_writer *w);
json_t *vbmq_json_new_array(struct vbmq_json_writer *w);
void vbmq_json_put(struct vbmq_json_writer *w, json_t *o, const char *key, json_t *value); /* takes value over */
void vbmq_json_append(struct vbmq_json_writer *w, json_t *a, json_t *value); /* the same */

void vbmq_json_put_int(struct vbmq_json_writer *w, json_t *o, const char *key, int64_t value);
void vbmq_json_put_u64(struct vbmq_json_writer *w, json_t *o, const char *key,
		       uint64_t value); /* above INT64_MAX: -ERANGE */
void vbmq_json_put_bool(struct vbmq_json_writer *w, json_t *o, const char *key, bool value);
void vbmq_json_put_true(struct vbmq_json_writer *w, json_t *o, const char *key, bool value); /* left out when false */
void vbmq_json_put_text(struct vbmq_json_writer *w, json_t *o, const char *key,
			const char *text); /* not UTF-8: -EILSEQ */
/* Text for people (causes, diagnostics), which may be cut in the midst of a character: bad bytes become '?'. */
void vbmq_json_put_prose(struct vbmq_json_writer *w, json_t *o, const char *key, const char *text);
void vbmq_json_put_cpus(struct vbmq_json_writer *w, json_t *o, const char *key, const struct vbmq_cpuset *set);
void vbmq_json_put_polling(struct vbmq_json_writer *w, json_t *o, const char *key, const struct vbmq_polling *p);
void vbmq_json_put_diags(struct vbmq_json_writer *w, json_t *o, const char *key, const struct vbmq_diags *d);

/* Text of the document, newline at the end when pretty. Drops root in any case. max 0: no limit, otherwise -EFBIG above.
 * Caller frees *ret. */
int vbmq_json_print(struct vbmq_json_writer *w, json_t *root, enum vbmq_json_style style, size_t max, char **ret);
