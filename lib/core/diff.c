/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From the snapshot to the placement, by walking a copy of the present state there one safe step after the other.
 *
 * A mover is a planned thread. It sits when it is alone inside one core and is to go elsewhere: until it has left, nobody
 * may come there (blocked CPUs). The order:
 *   1. polling of threads that get no core of their own is put back to adaptive;
 *   2. threads that lose their core to the shared set, and the core with it, spread first: others come to nobody's place;
 *   3. floating threads shrink to where they will float, less the blocked CPUs: now all places to be are free but for
 *      threads that are on their way to a place of their own;
 *   4. new I/O threads are added (they start where the emulator is, which has shrunk already);
 *   5. exclusive moves, each when its place is free, following the places that become free, and floating threads that had no
 *      room before; when nobody can go, one thread is put aside (diff_park.c);
 *   6. floating threads spread to all of their target;
 *   7. polling of exclusive threads, queue maps, removal.
 * All questions are answered by counters per CPU, so the work is proportional to threads times the CPUs of their masks.
 */

#include "core/diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/diff_internal.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/setref.h"

#define STEPS_MAX 10000000u

#define NOBODY UINT32_MAX
static const struct vbmq_cpuset nowhere;

#define FOR_EACH_CPU(c, set) for (int c = vbmq_cpuset_next(set, 0); c >= 0; c = vbmq_cpuset_next(set, (unsigned)c + 1))

void vbmq_steps_free(struct vbmq_step *steps, size_t n)
{
	for (size_t i = 0; steps && i < n; i++) {
		vbmq_setref_drop(steps[i].cpus);
		free(steps[i].map);
	}
	free(steps);
}

static void walk_done(struct vbmq_diff_walk *w)
{
	vbmq_steps_free(w->steps, w->n_steps);
	for (size_t i = 0; i < w->n_kept; i++)
		vbmq_setref_drop(w->kept[i]);
	free(w->kept);
	free(w->movers);
	free(w->n_allowed);
	free(w->next_wanting);
	free(w->queue);
	free(w->queued);
}

