/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls with a deadline.
 *
 * libvirt has none. What was tried (libvirt 11.3, QEMU stopped by SIGSTOP):
 *   - a call that asks the monitor (query, add I/O thread, set polling) waits for its reply without limit, inside libvirtd,
 *     and holds the domain's job all the time;
 *   - calls that need the job but not the monitor (all pinning) work at once if nobody holds the job; behind a hung call
 *     they fail after 30 s with "cannot acquire state change lock" (VIR_ERR_OPERATION_TIMEOUT);
 *   - XML takes the job, too, of a running domain also the persistent one (not with 9.0, where it is always to be had);
 *     state, id and name do not and always work;
 *   - when QEMU goes on, the hung call ends normally.
 * A call cannot be taken back. So each runs in a thread of its own; whoever waits gives up after the limit and leaves the
 * thread behind with everything it owns (which is why jobs hold copies and references, never the caller's memory). It ends
 * when the guest or libvirtd does, or the connection breaks.
 *
 * How much can be left behind is bounded: one call a domain, VBMQ_VIRT_HUNG_MAX domains, because libvirtd serves five calls
 * of one client at a time and the rest must stay usable; then calls on the monitors of other domains are refused (-EBUSY).
 * If libvirtd itself hangs, everything is refused until it answers.
 *
 * A thread a call costs some 30 us; a call costs several hundred. Older client libraries may forget to send a call while
 * another one hangs: see nudge.c.
 */

#include "virt/private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define NUDGE_MS 20u /* first; then after twice, four times ... as long */
#define STACK_BYTES (1024u * 1024u) /* replies are on the heap; sanitizers want room */

static char *hung_slot(struct vbmq_virt *v, const char *uuid)
{
	for (size_t i = 0; i < VBMQ_VIRT_HUNG_SLOTS; i++) {
		if (!strcmp(v->hung[i], uuid))
			return v->hung[i];
	}
	return NULL;
}

static void *thread_main(void *data)
{
	struct vbmq_call *call = data;
	struct vbmq_virt *v = call->v;
	bool abandoned;

	call->work(call);
	pthread_mutex_lock(&v->lock);
	abandoned = call->abandoned;
	if (abandoned && call->uuid[0]) {
		hung_slot(v, call->uuid)[0] = '\0';
		v->n_hung--;
	} else if (abandoned) {
		v->n_hung_conn--;
	}
	v->n_calls--;
	call->done = true;
	if (!abandoned)
		pthread_cond_signal(&call->cond);
	pthread_mutex_unlock(&v->lock);
	if (abandoned) {
		pthread_cond_destroy(&call->cond);
		call->destroy(call);
	}
	vbmq_virt_unref(v);
	return NULL;
}

/* Under the lock: may this call be tried at all? */
static int admit(struct vbmq_virt *v, const char *uuid, struct vbmq_err *err)
{
	if (v->dead)
		return vbmq_err_set(err, -ECONNRESET, "the connection to libvirt is closed");
	if (v->n_hung_conn)
		return vbmq_err_set(err, -ETIMEDOUT, "libvirtd does not answer: an earlier call still waits");
	if (!uuid)
		return 0;
	if (hung_slot(v, uuid))
		return vbmq_err_set(err, -ETIMEDOUT,
				    "the guest does not answer: an earlier call to its monitor still waits");
	if (v->n_hung >= VBMQ_VIRT_HUNG_MAX)
		return vbmq_err_set(err, -EBUSY,
				    "%u other guests do not answer; no more calls are risked until they do", v->n_hung);
	return 0;
}

int vbmq_call_thread(void *(*body)(void *data), void *data)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all); /* signals are the program's business */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attr, body, data);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

static int cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int r = pthread_condattr_init(&attr);

	if (r)
		return -r;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	r = pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
	return -r;
}

/* Under the lock: gives up on the call. */
static int abandon(struct vbmq_virt *v, struct vbmq_call *call, struct vbmq_err *err)
{
	char *slot = call->uuid[0] ? hung_slot(v, "") : NULL;

	call->abandoned = true;
	if (!slot) { /* also with very many hung guests: then libvirtd serves this client no more */
		call->uuid[0] = '\0';
		v->n_hung_conn++;
		return vbmq_err_set(err, -ETIMEDOUT, "libvirtd did not answer within %u ms", v->timeout_ms);
	}
	memcpy(slot, call->uuid, sizeof(call->uuid));
	v->n_hung++;
	return vbmq_err_set(err, -ETIMEDOUT, "the guest did not answer within %u ms", v->timeout_ms);
}

static struct timespec later(struct timespec t, unsigned ms)
{
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* Under the lock: until the call is done or its time is over. */
static void await(struct vbmq_virt *v, struct vbmq_call *call)
{
	unsigned limit = v->timeout_ms, at = vbmq_nudge_needed() && NUDGE_MS < limit ? NUDGE_MS : limit;
	struct timespec begin, until;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	until = later(begin, at);
	while (!call->done) {
		if (pthread_cond_timedwait(&call->cond, &v->lock, &until) == 0)
			continue;
		if (call->done || at >= limit)
			return;
		vbmq_nudge(v);
		at = at < limit / 2 ? at * 2 : limit;
		until = later(begin, at);
	}
}

int vbmq_call_run(struct vbmq_virt *v, const char *uuid, struct vbmq_call *call, struct vbmq_err *err)
{
	int r;

	call->v = v;
	call->uuid[0] = '\0';
	if (uuid)
		memcpy(call->uuid, uuid, sizeof(call->uuid));
	pthread_mutex_lock(&v->lock);
	r = call->always ? 0 : admit(v, uuid, err);
	pthread_mutex_unlock(&v->lock);
	if (r < 0) {
		call->destroy(call);
		return r;
	}
	r = cond_init(&call->cond);
	if (r < 0) {
		call->destroy(call);
		return vbmq_err_set(err, r, "no condition variable for a call of libvirt: %s", strerror(-r));
	}
	pthread_mutex_lock(&v->lock);
	v->refs++;
	v->n_calls++;
	r = vbmq_call_thread(thread_main, call);
	if (r < 0) {
		v->n_calls--;
		pthread_mutex_unlock(&v->lock);
		vbmq_virt_unref(v);
		pthread_cond_destroy(&call->cond);
		call->destroy(call);
		return vbmq_err_set(err, r, "no thread for a call of libvirt: %s", strerror(-r));
	}
	await(v, call);
	r = call->done ? 0 : abandon(v, call, err);
	pthread_mutex_unlock(&v->lock);
	if (r == 0)
		pthread_cond_destroy(&call->cond);
	return r;
}
