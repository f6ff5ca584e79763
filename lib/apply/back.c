/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The engine's way back: rules 2, 4 and 5 of engine.c. */

#include "apply/engine_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apply/run.h"
#include "util/err.h"
#include "util/strbuf.h"

/* --- words -------------------------------------------------------------------------------------------------------- */

static void set_text(struct vbmq_step_result *r, struct vbmq_strbuf *b)
{
	free(r->text);
	r->text = vbmq_strbuf_steal(b);
	vbmq_strbuf_done(b);
}

void vbmq_engine_result(struct vbmq_engine *e, size_t i, enum vbmq_outcome outcome, int error, const char *text)
{
	struct vbmq_step_result *r = &e->report->results[i];
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

	r->outcome = outcome;
	r->error = error;
	if (!text)
		return;
	if (r->text) {
		vbmq_strbuf_add(&b, r->text);
		vbmq_strbuf_add(&b, "; ");
	}
	vbmq_strbuf_add(&b, text);
	set_text(r, &b);
}

/* --- taking back -------------------------------------------------------------------------------------------------- */

/* Places that steps after i will give threads of other domains, as far as those domains are still in the game. */
static struct vbmq_cpuset promised(const struct vbmq_engine *e, size_t i, uint32_t except)
{
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY, cores;

	for (size_t j = i + 1; j < e->plan->n_steps; j++) {
		const struct vbmq_step *s = &e->plan->steps[j];

		if (s->op != VBMQ_STEP_PIN || !s->exclusive || s->domain == except ||
		    e->status[s->domain] > VBMQ_ENGINE_GOOD)
			continue;
		cores = vbmq_host_whole_cores(e->snapshot->host, s->cpus);
		cores = vbmq_cpuset_andnot(&cores, &e->plan->placement->shared);
		all = vbmq_cpuset_or(&all, &cores);
		all = vbmq_cpuset_or(&all, s->cpus);
	}
	return all;
}

/* Where the thread of step j can go back to; empty: nowhere. */
static struct vbmq_cpuset way_back(const struct vbmq_engine *e, size_t j, size_t failed,
				   const struct vbmq_track_thread *th)
{
	const struct vbmq_engine_before *b = &e->before[j];
	struct vbmq_cpuset coming = promised(e, failed, th->domain);
	struct vbmq_cpuset held = vbmq_track_held(e->actual, th);
	struct vbmq_cpuset back;

	held = vbmq_cpuset_or(&held, &coming);
	if (b->exclusive) {
		if (vbmq_cpuset_intersects(&b->cpus, &held))
			return VBMQ_CPUSET_EMPTY;
		for (size_t i = 0; i < e->actual->n_threads; i++)
			if (&e->actual->threads[i] != th &&
			    vbmq_track_meet(e->actual, &b->cpus, true, &e->actual->threads[i]) > 1)
				return VBMQ_CPUSET_EMPTY;
	}
	back = vbmq_cpuset_andnot(&b->cpus, &held);
	return back;
}

/* The threads of an emulator that had an affinity of their own: the pin that was just taken back set them all alike. */
static void odd_tasks_back(struct vbmq_engine *e, const struct vbmq_step *pin)
{
	const struct vbmq_domain *d = e->snapshot->domains[pin->domain];

	for (size_t i = 0; i < d->n_odd_tasks; i++) {
		struct vbmq_cpuset cpus = vbmq_cpuset_and(&d->odd_tasks[i].affinity, pin->cpus);
		struct vbmq_step s = *pin;

		s.tid = d->odd_tasks[i].tid;
		s.start = d->odd_tasks[i].start;
		s.cpus = &cpus;
		if (!vbmq_cpuset_is_empty(&cpus))
			vbmq_run_step(e->actual, e->a->actuator, &s, &e->snapshot->host->online, NULL);
	}
}

