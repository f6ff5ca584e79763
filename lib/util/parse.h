/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Strict parsers: the whole text must be the value. No leading or trailing space, no sign, no octal, no locale.
 * All return 0, -EINVAL (not of the form) or -ERANGE (outside min..max), and leave *ret alone on failure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int vbmq_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
int vbmq_parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *ret);
int vbmq_parse_i32(const char *text, int32_t min, int32_t max, int32_t *ret); /* a leading '-' is allowed here */
int vbmq_parse_bool(const char *text, bool *ret); /* yes|no|on|off|true|false|1|0 */

/* Duration such as "250ms", "5s", "2min", "1h"; a bare number is seconds. Result in milliseconds. */
int vbmq_parse_msec(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* Canonical lower-case UUID text (8-4-4-4-12); ret has room for 37 bytes. Accepts upper case and missing dashes. */
int vbmq_parse_uuid(const char *text, char ret[37]);

/* Exact match against a NULL-terminated list of words; returns the index or -EINVAL. */
int vbmq_parse_word(const char *text, const char *const *words);
