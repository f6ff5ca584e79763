/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/affinity.h"

const char *const vbmq_completes_words[] = { "unknown", "same-core", "l3", "node", "remote", NULL };

/* The smallest part of the host that has all of cpus. */
static enum vbmq_completes part_of(const struct vbmq_host *h, const struct vbmq_cpuset *cpus)
{
	int first = vbmq_cpuset_next(cpus, 0);
	const struct vbmq_core *core = first < 0 ? NULL : vbmq_host_core_of(h, (unsigned)first);

	if (!core)
		return VBMQ_COMPLETES_UNKNOWN;
	if (vbmq_cpuset_is_subset(cpus, &core->cpus))
		return VBMQ_COMPLETES_CORE;
	if (vbmq_cpuset_is_subset(cpus, &h->l3s[core->l3].cpus))
		return VBMQ_COMPLETES_L3;
	return vbmq_cpuset_is_subset(cpus, &h->nodes[core->node].cpus) ? VBMQ_COMPLETES_NODE : VBMQ_COMPLETES_REMOTE;
}

/* The answer given last: most threads float on the same set, so the next question mostly is the same. */
struct asked {
	const struct vbmq_cpuset *thread, *vcpu;
	enum vbmq_completes answer;
};

static enum vbmq_completes completes(const struct vbmq_host *h, const struct vbmq_place_domain *d,
				     const struct vbmq_place_queue *q, struct asked *asked)
{
	const struct vbmq_place_thread *t =
		vbmq_place_thread(d, q->iothread ? VBMQ_THREAD_IOTHREAD : VBMQ_THREAD_EMULATOR, q->iothread);
	enum vbmq_completes worst = VBMQ_COMPLETES_UNKNOWN;

	for (int v = vbmq_cpuset_next(q->vcpus, 0); v >= 0 && t; v = vbmq_cpuset_next(q->vcpus, (unsigned)v + 1)) {
		const struct vbmq_place_thread *vcpu = vbmq_place_thread(d, VBMQ_THREAD_VCPU, (uint32_t)v);
		struct vbmq_cpuset both;

		if (!vcpu || vbmq_cpuset_is_empty(vcpu->cpus) || vbmq_cpuset_is_empty(t->cpus))
			return VBMQ_COMPLETES_UNKNOWN;
		if (vcpu->cpus != asked->vcpu || t->cpus != asked->thread) {
			both = vbmq_cpuset_or(t->cpus, vcpu->cpus);
			*asked = (struct asked){ t->cpus, vcpu->cpus, part_of(h, &both) };
		}
		if (asked->answer == VBMQ_COMPLETES_UNKNOWN)
			return VBMQ_COMPLETES_UNKNOWN;
		if (asked->answer > worst)
			worst = asked->answer;
	}
	return worst;
}

void vbmq_affinity_fill(const struct vbmq_host *host, struct vbmq_placement *p)
{
	struct asked asked = { .thread = NULL };

	for (size_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_disks; j++)
			for (size_t q = 0; q < p->domains[i].disks[j].n_queues; q++)
				p->domains[i].disks[j].queues[q].completes =
					completes(host, &p->domains[i], &p->domains[i].disks[j].queues[q], &asked);
}
