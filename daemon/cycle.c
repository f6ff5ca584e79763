/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The second half of a cycle (the first: reconcile.c).
 *
 * The plan is made from copies of what is known, so that the applier can read its snapshot while the main thread already takes
 * in new events. Its id is the digest of exactly that snapshot; a call that names an id therefore is compared against
 * state that was read for this very call.
 *
 * Before our own cycle applies, every domain that has a step is read if it was not in this very cycle: a guest that has
 * stopped answering meanwhile is found out by a read, which holds up nobody, and not by a step, which holds up the apply.
 *
 * After an apply the touched domains are read again (where only pins and polling were set, without asking the monitor for what it
 * said just before: known.c, vbmq_capture_again), the report gets its checks against the plan that was applied, and a new
 * plan is made from the new state. It has no steps when all went well. If it has some although nothing failed, somebody
 * moved things under us, or the planner and the host disagree: then it is applied again, but ever more slowly.
 */
#include "daemon/cycle.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json_plan.h"
#include "codec/plan_id.h"
#include "core/diff.h"
#include "core/verify.h"
#include "daemon/api.h"
#include "daemon/drift.h"
#include "daemon/jobs.h"
#include "daemon/log.h"
#include "daemon/rebalance.h"
#include "daemon/reconcile.h"
#include "daemon/snapshot.h"
#include "daemon/undo_file.h"
#include "util/cleanup.h"

#define UNSETTLED_FIRST_MS 500u
#define UNSETTLED_MAX_MS 60000u
#define UNSETTLED_WARN 3u

/* --- end of a cycle ------------------------------------------------------------------------------------------------- */

static void answer(struct vbmqd_cycle *c, const struct vbmqd_answer *a)
{
	struct vbmqd_request *q = VBMQ_STEAL(c->request);

	if (!q)
		return;
	q->answer(q->data, a);
	free(q);
}

static void clear(struct vbmqd_manager *m)
{
	struct vbmqd_cycle *c = &m->cycle;

	c->snapshot = vbmqd_snapshot_free(c->snapshot);
	c->plan = vbmq_plan_free(c->plan);
	c->report = vbmq_report_free(c->report);
	vbmq_steps_free(c->steps, c->n_steps);
	c->steps = NULL;
	c->n_steps = 0;
	c->n_reads = 0;
	c->refreshed = false;
	c->phase = VBMQD_PHASE_IDLE;
	for (size_t i = 0; i < m->domains.n; i++)
		m->domains.items[i]->touched = false;
}

static void finish(struct vbmqd_manager *m)
{
	clear(m);
	/* Snapshot, plan and documents of a cycle are many times what is kept: give the pages back. */
	malloc_trim(0);
	vbmqd_manager_changed(m);
	vbmqd_reconcile_rest(m);
}

void vbmqd_cycle_drop(struct vbmqd_manager *m, int code, const char *text)
{
	struct vbmqd_answer a = { .err = VBMQ_ERR_INIT };

	vbmq_err_set(&a.err, code, "%s", text);
	answer(&m->cycle, &a);
	clear(m);
}

void vbmqd_cycle_fail(struct vbmqd_manager *m, int code, const char *text)
{
	bool own = !m->cycle.request;

	vbmqd_cycle_drop(m, code, text);
	if (own)
		m->pending = true;
	finish(m);
}

void vbmqd_cycle_begin(struct vbmqd_manager *m, struct vbmqd_request *request)
{
	m->cycle.request = request;
	m->cycle.phase = VBMQD_PHASE_SURVEY; /* from here on it shows as planning */
	for (size_t i = 0; i < m->domains.n; i++)
		vbmqd_domain_begin(m->domains.items[i], !request);
}

/* An own cycle that could not do its work is tried again, not in a tight loop. */
static void fail_and_slow_down(struct vbmqd_manager *m, const struct vbmq_err *err)
{
	vbmqd_log(LOG_ERR, "%s", err->text);
	m->verdict = VBMQD_FAILED;
	m->not_before =
		vbmqd_now() + vbmqd_back_off_ms(++m->unsettled, UNSETTLED_FIRST_MS, m->conf.retry_max_ms) * 1000u;
	vbmqd_cycle_fail(m, err->code, err->text);
}

