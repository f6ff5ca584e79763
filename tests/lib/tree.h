/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Unpacks a manifest (tests/data/sysfs/README.md) into a temporary root directory. Fails the cmocka test on trouble. */

#include <stddef.h>

struct tree_expect {
	char *path;
	char *what; /* "1", "unknown", "ENOENT" */
};

struct tree {
	char *root;
	struct tree_expect *expects;
	size_t n_expects;
};

struct tree *tree_from_text(const char *text);
struct tree *tree_from_file(const char *path);
/* Writes a file, with the directories above it; path begins with "/". */
void tree_put(const struct tree *t, const char *path, const char *text);
void tree_free(struct tree *t); /* removes the directory */
