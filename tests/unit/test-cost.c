/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Cost function, its packed form, and the assignment against brute force. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

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

static void test_add_saturates(void **state)
{
	struct vbmq_cost a = { UINT64_MAX, 1, 2, 3 }, b = { 1, 10, 20, 30 }, sum = vbmq_cost_add(&a, &b);

	assert_true(sum.numa == UINT64_MAX);
	assert_int_equal(sum.locality, 11);
	assert_int_equal(sum.moves, 22);
	assert_int_equal(sum.fragment, 33);
}

/* Sums of packed costs are ordered as the sums are. */
static void test_pack_keeps_order(void **state)
{
	struct gen g = gen_seed(7);

	for (unsigned i = 0; i < 2000; i++) {
		struct vbmq_cost sum[2] = { { 0 }, { 0 } };
		vbmq_cost_key key[2] = { 0, 0 };
		vbmq_cost_key diff;

		for (unsigned side = 0; side < 2; side++)
			for (unsigned n = 0; n < 100; n++) {
				struct vbmq_cost c = { gen_below(&g, 2), gen_below(&g, 3) * 1000, gen_below(&g, 9),
						       gen_below(&g, 65536) };

				sum[side] = vbmq_cost_add(&sum[side], &c);
				key[side] += vbmq_cost_pack(&c);
			}
		diff = key[0] - key[1];
		assert_int_equal(vbmq_cost_compare(&sum[0], &sum[1]), diff < 0 ? -1 : diff > 0);
	}
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

static vbmq_cost_key brute(size_t row, size_t rows, size_t cols, const vbmq_cost_key *m, unsigned used)
{
	vbmq_cost_key best = VBMQ_ASSIGN_NEVER;

	if (row == rows)
		return 0;
	for (size_t c = 0; c < cols; c++) {
		vbmq_cost_key rest;

		if (used & 1u << c || m[row * cols + c] >= VBMQ_ASSIGN_NEVER)
			continue;
		rest = brute(row + 1, rows, cols, m, used | 1u << c);
		if (rest < VBMQ_ASSIGN_NEVER && rest + m[row * cols + c] < best)
			best = rest + m[row * cols + c];
	}
	return best;
}

static void test_assign_is_exact(void **state)
{
	struct gen g = gen_seed(99);

	for (unsigned i = 0; i < 3000; i++) {
		size_t cols = 1 + gen_below(&g, 6), rows = gen_below(&g, (uint32_t)cols + 1);
		vbmq_cost_key m[36], best, sum = 0;
		uint32_t col[6] = { 0 };
		unsigned used = 0;
		int r;

		for (size_t k = 0; k < rows * cols; k++)
			m[k] = gen_chance(&g, 25) ? VBMQ_ASSIGN_NEVER
						  : ((vbmq_cost_key)gen_below(&g, 5) << 80) + gen_below(&g, 9);
		best = brute(0, rows, cols, m, 0);
		r = vbmq_assign(rows, cols, m, col);
		assert_int_equal(r, best < VBMQ_ASSIGN_NEVER ? 0 : -ENOENT);
		for (size_t k = 0; k < rows && r == 0; k++) {
			assert_false(used & 1u << col[k]);
			used |= 1u << col[k];
			sum += m[k * cols + col[k]];
		}
		if (r == 0)
			assert_true(sum == best);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare_is_lexicographic),
		cmocka_unit_test(test_add_saturates),
		cmocka_unit_test(test_pack_keeps_order),
		cmocka_unit_test(test_distances),
		cmocka_unit_test(test_near),
		cmocka_unit_test(test_assign_is_exact),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
