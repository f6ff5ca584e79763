/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reads below a root directory ("/" on a live host, a recorded tree in tests): absolute symbolic links and ".." stay
 * inside it. sysroot NULL or "": "/". Paths are absolute, as the host would name them. All return 0 or a negative errno
 * without text: what a missing file means is known by the caller only.
 */

#include <stddef.h>
#include <stdint.h>

#define VBMQ_SYSROOT_ATTR_MAX 65536u /* bytes of one /sys attribute */
#define VBMQ_SYSROOT_ENTRIES_MAX 65536u /* entries of one directory */

/* open(2) with O_CLOEXEC added; the descriptor or a negative errno. */
int vbmq_sysroot_open(const char *sysroot, const char *path, int flags);
/* The canonical path inside the root ("/sys/devices/..."); caller frees. */
int vbmq_sysroot_real(const char *sysroot, const char *path, char **ret);
/* A whole file of at most max bytes, NUL-terminated, caller frees. -EFBIG: larger. */
int vbmq_sysroot_read(const char *sysroot, const char *path, size_t max, char **ret, size_t *ret_len);
/* The same from an open descriptor, from its current position; the descriptor stays open. */
int vbmq_sysroot_read_fd(int fd, size_t max, char **ret, size_t *ret_len);
/* One line of an attribute without its newline; caller frees. */
int vbmq_sysroot_line(const char *sysroot, const char *path, char **ret);
/* Names in a directory without "." and "..", sorted bytewise. Freed by vbmq_sysroot_names_free(). */
int vbmq_sysroot_list(const char *sysroot, const char *path, char ***ret, size_t *ret_n);
char **vbmq_sysroot_names_free(char **names, size_t n);
