/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The actuator's task operations on this machine's /proc. "Rest" is every thread of a process but those listed: new threads
 * (QEMU's workers come and go) inherit the affinity of whoever makes them, so after a pass that had something to set the
 * numbers of the threads are listed once more, and if there is a new one, another pass follows. (That what was set stays so,
 * reading back shows.)
 */

#include "capture/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/process.h"
#include "util/cleanup.h"
#include "util/err.h"

#define PASSES_MAX 4 /* a cpuset may keep a thread from where it was sent: reading back shows that */

static bool skipped(const uint32_t *skip_tids, size_t n_skip, uint32_t tid)
{
	for (size_t i = 0; i < n_skip; i++) {
		if (skip_tids[i] == tid)
			return true;
	}
	return false;
}

/* 1: there may be more to set, 0: there is not, or a negative errno. */
static int set_pass(uint32_t pid, const uint32_t *skip_tids, size_t n_skip, const struct vbmq_cpuset *cpus,
		    struct vbmq_err *err)
{
	_cleanup_free_ struct vbmq_task *tasks = NULL;
	struct vbmq_err why = VBMQ_ERR_INIT;
	bool set = false, only;
	size_t n;
	int r;

	r = vbmq_process_tasks(NULL, pid, &tasks, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (skipped(skip_tids, n_skip, tasks[i].tid) || vbmq_cpuset_equal(&tasks[i].affinity, cpus))
			continue;
		r = vbmq_process_set_affinity(tasks[i].tid, tasks[i].start, cpus, &why);
		if (r < 0 && r != -ESRCH)
			return vbmq_err_set(err, r, "thread %u '%s': %s", tasks[i].tid, tasks[i].name, why.text);
		set = true;
	}
	if (!set)
		return 0;
	r = vbmq_process_only(NULL, pid, tasks, n, &only, err);
	return r < 0 ? r : !only;
}

static int set_rest(uint32_t pid, const uint32_t *skip_tids, size_t n_skip, const struct vbmq_cpuset *cpus,
		    struct vbmq_err *err)
{
	int r = 1;

	for (int pass = 0; pass < PASSES_MAX && r > 0; pass++)
		r = set_pass(pid, skip_tids, n_skip, cpus, err);
	return r < 0 ? r : 0;
}

static int get_rest(uint32_t pid, const uint32_t *skip_tids, size_t n_skip, struct vbmq_cpuset *ret,
		    struct vbmq_err *err)
{
	_cleanup_free_ struct vbmq_task *tasks = NULL;
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY;
	size_t n;
	int r = vbmq_process_tasks(NULL, pid, &tasks, &n, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (!skipped(skip_tids, n_skip, tasks[i].tid))
			all = vbmq_cpuset_or(&all, &tasks[i].affinity);
	}
	*ret = all;
	return 0;
}

/* QEMU's names with debug-threads=on: "CPU 0/KVM", "IO iothread1". */
#define NAME_VCPU "CPU "
#define NAME_IOTHREAD "IO iothread"

static bool is_named(const struct vbmq_task *t, const char *start)
{
	return strncmp(t->name, start, strlen(start)) == 0;
}

static int new_iothreads(uint32_t pid, const uint32_t *known_tids, size_t n_known, uint32_t **ret_tids, size_t *ret_n,
			 struct vbmq_err *err)
{
	_cleanup_free_ struct vbmq_task *tasks = NULL;
	_cleanup_free_ uint32_t *tids = NULL;
	size_t n, n_named = 0, n_new = 0;
	int r = vbmq_process_names(NULL, pid, &tasks, &n, err);

	if (r < 0)
		return r;
	tids = calloc(n, sizeof(*tids));
	if (!tids)
		return vbmq_err_oom(err);
	for (size_t i = 0; i < n; i++) {
		bool named = is_named(&tasks[i], NAME_IOTHREAD);

		if (!skipped(known_tids, n_known, tasks[i].tid)) {
			if (named)
				tids[n_new++] = tasks[i].tid;
		} else if (named || is_named(&tasks[i], NAME_VCPU)) {
			n_named++;
		} else {
			n_named = 0;
			break;
		}
	}
	if (n_named == 0)
		return vbmq_err_set(err, -ENODATA, "process %u does not name its threads", pid);
	*ret_tids = VBMQ_STEAL(tids);
	*ret_n = n_new;
	return 0;
}

static int get(uint32_t pid, uint32_t tid, uint64_t *ret_start, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct vbmq_task task;
	int r;

	if (!ret)
		return vbmq_process_start(NULL, pid, tid, ret_start, err);
	r = vbmq_process_task(NULL, pid, tid, &task, err);

	if (r < 0)
		return r;
	*ret_start = task.start;
	*ret = task.affinity;
	return 0;
}

const struct vbmq_task_ops vbmq_capture_task_ops = {
	.set_rest = set_rest,
	.get_rest = get_rest,
	.new_iothreads = new_iothreads,
	.get = get,
	.set = vbmq_process_set_affinity,
};
