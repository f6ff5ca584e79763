/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/placement.h"

#include <stdlib.h>
#include <string.h>

#include "util/setref.h"

struct vbmq_placement *vbmq_placement_free(struct vbmq_placement *p)
{
	if (!p)
		return NULL;
	for (size_t i = 0; i < p->n_domains; i++) {
		struct vbmq_place_domain *d = &p->domains[i];

		free(d->name);
		for (size_t j = 0; j < d->n_threads; j++)
			vbmq_setref_drop(d->threads[j].cpus);
		free(d->threads);
		for (size_t j = 0; j < d->n_disks; j++) {
			for (size_t q = 0; q < d->disks[j].n_queues; q++)
				vbmq_setref_drop(d->disks[j].queues[q].vcpus);
			free(d->disks[j].queues);
		}
		free(d->disks);
		vbmq_diags_done(&d->diags);
	}
	free(p->domains);
	free(p->irqs);
	vbmq_diags_done(&p->diags);
	free(p->whys);
	free(p);
	return NULL;
}

const struct vbmq_place_domain *vbmq_placement_domain(const struct vbmq_placement *p, const char *name_or_uuid)
{
	for (size_t i = 0; i < p->n_domains; i++)
		if (strcmp(p->domains[i].name, name_or_uuid) == 0)
			return &p->domains[i];
	for (size_t i = 0; i < p->n_domains; i++)
		if (strcmp(p->domains[i].uuid, name_or_uuid) == 0)
			return &p->domains[i];
	return NULL;
}

const struct vbmq_place_thread *vbmq_place_thread(const struct vbmq_place_domain *d, enum vbmq_thread_kind kind,
						  uint32_t id)
{
	size_t low = 0, high = d->n_threads;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct vbmq_place_thread *t = &d->threads[mid];

		if (t->kind == kind && t->id == id)
			return t;
		if (t->kind < kind || (t->kind == kind && t->id < id))
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}
