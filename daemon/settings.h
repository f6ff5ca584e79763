/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "codec/conf.h"

/*
 * Reads path and then every *.conf of path's drop-in directory (path with ".d" appended), in the order of their names.
 * required: a missing path is an error (--config was given); otherwise the defaults stand. Errors name file and line; *ret is
 * untouched then, so a daemon that reloads keeps what it has. On success *ret is ours to fill: it must be empty or done.
 */
int vbmqd_settings_read(const char *path, bool required, struct vbmq_conf *ret, struct vbmq_err *err);
