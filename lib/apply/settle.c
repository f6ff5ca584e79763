/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "apply/settle.h"

#include <errno.h>
#include <string.h>

static struct vbmq_undo_entry *affinity_entry(struct vbmq_undo *u, const struct vbmq_domain *d,
					      const struct vbmq_track_thread *th)
{
	const struct vbmq_thread *t = th->thread;
	const struct vbmq_undo_entry *e = t ? vbmq_undo_affinity(u, d, t)
					    : vbmq_undo_find(u, VBMQ_UNDO_AFFINITY, d->uuid, th->kind, th->id, 0, NULL);

	return e ? &u->entries[e - u->entries] : NULL;
}

static void settle_pin(struct vbmq_undo *u, const struct vbmq_track *track, const struct vbmq_step *s)
{
	const struct vbmq_track_thread *th = vbmq_track_thread(track, s->domain, s->kind, s->id);
	struct vbmq_undo_entry *e;

	if (!th || th->gone || th->lost || !th->known)
		return;
	e = affinity_entry(u, track->snapshot->domains[s->domain], th);
	if (!e)
		return;
	e->applied = th->cpus;
	e->exclusive = th->exclusive;
	e->settled = true;
}

static void settle_map(struct vbmq_undo *u, const struct vbmq_track *track, uint32_t domain, const char *target)
{
	const struct vbmq_track_disk *disk = vbmq_track_disk(track, domain, target);
	const struct vbmq_undo_entry *found = vbmq_undo_map(u, track->snapshot->domains[domain], target);
	struct vbmq_undo_entry *e = found ? &u->entries[found - u->entries] : NULL;

	if (!disk || !e || !e->applied_map || disk->n_map != e->n_map)
		return;
	memcpy(e->applied_map, disk->map, e->n_map * sizeof(*e->applied_map));
	e->settled = disk->known;
}

/* Forgets an I/O thread that is not ours or not there. */
static void drop_added(struct vbmq_undo *u, const struct vbmq_domain *d, uint32_t id)
{
	size_t i = 0;

	if (!vbmq_undo_added(u, d, id))
		return;
	while (i < u->n_entries) {
		const struct vbmq_undo_entry *e = &u->entries[i];

		if (e->id == id && strcmp(e->uuid, d->uuid) == 0 &&
		    (e->kind == VBMQ_UNDO_ADDED ||
		     (e->kind == VBMQ_UNDO_AFFINITY && e->thread == VBMQ_THREAD_IOTHREAD && e->tid == 0)))
			vbmq_undo_drop(u, &u->entries[i]);
		else
			i++;
	}
}

/* One that is as found, or not there any more, is not held. */
static void settle_irq(struct vbmq_undo *u, struct vbmq_track *track, const struct vbmq_step *s,
		       const struct vbmq_step_result *result)
{
	const struct vbmq_irq *irq = vbmq_snapshot_irq(track->snapshot, s->id, s->target);
	const struct vbmq_undo_entry *found = irq ? vbmq_undo_irq(u, irq) : NULL;
	const struct vbmq_track_part *is = vbmq_track_part(track, s);
	struct vbmq_undo_entry *e = found ? &u->entries[found - u->entries] : NULL;

	if (!e || (!is->known && result->error != -ENOENT))
		return;
	if (!is->known || (!s->exclusive && vbmq_cpuset_equal(&is->cpus, &e->found))) {
		vbmq_undo_drop(u, e);
		return;
	}
	e->applied = is->cpus;
	e->settled = true;
}

/* A part that is as found is not held any more: what the operator sets from now on is his. */
static void settle_part(struct vbmq_undo *u, const struct vbmq_track *track, const struct vbmq_step *s)
{
	const struct vbmq_undo_entry *found = vbmq_undo_part(u, track->snapshot->host, s->id);
	struct vbmq_undo_entry *e = found ? &u->entries[found - u->entries] : NULL;
	const struct vbmq_cpuset *is = &track->parts[s->id].cpus;

	if (!e || !track->parts[s->id].known)
		return;
	if (s->id < VBMQ_SLICES ? vbmq_cpuset_equal(is, &e->found) : vbmq_cpuset_is_empty(is)) {
		vbmq_undo_drop(u, e);
		return;
	}
	e->applied = *is;
	e->settled = true;
}

