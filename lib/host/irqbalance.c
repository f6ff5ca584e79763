/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * irqbalance takes one command a connection, sent with the credentials of root: "setup" is answered with
 * "SLEEP <seconds> [IRQ <number> ...] BANNED <mask>", where each IRQ is one it leaves alone; "settings cpus <list>" is taken
 * without an answer, and "settings cpus NULL" has it find its own list again. It reads 500 bytes of a command and cannot bear an
 * empty list. "settings ban irqs <numbers>" replaces, at once, the whole of what it leaves alone ("NONE": nothing).
 *
 * Whose the ban list is. By itself irqbalance bans isolated and nohz_full CPUs. IRQBALANCE_BANNED_CPULIST or _CPUS in its
 * environment (the operator, TuneD's irqbalance plug-in) replace that, and whatever else it bans was set by another program
 * through the same socket. What we set replaces all of it, so only the first of the three is ours to replace; telling our
 * own list from another program's is the undo record's affair.
 *
 * A new list takes effect, and is told by "setup", at the next scan only (ten seconds by default), and 1.9.2 answers nobody
 * while it sleeps in a scan. So what was set or answered last is kept for that very process, and holds: what was set for
 * as long as two scans take, what was answered until it answers again. Who wants to know whether it has taken what was set waits
 * for it to say so (vbmq_irqbalance_wait()); what it says after these two scans is believed, whatever was set.
 */
#include "host/irqbalance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "host/process.h"
#include "host/sysroot.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define DIRECTORY "/run/irqbalance"
#define COMMAND_MAX 500u
#define REPLY_MAX 65536u
#define MASK_MAX 500u /* it cuts longer ones off, at the end of the lowest CPUs */
#define ENVIRON_MAX (1024u * 1024u)
#define SCAN_MS 10000u /* as long as it has not told */
#define SCANS_TO_WAIT 2u
#define SLACK_MS 2000u
#define WAIT_STEP_MS 250u
#define SPARED_MAX 128u /* more than fit into a command */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	uint32_t pid;
	uint64_t start;
	uint64_t scan_ms;
	bool answered;
	struct vbmq_cpuset bans; /* its last answer */
	uint64_t set_until; /* CLOCK_MONOTONIC, ms: set counts although it does not say so yet; 0: nothing was set */
	bool handed_back;
	struct vbmq_cpuset set;
	uint32_t spared[SPARED_MAX]; /* interrupts it leaves alone */
	unsigned n_spared;
	bool too_many; /* it leaves more alone than these */
} last;

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* --- the socket ------------------------------------------------------------------------------------------------------- */

/* By way of /proc/self/fd a root directory may have any length. */
static int connect_to(const char *sysroot, const char *name, unsigned patience_ms, int *ret)
{
	struct timeval patience = { .tv_sec = patience_ms / 1000 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_(closep) int dir = vbmq_sysroot_open(sysroot, DIRECTORY, O_PATH | O_DIRECTORY);
	_cleanup_(closep) int fd = -1;
	int n;

	if (dir < 0)
		return dir;
	n = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir, name);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	*ret = fd;
	fd = -1;
	return 0;
}

static int send_command(int fd, const char *command)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)command, .iov_len = strlen(command) };
	struct ucred credentials = { .pid = getpid(), .uid = geteuid(), .gid = getegid() };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(sizeof(credentials));
	memcpy(CMSG_DATA(c), &credentials, sizeof(credentials));
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return 0;
}

/* Its answer up to where it closes. */
static int receive(int fd, char **ret)
{
	_cleanup_free_ char *text = malloc(REPLY_MAX);
	size_t len = 0;
	ssize_t n;

	if (!text)
		return -ENOMEM;
	do {
		n = recv(fd, text + len, REPLY_MAX - 1 - len, 0);
		if (n > 0)
			len += (size_t)n;
	} while (n > 0 && len < REPLY_MAX - 1);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	text[len] = '\0';
	*ret = VBMQ_STEAL(text);
	return 0;
}

