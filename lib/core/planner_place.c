/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which core: per priority class, from high to low, one exact min-cost assignment of the granted units to the cores that
 * are left (cost.h). Two kinds of silent rows keep the later classes feasible: units of lower classes that do not fit
 * everywhere are in the matrix at no cost, and where isolated cores let more units be granted than the budget allows
 * on others, dummy rows occupy the cores beyond the budget.
 *
 * Dedicated vCPUs and the I/O threads that serve them would pull each other about; so each such domain first gets a home,
 * an L3 domain that suits its memory and devices and has room, and both sides are drawn there.
 */

#include <errno.h>
#include <stdlib.h>

#include "core/planner_internal.h"
#include "util/array.h"

/* What one thread has to be near to. */
struct served {
	struct vbmq_cpuset vcpus;
	int32_t nodes[VBMQ_DISKS_MAX]; /* of the devices, one a disk */
	size_t n_nodes;
};

struct place {
	struct vbmq_pl *pl;
	struct served served; /* scratch, too big for the stack of a thread */
	uint32_t *rank; /* L3 domain -> place in the order of filling up */
	uint32_t *col_core; /* column -> core */
	size_t n_cols;
	struct vbmq_cpuset all; /* cores some unit may have */
	struct vbmq_cpuset used; /* cores assigned already */
	size_t n_rationed; /* of them not isolated */
};

/* --- cost ------------------------------------------------------------------------------------------------------------- */

static int near_set(struct vbmq_pl *pl, uint32_t set, uint32_t core, uint32_t *ret)
{
	struct vbmq_pl_set *s = &pl->sets[set];

	if (!s->near) {
		s->near = calloc(pl->host->n_cores, sizeof(*s->near));
		if (!s->near)
			return -ENOMEM;
		for (uint32_t c = 0; c < pl->host->n_cores; c++)
			s->near[c] = vbmq_cost_near(pl->host, c, &s->cpus);
	}
	*ret = s->near[core];
	return 0;
}

static void find_served(const struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t, struct served *s)
{
	s->vcpus = VBMQ_CPUSET_EMPTY;
	s->n_nodes = 0;
	if (t->kind != VBMQ_THREAD_IOTHREAD)
		return;
	for (size_t i = 0; i < d->d->n_disks; i++) {
		const struct vbmq_disk *disk = &d->d->disks[i];
		bool any = false;

		for (size_t q = 0; q < disk->n_queues; q++) {
			if (d->map[i][q] != t->id)
				continue;
			s->vcpus = vbmq_cpuset_or(&s->vcpus, &disk->queues[q].vcpus);
			any = true;
		}
		if (any && disk->node != VBMQ_NODE_UNKNOWN && s->n_nodes < VBMQ_DISKS_MAX)
			s->nodes[s->n_nodes++] = disk->node;
	}
}

static uint64_t numa(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, const struct served *s, uint32_t node)
{
	uint64_t sum = vbmq_cost_beyond_nearest(pl->host, node, &d->d->memory_nodes);

	for (size_t i = 0; i < s->n_nodes; i++)
		sum += vbmq_cost_beyond(pl->host, node, (uint32_t)s->nodes[i]);
	return sum;
}

/* Adds the nearness of core i to set to sum[i]. */
static int add_near(struct vbmq_pl *pl, uint32_t set, uint64_t *sum)
{
	uint32_t near;

	for (uint32_t c = 0; c < pl->host->n_cores; c++) {
		if (near_set(pl, set, c, &near) < 0)
			return -ENOMEM;
		sum[c] += near;
	}
	return 0;
}