void vbmq_settle(struct vbmq_undo *u, struct vbmq_track *track, const struct vbmq_step *steps,
		 const struct vbmq_step_result *results, size_t n_steps)
{
	for (size_t i = 0; i < n_steps; i++) {
		if (steps[i].op == VBMQ_STEP_PIN)
			settle_pin(u, track, &steps[i]);
		else if (steps[i].op == VBMQ_STEP_MAP_QUEUES)
			settle_map(u, track, steps[i].domain, steps[i].target);
		else if (steps[i].op == VBMQ_STEP_MOVE_IRQ)
			settle_irq(u, track, &steps[i], &results[i]);
		else if (vbmq_step_is_of_host(&steps[i]))
			settle_part(u, track, &steps[i]);
	}
	for (size_t i = 0; i < n_steps; i++) {
		const struct vbmq_step *s = &steps[i];
		const struct vbmq_track_thread *th;

		if (s->op != VBMQ_STEP_ADD_IOTHREAD && s->op != VBMQ_STEP_DEL_IOTHREAD)
			continue;
		th = vbmq_track_thread(track, s->domain, VBMQ_THREAD_IOTHREAD, s->id);
		/* of a domain that is gone nothing was seen; prune will know */
		if (results[i].error == -ENOENT)
			continue;
		if (!th || th->gone || (s->op == VBMQ_STEP_ADD_IOTHREAD && results[i].error == -EEXIST))
			drop_added(u, track->snapshot->domains[s->domain], s->id);
	}
}

/* --- after a restore ---------------------------------------------------------------------------------------------- */

static bool affinity_is_back(const struct vbmq_track *track, uint32_t domain, const struct vbmq_undo_entry *e)
{
	const struct vbmq_track_thread *th = vbmq_track_thread(track, domain, e->thread, e->id);
	const struct vbmq_cpuset *online = &track->snapshot->host->online;
	struct vbmq_cpuset is, found;

	if (!th || th->gone)
		return true;
	/* one that we added goes together with its ADDED entry; whether a lost one is there, the next snapshot tells */
	if (e->tid == 0 || th->lost || !th->known)
		return false;
	is = vbmq_cpuset_and(&th->cpus, online);
	found = vbmq_cpuset_and(&e->found, online);
	return vbmq_cpuset_equal(&is, &found);
}

static bool task_is_back(const struct vbmq_track *track, uint32_t domain, const struct vbmq_undo_entry *e,
			 const struct vbmq_step *steps, const struct vbmq_step_result *results, size_t n_steps)
{
	const struct vbmq_domain *d = track->snapshot->domains[domain];

	for (size_t i = 0; i < n_steps; i++)
		if (steps[i].domain == domain && steps[i].tid == e->tid)
			return results[i].error == -ESRCH ||
			       (results[i].outcome == VBMQ_OUTCOME_DONE && vbmq_cpuset_equal(steps[i].cpus, &e->found));
	for (size_t i = 0; i < d->n_odd_tasks; i++)
		if (d->odd_tasks[i].tid == e->tid)
			return vbmq_cpuset_equal(&d->odd_tasks[i].affinity, &e->found);
	return false;
}

/* The next try to put back the emulator sets all its tasks alike once more: until it is back, theirs must stay. */
static bool emulator_is_back(const struct vbmq_undo *u, const struct vbmq_track *track, uint32_t domain)
{
	const struct vbmq_domain *d = track->snapshot->domains[domain];
	const struct vbmq_thread *t = vbmq_domain_thread(d, VBMQ_THREAD_EMULATOR, 0);
	const struct vbmq_undo_entry *e = t ? vbmq_undo_affinity(u, d, t) : NULL;

	return !e || affinity_is_back(track, domain, e);
}

static bool polling_is_back(const struct vbmq_track *track, uint32_t domain, const struct vbmq_undo_entry *e)
{
	const struct vbmq_track_thread *th = vbmq_track_thread(track, domain, VBMQ_THREAD_IOTHREAD, e->id);

	return !th || th->gone ||
	       (!th->lost && th->polling.max_ns == e->polling.max_ns && th->polling.grow == e->polling.grow &&
		th->polling.shrink == e->polling.shrink && th->polling.mode == e->polling.mode);
}

static bool map_is_back(const struct vbmq_track *track, uint32_t domain, const struct vbmq_undo_entry *e)
{
	const struct vbmq_track_disk *disk = vbmq_track_disk(track, domain, e->target);

	return !disk || disk->n_map != e->n_map || memcmp(disk->map, e->map, e->n_map * sizeof(*e->map)) == 0;
}

