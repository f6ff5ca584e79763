/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A picture of a placement: who has which core, grouped by node and L3 domain. */

#include "core/plan.h"
#include "core/policy.h"
#include "core/snapshot.h"

struct vbmq_err;

/*
 * SVG 1.1 (UTF-8, no scripts, no references to anything outside). The same input gives the same bytes. Names may be anything:
 * what XML cannot hold or what would change how the text around it is read becomes U+FFFD. policy: for the cores that may
 * not be dedicated. Caller frees *ret.
 */
int vbmq_svg_format(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_plan *plan,
		    char **ret, struct vbmq_err *err);
