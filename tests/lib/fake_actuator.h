/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * An actuator for tests: the dry-run actuator's copy of a snapshot, with scripted faults in front and a judge behind. At
 * every step that changes something it checks what the engine promises:
 *   - no step makes two threads meet on a place that one of them has for himself;
 *   - what is touched is in the undo record as saved last, with what the very first state had.
 * The first breach is kept in words.
 */

#include "apply/act_dryrun.h"
#include "apply/engine.h"

enum fake_effect {
	FAKE_NOTHING, /* the step does nothing and returns error (0: claims to have worked: read back differently) */
	FAKE_WORKS, /* the step works, and then returns error: a call that timed out and came through all the same */
	FAKE_VANISH, /* the domain is gone: nothing, -ENOENT from now on */
	FAKE_REUSED, /* the thread has ended and another one has its tid: -ESRCH from now on */
	FAKE_SILENT, /* the domain does not answer from now on: -ETIMEDOUT */
	FAKE_CRASH, /* we die: nothing is done or saved any more */
	FAKE_CRASH_AFTER, /* the same, right after the step worked */
	FAKE_BLIND, /* the step works but cannot be read back: error from observe */
};

struct fake_fault {
	size_t at; /* the how manieth execute, from 0 */
	enum fake_effect effect;
	int error;
};

#define FAKE_FAULTS_MAX 4
#define FAKE_THREADS_MAX 512

struct fake_promise { /* a thread that has a place for himself */
	char uuid[37];
	enum vbmq_thread_kind kind;
	uint32_t id;
	struct vbmq_cpuset region; /* its CPUs, and siblings that must stay idle */
};

struct fake {
	struct vbmq_actuator actuator; /* give this to the engine */
	struct vbmq_dryrun *dry;
	struct vbmq_actuator inner;
	struct vbmq_dryrun *original; /* the very first state */
	struct fake_fault faults[FAKE_FAULTS_MAX];
	size_t n_faults;
	size_t n_executed;
	const struct vbmq_placement *placement; /* whose promises are watched */
	struct fake_promise promises[FAKE_THREADS_MAX];
	size_t n_promises;
	char faulted[FAKE_FAULTS_MAX][37]; /* uuids of domains that had a fault */
	size_t n_faulted;
	char gone[37], silent[37], reused[37]; /* uuids */
	enum vbmq_thread_kind reused_kind;
	uint32_t reused_id;
	bool blind, dead;
	int blind_error;
	struct vbmq_undo *saved; /* the record "on disk" */
	size_t n_saves, fail_save; /* fail_save: 1 the first, 2 the second, ... */
	size_t cancel_at; /* steps; SIZE_MAX never */
	size_t n_asked;
	bool restoring; /* the record need not cover what is done */
	char breach[1024];
	struct vbmq_apply apply; /* ready to use: this actuator, save, cancelled */
};

/* state: where it begins; original: the very first state (NULL: the same); saved: the record on disk (NULL: empty). */
void fake_init(struct fake *f, const struct vbmq_snapshot *state, const struct vbmq_snapshot *original,
	       const struct vbmq_undo *saved);
void fake_done(struct fake *f);
/* Whose promises are watched from now on; those who stand on their place already have it. */
void fake_watch(struct fake *f, const struct vbmq_placement *placement);
/* The domain's promises are given up: it is being put back. */
void fake_release(struct fake *f, const char *uuid);
void fake_fault(struct fake *f, size_t at, enum fake_effect effect, int error);
const struct vbmq_snapshot *fake_state(const struct fake *f);
