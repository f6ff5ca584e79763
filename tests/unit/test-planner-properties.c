/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Thousands of random hosts with fixed seeds: what planner.h and diff.h promise holds on every one. */

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

struct shape {
	uint64_t first, n;
	unsigned max_cpus, max_domains;
};

static void complain(const struct vbmq_placement *p, const struct vbmq_step *steps, size_t n, uint64_t seed,
		     const char *what, const char *wrong)
{
	char *plan = sim_dump(p), *text = sim_dump_steps(steps, n);

	fprintf(stderr, "%s%s", plan ? plan : "", text ? text : "");
	free(plan);
	free(text);
	fail_msg("seed %llu, %s: %s", (unsigned long long)seed, what, wrong);
}

/* Plans, checks, plays the steps, checks again; s is at rest then. */
static void round_trip(struct vbmq_snapshot *s, const struct vbmq_policy *policy, uint64_t seed, const char *what)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_placement *p = NULL;
	struct vbmq_step *steps = NULL;
	const char *wrong;
	size_t n = 0;

	if (vbmq_planner_run(s, policy, &p, &err) < 0)
		fail_msg("seed %llu, %s: %s", (unsigned long long)seed, what, err.text);
	if (vbmq_diff(s, p, &steps, &n, &err) < 0)
		fail_msg("seed %llu, %s: %s", (unsigned long long)seed, what, err.text);
	wrong = props_placement(s, policy, p);
	if (!wrong)
		wrong = props_steps(s, p, steps, n);
	if (!wrong)
		wrong = props_at_rest(s, policy, p);
	if (wrong)
		complain(p, steps, n, seed, what, wrong);
	vbmq_steps_free(steps, n);
	vbmq_placement_free(p);
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
	}
	assert_int_equal(vbmq_snapshot_finish(s, &err), 0);
}

static void test_properties(void **state)
{
	const struct shape *shape = *state;

	for (uint64_t seed = shape->first; seed < shape->first + shape->n; seed++) {
		struct gen g = gen_seed(seed);
		struct vbmq_snapshot *s = gen_snapshot(&g, shape->max_cpus, shape->max_domains);
		struct vbmq_policy policy;

		gen_policy(&g, s->host, &policy);
		round_trip(s, &policy, seed, "at first");
		disturb(&g, s);
		round_trip(s, &policy, seed, "after a change");
		vbmq_policy_done(&policy);
		gen_policy(&g, s->host, &policy);
		round_trip(s, &policy, seed, "with another policy");
		vbmq_policy_done(&policy);
		vbmq_snapshot_free(s);
	}
}

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

/* Same content, other order of input: same plan, to the last byte. Same input twice: the same, too. */
static void test_order_does_not_matter(void **state)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct gen g = gen_seed(seed);
		struct vbmq_snapshot *s = gen_snapshot(&g, 96, 8), *other = sim_copy(s);
		struct vbmq_err err = VBMQ_ERR_INIT;
		struct vbmq_policy policy;
		char *a, *b, *c;

		gen_policy(&g, s->host, &policy);
		shuffle(&g, other->domains, other->n_domains, sizeof(other->domains[0]));
		for (size_t i = 0; i < other->n_domains; i++) {
			struct vbmq_domain *d = other->domains[i];

			shuffle(&g, d->threads, d->n_threads, sizeof(d->threads[0]));
			shuffle(&g, d->disks, d->n_disks, sizeof(d->disks[0]));
		}
		assert_int_equal(vbmq_snapshot_finish(other, &err), 0);
		a = plan_text(s, &policy);
		b = plan_text(other, &policy);
		c = plan_text(s, &policy);
		assert_string_equal(a, b);
		assert_string_equal(a, c);
		free(a);
		free(b);
		free(c);
		vbmq_policy_done(&policy);
		vbmq_snapshot_free(s);
		vbmq_snapshot_free(other);
	}
}

int main(void)
{
	static struct shape tiny = { 1, 2000, 8, 4 }, small = { 10000, 1500, 48, 8 }, crowd = { 20000, 200, 64, 24 },
			    large = { 30000, 40, 512, 40 };
	const struct CMUnitTest tests[] = {
		{ "tiny hosts", test_properties, NULL, NULL, &tiny },
		{ "small hosts", test_properties, NULL, NULL, &small },
		{ "crowded hosts", test_properties, NULL, NULL, &crowd },
		{ "large hosts", test_properties, NULL, NULL, &large },
		cmocka_unit_test(test_order_does_not_matter),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
