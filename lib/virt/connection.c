/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A connection, its events and its end.
 *
 * Life time: struct vbmq_virt is counted, because libvirt's event callbacks and abandoned calls (call.c) may outlive the
 * owner's interest in it. The owner's close mutes it first (under the lock that also surrounds every call of fn, so that none
 * is under way afterwards), then takes the callbacks back; the last reference closes libvirt's side.
 *
 * Events only say "look again": which domain, and whether it is gone. What is registered, and why:
 *   lifecycle      started, resumed, stopped ...
 *   reboot         the guest's driver sets up queues and vectors anew
 *   device added, removed    disks; I/O threads and vCPUs have no event of their own
 *   tunable        somebody changed a pin (we, too: the re-check then finds nothing to do)
 *   metadata       only ours; others write theirs all the time
 *   job completed  migration or backup is over: what was busy may work now
 */

#include "virt/private.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "codec/metadata.h"
#include "util/cleanup.h"
#include "util/parse.h"

struct vbmq_virt *vbmq_virt_ref(struct vbmq_virt *v)
{
	pthread_mutex_lock(&v->lock);
	v->refs++;
	pthread_mutex_unlock(&v->lock);
	return v;
}

void vbmq_virt_unref(struct vbmq_virt *v)
{
	unsigned refs;

	pthread_mutex_lock(&v->lock);
	refs = --v->refs;
	pthread_mutex_unlock(&v->lock);
	if (refs)
		return;
	vbmq_virt_instances_free(v->instances); /* they hold references of the connection */
	if (v->conn)
		(void)virConnectClose(v->conn);
	pthread_mutex_destroy(&v->lock);
	pthread_mutex_destroy(&v->events);
	free(v);
}

/* --- events, in the loop thread --- */

/*
 * What virt_new() wrote reaches the loop thread through libvirt, by its locks. This pair says the same once more, where a
 * reader (and ThreadSanitizer, which cannot see into libvirt) finds it: released before callbacks are registered, acquired at
 * the beginning of each.
 */
static atomic_uint handed_over;

static struct vbmq_virt *received(void *data)
{
	(void)atomic_load_explicit(&handed_over, memory_order_acquire);
	return data;
}

static void emit(void *data, enum vbmq_virt_event event, virDomainPtr dom, const char *reason)
{
	struct vbmq_virt *v = received(data);
	char uuid[VIR_UUID_STRING_BUFLEN] = "";
	const char *name = NULL;

	if (dom) {
		name = virDomainGetName(dom);
		if (!name || virDomainGetUUIDString(dom, uuid) < 0)
			return;
	}
	pthread_mutex_lock(&v->events);
	if (!v->muted)
		v->fn(v->data, event, dom ? uuid : NULL, name, reason);
	pthread_mutex_unlock(&v->events);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *data)
{
	switch (event) {
	case VIR_DOMAIN_EVENT_STARTED:
		emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "started");
		break;
	case VIR_DOMAIN_EVENT_SUSPENDED:
		emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "suspended");
		break;
	case VIR_DOMAIN_EVENT_RESUMED:
		emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "resumed");
		break;
	case VIR_DOMAIN_EVENT_STOPPED:
		emit(data, VBMQ_VIRT_DOMAIN_GONE, dom, "stopped");
		break;
	case VIR_DOMAIN_EVENT_CRASHED: /* kept for a look at it (on_crash preserve): its threads are still there */
		emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "crashed");
		break;
	default: /* defined, undefined, shutdown (stopped follows), pmsuspended: nothing runs elsewhere for it */
		break;
	}
	return 0;
}

static void on_reboot(virConnectPtr conn, virDomainPtr dom, void *data)
{
	emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "reboot");
}

static void on_device_added(virConnectPtr conn, virDomainPtr dom, const char *alias, void *data)
{
	emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "device-added");
}

static void on_device_removed(virConnectPtr conn, virDomainPtr dom, const char *alias, void *data)
{
	emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "device-removed");
}

