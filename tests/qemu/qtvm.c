/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A QEMU process under qtest.
 *
 * It inherits four descriptors: two ends of socket pairs (qtest and QMP), the memfd that is its RAM, and one for stderr.
 * So there is nothing in the file system but an empty firmware image, and nothing to clean up after a kill; a fresh memfd
 * a run also means that no ring of an earlier run is taken for one of this. PR_SET_PDEATHSIG ends QEMU with its owner.
 *
 * Debian's QEMU is built without the qtest accelerator. The qtest protocol needs none, so there TCG stands in: the firmware
 * is one halt instruction, and the vCPU sleeps on it.
 */

#include "qtvm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/cleanup.h"

#define QT_ARGS_MAX 128
#define QT_TICK 8 /* weight of a tick that counts fully */

uint64_t qt_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

const char *qt_emulator(void)
{
	const char *e = getenv("VBMQ_QEMU");

	return e && *e ? e : "qemu-system-x86_64";
}

pid_t qt_vm_pid(const struct qt_vm *vm)
{
	return vm->pid;
}

void *qt_ram(const struct qt_vm *vm, uint64_t addr)
{
	return vm->ram + addr;
}

bool qt_vm_alive(struct qt_vm *vm)
{
	siginfo_t info = { .si_pid = 0 };

	return vm->pid && waitid(P_PID, (id_t)vm->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && !info.si_pid;
}

void qt_vm_stderr(struct qt_vm *vm, char *buf, size_t size)
{
	struct stat st;
	ssize_t n = 0;

	if (!fstat(vm->stderr_fd, &st)) {
		off_t from = st.st_size > (off_t)size - 1 ? st.st_size - ((off_t)size - 1) : 0;

		n = pread(vm->stderr_fd, buf, size - 1, from);
	}
	buf[n > 0 ? n : 0] = 0;
}

int qt_vm_getfd(struct qt_vm *vm, int number)
{
	int fd = (int)syscall(SYS_pidfd_getfd, vm->pidfd, number, 0);

	return fd < 0 ? -errno : fd;
}

int qt_write_all(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t done = send(fd, data, n, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		data += done;
		n -= (size_t)done;
	}
	return 0;
}

static int ended(struct qt_vm *vm, const char *what, struct vbmq_err *err)
{
	siginfo_t info = { .si_pid = 0 };
	char text[512], how[64] = "closed its connection";

	/* The sockets are closed some moments before it is dead. */
	for (unsigned i = 0; i < 50 && vm->pid && !info.si_pid; i++) {
		if (waitid(P_PID, (id_t)vm->pid, &info, WEXITED | WNOHANG | WNOWAIT))
			break;
		if (!info.si_pid)
			poll(NULL, 0, 100);
	}
	if (info.si_pid && info.si_code == CLD_EXITED)
		snprintf(how, sizeof(how), "ended with status %d", info.si_status);
	else if (info.si_pid)
		snprintf(how, sizeof(how), "was ended by signal %d", info.si_status);
	qt_vm_stderr(vm, text, sizeof(text));
	return vbmq_err_set(err, -EPIPE, "QEMU %s while %s was awaited; its last words: %s", how, what, text);
}

ssize_t qt_read_some(struct qt_vm *vm, int fd, char *buf, size_t size, const char *what, struct vbmq_err *err)
{
	struct qt_patience patience = { .vm = vm };

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int r = poll(&p, 1, 100);
		ssize_t n;

		if (r < 0 && errno != EINTR)
			return vbmq_err_set(err, -errno, "poll: %s", strerror(errno));
		if (r > 0) {
			n = read(fd, buf, size);
			return n > 0 ? n : ended(vm, what, err);
		}
		r = qt_patience(&patience, what, err);
		if (r < 0)
			return r;
	}
}

/* --- qtest protocol ----------------------------------------------------------------------------------------------- */

static int qtest_line(struct qt_vm *vm, char *line, size_t size, struct vbmq_err *err)
{
	for (;;) {
		char *nl = memchr(vm->qtest_in, '\n', vm->n_qtest_in);
		ssize_t n;

		if (nl) {
			size_t len = (size_t)(nl - vm->qtest_in);

			snprintf(line, size, "%.*s", (int)len, vm->qtest_in);
			vm->n_qtest_in -= len + 1;
			memmove(vm->qtest_in, nl + 1, vm->n_qtest_in);
			return 0;
		}
		if (vm->n_qtest_in == sizeof(vm->qtest_in))
			return vbmq_err_set(err, -EPROTO, "qtest: a line without end");
		n = qt_read_some(vm, vm->qtest_fd, vm->qtest_in + vm->n_qtest_in, sizeof(vm->qtest_in) - vm->n_qtest_in,
				 "an answer on the qtest socket", err);
		if (n < 0)
			return (int)n;
		vm->n_qtest_in += (size_t)n;
	}
}

