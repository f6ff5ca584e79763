/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "reading.h"

#include <stdlib.h>
#include <string.h>

#define EACH(c, set) for (int c = vbmq_cpuset_next(&(set), 0); c >= 0; c = vbmq_cpuset_next(&(set), (unsigned)c + 1))

const char *const level_names[] = { "numa", "locality", "moves", "fragmentation" };

/* --- whose is what ---------------------------------------------------------------------------------------------------- */

static struct vbmq_cpuset usable_of(const struct reading *r, uint32_t core)
{
	return vbmq_cpuset_and(&r->h->cores[core].cpus, &r->h->usable);
}

static bool all_of(const struct vbmq_cpuset *part, const struct vbmq_cpuset *whole)
{
	struct vbmq_cpuset missing = vbmq_cpuset_andnot(part, whole);

	return vbmq_cpuset_count(part) > 0 && vbmq_cpuset_count(&missing) == 0;
}

static bool covers_a_node(const struct reading *r, const struct vbmq_cpuset *cpus)
{
	for (size_t i = 0; i < r->h->n_nodes; i++) {
		struct vbmq_cpuset of_node = vbmq_cpuset_and(&r->h->nodes[i].cpus, &r->h->usable);

		if (all_of(&of_node, cpus))
			return true;
	}
	return false;
}

enum meaning { NOTHING, NOWHERE, A_PLACE, ROOMY, WIDE };

/* What the owner says about a thread of his, its pin, else the cpuset of the domain, and what that means. */
static enum meaning owner_says(const struct reading *r, uint32_t domain, enum vbmq_thread_kind kind, uint32_t id,
			       struct vbmq_cpuset *ret)
{
	const struct vbmq_domain *d = r->s->domains[domain];
	const struct vbmq_thread *t = vbmq_domain_thread(d, kind, id);
	bool ours = r->p->domains[domain].managed && kind == VBMQ_THREAD_IOTHREAD, by_pin = t && t->has_pin && !ours;
	size_t n_nodes = 0, n_cores = 0, n_vcpus = 0;

	if (!by_pin && !d->has_cpuset)
		return NOTHING;
	*ret = vbmq_cpuset_and(by_pin ? &t->pin : &d->cpuset, &r->h->usable);
	if (vbmq_cpuset_count(ret) == 0)
		return NOWHERE;
	for (size_t i = 0; i < r->h->n_nodes; i++) {
		struct vbmq_cpuset here = vbmq_cpuset_and(ret, &r->h->nodes[i].cpus);
		struct vbmq_cpuset of_node = vbmq_cpuset_and(&r->h->nodes[i].cpus, &r->everything);
		struct vbmq_cpuset rest = vbmq_cpuset_andnot(&of_node, ret);

		n_nodes += vbmq_cpuset_count(&here) > 0;
		if (vbmq_cpuset_count(&of_node) > 2 * vbmq_cpuset_count(&rest))
			return WIDE;
	}
	if (covers_a_node(r, ret))
		return WIDE;
	for (uint32_t c = 0; c < r->h->n_cores; c++) {
		struct vbmq_cpuset here = vbmq_cpuset_and(ret, &r->h->cores[c].cpus);

		n_cores += vbmq_cpuset_count(&here) > 0;
	}
	for (size_t i = 0; i < d->n_threads; i++) {
		struct vbmq_cpuset set = d->threads[i].has_pin ? d->threads[i].pin : d->cpuset;

		if (d->threads[i].kind != VBMQ_THREAD_VCPU || (!d->threads[i].has_pin && !d->has_cpuset))
			continue;
		set = vbmq_cpuset_and(&set, &r->h->usable);
		n_vcpus += all_of(&set, ret);
	}
	if (n_cores == 1 || (n_nodes == 1 && n_cores <= n_vcpus))
		return A_PLACE;
	for (int c = vbmq_cpuset_next(ret, 0); c >= 0; c = vbmq_cpuset_next(ret, (unsigned)c + 1))
		if (vbmq_cpuset_has(&r->everything, (unsigned)c))
			return ROOMY;
	return A_PLACE;
}

