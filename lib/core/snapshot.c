/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/err.h"

struct vbmq_snapshot *vbmq_snapshot_new(void)
{
	return calloc(1, sizeof(struct vbmq_snapshot));
}

struct vbmq_snapshot *vbmq_snapshot_free(struct vbmq_snapshot *s)
{
	if (!s)
		return NULL;
	vbmq_host_free(s->host);
	for (size_t i = 0; i < s->n_domains; i++)
		vbmq_domain_free(s->domains[i]);
	free(s->domains);
	free(s->irqs);
	if (s->policy)
		vbmq_policy_done(s->policy);
	free(s->policy);
	free(s);
	return NULL;
}

int vbmq_snapshot_add(struct vbmq_snapshot *s, struct vbmq_domain *d, struct vbmq_err *err)
{
	struct vbmq_domain **slot;
	int r = 0;

	for (size_t i = 0; i < s->n_domains && r == 0; i++) {
		if (strcmp(s->domains[i]->name, d->name) == 0)
			r = vbmq_err_set(err, -EEXIST, "domain '%s' is there twice", d->name);
		else if (strcmp(s->domains[i]->uuid, d->uuid) == 0)
			r = vbmq_err_set(err, -EEXIST, "domains '%s' and '%s' have the same UUID %s",
					 s->domains[i]->name, d->name, d->uuid);
	}
	if (r == 0 && s->n_domains == VBMQ_DOMAINS_MAX)
		r = vbmq_err_set(err, -E2BIG, "more than %u domains", VBMQ_DOMAINS_MAX);
	if (r == 0) {
		slot = vbmq_array_add(s->domains, s->n_domains, VBMQ_DOMAINS_MAX);
		if (slot) {
			*slot = d;
			return 0;
		}
		r = vbmq_err_oom(err);
	}
	vbmq_domain_free(d);
	return r;
}

/* --- finish ----------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct vbmq_domain *const *x = a, *const *y = b;
	int c = strcmp((*x)->name, (*y)->name);

	return c ? c : strcmp((*x)->uuid, (*y)->uuid);
}

static int by_kind_id(const void *a, const void *b)
{
	const struct vbmq_thread *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int by_number(const void *a, const void *b)
{
	const struct vbmq_irq *x = a, *y = b;

	return x->irq < y->irq ? -1 : x->irq > y->irq;
}

static int by_target(const void *a, const void *b)
{
	const struct vbmq_disk *x = a, *y = b;

	return strcmp(x->target, y->target);
}

static int check_threads(const struct vbmq_domain *d, struct vbmq_err *err)
{
	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_thread *t = &d->threads[i];

		if (i && by_kind_id(t - 1, t) == 0)
			return vbmq_err_set(err, -EINVAL, "domain '%s': %s %u is there twice", d->name,
					    vbmq_thread_kind_words[t->kind], t->id);
		if (t->kind == VBMQ_THREAD_EMULATOR && t->id != 0)
			return vbmq_err_set(err, -EINVAL, "domain '%s': an emulator thread has id %u, not 0", d->name,
					    t->id);
		if (t->kind == VBMQ_THREAD_VCPU && t->id >= VBMQ_VCPUS_MAX)
			return vbmq_err_set(err, -ERANGE, "domain '%s': vCPU %u is above %u", d->name, t->id,
					    VBMQ_VCPUS_MAX - 1);
		if (t->kind == VBMQ_THREAD_IOTHREAD && t->id == 0)
			return vbmq_err_set(err, -EINVAL, "domain '%s': I/O thread ids start at 1", d->name);
	}
	return 0;
}

static int check_disk(const struct vbmq_host *h, const struct vbmq_domain *d, const struct vbmq_disk *disk,
		      struct vbmq_err *err)
{
	if (disk->n_queues == 0)
		return vbmq_err_set(err, -EINVAL, "domain '%s': disk %s has no queue", d->name, disk->target);
	if (disk->node != VBMQ_NODE_UNKNOWN && vbmq_host_node_index(h, (uint32_t)disk->node) < 0)
		return vbmq_err_set(err, -EINVAL, "domain '%s': disk %s is on node %d, which this host does not have",
				    d->name, disk->target, disk->node);
	for (size_t q = 0; q < disk->n_queues; q++) {
		uint32_t id = disk->queues[q].iothread;

		if (id && !vbmq_domain_thread(d, VBMQ_THREAD_IOTHREAD, id))
			return vbmq_err_set(err, -EINVAL,
					    "domain '%s': queue %zu of disk %s is on I/O thread %u, which is not there",
					    d->name, q, disk->target, id);
	}
	return 0;
}

int vbmq_snapshot_finish(struct vbmq_snapshot *s, struct vbmq_err *err)
{
	int r;

	if (!s->host)
		return vbmq_err_set(err, -EINVAL, "the snapshot has no host");
	if (s->n_domains)
		qsort(s->domains, s->n_domains, sizeof(s->domains[0]), by_name);
	if (s->n_irqs)
		qsort(s->irqs, s->n_irqs, sizeof(s->irqs[0]), by_number);
	for (size_t i = 1; i < s->n_irqs; i++)
		if (s->irqs[i].irq == s->irqs[i - 1].irq)
			return vbmq_err_set(err, -EINVAL, "interrupt %u is there twice", s->irqs[i].irq);
	for (size_t i = 0; i < s->n_domains; i++) {
		struct vbmq_domain *d = s->domains[i];

		if (d->n_threads)
			qsort(d->threads, d->n_threads, sizeof(d->threads[0]), by_kind_id);
		if (d->n_disks)
			qsort(d->disks, d->n_disks, sizeof(d->disks[0]), by_target);
		r = check_threads(d, err);
		for (size_t j = 0; j < d->n_disks && r == 0; j++) {
			if (j && by_target(&d->disks[j - 1], &d->disks[j]) == 0)
				r = vbmq_err_set(err, -EINVAL, "domain '%s': disk %s is there twice", d->name,
						 d->disks[j].target);
			else
				r = check_disk(s->host, d, &d->disks[j], err);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

struct vbmq_irq *vbmq_snapshot_irq(const struct vbmq_snapshot *s, uint32_t irq, const char *name)
{
	for (size_t i = 0; i < s->n_irqs; i++)
		if (s->irqs[i].irq == irq && strcmp(s->irqs[i].name, name) == 0)
			return &s->irqs[i];
	return NULL;
}

struct vbmq_domain *vbmq_snapshot_find(const struct vbmq_snapshot *s, const char *name_or_uuid)
{
	for (size_t i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i]->name, name_or_uuid) == 0)
			return s->domains[i];
	for (size_t i = 0; i < s->n_domains; i++)
		if (strcmp(s->domains[i]->uuid, name_or_uuid) == 0)
			return s->domains[i];
	return NULL;
}
