/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/rebalance.h"

#define VBMQ_REBALANCE_SCHEMA "vbmq-rebalance/1"

/* What a rebalance moves, what it is worth, and its steps. Caller frees. */
int vbmq_rebalance_format(const struct vbmq_rebalance *r, bool pretty, char **ret, struct vbmq_err *err);
