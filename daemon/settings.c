/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/settings.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"

static int read_file(const char *path, struct vbmq_conf *c, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = vbmq_file_read(path, VBMQ_CONF_MAX, &text, &len, err);
	if (r < 0)
		return r;
	return vbmq_conf_parse(path, text, len, c, err);
}

static int is_dropin(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return e->d_name[0] != '.' && n > 5 && strcmp(e->d_name + n - 5, ".conf") == 0;
}

/* Byte order, not the locale's: the same files mean the same everywhere. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_dropins(const char *path, struct vbmq_conf *c, struct vbmq_err *err)
{
	_cleanup_free_ char *dir = NULL;
	struct dirent **names = NULL;
	int n, r = 0;

	if (asprintf(&dir, "%s.d", path) < 0) {
		dir = NULL;
		return vbmq_err_oom(err);
	}
	n = scandir(dir, &names, is_dropin, by_name);
	if (n < 0)
		return errno == ENOENT ? 0 : vbmq_err_set(err, -errno, "%s: %s", dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *file = NULL;

		if (r == 0 && asprintf(&file, "%s/%s", dir, names[i]->d_name) < 0) {
			file = NULL;
			r = vbmq_err_oom(err);
		}
		if (r == 0)
			r = read_file(file, c, err);
		free(names[i]);
	}
	free(names);
	return r;
}

int vbmqd_settings_read(const char *path, bool required, struct vbmq_conf *ret, struct vbmq_err *err)
{
	struct vbmq_err e = VBMQ_ERR_INIT;
	struct vbmq_conf c;
	int r;

	vbmq_conf_init(&c);
	r = read_file(path, &c, &e);
	if (r == -ENOENT && !required)
		r = 0;
	if (r == 0)
		r = read_dropins(path, &c, &e);
	if (r < 0) {
		vbmq_conf_done(&c);
		return vbmq_err_set(err, r, "%s", e.text);
	}
	*ret = c;
	return 0;
}
