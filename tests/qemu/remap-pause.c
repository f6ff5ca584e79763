/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pause of I/O that one remap makes, as the driver sees it: the longest time without a completion, of any loaded queue,
 * around a remap; beside it the same for stretches of the same length without one, just before. A benchmark: it prints
 * figures and judges nothing.
 *
 * Two emulators can be given and take turns in the same run: one with the light remap, one that stops and starts ioeventfd (a
 * build of the series without its last two patches). Which it is shows: the latter makes new eventfds. As kicks to the old ones are
 * lost meanwhile, the driver fetches them afresh for every kick around the command, with both, so that neither looks slower
 * by the driver's fault.
 *
 * "fits": one queue that moves between two I/O threads on one CPU, and a driver on another that sleeps when it has nothing to do.
 * Neither is busy all the time, so that those whose work a remap is, QEMU's main loop and monitor, find a CPU: no more busy
 * threads than cores. With --realtime the driver and the I/O threads then have a real-time priority above QEMU's other
 * threads, as if each had its CPU to itself, and those one above whatever else the machine does: so the pause is what QEMU
 * makes of it and not how the scheduler shares a CPU. "full": the same without gaps, and the driver spins: two CPUs are taken,
 * and the millisecond or so that the command takes of the main loop and the monitor goes off one of them. "over": four
 * queues and four I/O threads on the CPUs there are. Times in which the load thread itself did not run (away) say nothing about
 * QEMU; remaps where that is more than a quarter of the pause are counted, and left out of the "undisturbed" line. Backend only:
 * null-co, no exits, no guest.
 */

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "qtdrive.h"
#include "util/cleanup.h"

#define SETTLE_NS 3000000ull /* after the answer, within which a gap still counts as the remap's */
#define APART_NS 8000000ull /* between two remaps */
#define GAPS 4096

struct setup {
	const char *name;
	unsigned queues, threads, depth;
	uint64_t gap_ns;
	bool pinned, spin;
	bool realtime; /* can be */
};

static const struct setup setups[] = {
	{ .name = "fits, depth 1",
	  .queues = 1,
	  .threads = 2,
	  .depth = 1,
	  .gap_ns = 100000,
	  .pinned = true,
	  .realtime = true },
	{ .name = "fits, depth 32",
	  .queues = 1,
	  .threads = 2,
	  .depth = 32,
	  .gap_ns = 1000000,
	  .pinned = true,
	  .realtime = true },
	{ .name = "full, depth 1", .queues = 1, .threads = 2, .depth = 1, .pinned = true, .spin = true },
	{ .name = "full, depth 32", .queues = 1, .threads = 2, .depth = 32, .pinned = true, .spin = true },
	{ .name = "over, depth 8", .queues = 4, .threads = 4, .depth = 8, .spin = true },
};

struct series {
	uint64_t *pause, *quiet, *command; /* nanoseconds; one a remap */
	bool *away;
	unsigned n, renewed;
};

static const char *arg_emulator[2];
static unsigned arg_n_emulators, arg_remaps = 300, arg_rounds = 4;
static const char *arg_json, *arg_setup;
static bool arg_realtime;

static void nap(uint64_t ns)
{
	nanosleep(&(struct timespec){ .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) }, NULL);
}

/* --- one remap ---------------------------------------------------------------------------------------------------- */

static json_t *all_queues_to(const struct setup *su, unsigned turn)
{
	json_t *list = json_array();
	char name[16];

	/* Every queue moves: to the other thread, or to the next of four. */
	for (unsigned t = 0; t < su->queues; t++) {
		snprintf(name, sizeof(name), "io%u", (t + turn) % su->threads);
		json_array_append_new(list, json_pack("{s:s, s:[i]}", "iothread", name, "vqs", (int)t));
	}
	return list;
}