/* 0: taken back (perhaps not wholly, *note says so). 1: stays as it is, *note says why. Negative: failed, err. */
static int pin_back(struct vbmq_engine *e, size_t j, size_t failed, struct vbmq_strbuf *note, struct vbmq_err *err)
{
	struct vbmq_step s = e->plan->steps[j];
	struct vbmq_track_thread *th = vbmq_track_thread(e->actual, s.domain, s.kind, s.id);
	struct vbmq_cpuset back, lost;
	int r;

	if (!th || th->gone || th->lost)
		return 0;
	if (!th->thread) {
		vbmq_strbuf_add(note, "a thread added by this plan: it is deleted, not moved");
		return 1;
	}
	back = way_back(e, j, failed, th);
	lost = vbmq_cpuset_andnot(&e->before[j].cpus, &back);
	if (vbmq_cpuset_is_empty(&back) && !th->known) {
		/* nobody knows whether it has come where it was sent: there at least it harms nobody */
		struct vbmq_cpuset held = vbmq_track_held(e->actual, th);

		if (!vbmq_cpuset_intersects(s.cpus, &held))
			vbmq_run_step(e->actual, e->a->actuator, &s, NULL, NULL);
	}
	if (vbmq_cpuset_is_empty(&back)) {
		vbmq_strbuf_add(note, "stays on CPUs ");
		vbmq_run_cpus(note, &th->cpus);
		vbmq_strbuf_add(note, ": its former CPUs ");
		vbmq_run_cpus(note, &lost);
		vbmq_strbuf_add(note, " belong to others now");
		return 1;
	}
	if (!vbmq_cpuset_is_empty(&lost)) {
		vbmq_strbuf_add(note, "put back without CPUs ");
		vbmq_run_cpus(note, &lost);
		vbmq_strbuf_add(note, ", which belong to others now");
	}
	if (th->known && vbmq_cpuset_equal(&back, &th->cpus))
		return 0;
	s.cpus = &back;
	s.exclusive = e->before[j].exclusive;
	r = vbmq_run_step(e->actual, e->a->actuator, &s, &e->snapshot->host->online, err);
	if (r == 0 && s.kind == VBMQ_THREAD_EMULATOR)
		odd_tasks_back(e, &s);
	return r;
}

static int step_back(struct vbmq_engine *e, size_t j, size_t failed, struct vbmq_strbuf *note, struct vbmq_err *err)
{
	struct vbmq_step s = e->plan->steps[j];
	const struct vbmq_track_disk *disk;
	struct vbmq_track_thread *th;

	switch (s.op) {
	case VBMQ_STEP_PIN:
		return pin_back(e, j, failed, note, err);
	case VBMQ_STEP_ADD_IOTHREAD:
		th = vbmq_track_thread(e->actual, s.domain, VBMQ_THREAD_IOTHREAD, s.id);
		if (!th || th->gone || th->lost)
			return 0;
		if (vbmq_track_serves(e->actual, s.domain, s.id)) {
			vbmq_strbuf_add(note, "stays: a queue is still mapped to it");
			return 1;
		}
		s.op = VBMQ_STEP_DEL_IOTHREAD;
		break;
	case VBMQ_STEP_SET_POLLING:
		th = vbmq_track_thread(e->actual, s.domain, VBMQ_THREAD_IOTHREAD, s.id);
		if (!th || th->gone || th->lost)
			return 0;
		if (e->before[j].polling.max_ns == UINT64_MAX) {
			vbmq_strbuf_add(note, th->thread ? "stays: what it was before is not known"
							 : "a thread added by this plan: it is deleted");
			return 1;
		}
		s.polling = e->before[j].polling;
		break;
	case VBMQ_STEP_MAP_QUEUES:
		disk = vbmq_track_disk(e->actual, s.domain, s.target);
		if (!disk || disk->n_map != s.n_map || !e->before[j].map)
			return 0;
		s.map = e->before[j].map;
		break;
	case VBMQ_STEP_LIMIT_SLICE:
	case VBMQ_STEP_BAN_IRQS:
	case VBMQ_STEP_MOVE_IRQ:
		return 0; /* of no domain, never asked */
	case VBMQ_STEP_DEL_IOTHREAD:
		vbmq_strbuf_add(note, "stays deleted: it served nothing");
		return 1;
	}
	return vbmq_run_step(e->actual, e->a->actuator, &s, NULL, err);
}

/* Which error ends all dealings with a domain; true: nothing more is to be taken back. */
bool vbmq_engine_end_of_domain(struct vbmq_engine *e, uint32_t domain, int r)
{
	if (r == -ENOENT)
		e->status[domain] = VBMQ_ENGINE_GONE;
	else if (r == -ETIMEDOUT)
		e->status[domain] = VBMQ_ENGINE_SILENT;
	return e->status[domain] == VBMQ_ENGINE_GONE || e->status[domain] == VBMQ_ENGINE_SILENT;
}

static void take_back_step(struct vbmq_engine *e, size_t j, size_t failed)
{
	struct vbmq_step_result *res = &e->report->results[j];
	struct vbmq_strbuf note = VBMQ_STRBUF_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = step_back(e, j, failed, &note, &err);
	/* the failed step itself stays VBMQ_ENGINE_FAILED: it may have worked in part, and only its text tells what became of that */
	bool self = res->outcome == VBMQ_OUTCOME_FAILED;

	if (r < 0) {
		vbmq_strbuf_printf(&note, "%scould not be taken back: %s", note.len ? "; " : "", err.text);
		vbmq_engine_end_of_domain(e, e->plan->steps[j].domain, r);
	}
	vbmq_engine_result(e, j,
			   self	    ? VBMQ_OUTCOME_FAILED
			   : r == 0 ? VBMQ_OUTCOME_UNDONE
			   : r > 0  ? res->outcome
				    : VBMQ_OUTCOME_UNDO_FAILED,
			   self	   ? res->error
			   : r < 0 ? r
				   : 0,
			   note.len ? note.text : NULL);
	vbmq_strbuf_done(&note);
}

