/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which serving I/O thread serves which queue, for the disks whose map is ours. Queues are taken in the order of their
 * completion vCPUs and cut into blocks as equal as can be, one a thread: neighbouring vCPUs share a thread, and the
 * queues of one vCPU are on the same thread for all disks with as many queues. Disks that cannot use all threads (few
 * queues, or the wish says so) take the next ones in turn, so that they do not all meet on the first. A function of the
 * set of serving threads and the disks alone: it does not move as long as they do not change.
 */

#include <errno.h>
#include <stdlib.h>

#include "core/planner_internal.h"

struct ranked {
	uint32_t vcpu; /* lowest completion vCPU; queues that have none come last */
	uint32_t queue;
};

static int by_vcpu(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->vcpu != y->vcpu)
		return x->vcpu < y->vcpu ? -1 : 1;
	return x->queue < y->queue ? -1 : x->queue > y->queue;
}

static int map_disk(struct vbmq_pl_domain *d, size_t disk_index, const uint32_t *ids, size_t n_ids, size_t *turn)
{
	const struct vbmq_disk *disk = &d->d->disks[disk_index];
	const struct vbmq_disk_wish *w = vbmq_wish_find_disk(&d->wish, disk->target);
	_cleanup_free_ struct ranked *ranked = calloc(disk->n_queues, sizeof(*ranked));
	size_t n = n_ids < disk->n_queues ? n_ids : disk->n_queues, first = 0;

	if (!ranked)
		return -ENOMEM;
	if (w && w->iothreads > VBMQ_COUNT_AUTO && (size_t)w->iothreads < n)
		n = (size_t)w->iothreads;
	for (uint32_t q = 0; q < disk->n_queues; q++) {
		int vcpu = vbmq_cpuset_next(&disk->queues[q].vcpus, 0);

		ranked[q] = (struct ranked){ .vcpu = vcpu < 0 ? UINT32_MAX : (uint32_t)vcpu, .queue = q };
	}
	qsort(ranked, disk->n_queues, sizeof(*ranked), by_vcpu);
	if (n < n_ids) {
		first = *turn;
		*turn = (*turn + n) % n_ids;
	}
	for (size_t i = 0; i < disk->n_queues; i++)
		d->map[disk_index][ranked[i].queue] = ids[(first + i * n / disk->n_queues) % n_ids];
	return 0;
}

int vbmq_pl_map_queues(struct vbmq_pl_domain *d)
{
	_cleanup_free_ uint32_t *ids = calloc(d->n_threads + 1, sizeof(*ids));
	size_t n_ids = 0, turn = 0;
	int r;

	if (!ids)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].kind == VBMQ_THREAD_IOTHREAD && d->threads[i].serves)
			ids[n_ids++] = d->threads[i].id;
	for (size_t i = 0; i < d->d->n_disks; i++) {
		if (d->disk_free[i] && n_ids) {
			r = map_disk(d, i, ids, n_ids, &turn);
			if (r < 0)
				return r;
			continue;
		}
		for (size_t q = 0; q < d->d->disks[i].n_queues; q++)
			d->map[i][q] = d->d->disks[i].queues[q].iothread;
	}
	return 0;
}
