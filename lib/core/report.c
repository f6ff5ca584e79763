/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"

#define UNREAD_MAX 1000000u

const char *const vbmq_outcome_words[] = { "pending", "done",	"dry-run",     "failed",
					   "skipped", "undone", "undo-failed", NULL };
const char *const vbmq_check_words[] = { "ok", "drift", "overlap", "missing", "map", "polling", NULL };

struct vbmq_report *vbmq_report_new(const struct vbmq_plan *plan)
{
	struct vbmq_report *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	memcpy(r->plan_id, plan->id, sizeof(r->plan_id));
	if (plan->n_steps) {
		r->results = calloc(plan->n_steps, sizeof(*r->results));
		if (!r->results)
			return vbmq_report_free(r);
		r->n_results = plan->n_steps;
	}
	return r;
}

struct vbmq_report *vbmq_report_free(struct vbmq_report *r)
{
	if (!r)
		return NULL;
	for (size_t i = 0; i < r->n_results; i++)
		free(r->results[i].text);
	for (size_t i = 0; i < r->n_checks; i++)
		free(r->checks[i].text);
	for (size_t i = 0; i < r->n_unread; i++)
		free(r->unread[i]);
	free(r->results);
	free(r->checks);
	free(r->unread);
	free(r);
	return NULL;
}

int vbmq_report_unread(struct vbmq_report *r, const char *domain)
{
	char *name = strdup(domain), **slot;

	if (!name)
		return -ENOMEM;
	slot = vbmq_array_add(r->unread, r->n_unread, UNREAD_MAX);
	if (!slot) {
		free(name);
		return -ENOMEM;
	}
	*slot = name;
	return 0;
}
