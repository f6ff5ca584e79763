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
	char *copy = malloc(n + 1);

	if (!copy)
		abort();
	memcpy(copy, s, n);
	copy[n] = '\0';
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

static void write_value(FILE *f, const char *value)
{
	for (; *value; value++) {
		if (value[0] == '\\' && value[1] == 'n') {
			fputc('\n', f);
			value++;
		} else {
			fputc(*value, f);
		}
	}
	fputc('\n', f);
}

/* "PATH = WHAT" behind "? " */
static void add_expect(struct tree *t, char *line)
{
	struct tree_expect *e = vbmq_array_add(t->expects, t->n_expects, 10000);
	char *sign = strstr(line, " = ");

	assert_non_null(e);
	if (!sign)
		fail_msg("manifest line '? %s' expects nothing", line);
	e->path = dup_bytes(line, (size_t)(sign - line));
	e->what = dup_bytes(sign + 3, strlen(sign + 3));
}

static void add_file(const char *path, const char *value)
{
	FILE *f = fopen(path, "we");

	if (!f) {
		fail_msg("%s: %s", path, strerror(errno));
		return;
	}
	if (*value)
		write_value(f, value);
	assert_int_equal(fclose(f), 0);
}

/* "PATH = VALUE", "PATH =", "PATH -> TARGET", "PATH/" */
static void add_entry(struct tree *t, char *line)
{
	char *sign = strstr(line, " ="), *arrow = strstr(line, " -> ");
	_cleanup_free_ char *path = NULL;

	if (sign)
		*sign = '\0';
	else if (arrow)
		*arrow = '\0';
	else if (line[strlen(line) - 1] != '/')
		fail_msg("manifest line '%s' is neither value, link nor directory", line);
	assert_true(asprintf(&path, "%s%s", t->root, line) > 0);
	make_parents(path);
	if (sign)
		add_file(path, sign + 2 + (sign[2] == ' '));
	else if (arrow && symlink(arrow + 4, path) < 0)
		fail_msg("link %s: %s", path, strerror(errno));
}

void tree_put(const struct tree *t, const char *path, const char *text)
{
	_cleanup_free_ char *full = NULL;
	FILE *f;

	assert_true(asprintf(&full, "%s%s", t->root, path) > 0);
	make_parents(full);
	f = fopen(full, "we");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
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
		_cleanup_free_ char *line = dup_bytes(text, n);

		if (line[0] == '/')
			add_entry(t, line);
		else if (strncmp(line, "? ", 2) == 0)
			add_expect(t, line + 2);
		else if (n && line[0] != '#')
			fail_msg("manifest line '%s' is of no known form", line);
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
