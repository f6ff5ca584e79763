/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"
#include "core/fleet.h"
#include "core/plan.h"
#include "core/snapshot.h"
#include "core/undo.h"

/*
 * Where a verb's snapshot comes from: vbmqd (default), libvirt and /proc directly (--direct), a captured file (--snapshot),
 * or a described host (--host, --domain, --device); described guests (--fleet, --guest) come on top of any. The plan is computed here from it: the planner is pure, so the daemon and
 * we get the same one, with the same id.
 */

struct cli_source {
	struct vbmq_snapshot *snapshot;
	struct vbmq_policy policy; /* --policy, else the snapshot's, else the defaults */
	bool has_policy; /* policy is to be freed */
	struct vbmq_fleet fleet; /* of --fleet and --guest; no templates: none was given */
	struct vbmq_plan *plan; /* set by cli_source_plan() */
	char *origin; /* "vbmqd", "libvirt", file name: for headings */
};

/* 0 or an exit code after a message. */
int cli_source_load(struct cli *cli, struct cli_source *ret);
int cli_source_plan(struct cli_source *source);
/* --svg: the picture of the planned source. *ret_only: it went to standard output, so nothing else does. */
int cli_source_draw(const struct cli *cli, const struct cli_source *source, bool *ret_only);
void cli_source_done(struct cli_source *source);

/* What QEMU and libvirt of a described domain are assumed to be able to do at its next start. */
struct vbmq_caps cli_assumed_caps(enum vbmq_capability level);

/* --policy FILE on top of *policy (already initialised); no option: nothing. */
int cli_load_policy(const struct cli *cli, struct vbmq_policy *policy);

/* --direct: connects, reads the undo record below run_dir (none: an empty one), captures. */
struct vbmq_virt;
int cli_direct_open(const struct cli *cli, struct vbmq_virt **ret);
int cli_direct_undo(const struct cli *cli, struct vbmq_undo **ret);
int cli_direct_snapshot(const struct cli *cli, struct vbmq_virt *v, const struct vbmq_undo *undo,
			const struct vbmq_policy *policy, struct vbmq_snapshot **ret);
