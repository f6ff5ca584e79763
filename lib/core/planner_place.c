/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which core: one exact min-cost assignment of the granted units to the cores (assign.c). The objective is lexicographic: distance,
 * locality and moves (cost.h) of the highest priority, the same of the next one, and so on; then fragmentation, of all. It is
 * made one number by weights: what a level counts is more than all levels below it can add up to. As many classes of priority
 * as fit into the number so are placed together, mostly all; what does not fit follows in another assignment, on what is left.
 *
 * What is alike is put together first. Units that cost the same everywhere are a row with more than one of it; cores of the same
 * zone and fragmentation that fit the same shapes are one column with room for many, but for those on which a thread stands that
 * is to be placed, which is a column of its own, at a discount for that one.
 *
 * Two kinds of silent rows keep the later classes feasible: units of lower classes that do not fit everywhere are in the matrix at
 * no cost, and where isolated cores let more units be granted than the budget allows on others, dummy rows occupy the cores
 * beyond the budget.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_pl_pool *, vbmq_pl_pool_free);

#define KEY_BITS 120u

/* One unit of the classes that are placed now. */
struct row {
	uint32_t unit;
	uint32_t class; /* of rows that cost the same */
	uint32_t rank; /* of its priority among those placed now */
	uint32_t n_stand; /* threads that stand somewhere */
	uint64_t gain; /* what locality must gain for those of them to move that really stand on a core of their own */
	bool home; /* some stand on one core that is left */
	uint64_t least_numa, least_locality; /* that it costs anywhere */
};

struct batch {
	struct vbmq_pl_pool *p;
	struct row *rows;
	size_t n_rows;
	size_t n_ranks;
	struct vbmq_pl_zone_cost *zones; /* row, zone; less the least */
	vbmq_cost_key *weight; /* rank: of numa, locality, moves */

	uint32_t *col_of; /* core -> column, or VBMQ_PL_NONE */
	uint32_t *base_core; /* base -> its first core */
	uint32_t *base_of, *room; /* column */
	uint32_t *base_col; /* base -> column of those on which nobody stands, or VBMQ_PL_NONE */
	bool *stood_on; /* core */
	size_t n_cols, n_bases;

	uint32_t *first; /* class -> its first row, VBMQ_PL_NONE: silent */
	uint32_t *fits; /* class; VBMQ_PL_NONE: dummies */
	uint32_t *supply; /* class */
	vbmq_cost_key *base;
	struct vbmq_discount *discounts;
	size_t n_classes, n_discounts;
};

static void batch_done(struct batch *b)
{
	free(b->rows);
	free(b->zones);
	free(b->weight);
	free(b->col_of);
	free(b->stood_on);
	free(b->first);
	free(b->base);
	free(b->discounts);
}

/* --- rows ------------------------------------------------------------------------------------------------------------- */

/* The core inside which a thread stands, or VBMQ_PL_NONE. */
static uint32_t core_under(const struct vbmq_pl *pl, const struct vbmq_pl_thread *t)
{
	return pl->sets[t->now].core;
}

static int fill_row(struct batch *b, struct row *row, struct vbmq_pl_zone_cost *zones)
{
	struct vbmq_pl *pl = b->p->pl;
	const struct vbmq_pl_unit *u = &pl->units[row->unit];
	struct vbmq_pl_domain *d = &pl->domains[u->domain];

	for (size_t i = 0; i < u->n_threads; i++) {
		const struct vbmq_pl_thread *t = &d->threads[u->threads[i]];
		uint32_t core = core_under(pl, t);

		if (vbmq_pl_zone_costs(b->p, d, t, zones) < 0)
			return -ENOMEM;
		row->n_stand += t->now != VBMQ_PL_NOWHERE;
		row->gain += core != VBMQ_PL_NONE && t->stood ? pl->policy->move_gain : 0;
		if (core != VBMQ_PL_NONE && b->col_of[core] != VBMQ_PL_NONE) {
			b->stood_on[core] = true;
			row->home = true;
		}
	}
	row->least_numa = UINT64_MAX;
	row->least_locality = UINT64_MAX;
	for (size_t z = 0; z < pl->n_zones; z++) {
		row->least_numa = zones[z].numa < row->least_numa ? zones[z].numa : row->least_numa;
		row->least_locality = zones[z].locality < row->least_locality ? zones[z].locality : row->least_locality;
	}
	for (size_t z = 0; z < pl->n_zones; z++) {
		zones[z].numa -= row->least_numa;
		zones[z].locality -= row->least_locality;
	}
	return 0;
}

