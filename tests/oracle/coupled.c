/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Variables: at[thread][class], a class being the cores of an L3 domain that may be given (the core of the lowest CPU is a class of
 * its own); used[disk][thread] and serves[queue][thread] where the queues are ours to map; cores[guest][class] where threads of a
 * guest share cores; step[thread][vCPU], how far they are, for those that meet at a queue.
 */

#include "coupled.h"

#include <stdlib.h>
#include <string.h>

#include "ilp.h"

#define CLASSES 64
#define ENTITIES 64
#define DISKS 4
#define QUEUES 8
#define GUEST 16 /* I/O threads of one guest that have cores */

#define EACH(c, set) for (int c = vbmq_cpuset_next(&(set), 0); c >= 0; c = vbmq_cpuset_next(&(set), (unsigned)c + 1))

const char *const coupled_names[] = { "numa", "locality", "moves", "boot core", "L3 domains broken" };

struct class
{
	uint32_t l3, node, core; /* core: one of them */
	int64_t room;
	bool boot;
};

struct entity { /* a thread with a place of its own */
	uint32_t domain;
	const struct vbmq_place_thread *t;
	uint32_t core, class; /* where the placement has it */
	uint32_t stands; /* core inside which it is now, or UINT32_MAX */
	bool was;
	int at[CLASSES], stay;
};

struct guest {
	struct entity *io[GUEST];
	size_t n_io, n_cores; /* n_cores < n_io: some share one */
	int cores[CLASSES];
	int used[DISKS][GUEST]; /* 0: not ours to map */
	bool ours[DISKS];
};

struct program {
	const struct reading *r;
	struct ilp *p;
	struct class classes[CLASSES];
	size_t n_classes;
	struct entity e[ENTITIES];
	size_t n;
	struct guest *guests;
	int broken[CLASSES]; /* by L3 domain */
	int64_t size[CLASSES]; /* by L3 domain: cores, 0 if it is not whole */
	int64_t floor; /* the level that is compared now cannot be less in any case */
	bool share; /* some guest's threads share a core: who stays on it is not said */
};

/* --- the instance ----------------------------------------------------------------------------------------------------- */

static bool may_be_given(const struct reading *r, uint32_t core, struct vbmq_cpuset *usable)
{
	struct vbmq_cpuset rest;

	*usable = vbmq_cpuset_and(&r->h->cores[core].cpus, &r->h->usable);
	rest = vbmq_cpuset_andnot(usable, &r->free);
	return vbmq_cpuset_count(usable) > 0 && vbmq_cpuset_count(&rest) == 0;
}

static void make_classes(struct program *g)
{
	const struct vbmq_host *h = g->r->h;
	uint32_t boot = h->core_of[vbmq_cpuset_next(&h->usable, 0)];
	bool whole[CLASSES];

	for (uint32_t l = 0; l < h->n_l3s; l++) {
		whole[l] = l != h->cores[boot].l3;
		g->size[l] = 0;
	}
	for (uint32_t c = 0; c < h->n_cores; c++) {
		const struct vbmq_core *core = &h->cores[c];
		struct vbmq_cpuset usable;
		size_t k = 0;

		if (!may_be_given(g->r, c, &usable)) {
			whole[core->l3] = whole[core->l3] && vbmq_cpuset_count(&usable) == 0;
			continue;
		}
		g->size[core->l3]++;
		while (k < g->n_classes && (g->classes[k].l3 != core->l3 || g->classes[k].boot != (c == boot)))
			k++;
		if (k == g->n_classes)
			g->classes[g->n_classes++] =
				(struct class){ .l3 = core->l3, .node = core->node, .core = c, .boot = c == boot };
		g->classes[k].room++;
	}
	for (uint32_t l = 0; l < h->n_l3s; l++)
		if (!whole[l])
			g->size[l] = 0;
}

static uint32_t class_of(const struct program *g, uint32_t core)
{
	uint32_t boot = g->r->h->core_of[vbmq_cpuset_next(&g->r->h->usable, 0)];

	for (uint32_t k = 0; k < g->n_classes; k++)
		if (g->classes[k].l3 == g->r->h->cores[core].l3 && g->classes[k].boot == (core == boot))
			return k;
	abort(); /* it has a core that is not to be given */
}

