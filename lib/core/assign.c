/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Min-cost assignment of rows to columns with room for several, by successive shortest augmenting paths with integer potentials
 * (Jonker, Volgenant; the transportation problem), exact. Rows that cost the same everywhere are one class, columns that cost
 * every class the same are one column with more room, so that the work follows the number of different things, not of things:
 * a search looks at every class once at most, O(classes * columns), and there is one search for each row at worst. It ends at the
 * first column with room; most rows have room on their best one, and their search is one look at the columns.
 *
 * Potentials: u by class, v by column, v <= 0 and 0 where there is room; cost - u - v >= 0 everywhere, 0 where rows are. A class
 * on several columns is at the same distance on all of them, so it is enough to look at it when the first one is reached.
 * It begins with everybody who has room at what is cheapest for him: at v = 0 that is optimal for them, and no search is needed. Where
 * threads stand already that is nearly all.
 *
 * Ties go to the column with room, then to the lower one: the result depends on nothing but the numbers.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"

struct work {
	const struct vbmq_assign *a;
	vbmq_cost_key *u, *v;
	vbmq_cost_key *dist; /* of columns from the class being inserted */
	vbmq_cost_key *at; /* distance at which a class was looked at */
	uint32_t *flow; /* class, column */
	uint32_t *load; /* column */
	uint32_t *from; /* column -> class it was reached from */
	uint32_t *through; /* class -> column it was reached through; VBMQ_PL_NONE: it is where the search began */
	uint32_t *left; /* class -> rows not placed yet, after the beginning */
	uint32_t *first; /* class -> its first discount; one more at the end */
	uint32_t *members; /* classes that have rows on a column, where[column] on */
	uint32_t *where, *n_members;
	bool *done; /* column */
	bool *seen; /* class */
};

static void reach(struct work *w, uint32_t class, uint32_t col, vbmq_cost_key d)
{
	if (!w->done[col] && d < w->dist[col]) {
		w->dist[col] = d;
		w->from[col] = class;
	}
}

static void look(struct work *w, uint32_t class, uint32_t through, vbmq_cost_key base)
{
	const struct vbmq_assign *a = w->a;
	const vbmq_cost_key *costs = a->base + (size_t) class * a->n_bases;

	w->seen[class] = true;
	w->at[class] = base;
	w->through[class] = through;
	base -= w->u[class];
	for (uint32_t c = 0; c < a->n_cols; c++)
		if (costs[a->base_of[c]] < VBMQ_ASSIGN_NEVER)
			reach(w, class, c, base + costs[a->base_of[c]] - w->v[c]);
	for (uint32_t i = w->first[class]; i < w->first[class + 1]; i++) {
		uint32_t c = a->discounts[i].col;

		if (costs[a->base_of[c]] < VBMQ_ASSIGN_NEVER)
			reach(w, class, c, base + costs[a->base_of[c]] - a->discounts[i].less - w->v[c]);
	}
}

static uint32_t nearest(const struct work *w)
{
	vbmq_cost_key best = VBMQ_ASSIGN_NEVER;
	uint32_t found = VBMQ_PL_NONE;
	bool has_room = false;

	for (uint32_t c = 0; c < w->a->n_cols; c++) {
		bool room = w->load[c] < w->a->room[c];

		if (w->done[c] || w->dist[c] > best || w->dist[c] >= VBMQ_ASSIGN_NEVER)
			continue;
		if (w->dist[c] < best || (room && !has_room)) {
			best = w->dist[c];
			found = c;
			has_room = room;
		}
	}
	return found;
}

static void add_flow(struct work *w, uint32_t class, uint32_t col, uint32_t n)
{
	uint32_t *flow = &w->flow[(size_t) class * w->a->n_cols + col];

	if (*flow == 0)
		w->members[w->where[col] + w->n_members[col]++] = class;
	*flow += n;
}

static void take_flow(struct work *w, uint32_t class, uint32_t col, uint32_t n)
{
	uint32_t *flow = &w->flow[(size_t) class * w->a->n_cols + col];
	uint32_t *members = w->members + w->where[col], i = 0;

	*flow -= n;
	if (*flow)
		return;
	while (members[i] != class)
		i++;
	members[i] = members[--w->n_members[col]];
}

/* Shortest path from class to a column with room; VBMQ_PL_NONE: there is none. */
static uint32_t search(struct work *w, uint32_t class)
{
	const struct vbmq_assign *a = w->a;
	uint32_t end;

	for (uint32_t c = 0; c < a->n_cols; c++)
		w->dist[c] = VBMQ_ASSIGN_NEVER;
	memset(w->done, 0, a->n_cols * sizeof(*w->done));
	memset(w->seen, 0, a->n_classes * sizeof(*w->seen));
	look(w, class, VBMQ_PL_NONE, 0);
	for (;;) {
		end = nearest(w);
		if (end == VBMQ_PL_NONE)
			return end;
		w->done[end] = true;
		if (w->load[end] < a->room[end])
			break;
		for (uint32_t i = 0; i < w->n_members[end]; i++) {
			uint32_t other = w->members[w->where[end] + i];

			if (!w->seen[other])
				look(w, other, end, w->dist[end]);
		}
	}
	for (uint32_t k = 0; k < a->n_classes; k++)
		if (w->seen[k])
			w->u[k] += w->dist[end] - w->at[k];
	for (uint32_t c = 0; c < a->n_cols; c++)
		if (w->done[c])
			w->v[c] -= w->dist[end] - w->dist[c];
	return end;
}

