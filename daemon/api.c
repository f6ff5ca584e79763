/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json_plan.h"
#include "codec/json_snapshot.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/reconcile.h"
#include "daemon/snapshot.h"
#include "util/cleanup.h"

static int check_connected(const struct vbmqd_manager *m, struct vbmq_err *err)
{
	if (m->conn)
		return 0;
	return vbmq_err_set(err, -ENOTCONN, "there is no connection to libvirt; vbmqd keeps trying, see its journal");
}

int vbmqd_api_submit(struct vbmqd_manager *m, const struct vbmqd_request *request, struct vbmq_err *err)
{
	struct vbmqd_request *q;
	int r;

	r = check_connected(m, err);
	if (r < 0)
		return r;
	if (m->n_requests >= VBMQD_REQUESTS_MAX)
		return vbmq_err_set(err, -EBUSY, "%u calls are waiting already; try again later", m->n_requests);
	if (request->kind == VBMQD_REQUEST_APPLY && m->paused && !request->dry_run)
		return vbmq_err_set(err, -ECANCELED, "vbmqd is paused; Resume first");
	q = malloc(sizeof(*q));
	if (!q)
		return vbmq_err_oom(err);
	*q = *request;
	/* From now on nothing may be applied: else the daemon would redo at once what is about to be put back. */
	if (q->kind == VBMQD_REQUEST_RESTORE && !m->opt.dry_run)
		vbmqd_api_pause(m);
	vbmqd_reconcile_request(m, q);
	return 0;
}

int vbmqd_api_resolve(struct vbmqd_manager *m, const char *domain, char ret_uuid[37], struct vbmq_err *err)
{
	const struct vbmqd_domain *d;

	if (!domain[0]) {
		ret_uuid[0] = '\0';
		return 0;
	}
	d = vbmqd_domains_find_name(&m->domains, domain);
	if (d) {
		memcpy(ret_uuid, d->uuid, sizeof(d->uuid));
		return 0;
	}
	for (size_t i = 0; i < m->undo->n_entries; i++) {
		const struct vbmq_undo_entry *e = &m->undo->entries[i];

		if (strcmp(e->uuid, domain) == 0 || (e->name && strcmp(e->name, domain) == 0)) {
			memcpy(ret_uuid, e->uuid, sizeof(e->uuid));
			return 0;
		}
	}
	return vbmq_err_set(err, -ENOENT, "no running domain '%s'; ListDomains tells what there is", domain);
}

int vbmqd_api_snapshot(struct vbmqd_manager *m, char **ret, struct vbmq_err *err)
{
	_cleanup_(vbmqd_snapshot_freep) struct vbmq_snapshot *s = NULL;
	int r;

	r = check_connected(m, err);
	if (r == 0)
		r = vbmqd_snapshot(m, false, true, &s, err);
	return r < 0 ? r : vbmq_snapshot_format(s, true, ret, err);
}

static int check_planned(struct vbmqd_manager *m, struct vbmq_err *err)
{
	if (m->plan && m->host)
		return 0;
	if (!m->conn)
		return check_connected(m, err);
	return vbmq_err_set(err, -EBUSY, "nothing has been planned yet; try again, or ask for a fresh plan");
}

int vbmqd_api_plan(struct vbmqd_manager *m, char **ret_id, char **ret, struct vbmq_err *err)
{
	_cleanup_free_ char *id = NULL;
	int r;

	r = check_planned(m, err);
	if (r < 0)
		return r;
	id = strdup(m->plan->id);
	if (!id)
		return vbmq_err_oom(err);
	r = vbmq_plan_format(m->plan, m->host, true, ret, err);
	if (r < 0)
		return r;
	*ret_id = VBMQ_STEAL(id);
	return 0;
}

int vbmqd_api_explain(struct vbmqd_manager *m, const char *domain, char **ret, struct vbmq_err *err)
{
	int r;

	r = check_planned(m, err);
	if (r < 0)
		return r;
	if (domain[0] && !vbmq_placement_domain(m->plan->placement, domain))
		return vbmq_err_set(err, -ENOENT, "the newest plan has no domain '%s'", domain);
	return vbmq_explain_format(m->plan, domain[0] ? domain : NULL, true, ret, err);
}

int vbmqd_api_report(struct vbmqd_manager *m, char **ret, struct vbmq_err *err)
{
	if (!m->report)
		return m->conn ? vbmq_err_set(err, -EBUSY, "there is no report yet; ask for Verify")
			       : check_connected(m, err);
	*ret = strdup(m->report);
	return *ret ? 0 : vbmq_err_oom(err);
}

void vbmqd_api_pause(struct vbmqd_manager *m)
{
	if (m->paused)
		return;
	m->paused = true;
	atomic_store(&m->cancel, true); /* a running apply stops before its next step */
	vbmqd_log(LOG_NOTICE, "paused: nothing is applied until Resume");
	vbmqd_manager_changed(m);
}

void vbmqd_api_resume(struct vbmqd_manager *m)
{
	if (!m->paused)
		return;
	m->paused = false;
	vbmqd_log(LOG_NOTICE, "resumed");
	vbmqd_manager_changed(m);
	vbmqd_reconcile_survey(m);
}
