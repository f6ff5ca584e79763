/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * An actuator with a time limit around one that may hang. Every call runs on a worker with copies of its arguments; when
 * its time is up the engine gets -ETIMEDOUT and goes on, and what the late call brings is thrown away by the worker.
 * While a call on a domain is still out, further calls on that domain fail with -ETIMEDOUT at once (one call per domain).
 */

#include <stdint.h>

#include "apply/actuator.h"
#include "daemon/conn.h"
#include "daemon/workers.h"

struct vbmqd_deadline_act {
	struct vbmqd_workers *workers;
	struct vbmqd_conn *conn; /* borrowed; every call takes a reference of its own */
	struct vbmq_actuator inner; /* lives as long as conn */
	uint64_t timeout_ms;
};

/* a is borrowed for the life of *ret. Not to be used in the main thread or in a worker of a->workers. */
void vbmqd_deadline_act(struct vbmqd_deadline_act *a, struct vbmq_actuator *ret);
