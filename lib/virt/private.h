/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of lib/virt share. Nobody else includes this. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "core/domain.h"
#include "util/err.h"
#include "virt/compat.h"
#include "virt/connection.h"
#include "virt/error.h"

/* libvirtd serves max_client_requests (5) calls of one client at a time; abandoned calls hold their place. */
#define VBMQ_VIRT_HUNG_MAX 3u
#define VBMQ_VIRT_HUNG_SLOTS 64u /* callers that were admitted at the same moment may exceed the limit */
#define VBMQ_VIRT_N_EVENTS 7

struct vbmq_task_ops;

struct vbmq_virt_thread { /* what we last heard of the threads of an instance, for when its monitor is silent */
	enum vbmq_thread_kind kind;
	uint32_t id;
	uint32_t tid;
};

/* What does not change while a domain runs, and what is remembered of it; by UUID and libvirt id. */
struct vbmq_virt_instance {
	char uuid[37];
	int32_t id;
	struct vbmq_caps caps;
	virDomainPtr dom; /* what libvirt calls it; NULL: not looked up yet; owned */
	char *xml; /* the live XML as last read: it cannot be had while the monitor hangs; owned */
	struct vbmq_virt_thread *threads;
	size_t n_threads;
	struct vbmq_cpuset memory_nodes; /* vbmq_virt_note_memory() */
	uint64_t memory_until_ms; /* 0: not noted */
	struct vbmq_virt_instance *next;
};

/* Capabilities are those of a program file. */
struct vbmq_virt_program {
	dev_t dev;
	ino_t ino;
	struct timespec mtime;
	struct vbmq_caps caps;
};
#define VBMQ_VIRT_PROGRAMS_MAX 16u

struct vbmq_virt {
	virConnectPtr conn;
	bool qemu; /* the QEMU driver: monitor commands exist */
	bool read_only;
	unsigned long lib_version; /* of the daemon */
	unsigned timeout_ms; /* written before the first concurrent call */

	vbmq_virt_event_fn fn;
	void *data;
	int callbacks[VBMQ_VIRT_N_EVENTS];

	bool has_close;
	const struct vbmq_task_ops *tasks; /* of the actuator; atomic */
	pthread_mutex_t events; /* held around every call of fn; protects muted */
	bool muted; /* closed by its owner: no more events */

	pthread_mutex_t lock; /* all below, and the state of every struct vbmq_call */
	unsigned refs; /* the owner, every callback, every call under way */
	bool dead; /* the close callback came */
	char hung[VBMQ_VIRT_HUNG_SLOTS][37]; /* UUID of the domain of each abandoned call; "" free */
	unsigned n_hung;
	unsigned n_calls; /* under way, abandoned ones, too */
	unsigned n_nudges; /* under way: nudge.c */
	unsigned n_hung_conn; /* abandoned calls that concern no domain's monitor: libvirtd itself hangs */
	struct vbmq_virt_instance *instances;
	struct vbmq_virt_program programs[VBMQ_VIRT_PROGRAMS_MAX];
	size_t n_programs; /* ever seen; the array is used round and round */
};

struct vbmq_virt *vbmq_virt_ref(struct vbmq_virt *v);
void vbmq_virt_unref(struct vbmq_virt *v);

/* --- call.c: calls with a deadline --- */

/* First member of every job. */
struct vbmq_call {
	void (*work)(struct vbmq_call *call); /* in a thread of its own */
	void (*destroy)(struct vbmq_call *call); /* frees the job and what it holds */
	struct vbmq_virt *v; /* set by run */
	char uuid[37];
	bool always; /* also on a connection that is dead or hangs (closing it) */
	bool done, abandoned;
	pthread_cond_t cond;
};

/*
 * Runs call->work within v's time limit. 0: it ended, the caller reads its results and calls call->destroy. Negative
 * (-ETIMEDOUT, -EAGAIN, -ENOMEM): the caller must not touch it any more. uuid: the domain whose monitor or job the call
 * may wait for, NULL if only libvirtd itself can keep it waiting. While an abandoned call still waits for a domain, further
 * ones fail at once.
 */
int vbmq_call_run(struct vbmq_virt *v, const char *uuid, struct vbmq_call *call, struct vbmq_err *err);

/* A detached thread without signals; 0 or a negative errno. */
int vbmq_call_thread(void *(*body)(void *data), void *data);

/* --- nudge.c: calls that the client library forgets to send --- */

/* Does the library of this process forget any? */
bool vbmq_nudge_needed(void);
/* Under v->lock, for a call that has been waiting for a while: reminds the library, if another call can be why. */
void vbmq_nudge(struct vbmq_virt *v);

/* --- lookup and monitor.c --- */

/* Borrows the connection; the caller frees (virDomainFree). -ENOENT. */
int vbmq_virt_lookup(struct vbmq_virt *v, const char *name_or_uuid, virDomainPtr *ret, struct vbmq_err *err);
static inline void vbmq_virt_domain_freep(virDomainPtr *d)
{
	if (*d)
		virDomainFree(*d);
}

/* One monitor command; *ret_reply is the whole reply, caller frees. QMP's own errors are in the reply. */
int vbmq_virt_qmp(struct vbmq_virt *v, virDomainPtr dom, const char *command, char **ret_reply, struct vbmq_err *err);

#define VBMQ_VIRT_QUERY_PLACEMENT "{\"execute\":\"query-virtio-placement\"}" /* of all virtio devices */

/* "text" as a JSON string. */
struct vbmq_strbuf;
void vbmq_virt_json_string(struct vbmq_strbuf *b, const char *text);

/* After a failure: -ENOENT with its text if the domain does not run any more, else what err already says. */
int vbmq_virt_gone(struct vbmq_virt *v, virDomainPtr dom, int32_t id, int code, struct vbmq_err *err);

/* Instance record, under v->lock; NULL: no memory (create) or none. */
struct vbmq_virt_instance *vbmq_virt_instance(struct vbmq_virt *v, const char *uuid, int32_t id, bool create);
void vbmq_virt_instances_free(struct vbmq_virt_instance *list);

/* A lookup that found the instance saves later ones the question. recall: a reference, NULL: none. It names the domain, and
 * whoever runs under that name is touched: the caller knows from elsewhere that it still is this instance. */
void vbmq_virt_note_dom(struct vbmq_virt *v, const char *uuid, int32_t id, virDomainPtr dom);
virDomainPtr vbmq_virt_recall_dom(struct vbmq_virt *v, const char *uuid, int32_t id);

/* Capabilities of the program that thread tid of this machine runs, if they were learnt before: the schema is the same for
 * all guests of one QEMU binary, and asking for it (200 KiB) costs more than all else together. */
bool vbmq_virt_program_caps(struct vbmq_virt *v, uint32_t tid, struct vbmq_caps *ret);
void vbmq_virt_program_learn(struct vbmq_virt *v, uint32_t tid, struct vbmq_caps caps);

bool vbmq_virt_conn_alive(struct vbmq_virt *v);