/* At most n rows of a class along the path that ends at col; how many it were. */
static uint32_t augment(struct work *w, uint32_t col, uint32_t n)
{
	if (w->a->room[col] - w->load[col] < n)
		n = w->a->room[col] - w->load[col];
	for (uint32_t c = col, k = w->from[c]; w->through[k] != VBMQ_PL_NONE; c = w->through[k], k = w->from[c]) {
		uint32_t there = w->flow[(size_t)k * w->a->n_cols + w->through[k]];

		n = there < n ? there : n;
	}
	w->load[col] += n;
	for (uint32_t c = col;;) {
		uint32_t k = w->from[c];

		/* First away, then to: a column's list of members has room for no more than the rows it has room for. */
		if (w->through[k] == VBMQ_PL_NONE) {
			add_flow(w, k, c, n);
			return n;
		}
		take_flow(w, k, w->through[k], n);
		add_flow(w, k, c, n);
		c = w->through[k];
	}
}

/* What a class costs where it is cheapest; VBMQ_ASSIGN_NEVER: it may go nowhere. */
static vbmq_cost_key cheapest(const struct work *w, uint32_t class)
{
	const struct vbmq_assign *a = w->a;
	const vbmq_cost_key *costs = a->base + (size_t) class * a->n_bases;
	vbmq_cost_key least = VBMQ_ASSIGN_NEVER;

	for (size_t i = 0; i < a->n_bases; i++)
		least = costs[i] < least ? costs[i] : least;
	for (uint32_t i = w->first[class]; i < w->first[class + 1]; i++) {
		vbmq_cost_key cost = costs[a->base_of[a->discounts[i].col]];

		if (cost < VBMQ_ASSIGN_NEVER && cost - a->discounts[i].less < least)
			least = cost - a->discounts[i].less;
	}
	return least;
}

static uint32_t fill(struct work *w, uint32_t class, uint32_t col, uint32_t left)
{
	uint32_t room = w->a->room[col] - w->load[col], n = left < room ? left : room;

	if (n) {
		w->load[col] += n;
		add_flow(w, class, col, n);
	}
	return left - n;
}

/* Places of a class as many as have room at what is cheapest; how many are left. */
static uint32_t place_cheapest(struct work *w, uint32_t class)
{
	const struct vbmq_assign *a = w->a;
	const vbmq_cost_key *costs = a->base + (size_t) class * a->n_bases;
	vbmq_cost_key least = cheapest(w, class);
	uint32_t left = a->supply[class];

	if (least >= VBMQ_ASSIGN_NEVER)
		return left;
	w->u[class] = least;
	for (uint32_t i = w->first[class]; i < w->first[class + 1] && left; i++) {
		vbmq_cost_key cost = costs[a->base_of[a->discounts[i].col]];

		if (cost < VBMQ_ASSIGN_NEVER && cost - a->discounts[i].less == least)
			left = fill(w, class, a->discounts[i].col, left);
	}
	for (uint32_t c = 0; c < a->n_cols && left; c++)
		if (costs[a->base_of[c]] == least)
			left = fill(w, class, c, left);
	return left;
}

static int run(struct work *w)
{
	const struct vbmq_assign *a = w->a;
	uint32_t where = 0;

	for (uint32_t k = 0, i = 0; k <= a->n_classes; k++) {
		while (i < a->n_discounts && a->discounts[i].class < k)
			i++;
		w->first[k] = i;
	}
	for (uint32_t c = 0; c < a->n_cols; c++) {
		w->where[c] = where;
		where += a->room[c] + 1;
	}
	for (uint32_t k = 0; k < a->n_classes; k++)
		w->left[k] = place_cheapest(w, k);
	for (uint32_t k = 0; k < a->n_classes; k++)
		for (uint32_t left = w->left[k]; left;) {
			uint32_t end = search(w, k);

			if (end == VBMQ_PL_NONE)
				return -ENOENT;
			left -= augment(w, end, left);
		}
	return 0;
}

int vbmq_assign(const struct vbmq_assign *a, uint32_t *ret_flow)
{
	_cleanup_free_ vbmq_cost_key *keys = calloc(2 * a->n_cols + 2 * a->n_classes + 1, sizeof(*keys));
	_cleanup_free_ uint32_t *numbers = NULL;
	_cleanup_free_ bool *flags = calloc(a->n_cols + a->n_classes + 1, sizeof(*flags));
	size_t n_members = a->n_cols;
	struct work w = { .a = a, .flow = ret_flow };

	for (size_t c = 0; c < a->n_cols; c++)
		n_members += a->room[c];
	numbers = calloc(4 * a->n_cols + 3 * a->n_classes + n_members + 2, sizeof(*numbers));
	if (!keys || !numbers || !flags)
		return -ENOMEM;
	w.v = keys;
	w.dist = w.v + a->n_cols;
	w.u = w.dist + a->n_cols;
	w.at = w.u + a->n_classes;
	w.load = numbers;
	w.from = w.load + a->n_cols;
	w.where = w.from + a->n_cols;
	w.n_members = w.where + a->n_cols;
	w.through = w.n_members + a->n_cols;
	w.left = w.through + a->n_classes;
	w.first = w.left + a->n_classes;
	w.members = w.first + a->n_classes + 1;
	w.done = flags;
	w.seen = flags + a->n_cols;
	memset(ret_flow, 0, a->n_classes * a->n_cols * sizeof(*ret_flow));
	return run(&w);
}
