/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The planner against an integer program, on random hosts and fleets (docs/benchmarks/planner.md says what is compared):
 *   test-oracle [--exact N] [--coupled N] [--seed N]
 * A difference in the exact part is printed with its seed, those in the coupled parts where --coupled was said; --seed S --exact 1
 * --coupled 1 looks at these alone.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner.h"
#include "coupled.h"
#include "exact.h"
#include "gen.h"
#include "ilp.h"
#include "instances.h"
#include "util/err.h"

#define COUPLED_NODES 300u /* of the search tree, for one level: enough for all but very few */

static unsigned n_case;
static bool failed;

static void result(bool ok, const char *what)
{
	printf("%sok %u - %s\n", ok ? "" : "not ", ++n_case, what);
	fflush(stdout);
	failed = failed || !ok;
}

static struct vbmq_placement *plan(const struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_placement *p = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_planner_run(s, policy, &p, &err) < 0) {
		printf("Bail out! %s\n", err.text);
		exit(1);
	}
	return p;
}

/* A leash with threads on it, of which nothing but one core is left in the shared set: the planner may have kept that. */
static bool leash_is_tight(const struct reading *r)
{
	for (uint32_t i = 0; i < r->p->n_domains; i++)
		for (size_t j = 0; j < r->p->domains[i].n_threads; j++) {
			struct vbmq_cpuset leash, left;

			if (!reading_leash(r, i, &r->p->domains[i].threads[j], &leash))
				continue;
			left = vbmq_cpuset_and(&leash, &r->p->shared);
			if (vbmq_cpuset_is_subset(&left, &r->h->cores[r->h->core_of[vbmq_cpuset_next(&left, 0)]].cpus))
				return true;
		}
	return false;
}

struct tally {
	unsigned long n, n_units, n_short, tight, tight_off, several;
};

static const char *exact_one(uint64_t seed, struct reading *r, struct tally *t)
{
	struct gen g = gen_seed(seed);
	struct vbmq_policy policy;
	struct vbmq_snapshot *s = instance_exact(&g, &policy);
	struct vbmq_placement *p = plan(s, &policy);
	const char *wrong;
	size_t wanted = 0;
	int32_t first = 0;
	bool classes = false, tight = false;

	if (!reading_make(r, s, &policy, p)) {
		printf("Bail out! seed %llu is too big for the oracle\n", (unsigned long long)seed);
		exit(1);
	}
	for (uint32_t i = 0; i < p->n_domains; i++)
		wanted += reading_wanted(r, i);
	for (size_t u = 0; u < r->n_units; u++) {
		first = u ? first : r->units[u].priority;
		classes = classes || r->units[u].priority != first;
	}
	tight = leash_is_tight(r);
	wrong = exact_grants(r);
	if (!wrong)
		wrong = exact_places(r);
	t->n += !tight;
	t->several += !tight && classes;
	t->tight += tight;
	t->tight_off += tight && wrong;
	t->n_units += r->n_units;
	t->n_short += wanted > r->n_units;
	vbmq_placement_free(p);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
	return tight ? NULL : wrong;
}

static void test_exact(uint64_t first, unsigned long n)
{
	struct reading *r = calloc(1, sizeof(*r));
	struct tally t = { 0 };
	unsigned long off = 0;

	if (!r)
		abort();
	for (uint64_t seed = first; seed < first + n; seed++) {
		const char *wrong = exact_one(seed, r, &t);

		off += wrong != NULL;
		if (wrong)
			printf("# seed %llu: %s\n", (unsigned long long)seed, wrong);
	}
	printf("# exact part: %lu instances from seed %llu on, %lu of them with cores of their own for several "
	       "priorities, %lu not as "
	       "good as the oracle's\n",
	       t.n, (unsigned long long)first, t.several, off);
	printf("# in all of them and the following: %lu cores given, %lu instances in shortage\n", t.n_units,
	       t.n_short);
	printf("# a leash down to its last core: %lu instances, %lu not as good\n", t.tight, t.tight_off);
	result(off == 0, "the exact part is as good as the oracle's, level by level");
	free(r);
}

/* --- the coupled parts ------------------------------------------------------------------------------------------------ */

