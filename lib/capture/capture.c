/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From "what libvirt says" to "what is".
 *
 * A domain's process is found from the threads QEMU named: the Tgid of any of them. (libvirt has a pid file, but no call
 * that tells where it lies.) When nothing names a thread, because the monitor has not answered since we are here, the process
 * is looked for by the -uuid on its command line and its threads by the names QEMU gives them ("CPU 0/KVM", "IO iothread1");
 * weaker evidence, but such a domain is only looked at, never touched, and others must not be put on its cores.
 *
 * Everything is read one after the other while the guest goes on: a thread that ended in between has no tid, a domain that
 * stopped in between is gone (-ENOENT).
 */

#include "capture/capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "capture/orphan.h"
#include "host/blockdev.h"
#include "host/guestmem.h"
#include "host/irqs.h"
#include "host/parts.h"
#include "host/process.h"
#include "host/topology.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"
#include "util/parse.h"
#include "util/strbuf.h"
#include "virt/read.h"

#define STATUS_MAX 65536u
#define MEMORY_HOLDS_MS 50000u
#define MEMORY_SHARE 200u

VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_snapshot_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

/* The process a thread belongs to; 0: there is no such thread. */
static int thread_group(uint32_t tid, uint32_t *ret, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *at;
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%u/status", tid);
	r = vbmq_file_read(path, STATUS_MAX, &text, &len, NULL);
	if (r == -ENOENT || r == -ESRCH) {
		*ret = 0;
		return 0;
	}
	if (r < 0)
		return vbmq_err_set(err, r, "%s cannot be read: %s", path, strerror(-r));
	at = strstr(text, "\nTgid:\t");
	if (at) {
		at += strlen("\nTgid:\t");
		at[strcspn(at, "\n")] = '\0';
	}
	if (!at || vbmq_parse_u32(at, 1, INT32_MAX, ret) < 0)
		return vbmq_err_set(err, -EBADMSG, "%s: no Tgid", path);
	return 0;
}

static int find_process(struct vbmq_domain *d, struct vbmq_err *err)
{
	bool named = false;
	int r = 0;

	for (size_t i = 0; r == 0 && !d->pid && i < d->n_threads; i++) {
		if (!d->threads[i].tid)
			continue;
		named = true;
		r = thread_group(d->threads[i].tid, &d->pid, err);
	}
	if (r == 0 && named && !d->pid && d->responsive)
		return vbmq_err_set(err, -ENOENT, "domain '%s' has ended", d->name);
	if (r == 0 && !d->pid && !d->responsive)
		r = vbmq_orphan_find(d, err);
	return r;
}

static const struct vbmq_task *find_task(const struct vbmq_task *tasks, size_t n, uint32_t tid)
{
	for (size_t i = 0; i < n; i++) {
		if (tasks[i].tid == tid)
			return &tasks[i];
	}
	return NULL;
}

static bool is_known(const struct vbmq_domain *d, uint32_t tid)
{
	for (size_t i = 0; i < d->n_threads; i++) {
		if (d->threads[i].kind != VBMQ_THREAD_EMULATOR && d->threads[i].tid == tid)
			return true;
	}
	return false;
}

/* The emulator is the main thread and all that is neither vCPU nor I/O thread. */
static int take_rest(struct vbmq_domain *d, struct vbmq_thread *emulator, const struct vbmq_task *tasks, size_t n,
		     struct vbmq_err *err)
{
	emulator->affinity = VBMQ_CPUSET_EMPTY;
	for (size_t i = 0; i < n; i++) {
		if (is_known(d, tasks[i].tid))
			continue;
		emulator->affinity = vbmq_cpuset_or(&emulator->affinity, &tasks[i].affinity);
		if (tasks[i].tid == d->pid) {
			emulator->tid = tasks[i].tid;
			emulator->start = tasks[i].start;
		}
	}
	for (size_t i = 0; i < n; i++) {
		struct vbmq_odd_task *odd;

		if (is_known(d, tasks[i].tid) || vbmq_cpuset_equal(&tasks[i].affinity, &emulator->affinity))
			continue;
		odd = vbmq_array_add(d->odd_tasks, d->n_odd_tasks, VBMQ_TASKS_MAX);
		if (!odd)
			return vbmq_err_oom(err);
		odd->tid = tasks[i].tid;
		odd->start = tasks[i].start;
		odd->affinity = tasks[i].affinity;
	}
	return 0;
}

