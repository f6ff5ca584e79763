/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Errors that a user will read.
 *
 * Every function that can fail returns 0 (or a non-negative result it documents) on success and a negative errno on
 * failure. Where the caller shows the cause to a person, the function also takes a struct vbmq_err *. The contract:
 *   - err is set if and only if the call failed, and left untouched on success;
 *   - err may always be NULL;
 *   - err->code equals the returned value;
 *   - err->text is one sentence without a final newline that names the thing, the cause and, where there is one, the
 *     way out. Context is added on the way up with vbmq_err_prefix("%s: ", file).
 * Trouble with a wish (policy) is not an error but a diagnostic in the plan: see core/diag.h.
 */

#define VBMQ_ERR_TEXT_MAX 1024

struct vbmq_err {
	int code; /* negative errno; 0 while unset */
	char text[VBMQ_ERR_TEXT_MAX]; /* NUL-terminated, cut with "..." when too long; control characters become '?' */
};

#define VBMQ_ERR_INIT ((struct vbmq_err){ .code = 0 })

/* Sets err (may be NULL) and returns code, which must be negative. */
int vbmq_err_set(struct vbmq_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts text in front of an err that is already set; no effect on NULL or an unset one. Returns err->code (or 0). */
int vbmq_err_prefix(struct vbmq_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "out of memory", -ENOMEM. */
int vbmq_err_oom(struct vbmq_err *err);
