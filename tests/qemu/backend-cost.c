/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the patches cost when nothing of them is used, or only the queries are: request rates of a patched QEMU as ratios to
 * those of an unpatched one with the same configure options. A benchmark: it prints figures and judges nothing.
 *
 * Both are alive, and the load goes to and fro between them in short slices, in the order A B B A. A pair of slices gives a
 * ratio; drift and most of what else the machine does cancel. Where QEMU's code and data lie differs from start to start and
 * is worth a per cent by itself, so every round has a new pair of processes, a round's ratio is the median of its pairs,
 * and the confidence interval (95 %) is a bootstrap over rounds, not over pairs. The same emulator given twice shows what
 * the method cannot tell apart.
 *
 * The load thread has CPU 0 to itself and the I/O thread CPU 1. "I/O thread busy" (where QEMU reports it) tells how much of
 * the cost can be seen: a thread that waits for the driver half of the time shows half of it in the rate.
 *
 * With --queries the placement and the I/O threads of the patched QEMU are asked for once in each of its slices, which
 * should then be of a second: a ratio of whole slices, as the median of short ones would leave a rare event out.
 *
 * Backend only: null-co, no exits, no interrupts, no guest.
 */

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "qtrig.h"
#include "util/cleanup.h"

#define SETTLE_NS 3000000ull /* of a slice, before it counts */
#define ROUNDS_MAX 64
#define PAIRS_MAX 1000
#define RESAMPLES 4000

struct cell {
	unsigned queues, depth;
	int64_t poll_max_ns;
};

struct result {
	double ratio[ROUNDS_MAX]; /* one a round */
	unsigned n, n_pairs, n_above; /* pairs in all, and those in which the patched one was faster */
	double rate[2]; /* requests a second, mean of rounds */
	double busy; /* share of the time that the patched I/O thread was busy, mean of rounds */
	uint64_t query_ns[ROUNDS_MAX * PAIRS_MAX];
	size_t n_queries;
};

static const char *arg_emulator[2], *arg_json;
static unsigned arg_rounds = 8, arg_pairs = 20, arg_slice_ms = 50;
static unsigned arg_depth, arg_queues; /* 0: all */
static int64_t arg_poll_max_ns = -2; /* -2: all */
static bool arg_queries;

/* --- one pair ----------------------------------------------------------------------------------------------------- */

static int ask(struct qt_rig *g, struct result *res, struct vbmq_err *err)
{
	uint64_t begin = qt_now();
	int r = qt_qmp(g->vm, NULL, err, "query-virtio-placement", NULL);

	if (r >= 0)
		r = qt_qmp(g->vm, NULL, err, "query-iothreads", NULL);
	if (r >= 0 && res->n_queries < VBMQ_ELEMENTSOF(res->query_ns))
		res->query_ns[res->n_queries++] = qt_now() - begin;
	return r;
}

static int slice(struct qt_rig *g, bool queries, double *ret_rate, struct result *res, struct vbmq_err *err)
{
	uint64_t from, to, begin, length = arg_slice_ms * 1000000ull;
	int r = 0;

	qt_load_go(g->load);
	qt_nap(SETTLE_NS);
	from = qt_rig_completed(g);
	begin = qt_now();
	if (queries) {
		qt_nap(length / 2);
		r = ask(g, res, err);
		qt_nap(length / 2);
	} else {
		qt_nap(length);
	}
	to = qt_rig_completed(g);
	*ret_rate = (double)(to - from) * 1e9 / (double)(qt_now() - begin);
	qt_load_hold(g->load);
	if (r >= 0)
		r = qt_load_failed(g->load, err);
	if (r >= 0 && to == from)
		r = vbmq_err_set(err, -EPROTO, "no request was completed in %u ms", arg_slice_ms);
	return r;
}

