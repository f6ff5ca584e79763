/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/domain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/cleanup.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

const char *const vbmq_domain_state_words[] = { "shutoff", "running", "paused", NULL };
const char *const vbmq_thread_kind_words[] = { "vcpu", "iothread", "emulator", NULL };

struct vbmq_domain *vbmq_domain_new(void)
{
	struct vbmq_domain *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->id = -1;
	d->responsive = true;
	d->wish = VBMQ_WISH_INIT;
	return d;
}

struct vbmq_domain *vbmq_domain_free(struct vbmq_domain *d)
{
	if (!d)
		return NULL;
	for (size_t i = 0; i < d->n_disks; i++) {
		free(d->disks[i].alias);
		free(d->disks[i].source);
		free(d->disks[i].queues);
		free(d->disks[i].devices);
	}
	free(d->disks);
	free(d->threads);
	free(d->odd_tasks);
	vbmq_wish_done(&d->wish);
	free(d->metadata_error);
	free(d->name);
	free(d);
	return NULL;
}

static bool copy_text(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return !from || *ret;
}

int vbmq_disk_set_devices(struct vbmq_disk *disk, const char (*devices)[VBMQ_DEVICE_MAX + 1], size_t n)
{
	char(*copy)[VBMQ_DEVICE_MAX + 1] = NULL;

	if (n) {
		copy = calloc(n, sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, devices, n * sizeof(*copy));
	}
	free(disk->devices);
	disk->devices = copy;
	disk->n_devices = n;
	return 0;
}

static int copy_disk(const struct vbmq_disk *from, struct vbmq_disk *to)
{
	struct vbmq_queue *queues = NULL;
	size_t n = 0;

	*to = *from;
	to->queues = NULL;
	to->n_queues = 0;
	to->source = NULL;
	to->devices = NULL;
	to->n_devices = 0;
	if (!copy_text(from->alias, &to->alias) || !copy_text(from->source, &to->source))
		return -ENOMEM;
	if (vbmq_disk_set_devices(to, from->devices, from->n_devices) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_queues; i++) {
		struct vbmq_queue *q = vbmq_array_add(queues, n, VBMQ_QUEUES_MAX);

		if (!q) {
			free(queues);
			return -ENOMEM;
		}
		*q = from->queues[i];
	}
	to->queues = queues;
	to->n_queues = n;
	return 0;
}

int vbmq_domain_copy(const struct vbmq_domain *d, struct vbmq_domain **ret)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *copy = vbmq_domain_new();

	if (!copy)
		return -ENOMEM;
	*copy = *d;
	copy->threads = NULL;
	copy->n_threads = 0;
	copy->odd_tasks = NULL;
	copy->n_odd_tasks = 0;
	copy->disks = NULL;
	copy->n_disks = 0;
	copy->wish = VBMQ_WISH_INIT;
	copy->metadata_error = NULL;
	if (!copy_text(d->name, &copy->name) || !copy_text(d->metadata_error, &copy->metadata_error) ||
	    vbmq_wish_copy(&d->wish, &copy->wish) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_threads; i++) {
		struct vbmq_thread *t = vbmq_array_add(copy->threads, copy->n_threads, SIZE_MAX);

		if (!t)
			return -ENOMEM;
		*t = d->threads[i];
	}
	for (size_t i = 0; i < d->n_odd_tasks; i++) {
		struct vbmq_odd_task *t = vbmq_array_add(copy->odd_tasks, copy->n_odd_tasks, SIZE_MAX);

		if (!t)
			return -ENOMEM;
		*t = d->odd_tasks[i];
	}
	for (size_t i = 0; i < d->n_disks; i++) {
		struct vbmq_disk *disk = vbmq_array_add(copy->disks, copy->n_disks, VBMQ_DISKS_MAX);

		if (!disk || copy_disk(&d->disks[i], disk) < 0)
			return -ENOMEM;
	}
	*ret = VBMQ_STEAL(copy);
	return 0;
}

const struct vbmq_thread *vbmq_domain_thread(const struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].kind == kind && d->threads[i].id == id)
			return &d->threads[i];
	return NULL;
}

struct vbmq_disk *vbmq_domain_disk(const struct vbmq_domain *d, const char *target)
{
	for (size_t i = 0; i < d->n_disks; i++)
		if (strcmp(d->disks[i].target, target) == 0)
			return &d->disks[i];
	return NULL;
}

bool vbmq_disk_drifted(const struct vbmq_disk *disk)
{
	bool differs = false, reset = true;

	for (size_t q = 0; q < disk->n_queues; q++) {
		differs = differs || disk->queues[q].iothread != disk->queues[q].applied;
		reset = reset && disk->queues[q].iothread == 0;
	}
	return disk->held && differs && !reset;
}

void vbmq_disk_estimate_vcpus(struct vbmq_disk *disk, uint32_t n_vcpus)
{
	for (size_t q = 0; q < disk->n_queues; q++) {
		disk->queues[q].vcpus = VBMQ_CPUSET_EMPTY;
		disk->queues[q].vcpus_exact = false;
	}
	for (uint32_t v = 0; v < n_vcpus && disk->n_queues; v++) {
		size_t q = disk->n_queues >= n_vcpus ? v : (size_t)v * disk->n_queues / n_vcpus;

		vbmq_cpuset_add(&disk->queues[q].vcpus, v);
	}
}
