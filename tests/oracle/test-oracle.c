/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The planner against an integer program, on random hosts and fleets (docs/benchmarks/planner.md says what is compared):
 *   test-oracle [--exact N] [--seed N]
 * A difference is printed with its seed; --seed S --exact 1 looks at that one alone.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner.h"
#include "exact.h"
#include "gen.h"
#include "ilp.h"
#include "sim.h"
#include "util/err.h"

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

/* Hosts of up to 48 CPUs; all vCPUs are where their owner or the shared set has them, nobody's threads hang, and no leash is so
 * narrow that its last shared core would have to be kept for it: these are the coupled parts. */
static struct vbmq_snapshot *exact_instance(struct gen *g, struct vbmq_policy *policy)
{
	struct vbmq_snapshot *s = gen_snapshot(g, 8 + gen_below(g, 41), 1 + gen_below(g, 12));

	gen_policy(g, s->host, policy);
	policy->defaults.vcpus = VBMQ_VCPUS_FOLLOW;
	policy->manage_by_default = policy->manage_by_default || gen_chance(g, 70);
	for (size_t i = 0; i < s->n_domains; i++) {
		struct vbmq_domain *d = s->domains[i];

		d->wish.vcpus = VBMQ_VCPUS_FOLLOW;
		d->responsive = true;
		if (gen_chance(g, 70))
			d->caps.bits |= VBMQ_CAP_PIN | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_LIVE_MAP;
		if (gen_chance(g, 50))
			d->wish.exclusive = VBMQ_EXCLUSIVE_CORE;
	}
	return s;
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
	struct vbmq_snapshot *s = exact_instance(&g, &policy);
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

int main(int argc, char **argv)
{
	unsigned long n_exact = 200, seed = 1;

	for (int i = 1; i < argc; i += 2) {
		unsigned long value = i + 1 < argc ? strtoul(argv[i + 1], NULL, 10) : 0;

		if (strcmp(argv[i], "--exact") == 0 && i + 1 < argc) {
			n_exact = value;
		} else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			seed = value;
		} else {
			fprintf(stderr, "test-oracle: unknown argument '%s'\n", argv[i]);
			return 2;
		}
	}
	printf("1..1\n");
	test_exact(seed, n_exact);
	ilp_done();
	return failed;
}
