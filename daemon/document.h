/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

struct vbmq_err;

/* A sealed memfd with text, at offset 0: the reader may map it without fear that it changes. Returns the descriptor. */
int vbmqd_document(const char *text, struct vbmq_err *err);
