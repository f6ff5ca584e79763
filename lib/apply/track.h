/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where every thread of every domain may run at this moment of an apply, as far as is known: the snapshot, brought up to
 * date with what every step was read back as. Internal to apply. All memory is taken when it is made (room for the threads
 * the steps add included), so that nothing can run out once guests are being touched.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apply/actuator.h"
#include "core/undo.h"

struct vbmq_track_thread {
	uint32_t domain;
	enum vbmq_thread_kind kind;
	uint32_t id;
	const struct vbmq_thread *thread; /* the snapshot's; NULL: added by a step */
	bool gone; /* holds nothing */
	bool lost; /* not ours to touch any more (ended, or another one has its tid); whoever is there may still run there */
	bool idle; /* just added, not pinned yet, serves nothing: meets nobody */
	bool known; /* cpus was read (else: the widest it can be) */
	bool exclusive; /* cpus is a place of its own */
	struct vbmq_cpuset cpus;
	struct vbmq_polling polling; /* I/O threads; max_ns UINT64_MAX: not known */
};

struct vbmq_track_disk {
	uint32_t domain;
	const char *target; /* borrowed */
	uint32_t *map;
	size_t n_map;
	bool known; /* map was read (else: it may be any that a step asked for) */
};

struct vbmq_track_part {
	bool known; /* read back after a step */
	struct vbmq_cpuset cpus;
};

struct vbmq_track {
	const struct vbmq_snapshot *snapshot;
	const struct vbmq_placement *placement; /* or NULL */
	struct vbmq_track_thread *threads; /* the snapshot's, then added ones */
	size_t n_threads, max_threads;
	size_t *first_thread; /* by domain: index of its first thread */
	struct vbmq_track_disk *disks;
	size_t n_disks;
	struct vbmq_track_part parts[VBMQ_PARTS];
	struct vbmq_track_part *irqs; /* as the snapshot has them */
};

/* placement may be NULL (restore): then only undo knows who has a place of its own. Borrows all of them. */
int vbmq_track_new(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
		   const struct vbmq_undo *undo, const struct vbmq_step *steps, size_t n_steps,
		   struct vbmq_track **ret);
struct vbmq_track *vbmq_track_free(struct vbmq_track *t);

struct vbmq_track_thread *vbmq_track_thread(const struct vbmq_track *t, uint32_t domain, enum vbmq_thread_kind kind,
					    uint32_t id); /* or NULL; also gone ones */
struct vbmq_track_disk *vbmq_track_disk(const struct vbmq_track *t, uint32_t domain, const char *target); /* or NULL */

/* Of a step of the host: its part or interrupt, or NULL. */
struct vbmq_track_part *vbmq_track_part(struct vbmq_track *t, const struct vbmq_step *step);

/* The step as if it had worked. */
void vbmq_track_assume(struct vbmq_track *t, const struct vbmq_step *step);
/* What was seen after a step was tried: observed NULL means that nobody could look. */
void vbmq_track_learn(struct vbmq_track *t, const struct vbmq_step *step, const struct vbmq_observed *observed);
void vbmq_track_domain_gone(struct vbmq_track *t, uint32_t domain);
bool vbmq_track_serves(const struct vbmq_track *t, uint32_t domain, uint32_t iothread); /* a queue is mapped to it */

/* How badly a on a_cpus and b meet: 0 not, or nobody of them is promised a place of his own; 1 on the siblings of one core;
 * 2 on a CPU. */
unsigned vbmq_track_meet(const struct vbmq_track *t, const struct vbmq_cpuset *a_cpus, bool a_exclusive,
			 const struct vbmq_track_thread *b);

/* All CPUs that threads have for themselves now, whoever it is but except: their own, and the siblings that stay
 * idle for them (where the placement has them idle; where it says nothing, those on which nobody may run now). */
struct vbmq_cpuset vbmq_track_held(const struct vbmq_track *t, const struct vbmq_track_thread *except);
