/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is pinned inside a unit, and what is given back: cgroups and /proc are a tree, the threads in it are real (children of
 * this test), for what is set is set on this machine.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus/pins.h"
#include "host/process.h"
#include "lib/tree.h"
#include "util/cleanup.h"
#include "util/err.h"

#define N 5u

#define TREE                                                                    \
	"/sys/fs/cgroup/system.slice/cpuset.cpus = 0-1023\n"                    \
	"/sys/fs/cgroup/system.slice/cpuset.cpus.effective = 0-3\n"             \
	"/sys/fs/cgroup/system.slice/cgroup.procs = 1\n"                        \
	"/sys/fs/cgroup/system.slice/small.service/cpuset.cpus.effective = 0\n" \
	"/sys/devices/system/cpu/online = 0-3\n"

struct world {
	struct tree *t;
	pid_t pids[N];
	cpu_set_t was;
};

static void put(const struct world *w, const char *text, const char *format, ...)
{
	_cleanup_free_ char *path = NULL;
	va_list ap;

	va_start(ap, format);
	assert_true(vasprintf(&path, format, ap) > 0);
	va_end(ap);
	tree_put(w->t, path, text);
}

/* What /proc says of a child; its start is the real one. */
static void put_thread(const struct world *w, unsigned i, const char *cpus)
{
	char text[512];
	uint64_t start;
	int pid = w->pids[i];

	assert_int_equal(vbmq_process_start(NULL, (uint32_t)pid, (uint32_t)pid, &start, NULL), 0);
	snprintf(text, sizeof(text), "Name:\tchild\nState:\tS (sleeping)\nCpus_allowed_list:\t%s\n", cpus);
	put(w, text, "/proc/%d/task/%d/status", pid, pid);
	snprintf(text, sizeof(text), "%d (child) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %llu 0 0\n", pid,
		 (unsigned long long)start);
	put(w, text, "/proc/%d/task/%d/stat", pid, pid);
	put(w, "child\n", "/proc/%d/task/%d/comm", pid, pid);
}