bool reading_leash(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *t, struct vbmq_cpuset *ret)
{
	bool ours = r->p->domains[domain].managed && t->kind == VBMQ_THREAD_IOTHREAD;
	struct vbmq_cpuset says, on;
	enum meaning means;

	if (!t->planned || t->exclusive)
		return false;
	*ret = r->h->usable;
	means = owner_says(r, domain, t->kind, t->id, &says);
	if (!ours && (means == A_PLACE || means == NOWHERE))
		return false;
	if (means != WIDE && (ours || means != ROOMY))
		return true;
	on = vbmq_cpuset_and(&says, &r->everything);
	if (vbmq_cpuset_count(&on) > 0)
		*ret = says;
	return true;
}

/* Somebody who is not ours to place, and may be all over some node, or all over what his owner leaves to him. */
static bool roams(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *t)
{
	struct vbmq_cpuset says;
	enum meaning means;

	if (covers_a_node(r, t->cpus))
		return true;
	if (t->planned || vbmq_domain_thread(r->s->domains[domain], t->kind, t->id)->held)
		return false;
	means = owner_says(r, domain, t->kind, t->id, &says);
	return (means == ROOMY || means == WIDE) && all_of(&says, t->cpus);
}

/* What of a leash its threads share when nothing is dedicated. */
static struct vbmq_cpuset shared_of(const struct reading *r, const struct vbmq_cpuset *leash)
{
	struct vbmq_cpuset on = vbmq_cpuset_and(leash, &r->base);

	return vbmq_cpuset_count(&on) > 0 ? on : vbmq_cpuset_and(leash, &r->everything);
}

static bool wants_vcpus(const struct reading *r, uint32_t domain)
{
	struct vbmq_wish wish;
	bool wants;

	if (vbmq_policy_merge(r->policy, &r->s->domains[domain]->wish, &wish) < 0)
		abort();
	wants = wish.vcpus == VBMQ_VCPUS_DEDICATED;
	vbmq_wish_done(&wish);
	return wants;
}

/* CPUs of places where owners keep vCPUs, or I/O threads of guests that are not managed, are not shared, if enough is left. */
static void set_base(struct reading *r)
{
	struct vbmq_cpuset places = VBMQ_CPUSET_EMPTY;
	int64_t n_floating = 0, n_cores = 0;
	bool anybody = false;

	for (uint32_t i = 0; i < r->s->n_domains; i++)
		for (size_t j = 0; j < r->s->domains[i]->n_threads; j++) {
			const struct vbmq_thread *t = &r->s->domains[i]->threads[j];
			bool managed = r->p->domains[i].managed;
			struct vbmq_cpuset says;

			anybody = anybody || managed;
			if (t->kind == VBMQ_THREAD_IOTHREAD && managed)
				continue;
			if (owner_says(r, i, t->kind, t->id, &says) != A_PLACE ||
			    (t->kind == VBMQ_THREAD_VCPU && managed && wants_vcpus(r, i))) {
				n_floating += t->kind != VBMQ_THREAD_IOTHREAD;
				r->n_vcpus += t->kind == VBMQ_THREAD_VCPU;
			} else if (t->kind != VBMQ_THREAD_EMULATOR) {
				places = vbmq_cpuset_or(&places, &says);
			}
		}
	r->places = places;
	r->base = vbmq_cpuset_andnot(&r->everything, &places);
	for (uint32_t c = 0; c < r->h->n_cores; c++) {
		struct vbmq_cpuset left = vbmq_cpuset_and(&r->base, &r->h->cores[c].cpus);

		n_cores += vbmq_cpuset_count(&left) > 0;
	}
	if (!anybody || n_cores < 2 || n_cores <= (int64_t)r->policy->shared_min_cores ||
	    (r->policy->shared_min_cores == 0 && n_floating > 4 * (int64_t)vbmq_cpuset_count(&r->base)))
		r->base = r->everything;
	places = vbmq_cpuset_andnot(&r->everything, &r->base);
	r->keeps_off = vbmq_cpuset_count(&places) > 0;
}

/* Where an I/O thread of a managed domain may be. */
static struct vbmq_cpuset reach(const struct reading *r, uint32_t domain)
{
	const struct vbmq_domain *d = r->s->domains[domain];
	struct vbmq_cpuset set = vbmq_cpuset_and(&d->cpuset, &r->h->usable), says;
	struct vbmq_cpuset on = vbmq_cpuset_and(&set, &r->everything);