static void add_entity(struct program *g, uint32_t domain, const struct vbmq_place_thread *t)
{
	const struct vbmq_host *h = g->r->h;
	struct entity *e = &g->e[g->n++];
	struct vbmq_cpuset usable;

	if (g->n > ENTITIES)
		abort();
	*e = (struct entity){ .domain = domain, .t = t, .stands = UINT32_MAX };
	e->core = h->core_of[vbmq_cpuset_next(t->cpus, 0)];
	e->class = class_of(g, e->core);
	e->was = vbmq_domain_thread(g->r->s->domains[domain], t->kind, t->id) != NULL;
	for (uint32_t c = 0; c < h->n_cores; c++)
		if (e->was && may_be_given(g->r, c, &usable) && reading_move(g->r, domain, t, c) == 0)
			e->stands = c;
	if (t->kind == VBMQ_THREAD_IOTHREAD) {
		struct guest *of = &g->guests[domain];
		bool news = true;

		for (size_t i = 0; i < of->n_io; i++)
			news = news && of->io[i]->core != e->core;
		if (of->n_io == GUEST)
			abort();
		of->n_cores += news;
		of->io[of->n_io++] = e;
	}
}

/* --- where threads are ------------------------------------------------------------------------------------------------ */

static void add_places(struct program *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct entity *e = &g->e[i];

		for (size_t k = 0; k < g->n_classes; k++) {
			e->at[k] = ilp_var(g->p);
			ilp_add(g->p, e->at[k], 1);
		}
		ilp_end(g->p, 1, 1);
	}
	for (uint32_t i = 0; i < g->r->p->n_domains; i++) {
		struct guest *of = &g->guests[i];
		int64_t least = of->n_cores ? (int64_t)(of->n_io / of->n_cores) : 0;
		int64_t most = of->n_cores ? (int64_t)((of->n_io + of->n_cores - 1) / of->n_cores) : 0;

		if (of->n_cores == of->n_io)
			continue;
		for (size_t k = 0; k < g->n_classes; k++) {
			of->cores[k] = ilp_count(g->p, (int64_t)of->n_cores);
			for (int side = 0; side < 2; side++) {
				for (size_t t = 0; t < of->n_io; t++)
					ilp_add(g->p, of->io[t]->at[k], 1);
				ilp_add(g->p, of->cores[k], side ? -most : -least);
				ilp_end(g->p, side ? ILP_FREE : 0, side ? 0 : ILP_FREE);
			}
		}
		for (size_t k = 0; k < g->n_classes; k++)
			ilp_add(g->p, of->cores[k], 1);
		ilp_end(g->p, (int64_t)of->n_cores, (int64_t)of->n_cores);
		g->share = true;
	}
}

/* Adds the cores of class k that are in use to the row, times n. */
static void add_cores(struct program *g, size_t k, int64_t n)
{
	for (size_t i = 0; i < g->n; i++) {
		const struct guest *of = &g->guests[g->e[i].domain];

		if (g->e[i].t->kind == VBMQ_THREAD_VCPU || of->n_cores == of->n_io)
			ilp_add(g->p, g->e[i].at[k], n);
	}
	for (size_t i = 0; i < g->r->p->n_domains; i++)
		if (g->guests[i].cores[k])
			ilp_add(g->p, g->guests[i].cores[k], n);
}

static void add_room(struct program *g)
{
	for (size_t k = 0; k < g->n_classes; k++) {
		add_cores(g, k, 1);
		ilp_end(g->p, ILP_FREE, g->classes[k].room);
	}
	for (uint32_t c = 0; c < g->r->h->n_cores; c++) {
		for (size_t i = 0; i < g->n; i++) {
			struct entity *e = &g->e[i];

			if (e->stands != c)
				continue;
			e->stay = ilp_var(g->p);
			ilp_add(g->p, e->stay, 1);
		}
		ilp_end(g->p, ILP_FREE, 1);
	}
	for (size_t i = 0; i < g->n; i++)
		if (g->e[i].stay) {
			ilp_add(g->p, g->e[i].stay, 1);
			ilp_add(g->p, g->e[i].at[class_of(g, g->e[i].stands)], -1);
			ilp_end(g->p, ILP_FREE, 0);
		}
	for (uint32_t l = 0; l < g->r->h->n_l3s; l++) {
		if (g->size[l] == 0)
			continue;
		g->broken[l] = ilp_var(g->p);
		for (size_t k = 0; k < g->n_classes; k++) {
			if (g->classes[k].l3 != l)
				continue;
			add_cores(g, k, 1);
			ilp_add(g->p, g->broken[l], -g->size[l]);
			ilp_end(g->p, ILP_FREE, 0);
		}
	}
}

