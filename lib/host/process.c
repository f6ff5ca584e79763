/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Each thread is read through a descriptor of its own /proc/PID/task/TID directory: that descriptor is bound to the
 * thread and not to the number, so that what is read belongs together even if the number is given away meanwhile (the
 * reads then fail with ESRCH and the thread is left out). "stat" gives name and start, "status" the affinity; both are
 * text of the kernel whose fields are looked up and not counted, but for field 22 of stat, counted from the last ')'.
 *
 * A thread nobody ever pinned is allowed on every CPU the machine could have, also on those that are not plugged in; once
 * pinned, the kernel keeps online ones only. As sched_getaffinity() does, the list is cut down to what is online, so
 * that "as it was" can be set and read back.
 *
 * vbmq_process_set_affinity() compares the start time right before the call. Between the two a thread could end and its
 * number be reused, which needs the kernel to go once round all its numbers in microseconds; there is no call that would
 * do better (sched_setaffinity takes numbers only).
 */
#include "host/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/sysroot.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define STAT_MAX 4096u
#define STATUS_MAX 65536u
#define READ_FIRST 4096u
#define STAT_START_FIELD 22
#define STAT_CPU_FIELD 39

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* Is it how the kernel says that a thread or process has ended? */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -ESRCH || r == -ENOTDIR;
}

/* The kernel gives such a file whole or until the buffer is full, so a read that left room was the last: half the calls, and
 * there are two files for every thread of every guest. */
static int read_in(int dir, const char *file, size_t max, char **ret)
{
	_cleanup_(closep) int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	size_t len = 0, cap = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	do {
		if (cap - len < 2) {
			char *more = len > max ? NULL : realloc(text, cap ? cap * 2 : READ_FIRST);

			if (!more)
				return len > max ? -EFBIG : -ENOMEM;
			text = more;
			cap = cap ? cap * 2 : READ_FIRST;
		}
		do
			n = read(fd, text + len, cap - len - 1);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
		len += (size_t)n;
	} while (len == cap - 1);
	if (len > max)
		return -EFBIG;
	text[len] = '\0';
	*ret = VBMQ_STEAL(text);
	return 0;
}

/* "TID (name with any bytes) S f4 f5 ... f22": one of the fields from 3 on. Spoils the text. */
static int stat_field(char *text, int wanted, uint64_t *ret)
{
	char *close = strrchr(text, ')'), *save = NULL, *word;
	int field = 2;

	for (word = close ? strtok_r(close + 1, " \n", &save) : NULL; word; word = strtok_r(NULL, " \n", &save))
		if (++field == wanted)
			return vbmq_parse_u64(word, 0, UINT64_MAX, ret) < 0 ? -EBADMSG : 0;
	return -EBADMSG;
}

/* -EBADMSG when it is not of that form, -ESRCH for a thread that has ended and only waits for its parent to notice (in a
 * container perhaps for ever). */
static int parse_stat(char *text, struct vbmq_task *t)
{
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	size_t len;

	if (!open || !close || close < open)
		return -EBADMSG;
	len = (size_t)(close - open - 1);
	if (len >= sizeof(t->name))
		len = sizeof(t->name) - 1;
	memcpy(t->name, open + 1, len);
	t->name[len] = '\0';
	if (close[1] == ' ' && (close[2] == 'Z' || close[2] == 'X'))
		return -ESRCH;
	return stat_field(text, STAT_START_FIELD, &t->start);
}

static int parse_status(const char *text, struct vbmq_task *t, struct vbmq_err *err)
{
	static const char key[] = "\nCpus_allowed_list:";
	const char *at = strstr(text, key);
	size_t len;

	if (!at)
		return vbmq_err_set(err, -EBADMSG, "status has no Cpus_allowed_list");
	at += sizeof(key) - 1;
	at += strspn(at, " \t");
	len = strcspn(at, "\n");
	return vbmq_cpulist_parse(at, len, 0, &t->affinity, err);
}

