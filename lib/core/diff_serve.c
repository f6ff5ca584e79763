/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Steps that move nobody: how I/O threads poll, which queues they serve, and which go. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/diff_internal.h"

bool vbmq_polls_as(const struct vbmq_polling *is, const struct vbmq_polling *want)
{
	return is->max_ns == want->max_ns && is->grow == want->grow && is->shrink == want->shrink &&
	       (want->mode == VBMQ_POLL_UNSAID || is->mode == want->mode);
}

int vbmq_diff_polling(struct vbmq_diff_walk *w, bool exclusive)
{
	for (size_t i = 0; i < w->n_movers; i++) {
		const struct vbmq_diff_mover *m = &w->movers[i];
		bool late = m->to->exclusive || !m->was; /* new threads have to be added first */
		struct vbmq_step *s;

		if (!m->to->has_polling || late != exclusive ||
		    (m->was && vbmq_polls_as(&m->was->polling, &m->to->polling)))
			continue;
		s = vbmq_diff_step(w, VBMQ_STEP_SET_POLLING, m->domain, m->to->id);
		if (!s)
			return -ENOMEM;
		s->polling = m->to->polling;
	}
	return 0;
}

int vbmq_diff_map_queues(struct vbmq_diff_walk *w)
{
	for (uint32_t i = 0; i < w->placement->n_domains; i++)
		for (size_t j = 0; j < w->placement->domains[i].n_disks; j++) {
			const struct vbmq_place_disk *d = &w->placement->domains[i].disks[j];
			struct vbmq_step *s;

			if (!d->remap)
				continue;
			s = vbmq_diff_step(w, VBMQ_STEP_MAP_QUEUES, i, 0);
			if (!s)
				return -ENOMEM;
			memcpy(s->target, d->target, sizeof(s->target));
			s->map = calloc(d->n_queues + 1, sizeof(*s->map));
			if (!s->map)
				return -ENOMEM;
			s->n_map = d->n_queues;
			for (size_t q = 0; q < d->n_queues; q++)
				s->map[q] = d->queues[q].iothread;
		}
	return 0;
}

int vbmq_diff_remove(struct vbmq_diff_walk *w)
{
	for (size_t i = 0; i < w->n_movers; i++)
		if (w->movers[i].to->to_remove &&
		    !vbmq_diff_step(w, VBMQ_STEP_DEL_IOTHREAD, w->movers[i].domain, w->movers[i].to->id))
			return -ENOMEM;
	return 0;
}