static int take_tasks(struct vbmq_domain *d, struct vbmq_err *err)
{
	_cleanup_free_ struct vbmq_task *tasks = NULL;
	struct vbmq_thread *emulator = NULL;
	size_t n;
	int r = vbmq_process_tasks(NULL, d->pid, &tasks, &n, err);

	if (r == -ESRCH)
		return vbmq_err_set(err, -ENOENT, "domain '%s': process %u of its QEMU has ended", d->name, d->pid);
	if (r < 0)
		return r;
	for (size_t i = 0; i < d->n_threads; i++) {
		struct vbmq_thread *t = &d->threads[i];
		const struct vbmq_task *task = find_task(tasks, n, t->tid);

		if (t->kind == VBMQ_THREAD_EMULATOR) {
			emulator = t;
			continue;
		}
		t->tid = task ? task->tid : 0;
		t->start = task ? task->start : 0;
		t->affinity = task ? task->affinity : VBMQ_CPUSET_EMPTY;
	}
	return emulator ? take_rest(d, emulator, tasks, n, err) : 0;
}

static int take_devices(struct vbmq_domain *d, struct vbmq_err *err)
{
	int r;

	for (size_t i = 0; i < d->n_disks; i++) {
		struct vbmq_disk *disk = &d->disks[i];

		if (!disk->source)
			continue;
		free(disk->devices);
		disk->devices = NULL;
		disk->n_devices = 0;
		r = vbmq_blockdev_find(NULL, disk->source, &disk->node, &disk->devices, &disk->n_devices, NULL);
		if (r == -ENOMEM)
			return vbmq_err_oom(err);
		if (r < 0) /* unlinked while in use, or in a place we may not look at */
			disk->node = VBMQ_NODE_UNKNOWN;
	}
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * <numatune> says where memory must lie; without it, where it does. To tell that the kernel walks the guest's page tables with
 * its memory map locked against changes: milliseconds for a small guest, seconds for a terabyte. So what was found holds
 * for MEMORY_HOLDS_MS, and for MEMORY_SHARE times what the look took: at most 0.5 % of a guest's time goes into being looked at.
 */
static int take_memory(struct vbmq_virt *v, struct vbmq_domain *d, struct vbmq_err *err)
{
	uint64_t begin = now_ms(), took, holds;
	int r;

	if (!vbmq_cpuset_is_empty(&d->memory_nodes) || !d->pid || vbmq_virt_recall_memory(v, d, begin))
		return 0;
	r = vbmq_guestmem_nodes(NULL, d->pid, &d->memory_nodes, NULL);
	if (r == -ENOMEM)
		return vbmq_err_oom(err);
	/* Not to be seen: not known. */
	took = now_ms() - begin;
	holds = took * MEMORY_SHARE > MEMORY_HOLDS_MS ? took * MEMORY_SHARE : MEMORY_HOLDS_MS;
	vbmq_virt_note_memory(v, d, begin + took + holds);
	return 0;
}

/* Adds what the host tells to what libvirt told. */
static int complete(struct vbmq_virt *v, struct vbmq_domain *d, struct vbmq_err *err)
{
	int r = 0;

	if (d->state != VBMQ_DOMAIN_SHUTOFF) {
		r = find_process(d, err);
		if (r == 0 && d->pid) {
			d->in_part = vbmq_parts_of_process(NULL, d->pid);
			r = take_tasks(d, err);
		}
		if (r == 0)
			r = take_memory(v, d, err);
	}
	return r < 0 ? r : take_devices(d, err);
}

int vbmq_capture_domain(struct vbmq_virt *v, const char *uuid, struct vbmq_domain **ret,
			struct vbmq_err *ret_metadata_err, struct vbmq_err *err)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	int r;

	r = vbmq_virt_read_domain(v, uuid, &d, ret_metadata_err, err);
	if (r == 0)
		r = complete(v, d, err);
	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(d);
	return 0;
}

/* A listed domain. If libvirtd does not answer any more: it is still there and occupies CPUs, so it is not left out. */
static int capture_listed(struct vbmq_virt *v, const struct vbmq_virt_name *name, struct vbmq_domain **ret,
			  struct vbmq_err *err)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	struct vbmq_err why = VBMQ_ERR_INIT;
	int r = vbmq_capture_domain(v, name->uuid, ret, NULL, &why);

	if (r != -ETIMEDOUT && r != -EBUSY)
		return r < 0 ? vbmq_err_set(err, r, "%s", why.text) : 0;
	r = vbmq_virt_recall_domain(v, name, &d, err);
	if (r == 0)
		r = complete(v, d, err);
	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(d);
	return 0;
}

