/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/log.h"
#include "host/irqs.h"
#include "util/err.h"

struct vbmq_snapshot *vbmqd_snapshot_free(struct vbmq_snapshot *s)
{
	if (s)
		s->host = NULL;
	return vbmq_snapshot_free(s);
}

static int add_domain(struct vbmqd_manager *m, struct vbmq_snapshot *s, const struct vbmqd_domain *d, bool hold,
		      struct vbmq_err *err)
{
	struct vbmq_err e = VBMQ_ERR_INIT;
	struct vbmq_domain *copy;
	int r;

	if (vbmq_domain_copy(d->seen, &copy) < 0)
		return vbmq_err_oom(err);
	/* Not read to the end this time, or not to be touched for now: it keeps its place in the plan, as it stands. */
	if (d->state == VBMQD_DOMAIN_READING || d->state == VBMQD_DOMAIN_UNRESPONSIVE ||
	    (hold && vbmqd_domain_backing_off(d, vbmqd_now())))
		copy->responsive = false;
	r = vbmq_snapshot_add(s, copy, &e);
	if (r == -EEXIST) { /* a rename between two reads; the next event or survey mends it */
		vbmqd_log(LOG_WARNING, "left out of this plan: %s", e.text);
		return 0;
	}
	return r < 0 ? vbmq_err_set(err, r, "%s", e.text) : 0;
}

int vbmqd_snapshot(struct vbmqd_manager *m, bool hold, bool policy, struct vbmq_snapshot **ret, struct vbmq_err *err)
{
	_cleanup_(vbmqd_snapshot_freep) struct vbmq_snapshot *s = vbmq_snapshot_new();
	int r;

	if (!s)
		return vbmq_err_oom(err);
	if (!m->host)
		return vbmq_err_set(err, -EBUSY, "the host has not been read yet; try again");
	s->host = m->host;
	for (size_t i = 0; i < m->domains.n; i++) {
		const struct vbmqd_domain *d = m->domains.items[i];

		if (!d->seen || d->gone)
			continue;
		r = add_domain(m, s, d, hold, err);
		if (r < 0)
			return r;
	}
	if (vbmq_irqs_read(NULL, s, m->undo) < 0) /* no more than files of the kernel, and few of them */
		return vbmq_err_oom(err);
	r = vbmq_snapshot_finish(s, err);
	if (r < 0)
		return r;
	vbmq_undo_overlay(m->undo, s);
	if (policy) {
		s->policy = calloc(1, sizeof(*s->policy));
		if (!s->policy)
			return vbmq_err_oom(err);
		vbmq_policy_init(s->policy);
		if (vbmq_policy_copy(&m->conf.policy, s->policy) < 0)
			return vbmq_err_oom(err);
	}
	*ret = VBMQ_STEAL(s);
	return 0;
}

int vbmqd_snapshot_check_domain(struct vbmqd_manager *m, struct vbmq_domain *d, struct vbmq_err *err)
{
	struct vbmq_snapshot *s;
	struct vbmq_host *host = m->host;
	struct vbmq_domain *one[] = { d };
	int r;

	if (!host)
		return 0;
	s = vbmq_snapshot_new();
	if (!s)
		return vbmq_err_oom(err);
	s->host = host;
	s->domains = one;
	s->n_domains = 1;
	r = vbmq_snapshot_finish(s, err);
	s->domains = NULL;
	s->n_domains = 0;
	vbmqd_snapshot_free(s);
	return r;
}
