/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "exact.h"

#include <stdlib.h>
#include <string.h>

#include "ilp.h"
#include "say.h"

/* --- who has a core --------------------------------------------------------------------------------------------------- */

struct claim {
	uint32_t domain;
	size_t unit;
	size_t round; /* the thread for whose sake it is asked for */
	int32_t priority;
	int has; /* variable */
	bool fits[CORES_MAX];
};

struct grants {
	const struct reading *r;
	struct ilp *p;
	struct claim claims[UNITS_MAX];
	size_t n;
	int at[UNITS_MAX][CORES_MAX];
};

static void add_claims(struct grants *g, uint32_t domain)
{
	size_t n = reading_wanted(g->r, domain), threads = reading_wanted_threads(g->r, domain);

	for (size_t unit = 0; unit < n; unit++) {
		struct claim *c = &g->claims[g->n];

		if (g->n == UNITS_MAX)
			abort();
		*c = (struct claim){ .domain = domain,
				     .unit = unit,
				     .round = n == threads ? unit : unit * g->r->pack,
				     .priority = g->r->p->domains[domain].priority };
		reading_fits(g->r, domain, unit, threads, c->fits);
		c->has = ilp_var(g->p);
		for (uint32_t o = 0; o < g->r->h->n_cores; o++) {
			if (!c->fits[o])
				continue;
			g->at[g->n][o] = ilp_var(g->p);
			ilp_add(g->p, g->at[g->n][o], 1);
		}
		ilp_add(g->p, c->has, -1);
		ilp_end(g->p, 0, 0);
		if (unit) {
			ilp_add(g->p, g->claims[g->n - 1].has, 1);
			ilp_add(g->p, c->has, -1);
			ilp_end(g->p, 0, ILP_FREE);
		}
		g->n++;
	}
}

static void add_limits(struct ilp *p, const struct reading *r, int (*at)[CORES_MAX], size_t n)
{
	for (uint32_t c = 0; c < r->h->n_cores; c++) {
		for (size_t i = 0; i < n; i++)
			if (at[i][c])
				ilp_add(p, at[i][c], 1);
		ilp_end(p, ILP_FREE, 1);
	}
	for (uint32_t c = 0; c < r->h->n_cores; c++)
		for (size_t i = 0; i < n && !r->isolated[c]; i++)
			if (at[i][c])
				ilp_add(p, at[i][c], 1);
	ilp_end(p, ILP_FREE, r->budget);
}

static size_t has_units(const struct reading *r, uint32_t domain)
{
	size_t n = 0;

	for (size_t u = 0; u < r->n_units; u++)
		n += r->units[u].domain == domain;
	return n;
}

static const char *compare_round(struct grants *g, int32_t priority, size_t round)
{
	int64_t got = 0, best = 0, n = 0;

	for (size_t i = 0; i < g->n; i++) {
		if (g->claims[i].priority != priority || g->claims[i].round != round)
			continue;
		n++;
		got += has_units(g->r, g->claims[i].domain) > g->claims[i].unit;
		ilp_cost(g->p, g->claims[i].has, -1);
	}
	if (n == 0)
		return NULL;
	if (!ilp_minimise(g->p, &best))
		return "the oracle finds no grants at all";
	if (got != -best)
		return say("priority %d, round %zu: %lld guests got a core, %lld can", priority, round, (long long)got,
			   (long long)-best);
	/* As many, and of equals those whom the order of claims has first: what is left is left by these. */
	for (size_t i = 0; i < g->n; i++) {
		bool has = has_units(g->r, g->claims[i].domain) > g->claims[i].unit;

		if (g->claims[i].priority != priority || g->claims[i].round != round)
			continue;
		ilp_add(g->p, g->claims[i].has, 1);
		ilp_end(g->p, has, has);
	}
	return NULL;
}

