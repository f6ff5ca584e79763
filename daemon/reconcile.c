/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reconciling.
 *
 * An event does nothing but mark a domain dirty and want a cycle. A cycle:
 *
 *	survey  (sometimes) list the domains, read the host's topology
 *	read    every dirty domain, several at a time, one job a domain
 *	plan    the whole host, in the main thread (pure and quick)        from here on: cycle.c
 *	apply   one job on the applier, if there are steps and we may
 *	check   read what was touched again, verify, report
 *
 * There is one cycle at a time. Calls from outside that need fresh state (plan, apply, verify, restore) are queued and each gets a
 * cycle of its own with a survey, before any cycle the daemon wants for itself.
 *
 * Timing. The first event after a quiet time starts a cycle nearly at once (SETTLE_USEC lets the events of one
 * action arrive together; one that comes later costs a second reading, after the debounce); the next cycle of our own then waits until "debounce" after the end of the last one, so a storm of events
 * costs one cycle per debounce. The recheck timer wants a survey, so whatever event got lost costs a delay and nothing else.
 *
 * A read that takes long must not hold up the others: once nothing has come back for a tenth of call-timeout, the cycle goes on without
 * the slow ones, which count as not answering (the planner leaves such a domain alone and keeps off its cores). For a
 * domain that was never read there is nothing to keep off, so it is given longer. Who asks for Verify wants to know of every domain, so
 * each gets all of call-timeout, and those that took even longer are named in the report. When a slow read comes back after all, it wants a new cycle, which takes
 * what it brought without reading once more (a recheck does not either, as long as it is being read: reads slower than rechecks would
 * never be used); when its call-timeout passes, the domain is unresponsive until
 * the hung call returns. Domains whose read or apply failed are tried again with exponential back-off up to retry-max; until then
 * our own cycles treat them as not answering, too.
 */
#include "daemon/reconcile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/api.h"
#include "daemon/cycle.h"
#include "daemon/jobs.h"
#include "daemon/known.h"
#include "daemon/log.h"
#include "daemon/snapshot.h"
#include "util/cleanup.h"

#define SETTLE_USEC 200u
#define PATIENCE_SHARE 10u /* of call-timeout: 1 s; four times that for a domain that was never read */
#define PATIENCE_UNSEEN 4u

static void survey_step(struct vbmqd_manager *m);
static void read_step(struct vbmqd_manager *m);

/* --- what is wanted ------------------------------------------------------------------------------------------------- */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void vbmqd_reconcile_kick(struct vbmqd_manager *m)
{
	uint64_t at = vbmqd_now() + SETTLE_USEC;
	int enabled;

	if (m->cycle.phase != VBMQD_PHASE_IDLE || !m->conn)
		return;
	if (m->requests) {
		struct vbmqd_request *q = m->requests;

		m->requests = q->next;
		m->n_requests--;
		vbmqd_cycle_begin(m, q);
		m->need_survey = true;
		survey_step(m);
		return;
	}
	/* An armed timer is left alone: else a steady stream of events would put the cycle off for ever. */
	if (!m->pending || sd_event_source_get_enabled(m->start_timer, &enabled) > 0)
		return;
	if (m->last_end)
		at = max_u64(at, m->last_end + m->conf.debounce_ms * 1000u);
	at = max_u64(at, m->not_before);
	sd_event_source_set_time(m->start_timer, at);
	sd_event_source_set_enabled(m->start_timer, SD_EVENT_ONESHOT);
}

int vbmqd_reconcile_on_start_timer(sd_event_source *s, uint64_t usec, void *data)
{
	struct vbmqd_manager *m = data;

	if (m->cycle.phase != VBMQD_PHASE_IDLE || !m->conn || !m->pending)
		return 0;
	vbmqd_cycle_begin(m, NULL);
	m->pending = false;
	survey_step(m);
	return 0;
}

void vbmqd_reconcile_survey(struct vbmqd_manager *m)
{
	m->need_survey = true;
	m->pending = true;
	vbmqd_reconcile_kick(m);
}

