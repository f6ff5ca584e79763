/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a command without output and prints what it took: {"ns", "peak_kib", "status"}. In C, as the peak that the kernel
 * reports counts from the fork on: a large parent's would be seen, not the command's.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	struct rusage usage;
	uint64_t begin;
	int status, fd;
	pid_t pid;

	if (argc < 2) {
		fputs("usage: runclock COMMAND [ARGUMENT...]\n", stderr);
		return 2;
	}
	begin = now();
	pid = fork();
	if (pid == 0) {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd >= 0 && dup2(fd, 0) >= 0 && dup2(fd, 1) >= 0)
			execvp(argv[1], argv + 1);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0) {
		fprintf(stderr, "runclock: %s\n", strerror(errno));
		return 1;
	}
	printf("{\"ns\":%" PRIu64 ",\"peak_kib\":%ld,\"status\":%d}\n", now() - begin, usage.ru_maxrss,
	       WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return 0;
}
