/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/manager.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "daemon/api.h"
#include "daemon/jobs.h"
#include "daemon/log.h"
#include "daemon/reconcile.h"
#include "daemon/settings.h"
#include "daemon/undo_file.h"
#include "util/cleanup.h"

#define CONNECT_FIRST_MS 250u
#define CONNECT_ACCURACY_USEC 50000u

const char *const vbmqd_mode_words[] = { "manage", "observe", "dry-run", NULL };
const char *const vbmqd_state_words[] = { "idle", "planning", "applying", "paused", "disconnected", NULL };
const char *const vbmqd_verdict_words[] = { "unknown", "ok", "drift", "failed", "infeasible", NULL };

uint64_t vbmqd_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

enum vbmqd_mode vbmqd_manager_mode(const struct vbmqd_manager *m)
{
	if (m->opt.dry_run)
		return VBMQD_DRY_RUN;
	return m->conf.observe ? VBMQD_OBSERVE : VBMQD_MANAGE;
}

enum vbmqd_state vbmqd_manager_state(const struct vbmqd_manager *m)
{
	if (!m->conn)
		return VBMQD_DISCONNECTED;
	if (m->cycle.phase == VBMQD_PHASE_APPLY)
		return VBMQD_APPLYING;
	if (m->cycle.phase != VBMQD_PHASE_IDLE)
		return VBMQD_PLANNING;
	return m->paused ? VBMQD_PAUSED : VBMQD_IDLE;
}

void vbmqd_manager_changed(struct vbmqd_manager *m)
{
	sd_notifyf(0, "STATUS=%s, %s, %zu domain%s, verdict: %s", vbmqd_mode_words[vbmqd_manager_mode(m)],
		   vbmqd_state_words[vbmqd_manager_state(m)], m->domains.n, m->domains.n == 1 ? "" : "s",
		   vbmqd_verdict_words[m->verdict]);
	if (m->listener.changed)
		m->listener.changed(m->listener.data);
	for (size_t i = 0; i < m->domains.n; i++) {
		if (!m->domains.items[i]->changed)
			continue;
		m->domains.items[i]->changed = false;
		if (m->listener.domain_changed)
			m->listener.domain_changed(m->listener.data, m->domains.items[i]);
	}
}

/* --- the connection ------------------------------------------------------------------------------------------------- */

static void connect_start(struct vbmqd_manager *m);

static void connect_later(struct vbmqd_manager *m)
{
	uint64_t ms = vbmqd_back_off_ms(m->connect_failures, CONNECT_FIRST_MS, m->conf.retry_max_ms);

	sd_event_source_set_time(m->connect_timer, vbmqd_now() + ms * 1000u);
	sd_event_source_set_enabled(m->connect_timer, SD_EVENT_ONESHOT);
}

static int on_connect_timer(sd_event_source *s, uint64_t usec, void *data)
{
	connect_start(data);
	return 0;
}

static void connect_failed(struct vbmqd_manager *m, const char *why)
{
	m->connecting = false;
	m->connect_failures++;
	/* Once in full, then only for those who debug: libvirtd may be away for hours. */
	vbmqd_log(m->connect_failures == 1 ? LOG_WARNING : LOG_DEBUG, "no connection to libvirt: %s; trying again",
		  why);
	connect_later(m);
}

static void connect_done(struct vbmqd_job *job)
{
	struct vbmqd_connect_job *j = (struct vbmqd_connect_job *)job;
	struct vbmqd_manager *m = job->owner;

	if (!j->conn) {
		connect_failed(m, j->err.text);
		return;
	}
	m->connecting = false;
	m->connect_failures = 0;
	m->conn = VBMQ_STEAL(j->conn);
	vbmqd_log_about(LOG_NOTICE, &(struct vbmqd_about){ .message_id = VBMQD_MSG_CONNECTED },
			"connected to libvirt at %s", j->uri ? j->uri : "its default URI");
	vbmqd_reconcile_survey(m);
	vbmqd_manager_changed(m);
}

static void connect_late(void *owner, const char *key)
{
	connect_failed(owner, "it does not answer within call-timeout");
}