/* Has the failed step left anything different from before? */
static bool left_traces(const struct vbmq_engine *e, size_t i)
{
	const struct vbmq_step *s = &e->plan->steps[i];
	const struct vbmq_engine_before *b = &e->before[i];
	enum vbmq_thread_kind kind = s->op == VBMQ_STEP_PIN ? s->kind : VBMQ_THREAD_IOTHREAD;
	const struct vbmq_track_thread *th =
		s->op == VBMQ_STEP_MAP_QUEUES ? NULL : vbmq_track_thread(e->actual, s->domain, kind, s->id);
	const struct vbmq_track_disk *disk;

	switch (s->op) {
	case VBMQ_STEP_PIN:
		return th && !th->gone && !th->lost && (!th->known || !vbmq_cpuset_equal(&th->cpus, &b->cpus));
	case VBMQ_STEP_SET_POLLING:
		return th && !th->gone && !th->lost &&
		       (th->polling.max_ns != b->polling.max_ns || th->polling.grow != b->polling.grow ||
			th->polling.shrink != b->polling.shrink || th->polling.mode != b->polling.mode);
	case VBMQ_STEP_ADD_IOTHREAD:
		return th && !th->gone && !th->lost && e->report->results[i].error != -EEXIST;
	case VBMQ_STEP_MAP_QUEUES:
		disk = vbmq_track_disk(e->actual, s->domain, s->target);
		return disk && b->map && memcmp(disk->map, b->map, disk->n_map * sizeof(*b->map)) != 0;
	case VBMQ_STEP_DEL_IOTHREAD:
	case VBMQ_STEP_LIMIT_SLICE:
	case VBMQ_STEP_BAN_IRQS:
	case VBMQ_STEP_MOVE_IRQ:
		return false;
	}
	return false;
}

/*
 * Threads of a failed domain that never came to move, or that returned, and stand where others are or are about to be:
 * they step aside. (A failed guest's threads would keep everybody else from finishing, and the plan had them leave anyway:
 * the record covers them.)
 */
static void make_way(struct vbmq_engine *e, size_t failed)
{
	uint32_t domain = e->plan->steps[failed].domain;
	struct vbmq_cpuset coming = promised(e, failed, domain);

	for (size_t i = 0;
	     i < e->plan->n_steps && e->status[domain] != VBMQ_ENGINE_GONE && e->status[domain] != VBMQ_ENGINE_SILENT;
	     i++) {
		struct vbmq_step s = e->plan->steps[i];
		const struct vbmq_track_thread *th;
		struct vbmq_cpuset held, off, rest;
		struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
		int r;

		if (s.domain != domain || s.op != VBMQ_STEP_PIN)
			continue;
		th = vbmq_track_thread(e->actual, domain, s.kind, s.id);
		if (!th || th->gone || th->lost || th->exclusive || th->idle)
			continue;
		held = vbmq_track_held(e->actual, th);
		held = vbmq_cpuset_or(&held, &coming);
		off = vbmq_cpuset_and(&th->cpus, &held);
		rest = vbmq_cpuset_andnot(&th->cpus, &held);
		s.cpus = &rest;
		s.exclusive = false;
		if (vbmq_cpuset_is_empty(&off) || vbmq_cpuset_is_empty(&rest))
			continue;
		r = vbmq_run_step(e->actual, e->a->actuator, &s, NULL, NULL);
		vbmq_strbuf_add(&b, r < 0 ? "could not be held off CPUs " : "held off CPUs ");
		vbmq_run_cpus(&b, &off);
		vbmq_strbuf_add(&b, ", which belong to others");
		vbmq_engine_result(e, i, e->report->results[i].outcome, e->report->results[i].error, b.text);
		vbmq_strbuf_done(&b);
		vbmq_engine_end_of_domain(e, domain, r);
	}
}

/* Step i of the domain did not come about: takes back what it had got so far, last first. */
void vbmq_engine_fail_domain(struct vbmq_engine *e, size_t i)
{
	uint32_t domain = e->plan->steps[i].domain;

	e->differs = true;
	for (size_t j = i + 1; j-- > 0;) {
		if (e->plan->steps[j].domain != domain)
			continue;
		if (e->status[domain] == VBMQ_ENGINE_SILENT && e->report->results[j].outcome == VBMQ_OUTCOME_DONE)
			vbmq_engine_result(e, j, VBMQ_OUTCOME_DONE, 0, "left as it is: the domain does not answer");
		if (e->status[domain] == VBMQ_ENGINE_GONE || e->status[domain] == VBMQ_ENGINE_SILENT)
			continue;
		if (j == i ? e->before[i].tried && left_traces(e, i)
			   : e->report->results[j].outcome == VBMQ_OUTCOME_DONE)
			take_back_step(e, j, i);
	}
	make_way(e, i);
}
