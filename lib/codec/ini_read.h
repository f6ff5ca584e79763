/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Strict reading of INI by inih, for the files of codec that read it; nobody else includes it.
 *
 * Lines are "key = value" (or "key: value") below "[section]"; '#' and ';' start a comment line, " ;" one at the end of a
 * line. White space at both ends of a line means nothing: there are no continuation lines.
 */

#include <stdbool.h>
#include <stddef.h>

struct vbmq_err;

#define VBMQ_INI_LINE_MAX 190u /* bytes between the white space at both ends; inih has 200 for all of it */

/* Both return 0, or a negative errno with err set to the cause; "FILE:LINE: " is put in front of it (not of -ENOMEM). */
struct vbmq_ini_reader {
	int (*section)(void *user, const char *section, unsigned line, struct vbmq_err *err);
	/* section: "" before the first one; cut to 49 bytes by inih */
	int (*key)(void *user, const char *section, const char *key, const char *value, unsigned line,
		   struct vbmq_err *err);
	void *user;
};

/* NUL bytes, lines that are too long, lines that are neither, and whatever the callbacks refuse: the first of them. */
int vbmq_ini_parse(const char *name, const char *text, size_t len, const struct vbmq_ini_reader *reader,
		   struct vbmq_err *err);