/* "00000001,00000300", highest first. */
static int parse_mask(const char *mask, size_t len, struct vbmq_cpuset *ret)
{
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	unsigned cpu = 0;

	if (len == 0 || len >= MASK_MAX)
		return -EBADMSG;
	for (size_t i = len; i-- > 0;) {
		static const char digits[] = "0123456789abcdef";
		const char *d;

		if (mask[i] == ',')
			continue;
		d = memchr(digits, mask[i], sizeof(digits) - 1);
		if (!d)
			return -EBADMSG;
		for (unsigned bit = 0; bit < 4; bit++)
			if ((unsigned)(d - digits) >> bit & 1u)
				vbmq_cpuset_add(&cpus, cpu + bit);
		cpu += 4;
	}
	*ret = cpus;
	return 0;
}

struct answer {
	struct vbmq_cpuset bans;
	uint64_t scan_ms;
	uint32_t spared[SPARED_MAX];
	unsigned n_spared;
	bool too_many;
};

static void parse_spared(const char *text, struct answer *ret)
{
	for (const char *at = strstr(text, "IRQ "); at; at = strstr(at + 4, "IRQ ")) {
		size_t digits = strspn(at + 4, "0123456789");
		char number[12];
		uint32_t irq;

		if (digits == 0 || digits >= sizeof(number))
			continue;
		memcpy(number, at + 4, digits);
		number[digits] = '\0';
		if (vbmq_parse_u32(number, 0, INT32_MAX, &irq) < 0)
			continue;
		if (ret->n_spared == SPARED_MAX)
			ret->too_many = true;
		else
			ret->spared[ret->n_spared++] = irq;
	}
}

static int ask(const char *sysroot, const char *name, struct answer *ret)
{
	_cleanup_(closep) int fd = -1;
	_cleanup_free_ char *text = NULL;
	char *banned, *number;
	uint32_t seconds;
	int r = connect_to(sysroot, name, VBMQ_IRQBALANCE_PATIENCE_MS, &fd);

	if (r == 0)
		r = send_command(fd, "setup");
	if (r == 0)
		r = receive(fd, &text);
	if (r < 0)
		return r;
	banned = strstr(text, "BANNED ");
	if (strncmp(text, "SLEEP ", 6) != 0 || !banned)
		return -EBADMSG;
	memset(ret, 0, sizeof(*ret));
	parse_spared(text, ret);
	number = text + 6;
	banned += 7;
	number[strcspn(number, " ")] = '\0';
	if (vbmq_parse_u32(number, 1, 86400, &seconds) < 0)
		return -EBADMSG;
	ret->scan_ms = (uint64_t)seconds * 1000u;
	return parse_mask(banned, strcspn(banned, " \n"), &ret->bans);
}

/* --- which one -------------------------------------------------------------------------------------------------------- */

/* The name of the socket of a process that runs. *ret_pid 0: there is none. */
static int find(const char *sysroot, char ret_name[64], uint32_t *ret_pid, uint64_t *ret_start)
{
	char **names;
	size_t n;
	int r = vbmq_sysroot_list(sysroot, DIRECTORY, &names, &n);

	*ret_pid = 0;
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	for (size_t i = 0; i < n && !*ret_pid; i++) {
		const char *number = strncmp(names[i], "irqbalance", 10) == 0 ? names[i] + 10 : "";
		size_t digits = strspn(number, "0123456789");
		char text[16];
		uint32_t pid;

		if (digits == 0 || digits >= sizeof(text) || strcmp(number + digits, ".sock") != 0)
			continue;
		memcpy(text, number, digits);
		text[digits] = '\0';
		if (vbmq_parse_u32(text, 1, INT32_MAX, &pid) < 0 ||
		    vbmq_process_start(sysroot, pid, pid, ret_start, NULL) < 0)
			continue;
		*ret_pid = pid;
		snprintf(ret_name, 64, "%s", names[i]);
	}
	vbmq_sysroot_names_free(names, n);
	return 0;
}

/* Whether its environment says what it must ban. */
static bool was_told(const char *sysroot, uint32_t pid)
{
	static const char *const keys[] = { "IRQBALANCE_BANNED_CPULIST=", "IRQBALANCE_BANNED_CPUS=" };
	_cleanup_free_ char *text = NULL;
	char path[64];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%u/environ", pid);
	if (vbmq_sysroot_read(sysroot, path, ENVIRON_MAX, &text, &len) < 0)
		return false;
	for (const char *at = text; at < text + len; at += strlen(at) + 1)
		for (size_t k = 0; k < VBMQ_ELEMENTSOF(keys); k++)
			if (strncmp(at, keys[k], strlen(keys[k])) == 0 && at[strlen(keys[k])])
				return true;
	return false;
}

