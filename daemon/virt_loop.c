/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A callback in libvirt's thread may make no libvirt call and may not block, so it copies the event into a queue and writes
 * an eventfd; the main thread takes the whole queue at once. The queue is bounded: a flood or lack of memory sets "lost",
 * which the main thread treats as "anything may have changed". A missed event thus costs a survey and nothing else.
 *
 * libvirt may still be inside a callback of a connection that another thread is closing, so callbacks carry no pointer
 * to anything that is freed: the data pointer is the connection's generation number, and the loop is found through a
 * variable of this file (libvirt's default event implementation is process-wide as well).
 */
#include "daemon/virt_loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "util/err.h"

#define QUEUE_MAX 4096u
#define STACK_BYTES (512u * 1024u)

struct item {
	struct vbmqd_virt_event event;
	struct item *next;
};

struct vbmqd_virt_loop {
	sd_event_source *io;
	int fd;
	pthread_t thread;
	bool stop; /* atomic */
	vbmqd_virt_event_fn fn;
	void *data;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool ended;
	struct item *first, **tail;
	size_t n;
	bool lost;
};

static struct vbmqd_virt_loop *the_loop;

static void *loop_main(void *arg)
{
	struct vbmqd_virt_loop *l = arg;

	vbmq_virt_loop_run(&l->stop);
	pthread_mutex_lock(&l->lock);
	l->ended = true;
	pthread_cond_signal(&l->cond);
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

void *vbmqd_virt_loop_callback_data(uint32_t generation)
{
	return (void *)(uintptr_t)generation;
}

void vbmqd_virt_loop_callback(void *data, enum vbmq_virt_event event, const char *uuid, const char *name,
			      const char *reason)
{
	struct vbmqd_virt_loop *l = the_loop;
	struct item *i = calloc(1, sizeof(*i));
	uint64_t one = 1;

	if (i) {
		i->event.kind = event;
		i->event.generation = (uint32_t)(uintptr_t)data;
		i->event.reason = reason;
		strncpy(i->event.uuid, uuid ? uuid : "", sizeof(i->event.uuid) - 1);
		strncpy(i->event.name, name ? name : "", sizeof(i->event.name) - 1);
	}
	pthread_mutex_lock(&l->lock);
	if (i && (l->n < QUEUE_MAX || event == VBMQ_VIRT_CLOSED)) {
		*l->tail = i;
		l->tail = &i->next;
		l->n++;
		i = NULL;
	} else {
		l->lost = true;
	}
	pthread_mutex_unlock(&l->lock);
	free(i);
	/* Fails only when the counter is full: then the main thread has been woken already. */
	if (write(l->fd, &one, sizeof(one)) < 0)
		return;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *data)
{
	struct vbmqd_virt_loop *l = data;
	struct item *i;
	uint64_t count;
	bool lost;

	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	pthread_mutex_lock(&l->lock);
	i = l->first;
	lost = l->lost;
	l->first = NULL;
	l->tail = &l->first;
	l->n = 0;
	l->lost = false;
	pthread_mutex_unlock(&l->lock);
	while (i) {
		struct item *next = i->next;

		l->fn(l->data, &i->event);
		free(i);
		i = next;
	}
	if (lost)
		l->fn(l->data, &(struct vbmqd_virt_event){ .lost = true });
	return 0;
}

static struct vbmqd_virt_loop *loop_free(struct vbmqd_virt_loop *l)
{
	sd_event_source_disable_unref(l->io);
	if (l->fd >= 0)
		close(l->fd);
	while (l->first) {
		struct item *next = l->first->next;

		free(l->first);
		l->first = next;
	}
	pthread_cond_destroy(&l->cond);
	pthread_mutex_destroy(&l->lock);
	free(l);
	return NULL;
}

int vbmqd_virt_loop_start(sd_event *event, vbmqd_virt_event_fn fn, void *data, struct vbmqd_virt_loop **ret,
			  struct vbmq_err *err)
{
	struct vbmqd_virt_loop *l;
	pthread_condattr_t mono;
	pthread_attr_t attr;
	int r;

	r = vbmq_virt_loop_init(err);
	if (r < 0)
		return r;
	l = calloc(1, sizeof(*l));
	if (!l)
		return vbmq_err_oom(err);
	l->fn = fn;
	l->data = data;
	l->tail = &l->first;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&l->cond, &mono);
	pthread_condattr_destroy(&mono);
	l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = l->fd < 0 ? -errno : sd_event_add_io(event, &l->io, l->fd, EPOLLIN, on_io, l);
	if (r >= 0) {
		sd_event_source_set_description(l->io, "libvirt-events");
		the_loop = l;
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, STACK_BYTES);
		r = -pthread_create(&l->thread, &attr, loop_main, l);
		pthread_attr_destroy(&attr);
	}
	if (r < 0) {
		the_loop = NULL;
		loop_free(l);
		return vbmq_err_set(err, r, "cannot start the thread for libvirt's events: %s", strerror(-r));
	}
	*ret = l;
	return 0;
}

bool vbmqd_virt_loop_stop(struct vbmqd_virt_loop *l, uint64_t grace_ms)
{
	struct timespec until;
	bool ended;

	if (!l)
		return true;
	__atomic_store_n(&l->stop, true, __ATOMIC_SEQ_CST);
	vbmq_virt_loop_wake();
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(grace_ms / 1000u);
	until.tv_nsec += (long)(grace_ms % 1000u) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&l->lock);
	while (!l->ended && pthread_cond_timedwait(&l->cond, &l->lock, &until) != ETIMEDOUT)
		;
	ended = l->ended;
	pthread_mutex_unlock(&l->lock);
	if (!ended)
		return false;
	pthread_join(l->thread, NULL);
	the_loop = NULL;
	loop_free(l);
	return true;
}