/* A domain that is being read cannot be dropped: its job has still to come back. */
static void forget_domain(struct vbmqd_manager *m, struct vbmqd_domain *d)
{
	if (d->state == VBMQD_DOMAIN_READING)
		d->gone = true;
	else
		vbmqd_domains_remove(&m->domains, d->uuid);
}

void vbmqd_reconcile_event(struct vbmqd_manager *m, const struct vbmqd_virt_event *e)
{
	struct vbmqd_domain *d = vbmqd_domains_find(&m->domains, e->uuid);

	vbmqd_log_about(LOG_DEBUG, &(struct vbmqd_about){ .domain = e->name, .uuid = e->uuid }, "event: %s",
			e->reason ? e->reason : "changed");
	if (e->kind == VBMQ_VIRT_DOMAIN_GONE) {
		if (!d)
			return;
		forget_domain(m, d);
	} else {
		d = vbmqd_domains_add(&m->domains, e->uuid, e->name);
		if (!d) {
			m->need_survey = true; /* no memory now: the list will show it again */
		} else {
			d->gone = false;
			if (e->kind == VBMQ_VIRT_DOMAIN_TUNED)
				vbmqd_domain_tuned(d);
			else
				vbmqd_domain_mark(d);
			/* Our own pins come back to us as events; the check reads what they did anyway. */
			if (d->touched && m->cycle.phase == VBMQD_PHASE_APPLY)
				return;
		}
	}
	m->pending = true;
	vbmqd_reconcile_kick(m);
}

void vbmqd_reconcile_returned(struct vbmqd_manager *m, const char *key)
{
	struct vbmqd_domain *d = vbmqd_domains_find(&m->domains, key);

	if (!d || !d->hung)
		return;
	vbmqd_domain_returned(d);
	vbmqd_log_about(LOG_NOTICE, &(struct vbmqd_about){ .domain = d->name, .uuid = d->uuid }, "answers again");
	m->pending = true;
	vbmqd_reconcile_kick(m);
}