/* How much the rows of a rank can cost at most on one level. */
static vbmq_cost_key most(const struct batch *b, uint32_t rank, unsigned level)
{
	const size_t n_zones = b->p->pl->n_zones;
	vbmq_cost_key sum = 0;

	for (size_t i = 0; i < b->n_rows; i++) {
		uint64_t top = level == 2 ? b->rows[i].n_stand : 0;

		if (b->rows[i].rank != rank)
			continue;
		for (size_t z = 0; z < n_zones && level < 2; z++) {
			const struct vbmq_pl_zone_cost *c = &b->zones[i * n_zones + z];
			uint64_t value = level == 0 ? c->numa : c->locality;

			top = value > top ? value : top;
		}
		top += level == 1 ? b->rows[i].gain : 0;
		sum += top;
	}
	return sum;
}

static unsigned bits(vbmq_cost_key v)
{
	uint64_t high = (uint64_t)(v >> 64), low = (uint64_t)v;

	if (high)
		return 128 - (unsigned)__builtin_clzll(high);
	return low ? 64 - (unsigned)__builtin_clzll(low) : 0;
}

/* A level weighs more than all below it together. Only the highest priorities for which there is room in the key stay. */
static int set_weights(struct batch *b)
{
	_cleanup_free_ vbmq_cost_key *tops = calloc(3 * b->n_ranks, sizeof(*tops));
	vbmq_cost_key total, below = 1;

	b->weight = calloc(3 * b->n_ranks, sizeof(*b->weight));
	if (!tops || !b->weight)
		return -ENOMEM;
	for (size_t c = 0; c < b->p->pl->host->n_cores; c++)
		if (b->col_of[c] != VBMQ_PL_NONE && (vbmq_cost_key)b->p->fragment[c] > below)
			below = (vbmq_cost_key)b->p->fragment[c];
	below = below * (vbmq_cost_key)b->n_rows + 1;
	total = below;
	for (size_t i = 0; i < 3 * b->n_ranks; i++) {
		tops[i] = most(b, (uint32_t)(i / 3), i % 3) + 1;
		if (i >= 3 && bits(total) + bits(tops[i]) > KEY_BITS) { /* the highest class fits in any case */
			b->n_ranks = i / 3;
			break;
		}
		total *= tops[i];
	}
	while (b->n_rows && b->rows[b->n_rows - 1].rank >= b->n_ranks)
		b->n_rows--;
	for (size_t i = 3 * b->n_ranks; i-- > 0;) {
		b->weight[i] = below;
		below *= tops[i];
	}
	return 0;
}

static vbmq_cost_key key_of(const struct batch *b, size_t row, uint32_t core)
{
	const struct vbmq_pl_zone_cost *z = &b->zones[row * b->p->pl->n_zones + b->p->pl->zone[core]];
	const vbmq_cost_key *w = &b->weight[3 * b->rows[row].rank];

	return (vbmq_cost_key)z->numa * w[0] + (vbmq_cost_key)(z->locality + b->rows[row].gain) * w[1] +
	       (vbmq_cost_key)b->rows[row].n_stand * w[2] + (vbmq_cost_key)b->p->fragment[core];
}

/* --- columns ---------------------------------------------------------------------------------------------------------- */

static bool alike(const struct batch *b, uint32_t x, uint32_t y)
{
	const struct vbmq_pl *pl = b->p->pl;

	if (pl->zone[x] != pl->zone[y] || b->p->fragment[x] != b->p->fragment[y] ||
	    vbmq_cpuset_has(&pl->isolated, x) != vbmq_cpuset_has(&pl->isolated, y))
		return false;
	for (size_t i = 0; i < pl->n_fits; i++)
		if (pl->fits[i].n_units &&
		    vbmq_cpuset_has(&pl->fits[i].cores, x) != vbmq_cpuset_has(&pl->fits[i].cores, y))
			return false;
	return true;
}