	/* No I/O thread has the id 0: what is said about one without a pin. */
	if (!d->has_cpuset || owner_says(r, domain, VBMQ_THREAD_IOTHREAD, 0, &says) != WIDE)
		return r->h->usable;
	return vbmq_cpuset_count(&on) > 0 ? set : r->h->usable;
}

static void take(struct reading *r, const struct vbmq_cpuset *cpus)
{
	EACH(c, *cpus)
	if (r->h->core_of[c] != VBMQ_NO_CORE)
		r->free = vbmq_cpuset_andnot(&r->free, &r->h->cores[r->h->core_of[c]].cpus);
}

/* Cores on which a thread stands that has to be there and nowhere else. */
static void set_free(struct reading *r)
{
	r->free = vbmq_cpuset_andnot(&r->h->usable, &r->policy->reserved);
	if (vbmq_cpuset_count(&r->policy->dedicated) > 0)
		r->free = vbmq_cpuset_and(&r->free, &r->policy->dedicated);
	take(r, &r->places);
	for (uint32_t i = 0; i < r->p->n_domains; i++)
		for (size_t j = 0; j < r->p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *t = &r->p->domains[i].threads[j];
			struct vbmq_cpuset leash;

			if (t->exclusive || reading_leash(r, i, t, &leash) || roams(r, i, t))
				continue;
			take(r, t->cpus);
		}
}

static void set_cores(struct reading *r)
{
	int64_t n_usable = 0, n_cpus = 0, n_shareable = 0, least = r->policy->shared_min_cores, loaded;
	size_t tally[65] = { 0 };

	for (uint32_t c = 0; c < r->h->n_cores; c++) {
		struct vbmq_cpuset usable = usable_of(r, c), shareable = vbmq_cpuset_and(&usable, &r->base);
		struct vbmq_cpuset given = vbmq_cpuset_and(&usable, &r->free);
		struct vbmq_cpuset open = vbmq_cpuset_and(&usable, &r->everything);

		if (vbmq_cpuset_count(&given) <= 64)
			tally[vbmq_cpuset_count(&given)]++;
		if (vbmq_cpuset_count(&usable) == 0)
			continue;
		r->isolated[c] = vbmq_cpuset_count(&open) == 0;
		r->any_isolated = r->any_isolated || r->isolated[c];
		n_shareable += vbmq_cpuset_count(&shareable) > 0;
		/* What owners have for themselves does not count. */
		open = r->keeps_off ? vbmq_cpuset_andnot(&usable, &r->places) : usable;
		n_usable += vbmq_cpuset_count(&open) > 0;
		n_cpus += vbmq_cpuset_count(&open);
	}
	/* So many cores that there is a CPU for four of the vCPUs, as cores are on the average, but half of them at most. */
	for (loaded = 0; 4 * loaded * n_cpus < r->n_vcpus * n_usable;)
		loaded++;
	loaded = 2 * loaded > n_usable ? n_usable / 2 : loaded;
	if (least == 0)
		least = loaded > n_usable / 8 ? loaded : n_usable >= 8 ? n_usable / 8 : 1;
	r->budget = n_shareable > least ? n_shareable - least : 0;
	r->pack = 1;
	for (size_t n = 1, most = 0; n <= 64; n++)
		if (tally[n] > 0 && tally[n] >= most) {
			r->pack = n;
			most = tally[n];
		}
}

/* --- what is wanted --------------------------------------------------------------------------------------------------- */

bool reading_disk_is_ours(const struct vbmq_domain *d, const struct vbmq_disk *disk)
{
	bool by_hand = false;

	for (size_t q = 0; q < disk->n_queues; q++)
		by_hand = by_hand || (disk->mapped && disk->queues[q].iothread != 0);
	return !by_hand && !disk->no_ioeventfd &&
	       (d->state == VBMQ_DOMAIN_SHUTOFF || (d->caps.bits & VBMQ_CAP_LIVE_MAP));
}

static bool must_serve(const struct vbmq_domain *d, uint32_t id)
{
	if (vbmq_cpuset_has(&d->busy_iothreads, id))
		return true;
	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			if (d->disks[i].queues[q].iothread == id && !reading_disk_is_ours(d, &d->disks[i]))
				return true;
	return false;
}

