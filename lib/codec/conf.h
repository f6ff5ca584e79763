/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * vbmqd.conf (INI, see ini_read.h): host policy and the daemon's own settings. Bytes in, no files. A key stands once in a
 * file; only CPU lists may be repeated, they add up, and an empty value clears what earlier lines and files said.
 */

#include <stddef.h>

#include "core/policy.h"

#define VBMQ_CONF_MAX (1024u * 1024u)
#define VBMQ_CONF_LINE_MAX 190u /* VBMQ_INI_LINE_MAX of ini_read.h */

struct vbmq_conf {
	/* [daemon] */
	char *uri; /* uri=qemu:///system */
	bool observe; /* mode=manage|observe: observe plans and reports, touches nothing */
	uint64_t debounce_ms; /* debounce=250ms, 10ms..60s */
	uint64_t recheck_ms; /* recheck=60s, 1s..1h */
	uint64_t call_timeout_ms; /* call-timeout=10s, 1s..5min: one libvirt call on one domain */
	uint64_t retry_max_ms; /* retry-max=5min, 1s..1h: longest back-off for a failed domain or connection */
	uint32_t workers; /* workers=4, 1..64 */
	/* [policy], [host] */
	struct vbmq_policy policy;
};

void vbmq_conf_init(struct vbmq_conf *c); /* the defaults; uri allocated lazily: NULL means qemu:///system */
void vbmq_conf_done(struct vbmq_conf *c); /* frees what it owns, back to the defaults */
int vbmq_conf_copy(const struct vbmq_conf *from, struct vbmq_conf *ret); /* 0 or -ENOMEM */

/* Reads one file's bytes on top of *c (call for vbmqd.conf, then for each vbmqd.conf.d/ file in order). Unknown sections or
 * keys, bad values, NUL bytes, lines that are too long: -EINVAL, "FILE:LINE: ...", and *c is as before. */
int vbmq_conf_parse(const char *name, const char *text, size_t len, struct vbmq_conf *c, struct vbmq_err *err);

/* The effective configuration as a file that parses to the same on top of the defaults; caller frees. -EINVAL for a uri
 * that cannot be written as a line. */
int vbmq_conf_format(const struct vbmq_conf *c, char **ret, struct vbmq_err *err);

/* --- the table of keys: parsing, formatting, the shipped file and the manual all come from it -------------------------- */

struct vbmq_conf_key {
	const char *section; /* "daemon", "policy" or "host" */
	const char *name;
	const char *fallback; /* the default, as it would be written; "" : nothing */
	const char *range; /* what may be written, for people: "auto | 1..256" */
	const char *help; /* one or two sentences */
};

size_t vbmq_conf_n_keys(void);
const struct vbmq_conf_key *vbmq_conf_key(size_t index); /* sections together, in the order of the shipped file */

/* The shipped vbmqd.conf: every key as a comment with its help, range and default. Caller frees. */
int vbmq_conf_example(char **ret, struct vbmq_err *err);