static void connect_start(struct vbmqd_manager *m)
{
	static const struct vbmqd_callbacks cb = { connect_done, connect_late };
	const char *uri = m->opt.uri ? m->opt.uri : m->conf.uri ? m->conf.uri : "qemu:///system";
	struct vbmqd_job *job;

	if (m->conn || m->connecting)
		return;
	/* One attempt at a time, also beyond its time limit: a libvirtd that is stopped would collect our threads. */
	if (vbmqd_workers_key_lost(m->workers, VBMQD_KEY_CONNECT)) {
		connect_later(m);
		return;
	}
	job = vbmqd_connect_job(m, &cb, uri, ++m->generation, m->conf.call_timeout_ms);
	if (!job) {
		connect_failed(m, "out of memory");
		return;
	}
	m->connecting = true;
	vbmqd_workers_submit(m->workers, job);
}

/* Nothing is lost with the connection: the undo record stands, domains are read again after the next connect. */
void vbmqd_manager_disconnect(struct vbmqd_manager *m, const char *why)
{
	struct vbmqd_job *job;

	if (!m->conn)
		return;
	job = vbmqd_close_job(m->conn, m->conf.call_timeout_ms);
	if (job)
		vbmqd_workers_submit(m->workers, job);
	m->conn =
		NULL; /* without memory for the job its reference leaks, which is better than a call that blocks here */
	m->verdict = VBMQD_VERDICT_UNKNOWN;
	vbmqd_log_about(LOG_WARNING, &(struct vbmqd_about){ .message_id = VBMQD_MSG_DISCONNECTED },
			"lost the connection to libvirt: %s; guests stay as they are", why);
	vbmqd_reconcile_disconnected(m);
	m->connect_failures = 1;
	connect_later(m);
	vbmqd_manager_changed(m);
}

static void on_virt_event(void *data, const struct vbmqd_virt_event *e)
{
	struct vbmqd_manager *m = data;

	if (!m->conn || (!e->lost && e->generation != vbmqd_conn_generation(m->conn)))
		return;
	if (e->lost)
		vbmqd_reconcile_survey(m);
	else if (e->kind == VBMQ_VIRT_CLOSED)
		vbmqd_manager_disconnect(m, e->reason ? e->reason : "closed");
	else
		vbmqd_reconcile_event(m, e);
}

static void on_returned(void *data, const char *key)
{
	vbmqd_reconcile_returned(data, key);
}

/* --- settings ------------------------------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static void arm_recheck(struct vbmqd_manager *m)
{
	uint64_t usec = m->conf.recheck_ms * 1000u;

	/* Wide: the kernel and systemd may put it together with somebody else's wake-up. */
	sd_event_source_set_time_accuracy(m->recheck_timer, usec / 4);
	sd_event_source_set_time(m->recheck_timer, vbmqd_now() + usec);
	sd_event_source_set_enabled(m->recheck_timer, SD_EVENT_ONESHOT);
}

static int on_recheck(sd_event_source *s, uint64_t usec, void *data)
{
	struct vbmqd_manager *m = data;

	arm_recheck(m);
	vbmqd_reconcile_survey(m);
	return 0;
}