/* What is online; empty when it cannot be told. */
static struct vbmq_cpuset read_online(const char *sysroot)
{
	struct vbmq_cpuset online = VBMQ_CPUSET_EMPTY;
	_cleanup_free_ char *line = NULL;

	if (vbmq_sysroot_line(sysroot, "/sys/devices/system/cpu/online", &line) == 0)
		vbmq_cpulist_parse(line, strlen(line), 0, &online, NULL);
	return online;
}

/* Name and start alone. task: descriptor of /proc/PID/task. -ESRCH without a set err: the thread is gone. */
static int read_stat(int task, uint32_t pid, uint32_t tid, struct vbmq_task *ret, struct vbmq_err *err)
{
	struct vbmq_task t = { .tid = tid };
	_cleanup_free_ char *stat = NULL;
	char name[32];
	int r;

	snprintf(name, sizeof(name), "%u/stat", tid);
	r = read_in(task, name, STAT_MAX, &stat);
	if (r == 0)
		r = parse_stat(stat, &t);
	if (is_gone(r))
		return -ESRCH;
	if (r == -EBADMSG)
		return vbmq_err_set(err, r, "/proc/%u/task/%u/stat: not of the form the kernel writes", pid, tid);
	if (r < 0)
		return vbmq_err_set(err, r, "/proc/%u/task/%u: cannot be read: %s", pid, tid, strerror(-r));
	*ret = t;
	return 0;
}

/* task: descriptor of /proc/PID/task. -ESRCH without a set err: the thread is gone. */
static int read_task(int task, uint32_t pid, uint32_t tid, const struct vbmq_cpuset *online, struct vbmq_task *ret,
		     struct vbmq_err *err)
{
	struct vbmq_task t = { .tid = tid };
	_cleanup_free_ char *stat = NULL, *status = NULL;
	_cleanup_(closep) int dir = -1;
	struct vbmq_err cause = VBMQ_ERR_INIT;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "%u", tid);
	dir = openat(task, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? -errno : read_in(dir, "stat", STAT_MAX, &stat);
	if (r == 0)
		r = read_in(dir, "status", STATUS_MAX, &status);
	if (is_gone(r))
		return -ESRCH;
	if (r < 0)
		return vbmq_err_set(err, r, "/proc/%u/task/%u: cannot be read: %s", pid, tid, strerror(-r));
	r = parse_stat(stat, &t);
	if (r == -ESRCH)
		return r;
	if (r < 0)
		return vbmq_err_set(err, r, "/proc/%u/task/%u/stat: not of the form the kernel writes", pid, tid);
	r = parse_status(status, &t, &cause);
	if (r < 0)
		return vbmq_err_set(err, r, "/proc/%u/task/%u/status: %s", pid, tid, cause.text);
	if (vbmq_cpuset_intersects(&t.affinity, online))
		t.affinity = vbmq_cpuset_and(&t.affinity, online);
	*ret = t;
	return 0;
}

/* Descriptor of /proc/PID/task, or a negative errno with err set. */
static int open_tasks(const char *sysroot, uint32_t pid, struct vbmq_err *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/task", pid);
	fd = vbmq_sysroot_open(sysroot, path, O_RDONLY | O_DIRECTORY);
	if (is_gone(fd))
		return vbmq_err_set(err, -ESRCH, "there is no process %u", pid);
	if (fd < 0)
		return vbmq_err_set(err, fd, "%s: cannot be opened: %s", path, strerror(-fd));
	return fd;
}

static int compare_tasks(const void *a, const void *b)
{
	const struct vbmq_task *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

static int open_tasks_dir(const char *sysroot, uint32_t pid, DIR **ret, struct vbmq_err *err)
{
	int fd = open_tasks(sysroot, pid, err);
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return vbmq_err_oom(err);
	}
	*ret = dir;
	return 0;
}

