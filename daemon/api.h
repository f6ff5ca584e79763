/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The calls from outside, free of any transport: bus.c binds them to D-Bus. Documents are JSON texts of DESIGN 7.2; text
 * results are the caller's to free. Codes that a binding tells apart:
 *	-ESTALE     the plan named is not the one of the state as it is now
 *	-ENOTCONN   no connection to libvirt
 *	-ENOENT     no such domain
 *	-EBUSY      too many calls are waiting, or nothing has been planned yet
 *	-ECANCELED  paused
 *	-EINVAL     bad argument
 */

#include <stdbool.h>

#include "core/plan.h"
#include "util/err.h"

struct vbmqd_manager;
struct vbmqd_request;

#define VBMQD_REQUESTS_MAX 64u

enum vbmqd_request_kind { VBMQD_REQUEST_PLAN, VBMQD_REQUEST_APPLY, VBMQD_REQUEST_VERIFY, VBMQD_REQUEST_RESTORE };

struct vbmqd_answer {
	struct vbmq_err err; /* code 0: success */
	const char *plan_id; /* borrowed */
	const char *document; /* plan, report; borrowed */
};

/* A call that takes a cycle: it is answered exactly once, from the main loop, also when the daemon stops. */
struct vbmqd_request {
	enum vbmqd_request_kind kind;
	char plan_id[VBMQ_PLAN_ID_LEN + 1]; /* APPLY; "": whatever the state asks for */
	bool dry_run; /* APPLY */
	bool rebalance; /* APPLY: the better placement of all guests together instead of the everyday plan ... */
	uint32_t max_moves; /* ... with at most so many moves more, or VBMQ_MOVES_ANY */
	char uuid[37]; /* RESTORE; "": everything */
	void (*answer)(void *data, const struct vbmqd_answer *answer);
	void *data;
	struct vbmqd_request *next; /* private */
};

/* Allocates the request, checks and queues it. On failure nothing is queued and answer is not called. */
int vbmqd_api_submit(struct vbmqd_manager *m, const struct vbmqd_request *request, struct vbmq_err *err);
/* domain: name or UUID of what the daemon or its undo record knows; "" gives "". */
int vbmqd_api_resolve(struct vbmqd_manager *m, const char *domain, char ret_uuid[37], struct vbmq_err *err);

int vbmqd_api_snapshot(struct vbmqd_manager *m, char **ret, struct vbmq_err *err); /* as known now, with policy */
int vbmqd_api_plan(struct vbmqd_manager *m, char **ret_id, char **ret, struct vbmq_err *err); /* the newest */
int vbmqd_api_explain(struct vbmqd_manager *m, const char *domain, char **ret, struct vbmq_err *err);
int vbmqd_api_report(struct vbmqd_manager *m, char **ret, struct vbmq_err *err);
void vbmqd_api_pause(struct vbmqd_manager *m);
void vbmqd_api_resume(struct vbmqd_manager *m);