/* The longest gap that overlaps [from, to], of any queue; and whether the driver was away in it. */
static uint64_t longest(const struct qt_gap *g, size_t n, uint64_t from, uint64_t to, bool *ret_away)
{
	uint64_t most = 0;

	*ret_away = false;
	for (size_t i = 0; i < n; i++) {
		uint64_t len = g[i].end_ns - g[i].begin_ns;

		if (g[i].end_ns < from || g[i].begin_ns > to || len <= most)
			continue;
		most = len;
		*ret_away = g[i].away_ns > len / 4;
	}
	return most;
}

static int one_remap(struct qt_disk *d, struct qt_load *l, const struct setup *su, unsigned turn, struct series *s,
		     struct vbmq_err *err)
{
	static struct qt_gap gaps[GAPS];
	uint64_t begin, end, span;
	bool away;
	size_t n;
	int r;

	qt_load_gaps(l, gaps, GAPS, NULL);
	nap(APART_NS);
	qt_disk_fresh_kicks(d, true);
	begin = qt_now();
	r = qt_disk_remap(d, all_queues_to(su, turn), err);
	end = qt_now();
	qt_disk_fresh_kicks(d, false);
	if (r >= 0)
		r = qt_disk_renew(d, err);
	if (r < 0)
		return r;
	s->renewed += r > 0;
	nap(SETTLE_NS);
	r = qt_load_await(l, 1, err); /* a gap is known at its end */
	if (r < 0)
		return r;
	span = end + SETTLE_NS - begin;
	n = qt_load_gaps(l, gaps, GAPS, NULL);
	s->command[s->n] = end - begin;
	s->quiet[s->n] = longest(gaps, n, begin - span - 1000000, begin - 1000000, &away);
	s->pause[s->n] = longest(gaps, n, begin, end + SETTLE_NS, &s->away[s->n]);
	s->n++;
	return 0;
}

/* --- a round ------------------------------------------------------------------------------------------------------ */

static int pin(struct qt_vm *vm, unsigned threads, bool realtime, struct vbmq_err *err)
{
	for (unsigned t = 0; t < threads; t++) {
		cpu_set_t set;
		char name[16];
		pid_t tid;
		int r;

		CPU_ZERO(&set);
		CPU_SET(1, &set);
		snprintf(name, sizeof(name), "io%u", t);
		r = qt_iothread_tid(vm, name, &tid, err);
		if (r < 0)
			return r;
		if (sched_setaffinity(tid, sizeof(set), &set))
			return vbmq_err_set(err, -errno, "pinning %s: %s", name, strerror(errno));
		if (realtime && sched_setscheduler(tid, SCHED_RR, &(struct sched_param){ .sched_priority = 2 }))
			return vbmq_err_set(err, -errno, "priority of %s: %s", name, strerror(errno));
	}
	return 0;
}

/* Of this thread and all it starts from now on. 0: no real-time priority. */
static int priority(int value, struct vbmq_err *err)
{
	if (sched_setscheduler(0, value ? SCHED_RR : SCHED_OTHER, &(struct sched_param){ .sched_priority = value }))
		return vbmq_err_set(err, -errno, "real-time priority: %s", strerror(errno));
	return 0;
}

static int make(const char *emulator, const struct setup *su, struct qt_vm **vm, struct qt_disk **d, struct qt_load **l,
		struct vbmq_err *err)
{
	struct qt_load_conf load = { .gap_ns = su->gap_ns,
				     .write_percent = 50,
				     .spin = su->spin,
				     .cpu = su->pinned ? 0 : -1,
				     .seed = 1,
				     .trace_ns = 10000 };
	json_t *props = json_pack("{s:o}", "iothread-vq-mapping", all_queues_to(su, 0));
	struct qt_disk_conf disk = { .drive = "n0", .queues = su->queues, .props = props };
	char name[16];
	bool realtime = arg_realtime && su->realtime;
	int r = arg_realtime ? priority(realtime, err) : 0;