static int qtest(struct qt_vm *vm, const char *command, uint64_t *ret, struct vbmq_err *err)
{
	char line[200];
	int r = qt_write_all(vm->qtest_fd, command, strlen(command));

	if (r < 0)
		return vbmq_err_set(err, r, "qtest: writing: %s", strerror(-r));
	do {
		r = qtest_line(vm, line, sizeof(line), err);
		if (r < 0)
			return r;
	} while (!strncmp(line, "IRQ ", 4));
	if (strncmp(line, "OK", 2))
		return vbmq_err_set(err, -EPROTO, "qtest: %.40s: answer \"%s\"", command, line);
	if (ret)
		*ret = strtoull(line + 2, NULL, 0);
	return 0;
}

static char size_letter(unsigned size)
{
	return size == 1 ? 'b' : size == 2 ? 'w' : 'l';
}

int qt_out(struct qt_vm *vm, uint16_t port, unsigned size, uint32_t value, struct vbmq_err *err)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "out%c 0x%x 0x%x\n", size_letter(size), port, value);
	return qtest(vm, cmd, NULL, err);
}

int qt_in(struct qt_vm *vm, uint16_t port, unsigned size, uint32_t *ret, struct vbmq_err *err)
{
	uint64_t value;
	char cmd[64];
	int r;

	snprintf(cmd, sizeof(cmd), "in%c 0x%x\n", size_letter(size), port);
	r = qtest(vm, cmd, &value, err);
	if (r < 0)
		return r;
	*ret = (uint32_t)value;
	return 0;
}

/* --- patience ----------------------------------------------------------------------------------------------------- */

/* How long runnable threads of QEMU waited for a CPU, in all. */
static uint64_t cpu_waits(pid_t pid)
{
	char path[64];
	struct dirent *e;
	uint64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((e = readdir(dir))) {
		unsigned long long wait;
		char name[400];
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "/proc/%d/task/%s/schedstat", pid, e->d_name);
		f = fopen(name, "re");
		if (!f)
			continue;
		if (fscanf(f, "%*s %llu", &wait) == 1)
			sum += wait;
		fclose(f);
	}
	closedir(dir);
	return sum;
}

int qt_patience(struct qt_patience *p, const char *what, struct vbmq_err *err)
{
	uint64_t now = qt_now(), wait;

	if (!qt_vm_alive(p->vm))
		return ended(p->vm, what, err);
	if (p->last_ns && now - p->last_ns < 100000000)
		return 0;
	wait = cpu_waits(p->vm->pid);
	/* Runnable threads that wait for a CPU: the machine is busy, QEMU is not stuck. But even that has an end. */
	if (p->last_ns)
		p->weight += wait - p->wait_ns < (now - p->last_ns) / 2 ? QT_TICK : 1;
	p->last_ns = now;
	p->wait_ns = wait;
	if (p->weight >= QT_PATIENCE_TICKS * QT_TICK)
		return vbmq_err_set(err, -ETIMEDOUT, "QEMU hangs: %s did not come, though its threads could run", what);
	return 0;
}

/* --- process ------------------------------------------------------------------------------------------------------ */

static _Noreturn void child(const char *emulator, char **argv, const int keep[3], int err_fd, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	for (int i = 0; i < 3; i++)
		fcntl(keep[i], F_SETFD, 0);
	dup2(err_fd, 1);
	dup2(err_fd, 2);
	execvp(emulator, argv);
	dprintf(2, "%s: %s\n", emulator, strerror(errno));
	_exit(127);
}

static int make_firmware(struct qt_vm *vm, char *path, size_t size, struct vbmq_err *err)
{
	static const uint8_t halt[] = { 0xfa, 0xf4, 0xeb, 0xfd }; /* at the reset vector: cli; hlt; jmp to the hlt */
	const char *tmp = getenv("TMPDIR");
	int fd, r = -EIO;

	snprintf(vm->dir, sizeof(vm->dir), "%s/qt.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	if (!mkdtemp(vm->dir)) {
		r = -errno;
		vm->dir[0] = 0;
		return vbmq_err_set(err, r, "a temporary directory: %s", strerror(-r));
	}
	snprintf(path, size, "%s/bios", vm->dir);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd >= 0 && !ftruncate(fd, 65536) && pwrite(fd, halt, sizeof(halt), 65520) == (ssize_t)sizeof(halt))
		r = 0;
	if (r < 0)
		r = vbmq_err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return r;
}

