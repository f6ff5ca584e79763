/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/tree.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"

static char *dup_bytes(const char *s, size_t n)
{
	char *copy = strndup(s, n);

	assert_non_null(copy);
	return copy;
}

/* mkdir -p of everything above the last slash. */
static void make_parents(char *path)
{
	for (char *c = strchr(path + 1, '/'); c; c = strchr(c + 1, '/')) {
		*c = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			fail_msg("mkdir %s: %s", path, strerror(errno));
		*c = '/';
	}
}

static void write_value(FILE *f, const char *value, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (value[i] == '\\' && i + 1 < n && value[i + 1] == 'n') {
			fputc('\n', f);
			i++;
		} else {
			fputc(value[i], f);
		}
	}
	fputc('\n', f);
}

static void add_expect(struct tree *t, const char *line, size_t n)
{
	const char *sign = memmem(line, n, " = ", 3);
	struct tree_expect *e = vbmq_array_add(t->expects, t->n_expects, 10000);

	assert_non_null(sign);
	assert_non_null(e);
	e->path = dup_bytes(line, (size_t)(sign - line));
	e->what = dup_bytes(sign + 3, n - (size_t)(sign + 3 - line));
}

static void add_entry(struct tree *t, const char *line, size_t n)
{
	const char *sign = memmem(line, n, " = ", 3), *arrow = memmem(line, n, " -> ", 4), *end = sign ? sign : arrow;
	_cleanup_free_ char *path = NULL, *target = NULL;
	FILE *f;

	if (!end && n > 2 && memcmp(line + n - 2, " =", 2) == 0) /* an empty file */
		sign = end = line + n - 2;
	else if (!end)
		end = line + n;
	assert_true(asprintf(&path, "%s%.*s", t->root, (int)(end - line), line) > 0);
	make_parents(path);
	if (sign) {
		f = fopen(path, "w");
		if (!f)
			fail_msg("%s: %s", path, strerror(errno));
		if (line + n > sign + 3)
			write_value(f, sign + 3, n - (size_t)(sign + 3 - line));
		assert_int_equal(fclose(f), 0);
	} else if (arrow) {
		target = dup_bytes(arrow + 4, n - (size_t)(arrow + 4 - line));
		if (symlink(target, path) < 0)
			fail_msg("link %s: %s", path, strerror(errno));
	} else if (line[n - 1] != '/') {
		fail_msg("manifest line '%.*s' is neither value, link nor directory", (int)n, line);
	}
}

struct tree *tree_from_text(const char *text)
{
	struct tree *t = calloc(1, sizeof(*t));
	const char *tmp = getenv("TMPDIR");

	assert_non_null(t);
	assert_true(asprintf(&t->root, "%s/vbmq-tree.XXXXXX", tmp ? tmp : "/tmp") > 0);
	assert_non_null(mkdtemp(t->root));
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (n && text[0] == '/')
			add_entry(t, text, n);
		else if (n > 2 && text[0] == '?')
			add_expect(t, text + 2, n - 2);
		else if (n && text[0] != '#')
			fail_msg("manifest line '%.*s' is of no known form", (int)n, text);
		text += n + (text[n] == '\n');
	}
	return t;
}

struct tree *tree_from_file(const char *path)
{
	_cleanup_free_ char *text = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t len;

	if (vbmq_file_read(path, 16 * 1024 * 1024, &text, &len, &err) < 0)
		fail_msg("%s", err.text);
	return tree_from_text(text);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void tree_free(struct tree *t)
{
	nftw(t->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	for (size_t i = 0; i < t->n_expects; i++) {
		free(t->expects[i].path);
		free(t->expects[i].what);
	}
	free(t->expects);
	free(t->root);
	free(t);
}
