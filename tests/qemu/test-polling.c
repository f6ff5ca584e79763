/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an I/O thread does while there is nothing to do, and how soon it notices that there is: poll-mode=dedicated, and
 * what the patches before it mend in polling for long. Every case is a test of its own (TAP) with a QEMU of its own
 * and prints its figures as comments.
 *
 * A thread that polls does not need kicks, so kicks are what tells whether it did. It may sleep after 100 ms without a
 * request, which on a busy machine can happen to the load: kicks after such a sleep are left out, but no more of them
 * than there were tenths of a second, so that a thread that sleeps all the time is not excused.
 *
 * Times are compared with those of adaptive polling in the same QEMU. What takes seconds is a hang in the making:
 * without the patches, requests and the monitor wait until polling ends.
 */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "qtdrive.h"
#include "util/cleanup.h"

#define SECOND 1000000000ull
#define TOO_LONG_NS SECOND /* for what takes milliseconds */
#define LONG_POLL_NS (3 * SECOND) /* more than that */
#define SAMPLES 25
#define DISK (64 << 20)

static const char *arg_mode = "dedicated";

struct rig {
	struct qt_vm *vm;
	struct qt_disk *disk;
	struct qt_load *load;
	pid_t tid;

	/* given */
	bool event_idx;
	const char *aio; /* of a file, in memory; NULL: null-co */
	int fd;
};

static void nap(uint64_t ns)
{
	nanosleep(&(struct timespec){ .tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND) }, NULL);
}

static int set_mode(struct rig *g, const char *mode, struct vbmq_err *err)
{
	return qt_qmp(g->vm, NULL, err, "qom-set", "{s:s, s:s, s:s}", "path", "/objects/io0", "property", "poll-mode",
		      "value", mode);
}

static int set_poll(struct rig *g, const char *property, uint64_t value, struct vbmq_err *err)
{
	return qt_qmp(g->vm, NULL, err, "qom-set", "{s:s, s:s, s:I}", "path", "/objects/io0", "property", property,
		      "value", (json_int_t)value);
}

/* Polling that gives up after seconds only, and never gets shorter: not new, but a bad idea without the patches. */
static int set_long_polling(struct rig *g, struct vbmq_err *err)
{
	int r = set_poll(g, "poll-max-ns", LONG_POLL_NS, err);

	if (r >= 0)
		r = set_poll(g, "poll-grow", 1000000000, err);
	return r < 0 ? r : set_poll(g, "poll-shrink", 1, err);
}

static int rig_new(struct rig *g, struct vbmq_err *err)
{
	int r = qt_vm_new(&(struct qt_vm_conf){ 0 }, &g->vm, err);
	char path[64];

	if (r >= 0)
		r = qt_iothread_add(g->vm, "io0", err);
	if (r >= 0)
		r = qt_iothread_tid(g->vm, "io0", &g->tid, err);
	if (r < 0)
		return r;
	if (!g->aio)
		return qt_qmp(g->vm, NULL, err, "blockdev-add", "{s:s, s:s, s:I}", "driver", "null-co", "node-name",
			      "n0", "size", (json_int_t)DISK);
	g->fd = memfd_create("disk", MFD_CLOEXEC);
	if (g->fd < 0 || ftruncate(g->fd, DISK))
		return vbmq_err_set(err, -errno, "memfd: %s", strerror(errno));
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), g->fd);
	return qt_qmp(g->vm, NULL, err, "blockdev-add", "{s:s, s:s, s:s, s:s}", "driver", "file", "node-name", "n0",
		      "filename", path, "aio", g->aio);
}

static int rig_disk(struct rig *g, struct vbmq_err *err)
{
	json_t *props = json_pack("{s:s}", "iothread", "io0");
	struct qt_disk_conf conf = { .drive = "n0", .queues = 1, .event_idx = g->event_idx, .props = props };
	int r = qt_disk_new(g->vm, &conf, &g->disk, err);

	if (g->disk)
		g->disk->conf.props = NULL;
	json_decref(props);
	return r;
}

