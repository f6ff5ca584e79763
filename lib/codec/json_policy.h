/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "core/policy.h"

/* Ranges of the host policy's numbers, the same in JSON and in vbmqd.conf. */
#define VBMQ_AUTO_MAX_LIMIT 64u
#define VBMQ_POLL_MAX_NS_LIMIT 1000000000u /* a second: more is a typing error */
#define VBMQ_POLL_FACTOR_LIMIT 1000000000u /* poll-grow and poll-shrink */

/* The policy as the "policy" object of a snapshot and as input of the plan id. Reading: keys that are not there keep their
 * built-in default, unknown ones are refused; path ("policy") stands in front of what messages say. Names come out sorted,
 * so equal policies give equal trees. On failure *ret is untouched. */
struct json_t;
struct json_t *vbmq_policy_to_json(const struct vbmq_policy *p); /* new reference, NULL: no memory */
int vbmq_policy_from_json(const struct json_t *j, const char *path, struct vbmq_policy *ret, struct vbmq_err *err);
struct json_t *vbmq_wish_to_json(const struct vbmq_wish *w);
int vbmq_wish_from_json(const struct json_t *j, const char *path, struct vbmq_wish *ret, struct vbmq_err *err);