/* Do the same threads still run? */
static bool same_threads(const struct vbmq_domain *d, const struct vbmq_domain *known)
{
	for (size_t i = 0; i < d->n_threads; i++) {
		if (!d->threads[i].tid || d->threads[i].tid != known->threads[i].tid ||
		    d->threads[i].start != known->threads[i].start)
			return false;
	}
	return true;
}

int vbmq_capture_again(struct vbmq_virt *v, const struct vbmq_domain *known, struct vbmq_domain **ret,
		       struct vbmq_err *ret_metadata_err, struct vbmq_err *err)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	int r = known->pid && !known->metadata_error ? vbmq_virt_reread_domain(v, known, &d, NULL) : -ESTALE;

	if (r == 0) {
		d->pid = known->pid;
		d->in_part = known->in_part;
		r = take_tasks(d, NULL);
	}
	if (r < 0 || !same_threads(d, known))
		return vbmq_capture_domain(v, known->uuid, ret, ret_metadata_err, err);
	for (size_t i = 0; i < d->n_disks; i++) {
		d->disks[i].node = known->disks[i].node;
		if (vbmq_disk_set_devices(&d->disks[i], known->disks[i].devices, known->disks[i].n_devices) < 0)
			return vbmq_err_oom(err);
	}
	r = take_memory(v, d, err);
	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(d);
	return 0;
}

/* --- all --- */

static void skip(struct vbmq_strbuf *b, const char *name, const char *text)
{
	vbmq_strbuf_printf(b, "%s%s: %s", b->len ? "\n" : "", name, text);
}

/* 0, or what must end the whole capture. */
static int add_domain(struct vbmq_virt *v, struct vbmq_snapshot *s, const struct vbmq_virt_name *name,
		      struct vbmq_strbuf *skipped, struct vbmq_err *err)
{
	struct vbmq_err why = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;
	int r;

	r = capture_listed(v, name, &d, &why);
	if (r == -ENOENT) /* stopped since the list was made */
		return 0;
	if (r == 0 && d->state == VBMQ_DOMAIN_SHUTOFF) {
		vbmq_domain_free(d);
		return 0;
	}
	if (r == 0)
		r = vbmq_snapshot_add(s, d, &why);
	if (r == -ENOMEM || r == -ENOTCONN || r == -ECONNRESET)
		return vbmq_err_set(err, r, "%s", why.text);
	if (r < 0)
		skip(skipped, name->name, why.text);
	return 0;
}

static int copy_policy(struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	s->policy = calloc(1, sizeof(*s->policy));
	if (!s->policy)
		return -ENOMEM;
	vbmq_policy_init(s->policy);
	return vbmq_policy_copy(policy, s->policy);
}

static int add_domains(struct vbmq_virt *v, struct vbmq_snapshot *s, struct vbmq_strbuf *skipped, struct vbmq_err *err)
{
	struct vbmq_virt_name *names;
	size_t n;
	int r = vbmq_virt_list(v, false, &names, &n, err);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_domain(v, s, &names[i], skipped, err);
	vbmq_virt_names_free(names, n);
	return r;
}

int vbmq_capture_all(struct vbmq_virt *v, const struct vbmq_undo *undo, const struct vbmq_policy *policy,
		     struct vbmq_snapshot **ret, char **ret_skipped, struct vbmq_err *err)
{
	_cleanup_(vbmq_snapshot_freep) struct vbmq_snapshot *s = vbmq_snapshot_new();
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf skipped = VBMQ_STRBUF_INIT;
	char *text = NULL;
	int r;

	if (!s)
		return vbmq_err_oom(err);
	r = vbmq_topology_live(NULL, &s->host, err);
	if (r < 0)
		return r;
	if (policy && copy_policy(s, policy) < 0)
		return vbmq_err_oom(err);
	r = add_domains(v, s, &skipped, err);
	if (r < 0)
		return r;
	if (vbmq_irqs_read(NULL, s, undo) < 0)
		return vbmq_err_oom(err);
	if (undo)
		vbmq_undo_overlay(undo, s);
	r = vbmq_snapshot_finish(s, err);
	if (r < 0)
		return r;
	if (skipped.len || skipped.failed) {
		text = vbmq_strbuf_steal(&skipped);
		if (!text)
			return vbmq_err_oom(err);
	}
	*ret = VBMQ_STEAL(s);
	*ret_skipped = text;
	return 0;
}