static void on_tunable(virConnectPtr conn, virDomainPtr dom, virTypedParameterPtr params, int n_params, void *data)
{
	emit(data, VBMQ_VIRT_DOMAIN_TUNED, dom, "tunable");
}

static void on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *uri, void *data)
{
	if (type == VIR_DOMAIN_METADATA_ELEMENT && uri && !strcmp(uri, VBMQ_METADATA_URI))
		emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "metadata");
}

static void on_job(virConnectPtr conn, virDomainPtr dom, virTypedParameterPtr params, int n_params, void *data)
{
	emit(data, VBMQ_VIRT_DOMAIN_CHANGED, dom, "job-completed");
}

static void on_close(virConnectPtr conn, int reason, void *data)
{
	struct vbmq_virt *v = received(data);

	pthread_mutex_lock(&v->lock);
	v->dead = true;
	pthread_mutex_unlock(&v->lock);
	emit(v, VBMQ_VIRT_CLOSED, NULL, reason == VIR_CONNECT_CLOSE_REASON_KEEPALIVE ? "keepalive" : "closed");
}

static void release(void *data)
{
	vbmq_virt_unref(received(data));
}

static const struct {
	int id;
	virConnectDomainEventGenericCallback cb;
} events[] = {
	{ VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle) },
	{ VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot) },
	{ VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device_added) },
	{ VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device_removed) },
	{ VIR_DOMAIN_EVENT_ID_TUNABLE, VIR_DOMAIN_EVENT_CALLBACK(on_tunable) },
	{ VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata) },
	{ VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job) },
};
_Static_assert(VBMQ_ELEMENTSOF(events) == VBMQ_VIRT_N_EVENTS, "private.h counts the events");

static int subscribe(struct vbmq_virt *v, struct vbmq_err *err)
{
	atomic_fetch_add_explicit(&handed_over, 1, memory_order_release);
	/* Drivers inside our own process (test:///) have no daemon that could go away: they accept the callback and forget it,
	 * with its release. */
	if (v->qemu) {
		vbmq_virt_ref(v);
		if (virConnectRegisterCloseCallback(v->conn, on_close, v, release) < 0) {
			vbmq_virt_unref(v);
			return vbmq_virt_error(err, v->conn, "cannot watch the connection to libvirt");
		}
		v->has_close = true;
	}
	for (size_t i = 0; i < VBMQ_VIRT_N_EVENTS; i++) {
		vbmq_virt_ref(v);
		v->callbacks[i] =
			virConnectDomainEventRegisterAny(v->conn, NULL, events[i].id, events[i].cb, v, release);
		if (v->callbacks[i] < 0) {
			vbmq_virt_unref(v);
			return vbmq_virt_error(err, v->conn, "cannot watch the domains of libvirt");
		}
	}
	return 0;
}

static void unsubscribe(struct vbmq_virt *v)
{
	for (size_t i = 0; i < VBMQ_VIRT_N_EVENTS; i++) {
		if (v->callbacks[i] >= 0)
			(void)virConnectDomainEventDeregisterAny(v->conn, v->callbacks[i]);
		v->callbacks[i] = -1;
	}
	if (v->has_close)
		(void)virConnectUnregisterCloseCallback(v->conn, on_close);
	v->has_close = false;
}

/* --- open and close --- */

struct open_job {
	struct vbmq_call call;
	char *uri;
	int result;
	struct vbmq_err err;
};

static int open_work_steps(struct open_job *job)
{
	struct vbmq_virt *v = job->call.v;
	const char *type;
	int r;

	v->conn = virConnectOpenAuth(job->uri, NULL, v->read_only ? VIR_CONNECT_RO : 0);
	if (!v->conn) {
		r = vbmq_virt_error(&job->err, NULL, "cannot connect to libvirt%s%s", job->uri ? " at " : "",
				    job->uri ? job->uri : "");
		/* No socket, nobody listening, wrong file: libvirtd is not there. */
		if (r == -ENOENT || r == -ECONNREFUSED || r == -ENOTSOCK || r == -EPIPE || r == -ECONNRESET)
			job->err.code = r = -ENOTCONN;
		return r;
	}
	type = virConnectGetType(v->conn);
	if (!type || virConnectGetLibVersion(v->conn, &v->lib_version) < 0)
		return vbmq_virt_error(&job->err, v->conn, "libvirt does not say what it is");
	v->qemu = !strcmp(type, "QEMU");
	return v->fn ? subscribe(v, &job->err) : 0;
}