static struct vbmq_cpuset own_list(const char *sysroot)
{
	static const char *const files[] = { "/sys/devices/system/cpu/isolated", "/sys/devices/system/cpu/nohz_full" };
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY;

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(files); i++) {
		_cleanup_free_ char *line = NULL;
		struct vbmq_cpuset cpus;

		if (vbmq_sysroot_line(sysroot, files[i], &line) == 0 && *line &&
		    vbmq_cpulist_parse(line, strlen(line), 0, &cpus, NULL) == 0)
			all = vbmq_cpuset_or(&all, &cpus);
	}
	return all;
}

/* --- reading and setting ---------------------------------------------------------------------------------------------- */

/* With the lock held: forgets what is known of another process. */
static void turn_to(uint32_t pid, uint64_t start)
{
	if (last.pid == pid && last.start == start)
		return;
	memset(&last, 0, sizeof(last));
	last.pid = pid;
	last.start = start;
	last.scan_ms = SCAN_MS;
}

static void learn(const struct answer *a)
{
	last.answered = true;
	last.bans = a->bans;
	last.scan_ms = a->scan_ms;
	memcpy(last.spared, a->spared, sizeof(last.spared));
	last.n_spared = a->n_spared;
	last.too_many = a->too_many;
}

void vbmq_irqbalance_read(const char *sysroot, struct vbmq_part *ret)
{
	struct vbmq_part p = { .state = VBMQ_PART_ABSENT };
	struct vbmq_cpuset own = own_list(sysroot);
	struct answer answer;
	char name[64];
	bool theirs;
	int r;

	if (find(sysroot, name, &p.pid, &p.start) < 0 || !p.pid) {
		*ret = p;
		return;
	}
	r = ask(sysroot, name, &answer);
	pthread_mutex_lock(&lock);
	turn_to(p.pid, p.start);
	if (r == 0)
		learn(&answer);
	p.state = last.answered || last.set_until ? VBMQ_PART_OK : VBMQ_PART_SILENT;
	p.cpus = last.bans;
	if (last.set_until && (now_ms() < last.set_until || !last.answered)) {
		p.cpus = last.handed_back ? own : last.set;
		p.pending = !last.answered || !vbmq_cpuset_equal(&p.cpus, &last.bans);
	}
	/* as far as is known here: vbmq_undo_overlay() knows better where the list is ours of an earlier life */
	theirs = !vbmq_cpuset_equal(&p.cpus, &own) && (!last.set_until || last.handed_back);
	pthread_mutex_unlock(&lock);
	if (p.state == VBMQ_PART_OK && (theirs || was_told(sysroot, p.pid)))
		p.state = VBMQ_PART_FOREIGN;
	*ret = p;
}

int vbmq_irqbalance_ban(const char *sysroot, const struct vbmq_cpuset *cpus, struct vbmq_err *err)
{
	_cleanup_free_ char *list = vbmq_cpulist_format(cpus);
	_cleanup_(closep) int fd = -1;
	char command[COMMAND_MAX], name[64];
	uint64_t start;
	uint32_t pid;
	int n, r;

	if (!list)
		return vbmq_err_oom(err);
	n = snprintf(command, sizeof(command), "settings cpus %s", *list ? list : "NULL");
	if (n < 0 || (size_t)n >= sizeof(command))
		return vbmq_err_set(err, -E2BIG, "irqbalance takes lists of %u characters, CPUs %.40s... are more",
				    COMMAND_MAX, list);
	r = find(sysroot, name, &pid, &start);
	if (r < 0)
		return vbmq_err_oom(err);
	if (!pid)
		return vbmq_err_set(err, -ENOENT, "irqbalance does not run (any more)");
	r = connect_to(sysroot, name, VBMQ_IRQBALANCE_TELL_PATIENCE_MS, &fd);
	if (r == 0)
		r = send_command(fd, command);
	if (r < 0)
		return vbmq_err_set(err, r, "irqbalance (process %u): %s", pid, strerror(-r));
	pthread_mutex_lock(&lock);
	turn_to(pid, start);
	last.set = *cpus;
	last.handed_back = !*list;
	last.set_until = now_ms() + SCANS_TO_WAIT * last.scan_ms + SLACK_MS;
	pthread_mutex_unlock(&lock);
	return 0;
}

