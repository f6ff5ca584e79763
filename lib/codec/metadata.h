/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* <vbmq:domain xmlns:vbmq="urn:vbmq:domain:1">: the wishes in a domain's metadata (schemas/domain-metadata.rng). */

#include <stddef.h>

#include "core/policy.h"

#define VBMQ_METADATA_URI "urn:vbmq:domain:1"
#define VBMQ_METADATA_MAX (256u * 1024u)

struct _xmlNode;

/* Validates against the RELAX NG schema (compiled in from schemas/domain-metadata.rng) and reads. Errors name line,
 * element and attribute: "db1.xml:12: attribute 'count' of <vbmq:iothreads>: 'many' is neither 'auto' nor 1..256". */
int vbmq_metadata_parse(const char *name, const char *xml, size_t len, struct vbmq_wish *ret, struct vbmq_err *err);
int vbmq_metadata_parse_node(const char *name, struct _xmlNode *node, struct vbmq_wish *ret, struct vbmq_err *err);
/* The element as text; caller frees. */
int vbmq_metadata_format(const struct vbmq_wish *wish, char **ret, struct vbmq_err *err);