static void rig_free(struct rig *g)
{
	g->load = qt_load_free(g->load);
	g->disk = qt_disk_free(g->disk);
	g->vm = qt_vm_free(g->vm);
	if (g->aio && g->fd >= 0)
		close(g->fd);
}

/* A disk that is under load, with dedicated polling unless asked for another mode; spin: the load takes a CPU, too. */
static int rig_loaded(struct rig *g, unsigned depth, uint64_t gap_ns, bool spin, struct vbmq_err *err)
{
	struct qt_load_conf conf = { .depth = { depth }, .gap_ns = gap_ns, .spin = spin, .cpu = -1, .seed = 1 };
	int r = rig_new(g, err);

	if (r >= 0)
		r = set_mode(g, arg_mode, err);
	if (r >= 0)
		r = rig_disk(g, err);
	if (r >= 0)
		r = qt_load_new(g->disk, &conf, &g->load, err);
	return r < 0 ? r : qt_load_await(g->load, 100, err);
}

/* --- what is measured --------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_size);
	return v[n / 2];
}

/* A member of the thread's IOThreadInfo. */
static int thread_counter(struct rig *g, const char *member, uint64_t *ret, struct vbmq_err *err)
{
	json_t *list = NULL, *value;
	int r = qt_qmp(g->vm, &list, err, "query-iothreads", NULL);

	if (r < 0)
		return r;
	value = json_object_get(json_array_get(list, 0), member);
	if (json_is_integer(value))
		*ret = (uint64_t)json_integer_value(value);
	else
		r = vbmq_err_set(err, -EPROTO, "query-iothreads: no %s", member);
	json_decref(list);
	return r;
}

/* Of one CPU, in percent, from one second from now on, for a second. */
static int cpu_share(struct rig *g, unsigned *ret, struct vbmq_err *err)
{
	uint64_t begin, from, to;
	int r;

	nap(SECOND);
	r = qt_thread_cpu_ns(g->vm, g->tid, &from, err);
	begin = qt_now();
	nap(SECOND);
	if (r >= 0)
		r = qt_thread_cpu_ns(g->vm, g->tid, &to, err);
	if (r >= 0)
		*ret = (unsigned)((to - from) * 100 / (qt_now() - begin));
	return r;
}

static int requests(struct rig *g, unsigned n, uint64_t gap_ns, struct vbmq_err *err)
{
	uint64_t ns;
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < n; i++) {
		nap(gap_ns);
		r = qt_request(g->disk, &ns, err);
	}
	return r;
}

/* A command that may be refused; what counts is when. */
static int command(struct rig *g, const char *name, uint64_t *ret_ns, struct vbmq_err *err)
{
	uint64_t begin = qt_now();
	int r;

	if (!strcmp(name, "device_add"))
		r = qt_qmp(g->vm, NULL, err, name, "{s:s, s:s, s:s}", "driver", "virtio-blk-pci", "id", "bad", "drive",
			   "there-is-none");
	else if (!strcmp(name, "block_resize"))
		r = qt_qmp(g->vm, NULL, err, name, "{s:s, s:I}", "node-name", "n0", "size", (json_int_t)DISK);
	else
		r = qt_qmp(g->vm, NULL, err, name, NULL);
	*ret_ns = qt_now() - begin;
	if (r == -EREMOTEIO) {
		*err = VBMQ_ERR_INIT;
		r = 0;
	}
	return r;
}

static int too_long(const char *what, uint64_t ns, struct vbmq_err *err)
{
	if (ns < TOO_LONG_NS)
		return 0;
	return vbmq_err_set(err, -ETIME, "%s took %llu ms", what, (unsigned long long)(ns / 1000000));
}

/* --- dedicated polling -------------------------------------------------------------------------------------------- */

