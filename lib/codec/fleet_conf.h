/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A described fleet as INI (see ini_read.h), bytes in, no files: a section a template, and [fleet] for what holds for all.
 * A key stands once in a section, but for "disk", which stands once for each disk.
 */

#include <stddef.h>

#include "core/fleet.h"

#define VBMQ_FLEET_CONF_MAX (1024u * 1024u)

/* Adds the templates to *ret (already initialised; after a failure only good for vbmq_fleet_done()). Unknown keys, bad
 * values, a template without vcpus: -EINVAL, "FILE:LINE: ...". The models are complete but for capabilities, which the
 * caller knows. */
int vbmq_fleet_conf_parse(const char *name, const char *text, size_t len, struct vbmq_fleet *ret, struct vbmq_err *err);

/* The table of keys, for the manual. */
struct vbmq_fleet_key {
	const char *name;
	const char *fallback; /* the default, as it would be written; "": none, must be said; NULL: may be left out */
	const char *range; /* what may be written, for people */
	const char *help;
};
size_t vbmq_fleet_conf_n_keys(void);
const struct vbmq_fleet_key *vbmq_fleet_conf_key(size_t index);
