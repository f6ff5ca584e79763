/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/conn.h"

#include <stdatomic.h>
#include <stdlib.h>

struct vbmqd_conn {
	atomic_uint refs;
	struct vbmq_virt *virt;
	uint32_t generation;
};

struct vbmqd_conn *vbmqd_conn_new(struct vbmq_virt *v, uint32_t generation)
{
	struct vbmqd_conn *c = malloc(sizeof(*c));

	if (!c) {
		vbmq_virt_close(v);
		return NULL;
	}
	atomic_init(&c->refs, 1);
	c->virt = v;
	c->generation = generation;
	return c;
}

struct vbmqd_conn *vbmqd_conn_ref(struct vbmqd_conn *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

struct vbmqd_conn *vbmqd_conn_unref(struct vbmqd_conn *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
		return NULL;
	vbmq_virt_close(c->virt);
	free(c);
	return NULL;
}

struct vbmq_virt *vbmqd_conn_virt(const struct vbmqd_conn *c)
{
	return c->virt;
}

uint32_t vbmqd_conn_generation(const struct vbmqd_conn *c)
{
	return c->generation;
}
