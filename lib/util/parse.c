/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "util/parse.h"

#include <errno.h>
#include <string.h>

int vbmq_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (!*text)
		return -EINVAL;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		/* "007" is refused: somebody might mean octal */
		if (p == text + 1 && *text == '0')
			return -EINVAL;
	}
	for (const char *p = text; *p; p++)
		if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return -ERANGE;
	if (n < min || n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

int vbmq_parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
	uint64_t n;
	int r = vbmq_parse_u64(text, min, max, &n);

	if (r == 0)
		*ret = (uint32_t)n;
	return r;
}

int vbmq_parse_i32(const char *text, int32_t min, int32_t max, int32_t *ret)
{
	bool minus = *text == '-';
	uint64_t n;
	int64_t value;
	int r = vbmq_parse_u64(text + minus, 0, (uint64_t)INT32_MAX + 1, &n);

	if (r < 0)
		return r;
	value = minus ? -(int64_t)n : (int64_t)n;
	if (value < min || value > max)
		return -ERANGE;
	*ret = (int32_t)value;
	return 0;
}

int vbmq_parse_bool(const char *text, bool *ret)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false", "true", "0", "1", NULL };
	int i = vbmq_parse_word(text, words);

	if (i < 0)
		return -EINVAL;
	*ret = i & 1;
	return 0;
}

int vbmq_parse_msec(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	static const struct {
		const char *name;
		uint64_t msec;
	} units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "min", 60000 }, { "h", 3600000 } };
	size_t digits = strspn(text, "0123456789");
	char number[24];
	uint64_t n;
	int r;

	if (digits == 0)
		return -EINVAL;
	if (digits >= sizeof(number))
		return -ERANGE;
	memcpy(number, text, digits);
	number[digits] = '\0';
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text + digits, units[i].name) != 0)
			continue;
		r = vbmq_parse_u64(number, 0, UINT64_MAX / units[i].msec, &n);
		if (r < 0)
			return r;
		n *= units[i].msec;
		if (n < min || n > max)
			return -ERANGE;
		*ret = n;
		return 0;
	}
	return -EINVAL;
}

int vbmq_parse_uuid(const char *text, char ret[37])
{
	char digits[32], out[37];
	size_t n = 0, len = strlen(text);
	bool dashes = len == 36;

	if (len != 36 && len != 32)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (dashes && (i == 8 || i == 13 || i == 18 || i == 23)) {
			if (c != '-')
				return -EINVAL;
			continue;
		}
		if (c >= 'A' && c <= 'F')
			c = (char)(c - 'A' + 'a');
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return -EINVAL;
		digits[n++] = c;
	}
	n = 0;
	for (size_t i = 0; i < 36; i++)
		out[i] = (i == 8 || i == 13 || i == 18 || i == 23) ? '-' : digits[n++];
	out[36] = '\0';
	memcpy(ret, out, sizeof(out));
	return 0;
}

int vbmq_parse_word(const char *text, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(text, words[i]) == 0)
			return i;
	return -EINVAL;
}
