/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads, affinities and start times, on real threads of a real child and on hand-made trees. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/process.h"
#include "lib/tree.h"
#include "util/cleanup.h"
#include "util/err.h"

#define N_THREADS 3

struct child {
	pid_t pid;
	int quit; /* closing it ends the child */
	uint32_t tids[N_THREADS]; /* beside the main thread */
	int first_cpu;
};

static void *sleeper(void *arg)
{
	int *fds = arg;
	uint32_t tid = (uint32_t)syscall(SYS_gettid);
	char byte;

	prctl(PR_SET_NAME, "odd ) name (");
	if (write(fds[1], &tid, sizeof(tid)) != sizeof(tid))
		_exit(1);
	while (read(fds[2], &byte, 1) > 0)
		;
	return NULL;
}

static int first_cpu(void)
{
	cpu_set_t set;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			return cpu;
	fail();
	return -1;
}

/* A child with N_THREADS further threads; the last one held to one CPU by this process. */
static void child_start(struct child *c)
{
	int up[2], down[2], fds[3];
	cpu_set_t one;

	assert_int_equal(pipe(up), 0);
	assert_int_equal(pipe(down), 0);
	c->first_cpu = first_cpu();
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (c->pid == 0) {
		pthread_t thread;

		close(down[1]);
		fds[1] = up[1];
		fds[2] = down[0];
		for (int i = 0; i < N_THREADS; i++)
			if (pthread_create(&thread, NULL, sleeper, fds) != 0)
				_exit(1);
		sleeper(fds);
		_exit(0);
	}
	close(up[1]);
	close(down[0]);
	c->quit = down[1];
	for (int i = 0, others = 0; i < N_THREADS + 1; i++) {
		uint32_t tid;

		assert_int_equal(read(up[0], &tid, sizeof(tid)), sizeof(tid));
		if (tid != (uint32_t)c->pid && others < N_THREADS)
			c->tids[others++] = tid;
	}
	close(up[0]);
	CPU_ZERO(&one);
	CPU_SET(c->first_cpu, &one);
	assert_int_equal(sched_setaffinity((pid_t)c->tids[N_THREADS - 1], sizeof(one), &one), 0);
}

static void child_end(struct child *c)
{
	close(c->quit);
	assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
}

static struct vbmq_cpuset kernel_affinity(uint32_t tid)
{
	struct vbmq_cpuset ret = VBMQ_CPUSET_EMPTY;
	cpu_set_t set;

	assert_int_equal(sched_getaffinity((pid_t)tid, sizeof(set), &set), 0);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			vbmq_cpuset_add(&ret, cpu);
	return ret;
}

static void test_tasks(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_task *tasks, *names, one;
	struct child c;
	size_t n, n_names;
	bool only;

	child_start(&c);
	assert_int_equal(vbmq_process_tasks(NULL, (uint32_t)c.pid, &tasks, &n, &err), 0);
	assert_int_equal(n, N_THREADS + 1);
	for (size_t i = 0; i < n; i++) {
		struct vbmq_cpuset want = kernel_affinity(tasks[i].tid);

		assert_true(i == 0 || tasks[i - 1].tid < tasks[i].tid);
		assert_true(vbmq_cpuset_equal(&tasks[i].affinity, &want));
		assert_string_equal(tasks[i].name, "odd ) name (");
		assert_true(tasks[i].start > 0);
		assert_int_equal(vbmq_process_task(NULL, (uint32_t)c.pid, tasks[i].tid, &one, &err), 0);
		assert_int_equal(one.start, tasks[i].start);
		if (tasks[i].tid == c.tids[N_THREADS - 1]) {
			assert_int_equal(vbmq_cpuset_count(&one.affinity), 1);
			assert_true(vbmq_cpuset_has(&one.affinity, (unsigned)c.first_cpu));
		}
	}
	assert_int_equal(vbmq_process_names(NULL, (uint32_t)c.pid, &names, &n_names, &err), 0);
	assert_int_equal(n_names, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(names[i].tid, tasks[i].tid);
		assert_int_equal(names[i].start, tasks[i].start);
		assert_string_equal(names[i].name, tasks[i].name);
		assert_true(vbmq_cpuset_is_empty(&names[i].affinity));
	}
	free(names);
	assert_int_equal(vbmq_process_only(NULL, (uint32_t)c.pid, tasks, n, &only, &err), 0);
	assert_true(only);
	assert_int_equal(vbmq_process_only(NULL, (uint32_t)c.pid, tasks, n - 1, &only, &err), 0);
	assert_false(only);
	free(tasks);
	/* a thread of somebody else is none of this process */
	assert_int_equal(vbmq_process_task(NULL, (uint32_t)c.pid, (uint32_t)getpid(), &one, &err), -ESRCH);
	child_end(&c);
	err = VBMQ_ERR_INIT;
	assert_int_equal(vbmq_process_tasks(NULL, (uint32_t)c.pid, &tasks, &n, &err), -ESRCH);
	assert_int_equal(err.code, -ESRCH);
}

