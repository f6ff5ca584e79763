/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The undo record: what every thing was before VBMq touched it. Written to disk before the touch (apply/engine.h), read
 * at start (adoption), played back by restore. One entry for a thing however often it is touched: "found" stays what the
 * first touch found, "applied" is what was set last. An entry is for one instance (tid and start time), so a guest that was
 * restarted has none: AFFINITY and POLLING name the thread, TASK the task, ADDED and MAP the emulator's main thread. An
 * I/O thread that we added has an ADDED entry and, once it was pinned, an AFFINITY entry with tid 0 and nothing found:
 * restore deletes it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/snapshot.h"

struct vbmq_step;

enum vbmq_undo_kind {
	VBMQ_UNDO_AFFINITY, /* thread, found/applied CPUs, the pin the owner had */
	VBMQ_UNDO_TASK, /* a thread of the emulator whose affinity was not the union (vbmq_odd_task): tid, start, found */
	VBMQ_UNDO_POLLING, /* id, polling */
	VBMQ_UNDO_ADDED, /* I/O thread we added: id */
	VBMQ_UNDO_MAP, /* target, map found */
	VBMQ_UNDO_PART, /* of the host itself, uuid "": id is the part, found/applied as in struct vbmq_part */
	VBMQ_UNDO_IRQ, /* of the host itself, uuid "": id is the interrupt, target its name, found/applied its affinity */
};

struct vbmq_undo_entry {
	enum vbmq_undo_kind kind;
	char uuid[37];
	char *name; /* of the domain, for people; owned */
	enum vbmq_thread_kind thread; /* AFFINITY */
	uint32_t id;
	uint32_t tid; /* of the instance, see above; all kinds */
	uint64_t start;
	struct vbmq_cpuset found; /* AFFINITY, TASK, PART, IRQ: as it was before the first touch */
	bool had_pin; /* AFFINITY: the owner's pin in the live XML before the first touch */
	struct vbmq_cpuset pin;
	struct vbmq_cpuset applied; /* AFFINITY, PART, IRQ: what we set last */
	bool exclusive; /* AFFINITY: applied is a place of its own, nobody else may be there */
	bool settled; /* AFFINITY, MAP, PART, IRQ: false while an apply is under way: then (after a crash) the thing may stand
	                                * anywhere between found and applied without anybody but us having moved it */
	struct vbmq_polling polling; /* POLLING: found */
	char target[VBMQ_TARGET_MAX + 1];
	uint32_t *map; /* MAP: found; owned */
	uint32_t *
		applied_map; /* MAP: what we set last, n_map of them; owned; means nothing unless settled; may be NULL then */
	size_t n_map;
};

struct vbmq_undo {
	struct vbmq_undo_entry *entries; /* sorted by uuid, kind, thread, id, tid, target */
	size_t n_entries;
};

struct vbmq_undo *vbmq_undo_new(void);
struct vbmq_undo *vbmq_undo_free(struct vbmq_undo *u);
int vbmq_undo_copy(const struct vbmq_undo *u, struct vbmq_undo **ret);

/* Finds or adds; *ret_new tells. Never changes the "found" part of an existing entry. NULL: no memory. */
struct vbmq_undo_entry *vbmq_undo_entry(struct vbmq_undo *u, enum vbmq_undo_kind kind, const char *uuid,
					enum vbmq_thread_kind thread, uint32_t id, uint32_t tid, const char *target,
					bool *ret_new);
const struct vbmq_undo_entry *vbmq_undo_find(const struct vbmq_undo *u, enum vbmq_undo_kind kind, const char *uuid,
					     enum vbmq_thread_kind thread, uint32_t id, uint32_t tid,
					     const char *target);

/* Remembers what step is about to change, as snapshot knows it, and sets "applied" to what the step wants (not settled). A
 * step on a thing the snapshot does not know leaves no entry. 0 or -ENOMEM. */
int vbmq_undo_note(struct vbmq_undo *u, const struct vbmq_snapshot *snapshot, const struct vbmq_step *step);

/* Drops entries whose thread (tid and start) or domain is not in the snapshot any more; keeps those of domains listed as
 * unresponsive. Returns how many were dropped. */
size_t vbmq_undo_prune(struct vbmq_undo *u, const struct vbmq_snapshot *snapshot);

/* An entry against its domain as it is now. */
enum vbmq_undo_standing {
	VBMQ_UNDO_CURRENT,
	VBMQ_UNDO_MISSING, /* its thread, disk or running domain is not there */
	VBMQ_UNDO_STALE, /* about an earlier instance: the guest was restarted, the thread removed and added again */
};
enum vbmq_undo_standing vbmq_undo_standing(const struct vbmq_undo *u, const struct vbmq_undo_entry *e,
					   const struct vbmq_domain *d);
/* Whether I/O thread id of the running instance of d was added by us (it need not be in d yet). */
bool vbmq_undo_added(const struct vbmq_undo *u, const struct vbmq_domain *d, uint32_t id);
/* The current AFFINITY entry of a thread, or NULL. */
const struct vbmq_undo_entry *vbmq_undo_affinity(const struct vbmq_undo *u, const struct vbmq_domain *d,
						 const struct vbmq_thread *t);
/* The current MAP entry of a disk, or NULL. */
const struct vbmq_undo_entry *vbmq_undo_map(const struct vbmq_undo *u, const struct vbmq_domain *d, const char *target);

/* The entry of a part of the host as it is now (irqbalance: that very process), or NULL. */
const struct vbmq_undo_entry *vbmq_undo_part(const struct vbmq_undo *u, const struct vbmq_host *h, unsigned part);

/* The entry of an interrupt of the snapshot, or NULL. */
const struct vbmq_undo_entry *vbmq_undo_irq(const struct vbmq_undo *u, const struct vbmq_irq *irq);

/* Removes one entry (a pointer into u->entries). */
void vbmq_undo_drop(struct vbmq_undo *u, struct vbmq_undo_entry *entry);

/* Marks the snapshot's threads as held and gives them back their owner's pin: see struct vbmq_thread. A thread whose entry
 * is not settled gets applied = affinity: where it stands is our doing as far as anybody can tell, not drift. Disks
 * likewise, but one whose entry is not settled is not held. */
void vbmq_undo_overlay(const struct vbmq_undo *u, struct vbmq_snapshot *snapshot);

/*
 * The steps that put everything (or one domain, uuid not NULL) back as found: queue maps, polling, threads that leave a
 * place of their own, all other threads, odd tasks, added threads deleted, the host's own parts. What already is as found
 * gets no step. With uuid the host's parts stay as they are, and what was found is cut by the places that threads of other domains have for themselves now; a step whose cpus are
 * fewer than the entry's found says so by that, and nothing left means no step. *ret_steps: vbmq_steps_free().
 */
int vbmq_undo_steps(const struct vbmq_undo *u, const struct vbmq_snapshot *snapshot, const char *uuid,
		    struct vbmq_step **ret_steps, size_t *ret_n, struct vbmq_err *err);

extern const char *const vbmq_undo_kind_words[]; /* affinity task polling added map part irq */
