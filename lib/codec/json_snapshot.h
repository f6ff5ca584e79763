/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "core/snapshot.h"

#define VBMQ_SNAPSHOT_JSON_MAX (64u * 1024u * 1024u)
#define VBMQ_SNAPSHOT_SCHEMA "vbmq-snapshot/1"

/* Strict: unknown keys, duplicates, wrong types, bad ranges are -EINVAL with the JSON path ("domains[3].threads[0].id").
 * The result is finished (vbmq_snapshot_finish). */
int vbmq_snapshot_parse(const char *name, const char *json, size_t len, struct vbmq_snapshot **ret,
			struct vbmq_err *err);

/* Canonical bytes: keys sorted, no white space (pretty false), or indented by two for people (pretty true). The same
 * content always gives the same bytes. Caller frees. */
int vbmq_snapshot_format(const struct vbmq_snapshot *s, bool pretty, char **ret, struct vbmq_err *err);
