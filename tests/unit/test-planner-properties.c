/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Thousands of random hosts with fixed seeds: what planner.h and diff.h promise holds on every one.
 *   test-planner-properties [--cases N] [--seed N] [--hosts tiny|small|crowded|large]
 * N cases in all, hosts of all sizes or of one; without, a slice of a few seconds. What does not hold is printed with its seed, which
 * --seed S --cases 1 looks at alone (once in each size).
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/diff.h"
#include "core/planner.h"
#include "gen.h"
#include "props.h"
#include "sim.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "wishes.h"

/* Hosts and fleets of one size; looked at are n seeds from first on. */
struct shape {
	const char *name;
	uint64_t first, n;
	unsigned max_cpus, max_domains;
};

static bool shows; /* looked at once more because something does not hold: says all about it */

/* What went wrong with a seed, to be shown: the plan, and a sentence. */
static bool complain(const struct vbmq_placement *p, const struct vbmq_step *steps, size_t n, uint64_t seed,
		     const char *what, const char *wrong)
{
	char *plan, *text;

	if (!shows)
		return false;
	plan = p ? sim_dump(p) : NULL;
	text = steps ? sim_dump_steps(steps, n) : NULL;
	printf("%s%s# seed %llu, %s: %s\n", plan ? plan : "", text ? text : "", (unsigned long long)seed, what, wrong);
	fflush(stdout);
	free(plan);
	free(text);
	return false;
}

/* Plans, checks, plays the steps, checks again; s is at rest then. */
static bool round_trip(struct gen *g, struct vbmq_snapshot *s, const struct vbmq_policy *policy, uint64_t seed,
		       const char *what)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_placement *p = NULL;
	struct vbmq_step *steps = NULL;
	const char *wrong;
	size_t n = 0;

	if (shows) {
		_cleanup_free_ char *text = sim_dump_snapshot(s);

		printf("%s%s", what, text ? text : "\n");
	}
	if (vbmq_planner_run(s, policy, &p, &err) < 0)
		return complain(NULL, NULL, 0, seed, what, err.text);
	if (vbmq_diff(s, p, &steps, &n, &err) < 0)
		fail_msg("seed %llu, %s: %s", (unsigned long long)seed, what, err.text);
	wrong = props_placement(s, policy, p);
	if (!wrong)
		wrong = gen_chance(g, 50) ? wishes_priority(g, s, policy, p) : wishes_fewer(g, s, policy, p);
	if (!wrong)
		wrong = props_steps(s, p, steps, n);
	if (!wrong)
		wrong = props_at_rest(s, policy, p);
	if (wrong)
		complain(p, steps, n, seed, what, wrong);
	vbmq_steps_free(steps, n);
	vbmq_placement_free(p);
	return !wrong;
}

/* The world goes on: a domain leaves, another comes, a device moves, a wish changes. */
static void disturb(struct gen *g, struct vbmq_snapshot *s)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (s->n_domains && gen_chance(g, 50)) {
		size_t i = gen_below(g, (uint32_t)s->n_domains);

		vbmq_domain_free(s->domains[i]);
		memmove(&s->domains[i], &s->domains[i + 1], (s->n_domains - i - 1) * sizeof(s->domains[0]));
		s->n_domains--;
	}
	if (gen_chance(g, 50))
		vbmq_snapshot_add(s, gen_domain(g, s->host, 100 + gen_below(g, 100)), &err);
	for (size_t i = 0; i < s->n_domains; i++) {
		struct vbmq_domain *d = s->domains[i];

		if (d->n_disks && gen_chance(g, 30))
			d->disks[0].node = (int32_t)s->host->nodes[gen_below(g, (uint32_t)s->host->n_nodes)].id;
		if (gen_chance(g, 20))
			d->wish.exclusive = (enum vbmq_exclusive)gen_below(g, 3);
		if (gen_chance(g, 20))
			d->wish.vcpus = (enum vbmq_vcpus)gen_below(g, 2);
		if (gen_chance(g, 20))
			d->wish.iothreads = (int32_t)gen_below(g, 6);
		if (gen_chance(g, 10))
			d->wish.enabled = gen_chance(g, 50) ? VBMQ_YES : VBMQ_NO;
		if (gen_chance(g, 10))
			d->responsive = !d->responsive;
	}
	assert_int_equal(vbmq_snapshot_finish(s, &err), 0);
}

/* --- same content, other order of input ------------------------------------------------------------------------------ */

static void shuffle(struct gen *g, void *items, size_t n, size_t size)
{
	char *a = items, *tmp = malloc(size);

	assert_non_null(tmp);
	for (size_t i = n; i > 1; i--) {
		size_t j = gen_below(g, (uint32_t)i);

		memcpy(tmp, a + (i - 1) * size, size);
		memcpy(a + (i - 1) * size, a + j * size, size);
		memcpy(a + j * size, tmp, size);
	}
	free(tmp);
}

