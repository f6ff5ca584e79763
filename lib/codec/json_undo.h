/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "core/undo.h"

#define VBMQ_UNDO_SCHEMA "vbmq-undo/1"
#define VBMQ_UNDO_JSON_MAX (64u * 1024u * 1024u)
#define VBMQ_UNDO_ENTRIES_MAX 200000u

/* Strict, as vbmq_snapshot_parse(). The result is sorted, in whatever order the entries stand; two for one thing: -EINVAL. */
int vbmq_undo_parse(const char *name, const char *json, size_t len, struct vbmq_undo **ret, struct vbmq_err *err);
int vbmq_undo_format(const struct vbmq_undo *u, char **ret, struct vbmq_err *err); /* canonical, pretty; caller frees */