static void make_columns(struct batch *b)
{
	for (uint32_t c = 0; c < b->p->pl->host->n_cores; c++) {
		size_t base = b->n_bases;

		if (b->col_of[c] == VBMQ_PL_NONE)
			continue;
		while (base > 0 && !alike(b, b->base_core[base - 1], c))
			base--;
		if (base == 0) {
			b->base_core[b->n_bases] = c;
			b->base_col[b->n_bases] = VBMQ_PL_NONE;
			base = ++b->n_bases;
		}
		base--;
		if (!b->stood_on[c] && b->base_col[base] != VBMQ_PL_NONE) {
			b->col_of[c] = b->base_col[base];
		} else {
			if (!b->stood_on[c])
				b->base_col[base] = (uint32_t)b->n_cols;
			b->base_of[b->n_cols] = (uint32_t)base;
			b->room[b->n_cols] = 0;
			b->col_of[c] = (uint32_t)b->n_cols++;
		}
		b->room[b->col_of[c]]++;
	}
}

/* --- classes of rows -------------------------------------------------------------------------------------------------- */

static bool same_row(const struct batch *b, size_t i, size_t j)
{
	const struct vbmq_pl *pl = b->p->pl;
	const struct row *x = &b->rows[i], *y = &b->rows[j];

	return x->rank == y->rank && x->n_stand == y->n_stand && x->gain == y->gain && !x->home && !y->home &&
	       pl->units[x->unit].fits == pl->units[y->unit].fits &&
	       memcmp(&b->zones[i * pl->n_zones], &b->zones[j * pl->n_zones], pl->n_zones * sizeof(*b->zones)) == 0;
}

static void make_classes(struct batch *b)
{
	const struct vbmq_pl *pl = b->p->pl;

	for (size_t i = 0; i < b->n_rows; i++) {
		size_t k = b->rows[i].home ? 0 : b->n_classes;

		while (k > 0 && !same_row(b, b->first[k - 1], i))
			k--;
		if (k == 0) {
			b->first[b->n_classes] = (uint32_t)i;
			b->fits[b->n_classes] = pl->units[b->rows[i].unit].fits;
			b->supply[b->n_classes] = 0;
			k = ++b->n_classes;
		}
		b->rows[i].class = (uint32_t)(k - 1);
		b->supply[k - 1]++;
	}
}

static void add_silent(struct batch *b, uint32_t fits, size_t n)
{
	for (size_t k = 0; k < b->n_classes; k++)
		if (b->first[k] == VBMQ_PL_NONE && b->fits[k] == fits) {
			b->supply[k] += (uint32_t)n;
			return;
		}
	b->first[b->n_classes] = VBMQ_PL_NONE;
	b->fits[b->n_classes] = fits;
	b->supply[b->n_classes++] = (uint32_t)n;
}

/* Cores that are not isolated and must stay free although columns: only if the rows left could overrun the budget. */
static size_t count_dummies(const struct batch *b, size_t n_left)
{
	const struct vbmq_pl *pl = b->p->pl;
	size_t left = pl->budget - b->p->n_rationed, n = 0;

	if (n_left <= left)
		return 0;
	for (uint32_t c = 0; c < pl->host->n_cores; c++)
		n += b->col_of[c] != VBMQ_PL_NONE && !vbmq_cpuset_has(&pl->isolated, c);
	return n > left ? n - left : 0;
}

static int make_matrix(struct batch *b)
{
	const struct vbmq_pl *pl = b->p->pl;

	b->base = calloc(b->n_classes * b->n_bases + 1, sizeof(*b->base));
	if (!b->base)
		return -ENOMEM;
	for (size_t k = 0; k < b->n_classes; k++)
		for (size_t i = 0; i < b->n_bases; i++) {
			uint32_t core = b->base_core[i];
			bool may = b->fits[k] == VBMQ_PL_NONE ? !vbmq_cpuset_has(&pl->isolated, core)
							      : vbmq_cpuset_has(&pl->fits[b->fits[k]].cores, core);

			if (!may)
				b->base[k * b->n_bases + i] = VBMQ_ASSIGN_NEVER;
			else if (b->first[k] != VBMQ_PL_NONE)
				b->base[k * b->n_bases + i] = key_of(b, b->first[k], core);
		}
	return 0;
}