static char *plan_text(const struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_placement *p = NULL;
	struct vbmq_step *steps = NULL;
	char *a, *b, *both;
	size_t n = 0;

	assert_int_equal(vbmq_planner_run(s, policy, &p, &err), 0);
	assert_int_equal(vbmq_diff(s, p, &steps, &n, &err), 0);
	a = sim_dump(p);
	b = sim_dump_steps(steps, n);
	assert_non_null(a);
	assert_non_null(b);
	both = malloc(strlen(a) + strlen(b) + 1);
	assert_non_null(both);
	strcpy(both, a);
	strcat(both, b);
	free(a);
	free(b);
	vbmq_steps_free(steps, n);
	vbmq_placement_free(p);
	return both;
}

/* The same plan, to the last byte. */
static bool order_does_not_matter(struct gen *g, const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
				  uint64_t seed)
{
	struct vbmq_snapshot *other = sim_copy(s);
	struct vbmq_err err = VBMQ_ERR_INIT;
	char *a, *b;
	bool same;

	shuffle(g, other->domains, other->n_domains, sizeof(other->domains[0]));
	for (size_t i = 0; i < other->n_domains; i++) {
		struct vbmq_domain *d = other->domains[i];

		shuffle(g, d->threads, d->n_threads, sizeof(d->threads[0]));
		shuffle(g, d->disks, d->n_disks, sizeof(d->disks[0]));
	}
	assert_int_equal(vbmq_snapshot_finish(other, &err), 0);
	a = plan_text(s, policy);
	b = plan_text(other, policy);
	same = strcmp(a, b) == 0;
	free(a);
	free(b);
	vbmq_snapshot_free(other);
	return same || complain(NULL, NULL, 0, seed, "shuffled", "another plan");
}

/* --- cases ------------------------------------------------------------------------------------------------------------ */

static bool holds(const struct shape *shape, uint64_t seed)
{
	struct gen g = gen_seed(seed), dice = gen_seed(~seed);
	struct vbmq_snapshot *s = gen_snapshot(&g, shape->max_cpus, shape->max_domains);
	struct vbmq_policy policy;
	bool ok;

	gen_policy(&g, s->host, &policy);
	ok = order_does_not_matter(&dice, s, &policy, seed) && round_trip(&dice, s, &policy, seed, "at first");
	disturb(&g, s);
	ok = ok && round_trip(&dice, s, &policy, seed, "after a change");
	vbmq_policy_done(&policy);
	gen_policy(&g, s->host, &policy);
	ok = ok && round_trip(&dice, s, &policy, seed, "with another policy");
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
	return ok;
}

static void test_properties(void **state)
{
	const struct shape *shape = *state;
	unsigned long n_bad = 0;

	for (uint64_t seed = shape->first; seed < shape->first + shape->n; seed++)
		if (!holds(shape, seed)) {
			n_bad++;
			shows = true;
			holds(shape, seed);
			shows = false;
		}
	print_message("# %s: %llu cases from seed %llu on, %lu in which something does not hold\n", shape->name,
		      (unsigned long long)shape->n, (unsigned long long)shape->first, n_bad);
	assert_int_equal(n_bad, 0);
}

static void usage(void)
{
	fprintf(stderr, "usage: test-planner-properties [--cases N] [--seed N] [--hosts tiny|small|crowded|large]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static struct shape shapes[] = {
		{ "tiny hosts", 1, 1500, 8, 4 },
		{ "small hosts", 1000000, 1000, 48, 8 },
		{ "crowded hosts", 2000000, 100, 64, 24 },
		{ "large hosts", 3000000, 10, 512, 40 },
	};
	static const unsigned percent[] = { 50, 35, 13, 2 };
	struct CMUnitTest tests[4];
	unsigned long long cases = 0;
	const char *only = NULL;
	size_t n = 0;

	for (int i = 1; i < argc; i += 2) {
		unsigned long long value = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;

		if (i + 1 == argc)
			usage();
		if (strcmp(argv[i], "--cases") == 0)
			cases = value;
		else if (strcmp(argv[i], "--hosts") == 0)
			only = argv[i + 1];
		else if (strcmp(argv[i], "--seed") != 0)
			usage();
		for (size_t k = 0; k < 4 && strcmp(argv[i], "--seed") == 0; k++)
			shapes[k].first = value;
	}
	for (size_t k = 0; k < 4; k++) {
		if (only && strncmp(shapes[k].name, only, strlen(only)) != 0)
			continue;
		if (cases)
			shapes[k].n = only ? cases : (cases * percent[k] + 99) / 100;
		tests[n++] = (struct CMUnitTest){ shapes[k].name, test_properties, NULL, NULL, &shapes[k] };
	}
	if (n == 0)
		usage();
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return _cmocka_run_group_tests("properties", tests, n, NULL, NULL);
}
