/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/jobs.h"

#include <stdlib.h>
#include <string.h>

#include "bus/dropins.h"
#include "bus/parts.h"
#include "capture/capture.h"
#include "core/diff.h"
#include "daemon/log.h"
#include "daemon/undo_file.h"
#include "daemon/virt_loop.h"
#include "host/irqbalance.h"
#include "host/parts.h"
#include "host/topology.h"
#include "util/cleanup.h"

/*
 * Jobs drop their reference of the connection at the end of run, in the worker, because the last one closes it. Their free
 * drops it only when they never ran.
 */

/* The callbacks are the caller's, the rest is fixed for a kind of job: so every job carries its own operations. */
struct ops_box {
	struct vbmqd_job_ops ops;
};

static void *job_new(size_t size, void *owner, const struct vbmqd_callbacks *cb, const char *name,
		     void (*run)(struct vbmqd_job *), struct vbmqd_job *(*destroy)(struct vbmqd_job *), const char *key,
		     uint64_t timeout_ms)
{
	struct vbmqd_job *job = calloc(1, size + sizeof(struct ops_box));
	struct ops_box *box;

	if (!job)
		return NULL;
	box = (struct ops_box *)((char *)job + size);
	box->ops =
		(struct vbmqd_job_ops){ .name = name, .run = run, .done = cb->done, .late = cb->late, .free = destroy };
	job->ops = &box->ops;
	job->owner = owner;
	job->timeout_ms = timeout_ms;
	strncpy(job->key, key, sizeof(job->key) - 1);
	return job;
}

/* --- connect, close ------------------------------------------------------------------------------------------------- */

static void connect_run(struct vbmqd_job *job)
{
	struct vbmqd_connect_job *j = (struct vbmqd_connect_job *)job;
	struct vbmq_virt *v = NULL;

	if (vbmq_virt_open(j->uri, false, vbmqd_virt_loop_callback, vbmqd_virt_loop_callback_data(j->generation), &v,
			   &j->err) < 0)
		return;
	vbmq_virt_set_timeout(v, (unsigned)j->call_timeout_ms);
	j->conn = vbmqd_conn_new(v, j->generation);
	if (!j->conn)
		vbmq_err_oom(&j->err);
}

static struct vbmqd_job *connect_free(struct vbmqd_job *job)
{
	struct vbmqd_connect_job *j = (struct vbmqd_connect_job *)job;

	vbmqd_conn_unref(j->conn); /* only if nobody took it: an abandoned attempt that came through after all */
	free(j->uri);
	free(j);
	return NULL;
}

struct vbmqd_job *vbmqd_connect_job(void *owner, const struct vbmqd_callbacks *cb, const char *uri, uint32_t generation,
				    uint64_t call_timeout_ms)
{
	struct vbmqd_connect_job *j = job_new(sizeof(*j), owner, cb, "connect", connect_run, connect_free,
					      VBMQD_KEY_CONNECT, VBMQD_JOB_TIMEOUT_MS(call_timeout_ms));

	if (!j)
		return NULL;
	j->generation = generation;
	j->call_timeout_ms = call_timeout_ms;
	if (uri) {
		j->uri = strdup(uri);
		if (!j->uri)
			return connect_free(&j->job);
	}
	return &j->job;
}

struct close_job {
	struct vbmqd_job job;
	struct vbmqd_conn *conn;
};

static void close_run(struct vbmqd_job *job)
{
	struct close_job *j = (struct close_job *)job;

	j->conn = vbmqd_conn_unref(j->conn);
}

static struct vbmqd_job *close_free(struct vbmqd_job *job)
{
	/* A close that never ran leaves its reference: dropping it here might be a libvirt call in the main thread. */
	free(job);
	return NULL;
}

static void close_done(struct vbmqd_job *job)
{
}

static void close_late(void *owner, const char *key)
{
	vbmqd_log(LOG_WARNING, "closing the old libvirt connection takes long; a thread is left waiting for it");
}

