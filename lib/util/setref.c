/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "util/setref.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct counted {
	atomic_uint n;
	struct vbmq_cpuset cpus;
};

static struct counted *counted_of(const struct vbmq_cpuset *ref)
{
	/* it was not const where it was allocated */
	return (struct counted *)((uintptr_t)ref - offsetof(struct counted, cpus));
}

const struct vbmq_cpuset *vbmq_setref_new(const struct vbmq_cpuset *cpus)
{
	struct counted *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	atomic_init(&c->n, 1);
	vbmq_cpuset_copy(&c->cpus, cpus);
	return &c->cpus;
}

const struct vbmq_cpuset *vbmq_setref(const struct vbmq_cpuset *ref)
{
	atomic_fetch_add_explicit(&counted_of(ref)->n, 1, memory_order_relaxed);
	return ref;
}

void vbmq_setref_drop(const struct vbmq_cpuset *ref)
{
	if (ref && atomic_fetch_sub_explicit(&counted_of(ref)->n, 1, memory_order_acq_rel) == 1)
		free(counted_of(ref));
}