static void test_set_affinity(void **state)
{
	struct vbmq_cpuset cpus, before, far = VBMQ_CPUSET_EMPTY, is;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_task task;
	struct child c;
	uint32_t tid;

	child_start(&c);
	tid = c.tids[0];
	cpus = vbmq_cpuset_of((unsigned)c.first_cpu);
	assert_int_equal(vbmq_process_task(NULL, (uint32_t)c.pid, tid, &task, &err), 0);
	before = task.affinity;
	/* the wrong instance is left alone */
	assert_int_equal(vbmq_process_set_affinity(tid, task.start + 1, &cpus, &err), -ESRCH);
	assert_non_null(strstr(err.text, "its number was given to another one"));
	is = kernel_affinity(tid);
	assert_true(vbmq_cpuset_equal(&is, &before));
	err = VBMQ_ERR_INIT;
	assert_int_equal(vbmq_process_set_affinity(tid, task.start, &cpus, &err), 0);
	assert_int_equal(err.code, 0);
	is = kernel_affinity(tid);
	assert_true(vbmq_cpuset_equal(&is, &cpus));
	assert_int_equal(vbmq_process_set_affinity(tid, 0, &before, &err), 0);
	is = kernel_affinity(tid);
	assert_true(vbmq_cpuset_equal(&is, &before));
	/* CPUs that are not there, none at all, and the number that would mean ourselves */
	vbmq_cpuset_add(&far, 4095);
	assert_int_equal(vbmq_process_set_affinity(tid, task.start, &far, &err), -EINVAL);
	assert_non_null(strstr(err.text, "CPUs 4095"));
	far = VBMQ_CPUSET_EMPTY;
	assert_int_equal(vbmq_process_set_affinity(tid, task.start, &far, &err), -EINVAL);
	assert_int_equal(vbmq_process_set_affinity(0, 0, &cpus, &err), -EINVAL);
	child_end(&c);
	assert_int_equal(vbmq_process_set_affinity(tid, task.start, &cpus, &err), -ESRCH);
	assert_int_equal(vbmq_process_set_affinity(tid, 0, &cpus, &err), -ESRCH);
}

static void *nothing(void *arg)
{
	return arg;
}

static void *churn(void *arg)
{
	volatile bool *stop = arg;

	while (!*stop) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, nothing, NULL) == 0)
			pthread_join(thread, NULL);
	}
	return NULL;
}

/* Threads come and go while they are read: never an error, the main thread is always among them. */
static void test_churn(void **state)
{
	volatile bool stop = false;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, churn, (void *)(uintptr_t)&stop), 0);
	for (int i = 0; i < 300; i++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		struct vbmq_task *tasks;
		size_t n, k = 0;

		if (vbmq_process_tasks(NULL, (uint32_t)getpid(), &tasks, &n, &err) < 0)
			fail_msg("%s", err.text);
		while (k < n &&
		       tasks[k].tid != (uint32_t)getpid()) /* numbers begin anew some day: not always the first */
			k++;
		assert_true(k < n);
		free(tasks);
	}
	stop = true;
	pthread_join(thread, NULL);
}

#define STAT_TAIL " S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2\n"