static int locality(struct vbmq_pl *pl, struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t,
		    const struct served *s, uint64_t *sum)
{
	if (t->kind == VBMQ_THREAD_VCPU)
		return d->home != VBMQ_PL_NONE ? add_near(pl, d->home, sum) : 0;
	for (int v = vbmq_cpuset_next(&s->vcpus, 0); v >= 0; v = vbmq_cpuset_next(&s->vcpus, (unsigned)v + 1)) {
		const struct vbmq_pl_thread *vcpu = vbmq_pl_find(d, VBMQ_THREAD_VCPU, (uint32_t)v);
		uint32_t set;

		if (!vcpu)
			continue;
		set = vcpu->unit != VBMQ_PL_NONE && d->home != VBMQ_PL_NONE ? d->home : vcpu->stands;
		if (add_near(pl, set, sum) < 0)
			return -ENOMEM;
	}
	return 0;
}

static uint64_t fragment(const struct place *p, uint32_t core)
{
	const struct vbmq_host *h = p->pl->host;
	bool spares = !vbmq_cpuset_is_empty(&p->pl->isolated) && !vbmq_cpuset_has(&p->pl->isolated, core);
	int boot = vbmq_cpuset_next(&h->usable, 0);
	uint32_t slower = 0;
	int32_t kind = h->cores[core].kind;

	if (kind >= 0) {
		int32_t fastest = kind;

		for (size_t c = 0; c < h->n_cores; c++)
			if (h->cores[c].kind > fastest)
				fastest = h->cores[c].kind;
		slower = (uint32_t)(fastest - kind);
	}
	return vbmq_cost_fragment(spares, slower, vbmq_cpuset_has(&h->cores[core].cpus, (unsigned)boot),
				  p->rank[h->cores[core].l3]);
}

static bool moves(const struct vbmq_pl *pl, const struct vbmq_pl_thread *t, uint32_t core)
{
	return !vbmq_cpuset_is_empty(&t->now) && !vbmq_cpuset_is_subset(&t->now, &pl->host->cores[core].cpus);
}

/* Costs of one thread on every core, added to sum[core]. */
static int thread_costs(struct place *p, struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t,
			struct vbmq_cost *sum)
{
	const struct vbmq_host *h = p->pl->host;
	_cleanup_free_ uint64_t *near = calloc(h->n_cores, sizeof(*near));
	_cleanup_free_ uint64_t *far = calloc(h->n_nodes, sizeof(*far));

	if (!near || !far)
		return -ENOMEM;
	find_served(d, t, &p->served);
	if (locality(p->pl, d, t, &p->served, near) < 0)
		return -ENOMEM;
	for (uint32_t n = 0; n < h->n_nodes; n++)
		far[n] = numa(p->pl, d, &p->served, n);
	for (size_t i = 0; i < p->n_cols; i++) {
		uint32_t c = p->col_core[i];
		struct vbmq_cost cost = {
			.numa = far[h->cores[c].node],
			.locality = near[c],
			.moves = moves(p->pl, t, c),
			.fragment = fragment(p, c),
		};

		sum[c] = vbmq_cost_add(&sum[c], &cost);
	}
	return 0;
}

/* --- the order in which L3 domains are filled up ---------------------------------------------------------------------- */

struct l3_rank {
	bool whole; /* nobody has anything there yet: last */
	size_t free;
	uint32_t l3;
};

static int by_rank(const void *a, const void *b)
{
	const struct l3_rank *x = a, *y = b;

	if (x->whole != y->whole)
		return x->whole ? 1 : -1;
	if (x->free != y->free)
		return x->free < y->free ? -1 : 1;
	return x->l3 < y->l3 ? -1 : x->l3 > y->l3;
}

static int rank_l3s(struct place *p)
{
	const struct vbmq_host *h = p->pl->host;
	_cleanup_free_ struct l3_rank *ranks = calloc(h->n_l3s, sizeof(*ranks));
	unsigned boot = (unsigned)vbmq_cpuset_next(&h->usable, 0);

	if (!ranks)
		return -ENOMEM;
	for (uint32_t i = 0; i < h->n_l3s; i++)
		ranks[i] = (struct l3_rank){ .whole = !vbmq_cpuset_has(&h->l3s[i].cpus, boot), .l3 = i };
	for (unsigned c = 0; c < h->n_cores; c++) {
		struct l3_rank *r = &ranks[h->cores[c].l3];

		if (vbmq_cpuset_has(&p->used, c))
			r->whole = false;
		else if (vbmq_cpuset_has(&p->all, c))
			r->free++;
	}
	qsort(ranks, h->n_l3s, sizeof(*ranks), by_rank);
	for (uint32_t i = 0; i < h->n_l3s; i++)
		p->rank[ranks[i].l3] = i < 4095 ? i : 4095;
	return 0;
}

