/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The record itself: an array sorted by (uuid, kind, thread, id, tid, target), so that the same content gives the same
 * document and a domain's entries stand together. Playing it back is undo_steps.c.
 *
 * Every entry belongs to one instance of its thing. Three things can be said of an entry against a domain as it is now:
 * it is about what stands there (current), about an earlier one of the same name (stale: the guest was restarted, the
 * thread removed and added again), or its thing is not there at all (missing). A new touch replaces stale entries: what an
 * earlier instance had is no answer to "what was before we came". Missing ones may only be cleared away when the snapshot
 * is complete (prune), because a thread we are about to add is missing as well.
 *
 * The tasks of an emulator other than its threads in the model have no instance of their own in a snapshot: they live and
 * die with the emulator's entry.
 */

#include "core/undo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/plan.h"
#include "core/undo_host.h"
#include "util/array.h"
#include "util/cleanup.h"

#define ENTRIES_MAX 1000000u

VBMQ_DEFINE_CLEANUP(struct vbmq_undo *, vbmq_undo_free);

const char *const vbmq_undo_kind_words[] = { "affinity", "task", "polling", "added", "map", "part", "irq", NULL };

struct vbmq_undo *vbmq_undo_new(void)
{
	return calloc(1, sizeof(struct vbmq_undo));
}

static void entry_done(struct vbmq_undo_entry *e)
{
	free(e->name);
	free(e->map);
	free(e->applied_map);
}

struct vbmq_undo *vbmq_undo_free(struct vbmq_undo *u)
{
	if (!u)
		return NULL;
	for (size_t i = 0; i < u->n_entries; i++)
		entry_done(&u->entries[i]);
	free(u->entries);
	free(u);
	return NULL;
}

static int map_copy(const uint32_t *map, size_t n, uint32_t **ret)
{
	uint32_t *copy = NULL;

	if (map && n > 0) {
		copy = calloc(n, sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, map, n * sizeof(*copy));
	}
	*ret = copy;
	return 0;
}

int vbmq_undo_copy(const struct vbmq_undo *u, struct vbmq_undo **ret)
{
	_cleanup_(vbmq_undo_freep) struct vbmq_undo *copy = vbmq_undo_new();

	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < u->n_entries; i++) {
		const struct vbmq_undo_entry *from = &u->entries[i];
		struct vbmq_undo_entry *e = vbmq_array_add(copy->entries, copy->n_entries, ENTRIES_MAX);

		if (!e)
			return -ENOMEM;
		*e = *from;
		e->name = NULL;
		e->map = e->applied_map = NULL;
		if (from->name && !(e->name = strdup(from->name)))
			return -ENOMEM;
		if (map_copy(from->map, from->n_map, &e->map) < 0 ||
		    map_copy(from->applied_map, from->n_map, &e->applied_map) < 0)
			return -ENOMEM;
	}
	*ret = VBMQ_STEAL(copy);
	return 0;
}

/* Fields that mean nothing for a kind have one value, so that a key is the same whoever made it. */
static struct vbmq_undo_entry make_key(enum vbmq_undo_kind kind, const char *uuid, enum vbmq_thread_kind thread,
				       uint32_t id, uint32_t tid, const char *target)
{
	struct vbmq_undo_entry key = { .kind = kind, .thread = thread, .id = id, .tid = tid };
	size_t n = strnlen(uuid, sizeof(key.uuid) - 1);

	memcpy(key.uuid, uuid, n);
	if (kind == VBMQ_UNDO_TASK || kind == VBMQ_UNDO_MAP) {
		key.thread = VBMQ_THREAD_EMULATOR;
		key.id = 0;
	} else if (kind == VBMQ_UNDO_POLLING || kind == VBMQ_UNDO_ADDED) {
		key.thread = VBMQ_THREAD_IOTHREAD;
	}
	if ((kind == VBMQ_UNDO_MAP || kind == VBMQ_UNDO_IRQ) && target)
		memcpy(key.target, target, strnlen(target, VBMQ_TARGET_MAX));
	return key;
}

#define COMPARE(a, b)                              \
	do {                                       \
		if ((a) != (b))                    \
			return (a) < (b) ? -1 : 1; \
	} while (0)