const char *exact_grants(const struct reading *r)
{
	struct grants *g = calloc(1, sizeof(*g));
	const char *wrong = NULL;
	int32_t priority = 0;

	if (!g)
		abort();
	g->r = r;
	g->p = ilp_new();
	for (uint32_t i = 0; i < r->p->n_domains; i++)
		add_claims(g, i);
	add_limits(g->p, r, g->at, g->n);
	for (int64_t below = INT64_MAX; !wrong && g->n && reading_priority(r, below, &priority); below = priority)
		for (size_t round = 0; round < UNITS_MAX && !wrong; round++)
			wrong = compare_round(g, priority, round);
	ilp_free(g->p);
	free(g);
	return wrong;
}

/* --- which core ------------------------------------------------------------------------------------------------------- */

struct places {
	const struct reading *r;
	struct ilp *p;
	int at[UNITS_MAX][CORES_MAX];
};

static void add_units(struct places *s)
{
	for (size_t u = 0; u < s->r->n_units; u++) {
		const struct unit *unit = &s->r->units[u];

		for (uint32_t c = 0; c < s->r->h->n_cores; c++) {
			if (!unit->fits[c])
				continue;
			s->at[u][c] = ilp_var(s->p);
			ilp_add(s->p, s->at[u][c], 1);
		}
		ilp_end(s->p, 1, 1);
	}
	add_limits(s->p, s->r, s->at, s->r->n_units);
}

/* 0, or by how much the units of these priorities are above the least on this level; -1 if there is no solution. */
static int64_t compare_level(struct places *s, int32_t from, int32_t to, enum level level, const int64_t *fragment,
			     int64_t *ret_got)
{
	int64_t got = 0, best = 0;

	for (size_t u = 0; u < s->r->n_units; u++) {
		const struct unit *unit = &s->r->units[u];
		int64_t least = INT64_MAX;

		if (unit->priority < from || unit->priority > to)
			continue;
		/* Without what it costs in any case numbers stay small. */
		for (uint32_t c = 0; c < s->r->h->n_cores; c++) {
			int64_t cost = level == LEVEL_FRAGMENT ? fragment[c] : unit->cost[level][c];

			least = unit->fits[c] && cost < least ? cost : least;
		}
		for (uint32_t c = 0; c < s->r->h->n_cores; c++) {
			int64_t cost = level == LEVEL_FRAGMENT ? fragment[c] : unit->cost[level][c];

			if (s->at[u][c])
				ilp_cost(s->p, s->at[u][c], cost - least);
			got += unit->core == c ? cost - least : 0;
		}
	}
	*ret_got = got;
	if (got == 0) {
		ilp_minimise(s->p, &best); /* fixes the level at nothing */
		return 0;
	}
	return ilp_minimise(s->p, &best) ? got - best : -1;
}

static const char *compare_all(const struct reading *r)
{
	struct places *s = calloc(1, sizeof(*s));
	bool used[CORES_MAX] = { false };
	int64_t fragment[CORES_MAX], gap = 0, got;
	const char *wrong = NULL;
	int32_t priority = 0;

	if (!s)
		abort();
	s->r = r;
	s->p = ilp_new();
	reading_fragment(r, used, fragment);
	add_units(s);
	for (int64_t below = INT64_MAX; !wrong && reading_priority(r, below, &priority); below = priority)
		for (int level = 0; level < LEVEL_FRAGMENT && !wrong; level++) {
			gap = compare_level(s, priority, priority, (enum level)level, NULL, &got);
			if (gap)
				wrong = say("priority %d, %s: %lld, the least is %lld", priority, level_names[level],
					    (long long)got, (long long)(got - gap));
		}
	if (!wrong) {
		gap = compare_level(s, INT32_MIN, INT32_MAX, LEVEL_FRAGMENT, fragment, &got);
		if (gap)
			wrong = say("fragmentation: %lld, the least is %lld", (long long)got, (long long)(got - gap));
	}
	ilp_free(s->p);
	free(s);
	return wrong;
}

const char *exact_places(const struct reading *r)
{
	const char *wrong = NULL;

	for (size_t u = 0; u < r->n_units; u++) {
		if (!r->units[u].fits[r->units[u].core])
			return say("%s has CPU %d, which it may not have", r->p->domains[r->units[u].domain].name,
				   vbmq_cpuset_next(&r->h->cores[r->units[u].core].cpus, 0));
	}
	if (r->n_units)
		wrong = compare_all(r);
	return wrong;
}
