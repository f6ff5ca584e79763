/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Cost function, and the assignment against brute force. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/cost.h"
#include "core/planner_internal.h"
#include "gen.h"

static void test_compare_is_lexicographic(void **state)
{
	struct vbmq_cost a = { 1, 0, 0, 0 }, b = { 0, 999, 99, 99 }, c = { 0, 999, 98, 100 }, d = { 0, 999, 98, 99 };

	assert_true(vbmq_cost_compare(&a, &b) > 0);
	assert_true(vbmq_cost_compare(&b, &c) > 0);
	assert_true(vbmq_cost_compare(&c, &d) > 0);
	assert_int_equal(vbmq_cost_compare(&d, &d), 0);
	assert_true(vbmq_cost_compare(&d, &a) < 0);
}

static void test_distances(void **state)
{
	struct vbmq_host *h = gen_regular_host(3, 1, 2, 1);
	struct vbmq_cpuset ids = VBMQ_CPUSET_EMPTY;

	h->distances[0 * 3 + 1] = 31;
	assert_int_equal(vbmq_cost_beyond(h, 0, 0), 0);
	assert_int_equal(vbmq_cost_beyond(h, 0, 1), 21);
	assert_int_equal(vbmq_cost_beyond(h, 0, 77), 0); /* no such node */
	assert_int_equal(vbmq_cost_beyond_nearest(h, 0, &ids), 0);
	vbmq_cpuset_add(&ids, 1);
	vbmq_cpuset_add(&ids, 2);
	assert_int_equal(vbmq_cost_beyond_nearest(h, 0, &ids), 10);
	vbmq_host_free(h);
}

static void test_near(void **state)
{
	struct vbmq_host *h = gen_regular_host(2, 2, 2, 1); /* L3 domains 0-1 2-3 | 4-5 6-7 */
	struct vbmq_cpuset place = vbmq_cpuset_of(1);

	assert_true(vbmq_cost_is_fixed(h, &place));
	assert_int_equal(vbmq_cost_near(h, 0, &place), 0);
	assert_int_equal(vbmq_cost_near(h, 2, &place), VBMQ_COST_FIXED);
	assert_int_equal(vbmq_cost_near(h, 4, &place), 2 * VBMQ_COST_FIXED);
	vbmq_cpuset_add(&place, 3);
	assert_false(vbmq_cost_is_fixed(h, &place));
	assert_int_equal(vbmq_cost_near(h, 0, &place), VBMQ_COST_FLOATING / 2);
	place = VBMQ_CPUSET_EMPTY;
	assert_false(vbmq_cost_is_fixed(h, &place));
	assert_int_equal(vbmq_cost_near(h, 0, &place), 0);
	vbmq_host_free(h);
}

/* A small assignment: up to 5 rows in classes, columns with room for several, bases shared by columns, discounts. */
struct small {
	struct vbmq_assign a;
	uint32_t supply[5], room[5], base_of[5], class_of[5];
	vbmq_cost_key base[25];
	struct vbmq_discount discounts[5];
	size_t n_rows;
};

static vbmq_cost_key cost_of(const struct small *s, uint32_t class, uint32_t col)
{
	vbmq_cost_key cost = s->base[class * s->a.n_bases + s->base_of[col]];

	for (size_t i = 0; i < s->a.n_discounts && cost < VBMQ_ASSIGN_NEVER; i++)
		if (s->discounts[i].class == class && s->discounts[i].col == col)
			cost -= s->discounts[i].less;
	return cost;
}

static vbmq_cost_key brute(const struct small *s, size_t row, const uint32_t *room)
{
	vbmq_cost_key best = VBMQ_ASSIGN_NEVER;

	if (row == s->n_rows)
		return 0;
	for (uint32_t c = 0; c < s->a.n_cols; c++) {
		uint32_t left[5];
		vbmq_cost_key rest, cost = cost_of(s, s->class_of[row], c);

		if (room[c] == 0 || cost >= VBMQ_ASSIGN_NEVER)
			continue;
		memcpy(left, room, sizeof(left));
		left[c]--;
		rest = brute(s, row + 1, left);
		if (rest < VBMQ_ASSIGN_NEVER && rest + cost < best)
			best = rest + cost;
	}
	return best;
}

static void make_small(struct gen *g, struct small *s)
{
	*s = (struct small){ .a = { .n_cols = 1 + gen_below(g, 5), .n_bases = 1 + gen_below(g, 5) } };
	for (uint32_t c = 0; c < s->a.n_cols; c++) {
		s->room[c] = gen_below(g, 4);
		s->base_of[c] = gen_below(g, (uint32_t)s->a.n_bases);
	}
	for (uint32_t left = gen_below(g, 6); left; s->a.n_classes++) {
		uint32_t n = 1 + gen_below(g, left);

		s->supply[s->a.n_classes] = n;
		for (left -= n; n; n--)
			s->class_of[s->n_rows++] = (uint32_t)s->a.n_classes;
		if (gen_chance(g, 40))
			s->discounts[s->a.n_discounts++] =
				(struct vbmq_discount){ (uint32_t)s->a.n_classes, gen_below(g, (uint32_t)s->a.n_cols),
							(vbmq_cost_key)gen_below(g, 2) << 80 };
	}
	for (size_t k = 0; k < s->a.n_classes * s->a.n_bases; k++)
		s->base[k] = gen_chance(g, 25) ? VBMQ_ASSIGN_NEVER
					       : ((vbmq_cost_key)(1 + gen_below(g, 5)) << 80) + gen_below(g, 9);
	s->a.supply = s->supply;
	s->a.room = s->room;
	s->a.base_of = s->base_of;
	s->a.base = s->base;
	s->a.discounts = s->discounts;
}

static void test_assign_is_exact(void **state)
{
	struct gen g = gen_seed(99);

	for (unsigned i = 0; i < 20000; i++) {
		vbmq_cost_key best, sum = 0;
		uint32_t flow[25] = { 0 };
		struct small s;
		int r;

		make_small(&g, &s);
		best = brute(&s, 0, s.room);
		r = vbmq_assign(&s.a, flow);
		assert_int_equal(r, best < VBMQ_ASSIGN_NEVER ? 0 : -ENOENT);
		for (uint32_t c = 0; c < s.a.n_cols && r == 0; c++) {
			uint32_t load = 0;

			for (uint32_t k = 0; k < s.a.n_classes; k++) {
				load += flow[k * s.a.n_cols + c];
				if (flow[k * s.a.n_cols + c])
					sum += cost_of(&s, k, c) * flow[k * s.a.n_cols + c];
			}
			assert_true(load <= s.room[c]);
		}
		for (uint32_t k = 0; k < s.a.n_classes && r == 0; k++) {
			uint32_t n = 0;

			for (uint32_t c = 0; c < s.a.n_cols; c++)
				n += flow[k * s.a.n_cols + c];
			assert_int_equal(n, s.supply[k]);
		}
		if (r == 0)
			assert_true(sum == best);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare_is_lexicographic),
		cmocka_unit_test(test_distances),
		cmocka_unit_test(test_near),
		cmocka_unit_test(test_assign_is_exact),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
