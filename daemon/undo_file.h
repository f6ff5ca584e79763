/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The undo record on disk: DIR/undo.json, replaced atomically. It describes threads of this boot, so it lives below /run and
 * survives the daemon but not the machine.
 */

#include "core/undo.h"

struct vbmq_err;

/* A missing file is an empty record. A damaged one is an error: what it knew must not be overwritten unseen. */
int vbmqd_undo_file_load(const char *path, struct vbmq_undo **ret, struct vbmq_err *err);
int vbmqd_undo_file_save(const char *path, const struct vbmq_undo *undo, struct vbmq_err *err);