size_t reading_wanted_threads(const struct reading *r, uint32_t domain)
{
	const struct vbmq_domain *d = r->s->domains[domain];
	bool running = d->state != VBMQ_DOMAIN_SHUTOFF, touched = !running || (d->caps.bits & VBMQ_CAP_PIN);
	bool can_add = !running || (d->caps.bits & VBMQ_CAP_ADD_IOTHREAD);
	size_t have = 0, must = 0, useful = 0, queues = 0, want, serve, all;
	struct vbmq_wish wish;

	if (!r->p->domains[domain].managed || !touched)
		return 0;
	if (vbmq_policy_merge(r->policy, &d->wish, &wish) < 0)
		abort();
	for (size_t j = 0; j < d->n_threads; j++) {
		const struct vbmq_place_thread *t =
			vbmq_place_thread(&r->p->domains[domain], d->threads[j].kind, d->threads[j].id);

		if (!t || t->kind != VBMQ_THREAD_IOTHREAD || !t->planned)
			continue;
		have++;
		must += must_serve(d, t->id);
	}
	for (size_t i = 0; i < d->n_disks; i++) {
		const struct vbmq_disk_wish *w = vbmq_wish_find_disk(&wish, d->disks[i].target);
		size_t n = d->disks[i].n_queues;

		queues += n;
		if (w && w->iothreads > 0 && (size_t)w->iothreads < n)
			n = (size_t)w->iothreads;
		useful += reading_disk_is_ours(d, &d->disks[i]) ? n : 0;
	}
	want = queues < r->policy->auto_max ? queues : r->policy->auto_max;
	if (d->n_vcpus && d->n_vcpus < want)
		want = d->n_vcpus;
	if (wish.iothreads > 0)
		want = (size_t)wish.iothreads;
	serve = useful < want ? useful : want;
	serve = serve > must ? serve : must;
	all = wish.iothreads > 0 && want > serve ? want : serve;
	if (!can_add || all < have)
		all = have;
	vbmq_wish_done(&wish);
	return serve < all ? serve : all;
}

static enum vbmq_exclusive exclusive_of(const struct reading *r, uint32_t domain)
{
	struct vbmq_wish wish;
	enum vbmq_exclusive e;

	if (vbmq_policy_merge(r->policy, &r->s->domains[domain]->wish, &wish) < 0)
		abort();
	e = wish.exclusive;
	vbmq_wish_done(&wish);
	return e;
}

size_t reading_wanted(const struct reading *r, uint32_t domain)
{
	size_t n = reading_wanted_threads(r, domain);

	switch (exclusive_of(r, domain)) {
	case VBMQ_EXCLUSIVE_CORE:
		return n;
	case VBMQ_EXCLUSIVE_CPU:
		return (n + r->pack - 1) / r->pack;
	default:
		return 0;
	}
}

void reading_fits(const struct reading *r, uint32_t domain, size_t unit, size_t n_threads, bool *ret_fits)
{
	bool part = exclusive_of(r, domain) == VBMQ_EXCLUSIVE_CPU;
	struct vbmq_cpuset where = reach(r, domain);
	size_t left = n_threads - unit * r->pack, size = part ? (left < r->pack ? left : r->pack) : 1;

	for (uint32_t c = 0; c < r->h->n_cores; c++) {
		struct vbmq_cpuset usable = usable_of(r, c), not_free = vbmq_cpuset_andnot(&usable, &r->free), can;

		can = vbmq_cpuset_and(&usable, &where);
		if (part)
			can = vbmq_cpuset_and(&can, &r->free);
		ret_fits[c] = vbmq_cpuset_count(&usable) > 0 && (part || vbmq_cpuset_count(&not_free) == 0) &&
			      vbmq_cpuset_count(&can) >= size;
	}
}

/* --- costs ------------------------------------------------------------------------------------------------------------ */

/* Distance beyond local from a node (by index) to one by its Linux number; a node the host does not have is no distance. */
int64_t reading_beyond(const struct vbmq_host *h, uint32_t from, uint32_t id)
{
	for (size_t i = 0; i < h->n_nodes; i++)
		if (h->nodes[i].id == id)
			return i == from ? 0 : (int64_t)h->distances[from * h->n_nodes + i] - 10;
	return 0;
}