/* online NULL: names and starts are enough. */
static int list_tasks(const char *sysroot, uint32_t pid, const struct vbmq_cpuset *online, struct vbmq_task **ret,
		      size_t *ret_n, struct vbmq_err *err)
{
	_cleanup_free_ struct vbmq_task *tasks = NULL;
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *e;
	size_t n = 0;
	int r = open_tasks_dir(sysroot, pid, &dir, err);

	if (r < 0)
		return r;
	while ((e = readdir(dir))) {
		struct vbmq_task t, *slot;
		uint32_t tid;

		if (vbmq_parse_u32(e->d_name, 1, INT32_MAX, &tid) < 0)
			continue;
		r = online ? read_task(dirfd(dir), pid, tid, online, &t, err)
			   : read_stat(dirfd(dir), pid, tid, &t, err);
		if (r == -ESRCH)
			continue;
		if (r < 0)
			return r;
		if (n >= VBMQ_TASKS_MAX)
			return vbmq_err_set(err, -E2BIG, "process %u has more than %u threads", pid, VBMQ_TASKS_MAX);
		slot = vbmq_array_add(tasks, n, VBMQ_TASKS_MAX);
		if (!slot)
			return vbmq_err_oom(err);
		*slot = t;
	}
	if (n == 0) /* a process has at least one thread: it ended while we read */
		return vbmq_err_set(err, -ESRCH, "there is no process %u", pid);
	qsort(tasks, n, sizeof(*tasks), compare_tasks);
	*ret = VBMQ_STEAL(tasks);
	*ret_n = n;
	return 0;
}

int vbmq_process_tasks(const char *sysroot, uint32_t pid, struct vbmq_task **ret, size_t *ret_n, struct vbmq_err *err)
{
	struct vbmq_cpuset online = read_online(sysroot);

	return list_tasks(sysroot, pid, &online, ret, ret_n, err);
}

int vbmq_process_names(const char *sysroot, uint32_t pid, struct vbmq_task **ret, size_t *ret_n, struct vbmq_err *err)
{
	return list_tasks(sysroot, pid, NULL, ret, ret_n, err);
}

int vbmq_process_only(const char *sysroot, uint32_t pid, const struct vbmq_task *tasks, size_t n, bool *ret,
		      struct vbmq_err *err)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int r = open_tasks_dir(sysroot, pid, &dir, err);
	struct vbmq_task key = { .tid = 0 };
	struct dirent *e;
	bool only = true;

	if (r < 0)
		return r;
	while (only && (e = readdir(dir))) {
		if (vbmq_parse_u32(e->d_name, 1, INT32_MAX, &key.tid) == 0)
			only = bsearch(&key, tasks, n, sizeof(*tasks), compare_tasks) != NULL;
	}
	*ret = only;
	return 0;
}

int vbmq_process_task(const char *sysroot, uint32_t pid, uint32_t tid, struct vbmq_task *ret, struct vbmq_err *err)
{
	_cleanup_(closep) int fd = open_tasks(sysroot, pid, err);
	struct vbmq_cpuset online = read_online(sysroot);
	int r;

	if (fd < 0)
		return fd;
	r = read_task(fd, pid, tid, &online, ret, err);
	if (r == -ESRCH)
		return vbmq_err_set(err, -ESRCH, "process %u has no thread %u", pid, tid);
	return r;
}

int vbmq_process_start(const char *sysroot, uint32_t pid, uint32_t tid, uint64_t *ret, struct vbmq_err *err)
{
	_cleanup_(closep) int fd = open_tasks(sysroot, pid, err);
	struct vbmq_task task;
	int r;

	if (fd < 0)
		return fd;
	r = read_stat(fd, pid, tid, &task, err);
	if (r == -ESRCH)
		return vbmq_err_set(err, -ESRCH, "process %u has no thread %u", pid, tid);
	if (r == 0)
		*ret = task.start;
	return r;
}

/* "RUN WAIT SLICES" */
static int parse_schedstat(char *text, struct vbmq_load *load)
{
	char *save = NULL, *run = strtok_r(text, " \n", &save), *wait = strtok_r(NULL, " \n", &save);

	if (!run || !wait || vbmq_parse_u64(run, 0, UINT64_MAX, &load->run_ns) < 0 ||
	    vbmq_parse_u64(wait, 0, UINT64_MAX, &load->wait_ns) < 0)
		return -EBADMSG;
	return 0;
}