/* --- a round ------------------------------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : sqrt(v[n / 2 - 1] * v[n / 2]);
}

static int busy_share(struct qt_rig *g, uint64_t v[3], struct vbmq_err *err)
{
	static const char *const names[] = { "busy-ns", "poll-ns", "blocked-ns" };
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < 3; i++)
		r = qt_rig_counter(g, names[i], &v[i], err);
	return r;
}

static int pairs(struct qt_rig g[2], struct result *res, struct vbmq_err *err)
{
	double ratios[PAIRS_MAX], sum[2] = { 0 };
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < arg_pairs; i++) {
		double rate[2];

		for (unsigned k = 0; r >= 0 && k < 2; k++) {
			unsigned e = k ^ (i % 2);

			r = slice(&g[e], e && arg_queries, &rate[e], res, err);
			sum[e] += rate[e];
		}
		if (r < 0)
			return r;
		ratios[i] = rate[1] / rate[0];
		res->n_pairs++;
		res->n_above += rate[1] > rate[0];
	}
	res->ratio[res->n++] = median(ratios, arg_pairs);
	for (unsigned e = 0; e < 2; e++)
		res->rate[e] += sum[e] / arg_pairs / arg_rounds;
	return r;
}

static int one_round(const struct cell *c, unsigned round, struct result *res, struct vbmq_err *err)
{
	struct qt_rig g[2] = { 0 };
	uint64_t before[3], after[3];
	int r = 0;

	/* Which is started first takes turns as well. */
	for (unsigned k = 0; r >= 0 && k < 2; k++) {
		unsigned e = k ^ (round % 2);

		r = qt_rig_new(&g[e],
			       &(struct qt_rig_conf){ .emulator = arg_emulator[e],
						      .poll_max_ns = c->poll_max_ns,
						      .queues = c->queues,
						      .depth = c->depth,
						      .spin = true,
						      .load_cpu = 0,
						      .io_cpu = 1 },
			       err);
		if (r < 0)
			vbmq_err_prefix(err, "%s: ", arg_emulator[e]);
	}
	if (r >= 0)
		r = busy_share(&g[1], before, err);
	if (r >= 0)
		r = pairs(g, res, err);
	if (r >= 0)
		r = busy_share(&g[1], after, err);
	if (r >= 0 && after[0] > before[0])
		/* Blocked is mostly the time in which it was the other's turn. */
		res->busy += (double)(after[0] - before[0]) / (double)(after[0] - before[0] + after[1] - before[1]) /
			     arg_rounds;
	qt_rig_free(&g[0]);
	qt_rig_free(&g[1]);
	return r;
}

/* --- figures ------------------------------------------------------------------------------------------------------ */

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The median of rounds, and 95 % of the medians of rounds drawn anew. */
static double interval(const double *ratio, unsigned n, double *ret_low, double *ret_high)
{
	static double medians[RESAMPLES];
	double v[ROUNDS_MAX];
	uint64_t state = 88172645463325252u;

	for (unsigned i = 0; i < RESAMPLES; i++) {
		for (unsigned k = 0; k < n; k++)
			v[k] = ratio[random_next(&state) % n];
		medians[i] = median(v, n);
	}
	qsort(medians, RESAMPLES, sizeof(*medians), by_value);
	*ret_low = medians[RESAMPLES / 40];
	*ret_high = medians[RESAMPLES - 1 - RESAMPLES / 40];
	memcpy(v, ratio, n * sizeof(*v));
	return median(v, n);
}

static void report(const struct cell *c, const struct result *res, json_t *rows)
{
	double low, high, mid = interval(res->ratio, res->n, &low, &high);
	char poll[32] = "default";
	json_t *rounds = json_array();

	if (c->poll_max_ns >= 0)
		snprintf(poll, sizeof(poll), "%lld us", (long long)(c->poll_max_ns / 1000));
	printf("| %6u | %5u | %-8s | %9.0f | %9.0f | %6.4f | %6.4f..%6.4f | %4u of %4u | %4.0f %% |\n", c->queues,
	       c->depth, poll, res->rate[0], res->rate[1], mid, low, high, res->n_above, res->n_pairs, 100 * res->busy);
	fflush(stdout);
	for (unsigned i = 0; i < res->n; i++)
		json_array_append_new(rounds, json_real(res->ratio[i]));
	json_array_append_new(rows,
			      json_pack("{s:i, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:f, s:o}", "queues",
					(int)c->queues, "depth", (int)c->depth, "poll_max_ns",
					(json_int_t)c->poll_max_ns, "rate_a", res->rate[0], "rate_b", res->rate[1],
					"ratio", mid, "low", low, "high", high, "pairs", (int)res->n_pairs,
					"pairs_above", (int)res->n_above, "busy", res->busy, "rounds", rounds));
}

/* All cells together: the geometric mean of the cells, round by round, so that a round stays what is drawn. */
static void report_all(const struct result *res, size_t n_cells)
{
	double mean[ROUNDS_MAX], low, high, mid;

	for (unsigned i = 0; i < arg_rounds; i++) {
		mean[i] = 0;
		for (size_t c = 0; c < n_cells; c++)
			mean[i] += log(res[c].ratio[i]);
		mean[i] = exp(mean[i] / (double)n_cells);
	}
	mid = interval(mean, arg_rounds, &low, &high);
	printf("\nAll cells, geometric mean: %.4f (%.4f..%.4f)\n", mid, low, high);
}

/* --- program ------------------------------------------------------------------------------------------------------ */

