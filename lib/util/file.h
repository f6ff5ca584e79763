/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whole files, with limits. The only file access of util; core never calls it. */

#include <stddef.h>

struct vbmq_err;

/* Reads at most max bytes; larger is -EFBIG. *ret is NUL-terminated (the NUL not counted), caller frees. path "-" is
 * standard input. Works on /proc and /sys files and on pipes. Errors name the path. */
int vbmq_file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct vbmq_err *err);

/* The same below an open directory (dirfd AT_FDCWD for none). */
int vbmq_file_read_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len, struct vbmq_err *err);

/* Replaces path atomically: temporary file beside it, fsync, rename, fsync of the directory; mode as for open(2). */
int vbmq_file_replace(const char *path, const void *bytes, size_t len, unsigned mode, struct vbmq_err *err);
