/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The one object of the daemon: what it knows and what it is doing. Main thread only; everything another thread needs is
 * copied into a job. manager.c: life, settings, the connection. reconcile.c: the cycle from an event to a verified host.
 * api.c: the calls from outside.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "codec/conf.h"
#include "core/plan.h"
#include "core/report.h"
#include "core/snapshot.h"
#include "core/undo.h"
#include "daemon/conn.h"
#include "daemon/domain.h"
#include "daemon/virt_loop.h"
#include "daemon/workers.h"

struct vbmqd_request; /* api.h */

enum vbmqd_mode { VBMQD_MANAGE, VBMQD_OBSERVE, VBMQD_DRY_RUN };
enum vbmqd_state { VBMQD_IDLE, VBMQD_PLANNING, VBMQD_APPLYING, VBMQD_PAUSED, VBMQD_DISCONNECTED };
enum vbmqd_verdict { VBMQD_VERDICT_UNKNOWN, VBMQD_OK, VBMQD_DRIFT, VBMQD_FAILED, VBMQD_INFEASIBLE };

enum vbmqd_phase {
	VBMQD_PHASE_IDLE,
	VBMQD_PHASE_SURVEY, /* listing the domains, reading the host */
	VBMQD_PHASE_READ, /* reading dirty domains */
	VBMQD_PHASE_APPLY, /* the applier works */
	VBMQD_PHASE_CHECK, /* reading what it touched again */
};

struct vbmqd_options {
	const char *config; /* path of vbmqd.conf */
	bool config_required;
	const char *uri; /* beats the configuration; NULL: not said */
	const char *run_dir; /* undo.json lies there */
	const char *bus; /* "system", "session" or an address */
	bool dry_run;
	bool debug;
};

/* What the world is told; the bus implements it. All calls in the main thread. */
struct vbmqd_listener {
	void (*planned)(void *data, const char *plan_id);
	void (*applied)(void *data, const char *plan_id, enum vbmqd_verdict verdict);
	void (*drifted)(void *data, const char *domain);
	void (*changed)(void *data); /* manager properties may have changed */
	void (*domain_changed)(void *data, const struct vbmqd_domain *d);
	void *data;
};

struct vbmqd_cycle {
	enum vbmqd_phase phase;
	uint32_t number; /* of the round of reads */
	struct vbmqd_request *request; /* NULL: the daemon's own cycle */
	unsigned n_survey; /* survey jobs still out */
	struct vbmq_err survey_error;
	bool refreshed; /* what the plan touches was read in this cycle */
	unsigned n_reads; /* reads this cycle waits for */
	struct vbmq_snapshot *snapshot; /* from planning to the end of the apply; host is lent */
	struct vbmq_plan *plan; /* the plan being applied; NULL: manager->plan is */
	struct vbmq_report *report; /* from the apply to the verify */
	struct vbmq_step *steps; /* of a restore */
	size_t n_steps;
};

struct vbmqd_manager {
	struct vbmqd_options opt;
	sd_event *event;
	struct vbmq_conf conf;
	struct vbmqd_listener listener;
	struct vbmqd_workers *workers;
	struct vbmqd_workers *applier; /* a pool of one */
	struct vbmqd_virt_loop *loop;
	char *undo_path;
	atomic_bool cancel; /* the running apply stops before its next step */

	/* the connection */
	struct vbmqd_conn *conn; /* NULL: disconnected */
	bool connecting;
	uint32_t generation; /* of the newest attempt */
	unsigned connect_failures;
	sd_event_source *connect_timer;

	/* what is known */
	struct vbmqd_domains domains;
	struct vbmq_host *host;
	struct vbmq_undo *undo;
	struct vbmq_plan *plan; /* the newest; NULL: none yet */
	char *report; /* the newest report document; NULL: none yet */
	enum vbmqd_verdict verdict;
	bool paused;

	/* what is to do */
	struct vbmqd_cycle cycle;
	struct vbmqd_request *requests; /* queue, oldest first */
	unsigned n_requests;
	bool pending; /* a cycle of our own is wanted */
	bool need_survey; /* ... with a list of domains first */
	uint64_t last_end; /* of a cycle, CLOCK_MONOTONIC microseconds */
	uint64_t not_before; /* ... and no cycle of our own before this */
	unsigned unsettled; /* applies in a row that left something to do */
	char dry_run_id[VBMQ_PLAN_ID_LEN + 1]; /* the plan whose dry run was reported last */
	sd_event_source *start_timer; /* debounce */
	sd_event_source *patience_timer; /* reads that take too long for the cycle */
	sd_event_source *recheck_timer;
	sd_event_source *retry_timer;
};

int vbmqd_manager_new(const struct vbmqd_options *opt, sd_event *event, struct vbmqd_manager **ret,
		      struct vbmq_err *err);
/* Starts threads and the first connection attempt. */
int vbmqd_manager_start(struct vbmqd_manager *m, struct vbmq_err *err);
/* Stops the apply between two steps and ends the threads, within grace_ms. False: a thread still hangs in a call; then the
 * process must leave by _exit(2) without freeing. */
bool vbmqd_manager_stop(struct vbmqd_manager *m, uint64_t grace_ms);
struct vbmqd_manager *vbmqd_manager_free(struct vbmqd_manager *m);

/* Reads the configuration again. On failure what was in force stays. */
int vbmqd_manager_reload(struct vbmqd_manager *m, struct vbmq_err *err);

enum vbmqd_mode vbmqd_manager_mode(const struct vbmqd_manager *m);
enum vbmqd_state vbmqd_manager_state(const struct vbmqd_manager *m);
/* Tells the listener and systemd (STATUS=). */
void vbmqd_manager_changed(struct vbmqd_manager *m);
/* Gives the connection up and tries again after a back-off. */
void vbmqd_manager_disconnect(struct vbmqd_manager *m, const char *why);
uint64_t vbmqd_now(void); /* CLOCK_MONOTONIC, microseconds */

extern const char *const vbmqd_mode_words[]; /* manage observe dry-run */
extern const char *const vbmqd_state_words[]; /* idle planning applying paused disconnected */
extern const char *const vbmqd_verdict_words[]; /* unknown ok drift failed infeasible */
