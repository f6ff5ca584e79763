/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/host.h"
#include "core/stats.h"

struct vbmq_err;

#define VBMQ_STATS_SCHEMA "vbmq-stats/1"

/* What one guest did between two samples. before NULL: no rates yet (it was just started). */
struct vbmq_stats_pair {
	const struct vbmq_stats *before, *after;
};

/* host gives the cores; NULL: none are named. Caller frees *ret. */
int vbmq_stats_format(const struct vbmq_stats_pair *pairs, size_t n, const struct vbmq_host *host, bool pretty,
		      char **ret, struct vbmq_err *err);
