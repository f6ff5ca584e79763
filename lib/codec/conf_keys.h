/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The table of vbmqd.conf's keys with what parsing and formatting need; for conf*.c only. */

#include <stddef.h>
#include <stdint.h>

#include "codec/conf.h"

struct vbmq_err;

enum vbmq_conf_type {
	VBMQ_CONF_URI, /* char *, NULL: the default */
	VBMQ_CONF_BOOL, /* bool, yes | no */
	VBMQ_CONF_FLAG, /* bool written as one of two words, false first */
	VBMQ_CONF_MSEC, /* uint64_t milliseconds, min..max */
	VBMQ_CONF_U64, /* uint64_t, min..max */
	VBMQ_CONF_U32, /* uint32_t, min..max */
	VBMQ_CONF_AUTO, /* uint32_t, "auto" is 0, or min..max */
	VBMQ_CONF_I32, /* int32_t, min..max */
	VBMQ_CONF_COUNT, /* int32_t, "auto" is VBMQ_COUNT_AUTO, or min..max */
	VBMQ_CONF_WORD, /* an enum that counts up from 0, by words */
	VBMQ_CONF_CPUS, /* struct vbmq_cpuset, may be repeated */
};

struct vbmq_conf_entry {
	struct vbmq_conf_key key;
	enum vbmq_conf_type type;
	size_t offset; /* in struct vbmq_conf */
	int64_t min, max;
	const char *const *words;
};

extern const struct vbmq_conf_entry vbmq_conf_entries[];
extern const size_t vbmq_conf_n_entries;

/* Whether a uri can stand in a line: -EINVAL if not. */
int vbmq_conf_check_uri(const char *uri, struct vbmq_err *err);
