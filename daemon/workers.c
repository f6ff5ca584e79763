/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker pool.
 *
 * A job is in one of five states and on at most one list: QUEUED (fifo), RUNNING (a worker has it), DONE (result waits for
 * the main thread or for the caller of vbmqd_workers_call), LOST (its time was up while it ran). All state changes happen
 * under one lock that is never held across a job or a callback.
 *
 * Who may touch a job's own data: the worker from QUEUED->RUNNING until it changes the state to DONE, then the main thread
 * (or the waiting caller). A LOST job stays the worker's for good: when the call comes back, the worker frees it and
 * reports the key, and nobody ever looks at the late result. So a hung call costs a thread and a job, never a race.
 *
 * Written-off workers do not count against the pool's size; a replacement is made as soon as there is work. As the daemon
 * has at most one job per domain, there are at most as many lost workers as hung domains; THREADS_MAX bounds them all the
 * same, and jobs that cannot even be started then are reported late after QUEUE_PATIENCE times their limit.
 *
 * Deadlines run from the start of a job. One sd-event timer serves all of them and is off while nothing is out, so an idle
 * pool causes no wake-ups.
 */
#include "daemon/workers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/err.h"

#define THREADS_MAX 256u
#define QUEUE_PATIENCE 4u
#define STACK_BYTES (1024u * 1024u) /* libxml2 and libvirt need depth, not width */
#define TIMER_ACCURACY_USEC 20000u

enum { JOB_QUEUED = 1, JOB_RUNNING, JOB_DONE, JOB_LOST };

struct list {
	struct vbmqd_job *first, *last;
};

struct returned {
	char key[VBMQD_KEY_MAX];
	struct returned *next;
};

struct vbmqd_workers {
	sd_event *event;
	sd_event_source *io, *timer;
	int fd;
	vbmqd_returned_fn on_returned;
	void *data;

	pthread_mutex_t lock;
	pthread_cond_t work; /* queue grew, or stop */
	pthread_cond_t change; /* a waited-for job or a thread ended */
	struct list queued, running, done, lost;
	struct returned *returned; /* newest first */
	unsigned size, n_threads, n_idle, n_lost;
	bool stop;
};

static uint64_t now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static void list_append(struct list *l, struct vbmqd_job *job)
{
	job->prev = l->last;
	job->next = NULL;
	if (l->last)
		l->last->next = job;
	else
		l->first = job;
	l->last = job;
}

static void list_remove(struct list *l, struct vbmqd_job *job)
{
	if (job->prev)
		job->prev->next = job->next;
	else
		l->first = job->next;
	if (job->next)
		job->next->prev = job->prev;
	else
		l->last = job->prev;
	job->prev = job->next = NULL;
}

static void wake_main(struct vbmqd_workers *w)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the main thread is awake anyway. */
	if (write(w->fd, &one, sizeof(one)) < 0)
		return;
}

/* A lost job came back: free it, tell the key. The job is on w->lost. Called with the lock held, which is dropped meanwhile. */
static void bury_lost(struct vbmqd_workers *w, struct vbmqd_job *job)
{
	struct returned *r;

	list_remove(&w->lost, job);
	w->n_lost--;
	r = malloc(sizeof(*r));
	if (r) {
		memcpy(r->key, job->key, sizeof(r->key));
		r->next = w->returned;
		w->returned = r;
	}
	pthread_mutex_unlock(&w->lock);
	job->ops->free(job);
	wake_main(w);
	pthread_mutex_lock(&w->lock);
}

static void finish_job(struct vbmqd_workers *w, struct vbmqd_job *job)
{
	if (job->state == JOB_LOST) {
		bury_lost(w, job);
		return;
	}
	list_remove(&w->running, job);
	job->state = JOB_DONE;
	if (job->waited_for) {
		pthread_cond_broadcast(&w->change);
		return;
	}
	list_append(&w->done, job);
	wake_main(w);
}

static void *worker_main(void *arg)
{
	struct vbmqd_workers *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct vbmqd_job *job;

		while (!w->queued.first && !w->stop && w->n_threads - w->n_lost <= w->size) {
			w->n_idle++;
			pthread_cond_wait(&w->work, &w->lock);
			w->n_idle--;
		}
		if (w->stop || w->n_threads - w->n_lost > w->size)
			break;
		job = w->queued.first;
		list_remove(&w->queued, job);
		list_append(&w->running, job);
		job->state = JOB_RUNNING;
		job->started_at = now_usec();
		if (job->waited_for)
			pthread_cond_broadcast(&w->change); /* its deadline is known now */
		pthread_mutex_unlock(&w->lock);
		job->ops->run(job);
		pthread_mutex_lock(&w->lock);
		finish_job(w, job);
	}
	w->n_threads--;
	pthread_cond_broadcast(&w->change);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* With the lock held: one more thread if there is work that nobody is free to do. */