static int count_kicks(const struct rig *given, unsigned depth, uint64_t gap_ns, unsigned n, struct vbmq_err *err)
{
	struct qt_load_stats stats;
	uint64_t before, sleeps, tenths, begin;
	struct rig g = *given;
	int r = rig_loaded(&g, depth, gap_ns, true, err);

	if (r >= 0)
		r = thread_counter(&g, "poll-misses", &before, err);
	if (r >= 0) {
		qt_load_hold(g.load);
		qt_load_reset(g.load);
		qt_load_go(g.load);
		begin = qt_now();
		r = qt_load_await(g.load, n, err);
	}
	if (r >= 0) {
		qt_load_hold(g.load);
		tenths = (qt_now() - begin) / (SECOND / 10);
		qt_load_stats(g.load, 0, &stats);
		r = thread_counter(&g, "poll-misses", &sleeps, err);
	}
	if (r >= 0) {
		sleeps -= before;
		printf("# %s%s, depth %2u, gap %4llu us: %llu requests, %llu kicks (%.5f a request), slept %llu times, "
		       "%.0f requests/s, p50 %.1f us, p99 %.1f us\n",
		       g.aio ? g.aio : "null-co", g.event_idx ? " with event index" : "", depth,
		       (unsigned long long)(gap_ns / 1000), (unsigned long long)stats.completed,
		       (unsigned long long)stats.kicks, (double)stats.kicks / (double)stats.completed,
		       (unsigned long long)sleeps, (double)stats.completed * 1e9 / (double)(qt_now() - begin),
		       (double)qt_latency(&stats, 500) / 1e3, (double)qt_latency(&stats, 990) / 1e3);
		if (sleeps > tenths)
			sleeps = tenths;
		if (!strcmp(arg_mode, "dedicated") && stats.kicks > stats.completed / 1000 + sleeps)
			r = vbmq_err_set(err, -EPROTO, "depth %u, gap %llu ns: %llu kicks", depth,
					 (unsigned long long)gap_ns, (unsigned long long)stats.kicks);
	}
	rig_free(&g);
	return r;
}

static int test_kicks(struct vbmq_err *err)
{
	static const struct {
		uint64_t gap_ns;
		unsigned n[2];
	} loads[] = {
		{ 0, { 20000, 100000 } },
		{ 20000, { 20000, 50000 } },
		{ 500000, { 3000, 20000 } },
		{ 5000000, { 1100, 8000 } },
	};
	static const struct rig others[] = {
		{ .event_idx = true },
		{ .aio = "threads" },
		{ .aio = "io_uring", .event_idx = true },
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < VBMQ_ELEMENTSOF(loads); i++)
		for (unsigned deep = 0; r >= 0 && deep < 2; deep++)
			r = count_kicks(&(struct rig){ 0 }, deep ? 32 : 1, loads[i].gap_ns, loads[i].n[deep], err);
	for (size_t i = 0; r >= 0 && i < VBMQ_ELEMENTSOF(others); i++)
		r = count_kicks(&others[i], 4, 500000, 5000, err);
	return r;
}

static int sleeps(struct rig *g, const char *when, struct vbmq_err *err)
{
	unsigned share;
	int r = cpu_share(g, &share, err);

	if (r < 0)
		return r;
	printf("# %s: %u %% of a CPU, a second later\n", when, share);
	return share > 5 ? vbmq_err_set(err, -EPROTO, "%s: the thread takes %u %% of a CPU", when, share) : 0;
}

static int test_sleep(struct vbmq_err *err)
{
	struct rig g = { 0 };
	int r = rig_loaded(&g, 8, 0, false, err);

	/* Paused with requests waiting, which must not keep the thread awake */
	if (r >= 0)
		r = qt_qmp(g.vm, NULL, err, "stop", NULL);
	if (r >= 0)
		r = sleeps(&g, "paused", err);
	if (r >= 0)
		r = qt_qmp(g.vm, NULL, err, "cont", NULL);
	if (r >= 0)
		r = qt_disk_renew(g.disk, err);
	if (r >= 0)
		r = qt_load_await(g.load, 1000, err);
	if (r >= 0)
		r = qt_load_drain(g.load, err);
	if (r >= 0)
		r = sleeps(&g, "idle", err);
	if (r >= 0) {
		qt_load_go(g.load);
		r = qt_load_await(g.load, 1000, err);
	}
	rig_free(&g);
	return r;
}

