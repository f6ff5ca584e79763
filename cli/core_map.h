/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "core/plan.h"
#include "core/snapshot.h"

/* Who uses each core: by the plan (owner) and by the affinities as they are now. The picture of status is drawn from it. */

enum cli_core_use {
	CLI_CORE_SHARED,
	CLI_CORE_DEDICATED, /* one owner by the plan */
	CLI_CORE_UNUSABLE, /* offline or not allowed */
	CLI_CORE_OWNER_PIN, /* not in the shared set, not ours: pinned by somebody */
};

struct cli_core {
	enum cli_core_use use;
	char *owner; /* "db1" */
	char *threads; /* "iothread1 (CPU 2)", several with cpu-exclusive ones */
	char *queues; /* "vda 0-1" */
	size_t n_now; /* threads that may run here now, of all domains */
	bool settled; /* dedicated: its thread stands here now */
	char *intruders; /* dedicated: others that may run here now, "" for none; cut after a few */
};

/* One entry a core of the host, in its order; NULL on out of memory. */
struct cli_core *cli_core_map(const struct vbmq_snapshot *snapshot, const struct vbmq_plan *plan);
void cli_core_map_free(struct cli_core *map, size_t n_cores);

extern const char *const cli_core_use_words[]; /* shared dedicated unusable pinned */