/* What is kept again and again mostly comes one after the other. */
static const struct vbmq_cpuset *keep(struct vbmq_diff_walk *w, const struct vbmq_cpuset *set)
{
	const struct vbmq_cpuset **item;

	if (w->n_kept && vbmq_cpuset_equal(w->kept[w->n_kept - 1], set))
		return w->kept[w->n_kept - 1];
	item = vbmq_array_add(w->kept, w->n_kept, STEPS_MAX);
	if (!item)
		return NULL;
	*item = vbmq_setref_new(set);
	if (!*item)
		w->n_kept--;
	return *item;
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */

struct vbmq_step *vbmq_diff_step(struct vbmq_diff_walk *w, enum vbmq_step_op op, uint32_t domain, uint32_t id)
{
	struct vbmq_step *s = vbmq_array_add(w->steps, w->n_steps, STEPS_MAX);

	if (!s)
		return NULL;
	s->op = op;
	s->domain = domain;
	s->kind = VBMQ_THREAD_IOTHREAD;
	s->id = id;
	return s;
}

/* Where m is in the way of exclusive threads that come: where it sits, or floats; not while it is on its way itself, unless it
 * stands inside one core. */
static const struct vbmq_cpuset *way_of(const struct vbmq_diff_walk *w, const struct vbmq_diff_mover *m)
{
	int first = vbmq_cpuset_next(m->now, 0);
	const struct vbmq_core *core = first < 0 ? NULL : vbmq_host_core_of(w->snapshot->host, (unsigned)first);

	if (!vbmq_cpuset_is_empty(m->sits))
		return m->sits;
	if (m->to->exclusive && (!core || !vbmq_cpuset_is_subset(m->now, &core->cpus)))
		return &nowhere;
	return m->now;
}

static void set_way(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m, const struct vbmq_cpuset *way)
{
	FOR_EACH_CPU(c, m->way)
	w->n_in_way[c]--;
	FOR_EACH_CPU(c, way)
	w->n_in_way[c]++;
	m->way = way;
}

void vbmq_diff_stop_sitting(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m)
{
	FOR_EACH_CPU(c, m->sits)
	if (--w->n_sitting[c] == 0)
		vbmq_cpuset_del(&w->sat_on, (unsigned)c);
	m->sits = &nowhere;
	if (!vbmq_cpuset_is_empty(m->way))
		set_way(w, m, way_of(w, m));
}

static int pin(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m, const struct vbmq_cpuset *cpus, bool interim)
{
	struct vbmq_step *s = vbmq_diff_step(w, VBMQ_STEP_PIN, m->domain, m->to->id);

	if (!s)
		return -ENOMEM;
	m->now = vbmq_cpuset_equal(cpus, m->to->cpus) ? m->to->cpus : keep(w, cpus);
	if (!m->now)
		return -ENOMEM;
	s->kind = m->to->kind;
	s->cpus = vbmq_setref(m->now);
	s->exclusive = m->to->exclusive && !interim;
	s->interim = interim;
	m->strays = false;
	return 0;
}

/* --- the state at the start ------------------------------------------------------------------------------------------- */

static void allow(struct vbmq_diff_walk *w, const struct vbmq_cpuset *cpus, uint32_t n)
{
	FOR_EACH_CPU(c, cpus)
	w->n_allowed[c] += n;
}

/* Threads that may run on the same CPUs, which are many; they mostly come one after the other, but for those on one CPU or none. */
struct run {
	const struct vbmq_cpuset *cpus;
	uint32_t n;
};

static void count_allowed(struct vbmq_diff_walk *w, struct run *run, const struct vbmq_cpuset *cpus)
{
	int first = vbmq_cpuset_next(cpus, 0);

	if (first < 0)
		return;
	if (vbmq_cpuset_next(cpus, (unsigned)first + 1) < 0) {
		w->n_allowed[first]++;
		return;
	}
	if (!vbmq_cpuset_equal(cpus, run->cpus)) {
		allow(w, run->cpus, run->n);
		*run = (struct run){ .cpus = cpus };
	}
	run->n++;
}

static int collect(struct vbmq_diff_walk *w)
{
	const struct vbmq_placement *p = w->placement;
	struct run run = { .cpus = &nowhere };
	size_t n = 0;

	for (size_t i = 0; i < p->n_domains; i++)
		n += p->domains[i].n_threads;
	w->size = n + 1;
	w->movers = calloc(w->size, sizeof(*w->movers));
	w->next_wanting = calloc(w->size, sizeof(*w->next_wanting));
	w->queued = calloc(w->size, sizeof(*w->queued));
	w->queue = calloc(w->size, sizeof(*w->queue));
	w->n_allowed = calloc((size_t)VBMQ_CPUS_MAX * 4, sizeof(*w->n_allowed));
	if (!w->movers || !w->next_wanting || !w->queued || !w->queue || !w->n_allowed)
		return -ENOMEM;
	w->n_sitting = w->n_allowed + VBMQ_CPUS_MAX;
	w->n_in_way = w->n_sitting + VBMQ_CPUS_MAX;
	w->wanted_by = memset(w->n_in_way + VBMQ_CPUS_MAX, 0xff, VBMQ_CPUS_MAX * sizeof(*w->wanted_by)); /* NOBODY */
	for (uint32_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *to = &p->domains[i].threads[j];
			struct vbmq_diff_mover *m = &w->movers[w->n_movers];

			if (!to->planned)
				continue;
			*m = (struct vbmq_diff_mover){ .domain = i,
						       .to = to,
						       .now = &nowhere,
						       .area = &nowhere,
						       .sits = &nowhere,
						       .way = &nowhere };
			m->was = vbmq_domain_thread(w->snapshot->domains[i], to->kind, to->id);
			if (m->was)
				m->now = &m->was->affinity;
			m->strays = m->was && m->was->held && !vbmq_cpuset_equal(&m->was->applied, to->cpus);
			m->pending = to->exclusive && (!m->was || !vbmq_cpuset_equal(m->now, to->cpus));
			count_allowed(w, &run, m->now);
			w->n_movers++;
		}
	allow(w, run.cpus, run.n);
	return 0;
}

static int set_areas(struct vbmq_diff_walk *w)
{
	struct vbmq_cpuset taken = VBMQ_CPUSET_EMPTY, idle;

	for (size_t i = 0; i < w->n_movers; i++) {
		const struct vbmq_place_thread *to = w->movers[i].to;

		for (int c = to->exclusive ? vbmq_cpuset_next(to->cpus, 0) : -1; c >= 0;
		     c = vbmq_cpuset_next(to->cpus, (unsigned)c + 1))
			vbmq_cpuset_add(&taken, (unsigned)c);
	}
	idle = vbmq_cpuset_andnot(&w->placement->dedicated, &taken);
	for (uint32_t i = 0; i < w->n_movers; i++) {
		struct vbmq_diff_mover *m = &w->movers[i];
		struct vbmq_cpuset area;

		if (!m->to->exclusive)
			continue;
		area = vbmq_host_whole_cores(w->snapshot->host, m->to->cpus);
		area = vbmq_cpuset_and(&area, &idle);
		area = vbmq_cpuset_or(&area, m->to->cpus);
		m->area = keep(w, &area);
		if (!m->area)
			return -ENOMEM;
		w->goals = vbmq_cpuset_or(&w->goals, &area);
		if (!m->pending)
			w->closed = vbmq_cpuset_or(&w->closed, &area);
	}
	idle = vbmq_cpuset_andnot(&w->placement->dedicated, &w->goals);
	w->closed = vbmq_cpuset_or(&w->closed, &idle);
	return 0;
}

/* Sits: alone on CPUs of one core, and to go elsewhere. Siblings on which nobody may run are its own, too. */
static int set_sits(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m)
{
	struct vbmq_cpuset sits = VBMQ_CPUSET_EMPTY;
	int first = vbmq_cpuset_next(m->now, 0);
	const struct vbmq_core *c0 = first < 0 ? NULL : vbmq_host_core_of(w->snapshot->host, (unsigned)first);

	if (!c0 || !vbmq_cpuset_is_subset(m->now, &c0->cpus))
		return 0;
	if (m->to->exclusive ? !m->pending : vbmq_cpuset_equal(m->now, m->to->cpus))
		return 0;
	if (!m->to->exclusive && !m->was->held)
		return 0; /* it stands there by accident or by its owner's pin, not on a place we gave it for itself */
	FOR_EACH_CPU(c, m->now)
	if (w->n_allowed[c] > 1)
		return 0;
	FOR_EACH_CPU(c, &c0->cpus)
	if (w->n_allowed[c] == 0 || vbmq_cpuset_has(m->now, (unsigned)c)) {
		vbmq_cpuset_add(&sits, (unsigned)c);
		vbmq_cpuset_add(&w->sat_on, (unsigned)c);
		w->n_sitting[c]++;
	}
	m->sits = keep(w, &sits);
	return m->sits ? 0 : -ENOMEM;
}

/* --- floating threads ------------------------------------------------------------------------------------------------- */

struct vbmq_cpuset vbmq_diff_unblocked(const struct vbmq_diff_walk *w, const struct vbmq_diff_mover *m,
				       const struct vbmq_cpuset *set)
{
	struct vbmq_cpuset free = vbmq_cpuset_andnot(set, &w->sat_on);

	FOR_EACH_CPU(c, m->sits)
	if (w->n_sitting[c] == 1 && vbmq_cpuset_has(set, (unsigned)c))
		vbmq_cpuset_add(&free, (unsigned)c);
	return free;
}

static int shrink(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m)
{
	const struct vbmq_cpuset *to = m->to->cpus;
	struct vbmq_cpuset less;

	if (vbmq_cpuset_intersects(to, &w->sat_on)) {
		less = vbmq_diff_unblocked(w, m, to);
		to = &less;
	}
	m->stuck = vbmq_cpuset_is_empty(to);
	if (m->stuck) {
		set_way(w, m, way_of(w, m));
		return 0;
	}
	set_way(w, m, &nowhere);
	if (!vbmq_cpuset_is_subset(m->now, to) || (vbmq_cpuset_is_empty(m->now) && m->was) ||
	    (!vbmq_cpuset_is_empty(m->sits) && !vbmq_cpuset_equal(m->now, to))) {
		if (pin(w, m, to, !vbmq_cpuset_equal(to, m->to->cpus)) < 0)
			return -ENOMEM;
	}
	vbmq_diff_stop_sitting(w, m);
	return 0;
}

static int shrink_all(struct vbmq_diff_walk *w, bool sitting, bool stuck)
{
	for (size_t i = 0; i < w->n_movers; i++) {
		struct vbmq_diff_mover *m = &w->movers[i];

		if (m->to->exclusive || !m->was || m->stuck != stuck || vbmq_cpuset_is_empty(m->sits) == sitting)
			continue;
		if (shrink(w, m) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Who sits where others are to float with it leaves its place by spreading, so that they do not come before it has. */
static int give_up_places(struct vbmq_diff_walk *w)
{
	for (size_t i = 0; i < w->n_movers; i++) {
		struct vbmq_diff_mover *m = &w->movers[i];

		if (m->to->exclusive || vbmq_cpuset_is_empty(m->sits) || !vbmq_cpuset_is_subset(m->now, m->to->cpus))
			continue;
		if (shrink(w, m) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int spread_all(struct vbmq_diff_walk *w)
{
	for (size_t i = 0; i < w->n_movers; i++) {
		struct vbmq_diff_mover *m = &w->movers[i];

		if (((m->to->exclusive || vbmq_cpuset_equal(m->now, m->to->cpus)) && !m->strays) ||
		    (m->to->to_remove && m->was && vbmq_cpuset_is_subset(m->now, m->to->cpus)))
			continue;
		if (pin(w, m, m->to->cpus, false) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* --- exclusive moves -------------------------------------------------------------------------------------------------- */

static void look_at(struct vbmq_diff_walk *w, uint32_t i)
{
	if (!w->movers[i].pending || w->queued[i])
		return;
	w->queued[i] = true;
	w->queue[w->tail++ % w->size] = i;
}

/* m is no longer in the way on these CPUs; who waited for them is looked at again. */
static void make_way(struct vbmq_diff_walk *w, const struct vbmq_cpuset *cpus)
{
	struct vbmq_cpuset cores = vbmq_host_whole_cores(w->snapshot->host, cpus);

	FOR_EACH_CPU(c, &cores)
	for (uint32_t i = w->wanted_by[c]; i != NOBODY; i = w->next_wanting[i])
		look_at(w, i);
}

static bool ready(const struct vbmq_diff_walk *w, const struct vbmq_diff_mover *m)
{
	FOR_EACH_CPU(c, m->area)
	if (w->n_in_way[c] > (vbmq_cpuset_has(m->way, (unsigned)c) ? 1u : 0u))
		return false;
	return true;
}

/* Moves m on; interim: it leaves, but is not there yet. */
static int go(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m, const struct vbmq_cpuset *cpus, bool interim)
{
	const struct vbmq_cpuset *left = m->way;

	set_way(w, m, &nowhere);
	vbmq_diff_stop_sitting(w, m);
	if (pin(w, m, cpus, interim) < 0)
		return -ENOMEM;
	if (interim) {
		set_way(w, m, way_of(w, m));
	} else {
		m->pending = false;
		w->closed = vbmq_cpuset_or(&w->closed, m->area);
	}
	make_way(w, left);
	return 0;
}

int vbmq_diff_aside(struct vbmq_diff_walk *w, struct vbmq_diff_mover *m, const struct vbmq_cpuset *cpus)
{
	m->n_parked++;
	return go(w, m, cpus, true);
}

static int go_all_ready(struct vbmq_diff_walk *w)
{
	while (w->head != w->tail) {
		uint32_t i = w->queue[w->head++ % w->size];
		struct vbmq_diff_mover *m = &w->movers[i];

		w->queued[i] = false;
		if (m->pending && ready(w, m) && go(w, m, m->to->cpus, false) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Floating threads that were stuck may have got room, and leave some where they were. */
static int retry_stuck(struct vbmq_diff_walk *w, bool *ret_done)
{
	for (size_t i = 0; i < w->n_movers; i++) {
		struct vbmq_diff_mover *m = &w->movers[i];
		const struct vbmq_cpuset *left = m->way;

		if (!m->stuck)
			continue;
		if (shrink(w, m) < 0)
			return -ENOMEM;
		if (m->stuck)
			continue;
		make_way(w, left);
		*ret_done = true;
	}
	return 0;
}

/* The last resort, should even putting aside not help: whoever waits gives up being alone. The property tests never saw it. */
static int give_in(struct vbmq_diff_walk *w)
{
	bool done = false;

	for (size_t i = 0; i < w->n_movers; i++)
		vbmq_diff_stop_sitting(w, &w->movers[i]);
	if (retry_stuck(w, &done) < 0)
		return -ENOMEM;
	memset(w->n_in_way, 0, VBMQ_CPUS_MAX * sizeof(*w->n_in_way));
	for (size_t i = 0; i < w->n_movers; i++) {
		struct vbmq_diff_mover *m = &w->movers[i];

		if (m->pending && pin(w, m, m->to->cpus, false) < 0)
			return -ENOMEM;
		m->pending = false;
	}
	return 0;
}

static bool is_any_left(const struct vbmq_diff_walk *w)
{
	for (size_t i = 0; i < w->n_movers; i++)
		if (w->movers[i].pending || w->movers[i].stuck)
			return true;
	return false;
}

static int move_exclusive(struct vbmq_diff_walk *w)
{
	for (uint32_t i = 0; i < w->n_movers; i++) {
		struct vbmq_diff_mover *m = &w->movers[i];
		int first = vbmq_cpuset_next(m->area, 0);

		if (!m->pending)
			continue;
		set_way(w, m, way_of(w, m));
		w->next_wanting[i] = w->wanted_by[first];
		w->wanted_by[first] = i;
		look_at(w, i);
	}
	for (;;) {
		bool done = false;

		if (go_all_ready(w) < 0 || retry_stuck(w, &done) < 0)
			return -ENOMEM;
		if (done || w->head != w->tail)
			continue;
		if (!is_any_left(w))
			return 0;
		if (vbmq_diff_park(w, &done) < 0)
			return -ENOMEM;
		if (!done)
			return give_in(w);
	}
}

/* --- the rest --------------------------------------------------------------------------------------------------------- */

/* A new thread starts where the emulator is; one that is to float goes on from there like the others did. */
static int add_iothreads(struct vbmq_diff_walk *w)
{
	const struct vbmq_diff_mover *emulator = NULL;

	/* The emulator is the last of its domain's threads, so it is met before them going backwards. */
	for (size_t i = w->n_movers; i-- > 0;) {
		struct vbmq_diff_mover *m = &w->movers[i];
		const struct vbmq_thread *was;

		if (m->to->kind == VBMQ_THREAD_EMULATOR)
			emulator = m;
		if (m->was || !m->to->to_add)
			continue;
		was = vbmq_domain_thread(w->snapshot->domains[m->domain], VBMQ_THREAD_EMULATOR, 0);
		if (emulator && emulator->domain == m->domain)
			m->now = emulator->now;
		else if (was)
			m->now = &was->affinity;
	}
	for (size_t i = 0; i < w->n_movers; i++)
		if (w->movers[i].to->to_add && !w->movers[i].was &&
		    !vbmq_diff_step(w, VBMQ_STEP_ADD_IOTHREAD, w->movers[i].domain, w->movers[i].to->id))
			return -ENOMEM;
	for (size_t i = 0; i < w->n_movers; i++)
		if (!w->movers[i].was && !w->movers[i].to->exclusive && shrink(w, &w->movers[i]) < 0)
			return -ENOMEM;
	return 0;
}

static int walk_all(struct vbmq_diff_walk *w)
{
	if (collect(w) < 0)
		return -ENOMEM;
	if (set_areas(w) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < w->n_movers; i++)
		if (set_sits(w, &w->movers[i]) < 0)
			return -ENOMEM;
	if (vbmq_diff_polling(w, false) < 0 || give_up_places(w) < 0 || shrink_all(w, true, false) < 0 ||
	    shrink_all(w, false, false) < 0 || add_iothreads(w) < 0 || move_exclusive(w) < 0 || spread_all(w) < 0 ||
	    vbmq_diff_polling(w, true) < 0 || vbmq_diff_map_queues(w) < 0 || vbmq_diff_remove(w) < 0)
		return -ENOMEM;
	return 0;
}

int vbmq_diff(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
	      struct vbmq_step **ret_steps, size_t *ret_n, struct vbmq_err *err)
{
	_cleanup_(walk_done) struct vbmq_diff_walk w = { .snapshot = snapshot, .placement = placement };

	if (placement->n_domains != snapshot->n_domains)
		return vbmq_err_set(err, -EINVAL, "diff: the placement has %zu domains, the snapshot %zu",
				    placement->n_domains, snapshot->n_domains);
	if (walk_all(&w) < 0)
		return vbmq_err_oom(err);
	*ret_n = w.n_steps;
	*ret_steps = VBMQ_STEAL(w.steps);
	w.n_steps = 0;
	return 0;
}
