/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * hwloc crashes on XML that is well-formed but contradictory (an object without a CPU set, a distance matrix of objects that
 * are not there): fuzzing finds one such file in seconds, and no check of ours could know all that its code takes for granted.
 * So a child loads the file first and runs hwloc's own consistency check over the result; only what the child has survived
 * is loaded by the caller, who would otherwise die of a bad file without a word. A file that makes hwloc spin is ended by the
 * CPU time limit.
 *
 * The verdict is a byte in a pipe and not the exit status: that works with whatever the caller does about SIGCHLD.
 */
#include "host/topology_trial.h"

#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/err.h"
#include "util/cleanup.h"

#define CPU_SECONDS 60 /* 4,096 CPUs take about one */

/* Dying is expected here: no handler of the caller, no core dump, no last words. */
static void die_quietly(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGXCPU };
	const struct rlimit no_core = { 0, 0 }, cpu = { CPU_SECONDS, CPU_SECONDS };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(signals); i++)
		signal(signals[i], SIG_DFL);
	setrlimit(RLIMIT_CORE, &no_core);
	setrlimit(RLIMIT_CPU, &cpu);
	if (null >= 0) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
}

_Noreturn static void child(const char *xml, size_t len, int verdict)
{
	hwloc_topology_t t;

	die_quietly();
	if (hwloc_topology_init(&t) < 0 || hwloc_topology_set_flags(t, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) < 0 ||
	    hwloc_topology_set_xmlbuffer(t, xml, (int)len + 1) < 0 || hwloc_topology_load(t) < 0)
		_exit(1);
	hwloc_topology_check(t);
	_exit(write(verdict, "+", 1) == 1 ? 0 : 1);
}

int vbmq_topology_trial(const char *xml, size_t len, struct vbmq_err *err)
{
	int fds[2];
	ssize_t n;
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return vbmq_err_set(err, -errno, "no pipe can be made");
	pid = fork();
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return vbmq_err_set(err, -EAGAIN, "no child process can be made");
	}
	if (pid == 0)
		child(xml, len, fds[1]);
	close(fds[1]);
	do {
		n = read(fds[0], &byte, 1);
	} while (n < 0 && errno == EINTR);
	close(fds[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (n == 1)
		return 0;
	return vbmq_err_set(err, -EINVAL,
			    "hwloc cannot read this as a topology; was it written by 'lstopo' of version 2 or "
			    "later, and not edited?");
}
