/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"

const char *const vbmq_exclusive_words[] = { "none", "cpu", "core", NULL };
const char *const vbmq_poll_words[] = { "off", "adaptive", "dedicated", NULL };
const char *const vbmq_vcpus_words[] = { "follow", "dedicated", NULL };
const char *const vbmq_drift_words[] = { "repair", "respect", NULL };

void vbmq_wish_done(struct vbmq_wish *w)
{
	free(w->disks);
	*w = VBMQ_WISH_INIT;
}

int vbmq_wish_copy(const struct vbmq_wish *from, struct vbmq_wish *ret)
{
	struct vbmq_wish copy = *from;

	copy.disks = NULL;
	copy.n_disks = 0;
	for (size_t i = 0; i < from->n_disks; i++) {
		struct vbmq_disk_wish *d = vbmq_array_add(copy.disks, copy.n_disks, VBMQ_DISKS_MAX);

		if (!d) {
			free(copy.disks);
			return -ENOMEM;
		}
		*d = from->disks[i];
	}
	*ret = copy;
	return 0;
}

const struct vbmq_disk_wish *vbmq_wish_find_disk(const struct vbmq_wish *w, const char *target)
{
	for (size_t i = 0; i < w->n_disks; i++)
		if (strcmp(w->disks[i].target, target) == 0)
			return &w->disks[i];
	return NULL;
}

struct vbmq_disk_wish *vbmq_wish_disk(struct vbmq_wish *w, const char *target, bool create)
{
	struct vbmq_disk_wish wish = { .iothreads = VBMQ_COUNT_UNSAID, .queues = VBMQ_COUNT_UNSAID };
	size_t len = strlen(target), at = 0;

	while (at < w->n_disks && strcmp(w->disks[at].target, target) < 0)
		at++;
	if (at < w->n_disks && strcmp(w->disks[at].target, target) == 0)
		return &w->disks[at];
	if (!create || len > VBMQ_TARGET_MAX)
		return NULL;
	if (!vbmq_array_add(w->disks, w->n_disks, VBMQ_DISKS_MAX))
		return NULL;
	memmove(&w->disks[at + 1], &w->disks[at], (w->n_disks - 1 - at) * sizeof(w->disks[0]));
	memcpy(wish.target, target, len + 1);
	w->disks[at] = wish;
	return &w->disks[at];
}

void vbmq_policy_init(struct vbmq_policy *p)
{
	*p = (struct vbmq_policy){
		.hold_others = true,
		.limit_slices = true,
		.keep_off_nova = true,
		.ban_irqs = true,
		.move_irqs = true,
		.defaults = VBMQ_WISH_INIT,
		.auto_max = 4,
		.drift = VBMQ_DRIFT_REPAIR,
		.move_gain = VBMQ_MOVE_GAIN_DEFAULT,
		.poll_max_ns = 1000000,
		.poll_grow = 1000,
		.poll_shrink = 1,
		.override = VBMQ_WISH_INIT,
	};
	p->defaults.enabled = VBMQ_YES;
	p->defaults.has_priority = true;
	p->defaults.iothreads = VBMQ_COUNT_AUTO;
	p->defaults.exclusive = VBMQ_EXCLUSIVE_CORE;
	p->defaults.poll = VBMQ_POLL_DEDICATED;
	p->defaults.vcpus = VBMQ_VCPUS_FOLLOW;
}

void vbmq_policy_done(struct vbmq_policy *p)
{
	vbmq_wish_done(&p->defaults);
	vbmq_wish_done(&p->override);
}

int vbmq_policy_copy(const struct vbmq_policy *from, struct vbmq_policy *ret)
{
	struct vbmq_policy copy = *from;

	if (vbmq_wish_copy(&from->defaults, &copy.defaults) < 0)
		return -ENOMEM;
	if (vbmq_wish_copy(&from->override, &copy.override) < 0) {
		vbmq_wish_done(&copy.defaults);
		return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

static int layer(struct vbmq_wish *on, const struct vbmq_wish *l)
{
	if (l->enabled != VBMQ_UNSAID)
		on->enabled = l->enabled;
	if (l->has_priority)
		on->priority = l->priority;
	if (l->iothreads != VBMQ_COUNT_UNSAID)
		on->iothreads = l->iothreads;
	if (l->exclusive != VBMQ_EXCLUSIVE_UNSAID)
		on->exclusive = l->exclusive;
	if (l->poll != VBMQ_POLL_UNSAID)
		on->poll = l->poll;
	if (l->vcpus != VBMQ_VCPUS_UNSAID)
		on->vcpus = l->vcpus;
	for (size_t i = 0; i < l->n_disks; i++) {
		struct vbmq_disk_wish *d = vbmq_wish_disk(on, l->disks[i].target, true);

		if (!d)
			return -ENOMEM;
		if (l->disks[i].iothreads != VBMQ_COUNT_UNSAID)
			d->iothreads = l->disks[i].iothreads;
		if (l->disks[i].queues != VBMQ_COUNT_UNSAID)
			d->queues = l->disks[i].queues;
	}
	return 0;
}

int vbmq_policy_merge(const struct vbmq_policy *p, const struct vbmq_wish *metadata, struct vbmq_wish *ret)
{
	struct vbmq_wish w;

	if (vbmq_wish_copy(&p->defaults, &w) < 0)
		return -ENOMEM;
	w.present = metadata->present;
	/* Metadata that is there and does not say "no" is a wish to be managed; without any, the host's default decides. */
	w.enabled = metadata->present || p->manage_by_default ? VBMQ_YES : VBMQ_NO;
	if (layer(&w, metadata) < 0 || layer(&w, &p->override) < 0) {
		vbmq_wish_done(&w);
		return -ENOMEM;
	}
	for (size_t i = 0; i < w.n_disks; i++) {
		if (w.disks[i].iothreads == VBMQ_COUNT_UNSAID)
			w.disks[i].iothreads = VBMQ_COUNT_AUTO;
		if (w.disks[i].queues == VBMQ_COUNT_UNSAID)
			w.disks[i].queues = VBMQ_COUNT_AUTO;
	}
	*ret = w;
	return 0;
}
