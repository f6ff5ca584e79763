/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/err.h"

static int fail(struct vbmq_err *err, int code, const char *path, const char *verb)
{
	return vbmq_err_set(err, code, "%s: cannot %s: %s", path, verb, strerror(-code));
}

/* Files of /proc have no size: read until the end, doubling. */
static int read_all(int fd, const char *path, size_t max, char **ret, size_t *ret_len, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0, cap = 4096;

	text = malloc(cap);
	if (!text)
		return vbmq_err_oom(err);
	for (;;) {
		ssize_t n = read(fd, text + len, cap - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(err, -errno, path, "read");
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return vbmq_err_set(err, -EFBIG, "%s: larger than the limit of %zu bytes", path, max);
		if (len == cap) {
			char *grown = realloc(text, cap * 2);

			if (!grown)
				return vbmq_err_oom(err);
			text = grown;
			cap *= 2;
		}
	}
	text[len] = '\0'; /* len < cap: the loop grows a full buffer */
	*ret = VBMQ_STEAL(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int vbmq_file_read_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len, struct vbmq_err *err)
{
	int fd, r;

	fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fail(err, -errno, path, "open");
	r = read_all(fd, path, max, ret, ret_len, err);
	close(fd);
	return r;
}

int vbmq_file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct vbmq_err *err)
{
	if (strcmp(path, "-") == 0)
		return read_all(STDIN_FILENO, "standard input", max, ret, ret_len, err);
	return vbmq_file_read_at(AT_FDCWD, path, max, ret, ret_len, err);
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Makes the rename itself durable. */
static int sync_directory_of(const char *path)
{
	_cleanup_free_ char *dir = strdup(path);
	char *slash;
	int fd, r = 0;

	if (!dir)
		return -ENOMEM;
	slash = strrchr(dir, '/');
	if (slash == dir)
		slash++;
	if (slash)
		*slash = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

int vbmq_file_replace(const char *path, const void *bytes, size_t len, unsigned mode, struct vbmq_err *err)
{
	_cleanup_free_ char *temporary = NULL;
	int fd, r;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
		temporary = NULL;
		return vbmq_err_oom(err);
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return fail(err, -errno, temporary, "create");
	r = write_all(fd, bytes, len);
	if (r == 0 && fchmod(fd, (mode_t)mode) < 0)
		r = -errno;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temporary);
		return fail(err, r, path, "write");
	}
	r = sync_directory_of(path);
	if (r < 0)
		return fail(err, r, path, "sync the directory of");
	return 0;
}
