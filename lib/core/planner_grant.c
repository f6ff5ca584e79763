/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who gets a core of its own, before anybody asks which. Units (mostly one thread each) are offered one after the other,
 * in the order of claims below, and one is granted if all granted ones together can still be matched to different
 * eligible cores: a bipartite matching that grows by augmenting paths. Sets of units that can be matched form a
 * matroid, so the greedy order is exact: nobody loses a core to a claim that stands behind his.
 *
 * The order of claims: by priority; among equals in rounds, each domain its first I/O thread, then each its second ...;
 * within a round those whose thread stands on such a place already, then running before shut off, then by name. After
 * the I/O threads of a priority come its domains with dedicated vCPUs, all vCPUs of a domain or none.
 *
 * Cores that are not isolated are rationed (budget): an augmenting path ends at an isolated core if it can. The budget depends on how
 * many vCPUs float, so it grows by a core for every few vCPUs that got one each, never by as many as they took.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"
#include "util/array.h"

#define UNITS_MAX (VBMQ_CPUS_MAX * 2u)

struct grant {
	struct vbmq_pl *pl;
	uint32_t *unit_on; /* core -> unit */
	struct vbmq_cpuset shut; /* cores with a unit, or kept */
	uint32_t *via; /* core -> unit through which the search reached it */
	uint32_t *queue; /* units */
	uint32_t *before; /* unit -> core, before the vCPUs of a domain were offered */
	size_t n_rationed; /* cores in use that are not isolated */
	size_t n_own; /* vCPUs that have a core each: they do not float any more */
};

struct claim {
	uint32_t domain;
	bool stands;
	bool running;
	size_t n_standing; /* I/O threads that stand on a core of their own */
};

void vbmq_pl_units_done(struct vbmq_pl *pl)
{
	for (size_t i = 0; i < pl->n_units; i++)
		free(pl->units[i].threads);
	free(pl->units);
	pl->units = NULL;
	pl->n_units = 0;
}

/* --- matching --------------------------------------------------------------------------------------------------------- */

/* A free core that suits the unit itself, where none could be better: what the search would come to at once. */
static uint32_t take_free(struct grant *g, uint32_t unit)
{
	struct vbmq_pl *pl = g->pl;
	const struct vbmq_cpuset *cores = &pl->fits[pl->units[unit].fits].cores;
	struct vbmq_cpuset open;
	int core;

	if (!vbmq_cpuset_is_empty(&pl->isolated) || g->n_rationed >= pl->budget)
		return VBMQ_PL_NONE;
	open = vbmq_cpuset_andnot(cores, &g->shut);
	core = vbmq_cpuset_next(&open, 0);
	if (core < 0)
		return VBMQ_PL_NONE;
	g->via[core] = unit;
	return (uint32_t)core;
}

/* Breadth-first from unit to a free core; the core, or VBMQ_PL_NONE. */
static uint32_t search(struct grant *g, uint32_t unit)
{
	struct vbmq_pl *pl = g->pl;
	bool none_isolated = vbmq_cpuset_is_empty(&pl->isolated);
	uint32_t spare = VBMQ_PL_NONE;
	struct vbmq_cpuset seen = pl->kept;
	size_t head = 0, tail = 0;
	uint32_t direct = take_free(g, unit);

	if (direct != VBMQ_PL_NONE)
		return direct;
	g->queue[tail++] = unit;
	while (head < tail) {
		uint32_t u = g->queue[head++];
		struct vbmq_cpuset news = vbmq_cpuset_andnot(&pl->fits[pl->units[u].fits].cores, &seen);

		seen = vbmq_cpuset_or(&seen, &news);
		for (int c = vbmq_cpuset_next(&news, 0); c >= 0; c = vbmq_cpuset_next(&news, (unsigned)c + 1)) {
			g->via[c] = u;
			if (g->unit_on[c] != VBMQ_PL_NONE) {
				g->queue[tail++] = g->unit_on[c];
				continue;
			}
			if (vbmq_cpuset_has(&pl->isolated, (unsigned)c))
				return (uint32_t)c;
			if (spare == VBMQ_PL_NONE && g->n_rationed < pl->budget)
				spare = (uint32_t)c;
			if (spare != VBMQ_PL_NONE && none_isolated)
				return spare;
		}
	}
	return spare;
}

static bool match(struct grant *g, uint32_t unit)
{
	uint32_t core = search(g, unit);

	if (core == VBMQ_PL_NONE)
		return false;
	if (!vbmq_cpuset_has(&g->pl->isolated, core))
		g->n_rationed++;
	for (;;) {
		uint32_t u = g->via[core], before = g->pl->units[u].core;

		g->unit_on[core] = u;
		vbmq_cpuset_add(&g->shut, core);
		g->pl->units[u].core = core;
		if (u == unit)
			return true;
		core = before;
	}
}

