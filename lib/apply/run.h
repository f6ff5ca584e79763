/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One step through the actuator: do, look, compare, and tell the track what is known now. Internal to apply. */

#include "apply/actuator.h"
#include "apply/track.h"

struct vbmq_strbuf;

/*
 * 0: done and read back as wanted. Otherwise the actuator's error (-ENOENT: the whole domain is marked gone in track,
 * -ESRCH: the thread is marked lost) or -EIO: read back differently. With within not NULL, affinities are compared on these CPUs only
 * (what was found may name CPUs that are offline by now). err is always set on failure.
 */
int vbmq_run_step(struct vbmq_track *track, const struct vbmq_actuator *actuator, const struct vbmq_step *step,
		  const struct vbmq_cpuset *within, struct vbmq_err *err);

/* The same for a step of the host. */
int vbmq_run_part_step(struct vbmq_track *track, const struct vbmq_part_actuator *actuator,
		       const struct vbmq_step *step, struct vbmq_err *err);

/* "db1/iothread1", "db1/vda": what a step is about. */
void vbmq_run_name(const struct vbmq_snapshot *snapshot, const struct vbmq_step *step, struct vbmq_strbuf *b);
void vbmq_run_thread_name(const struct vbmq_snapshot *snapshot, const struct vbmq_track_thread *th,
			  struct vbmq_strbuf *b);
/* The set's list form; nothing where memory ran out (texts are a help, never a reason to fail). */
void vbmq_run_cpus(struct vbmq_strbuf *b, const struct vbmq_cpuset *cpus);