/* --- which thread serves what ----------------------------------------------------------------------------------------- */

static size_t threads_for(const struct program *g, uint32_t domain, size_t disk)
{
	const struct vbmq_domain *d = g->r->s->domains[domain];
	const struct vbmq_disk_wish *w = vbmq_wish_find_disk(&d->wish, d->disks[disk].target);
	size_t n = g->guests[domain].n_io;

	n = n < d->disks[disk].n_queues ? n : d->disks[disk].n_queues;
	return w && w->iothreads > 0 && (size_t)w->iothreads < n ? (size_t)w->iothreads : n;
}

/* meets[thread][vCPU]: variable, -1 for sure, 0 never. */
static void map_disk(struct program *g, uint32_t domain, size_t disk, int (*meets)[64])
{
	const struct vbmq_disk *d = &g->r->s->domains[domain]->disks[disk];
	struct guest *of = &g->guests[domain];
	int64_t n = (int64_t)threads_for(g, domain, disk), queues = (int64_t)d->n_queues;
	int serves[QUEUES][GUEST];

	for (size_t t = 0; t < of->n_io; t++)
		of->used[disk][t] = ilp_var(g->p);
	for (size_t t = 0; t < of->n_io; t++)
		ilp_add(g->p, of->used[disk][t], 1);
	ilp_end(g->p, n, n);
	for (size_t q = 0; q < d->n_queues; q++) {
		for (size_t t = 0; t < of->n_io; t++) {
			serves[q][t] = ilp_var(g->p);
			ilp_add(g->p, serves[q][t], 1);
		}
		ilp_end(g->p, 1, 1);
	}
	for (size_t t = 0; t < of->n_io; t++) {
		for (int side = 0; side < 2; side++) {
			for (size_t q = 0; q < d->n_queues; q++)
				ilp_add(g->p, serves[q][t], 1);
			ilp_add(g->p, of->used[disk][t], side ? -((queues + n - 1) / n) : -(queues / n));
			ilp_end(g->p, side ? ILP_FREE : 0, side ? 0 : ILP_FREE);
		}
		for (size_t q = 0; q < d->n_queues; q++)
			EACH(v, d->queues[q].vcpus)
			{
				if (meets[t][v] < 0)
					continue;
				if (meets[t][v] == 0)
					meets[t][v] = ilp_number(g->p, 1);
				ilp_add(g->p, meets[t][v], 1);
				ilp_add(g->p, serves[q][t], -1);
				ilp_end(g->p, 0, ILP_FREE);
			}
	}
}

/* Disks that do not use all threads use them evenly. */
static void spread_disks(struct program *g, uint32_t domain)
{
	const struct vbmq_domain *d = g->r->s->domains[domain];
	struct guest *of = &g->guests[domain];
	int64_t sum = 0, n = (int64_t)of->n_io;

	for (size_t i = 0; i < d->n_disks; i++)
		if (of->used[i][0] && threads_for(g, domain, i) < of->n_io)
			sum += (int64_t)threads_for(g, domain, i);
	for (size_t t = 0; t < of->n_io && sum; t++) {
		for (size_t i = 0; i < d->n_disks; i++)
			if (of->used[i][0] && threads_for(g, domain, i) < of->n_io)
				ilp_add(g->p, of->used[i][t], 1);
		ilp_end(g->p, sum / n, (sum + n - 1) / n);
	}
}

static bool serves(const struct vbmq_place_disk *disk, uint32_t id)
{
	for (size_t q = 0; q < disk->n_queues; q++)
		if (disk->queues[q].iothread == id)
			return true;
	return false;
}