static void put_threads(const struct world *w, const char *cgroup, unsigned first, unsigned n)
{
	char text[256] = "";

	for (unsigned i = first; i < first + n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d\n", w->pids[i]);
	put(w, text, "/sys/fs/cgroup/system.slice%s/cgroup.threads", cgroup);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->t = tree_from_text(TREE);
	assert_int_equal(sched_getaffinity(0, sizeof(w->was), &w->was), 0);
	for (unsigned i = 0; i < N; i++) {
		w->pids[i] = fork();
		assert_true(w->pids[i] >= 0);
		if (w->pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
	put(w, "6.1.0-50-cloud-amd64\n", "/proc/sys/kernel/osrelease");
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < N; i++)
		if (w->pids[i]) {
			kill(w->pids[i], SIGKILL);
			waitpid(w->pids[i], NULL, 0);
		}
	tree_free(w->t);
	free(w);
	return 0;
}

static void assert_affinity(const struct world *w, unsigned i, const cpu_set_t *want)
{
	cpu_set_t is;

	assert_int_equal(sched_getaffinity(w->pids[i], sizeof(is), &is), 0);
	assert_true(CPU_EQUAL(&is, want));
}

static struct vbmq_cpuset cpus_of(const char *list)
{
	struct vbmq_cpuset cpus;

	assert_int_equal(vbmq_cpulist_parse(list, strlen(list), 0, &cpus, NULL), 0);
	return cpus;
}

/* 0 pinned to CPU 0; 1 free; 2 pinned to 2-3; 3 free in a service that has CPU 0 only; 4 beyond its cgroup (moved just now) */
static void put_all(const struct world *w)
{
	put_threads(w, "", 0, 1);
	put_threads(w, "/deep/er.service", 1, 2);
	put_threads(w, "/small.service", 3, 2);
	put_thread(w, 0, "0");
	put_thread(w, 1, "0-3");
	put_thread(w, 2, "2-3");
	put_thread(w, 3, "0");
	put_thread(w, 4, "0-1");
}

static void test_who_is_pinned(void **state)
{
	struct world *w = *state;
	struct vbmq_bus_pins pins;

	put_all(w);
	assert_int_equal(vbmq_bus_pins_take(w->t->root, "system.slice", &pins, NULL), 0);
	assert_int_equal(pins.n, 2);
	assert_int_equal(pins.items[0].tid, w->pids[0]);
	assert_int_equal(pins.items[1].tid, w->pids[2]);
	assert_true(vbmq_cpuset_equal(&pins.items[1].cpus, &(struct vbmq_cpuset[]){ cpus_of("2-3") }[0]));
	vbmq_bus_pins_done(&pins);
	vbmq_bus_pins_done(&pins);
}

static void test_given_back_what_is_left(void **state)
{
	struct world *w = *state;
	struct vbmq_cpuset limit = cpus_of("0-1");
	struct vbmq_bus_pins pins;
	cpu_set_t first;

	put_all(w);
	assert_int_equal(vbmq_bus_pins_take(w->t->root, "system.slice", &pins, NULL), 0);
	put_thread(w, 0, "0-1"); /* as Linux 6.1 leaves them */
	put_thread(w, 1, "0-1");
	put_thread(w, 2, "0-1");
	vbmq_bus_pins_give_back(w->t->root, &pins, &limit);
	vbmq_bus_pins_done(&pins);
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	assert_affinity(w, 0, &first);
	for (unsigned i = 1; i < N; i++) /* of 2's pin nothing is left */
		assert_affinity(w, i, &w->was);
}

static void test_only_whom_it_was_taken_from(void **state)
{
	struct world *w = *state;
	struct vbmq_bus_pins pins;
	cpu_set_t first;

	put_all(w);
	assert_int_equal(vbmq_bus_pins_take(w->t->root, "system.slice", &pins, NULL), 0);
	vbmq_bus_pins_give_back(w->t->root, &pins, &VBMQ_CPUSET_EMPTY); /* all as it was: nothing is set */
	assert_affinity(w, 0, &w->was);
	put_thread(w, 0, "0-3");
	pins.items[0].start++; /* somebody else has its number now */
	vbmq_bus_pins_give_back(w->t->root, &pins, &VBMQ_CPUSET_EMPTY);
	assert_affinity(w, 0, &w->was);
	pins.items[0].start--;
	kill(w->pids[2], SIGKILL);
	waitpid(w->pids[2], NULL, 0);
	w->pids[2] = 0; /* the tree still shows it */
	vbmq_bus_pins_give_back(w->t->root, &pins, &(struct vbmq_cpuset[]){ cpus_of("0,2") }[0]);
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	assert_affinity(w, 0, &first);
	vbmq_bus_pins_done(&pins);
}

/* The limit ends, and Linux gives a thread the pin it once had, not all there is. */
static void test_remembered_by_an_older_kernel(void **state)
{
	struct world *w = *state;
	struct vbmq_bus_pins pins;

	put_all(w);
	put(w, "0-1\n", "/sys/fs/cgroup/system.slice/cpuset.cpus.effective");
	assert_int_equal(vbmq_bus_pins_take(w->t->root, "system.slice", &pins, NULL), 0);
	assert_int_equal(pins.n, 1);
	put_thread(w, 0, "0,2");
	vbmq_bus_pins_give_back(w->t->root, &pins, &VBMQ_CPUSET_EMPTY);
	assert_affinity(w, 0, &w->was);
	vbmq_bus_pins_done(&pins);
}

static void test_later_kernels_remember(void **state)
{
	static const char *const releases[] = { "6.2.0\n", "6.12.38+deb13-amd64\n", "7.0\n" };
	struct world *w = *state;
	struct vbmq_bus_pins pins;

	put_all(w);
	for (size_t i = 0; i < sizeof(releases) / sizeof(*releases); i++) {
		put(w, releases[i], "/proc/sys/kernel/osrelease");
		assert_int_equal(vbmq_bus_pins_take(w->t->root, "system.slice", &pins, NULL), 0);
		assert_int_equal(pins.n, 0);
	}
	put(w, "5.14.0-503.el9.x86_64\n", "/proc/sys/kernel/osrelease");
	assert_int_equal(vbmq_bus_pins_take(w->t->root, "system.slice", &pins, NULL), 0);
	assert_int_equal(pins.n, 2);
	vbmq_bus_pins_done(&pins);
}

static void test_no_such_unit(void **state)
{
	struct world *w = *state;
	struct vbmq_bus_pins pins;

	assert_int_equal(vbmq_bus_pins_take(w->t->root, "user.slice", &pins, NULL), 0);
	assert_int_equal(pins.n, 0);
	vbmq_bus_pins_give_back(w->t->root, &pins, &VBMQ_CPUSET_EMPTY);
	vbmq_bus_pins_done(&pins);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_who_is_pinned),
		TEST(test_given_back_what_is_left),
		TEST(test_only_whom_it_was_taken_from),
		TEST(test_remembered_by_an_older_kernel),
		TEST(test_later_kernels_remember),
		TEST(test_no_such_unit),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("bus-pins", tests, NULL, NULL);
}