/* --- homes ------------------------------------------------------------------------------------------------------------ */

struct home {
	uint64_t numa;
	size_t in_l3, in_node; /* of the cores it needs, how many it would find */
	size_t stand; /* threads of it that stand there */
};

static bool better_home(const struct home *a, const struct home *b)
{
	if (a->numa != b->numa)
		return a->numa < b->numa;
	if (a->in_l3 != b->in_l3)
		return a->in_l3 > b->in_l3;
	if (a->in_node != b->in_node)
		return a->in_node > b->in_node;
	return a->stand > b->stand;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* free[l3]: cores not claimed yet; the home takes what it needs, then the neighbours of its node. */
static int choose_home(struct place *p, struct vbmq_pl_domain *d, size_t *free_cores)
{
	const struct vbmq_host *h = p->pl->host;
	size_t need = d->n_vcpus + d->n_units;
	struct home best = { .numa = UINT64_MAX };
	uint32_t chosen = 0;

	p->served.n_nodes = 0;
	for (size_t i = 0; i < d->d->n_disks && i < VBMQ_DISKS_MAX; i++)
		if (d->d->disks[i].node != VBMQ_NODE_UNKNOWN)
			p->served.nodes[p->served.n_nodes++] = d->d->disks[i].node;
	for (uint32_t l = 0; l < h->n_l3s; l++) {
		struct home home = { .in_l3 = least(free_cores[l], need) };

		if (free_cores[l] == 0)
			continue;
		home.numa = numa(p->pl, d, &p->served, h->l3s[l].node);
		for (uint32_t o = 0; o < h->n_l3s; o++)
			if (h->l3s[o].node == h->l3s[l].node)
				home.in_node += free_cores[o];
		home.in_node = least(home.in_node, need);
		for (size_t t = 0; t < d->n_threads; t++)
			if (vbmq_pl_stands_alone(p->pl, &d->threads[t]) &&
			    vbmq_cpuset_is_subset(&d->threads[t].now, &h->l3s[l].cpus))
				home.stand++;
		if (best.numa == UINT64_MAX || better_home(&home, &best)) {
			best = home;
			chosen = l;
		}
	}
	if (best.numa == UINT64_MAX)
		return 0;
	for (uint32_t l = chosen, o = 0; need && o <= h->n_l3s; l = o++) {
		size_t n = l < h->n_l3s && h->l3s[l].node == h->l3s[chosen].node ? least(free_cores[l], need) : 0;

		if (n)
			free_cores[l] -= n;
		need -= n;
	}
	return vbmq_pl_set(p->pl, &h->l3s[chosen].cpus, &d->home);
}

/* In the order in which they were granted: those who stand come before newcomers. */
static int choose_homes(struct place *p)
{
	const struct vbmq_host *h = p->pl->host;
	_cleanup_free_ size_t *free_cores = calloc(h->n_l3s, sizeof(*free_cores));
	uint32_t last = VBMQ_PL_NONE;

	if (!free_cores)
		return -ENOMEM;
	for (int c = vbmq_cpuset_next(&p->all, 0); c >= 0; c = vbmq_cpuset_next(&p->all, (unsigned)c + 1))
		free_cores[h->cores[c].l3]++;
	for (size_t u = 0; u < p->pl->n_units; u++) {
		const struct vbmq_pl_unit *unit = &p->pl->units[u];
		struct vbmq_pl_domain *d = &p->pl->domains[unit->domain];

		if (!d->vcpus_got || d->home != VBMQ_PL_NONE || unit->domain == last ||
		    d->threads[unit->threads[0]].kind != VBMQ_THREAD_VCPU)
			continue;
		last = unit->domain;
		if (choose_home(p, d, free_cores) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* --- assignment ------------------------------------------------------------------------------------------------------- */

static bool fits_everywhere(const struct place *p, const struct vbmq_pl_unit *u)
{
	return vbmq_cpuset_is_subset(&p->all, &p->pl->fits[u->fits].cores);
}

/* Row of one unit: real costs for its own class, nothing for a lower one. */
static int fill_row(struct place *p, const struct vbmq_pl_unit *u, bool real, struct vbmq_cost *costs,
		    vbmq_cost_key *row)
{
	struct vbmq_pl_domain *d = &p->pl->domains[u->domain];

	for (size_t i = 0; i < p->n_cols; i++)
		costs[p->col_core[i]] = (struct vbmq_cost){ 0 };
	for (size_t t = 0; t < u->n_threads && real; t++)
		if (thread_costs(p, d, &d->threads[u->threads[t]], costs) < 0)
			return -ENOMEM;
	for (size_t i = 0; i < p->n_cols; i++) {
		uint32_t c = p->col_core[i];

		row[i] =
			vbmq_cpuset_has(&p->pl->fits[u->fits].cores, c) ? vbmq_cost_pack(&costs[c]) : VBMQ_ASSIGN_NEVER;
	}
	return 0;
}

static void free_columns(struct place *p)
{
	p->n_cols = 0;
	for (int c = vbmq_cpuset_next(&p->all, 0); c >= 0; c = vbmq_cpuset_next(&p->all, (unsigned)c + 1))
		if (!vbmq_cpuset_has(&p->used, (unsigned)c))
			p->col_core[p->n_cols++] = (uint32_t)c;
}

/* Cores that are not isolated and must stay free although columns: only if the rows left could overrun the budget. */
static size_t count_dummies(const struct place *p, size_t n_left)
{
	size_t left = p->pl->budget - p->n_rationed, n = 0;

	if (n_left <= left)
		return 0;
	for (size_t i = 0; i < p->n_cols; i++)
		n += !vbmq_cpuset_has(&p->pl->isolated, p->col_core[i]);
	return n > left ? n - left : 0;
}

static int assign_class(struct place *p, int32_t priority, const uint32_t *order, size_t n_order, size_t n_left)
{
	struct vbmq_pl *pl = p->pl;
	_cleanup_free_ vbmq_cost_key *matrix = NULL;
	_cleanup_free_ struct vbmq_cost *costs = calloc(pl->host->n_cores, sizeof(*costs));
	_cleanup_free_ uint32_t *rows = calloc(n_order + 1, sizeof(*rows)), *cols = NULL;
	size_t n = 0, n_own = 0, n_dummies;
	int r;

	free_columns(p);
	n_dummies = count_dummies(p, n_left);
	cols = calloc(n_order + n_dummies + 1, sizeof(*cols));
	if (!costs || !rows || !cols || rank_l3s(p) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n_order; i++)
		if (pl->units[order[i]].priority == priority)
			rows[n_own++] = order[i];
	n = n_own;
	for (size_t i = 0; i < n_order; i++)
		if (pl->units[order[i]].priority < priority && !fits_everywhere(p, &pl->units[order[i]]))
			rows[n++] = order[i];
	matrix = calloc((n + n_dummies) * p->n_cols + 1, sizeof(*matrix));
	if (!matrix)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (fill_row(p, &pl->units[rows[i]], i < n_own, costs, matrix + i * p->n_cols) < 0)
			return -ENOMEM;
	for (size_t i = n; i < n + n_dummies; i++)
		for (size_t c = 0; c < p->n_cols; c++)
			if (vbmq_cpuset_has(&pl->isolated, p->col_core[c]))
				matrix[i * p->n_cols + c] = VBMQ_ASSIGN_NEVER;
	r = vbmq_assign(n + n_dummies, p->n_cols, matrix, cols);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_own; i++) {
		pl->units[rows[i]].core = p->col_core[cols[i]];
		vbmq_cpuset_add(&p->used, p->col_core[cols[i]]);
		p->n_rationed += !vbmq_cpuset_has(&pl->isolated, p->col_core[cols[i]]);
	}
	return 0;
}

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

static int assign_all(struct place *p)
{
	struct vbmq_pl *pl = p->pl;
	_cleanup_free_ struct unit_key *keys = calloc(pl->n_units + 1, sizeof(*keys));
	_cleanup_free_ uint32_t *order = calloc(pl->n_units + 1, sizeof(*order));
	int r;

	if (!keys || !order)
		return -ENOMEM;
	for (uint32_t u = 0; u < pl->n_units; u++)
		keys[u] = (struct unit_key){ pl->units[u].priority, pl->units[u].domain, pl->units[u].threads[0], u };
	qsort(keys, pl->n_units, sizeof(*keys), by_unit);
	for (size_t i = 0; i < pl->n_units; i++)
		order[i] = keys[i].unit;
	for (size_t i = 0; i < pl->n_units; i++) {
		if (i && keys[i].priority == keys[i - 1].priority)
			continue;
		r = assign_class(p, keys[i].priority, order, pl->n_units, pl->n_units - i);
		if (r < 0)
			return r;
	}
	return 0;
}

static int place_init(struct place *p, struct vbmq_pl *pl)
{
	*p = (struct place){ .pl = pl };
	p->rank = calloc(pl->host->n_l3s, sizeof(*p->rank));
	p->col_core = calloc(pl->host->n_cores, sizeof(*p->col_core));
	if (!p->rank || !p->col_core)
		return -ENOMEM;
	for (size_t u = 0; u < pl->n_units; u++)
		p->all = vbmq_cpuset_or(&p->all, &pl->fits[pl->units[u].fits].cores);
	p->all = vbmq_cpuset_andnot(&p->all, &pl->kept);
	return 0;
}

static struct place *place_free(struct place *p)
{
	if (p) {
		free(p->rank);
		free(p->col_core);
	}
	free(p);
	return NULL;
}
VBMQ_DEFINE_CLEANUP(struct place *, place_free);

/* --- all together ---------------------------------------------------------------------------------------------------- */

int vbmq_pl_place(struct vbmq_pl *pl)
{
	_cleanup_(place_freep) struct place *p = calloc(1, sizeof(*p));
	int r;

	if (!p || place_init(p, pl) < 0 || choose_homes(p) < 0)
		return -ENOMEM;
	r = assign_all(p);
	if (r < 0)
		return r;
	pl->dedicated = pl->held_places;
	for (size_t u = 0; u < pl->n_units; u++)
		vbmq_pl_place_unit(pl, &pl->units[u]);
	pl->dedicated = vbmq_cpuset_and(&pl->dedicated, &pl->host->usable);
	pl->shared = vbmq_cpuset_andnot(&pl->base, &pl->dedicated);
	return 0;
}

/* --- why -------------------------------------------------------------------------------------------------------------- */

/* To each of its vCPUs the nearest CPU where that may run; the worst of these. */
static enum vbmq_nearness worst_nearness(const struct place *p, struct vbmq_pl_domain *d, uint32_t core)
{
	const struct vbmq_cpuset *vcpus = &p->served.vcpus;
	enum vbmq_nearness worst = VBMQ_NEAR_CORE;
	unsigned here = (unsigned)vbmq_cpuset_next(&p->pl->host->cores[core].cpus, 0);

	for (int v = vbmq_cpuset_next(vcpus, 0); v >= 0; v = vbmq_cpuset_next(vcpus, (unsigned)v + 1)) {
		const struct vbmq_pl_thread *vcpu = vbmq_pl_find(d, VBMQ_THREAD_VCPU, (uint32_t)v);
		enum vbmq_nearness best = VBMQ_NEAR_REMOTE;

		if (!vcpu)
			continue;
		for (int c = vbmq_cpuset_next(&vcpu->cpus, 0); c >= 0 && best > VBMQ_NEAR_CORE;
		     c = vbmq_cpuset_next(&vcpu->cpus, (unsigned)c + 1)) {
			enum vbmq_nearness near = vbmq_host_nearness(p->pl->host, here, (unsigned)c);

			if (near < best)
				best = near;
		}
		if (best > worst)
			worst = best;
	}
	return worst;
}

static void explain_distances(const struct place *p, const struct vbmq_pl_domain *d, uint32_t node,
			      struct vbmq_why *why)
{
	const struct vbmq_host *h = p->pl->host;

	for (size_t i = 0; i < p->served.n_nodes; i++) {
		uint32_t far = VBMQ_DISTANCE_LOCAL + vbmq_cost_beyond(h, node, (uint32_t)p->served.nodes[i]);

		if (far > why->from_device)
			why->from_device = far;
	}
	if (!vbmq_cpuset_is_empty(&d->d->memory_nodes))
		why->from_memory = VBMQ_DISTANCE_LOCAL + vbmq_cost_beyond_nearest(h, node, &d->d->memory_nodes);
}

static int explain_thread(struct place *p, const struct vbmq_pl_unit *u, struct vbmq_pl_thread *t,
			  struct vbmq_cost *costs)
{
	struct vbmq_pl *pl = p->pl;
	struct vbmq_pl_domain *d = &pl->domains[u->domain];
	bool rationed = !vbmq_cpuset_has(&pl->isolated, u->core);
	uint32_t next = VBMQ_PL_NONE;

	for (size_t c = 0; c < pl->host->n_cores; c++)
		costs[c] = (struct vbmq_cost){ 0 };
	if (thread_costs(p, d, t, costs) < 0)
		return -ENOMEM;
	t->why = (struct vbmq_why){ .known = true, .cost = costs[u->core] };
	t->why.nearness = worst_nearness(p, d, u->core);
	explain_distances(p, d, pl->host->cores[u->core].node, &t->why);
	for (size_t i = 0; i < p->n_cols; i++) {
		uint32_t c = p->col_core[i];
		bool in_budget = vbmq_cpuset_has(&pl->isolated, c) || rationed || p->n_rationed < pl->budget;

		if (!vbmq_cpuset_has(&p->used, c) && vbmq_cpuset_has(&pl->fits[u->fits].cores, c) && in_budget &&
		    (next == VBMQ_PL_NONE || vbmq_cost_compare(&costs[c], &costs[next]) < 0))
			next = c;
	}
	if (next != VBMQ_PL_NONE) {
		struct vbmq_cpuset avail = vbmq_pl_avail(pl, next, u->part, u->leash);

		t->why.has_next = true;
		t->why.next_cpus = vbmq_cpuset_of((unsigned)vbmq_cpuset_next(&avail, 0));
		t->why.next_cost = costs[next];
	}
	return 0;
}

int vbmq_pl_explain(struct vbmq_pl *pl)
{
	_cleanup_(place_freep) struct place *p = calloc(1, sizeof(*p));
	_cleanup_free_ struct vbmq_cost *costs = calloc(pl->host->n_cores, sizeof(*costs));

	if (!p || !costs || place_init(p, pl) < 0)
		return -ENOMEM;
	free_columns(p); /* all of them, for nothing is used yet */
	for (size_t u = 0; u < pl->n_units; u++) {
		vbmq_cpuset_add(&p->used, pl->units[u].core);
		p->n_rationed += !vbmq_cpuset_has(&pl->isolated, pl->units[u].core);
	}
	if (rank_l3s(p) < 0)
		return -ENOMEM;
	for (size_t u = 0; u < pl->n_units; u++) {
		struct vbmq_pl_unit *unit = &pl->units[u];

		for (size_t i = 0; i < unit->n_threads; i++)
			if (explain_thread(p, unit, &pl->domains[unit->domain].threads[unit->threads[i]], costs) < 0)
				return -ENOMEM;
	}
	return 0;
}