/* --- plan ----------------------------------------------------------------------------------------------------------- */

static bool everything_known(const struct vbmqd_manager *m)
{
	for (size_t i = 0; i < m->domains.n; i++) {
		if (!m->domains.items[i]->seen)
			return false;
	}
	return true;
}

/* Entries of threads that have ended. Only when every domain there is has been read: else a guest that hangs while we
 * start would lose its record. */
static void prune_undo(struct vbmqd_manager *m, const struct vbmq_snapshot *s)
{
	struct vbmq_err e = VBMQ_ERR_INIT;

	if (!m->undo->n_entries || !everything_known(m) || vbmq_undo_prune(m->undo, s) == 0)
		return;
	if (vbmqd_undo_file_save(m->undo_path, m->undo, &e) < 0)
		vbmqd_log(LOG_WARNING, "%s", e.text); /* what is in the file is more than needed, never less */
}

/* What the bus shows of each domain. */
static void note_placement(struct vbmqd_manager *m, const struct vbmq_placement *placement)
{
	for (size_t i = 0; i < placement->n_domains; i++) {
		const struct vbmq_place_domain *p = &placement->domains[i];
		struct vbmqd_domain *d = vbmqd_domains_find(&m->domains, p->uuid);
		struct vbmq_cpuset own = VBMQ_CPUSET_EMPTY;

		if (!d)
			continue;
		for (size_t j = 0; j < p->n_threads; j++) {
			if (p->threads[j].exclusive)
				own = vbmq_cpuset_or(&own, p->threads[j].cpus);
		}
		if (d->managed != p->managed || d->priority != p->priority || !vbmq_cpuset_equal(&d->dedicated, &own))
			d->changed = true;
		d->managed = p->managed;
		d->priority = p->priority;
		d->dedicated = own;
	}
}

/* Snapshot into the cycle, plan into the manager. */
static int plan_now(struct vbmqd_manager *m, bool hold, struct vbmq_err *err)
{
	struct vbmq_plan *plan;
	char id[VBMQ_PLAN_ID_LEN + 1];
	bool new;
	int r;

	m->cycle.snapshot = vbmqd_snapshot_free(m->cycle.snapshot);
	r = vbmqd_snapshot(m, hold, false, &m->cycle.snapshot, err);
	if (r < 0)
		return r;
	prune_undo(m, m->cycle.snapshot);
	vbmqd_drift_watch(m, m->cycle.snapshot);
	r = vbmq_plan_id(m->cycle.snapshot, &m->conf.policy, id, err);
	if (r < 0)
		return r;
	r = vbmq_plan_make(m->cycle.snapshot, &m->conf.policy, id, &plan, err);
	if (r < 0)
		return r;
	new = !m->plan || strcmp(m->plan->id, plan->id) != 0;
	vbmq_plan_free(m->plan);
	m->plan = plan;
	note_placement(m, plan->placement);
	if (new) {
		vbmqd_log_about(LOG_DEBUG, &(struct vbmqd_about){ .plan_id = plan->id }, "planned: %zu steps",
				plan->n_steps);
		if (m->listener.planned)
			m->listener.planned(m->listener.data, plan->id);
	}
	return 0;
}

/* --- verdict and report --------------------------------------------------------------------------------------------- */

static enum vbmqd_verdict judge(const struct vbmq_plan *plan, const struct vbmq_report *report)
{
	if (report->n_domains_failed || report->host_failed)
		return VBMQD_FAILED;
	if (report->n_bad_checks)
		return VBMQD_DRIFT;
	return plan->placement->infeasible ? VBMQD_INFEASIBLE : VBMQD_OK;
}