/* 1 granted, 0 not. */
static int offer(struct grant *g, uint32_t domain, bool part, size_t size, uint32_t leash, uint32_t vcpu)
{
	struct vbmq_pl *pl = g->pl;
	struct vbmq_pl_unit *u;
	size_t had = pl->budget;
	uint32_t fits;
	int r = vbmq_pl_fits(pl, part, size, leash, &fits);

	if (r < 0)
		return r;
	/* A vCPU with a core floats no more, so for its sake fewer may have to stay shared: who was refused could have one now. */
	vbmq_pl_ration(pl, g->n_own + (vcpu != VBMQ_PL_NONE));
	for (size_t i = 0; i < pl->n_fits && pl->budget > had; i++)
		pl->fits[i].full = false;
	if (pl->fits[fits].full)
		return 0; /* what could not be added to a smaller set cannot be added to a greater one */
	u = vbmq_array_add(pl->units, pl->n_units, UNITS_MAX);
	if (!u)
		return pl->n_units == UNITS_MAX ? 0 : -ENOMEM;
	*u = (struct vbmq_pl_unit){
		.domain = domain,
		.priority = pl->domains[domain].wish.priority,
		.part = part,
		.size = size,
		.leash = leash,
		.fits = fits,
		.core = VBMQ_PL_NONE,
	};
	if (vcpu != VBMQ_PL_NONE) {
		u->threads = calloc(1, sizeof(*u->threads));
		if (!u->threads)
			return -ENOMEM;
		u->threads[u->n_threads++] = vcpu;
	}
	if (match(g, (uint32_t)(pl->n_units - 1))) {
		pl->fits[fits].n_units++;
		g->n_own += vcpu != VBMQ_PL_NONE;
		return 1;
	}
	free(u->threads);
	pl->n_units--;
	pl->fits[fits].full = true;
	return 0;
}

/* Takes the last units back, down to n of them, which then have the cores that they had before: matched to others they might
 * use more of the budget than they must. */
static void withdraw(struct grant *g, size_t n)
{
	struct vbmq_pl *pl = g->pl;

	for (size_t i = 0; i < pl->n_fits; i++)
		pl->fits[i].full = false;
	for (size_t u = 0; u < pl->n_units; u++)
		g->unit_on[pl->units[u].core] = VBMQ_PL_NONE;
	g->shut = pl->kept;
	while (pl->n_units > n) {
		struct vbmq_pl_unit *u = &pl->units[--pl->n_units];

		pl->fits[u->fits].n_units--;
		g->n_own--; /* vCPUs' only */
		free(u->threads);
	}
	g->n_rationed = 0;
	for (uint32_t u = 0; u < n; u++) {
		pl->units[u].core = g->before[u];
		g->unit_on[g->before[u]] = u;
		vbmq_cpuset_add(&g->shut, g->before[u]);
		g->n_rationed += !vbmq_cpuset_has(&pl->isolated, g->before[u]);
	}
}

/* --- claims ----------------------------------------------------------------------------------------------------------- */

static int by_claim(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	if (x->stands != y->stands)
		return x->stands ? -1 : 1;
	if (x->running != y->running)
		return x->running ? -1 : 1;
	return x->domain < y->domain ? -1 : x->domain > y->domain; /* the snapshot's order: name, UUID */
}

static size_t standing(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, enum vbmq_thread_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].kind == kind && d->threads[i].role == VBMQ_PL_FLOAT &&
		    vbmq_pl_stands_alone(pl, &d->threads[i]))
			n++;
	return n;
}

static int round_of_iothreads(struct grant *g, struct claim *claims, size_t n, size_t round, bool *out)
{
	bool changed = round == 0; /* the order, since the round before */

	for (size_t i = 0; i < n; i++) {
		bool stands = claims[i].n_standing > round;

		changed = changed || stands != claims[i].stands;
		claims[i].stands = stands;
	}
	if (changed)
		qsort(claims, n, sizeof(*claims), by_claim);
	for (size_t i = 0; i < n; i++) {
		struct vbmq_pl_domain *d = &g->pl->domains[claims[i].domain];
		bool part = d->wish.exclusive == VBMQ_EXCLUSIVE_CPU;
		size_t pack = part ? g->pl->pack : 1, size;
		int r;

		if (out[claims[i].domain] || round >= d->n_io || round % pack ||
		    d->wish.exclusive == VBMQ_EXCLUSIVE_NONE)
			continue;
		size = d->n_io - round < pack ? d->n_io - round : pack;
		r = offer(g, claims[i].domain, part, size, d->threads[d->io[0]].leash, VBMQ_PL_NONE);
		if (r < 0)
			return r;
		d->n_units += (size_t)r;
		out[claims[i].domain] = r == 0;
	}
	return 0;
}

