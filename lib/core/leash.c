/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/leash.h"

bool vbmq_leash_said(const struct vbmq_host *h, const struct vbmq_domain *d, const struct vbmq_thread *t,
		     struct vbmq_cpuset *ret)
{
	if (!t->has_pin && !d->has_cpuset)
		return false;
	*ret = vbmq_cpuset_and(t->has_pin ? &t->pin : &d->cpuset, &h->usable);
	return true;
}

bool vbmq_leash_covers_node(const struct vbmq_host *h, const struct vbmq_cpuset *cpus)
{
	for (size_t i = 0; i < h->n_nodes; i++) {
		struct vbmq_cpuset usable = vbmq_cpuset_and(&h->nodes[i].cpus, &h->usable);

		if (!vbmq_cpuset_is_empty(&usable) && vbmq_cpuset_is_subset(&usable, cpus))
			return true;
	}
	return false;
}

static bool is_wide(const struct vbmq_host *h, const struct vbmq_cpuset *shareable, const struct vbmq_cpuset *says)
{
	for (size_t i = 0; i < h->n_nodes; i++) {
		struct vbmq_cpuset room, part;

		if (!vbmq_cpuset_intersects(&h->nodes[i].cpus, says))
			continue;
		room = vbmq_cpuset_and(&h->nodes[i].cpus, shareable);
		part = vbmq_cpuset_and(&room, says);
		if (vbmq_cpuset_count(&part) * 2 > vbmq_cpuset_count(&room))
			return true;
	}
	return vbmq_leash_covers_node(h, says);
}

static unsigned vcpus_inside(const struct vbmq_host *h, const struct vbmq_domain *d, const struct vbmq_cpuset *says)
{
	bool by_cpuset = false;
	unsigned n = 0;

	if (d->has_cpuset) {
		struct vbmq_cpuset usable = vbmq_cpuset_and(&d->cpuset, &h->usable);

		by_cpuset = !vbmq_cpuset_is_empty(&usable) && vbmq_cpuset_is_subset(&usable, says);
	}
	for (size_t i = 0; i < d->n_threads && d->threads[i].kind == VBMQ_THREAD_VCPU; i++) {
		const struct vbmq_thread *t = &d->threads[i];

		if (t->has_pin) {
			struct vbmq_cpuset usable = vbmq_cpuset_and(&t->pin, &h->usable);

			n += !vbmq_cpuset_is_empty(&usable) && vbmq_cpuset_is_subset(&usable, says);
		} else {
			n += by_cpuset;
		}
	}
	return n;
}

enum vbmq_leash vbmq_leash_of(const struct vbmq_host *h, const struct vbmq_cpuset *shareable,
			      const struct vbmq_domain *d, const struct vbmq_cpuset *says)
{
	const struct vbmq_core *first = vbmq_host_core_of(h, (unsigned)vbmq_cpuset_next(says, 0));
	unsigned cores = 0;

	if (is_wide(h, shareable, says))
		return VBMQ_LEASH_WIDE;
	if (!first || vbmq_cpuset_is_subset(says, &first->cpus) || !vbmq_cpuset_intersects(says, shareable))
		return VBMQ_LEASH_PLACE;
	if (!vbmq_cpuset_is_subset(says, &h->nodes[first->node].cpus))
		return VBMQ_LEASH_ROOMY;
	for (size_t c = 0; c < h->n_cores; c++)
		cores += vbmq_cpuset_intersects(&h->cores[c].cpus, says);
	return cores <= vcpus_inside(h, d, says) ? VBMQ_LEASH_PLACE : VBMQ_LEASH_ROOMY;
}