struct gaps {
	unsigned long n, nothing, unsolved, worse[N_COUPLED];
	int64_t worst[N_COUPLED];
	uint64_t worst_seed[N_COUPLED];
	unsigned long bins[4]; /* of what is worse: up to 10 % of what the least is, 25 %, 100 %, more */
};

static void count_gap(struct gaps *t, uint64_t seed, const struct coupled_result *res)
{
	int64_t gap = res->got - res->least;

	t->worse[res->level]++;
	t->bins[gap * 10 <= res->least ? 0 : gap * 4 <= res->least ? 1 : gap <= res->least ? 2 : 3]++;
	if (gap <= t->worst[res->level])
		return;
	t->worst[res->level] = gap;
	t->worst_seed[res->level] = seed;
}

static bool coupled_one(uint64_t seed, struct reading *r, bool show, struct gaps *t)
{
	struct gen g = gen_seed(seed);
	struct vbmq_policy policy;
	struct vbmq_snapshot *s = instance_coupled(&g, &policy);
	struct vbmq_placement *p = plan(s, &policy);
	struct coupled_result res;

	if (!reading_make(r, s, &policy, p)) {
		printf("Bail out! seed %llu is too big for the oracle\n", (unsigned long long)seed);
		exit(1);
	}
	coupled_compare(r, COUPLED_NODES, &res);
	t->n++;
	t->nothing += res.nothing;
	t->unsolved += res.is == COUPLED_UNSOLVED;
	if (res.is == COUPLED_WORSE)
		count_gap(t, seed, &res);
	if (show && res.is != COUPLED_BEST)
		printf("# seed %llu: %s %lld, %s %lld\n", (unsigned long long)seed, coupled_names[res.level],
		       (long long)res.got, res.is == COUPLED_UNSOLVED ? "not solved" : "the least is",
		       (long long)res.least);
	vbmq_placement_free(p);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
	return res.is != COUPLED_ODD;
}

static void test_coupled(uint64_t first, unsigned long n, bool show)
{
	struct reading *r = calloc(1, sizeof(*r));
	struct gaps t = { 0 };
	unsigned long worse = 0, odd = 0, judged;

	if (!r)
		abort();
	for (uint64_t seed = first; seed < first + n; seed++)
		odd += !coupled_one(seed, r, show, &t);
	judged = t.n - t.nothing - t.unsolved;
	for (size_t i = 0; i < N_COUPLED; i++)
		worse += t.worse[i];
	printf("# coupled parts: %lu instances from seed %llu on, %lu in which nobody has a core, %lu not solved\n",
	       t.n, (unsigned long long)first, t.nothing, t.unsolved);
	printf("# gap: none %lu of %lu, up to 10 %% of the least %lu, 25 %% %lu, 100 %% %lu, more %lu\n",
	       judged - worse, judged, t.bins[0], t.bins[1], t.bins[2], t.bins[3]);
	for (size_t i = 0; i < N_COUPLED; i++)
		if (t.worse[i])
			printf("# gap in %s: %lu, the worst by %lld (seed %llu)\n", coupled_names[i], t.worse[i],
			       (long long)t.worst[i], (unsigned long long)t.worst_seed[i]);
	result(odd == 0, "no placement is better than the coupled program says is possible");
	free(r);
}

int main(int argc, char **argv)
{
	unsigned long n_exact = 200, n_coupled = 100, seed = 1;
	bool show = false;

	for (int i = 1; i < argc; i += 2) {
		unsigned long value = i + 1 < argc ? strtoul(argv[i + 1], NULL, 10) : 0;

		if (strcmp(argv[i], "--exact") == 0 && i + 1 < argc) {
			n_exact = value;
		} else if (strcmp(argv[i], "--coupled") == 0 && i + 1 < argc) {
			n_coupled = value;
			show = true;
		} else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			seed = value;
		} else {
			fprintf(stderr, "test-oracle: unknown argument '%s'\n", argv[i]);
			return 2;
		}
	}
	printf("1..2\n");
	test_exact(seed, n_exact);
	test_coupled(seed, n_coupled, show);
	ilp_done();
	return failed;
}