int vbmqd_manager_reload(struct vbmqd_manager *m, struct vbmq_err *err)
{
	struct vbmq_conf conf;
	bool moved;
	int r;

	r = vbmqd_settings_read(m->opt.config, m->opt.config_required, &conf, err);
	if (r < 0)
		return r;
	moved = !m->opt.uri && !same_text(conf.uri, m->conf.uri);
	vbmq_conf_done(&m->conf);
	m->conf = conf;
	vbmqd_workers_set_size(m->workers, m->conf.workers);
	arm_recheck(m);
	if (moved)
		vbmqd_manager_disconnect(m, "the configuration names another URI");
	vbmqd_reconcile_survey(m);
	vbmqd_manager_changed(m);
	return 0;
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

static int add_timer(struct vbmqd_manager *m, sd_event_source **ret, uint64_t accuracy, sd_event_time_handler_t fn,
		     const char *name)
{
	int r;

	r = sd_event_add_time(m->event, ret, CLOCK_MONOTONIC, 0, accuracy, fn, m);
	if (r < 0)
		return r;
	sd_event_source_set_description(*ret, name);
	return sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

static int add_timers(struct vbmqd_manager *m, struct vbmq_err *err)
{
	int r;

	r = add_timer(m, &m->connect_timer, CONNECT_ACCURACY_USEC, on_connect_timer, "connect");
	if (r >= 0)
		r = add_timer(m, &m->recheck_timer, 0, on_recheck, "recheck");
	if (r >= 0)
		r = add_timer(m, &m->start_timer, 1, vbmqd_reconcile_on_start_timer, "debounce");
	if (r >= 0)
		r = add_timer(m, &m->patience_timer, 50000, vbmqd_reconcile_on_patience_timer, "patience");
	if (r >= 0)
		r = add_timer(m, &m->retry_timer, 100000, vbmqd_reconcile_on_retry_timer, "retry");
	return r < 0 ? vbmq_err_set(err, r, "cannot set up timers: %s", strerror(-r)) : 0;
}

int vbmqd_manager_new(const struct vbmqd_options *opt, sd_event *event, struct vbmqd_manager **ret,
		      struct vbmq_err *err)
{
	struct vbmqd_manager *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return vbmq_err_oom(err);
	m->opt = *opt;
	m->event = sd_event_ref(event);
	vbmq_conf_init(&m->conf);
	if (asprintf(&m->undo_path, "%s/undo.json", opt->run_dir) < 0) {
		m->undo_path = NULL;
		r = vbmq_err_oom(err);
		goto fail;
	}
	r = vbmqd_settings_read(opt->config, opt->config_required, &m->conf, err);
	if (r < 0)
		goto fail;
	r = vbmqd_undo_file_load(m->undo_path, &m->undo, err);
	if (r < 0) {
		vbmq_err_prefix(err, "the undo record is damaged; move it away to go on without: ");
		goto fail;
	}
	r = vbmqd_workers_new(event, m->conf.workers, on_returned, m, &m->workers, err);
	if (r == 0)
		r = vbmqd_workers_new(event, 1, on_returned, m, &m->applier, err);
	if (r == 0)
		r = add_timers(m, err);
	if (r < 0)
		goto fail;
	*ret = m;
	return 0;

fail:
	vbmqd_manager_free(m);
	return r;
}

int vbmqd_manager_start(struct vbmqd_manager *m, struct vbmq_err *err)
{
	int r;

	r = vbmqd_virt_loop_start(m->event, on_virt_event, m, &m->loop, err);
	if (r < 0)
		return r;
	if (m->undo->n_entries)
		vbmqd_log(LOG_INFO, "adopting what an earlier run left: %zu entries in %s", m->undo->n_entries,
			  m->undo_path);
	arm_recheck(m);
	connect_start(m);
	return 0;
}

/* Closing is a libvirt call like any other: a worker makes it, and may hang in it. */
static bool close_connection(struct vbmqd_manager *m, uint64_t timeout_ms)
{
	struct vbmqd_job *job;

	if (!m->conn)
		return true;
	job = vbmqd_close_job(m->conn, timeout_ms);
	if (job)
		job->timeout_ms = timeout_ms;
	if (!job || vbmqd_workers_call(m->workers, job) < 0)
		return false;
	m->conn = NULL;
	job->ops->free(job);
	return true;
}

bool vbmqd_manager_stop(struct vbmqd_manager *m, uint64_t grace_ms)
{
	atomic_store(&m->cancel, true);
	if (!vbmqd_workers_stop(m->applier, grace_ms / 2) || !close_connection(m, grace_ms / 6))
		return false;
	if (!vbmqd_workers_stop(m->workers, grace_ms / 6) || !vbmqd_virt_loop_stop(m->loop, grace_ms / 6))
		return false;
	vbmqd_reconcile_done(m); /* nobody but us looks at the cycle any more; callers get their answers */
	return true;
}

struct vbmqd_manager *vbmqd_manager_free(struct vbmqd_manager *m)
{
	if (!m)
		return NULL;
	vbmqd_reconcile_done(m);
	vbmqd_workers_free(m->applier);
	vbmqd_workers_free(m->workers);
	sd_event_source_disable_unref(m->connect_timer);
	sd_event_source_disable_unref(m->recheck_timer);
	sd_event_source_disable_unref(m->start_timer);
	sd_event_source_disable_unref(m->patience_timer);
	sd_event_source_disable_unref(m->retry_timer);
	vbmqd_domains_done(&m->domains);
	vbmq_host_free(m->host);
	vbmq_undo_free(m->undo);
	vbmq_plan_free(m->plan);
	free(m->report);
	free(m->undo_path);
	vbmq_conf_done(&m->conf);
	sd_event_unref(m->event);
	free(m);
	return NULL;
}