static void map_guest(struct program *g, uint32_t domain, int (*meets)[64])
{
	const struct vbmq_domain *d = g->r->s->domains[domain];
	const struct vbmq_place_domain *p = &g->r->p->domains[domain];
	struct guest *of = &g->guests[domain];

	for (size_t i = 0; i < d->n_disks; i++) {
		of->ours[i] = reading_disk_is_ours(d, &d->disks[i]) && of->n_io > 1;
		if (of->ours[i])
			continue;
		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			for (size_t t = 0; t < of->n_io; t++)
				if (p->disks[i].queues[q].iothread == of->io[t]->t->id)
					EACH(v, d->disks[i].queues[q].vcpus)
		meets[t][v] = -1;
	}
	for (size_t i = 0; i < d->n_disks; i++)
		if (of->ours[i])
			map_disk(g, domain, i, meets);
	spread_disks(g, domain);
}

/* --- costs ------------------------------------------------------------------------------------------------------------ */

static int64_t from_memory(const struct program *g, const struct entity *e, uint32_t node)
{
	int64_t least = -1;

	EACH(m, g->r->s->domains[e->domain]->memory_nodes)
	{
		int64_t far = reading_beyond(g->r->h, node, (uint32_t)m);

		least = least < 0 || far < least ? far : least;
	}
	return least < 0 ? 0 : least;
}

/* Adds the distance of thread t to the device of a disk that it may come to serve. */
static void cost_of_device(struct program *g, const struct entity *e, int used, uint32_t device)
{
	int64_t most = 0;
	int far;

	for (size_t k = 0; k < g->n_classes; k++) {
		int64_t here = reading_beyond(g->r->h, g->classes[k].node, device);

		most = here > most ? here : most;
	}
	far = ilp_number(g->p, most);
	ilp_cost(g->p, far, 1);
	for (size_t k = 0; k < g->n_classes; k++)
		ilp_add(g->p, e->at[k], -reading_beyond(g->r->h, g->classes[k].node, device));
	ilp_add(g->p, far, 1);
	ilp_add(g->p, used, -most);
	ilp_end(g->p, -most, ILP_FREE);
}

static int64_t numa(struct program *g, int32_t priority)
{
	int64_t got = 0;

	g->floor = 0;
	for (size_t i = 0; i < g->n; i++) {
		int64_t least = INT64_MAX;
		const struct entity *e = &g->e[i];
		const struct vbmq_domain *d = g->r->s->domains[e->domain];
		const struct vbmq_place_domain *p = &g->r->p->domains[e->domain];
		struct guest *of = &g->guests[e->domain];
		size_t io = 0;

		if (p->priority != priority)
			continue;
		for (size_t k = 0; k < g->n_classes; k++) {
			int64_t here = from_memory(g, e, g->classes[k].node);

			ilp_cost(g->p, e->at[k], here);
			least = here < least ? here : least;
		}
		g->floor += least;
		got += from_memory(g, e, g->classes[e->class].node);
		while (io < of->n_io && of->io[io] != e)
			io++;
		for (size_t j = 0; j < d->n_disks && io < of->n_io; j++) {
			if (d->disks[j].node < 0)
				continue;
			if (serves(&p->disks[j], e->t->id))
				got += reading_beyond(g->r->h, g->classes[e->class].node, (uint32_t)d->disks[j].node);
			if (of->ours[j])
				cost_of_device(g, e, of->used[j][io], (uint32_t)d->disks[j].node);
			else if (serves(&p->disks[j], e->t->id))
				for (size_t k = 0; k < g->n_classes; k++)
					ilp_cost(g->p, e->at[k],
						 reading_beyond(g->r->h, g->classes[k].node,
								(uint32_t)d->disks[j].node));
		}
	}
	return got;
}

static int64_t steps(const struct class *a, const struct class *b)
{
	return a->l3 == b->l3 ? 0 : a->node == b->node ? 1 : 2;
}

