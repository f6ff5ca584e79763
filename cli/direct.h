/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "apply/engine.h"
#include "bus/parts.h"
#include "cli.h"
#include "core/report.h"
#include "source.h"

/* Changes without vbmqd (--direct): the connection, the undo record and the engine of one verb. */
struct cli_direct {
	struct cli *cli;
	struct vbmq_virt *virt;
	struct vbmq_undo *undo;
	struct vbmq_actuator actuator;
	struct vbmq_bus_parts own;
	struct vbmq_part_actuator parts;
	struct vbmq_apply apply;
};

/* 0 or an exit code after a message; close in any case. Refused while vbmqd runs, unless it is a dry run. */
int cli_direct_begin(struct cli *cli, struct cli_direct *ret);
void cli_direct_end(struct cli_direct *d);

/* A snapshot as it is now, with the policy of --policy. No plan yet. */
int cli_direct_look(struct cli_direct *d, struct cli_source *source);

/* Applies the plan, reads back and compares. *ret_ok: all was done, all checks hold. */
int cli_direct_apply(struct cli_direct *d, const struct vbmq_snapshot *snapshot, const struct vbmq_plan *plan,
		     struct vbmq_report **ret, bool *ret_ok);

/* The report's document; plan NULL: a restore, the snapshot gives the names. Caller frees. */
int cli_direct_report(const struct vbmq_report *report, const struct vbmq_plan *plan,
		      const struct vbmq_snapshot *snapshot, const struct vbmq_step *steps, size_t n_steps, char **ret);
