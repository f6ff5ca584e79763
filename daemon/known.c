/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/known.h"

#include <string.h>

#include "util/cleanup.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

static bool is_of(const struct vbmqd_manager *m, const struct vbmq_step *s, const struct vbmqd_domain *d)
{
	return !vbmq_step_is_of_host(s) && strcmp(m->plan->placement->domains[s->domain].uuid, d->uuid) == 0;
}

static void take_polling(struct vbmq_domain *known, const struct vbmq_step *s)
{
	for (size_t i = 0; i < known->n_threads; i++) {
		struct vbmq_thread *t = &known->threads[i];

		if (t->kind != VBMQ_THREAD_IOTHREAD || t->id != s->id)
			continue;
		if (s->polling.max_ns != UINT64_MAX)
			t->polling.max_ns = s->polling.max_ns;
		t->polling.grow = s->polling.grow;
		t->polling.shrink = s->polling.shrink;
		if (s->polling.mode != VBMQ_POLL_UNSAID)
			t->polling.mode = s->polling.mode;
	}
}

struct vbmq_domain *vbmqd_known_after_apply(const struct vbmqd_manager *m, const struct vbmqd_domain *d)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *known = NULL;

	if (!d->touched || d->stirred || !d->seen || vbmq_domain_copy(d->seen, &known) < 0)
		return NULL;
	for (size_t i = 0; i < m->plan->n_steps; i++) {
		const struct vbmq_step *s = &m->plan->steps[i];

		if (!is_of(m, s, d))
			continue;
		/* Done is said of a step only when it read back as asked for. */
		if (m->cycle.report->results[i].outcome != VBMQ_OUTCOME_DONE ||
		    (s->op != VBMQ_STEP_PIN && s->op != VBMQ_STEP_SET_POLLING))
			return NULL;
		if (s->op == VBMQ_STEP_SET_POLLING)
			take_polling(known, s);
	}
	return VBMQ_STEAL(known);
}