/* Beside adaptive polling, by turns, while a request every 5 ms keeps dedicated polling going. */
static int compare_command(struct rig *g, const char *name, struct vbmq_err *err)
{
	static const char *const modes[] = { "adaptive", "dedicated" };
	uint64_t ns[2][SAMPLES], most[2] = { 0 }, mid[2];
	int r = 0;

	for (unsigned i = 0; i < 2 * SAMPLES; i++) {
		r = set_mode(g, modes[i % 2], err);
		if (r >= 0)
			r = qt_load_await(g->load, 2, err);
		if (r >= 0)
			r = command(g, name, &ns[i % 2][i / 2], err);
		if (r < 0)
			return r;
		if (ns[i % 2][i / 2] > most[i % 2])
			most[i % 2] = ns[i % 2][i / 2];
	}
	for (unsigned m = 0; m < 2; m++) {
		mid[m] = median(ns[m], SAMPLES);
		printf("# %-12s %-9s: median %8.1f us, longest %8.1f us\n", name, modes[m], (double)mid[m] / 1e3,
		       (double)most[m] / 1e3);
	}
	if (mid[1] > 2 * mid[0] + SECOND / 50)
		return vbmq_err_set(err, -ETIME, "%s is slower with dedicated polling", name);
	return 0;
}

static int test_monitor(struct vbmq_err *err)
{
	static const char *const names[] = { "query-status", "block_resize", "device_add" };
	struct rig g = { 0 };
	int r = rig_loaded(&g, 1, 5000000, false, err);

	for (size_t i = 0; r >= 0 && i < VBMQ_ELEMENTSOF(names); i++)
		r = compare_command(&g, names[i], err);
	rig_free(&g);
	return r;
}

/* --- first requests ----------------------------------------------------------------------------------------------- */

static int after_drains(struct rig *g, const char *mode, struct vbmq_err *err)
{
	uint64_t ns[SAMPLES], drain, most = 0;
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < SAMPLES; i++) {
		r = requests(g, 5, 1000000, err);
		if (r >= 0)
			r = command(g, "block_resize", &drain, err);
		if (r >= 0)
			r = qt_request(g->disk, &ns[i], err);
		if (r >= 0)
			r = too_long("the first request after a drain", ns[i], err);
		if (r >= 0 && ns[i] > most)
			most = ns[i];
	}
	if (r >= 0)
		printf("# %s, first request after a drain: median %.1f us, longest %.1f us\n", mode,
		       (double)median(ns, SAMPLES) / 1e3, (double)most / 1e3);
	return r;
}

static int test_first_request(struct vbmq_err *err)
{
	static const char *const modes[] = { "adaptive", "dedicated" };
	uint64_t ns;
	int r = 0;

	for (unsigned m = 0; r >= 0 && m < 2; m++) {
		struct rig g = { 0 };

		r = rig_new(&g, err);
		if (r >= 0)
			r = set_mode(&g, modes[m], err);
		if (r >= 0)
			r = rig_disk(&g, err);
		if (r >= 0)
			r = qt_request(g.disk, &ns, err);
		if (r >= 0) {
			printf("# %s, first request to a new disk: %.1f us\n", modes[m], (double)ns / 1e3);
			r = too_long("the first request to a disk", ns, err);
		}
		if (r >= 0)
			r = after_drains(&g, modes[m], err);
		rig_free(&g);
	}
	return r;
}

/* --- adaptive polling for seconds --------------------------------------------------------------------------------- */

static int test_long_first_request(struct vbmq_err *err)
{
	struct rig g = { 0 };
	uint64_t ns;
	int r = rig_new(&g, err);

	if (r >= 0)
		r = set_long_polling(&g, err);
	if (r >= 0)
		r = rig_disk(&g, err);
	for (unsigned i = 0; r >= 0 && i < 10; i++) {
		r = qt_request(g.disk, &ns, err);
		if (r >= 0)
			r = too_long(i ? "a request" : "the first request to a disk", ns, err);
	}
	if (r >= 0)
		r = after_drains(&g, "polling for seconds", err);
	rig_free(&g);
	return r;
}

