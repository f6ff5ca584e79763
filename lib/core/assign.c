/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Min-cost assignment of rows to columns by successive shortest augmenting paths (Jonker, Volgenant), dense, exact, with
 * integer potentials. O(rows^2 * cols) at worst; a search ends at the first free column, so that a state in which most
 * rows have a free best column costs rows * cols. Ties go to the lower column, hence the result depends on nothing but
 * the matrix.
 */

#include <errno.h>
#include <stdlib.h>

#include "core/planner_internal.h"

struct assign {
	size_t n_rows, n_cols;
	const vbmq_cost_key *cost;
	vbmq_cost_key *u, *v; /* potentials of rows and columns */
	vbmq_cost_key *dist; /* of columns from the row being inserted */
	uint32_t *row_of; /* column -> row */
	uint32_t *from; /* column -> column before it on the path, or VBMQ_PL_NONE */
	bool *done;
};

/* Scans row (reached with reduced length base through column via) and returns the nearest column not done yet. */
static uint32_t relax(struct assign *a, uint32_t row, vbmq_cost_key base, uint32_t via)
{
	const vbmq_cost_key *cost = a->cost + (size_t)row * a->n_cols;
	vbmq_cost_key best = VBMQ_ASSIGN_NEVER;
	uint32_t nearest = VBMQ_PL_NONE;

	for (uint32_t c = 0; c < a->n_cols; c++) {
		if (a->done[c])
			continue;
		if (cost[c] < VBMQ_ASSIGN_NEVER) {
			vbmq_cost_key d = base + cost[c] - a->u[row] - a->v[c];

			if (d < a->dist[c]) {
				a->dist[c] = d;
				a->from[c] = via;
			}
		}
		/* Among equals a free column ends the search, so it comes first. */
		if (a->dist[c] < best || (a->dist[c] == best && nearest != VBMQ_PL_NONE &&
					  a->row_of[nearest] != VBMQ_PL_NONE && a->row_of[c] == VBMQ_PL_NONE)) {
			best = a->dist[c];
			nearest = c;
		}
	}
	return best < VBMQ_ASSIGN_NEVER ? nearest : VBMQ_PL_NONE;
}

static int insert(struct assign *a, uint32_t row)
{
	uint32_t at = VBMQ_PL_NONE, scan = row;
	vbmq_cost_key base = 0;

	for (size_t c = 0; c < a->n_cols; c++) {
		a->dist[c] = VBMQ_ASSIGN_NEVER;
		a->from[c] = VBMQ_PL_NONE;
		a->done[c] = false;
	}
	for (;;) {
		at = relax(a, scan, base, at);
		if (at == VBMQ_PL_NONE)
			return -ENOENT;
		a->done[at] = true;
		base = a->dist[at];
		if (a->row_of[at] == VBMQ_PL_NONE)
			break;
		scan = a->row_of[at];
	}
	a->u[row] += base;
	for (size_t c = 0; c < a->n_cols; c++) {
		if (!a->done[c] || c == at)
			continue;
		a->v[c] -= base - a->dist[c];
		a->u[a->row_of[c]] += base - a->dist[c];
	}
	while (at != VBMQ_PL_NONE) {
		uint32_t before = a->from[at];

		a->row_of[at] = before == VBMQ_PL_NONE ? row : a->row_of[before];
		at = before;
	}
	return 0;
}

int vbmq_assign(size_t n_rows, size_t n_cols, const vbmq_cost_key *cost, uint32_t *ret_col)
{
	_cleanup_free_ vbmq_cost_key *keys = NULL;
	_cleanup_free_ uint32_t *numbers = NULL;
	_cleanup_free_ bool *done = NULL;
	struct assign a = { .n_rows = n_rows, .n_cols = n_cols, .cost = cost };
	int r;

	if (n_rows == 0)
		return 0;
	if (n_rows > n_cols)
		return -ENOENT;
	keys = calloc(n_rows + 2 * n_cols, sizeof(*keys));
	numbers = calloc(2 * n_cols, sizeof(*numbers));
	done = calloc(n_cols, sizeof(*done));
	if (!keys || !numbers || !done)
		return -ENOMEM;
	a.u = keys;
	a.v = keys + n_rows;
	a.dist = keys + n_rows + n_cols;
	a.row_of = numbers;
	a.from = numbers + n_cols;
	a.done = done;
	for (size_t c = 0; c < n_cols; c++)
		a.row_of[c] = VBMQ_PL_NONE;
	for (uint32_t row = 0; row < n_rows; row++) {
		r = insert(&a, row);
		if (r < 0)
			return r;
	}
	for (uint32_t c = 0; c < n_cols; c++)
		if (a.row_of[c] != VBMQ_PL_NONE)
			ret_col[a.row_of[c]] = c;
	return 0;
}