static void open_work(struct vbmq_call *call)
{
	struct open_job *job = (struct open_job *)call;

	job->result = open_work_steps(job);
	if (job->result < 0 && call->v->conn)
		unsubscribe(call->v);
}

static void open_destroy(struct vbmq_call *call)
{
	struct open_job *job = (struct open_job *)call;

	if (call->abandoned && call->v->conn)
		unsubscribe(call->v);
	free(job->uri);
	free(job);
}

static struct vbmq_virt *virt_new(bool read_only, vbmq_virt_event_fn fn, void *data)
{
	struct vbmq_virt *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->refs = 1;
	v->read_only = read_only;
	v->fn = fn;
	v->data = data;
	v->timeout_ms = VBMQ_VIRT_TIMEOUT_MS;
	for (size_t i = 0; i < VBMQ_VIRT_N_EVENTS; i++)
		v->callbacks[i] = -1;
	(void)pthread_mutex_init(&v->lock, NULL); /* cannot fail on Linux without attributes */
	(void)pthread_mutex_init(&v->events, NULL);
	return v;
}

static void mute(struct vbmq_virt *v)
{
	pthread_mutex_lock(&v->events);
	v->muted = true;
	pthread_mutex_unlock(&v->events);
}

int vbmq_virt_open(const char *uri, bool read_only, vbmq_virt_event_fn fn, void *data, struct vbmq_virt **ret,
		   struct vbmq_err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct vbmq_virt *v = virt_new(read_only, fn, data);
	struct open_job *job = calloc(1, sizeof(*job));
	int r;

	(void)pthread_once(&once, vbmq_virt_error_silence);
	if (job && uri)
		job->uri = strdup(uri);
	if (!v || !job || (uri && !job->uri)) {
		if (v)
			vbmq_virt_unref(v);
		free(job);
		return vbmq_err_oom(err);
	}
	job->call.work = open_work;
	job->call.destroy = open_destroy;
	r = vbmq_call_run(v, NULL, &job->call, err);
	if (r == 0) {
		r = job->result;
		if (r < 0)
			vbmq_err_set(err, r, "%s", job->err.text);
		open_destroy(&job->call);
	}
	if (r < 0) {
		mute(v);
		vbmq_virt_unref(v);
		return r;
	}
	*ret = v;
	return 0;
}

static void close_work(struct vbmq_call *call)
{
	unsubscribe(call->v);
}

static void close_destroy(struct vbmq_call *call)
{
	free(call);
}

struct vbmq_virt *vbmq_virt_close(struct vbmq_virt *v)
{
	struct vbmq_call *call;

	if (!v)
		return NULL;
	mute(v);
	call = v->fn ? calloc(1, sizeof(*call)) : NULL; /* no memory: it stays subscribed, but muted */
	if (call) {
		call->work = close_work;
		call->destroy = close_destroy;
		call->always = true;
		if (vbmq_call_run(v, NULL, call, NULL) == 0)
			close_destroy(call);
	}
	vbmq_virt_unref(v);
	return NULL;
}

void vbmq_virt_set_timeout(struct vbmq_virt *v, unsigned ms)
{
	v->timeout_ms = ms ? ms : 1;
}

bool vbmq_virt_conn_alive(struct vbmq_virt *v)
{
	return virConnectIsAlive(v->conn) != 0; /* -1: the driver cannot tell */
}

bool vbmq_virt_alive(struct vbmq_virt *v)
{
	bool dead;

	pthread_mutex_lock(&v->lock);
	dead = v->dead;
	pthread_mutex_unlock(&v->lock);
	return !dead && vbmq_virt_conn_alive(v);
}
