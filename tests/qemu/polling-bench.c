/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Dedicated polling beside a stock QEMU as it is installed (adaptive polling, default parameters): kicks and latency under loads
 * with gaps, the CPU time of threads that have nothing to do, how soon the monitor answers and drains end, and first
 * requests. A benchmark: it prints figures and judges nothing; test-polling has the limits.
 *
 * Both emulators are alive and take turns; the one whose turn it is not sleeps. The I/O threads have CPU 1 and all else, the
 * load thread included, has CPU 0, as on a host where VBMq has given the I/O thread a core. On a busy machine a thread that sleeps, as
 * adaptive polling makes it, waits for a CPU, which flatters dedicated polling; kicks do not depend on that.
 *
 * Backend only: null-co, no exits, no guest. A kick costs nothing here but the wake-up.
 */

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qtrig.h"
#include "util/cleanup.h"

#define MS 1000000ull
#define ASLEEP_NS (150 * MS) /* after this long without requests dedicated polling has stopped */
#define TURNS 4
#define SAMPLES 30
#define STARTS 8

static const char *const variants[] = { "stock", "dedicated" };
static const char *arg_emulator[2], *arg_part;

static int stay_on_cpu(unsigned cpu, struct vbmq_err *err)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return vbmq_err_set(err, -errno, "staying on CPU %u: %s", cpu, strerror(errno));
	return 0;
}

static int make(struct qt_rig *g, unsigned v, unsigned depth, uint64_t gap_ns, bool spin, struct vbmq_err *err)
{
	struct qt_rig_conf conf = { .emulator = arg_emulator[v],
				    .poll_mode = v ? "dedicated" : NULL,
				    .poll_max_ns = -1,
				    .queues = 1,
				    .depth = depth,
				    .gap_ns = gap_ns,
				    .spin = spin,
				    .io_cpu = 1,
				    .load_cpu = 0 };
	int r = qt_rig_new(g, &conf, err);

	return r < 0 ? vbmq_err_prefix(err, "%s: ", variants[v]) : 0;
}

static void turn_over(struct qt_rig *g)
{
	if (g->load)
		qt_load_hold(g->load);
	qt_nap(ASLEEP_NS);
}

/* --- kicks and latency -------------------------------------------------------------------------------------------- */

static int kicks_turn(struct qt_rig *g, uint64_t length, struct qt_load_stats *sum, double *seconds,
		      struct vbmq_err *err)
{
	struct qt_load_stats s;
	uint64_t begin;
	int r;

	qt_load_go(g->load);
	r = qt_load_await(g->load, 3, err); /* the first wakes it up */
	if (r < 0)
		return r;
	qt_load_hold(g->load);
	qt_load_reset(g->load);
	begin = qt_now();
	qt_load_go(g->load);
	qt_nap(length);
	qt_load_hold(g->load);
	*seconds += (double)(qt_now() - begin) / 1e9;
	qt_load_stats(g->load, 0, &s);
	sum->completed += s.completed;
	sum->kicks += s.kicks;
	for (unsigned i = 0; i < QT_HISTOGRAM; i++)
		sum->latency[i] += s.latency[i];
	turn_over(g);
	return qt_load_failed(g->load, err);
}

static int kicks_cell(unsigned depth, uint64_t gap_ns, uint64_t length, struct vbmq_err *err)
{
	struct qt_load_stats sum[2] = { 0 };
	struct qt_rig g[2] = { 0 };
	double seconds[2] = { 0 };
	int r = 0;

	for (unsigned v = 0; r >= 0 && v < 2; v++)
		r = make(&g[v], v, depth, gap_ns, true, err);
	for (unsigned turn = 0; r >= 0 && turn < 2 * TURNS; turn++) {
		unsigned v = (turn + turn / 2) % 2;

		r = kicks_turn(&g[v], length, &sum[v], &seconds[v], err);
	}
	for (unsigned v = 0; r >= 0 && v < 2; v++)
		printf("| %5u | %7.0f us | %-9s | %8llu | %7llu | %9.5f | %8.0f | %7.1f | %8.1f |\n", depth,
		       (double)gap_ns / 1e3, variants[v], (unsigned long long)sum[v].completed,
		       (unsigned long long)sum[v].kicks, (double)sum[v].kicks / (double)sum[v].completed,
		       (double)sum[v].completed / seconds[v], (double)qt_latency(&sum[v], 500) / 1e3,
		       (double)qt_latency(&sum[v], 990) / 1e3);
	fflush(stdout);
	qt_rig_free(&g[0]);
	qt_rig_free(&g[1]);
	return r;
}