static bool serves(const struct vbmq_place_domain *p, size_t disk, uint32_t id)
{
	for (size_t q = 0; q < p->disks[disk].n_queues; q++)
		if (p->disks[disk].queues[q].iothread == id)
			return true;
	return false;
}

static int64_t numa_of(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *t, uint32_t core)
{
	const struct vbmq_domain *d = r->s->domains[domain];
	uint32_t node = r->h->cores[core].node;
	int64_t memory = -1, devices = 0;

	EACH(m, d->memory_nodes)
	{
		int64_t far = reading_beyond(r->h, node, (uint32_t)m);

		if (memory < 0 || far < memory)
			memory = far;
	}
	for (size_t i = 0; i < d->n_disks && t->kind == VBMQ_THREAD_IOTHREAD; i++)
		if (d->disks[i].node >= 0 && serves(&r->p->domains[domain], i, t->id))
			devices += reading_beyond(r->h, node, (uint32_t)d->disks[i].node);
	return devices + (memory > 0 ? memory : 0);
}

/* Where a vCPU runs as far as locality goes: the place of one that stays where it is, else what its leash has of the CPUs that
 * could be shared. */
struct vbmq_cpuset reading_vcpu_place(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *v)
{
	struct vbmq_cpuset leash;

	if (reading_leash(r, domain, v, &leash))
		return shared_of(r, &leash);
	return vbmq_cpuset_and(v->cpus, &r->h->usable);
}

int64_t reading_near(const struct reading *r, uint32_t core, const struct vbmq_cpuset *place)
{
	const struct vbmq_core *here = &r->h->cores[core];
	int64_t steps = 0, n = 0;
	bool one_l3 = true;
	int first = vbmq_cpuset_next(place, 0);

	EACH(c, *place)
	{
		const struct vbmq_core *there = &r->h->cores[r->h->core_of[c]];

		one_l3 = one_l3 && there->l3 == r->h->cores[r->h->core_of[first]].l3;
		steps += there->l3 == here->l3 ? 0 : there->node == here->node ? 1 : 2;
		n++;
	}
	return n ? steps * (one_l3 ? 64 : 16) / n : 0;
}

static int64_t locality_of(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *t, uint32_t core)
{
	const struct vbmq_domain *d = r->s->domains[domain];
	const struct vbmq_place_domain *p = &r->p->domains[domain];
	int64_t sum = 0;

	for (size_t v = 0; v < p->n_threads; v++) {
		const struct vbmq_place_thread *vcpu = &p->threads[v];
		bool completes = false;
		struct vbmq_cpuset place;

		for (size_t i = 0; i < d->n_disks && vcpu->kind == VBMQ_THREAD_VCPU; i++)
			for (size_t q = 0; q < d->disks[i].n_queues; q++)
				if (p->disks[i].queues[q].iothread == t->id &&
				    vbmq_cpuset_has(&d->disks[i].queues[q].vcpus, vcpu->id))
					completes = true;
		if (!completes)
			continue;
		place = reading_vcpu_place(r, domain, vcpu);
		sum += reading_near(r, core, &place);
	}
	return sum;
}

int64_t reading_move(const struct reading *r, uint32_t domain, const struct vbmq_place_thread *t, uint32_t core)
{
	const struct vbmq_thread *was = vbmq_domain_thread(r->s->domains[domain], t->kind, t->id);
	struct vbmq_cpuset now, outside;

	if (!was)
		return 0;
	now = was->affinity;
	if (was->held && r->policy->drift == VBMQ_DRIFT_REPAIR && vbmq_cpuset_count(&was->applied) > 0)
		now = was->applied;
	outside = vbmq_cpuset_andnot(&now, &r->h->cores[core].cpus);
	return vbmq_cpuset_count(&outside) > 0;
}