static int test_long_monitor(struct vbmq_err *err)
{
	uint64_t ns, most = 0;
	struct rig g = { 0 };
	int r = rig_new(&g, err);

	if (r >= 0)
		r = rig_disk(&g, err);
	if (r >= 0)
		r = set_long_polling(&g, err);
	for (unsigned i = 0; r >= 0 && i < 5; i++) {
		/* Each polls in vain, until it polls for seconds */
		r = requests(&g, 5, 1000000, err);
		if (r >= 0)
			r = command(&g, "device_add", &ns, err);
		if (r >= 0)
			r = too_long("an error of device_add", ns, err);
		if (r >= 0 && ns > most)
			most = ns;
	}
	if (r >= 0)
		printf("# polling for seconds, device_add with an error: longest %.1f us\n", (double)most / 1e3);
	rig_free(&g);
	return r;
}

/* --- program ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	int (*run)(struct vbmq_err *err);
	bool any; /* makes sense with any QEMU */
} cases[] = {
	{ "long-first-request", test_long_first_request, true },
	{ "long-monitor", test_long_monitor, true },
	{ "kicks", test_kicks, false },
	{ "sleep", test_sleep, false },
	{ "monitor", test_monitor, false },
	{ "first-request", test_first_request, false },
};

/* 1: poll-mode is there; 0: not; negative with err, -ENOENT: there is no QEMU to be tested. */
static int has_poll_mode(struct vbmq_err *err)
{
	json_t *list = NULL, *p;
	struct qt_vm *vm = NULL;
	int found = 0, r;
	size_t i;

	r = qt_probe("query-iothreads", err);
	if (r > 0)
		r = qt_vm_new(&(struct qt_vm_conf){ 0 }, &vm, err);
	if (r >= 0)
		r = qt_qmp(vm, &list, err, "qom-list-properties", "{s:s}", "typename", "iothread");
	json_array_foreach(list, i, p)
	{
		const char *name = json_string_value(json_object_get(p, "name"));

		found |= name && !strcmp(name, "poll-mode");
	}
	json_decref(list);
	qt_vm_free(vm);
	return r < 0 ? r : found;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "case", required_argument, NULL, 'c' },
						 { "any", no_argument, NULL, 'a' },
						 { "mode", required_argument, NULL, 'm' },
						 { NULL, 0, NULL, 0 } };
	struct vbmq_err err = VBMQ_ERR_INIT;
	const char *only = NULL;
	bool any = false;
	unsigned n = 0, failed = 0;
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?') {
			fprintf(stderr, "test-polling [--case NAME] [--any: also with a QEMU without poll-mode] "
					"[--mode adaptive: to see the kicks there]\n");
			return 2;
		}
		only = c == 'c' ? optarg : only;
		any |= c == 'a';
		arg_mode = c == 'm' ? optarg : arg_mode;
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	r = has_poll_mode(&err);
	if (r == -ENOENT || (r == 0 && !any)) {
		printf("1..0 # SKIP %s\n", r ? err.text : "not the patched QEMU (VBMQ_QEMU names one): no poll-mode");
		return 0;
	}
	if (r < 0) {
		printf("Bail out! %s: %s\n", qt_emulator(), err.text);
		return 1;
	}
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		if ((only && strcmp(only, cases[i].name)) || (!r && !cases[i].any))
			continue;
		err = VBMQ_ERR_INIT;
		if (cases[i].run(&err) < 0) {
			printf("# %s: %s\nnot ok %u - %s\n", cases[i].name, err.text, ++n, cases[i].name);
			failed++;
		} else {
			printf("ok %u - %s\n", ++n, cases[i].name);
		}
	}
	printf("1..%u\n", n);
	return failed != 0;
}
