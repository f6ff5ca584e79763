/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/drift.h"

#include "daemon/log.h"

static bool has_drift(const struct vbmq_domain *d)
{
	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_thread *t = &d->threads[i];

		if (t->held && !vbmq_cpuset_is_empty(&t->affinity) && !vbmq_cpuset_equal(&t->affinity, &t->applied))
			return true;
	}
	for (size_t i = 0; i < d->n_disks; i++) {
		if (vbmq_disk_drifted(&d->disks[i]))
			return true;
	}
	return false;
}

void vbmqd_drift_watch(struct vbmqd_manager *m, const struct vbmq_snapshot *s)
{
	for (size_t i = 0; i < s->n_domains; i++) {
		struct vbmqd_domain *d = vbmqd_domains_find(&m->domains, s->domains[i]->uuid);
		bool drift = has_drift(s->domains[i]);

		if (!d || d->drifted == drift || !s->domains[i]->responsive)
			continue;
		d->drifted = drift;
		if (!drift)
			continue;
		vbmqd_log_about(
			LOG_WARNING,
			&(struct vbmqd_about){ .domain = d->name, .uuid = d->uuid, .message_id = VBMQD_MSG_DRIFT },
			"somebody changed affinities or queue maps that we had set; policy: %s",
			vbmq_drift_words[m->conf.policy.drift]);
		if (m->listener.drifted)
			m->listener.drifted(m->listener.data, d->name);
	}
}