struct vbmqd_job *vbmqd_close_job(struct vbmqd_conn *conn, uint64_t call_timeout_ms)
{
	static const struct vbmqd_callbacks cb = { close_done, close_late };
	struct close_job *j = job_new(sizeof(*j), NULL, &cb, "close", close_run, close_free, "",
				      VBMQD_JOB_TIMEOUT_MS(call_timeout_ms));

	if (!j)
		return NULL;
	j->conn = conn;
	return &j->job;
}

/* --- survey: list of domains, topology of the host ------------------------------------------------------------------ */

static void list_run(struct vbmqd_job *job)
{
	struct vbmqd_list_job *j = (struct vbmqd_list_job *)job;

	vbmq_virt_list(vbmqd_conn_virt(j->conn), false, &j->names, &j->n_names, &j->err);
	j->conn = vbmqd_conn_unref(j->conn);
}

static struct vbmqd_job *list_free(struct vbmqd_job *job)
{
	struct vbmqd_list_job *j = (struct vbmqd_list_job *)job;

	vbmqd_conn_unref(j->conn);
	vbmq_virt_names_free(j->names, j->n_names);
	free(j);
	return NULL;
}

struct vbmqd_job *vbmqd_list_job(void *owner, const struct vbmqd_callbacks *cb, struct vbmqd_conn *conn,
				 uint64_t call_timeout_ms)
{
	struct vbmqd_list_job *j = job_new(sizeof(*j), owner, cb, "list", list_run, list_free, VBMQD_KEY_LIST,
					   VBMQD_JOB_TIMEOUT_MS(call_timeout_ms));

	if (!j)
		return NULL;
	j->conn = vbmqd_conn_ref(conn);
	return &j->job;
}

static void host_run(struct vbmqd_job *job)
{
	struct vbmqd_host_job *j = (struct vbmqd_host_job *)job;

	vbmq_irqbalance_wait(NULL, j->wait_ms);
	vbmq_topology_live(NULL, &j->host, &j->err);
}

static struct vbmqd_job *host_free(struct vbmqd_job *job)
{
	struct vbmqd_host_job *j = (struct vbmqd_host_job *)job;

	vbmq_host_free(j->host);
	free(j);
	return NULL;
}

struct vbmqd_job *vbmqd_host_job(void *owner, const struct vbmqd_callbacks *cb, bool verify, uint64_t call_timeout_ms)
{
	struct vbmqd_host_job *j = job_new(sizeof(*j), owner, cb, "host", host_run, host_free, VBMQD_KEY_HOST,
					   VBMQD_JOB_TIMEOUT_MS(call_timeout_ms));

	if (!j)
		return NULL;
	j->wait_ms = verify ? call_timeout_ms + call_timeout_ms / 2 : 0;
	return &j->job;
}

/* --- read one domain ------------------------------------------------------------------------------------------------ */

static void read_run(struct vbmqd_job *job)
{
	struct vbmqd_read_job *j = (struct vbmqd_read_job *)job;

	if (j->known)
		vbmq_capture_again(vbmqd_conn_virt(j->conn), j->known, &j->domain, &j->metadata, &j->err);
	else
		vbmq_capture_domain(vbmqd_conn_virt(j->conn), j->job.key, &j->domain, &j->metadata, &j->err);
	j->conn = vbmqd_conn_unref(j->conn);
}

static struct vbmqd_job *read_free(struct vbmqd_job *job)
{
	struct vbmqd_read_job *j = (struct vbmqd_read_job *)job;

	vbmqd_conn_unref(j->conn);
	vbmq_domain_free(j->known);
	vbmq_domain_free(j->domain);
	free(j);
	return NULL;
}

struct vbmqd_read_job *vbmqd_read_job(void *owner, const struct vbmqd_callbacks *cb, struct vbmqd_conn *conn,
				      const char *uuid, uint32_t cycle, uint64_t call_timeout_ms)
{
	struct vbmqd_read_job *j = job_new(sizeof(*j), owner, cb, "read", read_run, read_free, uuid,
					   VBMQD_JOB_TIMEOUT_MS(call_timeout_ms));

	if (!j)
		return NULL;
	j->conn = vbmqd_conn_ref(conn);
	j->generation = vbmqd_conn_generation(conn);
	j->cycle = cycle;
	return j;
}

