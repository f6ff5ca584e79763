/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vbmqd.conf (INI, by inih): host policy and the daemon's own settings. Bytes in, no files. */

#include <stddef.h>

#include "core/policy.h"

#define VBMQ_CONF_MAX (1024u * 1024u)

struct vbmq_conf {
	/* [daemon] */
	char *uri; /* uri=qemu:///system */
	bool observe; /* mode=manage|observe: observe plans and reports, touches nothing */
	uint64_t debounce_ms; /* debounce=250ms, 10ms..60s */
	uint64_t recheck_ms; /* recheck=60s, 1s..1h */
	uint64_t call_timeout_ms; /* call-timeout=10s, 1s..5min: one libvirt call on one domain */
	uint64_t retry_max_ms; /* retry-max=5min, 1s..1h: longest back-off for a failed domain or connection */
	uint32_t workers; /* workers=4, 1..64 */
	/* [policy] */
	struct vbmq_policy policy;
};

void vbmq_conf_init(struct vbmq_conf *c); /* the defaults; uri allocated lazily: NULL means qemu:///system */
void vbmq_conf_done(struct vbmq_conf *c);

/* Reads one file's bytes on top of *c (call for vbmqd.conf, then for each vbmqd.conf.d/ file in order). Unknown sections or keys,
 * bad values: -EINVAL, "FILE:LINE: ...", and *c is as before. */
int vbmq_conf_parse(const char *name, const char *text, size_t len, struct vbmq_conf *c, struct vbmq_err *err);

/* The effective configuration as a file that parses to the same; caller frees. */
int vbmq_conf_format(const struct vbmq_conf *c, char **ret, struct vbmq_err *err);
