/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Threads for calls that may block for ever (libvirt, /proc of a dying guest, hwloc). A job runs on a worker; its result
 * comes back to the main thread. A job that overruns its time is abandoned: the main thread is told at once and goes on,
 * the worker is written off and replaced, and whatever the late call brings is thrown away by the worker itself. Theory
 * of operation: top of workers.c.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

struct vbmq_err;
struct vbmqd_workers;
struct vbmqd_job;

#define VBMQD_KEY_MAX 40u

struct vbmqd_job_ops {
	const char *name; /* for messages */
	void (*run)(struct vbmqd_job *job); /* in a worker; may block; owns everything in the job but 'owner' */
	void (*done)(struct vbmqd_job *job); /* main thread, after run; the job is freed afterwards */
	/* Main thread, instead of done, when time is up. The worker may still be writing to the job: only key and owner
	 * may be looked at. */
	void (*late)(void *owner, const char *key);
	struct vbmqd_job *(*free)(struct vbmqd_job *job); /* any thread; returns NULL */
};

/* First member of every job; the public part is filled by whoever makes it. */
struct vbmqd_job {
	const struct vbmqd_job_ops *ops;
	char key[VBMQD_KEY_MAX]; /* what the job is about: a domain's UUID, "" for nothing in particular */
	uint64_t timeout_ms; /* 0: no limit */
	void *owner; /* the main thread's; run must not touch it */

	/* private to workers.c, under its lock */
	int state;
	uint64_t queued_at, started_at; /* CLOCK_MONOTONIC, microseconds */
	bool waited_for;
	struct vbmqd_job *prev, *next;
};

/* A call that had been abandoned came back after all: key is free again. Main thread. */
typedef void (*vbmqd_returned_fn)(void *data, const char *key);

/* At most n_workers jobs at a time, beside those written off. No thread is made before the first job. */
int vbmqd_workers_new(sd_event *event, unsigned n_workers, vbmqd_returned_fn returned, void *data,
		      struct vbmqd_workers **ret, struct vbmq_err *err);
void vbmqd_workers_set_size(struct vbmqd_workers *w, unsigned n_workers);

/* Main thread. Takes the job; done or late will be called, unless the pool is stopped first. */
void vbmqd_workers_submit(struct vbmqd_workers *w, struct vbmqd_job *job);

/*
 * Runs the job on a worker and waits: not for the pool's own workers, nor for the main thread unless it is on its way out.
 * 0: it ran, and is the caller's again.
 * -ETIMEDOUT: abandoned, the pool frees it. -EBUSY: an abandoned job of the same key is still out; the job was not started
 * and is the caller's again. -ECANCELED: the pool stops; the pool frees it.
 */
int vbmqd_workers_call(struct vbmqd_workers *w, struct vbmqd_job *job);

/* Whether an abandoned job with this key is still out. */
bool vbmqd_workers_key_lost(struct vbmqd_workers *w, const char *key);

/* Stops: queued jobs are freed, running ones get until grace_ms. True: every thread has ended. */
bool vbmqd_workers_stop(struct vbmqd_workers *w, uint64_t grace_ms);
/* After a stop that returned true. */
struct vbmqd_workers *vbmqd_workers_free(struct vbmqd_workers *w);
