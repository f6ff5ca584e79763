/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/err.h"
#include "util/file.h"

static const char *arg_source;

void codec_test_init(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s SOURCE-TREE\n", argv[0]);
		exit(2);
	}
	arg_source = argv[1];
	cmocka_set_message_output(CM_OUTPUT_TAP);
}

static char *full_path(const char *path)
{
	char *ret;

	assert_true(asprintf(&ret, "%s/%s", arg_source, path) > 0);
	return ret;
}

char *codec_read(const char *path, size_t *ret_len)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *full = full_path(path), *text = NULL;

	if (vbmq_file_read(full, 64u << 20, &text, ret_len, &err) < 0)
		fail_msg("%s", err.text);
	free(full);
	return text;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **codec_list(const char *directory, const char *prefix, const char *suffix, size_t min, size_t *ret_n)
{
	char *full = full_path(directory), **names = NULL;
	DIR *dir = opendir(full);
	struct dirent *entry;
	size_t n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || len < strlen(suffix) ||
		    strcmp(entry->d_name + len - strlen(suffix), suffix) != 0)
			continue;
		names = realloc(names, (n + 1) * sizeof(*names));
		assert_non_null(names);
		names[n++] = strdup(entry->d_name);
	}
	closedir(dir);
	free(full);
	assert_true(n >= min);
	qsort(names, n, sizeof(*names), by_text);
	*ret_n = n;
	return names;
}

void codec_list_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

/* Line by line; '*' at the end of an expected line is a wild card. */
static bool matches(const char *expected, const char *text)
{
	while (*expected || *text) {
		size_t e = strcspn(expected, "\n"), t = strcspn(text, "\n");

		if (e && expected[e - 1] == '*') {
			if (t < e - 1 || memcmp(expected, text, e - 1) != 0)
				return false;
		} else if (e != t || memcmp(expected, text, e) != 0) {
			return false;
		}
		expected += e + (expected[e] == '\n');
		text += t + (text[t] == '\n');
	}
	return true;
}

bool codec_expect(const char *path, const char *text)
{
	char *full = full_path(path), *expected = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	bool update = getenv("VBMQ_UPDATE_EXPECTED") != NULL, same = false;
	size_t len = 0;

	if (vbmq_file_read(full, 64u << 20, &expected, &len, &err) >= 0)
		same = matches(expected, text);
	if (!same && update) {
		same = vbmq_file_replace(full, text, strlen(text), 0644, &err) >= 0;
	} else if (!same) {
		print_message("# %s: expected\n%s\n# got\n%s\n", path, expected ? expected : err.text, text);
	}
	free(expected);
	free(full);
	return same;
}

static void try_copy(const char *bytes, size_t len, codec_try_fn parse, void *data)
{
	char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	parse(copy, len, data);
	free(copy);
}

void codec_each_flip(const char *bytes, size_t len, unsigned n_flips, codec_try_fn parse, void *data)
{
	uint64_t random = 0x9e3779b97f4a7c15u ^ len;
	char *copy = malloc(len);

	assert_non_null(copy);
	for (unsigned i = 0; i < n_flips; i++) {
		memcpy(copy, bytes, len);
		for (unsigned k = 0; k <= i % 4; k++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			copy[(random >> 33) % len] ^= (char)(1u << ((random >> 29) & 7));
		}
		try_copy(copy, len, parse, data);
	}
	free(copy);
}

void codec_each_cut(const char *bytes, size_t len, size_t step, codec_try_fn parse, void *data)
{
	for (size_t n = 0; n < len; n += step)
		try_copy(bytes, n, parse, data);
}