static int compare(const struct vbmq_undo_entry *a, const struct vbmq_undo_entry *b)
{
	int r = strcmp(a->uuid, b->uuid);

	if (r != 0)
		return r;
	COMPARE(a->kind, b->kind);
	COMPARE(a->thread, b->thread);
	COMPARE(a->id, b->id);
	COMPARE(a->tid, b->tid);
	return strcmp(a->target, b->target);
}

/* Index of the first entry that is not before key. */
static size_t lower_bound(const struct vbmq_undo *u, const struct vbmq_undo_entry *key)
{
	size_t from = 0, to = u->n_entries;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (compare(&u->entries[mid], key) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static size_t first_of(const struct vbmq_undo *u, const char *uuid)
{
	struct vbmq_undo_entry key = make_key(VBMQ_UNDO_AFFINITY, uuid, VBMQ_THREAD_VCPU, 0, 0, NULL);

	return lower_bound(u, &key);
}

const struct vbmq_undo_entry *vbmq_undo_find(const struct vbmq_undo *u, enum vbmq_undo_kind kind, const char *uuid,
					     enum vbmq_thread_kind thread, uint32_t id, uint32_t tid,
					     const char *target)
{
	struct vbmq_undo_entry key = make_key(kind, uuid, thread, id, tid, target);
	size_t at = lower_bound(u, &key);

	return at < u->n_entries && compare(&u->entries[at], &key) == 0 ? &u->entries[at] : NULL;
}

struct vbmq_undo_entry *vbmq_undo_entry(struct vbmq_undo *u, enum vbmq_undo_kind kind, const char *uuid,
					enum vbmq_thread_kind thread, uint32_t id, uint32_t tid, const char *target,
					bool *ret_new)
{
	struct vbmq_undo_entry key = make_key(kind, uuid, thread, id, tid, target);
	size_t at = lower_bound(u, &key);
	bool is_new = at >= u->n_entries || compare(&u->entries[at], &key) != 0;

	if (is_new) {
		if (!vbmq_array_add(u->entries, u->n_entries, ENTRIES_MAX))
			return NULL;
		memmove(&u->entries[at + 1], &u->entries[at], (u->n_entries - 1 - at) * sizeof(*u->entries));
		u->entries[at] = key;
	}
	if (ret_new)
		*ret_new = is_new;
	return &u->entries[at];
}

void vbmq_undo_drop(struct vbmq_undo *u, struct vbmq_undo_entry *entry)
{
	size_t at = (size_t)(entry - u->entries);

	entry_done(entry);
	memmove(entry, entry + 1, (u->n_entries - at - 1) * sizeof(*entry));
	u->n_entries--;
}

/* --- entries against a domain as it is ---------------------------------------------------------------------------- */

struct instance {
	uint32_t tid;
	uint64_t start;
};

/* The running instance of the domain: its main thread. */
static struct instance instance_of(const struct vbmq_domain *d)
{
	const struct vbmq_thread *t = vbmq_domain_thread(d, VBMQ_THREAD_EMULATOR, 0);

	return t ? (struct instance){ t->tid, t->start } : (struct instance){ d->pid, 0 };
}

static const struct vbmq_undo_entry *emulator_entry(const struct vbmq_undo *u, const struct vbmq_domain *d)
{
	struct instance in = instance_of(d);
	const struct vbmq_undo_entry *e =
		vbmq_undo_find(u, VBMQ_UNDO_AFFINITY, d->uuid, VBMQ_THREAD_EMULATOR, 0, in.tid, NULL);

	return e && e->start == in.start ? e : NULL;
}

bool vbmq_undo_added(const struct vbmq_undo *u, const struct vbmq_domain *d, uint32_t id)
{
	struct instance in = instance_of(d);
	const struct vbmq_undo_entry *e =
		vbmq_undo_find(u, VBMQ_UNDO_ADDED, d->uuid, VBMQ_THREAD_IOTHREAD, id, in.tid, NULL);

	return e && e->start == in.start;
}

static enum vbmq_undo_standing standing_of(bool there, struct instance is, const struct vbmq_undo_entry *e)
{
	if (!there)
		return VBMQ_UNDO_MISSING;
	return is.tid == e->tid && is.start == e->start ? VBMQ_UNDO_CURRENT : VBMQ_UNDO_STALE;
}

enum vbmq_undo_standing vbmq_undo_standing(const struct vbmq_undo *u, const struct vbmq_undo_entry *e,
					   const struct vbmq_domain *d)
{
	const struct vbmq_thread *t = vbmq_domain_thread(d, e->thread, e->id);
	struct instance in = instance_of(d);
	const struct vbmq_disk *disk;

	if (d->pid == 0)
		return VBMQ_UNDO_MISSING;
	switch (e->kind) {
	case VBMQ_UNDO_AFFINITY:
		if (e->tid == 0 && e->start != in.start)
			return VBMQ_UNDO_STALE;
		if (e->tid == 0 && !vbmq_undo_added(u, d, e->id))
			return VBMQ_UNDO_MISSING;
		return standing_of(
			t, t && e->tid != 0 ? (struct instance){ t->tid, t->start } : (struct instance){ 0, in.start },
			e);
	case VBMQ_UNDO_POLLING:
		return standing_of(t, t ? (struct instance){ t->tid, t->start } : in, e);
	case VBMQ_UNDO_TASK:
		return emulator_entry(u, d) ? VBMQ_UNDO_CURRENT : VBMQ_UNDO_MISSING;
	case VBMQ_UNDO_ADDED:
		if (in.tid != e->tid || in.start != e->start)
			return VBMQ_UNDO_STALE;
		return t ? VBMQ_UNDO_CURRENT : VBMQ_UNDO_MISSING;
	case VBMQ_UNDO_PART: /* of no domain */
	case VBMQ_UNDO_IRQ:
		return VBMQ_UNDO_MISSING;
	case VBMQ_UNDO_MAP:
		if (in.tid != e->tid || in.start != e->start)
			return VBMQ_UNDO_STALE;
		disk = vbmq_domain_disk(d, e->target);
		return disk && disk->n_queues == e->n_map ? VBMQ_UNDO_CURRENT : VBMQ_UNDO_MISSING;
	}
	return VBMQ_UNDO_MISSING;
}

/* Drops the domain's entries that stand at "worst" or worse (missing and stale, or stale alone). */
static size_t drop_domain(struct vbmq_undo *u, const struct vbmq_domain *d, enum vbmq_undo_standing worst)
{
	size_t n = 0, i = first_of(u, d->uuid);

	while (i < u->n_entries && strcmp(u->entries[i].uuid, d->uuid) == 0) {
		enum vbmq_undo_standing s = vbmq_undo_standing(u, &u->entries[i], d);

		/* an odd task is never stale by itself: it is missing as soon as the emulator's entry has gone */
		if (s >= worst || (s == VBMQ_UNDO_MISSING && u->entries[i].kind == VBMQ_UNDO_TASK)) {
			vbmq_undo_drop(u, &u->entries[i]);
			n++;
		} else {
			i++;
		}
	}
	return n;
}

size_t vbmq_undo_prune(struct vbmq_undo *u, const struct vbmq_snapshot *snapshot)
{
	size_t i, n = vbmq_undo_host_prune(u, snapshot, &i);

	while (i < u->n_entries) {
		char uuid[37];
		const struct vbmq_domain *d;

		memcpy(uuid, u->entries[i].uuid, sizeof(uuid));
		d = vbmq_snapshot_find(snapshot, uuid);
		if (d && d->responsive)
			n += drop_domain(u, d, VBMQ_UNDO_MISSING);
		while (i < u->n_entries && strcmp(u->entries[i].uuid, uuid) == 0) {
			if (d) {
				i++;
			} else {
				vbmq_undo_drop(u, &u->entries[i]);
				n++;
			}
		}
	}
	return n;
}

/* --- before the touch --------------------------------------------------------------------------------------------- */

static struct vbmq_undo_entry *new_entry(struct vbmq_undo *u, enum vbmq_undo_kind kind, const struct vbmq_domain *d,
					 enum vbmq_thread_kind thread, uint32_t id, struct instance in,
					 const char *target, bool *ret_new)
{
	struct vbmq_undo_entry *e = vbmq_undo_entry(u, kind, d->uuid, thread, id, in.tid, target, ret_new);

	if (!e || !*ret_new)
		return e;
	e->start = in.start;
	e->name = strdup(d->name ? d->name : d->uuid);
	if (!e->name) {
		vbmq_undo_drop(u, e);
		return NULL;
	}
	return e;
}

static int note_odd_tasks(struct vbmq_undo *u, const struct vbmq_domain *d)
{
	for (size_t i = 0; i < d->n_odd_tasks; i++) {
		const struct vbmq_odd_task *t = &d->odd_tasks[i];
		bool is_new;
		struct vbmq_undo_entry *e = new_entry(u, VBMQ_UNDO_TASK, d, VBMQ_THREAD_EMULATOR, 0,
						      (struct instance){ t->tid, t->start }, NULL, &is_new);

		if (!e)
			return -ENOMEM;
		if (is_new)
			e->found = t->affinity;
	}
	return 0;
}

static int note_pin(struct vbmq_undo *u, const struct vbmq_domain *d, const struct vbmq_step *step)
{
	const struct vbmq_thread *t = vbmq_domain_thread(d, step->kind, step->id);
	bool ours = step->kind == VBMQ_THREAD_IOTHREAD && vbmq_undo_added(u, d, step->id);
	struct instance in = { 0, instance_of(d).start };
	struct vbmq_undo_entry *e;
	bool is_new;

	if (!t && !ours)
		return 0;
	if (!ours)
		in = (struct instance){ t->tid, t->start };
	e = new_entry(u, VBMQ_UNDO_AFFINITY, d, step->kind, step->id, in, NULL, &is_new);
	if (!e)
		return -ENOMEM;
	if (is_new && !ours) {
		e->found = t->affinity;
		e->had_pin = t->has_pin;
		e->pin = t->pin;
	}
	e->applied = *step->cpus;
	e->exclusive = step->exclusive;
	e->settled = false;
	return is_new && step->kind == VBMQ_THREAD_EMULATOR ? note_odd_tasks(u, d) : 0;
}

static int note_polling(struct vbmq_undo *u, const struct vbmq_domain *d, uint32_t id)
{
	const struct vbmq_thread *t = vbmq_domain_thread(d, VBMQ_THREAD_IOTHREAD, id);
	struct vbmq_undo_entry *e;
	bool is_new;

	if (!t || t->polling.max_ns == UINT64_MAX || vbmq_undo_added(u, d, id))
		return 0;
	e = new_entry(u, VBMQ_UNDO_POLLING, d, VBMQ_THREAD_IOTHREAD, id, (struct instance){ t->tid, t->start }, NULL,
		      &is_new);
	if (!e)
		return -ENOMEM;
	if (is_new)
		e->polling = t->polling;
	return 0;
}

/* Room for what will have been set is taken here: after the touch there must be no need of memory. */
static int note_map(struct vbmq_undo *u, const struct vbmq_domain *d, const char *target)
{
	const struct vbmq_disk *disk = vbmq_domain_disk(d, target);
	struct vbmq_undo_entry *e;
	bool is_new;

	if (!disk || disk->n_queues == 0)
		return 0;
	e = new_entry(u, VBMQ_UNDO_MAP, d, VBMQ_THREAD_EMULATOR, 0, instance_of(d), target, &is_new);
	if (!e)
		return -ENOMEM;
	e->settled = false;
	if (is_new) {
		e->n_map = disk->n_queues;
		e->map = calloc(disk->n_queues, sizeof(*e->map));
	}
	if (!e->applied_map)
		e->applied_map = calloc(e->n_map, sizeof(*e->applied_map));
	if (!e->map || !e->applied_map) {
		if (is_new)
			vbmq_undo_drop(u, e);
		return -ENOMEM;
	}
	for (size_t i = 0; is_new && i < disk->n_queues; i++)
		e->map[i] = disk->queues[i].iothread;
	return 0;
}

int vbmq_undo_note(struct vbmq_undo *u, const struct vbmq_snapshot *snapshot, const struct vbmq_step *step)
{
	const struct vbmq_domain *d;
	bool is_new;

	if (vbmq_step_is_of_host(step))
		return vbmq_undo_host_note(u, snapshot, step);
	if (step->domain >= snapshot->n_domains)
		return 0;
	d = snapshot->domains[step->domain];
	drop_domain(u, d, VBMQ_UNDO_STALE);
	switch (step->op) {
	case VBMQ_STEP_ADD_IOTHREAD:
		/* one that is there already is not ours; the step will fail */
		if (vbmq_domain_thread(d, VBMQ_THREAD_IOTHREAD, step->id))
			return 0;
		return new_entry(u, VBMQ_UNDO_ADDED, d, VBMQ_THREAD_IOTHREAD, step->id, instance_of(d), NULL, &is_new)
			       ? 0
			       : -ENOMEM;
	case VBMQ_STEP_PIN:
		return note_pin(u, d, step);
	case VBMQ_STEP_SET_POLLING:
		return note_polling(u, d, step->id);
	case VBMQ_STEP_MAP_QUEUES:
		return note_map(u, d, step->target);
	case VBMQ_STEP_LIMIT_SLICE:
	case VBMQ_STEP_BAN_IRQS:
	case VBMQ_STEP_MOVE_IRQ:
		return 0; /* see above */
	case VBMQ_STEP_DEL_IOTHREAD:
		return 0; /* only threads that we added are deleted: nothing to put back */
	}
	return 0;
}

/* --- at start ----------------------------------------------------------------------------------------------------- */

const struct vbmq_undo_entry *vbmq_undo_affinity(const struct vbmq_undo *u, const struct vbmq_domain *d,
						 const struct vbmq_thread *t)
{
	bool ours = t->kind == VBMQ_THREAD_IOTHREAD && vbmq_undo_added(u, d, t->id);
	uint64_t start = ours ? instance_of(d).start : t->start;
	const struct vbmq_undo_entry *e =
		vbmq_undo_find(u, VBMQ_UNDO_AFFINITY, d->uuid, t->kind, t->id, ours ? 0 : t->tid, NULL);

	return e && e->start == start ? e : NULL;
}

const struct vbmq_undo_entry *vbmq_undo_map(const struct vbmq_undo *u, const struct vbmq_domain *d, const char *target)
{
	const struct vbmq_undo_entry *e =
		vbmq_undo_find(u, VBMQ_UNDO_MAP, d->uuid, VBMQ_THREAD_EMULATOR, 0, instance_of(d).tid, target);

	return e && vbmq_undo_standing(u, e, d) == VBMQ_UNDO_CURRENT ? e : NULL;
}

static void overlay_thread(const struct vbmq_undo *u, const struct vbmq_domain *d, struct vbmq_thread *t)
{
	const struct vbmq_undo_entry *e = vbmq_undo_affinity(u, d, t);

	const struct vbmq_undo_entry *polling =
		t->kind == VBMQ_THREAD_IOTHREAD
			? vbmq_undo_find(u, VBMQ_UNDO_POLLING, d->uuid, t->kind, t->id, t->tid, NULL)
			: NULL;

	if (t->kind == VBMQ_THREAD_IOTHREAD && vbmq_undo_added(u, d, t->id))
		t->added = true;
	if (polling && polling->start == t->start) {
		t->polling_held = true;
		t->found_polling = polling->polling;
	}
	if (!e)
		return;
	t->held = true;
	t->applied = e->settled ? e->applied : t->affinity;
	t->own = e->exclusive && (e->settled || vbmq_cpuset_equal(&t->affinity, &e->applied));
	t->has_pin = e->had_pin;
	t->pin = e->pin;
}

static void overlay_disk(const struct vbmq_undo *u, const struct vbmq_domain *d, struct vbmq_disk *disk)
{
	const struct vbmq_undo_entry *e = vbmq_undo_map(u, d, disk->target);

	disk->held = e && e->settled;
	for (size_t q = 0; disk->held && q < disk->n_queues; q++)
		disk->queues[q].applied = e->applied_map[q];
}

void vbmq_undo_overlay(const struct vbmq_undo *u, struct vbmq_snapshot *snapshot)
{
	vbmq_undo_host_overlay(u, snapshot);
	for (size_t i = 0; i < snapshot->n_domains; i++) {
		struct vbmq_domain *d = snapshot->domains[i];

		for (size_t j = 0; j < d->n_threads; j++)
			overlay_thread(u, d, &d->threads[j]);
		for (size_t j = 0; j < d->n_disks; j++)
			overlay_disk(u, d, &d->disks[j]);
	}
}