/* --- apply, restore ------------------------------------------------------------------------------------------------- */

static int save_undo(void *data, const struct vbmq_undo *undo, struct vbmq_err *err)
{
	const struct vbmqd_apply_job *j = data;

	return vbmqd_undo_file_save(j->undo_path, undo, err);
}

static bool cancelled(void *data)
{
	const struct vbmqd_apply_job *j = data;

	return atomic_load(j->cancel);
}

static void progress(void *data, size_t step, const struct vbmq_step_result *result)
{
	const struct vbmqd_apply_job *j = data;
	struct vbmqd_about about;
	const struct vbmq_domain *d;

	if (j->restore)
		return; /* its steps are not known here before the end */
	about = (struct vbmqd_about){ .plan_id = j->plan->id };
	if (!vbmq_step_is_of_host(&j->plan->steps[step])) {
		d = j->snapshot->domains[j->plan->steps[step].domain];
		about.domain = d->name;
		about.uuid = d->uuid;
	}
	if (result->outcome == VBMQ_OUTCOME_FAILED || result->outcome == VBMQ_OUTCOME_UNDO_FAILED) {
		about.message_id = VBMQD_MSG_APPLY_FAILED;
		vbmqd_log_about(LOG_WARNING, &about, "%s %u: %s: %s", vbmq_step_word(&j->plan->steps[step]),
				j->plan->steps[step].id, vbmq_outcome_words[result->outcome],
				result->text ? result->text : "no cause given");
	} else {
		vbmqd_log_about(LOG_DEBUG, &about, "%s %u: %s", vbmq_step_word(&j->plan->steps[step]),
				j->plan->steps[step].id, vbmq_outcome_words[result->outcome]);
	}
}

static void apply_run(struct vbmqd_job *job)
{
	struct vbmqd_apply_job *j = (struct vbmqd_apply_job *)job;
	struct vbmq_err e = VBMQ_ERR_INIT;
	struct vbmq_actuator act;
	struct vbmq_bus_parts own = { .where = j->bus };
	struct vbmq_part_actuator parts = vbmq_bus_parts_actuator(&own);
	struct vbmq_apply a = { .actuator = &act,
				.parts = &parts,
				.dry_run = j->dry_run,
				.save_undo = save_undo,
				.progress = progress,
				.cancelled = cancelled,
				.data = j };

	vbmq_act_libvirt(vbmqd_conn_virt(j->conn), &vbmq_capture_task_ops, &act);
	if (j->restore)
		j->r = vbmq_apply_restore(&a, j->snapshot, j->restore_uuid[0] ? j->restore_uuid : NULL, j->undo,
					  &j->steps, &j->n_steps, &j->report, &j->err);
	else
		j->r = vbmq_apply_plan(&a, j->snapshot, j->plan, j->undo, &j->report, &j->err);
	if (j->restore && !j->restore_uuid[0] && j->limits && j->r >= 0 && vbmq_bus_dropins_remove(&own, &e) < 0)
		vbmqd_log(LOG_WARNING, "%s", e.text);
	vbmq_bus_parts_close(&own);
	vbmq_parts_read(NULL, j->parts);
	j->conn = vbmqd_conn_unref(j->conn);
}

static struct vbmqd_job *apply_free(struct vbmqd_job *job)
{
	struct vbmqd_apply_job *j = (struct vbmqd_apply_job *)job;

	vbmqd_conn_unref(j->conn);
	vbmq_undo_free(j->undo);
	vbmq_report_free(j->report);
	vbmq_steps_free(j->steps, j->n_steps);
	free(j);
	return NULL;
}

struct vbmqd_apply_job *vbmqd_apply_job(void *owner, const struct vbmqd_callbacks *cb, struct vbmqd_conn *conn)
{
	struct vbmqd_apply_job *j = job_new(sizeof(*j), owner, cb, "apply", apply_run, apply_free, "", 0);

	if (j)
		j->conn = vbmqd_conn_ref(conn);
	return j;
}