static void arm_retry(struct vbmqd_manager *m)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < m->domains.n; i++) {
		const struct vbmqd_domain *d = m->domains.items[i];

		/* One that does not answer is tried when its hung call returns. */
		if (d->failures && d->retry_at < next && !d->hung)
			next = d->retry_at;
	}
	if (next == UINT64_MAX) {
		sd_event_source_set_enabled(m->retry_timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(m->retry_timer, max_u64(next, vbmqd_now()));
	sd_event_source_set_enabled(m->retry_timer, SD_EVENT_ONESHOT);
}

int vbmqd_reconcile_on_retry_timer(sd_event_source *s, uint64_t usec, void *data)
{
	struct vbmqd_manager *m = data;
	uint64_t now = vbmqd_now();

	for (size_t i = 0; i < m->domains.n; i++) {
		struct vbmqd_domain *d = m->domains.items[i];

		if (d->failures && !vbmqd_domain_backing_off(d, now)) {
			vbmqd_domain_mark(d);
			m->pending = true;
		}
	}
	/* Whoever is due now is tried in the next cycle, whose end arms the timer again. */
	vbmqd_reconcile_kick(m);
	return 0;
}

void vbmqd_reconcile_rest(struct vbmqd_manager *m)
{
	m->last_end = vbmqd_now();
	arm_retry(m);
	vbmqd_reconcile_kick(m);
}

void vbmqd_reconcile_request(struct vbmqd_manager *m, struct vbmqd_request *request)
{
	struct vbmqd_request **tail = &m->requests;

	while (*tail)
		tail = &(*tail)->next;
	request->next = NULL;
	*tail = request;
	m->n_requests++;
	vbmqd_reconcile_kick(m);
}

static void refuse_requests(struct vbmqd_manager *m, int code, const char *text)
{
	while (m->requests) {
		struct vbmqd_request *q = m->requests;
		struct vbmqd_answer a = { .err = VBMQ_ERR_INIT };

		m->requests = q->next;
		m->n_requests--;
		vbmq_err_set(&a.err, code, "%s", text);
		q->answer(q->data, &a);
		free(q);
	}
}

void vbmqd_reconcile_disconnected(struct vbmqd_manager *m)
{
	sd_event_source_set_enabled(m->start_timer, SD_EVENT_OFF);
	for (size_t i = 0; i < m->domains.n; i++)
		vbmqd_domain_mark(m->domains.items[i]);
	m->need_survey = true;
	m->pending = true;
	refuse_requests(m, -ENOTCONN, "there is no connection to libvirt");
}

void vbmqd_reconcile_done(struct vbmqd_manager *m)
{
	vbmqd_cycle_drop(m, -ECANCELED, "vbmqd is stopping");
	refuse_requests(m, -ECANCELED, "vbmqd is stopping");
}

/* --- survey --------------------------------------------------------------------------------------------------------- */

/* True: the cycle is over, because the connection went away under it. */
static bool connection_gone(struct vbmqd_manager *m)
{
	if (m->conn)
		return false;
	vbmqd_cycle_fail(m, -ENOTCONN, "the connection to libvirt was lost");
	return true;
}

static void survey_end(struct vbmqd_manager *m)
{
	if (--m->cycle.n_survey)
		return;
	if (connection_gone(m))
		return;
	if (m->cycle.survey_error.code || !m->host) {
		struct vbmq_err e = m->cycle.survey_error;

		vbmqd_log(LOG_WARNING, "cannot survey the host: %s", e.text);
		m->need_survey = m->pending = true;
		m->not_before = vbmqd_now() + vbmqd_back_off_ms(++m->unsettled, 1000, m->conf.retry_max_ms) * 1000u;
		vbmqd_cycle_fail(m, e.code ? e.code : -EIO, e.text);
		return;
	}
	vbmqd_reconcile_read(m, VBMQD_PHASE_READ);
}

static void take_list(struct vbmqd_manager *m, const struct vbmq_virt_name *names, size_t n)
{
	for (size_t i = 0; i < m->domains.n; i++)
		m->domains.items[i]->listed = false;
	for (size_t i = 0; i < n; i++) {
		struct vbmqd_domain *d = vbmqd_domains_add(&m->domains, names[i].uuid, names[i].name);

		if (!d) {
			vbmqd_log(LOG_ERR, "no room for domain %s: out of memory, or more than %u domains",
				  names[i].name, VBMQ_DOMAINS_MAX);
			continue;
		}
		d->listed = true;
		d->gone = false;
		vbmqd_domain_listed(d);
	}
	for (size_t i = m->domains.n; i-- > 0;) {
		if (!m->domains.items[i]->listed)
			forget_domain(m, m->domains.items[i]);
	}
}

static void list_done(struct vbmqd_job *job)
{
	struct vbmqd_list_job *j = (struct vbmqd_list_job *)job;
	struct vbmqd_manager *m = job->owner;

	if (j->err.code)
		m->cycle.survey_error = j->err;
	else
		take_list(m, j->names, j->n_names);
	survey_end(m);
}

static void list_late(void *owner, const char *key)
{
	struct vbmqd_manager *m = owner;

	vbmqd_manager_disconnect(m, "it does not list its domains within call-timeout");
	survey_end(m);
}

static void host_done(struct vbmqd_job *job)
{
	struct vbmqd_host_job *j = (struct vbmqd_host_job *)job;
	struct vbmqd_manager *m = job->owner;

	if (j->err.code) {
		m->cycle.survey_error = j->err;
	} else {
		vbmq_host_free(m->host);
		m->host = VBMQ_STEAL(j->host);
	}
	survey_end(m);
}

static void host_late(void *owner, const char *key)
{
	struct vbmqd_manager *m = owner;

	if (!m->host)
		vbmq_err_set(&m->cycle.survey_error, -ETIMEDOUT,
			     "reading the host's topology took longer than call-timeout");
	survey_end(m);
}

static void survey_step(struct vbmqd_manager *m)
{
	static const struct vbmqd_callbacks list_cb = { list_done, list_late }, host_cb = { host_done, host_late };
	struct vbmqd_job *list, *host;

	vbmqd_manager_changed(m);
	if (!m->need_survey) {
		vbmqd_reconcile_read(m, VBMQD_PHASE_READ);
		return;
	}
	list = vbmqd_list_job(m, &list_cb, m->conn, m->conf.call_timeout_ms);
	host = vbmqd_host_job(m, &host_cb, m->cycle.request && m->cycle.request->kind == VBMQD_REQUEST_VERIFY,
			      m->conf.call_timeout_ms);
	if (!list || !host) {
		if (list)
			list->ops->free(list);
		if (host)
			host->ops->free(host);
		vbmqd_cycle_fail(m, -ENOMEM, "out of memory");
		return;
	}
	m->need_survey = false;
	m->cycle.phase = VBMQD_PHASE_SURVEY;
	m->cycle.n_survey = 2;
	m->cycle.survey_error = VBMQ_ERR_INIT;
	vbmqd_workers_submit(m->workers, list);
	vbmqd_workers_submit(m->workers, host);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static void arm_patience(struct vbmqd_manager *m)
{
	bool verify = m->cycle.request && m->cycle.request->kind == VBMQD_REQUEST_VERIFY, unseen = false;
	uint64_t ms = m->conf.call_timeout_ms / (verify ? 1 : PATIENCE_SHARE);

	for (size_t i = 0; i < m->domains.n; i++) {
		if (m->domains.items[i]->state == VBMQD_DOMAIN_READING && !m->domains.items[i]->seen)
			unseen = true;
	}
	if (unseen && !verify)
		ms *= PATIENCE_UNSEEN;
	sd_event_source_set_time(m->patience_timer, vbmqd_now() + ms * 1000u);
	sd_event_source_set_enabled(m->patience_timer, SD_EVENT_ONESHOT);
}

/* The read of d is over, one way or the other; d may be gone afterwards. */
static void read_end(struct vbmqd_manager *m, struct vbmqd_domain *d, uint32_t cycle)
{
	bool gone = d->gone;

	if (gone)
		vbmqd_domains_remove(&m->domains, d->uuid);
	if (cycle == m->cycle.number && m->cycle.n_reads) {
		arm_patience(m);
		m->cycle.n_reads--;
		read_step(m);
		return;
	}
	/* Slower than its cycle's patience: what it brought wants a cycle of its own. */
	if (!gone)
		vbmqd_domain_late(d);
	m->pending = true;
	vbmqd_reconcile_kick(m);
}

static void log_unresponsive(const struct vbmqd_domain *d)
{
	vbmqd_log_about(
		LOG_WARNING,
		&(struct vbmqd_about){ .domain = d->name, .uuid = d->uuid, .message_id = VBMQD_MSG_UNRESPONSIVE },
		"does not answer; it is left as it is until it does");
}

static void take_read(struct vbmqd_manager *m, struct vbmqd_domain *d, struct vbmqd_read_job *j)
{
	bool answered = j->domain->responsive, answered_before = !d->seen || d->seen->responsive;

	if (j->metadata.code && strcmp(j->metadata.text, d->metadata.text) != 0)
		vbmqd_log_about(LOG_WARNING, &(struct vbmqd_about){ .domain = d->name, .uuid = d->uuid },
				"metadata refused: %s", j->metadata.text);
	vbmqd_domain_read_ok(d, VBMQ_STEAL(j->domain), &j->metadata);
	if (answered)
		return;
	vbmqd_domain_silent(d, vbmqd_now(), m->conf.retry_max_ms);
	if (answered_before)
		log_unresponsive(d);
}

static void read_done(struct vbmqd_job *job)
{
	struct vbmqd_read_job *j = (struct vbmqd_read_job *)job;
	struct vbmqd_manager *m = job->owner;
	struct vbmqd_domain *d = vbmqd_domains_find(&m->domains, job->key);

	if (!d || d->state != VBMQD_DOMAIN_READING)
		return; /* cannot be: a domain that is being read stays in the table */
	if (!j->err.code)
		vbmqd_snapshot_check_domain(m, j->domain, &j->err);
	if (!j->err.code) {
		take_read(m, d, j);
	} else if (!m->conn || j->generation != vbmqd_conn_generation(m->conn)) {
		d->state = VBMQD_DOMAIN_DIRTY; /* the connection's fault, not the domain's */
	} else if (j->err.code == -ENOENT) {
		d->gone = !d->dirty_again;
		d->state = VBMQD_DOMAIN_DIRTY;
	} else {
		vbmqd_domain_failed(d, &j->err, vbmqd_now(), m->conf.retry_max_ms);
		vbmqd_log_about(LOG_WARNING, &(struct vbmqd_about){ .domain = d->name, .uuid = d->uuid },
				"cannot be read: %s", j->err.text);
	}
	read_end(m, d, j->cycle);
}

static void read_late(void *owner, const char *key)
{
	struct vbmqd_manager *m = owner;
	struct vbmqd_domain *d = vbmqd_domains_find(&m->domains, key);

	if (!d || d->state != VBMQD_DOMAIN_READING)
		return;
	vbmqd_domain_hung(d);
	log_unresponsive(d);
	read_end(m, d, d->read_cycle);
}

static void read_submit(struct vbmqd_manager *m, struct vbmqd_domain *d)
{
	static const struct vbmqd_callbacks cb = { read_done, read_late };
	struct vbmqd_read_job *job;

	/* One job per domain: an earlier read of it may still hang. */
	if (vbmqd_workers_key_lost(m->workers, d->uuid)) {
		vbmqd_domain_hung(d);
		log_unresponsive(d);
		return;
	}
	job = vbmqd_read_job(m, &cb, m->conn, d->uuid, m->cycle.number, m->conf.call_timeout_ms);
	if (!job) {
		struct vbmq_err e = VBMQ_ERR_INIT;

		vbmq_err_oom(&e);
		vbmqd_domain_failed(d, &e, vbmqd_now(), m->conf.retry_max_ms);
		return;
	}
	d->state = VBMQD_DOMAIN_READING;
	d->dirty_again = false;
	if (m->cycle.phase == VBMQD_PHASE_CHECK)
		job->known = vbmqd_known_after_apply(m, d);
	if (!job->known)
		d->stirred = false;
	d->fresh = true;
	d->read_cycle = m->cycle.number;
	m->cycle.n_reads++;
	vbmqd_workers_submit(m->workers, &job->job);
}

void vbmqd_reconcile_read(struct vbmqd_manager *m, enum vbmqd_phase phase)
{
	if (connection_gone(m))
		return;
	m->cycle.phase = phase;
	m->cycle.number++;
	vbmqd_manager_changed(m);
	m->cycle.n_reads = 0;
	for (size_t i = 0; i < m->domains.n; i++) {
		struct vbmqd_domain *d = m->domains.items[i];

		if (d->state == VBMQD_DOMAIN_DIRTY ||
		    (phase == VBMQD_PHASE_CHECK && d->touched && d->state != VBMQD_DOMAIN_READING && !d->hung))
			read_submit(m, d);
	}
	arm_patience(m);
	read_step(m);
}

/* Goes on when no read is waited for any more. */
static void read_step(struct vbmqd_manager *m)
{
	if (m->cycle.n_reads)
		return;
	sd_event_source_set_enabled(m->patience_timer, SD_EVENT_OFF);
	if (connection_gone(m))
		return;
	if (m->cycle.phase == VBMQD_PHASE_CHECK)
		vbmqd_cycle_verify(m);
	else
		vbmqd_cycle_plan(m);
}

int vbmqd_reconcile_on_patience_timer(sd_event_source *s, uint64_t usec, void *data)
{
	struct vbmqd_manager *m = data;

	if (!m->cycle.n_reads)
		return 0;
	vbmqd_log(LOG_INFO, "%u domain%s slow to answer; going on without", m->cycle.n_reads,
		  m->cycle.n_reads == 1 ? " is" : "s are");
	m->cycle.n_reads = 0;
	read_step(m);
	return 0;
}