/* Thread and vCPU that has a core of its own, too. */
static void cost_of_pair(struct program *g, const struct entity *t, const struct entity *v, int meets)
{
	int far = ilp_number(g->p, 2);

	ilp_cost(g->p, far, 64);
	for (size_t k = 0; k < g->n_classes; k++) {
		bool said = false;

		for (size_t o = 0; o < k; o++)
			said = said || g->classes[o].l3 == g->classes[k].l3;
		if (said)
			continue;
		ilp_add(g->p, far, 1);
		for (size_t o = 0; o < g->n_classes; o++) {
			ilp_add(g->p, v->at[o], -steps(&g->classes[k], &g->classes[o]));
			if (g->classes[o].l3 == g->classes[k].l3)
				ilp_add(g->p, t->at[o], -2);
		}
		if (meets > 0)
			ilp_add(g->p, meets, -2);
		ilp_end(g->p, meets > 0 ? -4 : -2, ILP_FREE);
	}
}

static void cost_of_place(struct program *g, const struct entity *t, const struct vbmq_cpuset *place, int meets)
{
	int64_t most = 0;
	int far;

	for (size_t k = 0; k < g->n_classes; k++) {
		int64_t here = reading_near(g->r, g->classes[k].core, place);

		if (meets < 0)
			ilp_cost(g->p, t->at[k], here);
		most = here > most ? here : most;
	}
	if (meets < 0)
		return;
	far = ilp_number(g->p, most);
	ilp_cost(g->p, far, 1);
	ilp_add(g->p, far, 1);
	for (size_t k = 0; k < g->n_classes; k++)
		ilp_add(g->p, t->at[k], -reading_near(g->r, g->classes[k].core, place));
	ilp_add(g->p, meets, -most);
	ilp_end(g->p, -most, ILP_FREE);
}

static const struct entity *find_entity(const struct program *g, uint32_t domain, const struct vbmq_place_thread *t)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->e[i].domain == domain && g->e[i].t == t)
			return &g->e[i];
	return NULL;
}

static bool meet_now(const struct program *g, uint32_t domain, uint32_t id, uint32_t vcpu)
{
	const struct vbmq_domain *d = g->r->s->domains[domain];

	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			if (g->r->p->domains[domain].disks[i].queues[q].iothread == id &&
			    vbmq_cpuset_has(&d->disks[i].queues[q].vcpus, vcpu))
				return true;
	return false;
}

static int64_t locality(struct program *g, int32_t priority, int (*meets)[GUEST][64])
{
	int64_t got = 0;

	g->floor = 0;
	for (uint32_t i = 0; i < g->r->p->n_domains; i++) {
		const struct vbmq_place_domain *p = &g->r->p->domains[i];

		for (size_t t = 0; t < g->guests[i].n_io && p->priority == priority; t++)
			for (size_t v = 0; v < p->n_threads && p->threads[v].kind == VBMQ_THREAD_VCPU; v++) {
				const struct entity *io = g->guests[i].io[t];
				const struct entity *vcpu = find_entity(g, i, &p->threads[v]);
				uint32_t id = p->threads[v].id;
				bool meet = meet_now(g, i, io->t->id, id);
				struct vbmq_cpuset place = reading_vcpu_place(g->r, i, &p->threads[v]);

				if (id >= 64)
					abort();
				if (meet && vcpu)
					got += 64 * steps(&g->classes[io->class], &g->classes[vcpu->class]);
				else if (meet)
					got += reading_near(g->r, io->core, &place);
				if (meets[i][t][id] && vcpu)
					cost_of_pair(g, io, vcpu, meets[i][t][id]);
				else if (meets[i][t][id])
					cost_of_place(g, io, &place, meets[i][t][id]);
			}
	}
	return got;
}

static int64_t moves(struct program *g, int32_t priority)
{
	int64_t got = 0;

	g->floor = 0;
	for (size_t i = 0; i < g->n; i++) {
		const struct entity *e = &g->e[i];

		if (!e->was || g->r->p->domains[e->domain].priority != priority)
			continue;
		/* One that stays costs one less than one that does not. */
		if (e->stay) {
			ilp_cost(g->p, e->stay, -1);
			g->floor--;
		}
		got -= e->stands == e->core;
	}
	return got;
}