static void staff(struct vbmqd_workers *w)
{
	pthread_attr_t attr;
	pthread_t t;
	unsigned n_queued = 0;

	for (const struct vbmqd_job *j = w->queued.first; j && n_queued <= w->n_idle; j = j->next)
		n_queued++;
	if (n_queued <= w->n_idle || w->n_threads - w->n_lost >= w->size || w->n_threads >= THREADS_MAX || w->stop)
		return;
	if (pthread_attr_init(&attr))
		return;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	w->n_threads++;
	/* No thread now: the job waits for one that ends, or is reported late from the queue. */
	if (pthread_create(&t, &attr, worker_main, w))
		w->n_threads--;
	pthread_attr_destroy(&attr);
}

/* With the lock held: the job is written off with its worker. */
static void lose(struct vbmqd_workers *w, struct vbmqd_job *job)
{
	list_remove(&w->running, job);
	list_append(&w->lost, job);
	job->state = JOB_LOST;
	w->n_lost++;
	staff(w);
}

static bool key_lost_locked(const struct vbmqd_workers *w, const char *key)
{
	for (const struct vbmqd_job *j = w->lost.first; j && key[0]; j = j->next) {
		if (strcmp(j->key, key) == 0)
			return true;
	}
	return false;
}

bool vbmqd_workers_key_lost(struct vbmqd_workers *w, const char *key)
{
	bool lost;

	pthread_mutex_lock(&w->lock);
	lost = key_lost_locked(w, key);
	pthread_mutex_unlock(&w->lock);
	return lost;
}

/* --- the main thread's side ---------------------------------------------------------------------------------------- */

static uint64_t deadline_of(const struct vbmqd_job *job)
{
	if (!job->timeout_ms)
		return UINT64_MAX;
	if (job->state == JOB_QUEUED)
		return job->queued_at + job->timeout_ms * 1000u * QUEUE_PATIENCE;
	return job->started_at + job->timeout_ms * 1000u;
}

/* With the lock held: when the next job may be overdue. A queued one may start any moment. */
static uint64_t next_deadline(const struct vbmqd_workers *w)
{
	uint64_t next = UINT64_MAX;

	for (const struct vbmqd_job *j = w->running.first; j; j = j->next) {
		if (!j->waited_for && deadline_of(j) < next)
			next = deadline_of(j);
	}
	for (const struct vbmqd_job *j = w->queued.first; j; j = j->next) {
		uint64_t at = now_usec() + j->timeout_ms * 1000u;

		if (!j->waited_for && j->timeout_ms && at < next)
			next = at;
	}
	return next;
}