/* All vCPUs of a domain a core each, or none. Where all of them have the same shape, what was found too few of such cores for one
 * domain is too few for the next one that needs as many. */
static int offer_vcpus(struct grant *g, uint32_t domain)
{
	struct vbmq_pl *pl = g->pl;
	struct vbmq_pl_domain *d = &pl->domains[domain];
	size_t before = pl->n_units;
	uint32_t leash = VBMQ_PL_NONE, shape;
	bool alike = true;
	int r = 1;

	for (uint32_t t = 0; t < d->n_threads; t++) {
		if (d->threads[t].kind != VBMQ_THREAD_VCPU || d->threads[t].role != VBMQ_PL_FLOAT)
			continue;
		alike = alike && (leash == VBMQ_PL_NONE || leash == d->threads[t].leash);
		leash = d->threads[t].leash;
	}
	if (vbmq_pl_fits(pl, false, 1, leash, &shape) < 0)
		return -ENOMEM;
	if (alike && pl->fits[shape].fell_short && pl->fits[shape].room_at == before &&
	    pl->fits[shape].room < d->n_vcpus)
		return 0;
	for (size_t u = 0; u < before; u++)
		g->before[u] = pl->units[u].core;
	for (uint32_t t = 0; t < d->n_threads && r > 0; t++)
		if (d->threads[t].kind == VBMQ_THREAD_VCPU && d->threads[t].role == VBMQ_PL_FLOAT)
			r = offer(g, domain, false, 1, d->threads[t].leash, t);
	if (r < 0)
		return r;
	if (r == 0 && alike) {
		pl->fits[shape].fell_short = true;
		pl->fits[shape].room_at = before;
		pl->fits[shape].room = pl->n_units - before;
	}
	if (r == 0)
		withdraw(g, before);
	d->vcpus_got = r > 0;
	return 0;
}

static int round_of_vcpus(struct grant *g, struct claim *claims, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct vbmq_pl_domain *d = &g->pl->domains[claims[i].domain];

		claims[i].stands = d->n_vcpus && standing(g->pl, d, VBMQ_THREAD_VCPU) >= d->n_vcpus;
	}
	qsort(claims, n, sizeof(*claims), by_claim);
	for (size_t i = 0; i < n; i++)
		if (g->pl->domains[claims[i].domain].n_vcpus && offer_vcpus(g, claims[i].domain) < 0)
			return -ENOMEM;
	return 0;
}

static int grant_class(struct grant *g, int32_t priority, struct claim *claims, bool *out)
{
	size_t n = 0, rounds = 0;
	int r;

	for (uint32_t i = 0; i < g->pl->n_domains; i++) {
		const struct vbmq_pl_domain *d = &g->pl->domains[i];

		if (!d->managed || d->wish.priority != priority)
			continue;
		claims[n++] = (struct claim){
			.domain = i,
			.running = d->running,
			.n_standing = standing(g->pl, d, VBMQ_THREAD_IOTHREAD),
		};
		if (d->n_io > rounds)
			rounds = d->n_io;
	}
	for (size_t round = 0; round < rounds; round++) {
		r = round_of_iothreads(g, claims, n, round, out);
		if (r < 0)
			return r;
	}
	return round_of_vcpus(g, claims, n);
}

/* --- what each domain makes of its units ------------------------------------------------------------------------------ */

/* How many threads its units have room for, without doubling up. */
static size_t room_of(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d)
{
	return d->n_units * (d->wish.exclusive == VBMQ_EXCLUSIVE_CPU ? pl->pack : 1);
}

static void choose_serving(struct vbmq_pl *pl, struct vbmq_pl_domain *d)
{
	size_t room = room_of(pl, d);

	d->n_serving = d->n_io;
	if (d->wish.exclusive != VBMQ_EXCLUSIVE_NONE && d->n_serving > room)
		d->n_serving = room > d->n_mandatory ? room : d->n_mandatory;
	if (d->n_serving == 0 && d->n_io)
		d->n_serving = 1;
	for (size_t i = 0; i < d->n_serving; i++) {
		d->threads[d->io[i]].serves = true;
		d->threads[d->io[i]].exists = true;
	}
}

/* Which of the domain's serving I/O threads a unit has: it is one after the other's turn. */
static int deal(struct vbmq_pl *pl, uint32_t index)
{
	struct vbmq_pl_unit *unit = &pl->units[index];
	struct vbmq_pl_domain *d = &pl->domains[unit->domain];
	size_t room = room_of(pl, d), pack = room / d->n_units, turn = d->n_dealt++, n = 0;

	unit->threads = calloc(d->n_serving, sizeof(*unit->threads));
	if (!unit->threads)
		return -ENOMEM;
	for (uint32_t t = 0; t < d->n_threads; t++) {
		if (!d->threads[t].serves)
			continue;
		if ((d->n_serving <= room ? n / pack : n % d->n_units) == turn) {
			unit->threads[unit->n_threads++] = t;
			d->threads[t].unit = index;
		}
		n++;
	}
	return 0;
}