	if (r >= 0)
		r = qt_vm_new(&(struct qt_vm_conf){ .emulator = emulator }, vm, err);
	for (unsigned t = 0; r >= 0 && t < su->threads; t++) {
		snprintf(name, sizeof(name), "io%u", t);
		r = qt_iothread_add(*vm, name, err);
	}
	if (r >= 0)
		r = qt_qmp(*vm, NULL, err, "blockdev-add", "{s:s, s:s, s:I}", "driver", "null-co", "node-name", "n0",
			   "size", (json_int_t)1 << 30);
	if (r >= 0)
		r = qt_disk_new(*vm, &disk, d, err);
	if (r >= 0 && su->pinned)
		r = pin(*vm, su->threads, realtime, err);
	for (unsigned q = 0; q < su->queues; q++)
		load.depth[q] = su->depth;
	if (r >= 0 && realtime)
		r = priority(2, err);
	if (r >= 0)
		r = qt_load_new(*d, &load, l, err);
	if (r >= 0 && realtime)
		r = priority(1, err);
	json_decref(props);
	return r;
}

static int measure(const char *emulator, const struct setup *su, unsigned remaps, struct series *s,
		   struct vbmq_err *err)
{
	struct qt_vm *vm = NULL;
	struct qt_disk *d = NULL;
	struct qt_load *l = NULL;
	int r = make(emulator, su, &vm, &d, &l, err);

	if (r >= 0)
		r = qt_load_await(l, 200, err);
	for (unsigned i = 0; r >= 0 && i < remaps; i++)
		r = one_remap(d, l, su, i + 1, s, err);
	if (r >= 0)
		r = qt_load_drain(l, err);
	if (r < 0 && d) {
		if (l)
			qt_load_hold(l);
		qt_disk_diagnose(d, stderr);
	}
	qt_load_free(l);
	qt_disk_free(d);
	qt_vm_free(vm);
	return r;
}

/* --- figures ------------------------------------------------------------------------------------------------------ */

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static json_t *row(const struct setup *su, const char *variant, const char *what, const uint64_t *values,
		   const bool *skip, unsigned n)
{
	uint64_t *v = calloc(n ? n : 1, sizeof(*v));
	unsigned k = 0;
	json_t *j;

	if (!v)
		return NULL;
	for (unsigned i = 0; i < n; i++)
		if (!skip || !skip[i])
			v[k++] = values[i];
	qsort(v, k, sizeof(*v), by_size);
	if (!k) {
		printf("| %-14s | %-10s | %-26s | %5u |        - |        - |        - |\n", su->name, variant, what,
		       k);
		free(v);
		return NULL;
	}
	printf("| %-14s | %-10s | %-26s | %5u | %8.1f | %8.1f | %8.1f |\n", su->name, variant, what, k,
	       (double)v[k / 2] / 1e3, (double)v[(k - 1) * 99 / 100] / 1e3, (double)v[k - 1] / 1e3);
	j = json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:I}", "setup", su->name, "variant", variant, "what", what, "n",
		      (int)k, "median_ns", (json_int_t)v[k / 2], "p99_ns", (json_int_t)v[(k - 1) * 99 / 100], "max_ns",
		      (json_int_t)v[k - 1]);
	free(v);
	return j;
}

static void report(const struct setup *su, const struct series *s, json_t *rows)
{
	const char *variant = !s->renewed ? "light" : s->renewed == s->n ? "stop/start" : "mixed";
	json_t *r[4];

	r[0] = row(su, variant, "pause around a remap", s->pause, NULL, s->n);
	r[1] = row(su, variant, "  undisturbed", s->pause, s->away, s->n);
	r[2] = row(su, variant, "longest gap without", s->quiet, NULL, s->n);
	r[3] = row(su, variant, "the command", s->command, NULL, s->n);
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(r); i++)
		if (r[i])
			json_array_append_new(rows, r[i]);
	fflush(stdout);
}

