/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "capture/orphan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/process.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"
#include "util/parse.h"

#define CMDLINE_MAX (2u * 1024u * 1024u) /* ARG_MAX of Linux */

/* Is "-uuid" followed by this UUID among the arguments? */
static bool names_uuid(const char *cmdline, size_t len, const char *uuid)
{
	const char *end = cmdline + len;
	bool next = false;

	for (const char *arg = cmdline; arg < end; arg += strlen(arg) + 1) {
		if (next && strcmp(arg, uuid) == 0)
			return true;
		next = strcmp(arg, "-uuid") == 0;
	}
	return false;
}

static int find_pid(const char *uuid, uint32_t *ret, struct vbmq_err *err)
{
	DIR *proc = opendir("/proc");
	const struct dirent *e;
	uint32_t pid, found = 0;
	size_t n_found = 0;

	if (!proc)
		return vbmq_err_set(err, -errno, "/proc cannot be read: %s", strerror(errno));
	while ((e = readdir(proc))) {
		_cleanup_free_ char *cmdline = NULL;
		char path[64];
		size_t len;

		if (vbmq_parse_u32(e->d_name, 1, INT32_MAX, &pid) < 0)
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
		if (vbmq_file_read(path, CMDLINE_MAX, &cmdline, &len, NULL) < 0 || !names_uuid(cmdline, len, uuid))
			continue;
		found = pid;
		n_found++;
	}
	closedir(proc);
	*ret = n_found == 1 ? found : 0;
	return 0;
}

/* "CPU 12/KVM" -> 12, "IO iothread3" -> 3: the whole name must be of the form. */
static bool parse_name(const char *name, const char *prefix, char end, uint32_t *ret)
{
	char number[16];
	size_t len = strlen(prefix), digits;

	if (strncmp(name, prefix, len) != 0)
		return false;
	name += len;
	digits = strspn(name, "0123456789");
	if (digits == 0 || digits >= sizeof(number) || name[digits] != end)
		return false;
	memcpy(number, name, digits);
	number[digits] = '\0';
	return vbmq_parse_u32(number, 0, UINT32_MAX, ret) == 0;
}

/* The domain's entry for a thread; made when not even XML was to be had. */
static struct vbmq_thread *entry(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	struct vbmq_thread *t;

	for (size_t k = 0; k < d->n_threads; k++) {
		if (d->threads[k].kind == kind && d->threads[k].id == id)
			return &d->threads[k];
	}
	t = vbmq_array_add(d->threads, d->n_threads, VBMQ_TASKS_MAX);
	if (!t)
		return NULL;
	t->kind = kind;
	t->id = id;
	t->polling.max_ns = UINT64_MAX;
	t->polling.mode = VBMQ_POLL_UNSAID;
	if (kind == VBMQ_THREAD_VCPU && id >= d->n_vcpus)
		d->n_vcpus = id + 1;
	return t;
}

int vbmq_orphan_find(struct vbmq_domain *d, struct vbmq_err *err)
{
	_cleanup_free_ struct vbmq_task *tasks = NULL;
	size_t n;
	int r = find_pid(d->uuid, &d->pid, err);

	if (r < 0 || !d->pid)
		return r;
	r = vbmq_process_tasks(NULL, d->pid, &tasks, &n, err);
	if (r < 0) {
		d->pid = 0;
		return r == -ESRCH ? vbmq_err_set(err, -ENOENT, "domain '%s' has ended", d->name) : r;
	}
	for (size_t i = 0; i < n; i++) {
		uint32_t id;
		enum vbmq_thread_kind kind;
		struct vbmq_thread *t;

		/* Names are QEMU's to choose: numbers that cannot be are not believed. */
		if (parse_name(tasks[i].name, "CPU ", '/', &id) && id < VBMQ_VCPUS_MAX)
			kind = VBMQ_THREAD_VCPU;
		else if (parse_name(tasks[i].name, "IO iothread", '\0', &id) && id > 0 && id < VBMQ_CPUS_MAX)
			kind = VBMQ_THREAD_IOTHREAD;
		else
			continue;
		t = entry(d, kind, id);
		if (!t)
			return vbmq_err_oom(err);
		t->tid = tasks[i].tid;
	}
	return 0;
}
