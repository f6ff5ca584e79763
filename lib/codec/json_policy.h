/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "core/policy.h"

/* The policy as the "policy" object of a snapshot and as input of the plan id. */
struct json_t;
struct json_t *vbmq_policy_to_json(const struct vbmq_policy *p); /* new reference, NULL: no memory */
int vbmq_policy_from_json(const struct json_t *j, const char *path, struct vbmq_policy *ret, struct vbmq_err *err);
struct json_t *vbmq_wish_to_json(const struct vbmq_wish *w);
int vbmq_wish_from_json(const struct json_t *j, const char *path, struct vbmq_wish *ret, struct vbmq_err *err);