static int run(json_t *rows, struct vbmq_err *err)
{
	static const int64_t polls[] = { -1, 1000000 };
	static const unsigned queues[] = { 1, 4 }, depths[] = { 1, 8, 32 };
	struct result *all =
		calloc(VBMQ_ELEMENTSOF(polls) * VBMQ_ELEMENTSOF(queues) * VBMQ_ELEMENTSOF(depths), sizeof(*all));
	size_t n = 0;
	int r = all ? 0 : vbmq_err_oom(err);

	for (size_t p = 0; r >= 0 && p < VBMQ_ELEMENTSOF(polls); p++)
		for (size_t q = 0; r >= 0 && q < VBMQ_ELEMENTSOF(queues); q++)
			for (size_t d = 0; r >= 0 && d < VBMQ_ELEMENTSOF(depths); d++) {
				struct cell c = { queues[q], depths[d], polls[p] };

				if ((arg_queues && arg_queues != c.queues) || (arg_depth && arg_depth != c.depth) ||
				    (arg_poll_max_ns != -2 && arg_poll_max_ns != c.poll_max_ns))
					continue;
				for (unsigned i = 0; r >= 0 && i < arg_rounds; i++)
					r = one_round(&c, i, &all[n], err);
				if (r >= 0)
					report(&c, &all[n++], rows);
			}
	if (r >= 0 && n)
		report_all(all, n);
	for (size_t i = 0; r >= 0 && i < n; i++)
		if (all[i].n_queries) {
			printf("%sQueries of cell %zu: %zu, median %.0f us, longest %.0f us\n", i ? "" : "\n", i + 1,
			       all[i].n_queries, (double)qt_permille(all[i].query_ns, all[i].n_queries, 500) / 1e3,
			       (double)qt_permille(all[i].query_ns, all[i].n_queries, 1000) / 1e3);
		}
	free(all);
	return r;
}

static int parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "pairs", required_argument, NULL, 'p' },
		{ "slice-ms", required_argument, NULL, 's' },
		{ "queues", required_argument, NULL, 'q' },
		{ "depth", required_argument, NULL, 'd' },
		{ "poll-max-ns", required_argument, NULL, 'm' },
		{ "queries", no_argument, NULL, 'a' },
		{ "json", required_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'r')
			arg_rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'p')
			arg_pairs = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 's')
			arg_slice_ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'q')
			arg_queues = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'd')
			arg_depth = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'm')
			arg_poll_max_ns = strtoll(optarg, NULL, 10);
		else if (c == 'a')
			arg_queries = true;
		else if (c == 'j')
			arg_json = optarg;
		else
			return -EINVAL;
	}
	if (argc - optind != 2 || !arg_rounds || arg_rounds > ROUNDS_MAX || !arg_pairs || arg_pairs > PAIRS_MAX ||
	    !arg_slice_ms)
		return -EINVAL;
	arg_emulator[0] = argv[optind];
	arg_emulator[1] = argv[optind + 1];
	return 0;
}

int main(int argc, char **argv)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	json_t *rows = json_array();
	int r = parse(argc, argv);

	signal(SIGPIPE, SIG_IGN);
	if (r < 0) {
		fprintf(stderr,
			"backend-cost [--rounds N] [--pairs N] [--slice-ms N] [--queues 1|4] [--depth 1|8|32]\n"
			"             [--poll-max-ns -1|1000000] [--queries] [--json FILE] UNPATCHED PATCHED\n");
		return 2;
	}
	for (unsigned e = 0; e < 2; e++) {
		setenv("VBMQ_QEMU", arg_emulator[e], 1);
		r = qt_probe(e && arg_queries ? "query-iothreads query-virtio-placement" : "query-iothreads", &err);
		if (r <= 0) {
			printf("skipped: %s: %s\n", arg_emulator[e], r ? err.text : "not the patched QEMU");
			return r == 0 || r == -ENOENT ? 77 : 1;
		}
	}
	printf("Requests a second; a: %s, b: %s%s; %u rounds of %u pairs of slices of %u ms.\n\n", arg_emulator[0],
	       arg_emulator[1], arg_queries ? " with queries" : "", arg_rounds, arg_pairs, arg_slice_ms);
	printf("| queues | depth | polling  |         a |         b |    b/a | 95 %%           | b faster     | busy   "
	       "|\n");
	printf("|---:|---:|---|---:|---:|---:|---|---|---:|\n");
	r = run(rows, &err);
	if (r < 0)
		fprintf(stderr, "backend-cost: %s\n", err.text);
	if (r >= 0 && arg_json && json_dump_file(rows, arg_json, JSON_INDENT(1)))
		r = -EIO;
	json_decref(rows);
	return r < 0;
}
