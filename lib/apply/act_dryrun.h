/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An actuator on a copy of a snapshot in memory: steps change the copy. Dry runs, property tests and the fake of the
 * tests stand on it: what the engine leaves behind can be verified like a real host. */

#include "apply/actuator.h"

struct vbmq_dryrun;

int vbmq_dryrun_new(const struct vbmq_snapshot *snapshot, struct vbmq_dryrun **ret, struct vbmq_actuator *ret_actuator);
/* The same copy's host. */
struct vbmq_part_actuator vbmq_dryrun_parts(struct vbmq_dryrun *d);
struct vbmq_dryrun *vbmq_dryrun_free(struct vbmq_dryrun *d);
const struct vbmq_snapshot *vbmq_dryrun_state(const struct vbmq_dryrun *d); /* as the steps left it; borrowed */