static void arm_timer(struct vbmqd_workers *w)
{
	uint64_t next;

	pthread_mutex_lock(&w->lock);
	next = next_deadline(w);
	pthread_mutex_unlock(&w->lock);
	if (next == UINT64_MAX) {
		sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(w->timer, next);
	sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* Takes one overdue job away from its list; false when there is none. *ret_free: it never started, so it is ours to free.
 * Everything is copied: from the unlock on, a lost job may be freed by its worker at any moment. */
static bool take_overdue(struct vbmqd_workers *w, struct vbmqd_job_ops *ret_ops, void **ret_owner, char *ret_key,
			 struct vbmqd_job **ret_free)
{
	uint64_t now = now_usec();
	struct vbmqd_job *job;

	pthread_mutex_lock(&w->lock);
	for (job = w->running.first; job && (job->waited_for || deadline_of(job) > now);)
		job = job->next;
	*ret_free = NULL;
	if (!job) {
		for (job = w->queued.first; job && (job->waited_for || deadline_of(job) > now);)
			job = job->next;
		*ret_free = job;
	}
	if (job) {
		*ret_ops = *job->ops;
		*ret_owner = job->owner;
		memcpy(ret_key, job->key, VBMQD_KEY_MAX);
		if (*ret_free)
			list_remove(&w->queued, job);
		else
			lose(w, job);
	}
	pthread_mutex_unlock(&w->lock);
	return job;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *data)
{
	struct vbmqd_workers *w = data;
	struct vbmqd_job_ops ops;
	struct vbmqd_job *unstarted;
	char key[VBMQD_KEY_MAX];
	void *owner;

	while (take_overdue(w, &ops, &owner, key, &unstarted)) {
		if (unstarted)
			ops.free(unstarted);
		ops.late(owner, key);
	}
	arm_timer(w);
	return 0;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *data)
{
	struct vbmqd_workers *w = data;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	for (;;) {
		struct vbmqd_job *job;
		struct returned *back = NULL;

		pthread_mutex_lock(&w->lock);
		job = w->done.first;
		if (job) {
			list_remove(&w->done, job);
		} else if (w->returned) {
			back = w->returned;
			w->returned = back->next;
		}
		pthread_mutex_unlock(&w->lock);
		if (job) {
			job->ops->done(job);
			job->ops->free(job);
		} else if (back) {
			w->on_returned(w->data, back->key);
			free(back);
		} else {
			break;
		}
	}
	arm_timer(w);
	return 0;
}

void vbmqd_workers_submit(struct vbmqd_workers *w, struct vbmqd_job *job)
{
	pthread_mutex_lock(&w->lock);
	job->state = JOB_QUEUED;
	job->waited_for = false;
	job->queued_at = now_usec();
	list_append(&w->queued, job);
	staff(w);
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
	arm_timer(w);
}

/* --- the caller that waits ------------------------------------------------------------------------------------------ */

static struct timespec to_timespec(uint64_t usec)
{
	return (struct timespec){ .tv_sec = (time_t)(usec / 1000000u), .tv_nsec = (long)(usec % 1000000u) * 1000 };
}

int vbmqd_workers_call(struct vbmqd_workers *w, struct vbmqd_job *job)
{
	int r = 0;

	pthread_mutex_lock(&w->lock);
	if (w->stop || key_lost_locked(w, job->key)) {
		r = w->stop ? -ECANCELED : -EBUSY;
		pthread_mutex_unlock(&w->lock);
		if (r == -ECANCELED)
			job->ops->free(job);
		return r;
	}
	job->state = JOB_QUEUED;
	job->waited_for = true;
	job->queued_at = now_usec();
	list_append(&w->queued, job);
	staff(w);
	pthread_cond_signal(&w->work);
	while (job->state != JOB_DONE) {
		struct timespec until = to_timespec(deadline_of(job));

		if (!w->stop && (!job->timeout_ms || now_usec() < deadline_of(job))) {
			if (job->timeout_ms)
				pthread_cond_timedwait(&w->change, &w->lock, &until);
			else
				pthread_cond_wait(&w->change, &w->lock);
			continue;
		}
		r = w->stop ? -ECANCELED : -ETIMEDOUT;
		if (job->state == JOB_RUNNING) {
			lose(w, job);
			job = NULL;
		} else {
			list_remove(&w->queued, job);
		}
		break;
	}
	pthread_mutex_unlock(&w->lock);
	if (r < 0 && job)
		job->ops->free(job);
	return r;
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

int vbmqd_workers_new(sd_event *event, unsigned n_workers, vbmqd_returned_fn returned, void *data,
		      struct vbmqd_workers **ret, struct vbmq_err *err)
{
	struct vbmqd_workers *w = calloc(1, sizeof(*w));
	pthread_condattr_t mono;
	int r;

	if (!w)
		return vbmq_err_oom(err);
	*w = (struct vbmqd_workers){
		.event = sd_event_ref(event), .size = n_workers, .on_returned = returned, .data = data
	};
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&w->work, &mono);
	pthread_cond_init(&w->change, &mono);
	pthread_condattr_destroy(&mono);
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = w->fd < 0 ? -errno : sd_event_add_io(event, &w->io, w->fd, EPOLLIN, on_io, w);
	if (r >= 0)
		r = sd_event_add_time(event, &w->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_USEC, on_timer, w);
	if (r >= 0)
		r = sd_event_source_set_enabled(w->timer, SD_EVENT_OFF);
	if (r < 0) {
		vbmqd_workers_free(w);
		return vbmq_err_set(err, r, "cannot set up the worker threads: %s", strerror(-r));
	}
	sd_event_source_set_description(w->io, "workers");
	sd_event_source_set_description(w->timer, "worker-deadlines");
	*ret = w;
	return 0;
}

void vbmqd_workers_set_size(struct vbmqd_workers *w, unsigned n_workers)
{
	pthread_mutex_lock(&w->lock);
	w->size = n_workers;
	staff(w);
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
}

static void free_list(struct list *l)
{
	while (l->first) {
		struct vbmqd_job *job = l->first;

		list_remove(l, job);
		job->ops->free(job);
	}
}

bool vbmqd_workers_stop(struct vbmqd_workers *w, uint64_t grace_ms)
{
	struct timespec until = to_timespec(now_usec() + grace_ms * 1000u);
	struct list queued = { .first = NULL };
	bool ended;

	pthread_mutex_lock(&w->lock);
	w->stop = true;
	for (struct vbmqd_job *j = w->queued.first, *next; j; j = next) {
		next = j->next;
		if (j->waited_for)
			continue; /* its caller takes it back */
		list_remove(&w->queued, j);
		list_append(&queued, j);
	}
	pthread_cond_broadcast(&w->work);
	pthread_cond_broadcast(&w->change);
	while (w->n_threads && pthread_cond_timedwait(&w->change, &w->lock, &until) != ETIMEDOUT)
		;
	ended = w->n_threads == 0;
	pthread_mutex_unlock(&w->lock);
	free_list(&queued);
	return ended;
}

struct vbmqd_workers *vbmqd_workers_free(struct vbmqd_workers *w)
{
	if (!w)
		return NULL;
	free_list(&w->queued);
	free_list(&w->done);
	while (w->returned) {
		struct returned *r = w->returned;

		w->returned = r->next;
		free(r);
	}
	sd_event_source_disable_unref(w->io);
	sd_event_source_disable_unref(w->timer);
	sd_event_unref(w->event);
	if (w->fd >= 0)
		close(w->fd);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->change);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return NULL;
}
