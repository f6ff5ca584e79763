/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/undo_host.h"

#include <errno.h>

const struct vbmq_undo_entry *vbmq_undo_part(const struct vbmq_undo *u, const struct vbmq_host *h, unsigned part)
{
	const struct vbmq_part *is = &h->parts[part];
	const struct vbmq_undo_entry *e =
		vbmq_undo_find(u, VBMQ_UNDO_PART, "", VBMQ_THREAD_EMULATOR, part, is->pid, NULL);

	return e && e->start == is->start ? e : NULL;
}

const struct vbmq_undo_entry *vbmq_undo_irq(const struct vbmq_undo *u, const struct vbmq_irq *irq)
{
	return vbmq_undo_find(u, VBMQ_UNDO_IRQ, "", VBMQ_THREAD_EMULATOR, irq->irq, 0, irq->name);
}

/* What an irqbalance banned that has ended, and interrupts of devices that are gone. Units last as long as the record
 * does. They stand first: uuid "". */
size_t vbmq_undo_host_prune(struct vbmq_undo *u, const struct vbmq_snapshot *s, size_t *ret_next)
{
	const struct vbmq_host *h = s->host;
	size_t n = 0, i = 0;

	while (i < u->n_entries && u->entries[i].kind == VBMQ_UNDO_PART) {
		const struct vbmq_part *is = u->entries[i].id < VBMQ_PARTS ? &h->parts[u->entries[i].id] : NULL;

		if (is && (u->entries[i].id < VBMQ_SLICES || is->state == VBMQ_PART_SILENT ||
			   vbmq_undo_part(u, h, u->entries[i].id) == &u->entries[i])) {
			i++;
		} else {
			vbmq_undo_drop(u, &u->entries[i]);
			n++;
		}
	}
	while (i < u->n_entries && u->entries[i].kind == VBMQ_UNDO_IRQ) {
		if (vbmq_snapshot_irq(s, u->entries[i].id, u->entries[i].target)) {
			i++;
		} else {
			vbmq_undo_drop(u, &u->entries[i]);
			n++;
		}
	}
	*ret_next = i;
	return n;
}

static int note_part(struct vbmq_undo *u, const struct vbmq_host *h, const struct vbmq_step *step)
{
	const struct vbmq_part *part = &h->parts[step->id];
	struct vbmq_undo_entry *e;
	bool is_new;

	e = vbmq_undo_entry(u, VBMQ_UNDO_PART, "", VBMQ_THREAD_EMULATOR, step->id, part->pid, NULL, &is_new);
	if (!e)
		return -ENOMEM;
	if (is_new || e->start != part->start) {
		e->start = part->start;
		e->found = part->cpus;
	}
	e->applied = *step->cpus;
	e->settled = false;
	return 0;
}

static int note_irq(struct vbmq_undo *u, const struct vbmq_snapshot *s, const struct vbmq_step *step)
{
	const struct vbmq_irq *irq = vbmq_snapshot_irq(s, step->id, step->target);
	struct vbmq_undo_entry *e;
	bool is_new;

	if (!irq)
		return 0;
	e = vbmq_undo_entry(u, VBMQ_UNDO_IRQ, "", VBMQ_THREAD_EMULATOR, irq->irq, 0, irq->name, &is_new);
	if (!e)
		return -ENOMEM;
	if (is_new)
		e->found = irq->affinity;
	e->applied = *step->cpus;
	e->settled = false;
	return 0;
}

int vbmq_undo_host_note(struct vbmq_undo *u, const struct vbmq_snapshot *s, const struct vbmq_step *step)
{
	if (step->op == VBMQ_STEP_MOVE_IRQ)
		return note_irq(u, s, step);
	return step->id < VBMQ_PARTS ? note_part(u, s->host, step) : 0;
}

static void overlay_part(const struct vbmq_undo *u, struct vbmq_host *h, unsigned i)
{
	struct vbmq_part *part = &h->parts[i];
	const struct vbmq_undo_entry *e = vbmq_undo_part(u, h, i);

	part->held = e;
	part->found = e ? e->found : VBMQ_CPUSET_EMPTY;
	part->applied = e ? e->applied : VBMQ_CPUSET_EMPTY;
	if (e && !e->settled)
		part->applied = part->cpus;
	if (e && part->state == VBMQ_PART_FOREIGN) /* an irqbalance that was told at its start has no entry */
		part->state = VBMQ_PART_OK;
}

static void overlay_irq(const struct vbmq_undo *u, struct vbmq_irq *irq)
{
	const struct vbmq_undo_entry *e = vbmq_undo_irq(u, irq);

	irq->held = e;
	irq->found = e ? e->found : VBMQ_CPUSET_EMPTY;
	irq->applied = e ? e->applied : VBMQ_CPUSET_EMPTY;
	if (e && !e->settled)
		irq->applied = irq->affinity;
	if (e && irq->state == VBMQ_IRQ_FOREIGN) /* it was us who had irqbalance leave it alone */
		irq->state = VBMQ_IRQ_MOVABLE;
}

void vbmq_undo_host_overlay(const struct vbmq_undo *u, struct vbmq_snapshot *snapshot)
{
	for (unsigned i = 0; snapshot->host && i < VBMQ_PARTS; i++)
		overlay_part(u, snapshot->host, i);
	for (size_t i = 0; i < snapshot->n_irqs; i++)
		overlay_irq(u, &snapshot->irqs[i]);
}
