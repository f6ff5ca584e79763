/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls with a deadline.
 *
 * libvirt has none. What was tried (libvirt 11.3, QEMU stopped by SIGSTOP):
 *   - a call that asks the monitor (query, add I/O thread, set polling) waits for its reply without limit, inside libvirtd,
 *     and holds the domain's job all the time;
 *   - calls that need the job but not the monitor (all pinning) work at once if nobody holds the job; behind a hung call
 *     they fail after 30 s with "cannot acquire state change lock" (VIR_ERR_OPERATION_TIMEOUT);
 *   - XML takes the job, too, of a running domain also the persistent one; state, id and name do not and always work;
 *   - when QEMU goes on, the hung call ends normally.
 * A call cannot be taken back. So each runs in a thread of its own; whoever waits gives up after the limit and leaves the
 * thread behind with everything it owns (which is why jobs hold copies and references, never the caller's memory). It ends
 * when the guest or libvirtd does, or the connection breaks.
 *
 * How much can be left behind is bounded: one call a domain, VBMQ_VIRT_HUNG_MAX domains, because libvirtd serves five calls
 * of one client at a time and the rest must stay usable; then calls on the monitors of other domains are refused (-EBUSY).
 * If libvirtd itself hangs, everything is refused until it answers.
 *
 * A thread a call costs some 30 us; a call costs several hundred.
 */

#include "virt/private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

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

static int start(struct vbmq_call *call)
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
	r = pthread_create(&thread, &attr, thread_main, call);
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

int vbmq_call_run(struct vbmq_virt *v, const char *uuid, struct vbmq_call *call, struct vbmq_err *err)
{
	struct timespec until;
	int r, wait = 0;

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
	vbmq_virt_ref(v);
	r = start(call);
	if (r < 0) {
		vbmq_virt_unref(v);
		pthread_cond_destroy(&call->cond);
		call->destroy(call);
		return vbmq_err_set(err, r, "no thread for a call of libvirt: %s", strerror(-r));
	}

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += v->timeout_ms / 1000;
	until.tv_nsec += (long)(v->timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&v->lock);
	while (!call->done && !wait)
		wait = pthread_cond_timedwait(&call->cond, &v->lock, &until);
	r = call->done ? 0 : abandon(v, call, err);
	pthread_mutex_unlock(&v->lock);
	if (r == 0)
		pthread_cond_destroy(&call->cond);
	return r;
}