static int64_t fragmentation(struct program *g, enum coupled_level level)
{
	bool used[CORES_MAX] = { false };
	int64_t got = 0;

	g->floor = 0;
	for (size_t i = 0; i < g->n; i++) {
		const struct class *k = &g->classes[g->e[i].class];

		if (used[g->e[i].core])
			continue;
		used[g->e[i].core] = true;
		got += level == COUPLED_BOOT && k->boot;
	}
	for (uint32_t l = 0; l < g->r->h->n_l3s && level == COUPLED_BROKEN; l++) {
		bool broken = false;

		for (size_t i = 0; i < g->n; i++)
			broken = broken || g->classes[g->e[i].class].l3 == l;
		if (!g->broken[l])
			continue;
		ilp_cost(g->p, g->broken[l], g->size[l] * g->size[l]);
		got += broken ? g->size[l] * g->size[l] : 0;
	}
	for (size_t k = 0; k < g->n_classes && level == COUPLED_BOOT; k++) {
		if (!g->classes[k].boot)
			continue;
		for (size_t i = 0; i < g->n; i++)
			if (g->e[i].t->kind == VBMQ_THREAD_VCPU ||
			    g->guests[g->e[i].domain].n_cores == g->guests[g->e[i].domain].n_io)
				ilp_cost(g->p, g->e[i].at[k], 1);
		for (size_t i = 0; i < g->r->p->n_domains; i++)
			if (g->guests[i].cores[k])
				ilp_cost(g->p, g->guests[i].cores[k], 1);
	}
	return got;
}

/* --- levels ----------------------------------------------------------------------------------------------------------- */

/* True: as good as can be, on to the next. */
static bool level_is_best(struct program *g, enum coupled_level level, int64_t got, struct coupled_result *ret)
{
	int64_t least;

	ret->level = level;
	ret->got = got;
	if (got == g->floor) {
		ilp_fix(g->p, got);
		return true;
	}
	if (!ilp_minimise(g->p, &least)) {
		ret->is = COUPLED_UNSOLVED;
		return false;
	}
	ret->least = least;
	ret->is = got > least ? COUPLED_WORSE : got < least ? COUPLED_ODD : COUPLED_BEST;
	return got == least;
}

static void compare(struct program *g, int (*meets)[GUEST][64], struct coupled_result *ret)
{
	int32_t priority = 0;

	for (int64_t below = INT64_MAX; reading_priority(g->r, below, &priority); below = priority)
		if (!level_is_best(g, COUPLED_NUMA, numa(g, priority), ret) ||
		    !level_is_best(g, COUPLED_LOCALITY, locality(g, priority, meets), ret) ||
		    (!g->share && !level_is_best(g, COUPLED_MOVES, moves(g, priority), ret)))
			return;
	if (!g->share && level_is_best(g, COUPLED_BOOT, fragmentation(g, COUPLED_BOOT), ret))
		level_is_best(g, COUPLED_BROKEN, fragmentation(g, COUPLED_BROKEN), ret);
}

void coupled_compare(const struct reading *r, unsigned n_nodes, struct coupled_result *ret)
{
	struct program *g = calloc(1, sizeof(*g));
	int(*meets)[GUEST][64] = calloc(r->p->n_domains + 1, sizeof(*meets));

	if (!g || !meets || r->h->n_l3s > CLASSES / 2)
		abort();
	*ret = (struct coupled_result){ .is = COUPLED_BEST };
	g->r = r;
	g->p = ilp_new();
	g->guests = calloc(r->p->n_domains + 1, sizeof(*g->guests));
	if (!g->guests)
		abort();
	ilp_limit(g->p, n_nodes);
	make_classes(g);
	for (uint32_t i = 0; i < r->p->n_domains; i++)
		for (size_t j = 0; j < r->p->domains[i].n_threads; j++)
			if (r->p->domains[i].threads[j].exclusive)
				add_entity(g, i, &r->p->domains[i].threads[j]);
	add_places(g);
	add_room(g);
	for (uint32_t i = 0; i < r->p->n_domains; i++)
		if (g->guests[i].n_io)
			map_guest(g, i, meets[i]);
	ret->nothing = g->n == 0;
	compare(g, meets, ret);
	ilp_free(g->p);
	free(g->guests);
	free(g);
	free(meets);
}