static int spawn(struct qt_vm *vm, const struct qt_vm_conf *conf, struct vbmq_err *err)
{
	char ram[200], machine[] = "pc,memory-backend=ram", qt[64], qmp[64], mem[32], bios[80];
	int keep[3] = { -1, -1, vm->ram_fd }, qt_pair[2], qmp_pair[2], r;
	const char *emulator = conf->emulator ? conf->emulator : qt_emulator();
	char *argv[QT_ARGS_MAX];
	pid_t parent = getpid();
	size_t n = 0;

	r = make_firmware(vm, bios, sizeof(bios), err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qt_pair))
		return vbmq_err_set(err, -errno, "socketpair: %s", strerror(errno));
	vm->qtest_fd = qt_pair[0];
	keep[0] = qt_pair[1];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp_pair)) {
		close(qt_pair[1]);
		return vbmq_err_set(err, -errno, "socketpair: %s", strerror(errno));
	}
	vm->qmp_fd = qmp_pair[0];
	keep[1] = qmp_pair[1];

	snprintf(ram, sizeof(ram), "memory-backend-file,id=ram,share=on,size=%zu,mem-path=/proc/self/fd/%d",
		 vm->ram_size, vm->ram_fd);
	snprintf(mem, sizeof(mem), "%zuM", vm->ram_size >> 20);
	snprintf(qt, sizeof(qt), "socket,id=qtest,fd=%d", keep[0]);
	snprintf(qmp, sizeof(qmp), "socket,id=qmp,fd=%d", keep[1]);
	/* clang-format off */
	const char *const fixed[] = {
		emulator, "-name", "qtdrive,debug-threads=on",
		"-accel", "qtest", "-accel", "tcg", "-machine", machine,
		"-m", mem, "-object", ram, "-bios", bios,
		"-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", qt, "-qtest", "chardev:qtest", "-qtest-log", "none",
		"-chardev", qmp, "-mon", "chardev=qmp,mode=control",
	};
	/* clang-format on */

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(fixed); i++)
		argv[n++] = (char *)(uintptr_t)fixed[i];
	for (const char *const *a = conf->args; a && *a && n < QT_ARGS_MAX - 1; a++)
		argv[n++] = (char *)(uintptr_t)*a;
	argv[n] = NULL;
	vm->pid = fork();
	if (vm->pid == 0)
		child(emulator, argv, keep, vm->stderr_fd, parent);
	r = vm->pid < 0 ? -errno : 0;
	close(keep[0]);
	close(keep[1]);
	if (r < 0) {
		vm->pid = 0;
		return vbmq_err_set(err, r, "fork: %s", strerror(-r));
	}
	vm->pidfd = (int)syscall(SYS_pidfd_open, vm->pid, 0);
	if (vm->pidfd < 0)
		return vbmq_err_set(err, -errno, "pidfd_open: %s", strerror(errno));
	return 0;
}

int qt_vm_new(const struct qt_vm_conf *conf, struct qt_vm **ret, struct vbmq_err *err)
{
	struct qt_vm *vm = calloc(1, sizeof(*vm));
	void *map;
	int r;

	if (!vm)
		return vbmq_err_oom(err);
	vm->pidfd = vm->qtest_fd = vm->qmp_fd = -1;
	vm->ram_size = (size_t)(conf->ram_mib ? conf->ram_mib : 64) << 20;
	vm->events = json_array();
	vm->ram_fd = memfd_create("guest-ram", MFD_CLOEXEC);
	vm->stderr_fd = memfd_create("qemu-stderr", MFD_CLOEXEC);
	if (!vm->events || vm->ram_fd < 0 || vm->stderr_fd < 0 || ftruncate(vm->ram_fd, (off_t)vm->ram_size)) {
		r = vbmq_err_set(err, -ENOMEM, "no memory for a guest of %zu MiB", vm->ram_size >> 20);
		goto fail;
	}
	fcntl(vm->stderr_fd, F_SETFL, O_APPEND);
	map = mmap(NULL, vm->ram_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->ram_fd, 0);
	if (map == MAP_FAILED) {
		r = vbmq_err_set(err, -errno, "mmap: %s", strerror(errno));
		goto fail;
	}
	vm->ram = map;
	r = spawn(vm, conf, err);
	if (r >= 0)
		r = qt_qmp_hello(vm, err);
	if (r < 0)
		goto fail;
	*ret = vm;
	return 0;
fail:
	qt_vm_free(vm);
	return r;
}

struct qt_vm *qt_vm_free(struct qt_vm *vm)
{
	char path[80];
	int fds[6];

	if (!vm)
		return NULL;
	if (vm->pid > 0) {
		kill(vm->pid, SIGKILL);
		while (waitpid(vm->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (vm->dir[0]) {
		snprintf(path, sizeof(path), "%s/bios", vm->dir);
		unlink(path);
		rmdir(vm->dir);
	}
	if (vm->ram)
		munmap(vm->ram, vm->ram_size);
	memcpy(fds, (int[6]){ vm->pidfd, vm->qtest_fd, vm->qmp_fd, vm->ram_fd, vm->stderr_fd, -1 }, sizeof(fds));
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	json_decref(vm->events);
	free(vm->in);
	free(vm);
	return NULL;
}

int qt_thread_cpu_ns(const struct qt_vm *vm, pid_t tid, uint64_t *ret, struct vbmq_err *err)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", qt_vm_pid(vm), tid);
	f = fopen(path, "re");
	n = f ? fscanf(f, "%llu", &ns) : 0;
	if (f)
		fclose(f);
	if (n != 1)
		return vbmq_err_set(err, -EIO, "%s: no figures", path);
	*ret = ns;
	return 0;
}