static int kicks(struct vbmq_err *err)
{
	static const struct {
		uint64_t gap_ns, length[2];
	} loads[] = {
		{ 0, { 300 * MS, 300 * MS } },
		{ 20000, { 300 * MS, 300 * MS } },
		{ 500000, { 700 * MS, 300 * MS } },
		{ 5000000, { 1700 * MS, 400 * MS } },
	};
	int r = 0;

	printf("\n| depth | gap        | variant   | requests | kicks   | a request | a second | p50, us | p99, us  "
	       "|\n");
	printf("|---:|---:|---|---:|---:|---:|---:|---:|---:|\n");
	for (size_t i = 0; r >= 0 && i < VBMQ_ELEMENTSOF(loads); i++)
		for (unsigned deep = 0; r >= 0 && deep < 2; deep++)
			r = kicks_cell(deep ? 32 : 1, loads[i].gap_ns, loads[i].length[deep], err);
	return r;
}

/* --- nothing to do ------------------------------------------------------------------------------------------------ */

static int share(struct qt_rig *g, const char *variant, const char *when, struct vbmq_err *err)
{
	uint64_t from, to, begin;
	int r;

	qt_nap(1000 * MS);
	begin = qt_now();
	r = qt_thread_cpu_ns(g->vm, g->io_tid, &from, err);
	qt_nap(1000 * MS);
	if (r >= 0)
		r = qt_thread_cpu_ns(g->vm, g->io_tid, &to, err);
	if (r >= 0)
		printf("| %-9s | %-34s | %6.3f %% |\n", variant, when,
		       100 * (double)(to - from) / (double)(qt_now() - begin));
	fflush(stdout);
	return r;
}

static int idle(struct vbmq_err *err)
{
	int r = 0;

	printf("\n| variant   | I/O thread, a second later         | of a CPU |\n|---|---|---:|\n");
	for (unsigned v = 0; r >= 0 && v < 2; v++) {
		struct qt_rig g = { 0 };

		r = make(&g, v, 8, 0, false, err);
		if (r >= 0)
			r = share(&g, variants[v], "idle", err);
		if (r >= 0) {
			qt_load_go(g.load);
			r = qt_qmp(g.vm, NULL, err, "stop", NULL);
		}
		if (r >= 0)
			r = share(&g, variants[v], "paused with requests in the ring", err);
		qt_rig_free(&g);
	}
	return r;
}

/* --- the monitor -------------------------------------------------------------------------------------------------- */

/* A command that may be refused; what counts is when. */
static int command(struct qt_rig *g, const char *name, uint64_t *ret_ns, struct vbmq_err *err)
{
	struct vbmq_err refused = VBMQ_ERR_INIT;
	uint64_t begin = qt_now();
	int r;

	if (!strcmp(name, "device_add"))
		r = qt_qmp(g->vm, NULL, &refused, name, "{s:s, s:s, s:s}", "driver", "virtio-blk-pci", "id", "bad",
			   "drive", "there-is-none");
	else if (!strcmp(name, "block_resize"))
		r = qt_qmp(g->vm, NULL, &refused, name, "{s:s, s:I}", "node-name", "n0", "size", (json_int_t)64 << 20);
	else
		r = qt_qmp(g->vm, NULL, &refused, name, NULL);
	*ret_ns = qt_now() - begin;
	if (r < 0 && r != -EREMOTEIO) {
		*err = refused;
		return r;
	}
	return 0;
}

static void times(const char *what, unsigned v, uint64_t *ns, unsigned n)
{
	printf("| %-34s | %-9s | %4u | %9.1f | %9.1f | %9.1f |\n", what, variants[v], n,
	       (double)qt_permille(ns, n, 500) / 1e3, (double)qt_permille(ns, n, 900) / 1e3,
	       (double)qt_permille(ns, n, 1000) / 1e3);
	fflush(stdout);
}

