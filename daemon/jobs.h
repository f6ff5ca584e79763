/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The work that is done off the main thread: what each job takes along, and what it brings back. The structs are public
 * because the main thread's callbacks read the results; ownership of a result moves by VBMQ_STEAL.
 */

#include <stdatomic.h>

#include "apply/engine.h"
#include "core/undo.h"
#include "daemon/conn.h"
#include "daemon/workers.h"
#include "util/err.h"
#include "virt/connection.h"

struct vbmqd_callbacks {
	void (*done)(struct vbmqd_job *job);
	void (*late)(void *owner, const char *key);
};

/* lib/virt gives up a libvirt call after call-timeout by itself; a job's own limit is for what else may hang (/proc, hwloc, a
 * sequence of calls each of which is just quick enough). */
#define VBMQD_JOB_TIMEOUT_MS(call_timeout_ms) (2 * (call_timeout_ms) + 1000)

#define VBMQD_KEY_CONNECT "connect"
#define VBMQD_KEY_LIST "list"
#define VBMQD_KEY_HOST "host"

struct vbmqd_connect_job {
	struct vbmqd_job job;
	char *uri; /* NULL: libvirt's default */
	uint32_t generation;
	uint64_t call_timeout_ms;
	struct vbmqd_conn *conn; /* result */
	struct vbmq_err err; /* code 0: connected */
};

struct vbmqd_list_job {
	struct vbmqd_job job;
	struct vbmqd_conn *conn;
	struct vbmq_virt_name *names; /* result: active domains */
	size_t n_names;
	struct vbmq_err err;
};

struct vbmqd_host_job {
	struct vbmqd_job job;
	uint64_t wait_ms; /* for irqbalance to say what it was told; 0: not at all */
	struct vbmq_host *host; /* result */
	struct vbmq_err err;
};

struct vbmqd_read_job {
	struct vbmqd_job job; /* key: the domain's UUID */
	struct vbmqd_conn *conn;
	uint32_t cycle;
	uint32_t generation; /* of conn */
	struct vbmq_domain *known; /* set by whoever submits it: see vbmq_capture_again; NULL: all is read. Owned */
	struct vbmq_domain *domain; /* result */
	struct vbmq_err metadata;
	struct vbmq_err err;
};

/* An apply or a restore. Runs on the applier, a pool of one. No time limit of its own: each call it makes has one (virt/call.c),
 * and of /proc it reads and sets nothing that waits for a guest. */
struct vbmqd_apply_job {
	struct vbmqd_job job;
	struct vbmqd_conn *conn;
	const char *bus; /* borrowed, likewise: where systemd is asked */
	const char *undo_path; /* borrowed, constant for the daemon's life */
	atomic_bool *cancel; /* borrowed, likewise */
	const struct vbmq_snapshot *snapshot; /* borrowed: the main thread leaves both alone until done */
	const struct vbmq_plan *plan;
	bool dry_run;
	bool restore;
	char restore_uuid[37]; /* "": all domains */
	struct vbmq_undo *undo; /* a copy; result: as it is afterwards */
	bool limits; /* slices are ours to limit: what is left of that goes with a restore of everything */
	struct vbmq_part parts[VBMQ_PARTS]; /* result: the host's own work as it was afterwards */
	struct vbmq_report *report; /* result */
	struct vbmq_step *steps; /* result of a restore */
	size_t n_steps;
	int r; /* of the engine */
	struct vbmq_err err;
};

/* NULL: no memory. The job still has to be submitted; conn is referenced. Limits: see VBMQD_JOB_TIMEOUT_MS. */
struct vbmqd_job *vbmqd_connect_job(void *owner, const struct vbmqd_callbacks *cb, const char *uri, uint32_t generation,
				    uint64_t call_timeout_ms);
struct vbmqd_job *vbmqd_list_job(void *owner, const struct vbmqd_callbacks *cb, struct vbmqd_conn *conn,
				 uint64_t call_timeout_ms);
/* verify: waits for irqbalance, within the limit */
struct vbmqd_job *vbmqd_host_job(void *owner, const struct vbmqd_callbacks *cb, bool verify, uint64_t call_timeout_ms);
struct vbmqd_read_job *vbmqd_read_job(void *owner, const struct vbmqd_callbacks *cb, struct vbmqd_conn *conn,
				      const char *uuid, uint32_t cycle, uint64_t call_timeout_ms);
struct vbmqd_apply_job *vbmqd_apply_job(void *owner, const struct vbmqd_callbacks *cb, struct vbmqd_conn *conn);
/* Gives up the main thread's reference of conn. */
struct vbmqd_job *vbmqd_close_job(struct vbmqd_conn *conn, uint64_t call_timeout_ms);