/* --- program ------------------------------------------------------------------------------------------------------ */

static int run_setup(const struct setup *su, json_t *rows, struct vbmq_err *err)
{
	struct series s[2] = { 0 };
	int r = 0;

	for (unsigned e = 0; e < arg_n_emulators; e++) {
		s[e].pause = calloc(arg_remaps, sizeof(uint64_t));
		s[e].quiet = calloc(arg_remaps, sizeof(uint64_t));
		s[e].command = calloc(arg_remaps, sizeof(uint64_t));
		s[e].away = calloc(arg_remaps, sizeof(bool));
		if (!s[e].pause || !s[e].quiet || !s[e].command || !s[e].away)
			r = vbmq_err_oom(err);
	}
	for (unsigned round = 0; r >= 0 && round < arg_rounds; round++)
		for (unsigned e = 0; r >= 0 && e < arg_n_emulators; e++)
			r = measure(arg_emulator[e], su, arg_remaps / arg_rounds, &s[e], err);
	for (unsigned e = 0; e < arg_n_emulators; e++) {
		if (r >= 0)
			report(su, &s[e], rows);
		free(s[e].pause);
		free(s[e].quiet);
		free(s[e].command);
		free(s[e].away);
	}
	return r;
}

static int parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "remaps", required_argument, NULL, 'n' }, { "rounds", required_argument, NULL, 'r' },
		{ "json", required_argument, NULL, 'j' },   { "setup", required_argument, NULL, 's' },
		{ "realtime", no_argument, NULL, 't' },	    { NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'n')
			arg_remaps = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'r')
			arg_rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'j')
			arg_json = optarg;
		else if (c == 's')
			arg_setup = optarg;
		else if (c == 't')
			arg_realtime = true;
		else
			return -EINVAL;
	}
	for (; optind < argc && arg_n_emulators < 2; optind++)
		arg_emulator[arg_n_emulators++] = argv[optind];
	if (!arg_n_emulators)
		arg_emulator[arg_n_emulators++] = qt_emulator();
	return !arg_rounds || arg_remaps < arg_rounds ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	json_t *rows = json_array();
	int r = parse(argc, argv);

	signal(SIGPIPE, SIG_IGN);
	if (r < 0) {
		fprintf(stderr,
			"remap-pause [--remaps N] [--rounds N] [--setup fits|full|over] [--realtime] [--json FILE] "
			"[EMULATOR [EMULATOR]]\n");
		return 2;
	}
	for (unsigned e = 0; e < arg_n_emulators; e++) {
		setenv("VBMQ_QEMU", arg_emulator[e], 1);
		r = qt_probe("virtio-blk-set-iothread-vq-mapping", &err);
		if (r <= 0) {
			printf("skipped: %s: %s\n", arg_emulator[e], r ? err.text : "not the patched QEMU");
			return r == 0 || r == -ENOENT ? 77 : 1;
		}
	}
	printf("Microseconds, seen by the driver; %u remaps each in %u rounds; %ld CPUs%s.\n\n", arg_remaps, arg_rounds,
	       sysconf(_SC_NPROCESSORS_ONLN), arg_realtime ? "; fits: real-time priorities" : "");
	printf("| setup          | variant    | what                       |     n |   median |      p99 |      max "
	       "|\n");
	printf("|---|---|---|---:|---:|---:|---:|\n");
	r = 0;
	for (size_t i = 0; r >= 0 && i < VBMQ_ELEMENTSOF(setups); i++)
		if (!arg_setup || !strncmp(setups[i].name, arg_setup, strlen(arg_setup)))
			r = run_setup(&setups[i], rows, &err);
	if (r < 0)
		fprintf(stderr, "remap-pause: %s\n", err.text);
	if (r >= 0 && arg_json && json_dump_file(rows, arg_json, JSON_INDENT(1)))
		r = -EIO;
	json_decref(rows);
	return r < 0;
}