static int by_priority(const void *a, const void *b)
{
	const int32_t *x = a, *y = b;

	return *x > *y ? -1 : *x < *y; /* highest first */
}

/* Where the shared set is down to one core, whoever floats there stands inside one core, and yet not on a place of its own; nor do
 * threads of two guests that stand on the same CPUs, whatever they wish for: a wish of one must not cost the other its standing. */
static void find_mixed(struct vbmq_pl *pl)
{
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY;

	pl->mixed = VBMQ_CPUSET_EMPTY;
	for (size_t i = 0; i < pl->n_domains; i++) {
		const struct vbmq_pl_domain *d = &pl->domains[i];
		struct vbmq_cpuset mine = VBMQ_CPUSET_EMPTY, both;

		for (size_t j = 0; j < d->n_threads; j++) {
			const struct vbmq_pl_thread *t = &d->threads[j];
			bool wants = t->kind == VBMQ_THREAD_IOTHREAD ? d->managed
								     : t->kind == VBMQ_THREAD_VCPU && d->n_vcpus;

			if (t->role != VBMQ_PL_FLOAT || pl->sets[t->now].core == VBMQ_PL_NONE)
				continue;
			mine = vbmq_cpuset_or(&mine, &pl->sets[t->now].cpus);
			if (!wants)
				pl->mixed = vbmq_cpuset_or(&pl->mixed, &pl->sets[t->now].cpus);
		}
		both = vbmq_cpuset_and(&mine, &all);
		pl->mixed = vbmq_cpuset_or(&pl->mixed, &both);
		all = vbmq_cpuset_or(&all, &mine);
	}
}

static void reset(struct vbmq_pl *pl)
{
	find_mixed(pl);
	vbmq_pl_units_done(pl);
	for (size_t i = 0; i < pl->n_fits; i++) {
		pl->fits[i].full = false;
		pl->fits[i].n_units = 0;
		pl->fits[i].fell_short = false;
	}
	for (size_t i = 0; i < pl->n_domains; i++) {
		struct vbmq_pl_domain *d = &pl->domains[i];

		d->n_units = 0;
		d->n_dealt = 0;
		d->n_serving = 0;
		d->vcpus_got = false;
		d->home = VBMQ_PL_NONE;
		for (size_t j = 0; j < d->n_threads; j++) {
			d->threads[j].unit = VBMQ_PL_NONE;
			d->threads[j].serves = false;
			d->threads[j].crowded = false;
			d->threads[j].exists = d->threads[j].was || d->threads[j].asked;
		}
	}
}

int vbmq_pl_grant(struct vbmq_pl *pl)
{
	size_t n_cores = pl->host->n_cores, n_domains = pl->n_domains;
	_cleanup_free_ uint32_t *numbers = calloc(2 * n_cores + 2 * UNITS_MAX + 1, sizeof(*numbers));
	_cleanup_free_ int32_t *priorities = calloc(n_domains + 1, sizeof(*priorities));
	_cleanup_free_ struct claim *claims = calloc(n_domains + 1, sizeof(*claims));
	_cleanup_free_ bool *flags = calloc(n_domains + 1, sizeof(*flags));
	struct grant g = { .pl = pl };
	int r = 0;

	if (!numbers || !priorities || !claims || !flags)
		return -ENOMEM;
	g.unit_on = numbers;
	g.via = numbers + n_cores;
	g.queue = numbers + 2 * n_cores;
	g.before = g.queue + UNITS_MAX;
	for (size_t c = 0; c < n_cores; c++)
		g.unit_on[c] = VBMQ_PL_NONE;
	g.shut = pl->kept;
	reset(pl);
	for (size_t i = 0; i < n_domains; i++)
		priorities[i] = pl->domains[i].wish.priority;
	qsort(priorities, n_domains, sizeof(*priorities), by_priority);
	for (size_t i = 0; i < n_domains && r == 0 && priorities[i] >= pl->least; i++)
		if (i == 0 || priorities[i] != priorities[i - 1])
			r = grant_class(&g, priorities[i], claims, flags);
	vbmq_pl_ration(pl, g.n_own);
	for (uint32_t i = 0; i < n_domains && r == 0; i++)
		choose_serving(pl, &pl->domains[i]);
	for (uint32_t u = 0; u < pl->n_units && r == 0; u++) {
		struct vbmq_pl_unit *unit = &pl->units[u];

		if (unit->threads)
			pl->domains[unit->domain].threads[unit->threads[0]].unit = u; /* a vCPU's */
		else
			r = deal(pl, u);
	}
	return r;
}