static bool added_is_gone(const struct vbmq_track *track, uint32_t domain, uint32_t id)
{
	const struct vbmq_track_thread *th = vbmq_track_thread(track, domain, VBMQ_THREAD_IOTHREAD, id);

	return !th || th->gone;
}

static bool has_tasks(const struct vbmq_undo *u, const char *uuid)
{
	for (size_t i = 0; i < u->n_entries; i++)
		if (u->entries[i].kind == VBMQ_UNDO_TASK && strcmp(u->entries[i].uuid, uuid) == 0)
			return true;
	return false;
}

static void settle_entry(struct vbmq_undo *u, const struct vbmq_track *track, uint32_t domain,
			 struct vbmq_undo_entry *e)
{
	const struct vbmq_track_thread *th = vbmq_track_thread(track, domain, e->thread, e->id);

	if (e->kind == VBMQ_UNDO_MAP)
		settle_map(u, track, domain, e->target);
	if (e->kind != VBMQ_UNDO_AFFINITY || !th || th->gone || th->lost || !th->known)
		return;
	e->applied = th->cpus;
	e->exclusive = th->exclusive;
	e->settled = true;
}

/* Of a restore of all: units that needed no step are as found. */
static void settle_parts(struct vbmq_undo *u, struct vbmq_track *track, const struct vbmq_step *steps,
			 const struct vbmq_step_result *results, size_t n)
{
	const struct vbmq_host *h = track->snapshot->host;

	for (size_t i = 0; i < n; i++)
		if (steps[i].op == VBMQ_STEP_MOVE_IRQ)
			settle_irq(u, track, &steps[i], &results[i]);
		else if (vbmq_step_is_of_host(&steps[i]))
			settle_part(u, track, &steps[i]);
	for (unsigned p = 0; p < VBMQ_SLICES; p++) {
		const struct vbmq_undo_entry *e = vbmq_undo_part(u, h, p);

		if (e && !track->parts[p].known && h->parts[p].state == VBMQ_PART_OK &&
		    vbmq_cpuset_equal(&h->parts[p].cpus, &e->found))
			vbmq_undo_drop(u, &u->entries[e - u->entries]);
	}
}

void vbmq_settle_restored(struct vbmq_undo *u, struct vbmq_track *track, const char *uuid,
			  const struct vbmq_step *steps, const struct vbmq_step_result *results, size_t n_steps)
{
	if (!uuid)
		settle_parts(u, track, steps, results, n_steps);
	/* from the end: an emulator's own entry comes before, and may go only after, those of its odd tasks */
	for (size_t i = u->n_entries; i-- > 0;) {
		struct vbmq_undo_entry *e = &u->entries[i];
		uint32_t d = 0;
		bool back = false;

		if (i >= u->n_entries)
			continue; /* more than one went at once; nothing is missed, those before only came nearer */

		while (d < track->snapshot->n_domains && strcmp(track->snapshot->domains[d]->uuid, e->uuid) != 0)
			d++;
		if (d == track->snapshot->n_domains || (uuid && strcmp(uuid, e->uuid) != 0) ||
		    vbmq_undo_standing(u, e, track->snapshot->domains[d]) != VBMQ_UNDO_CURRENT)
			continue;
		switch (e->kind) {
		case VBMQ_UNDO_AFFINITY:
			back = affinity_is_back(track, d, e) &&
			       (e->thread != VBMQ_THREAD_EMULATOR || !has_tasks(u, e->uuid));
			break;
		case VBMQ_UNDO_TASK:
			back = emulator_is_back(u, track, d) && task_is_back(track, d, e, steps, results, n_steps);
			break;
		case VBMQ_UNDO_POLLING:
			back = polling_is_back(track, d, e);
			break;
		case VBMQ_UNDO_ADDED:
			back = added_is_gone(track, d, e->id);
			break;
		case VBMQ_UNDO_MAP:
			back = map_is_back(track, d, e);
			break;
		case VBMQ_UNDO_PART: /* settle_parts() */
		case VBMQ_UNDO_IRQ:
			break;
		}
		if (back && e->kind == VBMQ_UNDO_ADDED)
			drop_added(u, track->snapshot->domains[d],
				   e->id); /* its affinity, further to the front, as well */
		else if (back)
			vbmq_undo_drop(u, e);
		else
			settle_entry(u, track, d, e);
	}
}