/* With the lock held: what was set has not been said, and there is time left for that. */
static bool is_awaited(const struct vbmq_cpuset *own)
{
	return last.set_until && now_ms() < last.set_until &&
	       !(last.answered && vbmq_cpuset_equal(&last.bans, last.handed_back ? own : &last.set));
}

void vbmq_irqbalance_wait(const char *sysroot, uint64_t ms)
{
	uint64_t end = now_ms() + ms;
	struct vbmq_cpuset own = own_list(sysroot);
	struct answer answer;
	char name[64];
	uint64_t start;
	uint32_t pid;
	bool awaited;

	for (;;) {
		if (find(sysroot, name, &pid, &start) < 0 || !pid)
			return;
		pthread_mutex_lock(&lock);
		turn_to(pid, start);
		awaited = is_awaited(&own);
		pthread_mutex_unlock(&lock);
		if (!awaited || now_ms() >= end)
			return;
		if (ask(sysroot, name, &answer) == 0) {
			pthread_mutex_lock(&lock);
			learn(&answer);
			awaited = is_awaited(&own);
			pthread_mutex_unlock(&lock);
		}
		if (awaited && now_ms() < end)
			poll(NULL, 0, WAIT_STEP_MS);
	}
}

/* --- single interrupts ------------------------------------------------------------------------------------------------ */

bool vbmq_irqbalance_spares(uint32_t irq)
{
	bool is = false;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < last.n_spared; i++)
		is |= last.spared[i] == irq;
	pthread_mutex_unlock(&lock);
	return is;
}

/* What it is to leave alone then. False: it does already. */
static bool change(struct answer *a, uint32_t irq, bool spare)
{
	for (unsigned i = 0; i < a->n_spared; i++)
		if (a->spared[i] == irq && !spare) {
			a->spared[i] = a->spared[--a->n_spared];
			return true;
		} else if (a->spared[i] == irq) {
			return false;
		}
	if (!spare)
		return false;
	if (a->n_spared == SPARED_MAX)
		a->too_many = true;
	else
		a->spared[a->n_spared++] = irq;
	return true;
}

static int tell_spared(const char *sysroot, const char *name, const struct answer *a)
{
	_cleanup_(closep) int fd = -1;
	char command[COMMAND_MAX] = "settings ban irqs";
	size_t len = strlen(command);
	int n, r;

	if (a->too_many)
		return -E2BIG;
	for (unsigned i = 0; i < a->n_spared; i++) {
		n = snprintf(command + len, sizeof(command) - len, " %u", a->spared[i]);
		if (n < 0 || len + (size_t)n >= sizeof(command))
			return -E2BIG;
		len += (size_t)n;
	}
	if (a->n_spared == 0)
		strcpy(command + len, " NONE");
	r = connect_to(sysroot, name, VBMQ_IRQBALANCE_TELL_PATIENCE_MS, &fd);
	return r < 0 ? r : send_command(fd, command);
}

int vbmq_irqbalance_spare(const char *sysroot, uint32_t irq, bool spare, struct vbmq_err *err)
{
	struct answer a;
	char name[64];
	uint64_t start;
	uint32_t pid;
	int r;

	if (find(sysroot, name, &pid, &start) < 0)
		return vbmq_err_oom(err);
	if (!pid)
		return 0;
	r = ask(sysroot, name, &a);
	if (r == 0 && change(&a, irq, spare))
		r = tell_spared(sysroot, name, &a);
	if (r < 0)
		return vbmq_err_set(err, r, "irqbalance (process %u) cannot be told about interrupt %u: %s", pid, irq,
				    strerror(-r));
	pthread_mutex_lock(&lock);
	turn_to(pid, start);
	learn(&a);
	pthread_mutex_unlock(&lock);
	return 0;
}