static int commands_under(const char *load, unsigned depth, uint64_t gap_ns, struct vbmq_err *err)
{
	static const char *const names[] = { "query-status", "block_resize", "device_add" };
	struct qt_rig g[2] = { 0 };
	int r = 0;

	for (unsigned v = 0; r >= 0 && v < 2; v++)
		r = make(&g[v], v, depth, gap_ns, false, err);
	for (size_t c = 0; r >= 0 && c < VBMQ_ELEMENTSOF(names); c++) {
		uint64_t ns[2][SAMPLES];
		char what[64];

		for (unsigned i = 0; r >= 0 && i < 2 * SAMPLES; i++) {
			unsigned v = (i + i / 2) % 2;

			qt_load_go(g[v].load);
			r = qt_load_await(g[v].load, 4, err);
			if (r >= 0)
				r = command(&g[v], names[c], &ns[v][i / 2], err);
			turn_over(&g[v]);
		}
		snprintf(what, sizeof(what), "%s, %s", names[c], load);
		for (unsigned v = 0; r >= 0 && v < 2; v++)
			times(what, v, ns[v], SAMPLES);
	}
	qt_rig_free(&g[0]);
	qt_rig_free(&g[1]);
	return r;
}

static int monitor(struct vbmq_err *err)
{
	int r;

	printf("\n| us                                 | variant   |    n |    median |       p90 |   longest |\n");
	printf("|---|---|---:|---:|---:|---:|\n");
	r = commands_under("a request in 5 ms", 1, 5 * MS, err);
	return r < 0 ? r : commands_under("20,000 a second", 8, 400000, err);
}

/* --- first requests ----------------------------------------------------------------------------------------------- */

static int after_drain(struct qt_rig *g, uint64_t *ret_ns, struct vbmq_err *err)
{
	uint64_t ns;
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < 5; i++) {
		qt_nap(1 * MS);
		r = qt_request(g->disk, &ns, err);
	}
	if (r >= 0)
		r = command(g, "block_resize", &ns, err);
	return r < 0 ? r : qt_request(g->disk, ret_ns, err);
}

static int first(struct vbmq_err *err)
{
	uint64_t new[2][STARTS], drained[2][STARTS * 4];
	int r = 0;

	printf("\n| us                                 | variant   |    n |    median |       p90 |   longest |\n");
	printf("|---|---|---:|---:|---:|---:|\n");
	for (unsigned i = 0; r >= 0 && i < 2 * STARTS; i++) {
		unsigned v = (i + i / 2) % 2, n = i / 2;
		struct qt_rig g = { 0 };

		r = make(&g, v, 0, 0, false, err);
		if (r >= 0)
			r = qt_request(g.disk, &new[v][n], err);
		for (unsigned k = 0; r >= 0 && k < 4; k++)
			r = after_drain(&g, &drained[v][4 * n + k], err);
		qt_rig_free(&g);
	}
	for (unsigned v = 0; r >= 0 && v < 2; v++)
		times("first request to a new disk", v, new[v], STARTS);
	for (unsigned v = 0; r >= 0 && v < 2; v++)
		times("first request after a drain", v, drained[v], 4 * STARTS);
	return r;
}

/* --- program ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	int (*run)(struct vbmq_err *err);
} parts[] = { { "kicks", kicks }, { "idle", idle }, { "monitor", monitor }, { "first", first } };

static int parse(int argc, char **argv)
{
	static const struct option options[] = { { "part", required_argument, NULL, 'p' }, { NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'p')
			arg_part = optarg;
		else
			return -EINVAL;
	}
	if (argc - optind != 2)
		return -EINVAL;
	arg_emulator[0] = argv[optind];
	arg_emulator[1] = argv[optind + 1];
	return 0;
}

int main(int argc, char **argv)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = parse(argc, argv);

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (r < 0) {
		fprintf(stderr, "polling-bench [--part kicks|idle|monitor|first] STOCK PATCHED\n");
		return 2;
	}
	for (unsigned e = 0; e < 2; e++) {
		setenv("VBMQ_QEMU", arg_emulator[e], 1);
		r = qt_probe(e ? "query-iothreads query-virtio-placement" : "query-iothreads", &err);
		if (r <= 0) {
			printf("skipped: %s: %s\n", arg_emulator[e], r ? err.text : "not the patched QEMU");
			return r == 0 || r == -ENOENT ? 77 : 1;
		}
	}
	printf("stock: %s; dedicated: %s; %ld CPUs\n", arg_emulator[0], arg_emulator[1], sysconf(_SC_NPROCESSORS_ONLN));
	r = stay_on_cpu(0, &err);
	for (size_t i = 0; r >= 0 && i < VBMQ_ELEMENTSOF(parts); i++)
		if (!arg_part || !strcmp(arg_part, parts[i].name))
			r = parts[i].run(&err);
	if (r < 0)
		fprintf(stderr, "polling-bench: %s\n", err.text);
	return r < 0;
}