int vbmq_process_load(const char *sysroot, uint32_t pid, uint32_t tid, struct vbmq_load *ret, struct vbmq_err *err)
{
	_cleanup_(closep) int fd = open_tasks(sysroot, pid, err), dir = -1;
	_cleanup_free_ char *stat = NULL, *schedstat = NULL;
	struct vbmq_load load;
	uint64_t cpu = 0;
	char name[16];
	int r;

	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "%u", tid);
	dir = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? -errno : read_in(dir, "stat", STAT_MAX, &stat);
	if (is_gone(r))
		return vbmq_err_set(err, -ESRCH, "process %u has no thread %u", pid, tid);
	if (r == 0)
		r = read_in(dir, "schedstat", STAT_MAX, &schedstat);
	if (r == -ENOENT)
		return vbmq_err_set(err, -ENOTSUP, "this kernel keeps no account of the time of threads");
	if (r == -ESRCH)
		return vbmq_err_set(err, r, "process %u has no thread %u", pid, tid);
	if (r < 0)
		return vbmq_err_set(err, r, "/proc/%u/task/%u: cannot be read: %s", pid, tid, strerror(-r));
	r = stat_field(stat, STAT_CPU_FIELD, &cpu);
	if (r == 0)
		r = parse_schedstat(schedstat, &load);
	if (r < 0 || cpu >= VBMQ_CPUS_MAX)
		return vbmq_err_set(err, -EBADMSG, "/proc/%u/task/%u: not of the form the kernel writes", pid, tid);
	load.cpu = (uint32_t)cpu;
	*ret = load;
	return 0;
}

/* Why the kernel refused, in words that tell what to do. */
static int explain_refusal(int r, uint32_t tid, const struct vbmq_cpuset *cpus, struct vbmq_err *err)
{
	_cleanup_free_ char *list = vbmq_cpulist_format(cpus);

	if (!list)
		return vbmq_err_oom(err);
	switch (r) {
	case -ESRCH:
		return vbmq_err_set(err, r, "thread %u has ended", tid);
	case -EINVAL:
		return vbmq_err_set(err, r,
				    "thread %u cannot be put on CPUs %s: none of them is online and inside the cpuset "
				    "of its cgroup",
				    tid, list);
	case -EPERM:
		return vbmq_err_set(
			err, r, "thread %u cannot be put on CPUs %s: not permitted; run as root or with CAP_SYS_NICE",
			tid, list);
	default:
		return vbmq_err_set(err, r, "thread %u cannot be put on CPUs %s: %s", tid, list, strerror(-r));
	}
}

int vbmq_process_set_affinity(uint32_t tid, uint64_t start, const struct vbmq_cpuset *cpus, struct vbmq_err *err)
{
	cpu_set_t sets[VBMQ_CPUS_MAX / CPU_SETSIZE];
	uint64_t now = 0;
	int r;

	if (tid == 0 || tid > INT32_MAX) /* 0 would be the calling thread */
		return vbmq_err_set(err, -EINVAL, "%u is not a thread number", tid);
	if (vbmq_cpuset_is_empty(cpus))
		return vbmq_err_set(err, -EINVAL, "thread %u cannot be put on an empty set of CPUs", tid);
	if (start != 0) {
		r = vbmq_process_start(NULL, tid, tid, &now, err);
		if (r < 0)
			return r;
		if (now != start)
			return vbmq_err_set(err, -ESRCH, "thread %u has ended and its number was given to another one",
					    tid);
	}
	CPU_ZERO_S(sizeof(sets), sets);
	for (int cpu = vbmq_cpuset_next(cpus, 0); cpu >= 0; cpu = vbmq_cpuset_next(cpus, (unsigned)cpu + 1))
		CPU_SET_S((size_t)cpu, sizeof(sets), sets);
	if (sched_setaffinity((pid_t)tid, sizeof(sets), sets) < 0)
		return explain_refusal(-errno, tid, cpus, err);
	return 0;
}