/* Makes the report document the newest one. */
static int publish_report(struct vbmqd_manager *m, const struct vbmq_report *report, const struct vbmq_plan *plan,
			  const struct vbmq_step *steps, size_t n_steps, struct vbmq_err *err)
{
	char *text;
	int r;

	r = vbmq_report_format(report, plan, m->cycle.snapshot, steps, n_steps, true, &text, err);
	if (r < 0)
		return r;
	free(m->report);
	m->report = text;
	return 0;
}

/* Names the domains that this cycle, whose reads are all it has waited for, knows nothing new of. */
static int note_unread(const struct vbmqd_manager *m, struct vbmq_report *report)
{
	for (size_t i = 0; i < m->domains.n; i++) {
		const struct vbmqd_domain *d = m->domains.items[i];
		bool read = d->seen && d->seen->responsive && d->state != VBMQD_DOMAIN_READING &&
			    d->state != VBMQD_DOMAIN_FAILED && d->state != VBMQD_DOMAIN_UNRESPONSIVE;

		if (!read && !d->gone && vbmq_report_unread(report, d->name) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Compares what is with m->plan without having applied anything. */
static int verify_only(struct vbmqd_manager *m, bool publish, struct vbmq_err *err)
{
	struct vbmq_report *report = vbmq_report_new(m->plan);
	int r;

	if (!report)
		return vbmq_err_oom(err);
	r = vbmq_verify(m->cycle.snapshot, m->plan, report, err);
	if (r == 0 && publish && note_unread(m, report) < 0)
		r = vbmq_err_oom(err);
	if (r == 0 && (publish || !m->report))
		r = publish_report(m, report, m->plan, m->plan->steps, m->plan->n_steps, err);
	if (r == 0)
		m->verdict = everything_known(m) ? judge(m->plan, report) : VBMQD_VERDICT_UNKNOWN;
	vbmq_report_free(report);
	return r;
}

static int answer_plan(struct vbmqd_manager *m, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = vbmq_plan_format(m->plan, m->host, true, &text, err);
	if (r < 0)
		return r;
	answer(&m->cycle, &(struct vbmqd_answer){ .plan_id = m->plan->id, .document = text });
	return 0;
}

static bool may_apply(const struct vbmqd_manager *m)
{
	return vbmqd_manager_mode(m) == VBMQD_MANAGE && !m->paused;
}

/* Domains whose back-off is over and that gave no trouble this time. */
static void note_successes(struct vbmqd_manager *m)
{
	uint64_t now = vbmqd_now();

	for (size_t i = 0; i < m->domains.n; i++) {
		struct vbmqd_domain *d = m->domains.items[i];

		if (d->state == VBMQD_DOMAIN_CLEAN && !vbmqd_domain_backing_off(d, now))
			vbmqd_domain_worked(d);
	}
}

/* Nothing is applied in this cycle. */
static void conclude(struct vbmqd_manager *m)
{
	enum vbmqd_request_kind kind = m->cycle.request ? m->cycle.request->kind : VBMQD_REQUEST_PLAN;
	bool own = !m->cycle.request;
	struct vbmq_err e = VBMQ_ERR_INIT;
	int r;

	r = verify_only(m, kind == VBMQD_REQUEST_VERIFY, &e);
	if (r == 0 && !own && kind == VBMQD_REQUEST_PLAN)
		r = answer_plan(m, &e);
	if (r < 0) {
		fail_and_slow_down(m, &e);
		return;
	}
	if (!own && kind == VBMQD_REQUEST_VERIFY)
		answer(&m->cycle, &(struct vbmqd_answer){ .plan_id = m->plan->id, .document = m->report });
	if (own) {
		m->unsettled = 0;
		m->not_before = 0;
		note_successes(m);
	} else if (m->plan->n_steps && may_apply(m)) {
		m->pending = true; /* its reads showed work for a cycle of our own */
	}
	finish(m);
}

/* --- apply ---------------------------------------------------------------------------------------------------------- */

static void apply_done(struct vbmqd_job *job);

/* Whom a step of m->plan concerns; NULL: the host itself, or one that is gone. */
static struct vbmqd_domain *domain_of(struct vbmqd_manager *m, const struct vbmq_step *step)
{
	if (vbmq_step_is_of_host(step))
		return NULL;
	return vbmqd_domains_find(&m->domains, m->plan->placement->domains[step->domain].uuid);
}

static void start_apply(struct vbmqd_manager *m, bool restore, bool dry_run)
{
	static const struct vbmqd_callbacks cb = { apply_done, NULL };
	struct vbmqd_apply_job *j = vbmqd_apply_job(m, &cb, m->conn);
	struct vbmq_err e = VBMQ_ERR_INIT;

	if (!j || vbmq_undo_copy(m->undo, &j->undo) < 0) {
		if (j)
			j->job.ops->free(&j->job);
		vbmq_err_oom(&e);
		fail_and_slow_down(m, &e);
		return;
	}
	j->undo_path = m->undo_path;
	j->bus = m->opt.bus;
	j->cancel = &m->cancel;
	j->snapshot = m->cycle.snapshot;
	j->plan = m->plan;
	j->dry_run = dry_run;
	j->restore = restore;
	j->limits = m->conf.policy.limit_slices;
	if (restore)
		memcpy(j->restore_uuid, m->cycle.request->uuid, sizeof(j->restore_uuid));
	atomic_store(&m->cancel, false);
	m->cycle.phase = VBMQD_PHASE_APPLY;
	for (size_t i = 0; i < m->plan->n_steps && !restore; i++) {
		struct vbmqd_domain *d = domain_of(m, &m->plan->steps[i]);

		if (d)
			d->touched = !dry_run;
	}
	vbmqd_manager_changed(m);
	vbmqd_workers_submit(m->applier, &j->job);
}

static void mark_failures(struct vbmqd_manager *m, const struct vbmq_report *report, const struct vbmq_step *steps)
{
	for (size_t i = 0; i < report->n_results; i++) {
		const struct vbmq_step_result *res = &report->results[i];
		struct vbmq_err e = VBMQ_ERR_INIT;
		struct vbmqd_domain *d;

		if (vbmq_step_is_of_host(&steps[i]) || res->outcome != VBMQ_OUTCOME_FAILED || res->error == -ENOENT)
			continue; /* a domain that is gone will be gone from the next list */
		d = vbmqd_domains_find(&m->domains, m->cycle.snapshot->domains[steps[i].domain]->uuid);
		if (!d || d->state == VBMQD_DOMAIN_FAILED || d->state == VBMQD_DOMAIN_UNRESPONSIVE)
			continue;
		vbmq_err_set(&e, res->error ? res->error : -EIO, "%s: %s", vbmq_step_word(&steps[i]),
			     res->text ? res->text : "failed");
		vbmqd_domain_failed(d, &e, vbmqd_now(), m->conf.retry_max_ms);
	}
}

static void restore_done(struct vbmqd_manager *m, struct vbmqd_apply_job *j)
{
	struct vbmq_err e = VBMQ_ERR_INIT;

	m->cycle.report = VBMQ_STEAL(j->report);
	m->cycle.steps = VBMQ_STEAL(j->steps);
	m->cycle.n_steps = j->n_steps;
	j->n_steps = 0;
	vbmqd_log_about(m->cycle.report->n_domains_failed ? LOG_WARNING : LOG_NOTICE,
			&(struct vbmqd_about){ .message_id = VBMQD_MSG_RESTORED },
			"restored %s: %zu steps, %zu domains failed; paused until Resume",
			j->restore_uuid[0] ? j->restore_uuid : "everything", m->cycle.n_steps,
			m->cycle.report->n_domains_failed);
	if (publish_report(m, m->cycle.report, NULL, m->cycle.steps, m->cycle.n_steps, &e) < 0) {
		fail_and_slow_down(m, &e);
		return;
	}
	answer(&m->cycle, &(struct vbmqd_answer){ .plan_id = "", .document = m->report });
	m->verdict = VBMQD_VERDICT_UNKNOWN;
	m->need_survey = m->pending = true; /* what is shown from now on is what restore left */
	finish(m);
}

static void dry_run_done(struct vbmqd_manager *m, struct vbmqd_apply_job *j)
{
	struct vbmq_err e = VBMQ_ERR_INIT;
	bool rebalanced;

	if (publish_report(m, j->report, m->plan, m->plan->steps, m->plan->n_steps, &e) < 0) {
		fail_and_slow_down(m, &e);
		return;
	}
	if (!m->cycle.request)
		memcpy(m->dry_run_id, m->plan->id, sizeof(m->dry_run_id));
	vbmqd_log_about(LOG_INFO, &(struct vbmqd_about){ .plan_id = m->plan->id }, "dry run: %zu steps would be done",
			m->plan->n_steps);
	rebalanced = m->cycle.request && m->cycle.request->rebalance;
	answer(&m->cycle, &(struct vbmqd_answer){ .plan_id = m->plan->id, .document = m->report });
	/* What was not done is not what should be. */
	if (rebalanced && plan_now(m, false, &e) < 0) {
		fail_and_slow_down(m, &e);
		return;
	}
	conclude(m);
}

static void apply_done(struct vbmqd_job *job)
{
	struct vbmqd_apply_job *j = (struct vbmqd_apply_job *)job;
	struct vbmqd_manager *m = job->owner;

	vbmq_undo_free(m->undo);
	m->undo = VBMQ_STEAL(j->undo);
	if (m->host) /* what is kept of the host is as old as the last survey */
		memcpy(m->host->parts, j->parts, sizeof(m->host->parts));
	if (j->r < 0) {
		vbmq_err_prefix(&j->err, "nothing was applied: ");
		fail_and_slow_down(m, &j->err);
		return;
	}
	if (j->restore) {
		restore_done(m, j);
		return;
	}
	if (j->dry_run) {
		dry_run_done(m, j);
		return;
	}
	m->cycle.report = VBMQ_STEAL(j->report);
	if (m->conn) {
		vbmqd_reconcile_read(m, VBMQD_PHASE_CHECK);
		return;
	}
	/* libvirt went away: the report stands without checks, and the next connect starts with a survey. */
	if (publish_report(m, m->cycle.report, m->plan, m->plan->steps, m->plan->n_steps, &j->err) == 0)
		answer(&m->cycle, &(struct vbmqd_answer){ .plan_id = m->plan->id, .document = m->report });
	vbmqd_cycle_fail(m, -ENOTCONN, "the connection to libvirt was lost during the apply");
}

static void log_applied(const struct vbmq_plan *plan, const struct vbmq_report *report, enum vbmqd_verdict verdict)
{
	struct vbmqd_about about = { .plan_id = plan->id, .message_id = VBMQD_MSG_APPLIED };

	if (report->n_domains_failed)
		about.message_id = VBMQD_MSG_APPLY_FAILED;
	vbmqd_log_about(report->n_domains_failed || report->n_bad_checks ? LOG_WARNING : LOG_NOTICE, &about,
			"applied %zu steps: %s (%zu domains failed, %zu of %zu checks bad)", plan->n_steps,
			vbmqd_verdict_words[verdict], report->n_domains_failed, report->n_bad_checks, report->n_checks);
}

/* After an apply: is there still something to do although nothing failed? */
static void note_settled(struct vbmqd_manager *m, bool failed)
{
	if (failed || !m->plan->n_steps) {
		m->unsettled = 0;
		m->not_before = 0;
		return;
	}
	m->unsettled++;
	m->not_before = vbmqd_now() + vbmqd_back_off_ms(m->unsettled, UNSETTLED_FIRST_MS, UNSETTLED_MAX_MS) * 1000u;
	m->pending = true;
	if (m->unsettled == UNSETTLED_WARN)
		vbmqd_log_about(LOG_WARNING, &(struct vbmqd_about){ .plan_id = m->plan->id },
				"%u applies in a row left %zu steps to do: is somebody else moving threads?",
				m->unsettled, m->plan->n_steps);
}

void vbmqd_cycle_verify(struct vbmqd_manager *m)
{
	struct vbmq_report *report = m->cycle.report;
	struct vbmq_plan *applied;
	struct vbmq_err e = VBMQ_ERR_INIT;
	enum vbmqd_verdict verdict;
	int r;

	mark_failures(m, report, m->plan->steps);
	applied = m->cycle.plan = VBMQ_STEAL(m->plan);
	r = plan_now(m, true, &e);
	if (r == 0)
		r = vbmq_verify(m->cycle.snapshot, applied, report, &e);
	if (r == 0)
		r = publish_report(m, report, applied, applied->steps, applied->n_steps, &e);
	if (r < 0) {
		fail_and_slow_down(m, &e);
		return;
	}
	verdict = everything_known(m) ? judge(applied, report) : VBMQD_VERDICT_UNKNOWN;
	m->verdict = verdict;
	log_applied(applied, report, verdict);
	if (m->listener.applied)
		m->listener.applied(m->listener.data, applied->id, verdict);
	answer(&m->cycle, &(struct vbmqd_answer){ .plan_id = applied->id, .document = m->report });
	note_settled(m, report->n_domains_failed > 0);
	note_successes(m);
	finish(m);
}

/* --- what a cycle does with its plan -------------------------------------------------------------------------------- */

static void decide_apply(struct vbmqd_manager *m, const struct vbmqd_request *q, bool dry_run)
{
	struct vbmq_err e = VBMQ_ERR_INIT;

	if (!q->rebalance && q->plan_id[0] && strcmp(q->plan_id, m->plan->id) != 0)
		vbmqd_cycle_fail(m, -ESTALE, "the state has moved since that plan was made; plan again");
	else if (m->paused && !dry_run)
		vbmqd_cycle_fail(m, -ECANCELED, "vbmqd is paused; Resume first");
	else if (q->rebalance && vbmqd_rebalance(m, q, &e) < 0)
		vbmqd_cycle_fail(m, e.code, e.text);
	else
		start_apply(m, false, dry_run);
}

static void decide_request(struct vbmqd_manager *m)
{
	const struct vbmqd_request *q = m->cycle.request;
	bool dry_run = q->dry_run || vbmqd_manager_mode(m) == VBMQD_DRY_RUN;

	switch (q->kind) {
	case VBMQD_REQUEST_PLAN:
	case VBMQD_REQUEST_VERIFY:
		conclude(m);
		return;
	case VBMQD_REQUEST_APPLY:
		decide_apply(m, q, dry_run);
		return;
	case VBMQD_REQUEST_RESTORE:
		start_apply(m, true, dry_run);
		return;
	}
}

/* True: the cycle goes back to reading, because steps would touch what was not read in it. */
static bool refresh(struct vbmqd_manager *m)
{
	bool stale = false;

	for (size_t i = 0; i < m->plan->n_steps && !m->cycle.refreshed; i++) {
		struct vbmqd_domain *d = domain_of(m, &m->plan->steps[i]);

		if (!d || d->fresh)
			continue;
		vbmqd_domain_mark(d);
		stale = true;
	}
	if (!stale)
		return false;
	m->cycle.refreshed = true;
	vbmqd_reconcile_read(m, VBMQD_PHASE_READ);
	return true;
}

void vbmqd_cycle_plan(struct vbmqd_manager *m)
{
	bool own = !m->cycle.request;
	struct vbmq_err e = VBMQ_ERR_INIT;

	if (plan_now(m, own, &e) < 0) {
		vbmq_err_prefix(&e, "cannot plan: ");
		fail_and_slow_down(m, &e);
		return;
	}
	if (!own)
		decide_request(m);
	else if (m->plan->n_steps && may_apply(m) && refresh(m))
		return;
	else if (m->plan->n_steps && may_apply(m))
		start_apply(m, false, false);
	else if (m->plan->n_steps && vbmqd_manager_mode(m) == VBMQD_DRY_RUN && strcmp(m->dry_run_id, m->plan->id) != 0)
		start_apply(m, false, true);
	else
		conclude(m);
}