/* Rows with a home are classes of their own, in the order of the rows: so these are sorted, as classes are made in that order. */
static int make_discounts(struct batch *b)
{
	const struct vbmq_pl *pl = b->p->pl;
	size_t n = 0;

	for (size_t i = 0; i < b->n_rows; i++)
		n += b->rows[i].home ? pl->units[b->rows[i].unit].n_threads : 0;
	b->discounts = calloc(n + 1, sizeof(*b->discounts));
	if (!b->discounts)
		return -ENOMEM;
	for (size_t i = 0; i < b->n_rows; i++) {
		const struct vbmq_pl_unit *u = &pl->units[b->rows[i].unit];
		size_t first = b->n_discounts;

		for (size_t t = 0; t < u->n_threads && b->rows[i].home; t++) {
			const struct vbmq_pl_thread *thread = &pl->domains[u->domain].threads[u->threads[t]];
			uint32_t core = core_under(pl, thread);
			uint32_t col = core == VBMQ_PL_NONE ? VBMQ_PL_NONE : b->col_of[core];
			size_t at = first;

			if (col == VBMQ_PL_NONE)
				continue;
			while (at < b->n_discounts && b->discounts[at].col != col)
				at++;
			b->discounts[at].class = b->rows[i].class;
			b->discounts[at].col = col;
			b->discounts[at].less += b->weight[3 * b->rows[i].rank + 2];
			if (thread->stood)
				b->discounts[at].less += b->weight[3 * b->rows[i].rank + 1] * pl->policy->move_gain;
			b->n_discounts += at == b->n_discounts;
		}
	}
	return 0;
}

/* --- assignment ------------------------------------------------------------------------------------------------------- */

struct unit_key {
	int32_t priority;
	uint32_t domain;
	uint32_t first; /* thread */
	uint32_t unit;
};

