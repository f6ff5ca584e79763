/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A recorded tree holds the links of the machine it came from, many of them absolute (/dev/disk/by-id, the "subsystem"
 * links of hand-made trees). The kernel resolves them inside the root by itself: openat2() with RESOLVE_IN_ROOT
 * (Linux 5.6). Canonical paths come from /proc/self/fd. For the root "/" a plain open() does the same, and is what is
 * left where a sandbox refuses openat2(); with any other root that is an error (-ENOSYS), never a look outside of it.
 */
#include "host/sysroot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/array.h"
#include "util/cleanup.h"

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int neg_errno(void)
{
	return errno > 0 ? -errno : -EIO;
}

static bool is_root(const char *sysroot)
{
	return !sysroot || sysroot[strspn(sysroot, "/")] == '\0';
}

int vbmq_sysroot_open(const char *sysroot, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT };
	_cleanup_(closep) int root = -1;
	long fd;

	if (path[0] != '/')
		return -EINVAL;
	if (is_root(sysroot)) {
		fd = open(path, flags | O_CLOEXEC);
		return fd < 0 ? neg_errno() : (int)fd;
	}
	root = open(sysroot, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return neg_errno();
	do {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? neg_errno() : (int)fd;
}

/* The path of an open descriptor, or a negative errno. */
static int path_of_fd(int fd, char **ret)
{
	char link[64];
	_cleanup_free_ char *buf = malloc(PATH_MAX);
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, PATH_MAX);
	if (n < 0)
		return neg_errno();
	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	*ret = VBMQ_STEAL(buf);
	return 0;
}

int vbmq_sysroot_real(const char *sysroot, const char *path, char **ret)
{
	_cleanup_free_ char *real = NULL, *prefix = NULL;
	_cleanup_(closep) int fd = -1, root = -1;
	size_t skip = 0;
	char *inside;
	int r;

	fd = vbmq_sysroot_open(sysroot, path, O_PATH);
	if (fd < 0)
		return fd;
	r = path_of_fd(fd, &real);
	if (r < 0)
		return r;
	if (!is_root(sysroot)) {
		root = open(sysroot, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root < 0)
			return neg_errno();
		r = path_of_fd(root, &prefix);
		if (r < 0)
			return r;
		skip = strlen(prefix);
		if (strncmp(real, prefix, skip) != 0 || (real[skip] != '/' && real[skip] != '\0'))
			return -EXDEV;
	}
	inside = strdup(real[skip] ? real + skip : "/");
	if (!inside)
		return -ENOMEM;
	*ret = inside;
	return 0;
}

int vbmq_sysroot_read_fd(int fd, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, cap = 0;

	for (;;) {
		ssize_t n;

		if (cap - len < 2) {
			char *bigger;

			if (len > max)
				return -EFBIG;
			cap = cap ? cap * 2 : 4096;
			bigger = realloc(buf, cap);
			if (!bigger)
				return -ENOMEM;
			buf = bigger;
		}
		n = read(fd, buf + len, cap - len - 1);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return neg_errno();
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (len > max)
		return -EFBIG;
	buf[len] = '\0';
	*ret = VBMQ_STEAL(buf);
	*ret_len = len;
	return 0;
}

int vbmq_sysroot_read(const char *sysroot, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_(closep) int fd = vbmq_sysroot_open(sysroot, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? fd : vbmq_sysroot_read_fd(fd, max, ret, ret_len);
}

int vbmq_sysroot_line(const char *sysroot, const char *path, char **ret)
{
	char *text;
	size_t len;
	int r;

	r = vbmq_sysroot_read(sysroot, path, VBMQ_SYSROOT_ATTR_MAX, &text, &len);
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	*ret = text;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **vbmq_sysroot_names_free(char **names, size_t n)
{
	for (size_t i = 0; names && i < n; i++)
		free(names[i]);
	free(names);
	return NULL;
}

int vbmq_sysroot_list(const char *sysroot, const char *path, char ***ret, size_t *ret_n)
{
	int fd = vbmq_sysroot_open(sysroot, path, O_RDONLY | O_DIRECTORY);
	char **names = NULL;
	struct dirent *e;
	size_t n = 0;
	int r = 0;
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		r = neg_errno();
		close(fd);
		return r;
	}
	while ((errno = 0, e = readdir(dir))) {
		char **slot;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		slot = n < VBMQ_SYSROOT_ENTRIES_MAX ? vbmq_array_add(names, n, VBMQ_SYSROOT_ENTRIES_MAX) : NULL;
		if (!slot || !(*slot = strdup(e->d_name))) {
			r = n >= VBMQ_SYSROOT_ENTRIES_MAX ? -EFBIG : -ENOMEM;
			break;
		}
	}
	if (r == 0 && !e && errno != 0)
		r = neg_errno();
	closedir(dir);
	if (r < 0) {
		vbmq_sysroot_names_free(names, n);
		return r;
	}
	if (n > 1)
		qsort(names, n, sizeof(*names), compare_names);
	*ret = names;
	*ret_n = n;
	return 0;
}