static void test_recorded(void **state)
{
	struct tree *t = tree_from_text(
		"/proc/7/task/9/stat = 9 (IO iothread1)" STAT_TAIL
		"/proc/7/task/9/status = Name:\tx\\nCpus_allowed_list:\t8\n"
		"/proc/7/task/10/stat = 10 (a)" STAT_TAIL "/proc/7/task/10/status = Name:\tx\\nCpus_allowed_list:\n"
		"/proc/7/task/notanumber/stat = x\n/proc/7/task/12/\n"
		"/proc/8/task/8/stat = 8 (cut) S 1\n/proc/8/task/8/status = x\\nCpus_allowed_list:\t8\n"
		"/proc/9/task/9/stat = 9 (x)" STAT_TAIL "/proc/9/task/9/status = x\\nCpus_allowed_list:\t5-3\n"
		"/proc/10/task/10/stat = 10 (x)" STAT_TAIL "/proc/10/task/10/status = x\n/proc/11/task/\n"
		"/proc/12/task/12/stat = 12 (x) Z 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2\n"
		"/proc/12/task/12/status = x\\nCpus_allowed_list:\t0\n");
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_task *tasks, task;
	uint64_t start;
	size_t n;

	assert_int_equal(vbmq_process_start(t->root, 7, 9, &start, &err), 0);
	assert_int_equal(start, 98765);
	assert_int_equal(vbmq_process_start(t->root, 8, 8, &start, &err), -EBADMSG);
	assert_int_equal(vbmq_process_task(t->root, 8, 8, &task, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "/proc/8/task/8/stat"));
	assert_int_equal(vbmq_process_task(t->root, 9, 9, &task, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/proc/9/task/9/status"));
	assert_int_equal(vbmq_process_task(t->root, 10, 10, &task, &err), -EBADMSG);
	assert_int_equal(vbmq_process_tasks(t->root, 11, &tasks, &n, &err), -ESRCH);
	assert_int_equal(vbmq_process_task(t->root, 7, 12, &task, &err), -ESRCH);
	/* ended, and nobody has waited for it */
	assert_int_equal(vbmq_process_task(t->root, 12, 12, &task, &err), -ESRCH);
	assert_int_equal(vbmq_process_start(t->root, 12, 12, &start, &err), -ESRCH);
	assert_int_equal(vbmq_process_tasks(t->root, 12, &tasks, &n, &err), -ESRCH);
	assert_int_equal(vbmq_process_task(t->root, 7, 9, &task, &err), 0);
	assert_int_equal(task.start, 98765);
	assert_string_equal(task.name, "IO iothread1");
	tree_free(t);
}

/* CPUs that could be plugged in some day are no affinity (as sched_getaffinity sees it). */
static void test_online(void **state)
{
	struct tree *t = tree_from_text(
		"/sys/devices/system/cpu/online = 0-7\n"
		"/proc/7/task/7/stat = 7 (x)" STAT_TAIL "/proc/7/task/7/status = x\\nCpus_allowed_list:\t0-127\n"
		"/proc/7/task/8/stat = 8 (x)" STAT_TAIL "/proc/7/task/8/status = x\\nCpus_allowed_list:\t9\n");
	struct vbmq_cpuset want = VBMQ_CPUSET_EMPTY;
	struct vbmq_task *tasks;
	size_t n;

	assert_int_equal(vbmq_process_tasks(t->root, 7, &tasks, &n, NULL), 0);
	assert_int_equal(n, 2);
	vbmq_cpuset_add_range(&want, 0, 7);
	assert_true(vbmq_cpuset_equal(&tasks[0].affinity, &want));
	want = vbmq_cpuset_of(9);
	assert_true(vbmq_cpuset_equal(&tasks[1].affinity, &want));
	free(tasks);
	tree_free(t);
}

#define LOAD_TAIL \
	" S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 5 18 19\n"

/* The account of the calling thread grows while it works; hand-made trees for the rest. */
static void test_load(void **state)
{
	struct tree *t =
		tree_from_text("/proc/7/task/7/stat = 7 (x) y)" LOAD_TAIL "/proc/7/task/7/schedstat = 123456 78 9\n"
			       "/proc/7/task/8/stat = 8 (x)" LOAD_TAIL "/proc/7/task/9/stat = 9 (x)" LOAD_TAIL
			       "/proc/7/task/9/schedstat = 123456\n/proc/7/task/10/stat = 10 (x)" STAT_TAIL
			       "/proc/7/task/10/schedstat = 1 2 3\n");
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_load load, later;
	uint32_t pid = (uint32_t)getpid();
	volatile unsigned work = 0;

	assert_int_equal(vbmq_process_load(t->root, 7, 7, &load, &err), 0);
	assert_int_equal(load.run_ns, 123456);
	assert_int_equal(load.wait_ns, 78);
	assert_int_equal(load.cpu, 5);
	assert_int_equal(vbmq_process_load(t->root, 7, 8, &load, &err), -ENOTSUP);
	assert_int_equal(vbmq_process_load(t->root, 7, 9, &load, &err), -EBADMSG);
	assert_int_equal(vbmq_process_load(t->root, 7, 10, &load, &err), -EBADMSG); /* no such field */
	assert_int_equal(vbmq_process_load(t->root, 7, 11, &load, &err), -ESRCH);
	assert_int_equal(vbmq_process_load(t->root, 9, 9, &load, &err), -ESRCH);
	tree_free(t);

	assert_int_equal(vbmq_process_load(NULL, pid, pid, &load, &err), 0);
	later = load;
	for (unsigned i = 0; i < 10000 && later.run_ns == load.run_ns; i++) {
		while (++work % 1000000)
			;
		assert_int_equal(vbmq_process_load(NULL, pid, pid, &later, &err), 0);
	}
	assert_true(later.run_ns > load.run_ns);
	assert_true(later.cpu < VBMQ_CPUS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tasks),	 cmocka_unit_test(test_set_affinity), cmocka_unit_test(test_churn),
		cmocka_unit_test(test_recorded), cmocka_unit_test(test_online),	      cmocka_unit_test(test_load),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
