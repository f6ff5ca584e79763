/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the daemon knows about each domain, and how it stands with reading it. Main thread only.
 *
 *	        event                 read submitted            result
 *	CLEAN ----------> DIRTY ------------------> READING ------------> CLEAN (or DIRTY: an event came meanwhile)
 *	                    ^                          |  error            FAILED, again after a back-off
 *	                    |  the late call returned  |  call-timeout, or its monitor does not answer
 *	                    +---------------------- UNRESPONSIVE, again after a back-off unless a call still hangs
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/domain.h"
#include "core/report.h"
#include "core/undo.h"
#include "util/err.h"

enum vbmqd_domain_state {
	VBMQD_DOMAIN_CLEAN,
	VBMQD_DOMAIN_DIRTY,
	VBMQD_DOMAIN_READING,
	VBMQD_DOMAIN_FAILED,
	VBMQD_DOMAIN_UNRESPONSIVE,
};

struct vbmqd_domain {
	char uuid[37];
	char *name;
	enum vbmqd_domain_state state;
	bool dirty_again; /* an event came while it was being read */
	bool stirred; /* since it was last begun to be read wholly, more may have changed than pins */
	bool gone; /* it stopped while it was being read: goes when the read comes back */
	bool hung; /* UNRESPONSIVE, and a call on it is still out: not to be read before that returns */
	uint32_t read_cycle; /* with READING: the cycle that waits for it */
	struct vbmq_domain *seen; /* as last read; NULL: never yet */
	struct vbmq_err metadata; /* what is wrong with its metadata; code 0: nothing */
	struct vbmq_err error; /* why reading or applying failed last; code 0: it did not */
	unsigned failures; /* in a row, reading or applying */
	uint64_t retry_at; /* CLOCK_MONOTONIC, microseconds; with failures */
	bool fresh; /* read for this cycle: begun in it, or come back too late for the one before */
	bool late; /* its read came back after its cycle had gone on without, and no cycle has used it yet */
	bool touched; /* by the apply that is under way */
	bool drifted; /* drift was announced and has not been mended */
	bool listed; /* mark of a survey */
	/* as last planned, for the bus */
	bool managed;
	int32_t priority;
	struct vbmq_cpuset dedicated;
	bool changed; /* bus properties may differ from what was announced */
};

struct vbmqd_domains {
	struct vbmqd_domain **items; /* sorted by UUID */
	size_t n;
};

struct vbmqd_domain *vbmqd_domains_find(const struct vbmqd_domains *d, const char *uuid); /* or NULL */
struct vbmqd_domain *vbmqd_domains_find_name(const struct vbmqd_domains *d, const char *name_or_uuid);
/* Finds or adds (dirty). NULL: no memory or VBMQ_DOMAINS_MAX. */
struct vbmqd_domain *vbmqd_domains_add(struct vbmqd_domains *d, const char *uuid, const char *name);
void vbmqd_domains_remove(struct vbmqd_domains *d, const char *uuid);
void vbmqd_domains_done(struct vbmqd_domains *d);

/* Something about it changed. */
void vbmqd_domain_mark(struct vbmqd_domain *d);
/* Its pins changed, or other settings of libvirt's own. */
void vbmqd_domain_tuned(struct vbmqd_domain *d);
/*
 * What a survey, a cycle's beginning and a slow read mean for it. A read that takes longer than a cycle's patience is of use only to
 * the next cycle, so that one takes it as it came and does not read anew: with rechecks more frequent than its reads are
 * quick, a guest would never be known otherwise.
 */
void vbmqd_domain_listed(struct vbmqd_domain *d);
void vbmqd_domain_begin(struct vbmqd_domain *d, bool own); /* own: nobody asked for what is now */
void vbmqd_domain_late(struct vbmqd_domain *d);
/* A result of a read; takes seen. */
void vbmqd_domain_read_ok(struct vbmqd_domain *d, struct vbmq_domain *seen, const struct vbmq_err *metadata);
/* Reading (or applying) failed; next try after 1 s doubling up to retry_max_ms. */
void vbmqd_domain_failed(struct vbmqd_domain *d, const struct vbmq_err *err, uint64_t now, uint64_t retry_max_ms);
void vbmqd_domain_worked(struct vbmqd_domain *d); /* a complete success: back-off starts over */
/* A call on it overran its time and is still out. */
void vbmqd_domain_hung(struct vbmqd_domain *d);
void vbmqd_domain_returned(struct vbmqd_domain *d);
/* It was read, but its monitor did not answer; next try after a back-off. */
void vbmqd_domain_silent(struct vbmqd_domain *d, uint64_t now, uint64_t retry_max_ms);
bool vbmqd_domain_backing_off(const struct vbmqd_domain *d, uint64_t now);

/* 250 ms (or what first_ms says) doubling up to max_ms. */
uint64_t vbmqd_back_off_ms(unsigned failures, uint64_t first_ms, uint64_t max_ms);

extern const char *const vbmqd_domain_state_words[]; /* clean dirty reading failed unresponsive */
