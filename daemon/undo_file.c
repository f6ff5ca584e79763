/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/undo_file.h"

#include <errno.h>
#include <string.h>

#include "codec/json_undo.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"

int vbmqd_undo_file_load(const char *path, struct vbmq_undo **ret, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct vbmq_err e = VBMQ_ERR_INIT;
	size_t len;
	int r;

	r = vbmq_file_read(path, VBMQ_UNDO_JSON_MAX, &text, &len, &e);
	if (r == -ENOENT) {
		*ret = vbmq_undo_new();
		return *ret ? 0 : vbmq_err_oom(err);
	}
	if (r < 0)
		return vbmq_err_set(err, r, "%s", e.text);
	return vbmq_undo_parse(path, text, len, ret, err);
}

int vbmqd_undo_file_save(const char *path, const struct vbmq_undo *undo, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = vbmq_undo_format(undo, &text, err);
	if (r < 0)
		return r;
	return vbmq_file_replace(path, text, strlen(text), 0600, err);
}