void reading_fragment(const struct reading *r, const bool *used, int64_t *ret)
{
	const struct vbmq_host *h = r->h;
	uint32_t boot = h->core_of[vbmq_cpuset_next(&h->usable, 0)];
	int32_t fastest = -1;

	for (uint32_t c = 0; c < h->n_cores; c++)
		fastest = h->cores[c].kind > fastest ? h->cores[c].kind : fastest;
	for (uint32_t c = 0; c < h->n_cores; c++) {
		int64_t position = 0, free[2] = { 0, 0 };
		bool whole[2];

		/* Its L3 domain comes after all that are in use when it is not, or have fewer free cores, or a lower number. */
		for (uint32_t l = 0; l < h->n_l3s; l++) {
			for (unsigned side = 0; side < 2; side++) {
				uint32_t of = side ? l : h->cores[c].l3;

				free[side] = 0;
				whole[side] = h->cores[boot].l3 != of;
				for (uint32_t o = 0; o < h->n_cores; o++) {
					bool wanted = false;

					if (h->cores[o].l3 != of)
						continue;
					whole[side] = whole[side] && !used[o];
					for (size_t u = 0; u < r->n_units; u++)
						wanted = wanted || r->units[u].fits[o];
					free[side] += wanted && !used[o];
				}
			}
			if (whole[1] != whole[0] ? whole[0]
			    : free[1] != free[0] ? free[1] < free[0]
						 : l < h->cores[c].l3)
				position++;
		}
		ret[c] = position + (c == boot ? 8192 : 0);
		if (h->cores[c].kind >= 0)
			ret[c] += (int64_t)(fastest - h->cores[c].kind) * 16384;
		if (r->any_isolated && !r->isolated[c])
			ret[c] += 1048576;
	}
}

/* --- units ------------------------------------------------------------------------------------------------------------ */

static struct unit *unit_on(struct reading *r, uint32_t domain, uint32_t core)
{
	for (size_t u = 0; u < r->n_units; u++)
		if (r->units[u].domain == domain && r->units[u].core == core)
			return &r->units[u];
	if (r->n_units == UNITS_MAX)
		return NULL;
	r->units[r->n_units] = (struct unit){ .domain = domain, .core = core };
	return &r->units[r->n_units++];
}

static void set_costs(struct reading *r, struct unit *u)
{
	for (uint32_t c = 0; c < r->h->n_cores; c++)
		for (size_t t = 0; t < u->n_threads; t++) {
			int64_t move = reading_move(r, u->domain, u->threads[t], c);

			u->cost[LEVEL_NUMA][c] += numa_of(r, u->domain, u->threads[t], c);
			u->cost[LEVEL_LOCALITY][c] +=
				locality_of(r, u->domain, u->threads[t], c) + move * r->policy->move_gain;
			u->cost[LEVEL_MOVES][c] += move;
		}
}

bool reading_priority(const struct reading *r, int64_t below, int32_t *ret)
{
	bool any = false;

	for (size_t i = 0; i < r->p->n_domains; i++) {
		int32_t priority = r->p->domains[i].priority;

		if (priority < below && (!any || priority > *ret)) {
			*ret = priority;
			any = true;
		}
	}
	return any;
}

bool reading_make(struct reading *r, const struct vbmq_snapshot *s, const struct vbmq_policy *policy,
		  const struct vbmq_placement *p)
{
	size_t number = 0;

	*r = (struct reading){ .s = s, .h = s->host, .policy = policy, .p = p };
	if (r->h->n_cores > CORES_MAX)
		return false;
	r->everything = vbmq_cpuset_andnot(&r->h->usable, &r->h->isolated);
	if (vbmq_cpuset_count(&r->everything) == 0)
		r->everything = r->h->usable;
	set_base(r);
	set_free(r);
	set_cores(r);
	for (uint32_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *t = &p->domains[i].threads[j];
			struct unit *u;

			if (t->kind != VBMQ_THREAD_IOTHREAD || !t->exclusive)
				continue;
			u = unit_on(r, i, r->h->core_of[vbmq_cpuset_next(t->cpus, 0)]);
			if (!u || u->n_threads == 64)
				return false;
			u->priority = p->domains[i].priority;
			u->part = exclusive_of(r, i) == VBMQ_EXCLUSIVE_CPU;
			u->threads[u->n_threads++] = t;
		}
	for (size_t u = 0; u < r->n_units; u++) {
		struct unit *unit = &r->units[u];

		number = u && r->units[u - 1].domain == unit->domain ? number + 1 : 0;
		reading_fits(r, unit->domain, number, reading_wanted_threads(r, unit->domain), unit->fits);
		set_costs(r, unit);
	}
	return true;
}