static int by_unit(const void *a, const void *b)
{
	const struct unit_key *x = a, *y = b;

	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	if (x->domain != y->domain)
		return x->domain < y->domain ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

static int batch_alloc(struct batch *b, size_t n_left)
{
	const struct vbmq_pl *pl = b->p->pl;
	size_t n_cores = pl->host->n_cores, n_classes = n_left + pl->n_fits + 2;

	b->rows = calloc(n_left + 1, sizeof(*b->rows));
	b->zones = calloc(n_left * pl->n_zones + 1, sizeof(*b->zones));
	b->col_of = calloc(5 * n_cores, sizeof(*b->col_of));
	b->stood_on = calloc(n_cores, sizeof(*b->stood_on));
	b->first = calloc(3 * n_classes, sizeof(*b->first));
	if (!b->rows || !b->zones || !b->col_of || !b->stood_on || !b->first)
		return -ENOMEM;
	b->base_core = b->col_of + n_cores;
	b->base_of = b->col_of + 2 * n_cores;
	b->room = b->col_of + 3 * n_cores;
	b->base_col = b->col_of + 4 * n_cores;
	b->fits = b->first + n_classes;
	b->supply = b->first + 2 * n_classes;
	for (uint32_t c = 0; c < n_cores; c++)
		b->col_of[c] = vbmq_cpuset_has(&b->p->all, c) && !vbmq_cpuset_has(&b->p->used, c) ? 0 : VBMQ_PL_NONE;
	return 0;
}

/* Each row gets the next core of the lowest column where its class has somebody to place. */
static void take_cores(struct batch *b, uint32_t *flow, uint32_t *next)
{
	struct vbmq_pl *pl = b->p->pl;

	memset(next, 0, b->n_cols * sizeof(*next));
	for (size_t i = 0; i < b->n_rows; i++) {
		uint32_t *mine = flow + (size_t)b->rows[i].class * b->n_cols, col = 0, core;

		while (mine[col] == 0)
			col++;
		mine[col]--;
		for (core = next[col]; b->col_of[core] != col; core++)
			continue;
		next[col] = core + 1;
		pl->units[b->rows[i].unit].core = core;
		vbmq_cpuset_add(&b->p->used, core);
		b->p->n_rationed += !vbmq_cpuset_has(&pl->isolated, core);
	}
}

static int solve(struct batch *b)
{
	struct vbmq_assign a = {
		.n_classes = b->n_classes,
		.n_cols = b->n_cols,
		.n_bases = b->n_bases,
		.n_discounts = b->n_discounts,
		.supply = b->supply,
		.room = b->room,
		.base_of = b->base_of,
		.base = b->base,
		.discounts = b->discounts,
	};
	_cleanup_free_ uint32_t *flow = calloc(b->n_classes * b->n_cols + b->n_cols + 1, sizeof(*flow));
	int r;

	if (!flow)
		return -ENOMEM;
	r = vbmq_assign(&a, flow);
	if (r == 0)
		take_cores(b, flow, flow + b->n_classes * b->n_cols);
	return r;
}

/* Places the first units of those left, class by class of priority; how many. */
static int place_batch(struct vbmq_pl_pool *p, const struct unit_key *left, size_t n_left, size_t *ret_n)
{
	_cleanup_(batch_done) struct batch b = { .p = p };
	struct vbmq_pl *pl = p->pl;
	size_t n_dummies;

	if (batch_alloc(&b, n_left) < 0 || vbmq_pl_pool_rank(p) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n_left; i++) {
		b.n_ranks += i == 0 || left[i].priority != left[i - 1].priority;
		b.rows[i] = (struct row){ .unit = left[i].unit, .rank = (uint32_t)b.n_ranks - 1 };
		if (fill_row(&b, &b.rows[i], b.zones + i * pl->n_zones) < 0)
			return -ENOMEM;
	}
	b.n_rows = n_left;
	if (set_weights(&b) < 0)
		return -ENOMEM;
	make_columns(&b);
	make_classes(&b);
	for (size_t i = b.n_rows; i < n_left; i++)
		if (!vbmq_cpuset_is_subset(&p->all, &pl->fits[pl->units[left[i].unit].fits].cores))
			add_silent(&b, pl->units[left[i].unit].fits, 1);
	n_dummies = count_dummies(&b, n_left);
	if (n_dummies)
		add_silent(&b, VBMQ_PL_NONE, n_dummies);
	if (make_matrix(&b) < 0 || make_discounts(&b) < 0)
		return -ENOMEM;
	*ret_n = b.n_rows;
	return solve(&b);
}

static int assign_all(struct vbmq_pl_pool *p)
{
	struct vbmq_pl *pl = p->pl;
	_cleanup_free_ struct unit_key *keys = calloc(pl->n_units + 1, sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	for (uint32_t u = 0; u < pl->n_units; u++)
		keys[u] = (struct unit_key){ pl->units[u].priority, pl->units[u].domain, pl->units[u].threads[0], u };
	qsort(keys, pl->n_units, sizeof(*keys), by_unit);
	for (size_t i = 0, n = 0; i < pl->n_units; i += n) {
		int r = place_batch(p, keys + i, pl->n_units - i, &n);

		if (r < 0)
			return r;
	}
	return 0;
}

int vbmq_pl_place(struct vbmq_pl *pl)
{
	_cleanup_(vbmq_pl_pool_freep) struct vbmq_pl_pool *p = vbmq_pl_pool_new(pl);
	int r;

	if (!p || vbmq_pl_choose_homes(p) < 0)
		return -ENOMEM;
	r = assign_all(p);
	if (r < 0)
		return r;
	pl->dedicated = pl->held_places;
	for (size_t u = 0; u < pl->n_units; u++)
		if (vbmq_pl_place_unit(pl, &pl->units[u]) < 0)
			return -ENOMEM;
	pl->dedicated = vbmq_cpuset_and(&pl->dedicated, &pl->host->usable);
	pl->shared = vbmq_cpuset_andnot(&pl->base, &pl->dedicated);
	return 0;
}
