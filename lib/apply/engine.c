/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The apply engine.
 *
 * A plan's steps are ordered such that no moment has an overlap, if every step works. The engine's work is what happens
 * when one does not. Its rules:
 *
 *  1. Nothing is touched before the undo record of everything is on disk, and nothing after the first touch needs memory
 *     that could be missing: what is taken is taken before. (Texts are best effort.)
 *  2. A domain is done wholly or not at all. When a step of it fails (refused, timed out, read back differently), its
 *     earlier steps are taken back, last first, and its later ones skipped. The others go on.
 *  3. Nobody is pushed off what is his. Two pictures of the host are kept (track.h): how it would be if everything had
 *     worked ("planned"), and how it is ("actual"). As long as they agree, the plan's order is proof enough. Once they
 *     differ, every pin is first held against the actual picture: where it would meet somebody it would not have met in the
 *     planned one, the reason is a thread that did not give up its place. Then
 *       - a thread that wants a place of its own there cannot have it: skipped, and its domain counts as failed (2);
 *       - a thread that was to spread over shared CPUs does without those that are still held. Were this a failure, one
 *         stuck guest would take back all others, as every floating thread of the host spreads over a core given up.
 *     Overlaps that the plan itself accepts (an owner's pin in the way, threads of one domain doubled up) are in both
 *     pictures and hold nobody up.
 *  4. Taking back gives way too: a thread returns to what it had, less the places others have for themselves now and less
 *     those the rest of this plan is about to give them (or a failed guest's floating threads, let loose again, would keep
 *     everybody else from finishing). Where nothing is left of it, or it had a place of its own that somebody needs now, it
 *     stays where it is: a valid place, only not the former one. The undo record still knows what was found at first.
 *  5. Once its steps are taken back, a failed domain makes way: its threads that still stand on such places step aside, so
 *     that the others finish. Only who cannot (one place, and it is taken; the domain is silent) is in somebody's way.
 *  6. A guest that is gone holds nothing and needs nothing taken back. A guest that does not answer is left alone (the next
 *     call would hang as well): its threads count as being everywhere they were or were sent to, the call may still work.
 *
 *  7. The host's own work (steps of no domain) is not worth a guest's place: a step of it that fails is reported, and
 *     everything else goes on. What it gets back at the end is cut by places that some thread did not leave.
 *
 * Limits: the pictures know libvirt's and our own doings, not those of somebody who pins by hand meanwhile; verify sees
 * that afterwards. A thread just added may run anywhere until its first pin, which the plan puts right behind; it serves no
 * queue before.
 */

#include "apply/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apply/engine_state.h"
#include "apply/run.h"
#include "apply/settle.h"
#include "apply/track.h"
#include "core/diff.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

static void engine_done(struct vbmq_engine *e)
{
	for (size_t i = 0; e->before && i < e->plan->n_steps; i++)
		free(e->before[i].map);
	free(e->before);
	free(e->status);
	vbmq_track_free(e->actual);
	vbmq_track_free(e->planned);
	vbmq_report_free(e->report);
}

static const char *skip_cause(enum vbmq_engine_status s)
{
	switch (s) {
	case VBMQ_ENGINE_BLOCKED:
		return "not tried: the domain's new place is not free yet";
	case VBMQ_ENGINE_GONE:
		return "not tried: the domain is gone";
	case VBMQ_ENGINE_SILENT:
		return "not tried: the domain does not answer";
	default:
		return "not tried: an earlier step of the domain failed";
	}
}

/* --- doing -------------------------------------------------------------------------------------------------------- */

static void remember(struct vbmq_engine *e, size_t i)
{
	const struct vbmq_step *s = &e->plan->steps[i];
	const struct vbmq_track_thread *th;
	const struct vbmq_track_disk *disk;
	struct vbmq_engine_before *b = &e->before[i];

	if (s->op == VBMQ_STEP_MAP_QUEUES) {
		disk = vbmq_track_disk(e->actual, s->domain, s->target);
		if (b->map && disk && disk->n_map == s->n_map)
			memcpy(b->map, disk->map, s->n_map * sizeof(*b->map));
		return;
	}
	th = vbmq_track_thread(e->actual, s->domain, s->op == VBMQ_STEP_PIN ? s->kind : VBMQ_THREAD_IOTHREAD, s->id);
	if (!th)
		return;
	b->cpus = th->cpus;
	b->exclusive = th->exclusive;
	b->polling = th->polling;
}

/* How much the plan has pin and that thread meet, now, or in the end if its domain has failed and will not move. */
static unsigned meant_to_meet(const struct vbmq_engine *e, const struct vbmq_step *pin,
			      const struct vbmq_track_thread *is)
{
	const struct vbmq_track_thread *should = vbmq_track_thread(e->planned, is->domain, is->kind, is->id);
	const struct vbmq_place_thread *place =
		vbmq_place_thread(&e->plan->placement->domains[is->domain], is->kind, is->id);
	struct vbmq_track_thread last = { .exclusive = place && place->exclusive };
	unsigned now = should ? vbmq_track_meet(e->planned, pin->cpus, pin->exclusive, should) : 0;
	unsigned in_the_end;

	if (e->status[is->domain] <= VBMQ_ENGINE_GOOD || !place)
		return now;
	last.cpus = *place->cpus;
	in_the_end = vbmq_track_meet(e->planned, pin->cpus, pin->exclusive, &last);
	return in_the_end < now ? in_the_end : now;
}

/*
 * Rule 3. *pin is the step about to be done; its cpus are reduced where it can do without, to what is put into *reduced then. Returns
 * the thread in the way, or NULL.
 */
static const struct vbmq_track_thread *in_the_way(struct vbmq_engine *e, struct vbmq_step *pin,
						  struct vbmq_cpuset *reduced)
{
	const struct vbmq_track_thread *blocker = NULL;
	struct vbmq_cpuset left = *pin->cpus;

	for (size_t i = 0; e->differs && i < e->actual->n_threads; i++) {
		const struct vbmq_track_thread *is = &e->actual->threads[i];
		unsigned meets = vbmq_track_meet(e->actual, pin->cpus, pin->exclusive, is);
		struct vbmq_cpuset cores;

		if ((is->domain == pin->domain && is->kind == pin->kind && is->id == pin->id) || meets == 0 ||
		    meets <= meant_to_meet(e, pin, is))
			continue;
		if (pin->exclusive)
			return is;
		cores = meets > 1 ? is->cpus : vbmq_host_whole_cores(e->snapshot->host, &is->cpus);
		left = vbmq_cpuset_andnot(&left, &cores);
		blocker = is;
	}
	if (vbmq_cpuset_is_empty(&left))
		return blocker;
	*reduced = left;
	pin->cpus = reduced;
	return NULL;
}

static void blocked(struct vbmq_engine *e, size_t i, const struct vbmq_track_thread *by)
{
	const struct vbmq_step *s = &e->plan->steps[i];
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

	vbmq_run_thread_name(e->snapshot, by, &b);
	vbmq_strbuf_add(&b, " did not leave: it may run on CPUs ");
	vbmq_run_cpus(&b, &by->cpus);
	vbmq_strbuf_add(&b, ", and CPUs ");
	vbmq_run_cpus(&b, s->cpus);
	vbmq_strbuf_add(&b, " are wanted here");
	e->status[s->domain] = VBMQ_ENGINE_BLOCKED;
	vbmq_engine_result(e, i, VBMQ_OUTCOME_SKIPPED, 0, b.text);
	vbmq_strbuf_done(&b);
	vbmq_engine_fail_domain(e, i);
}

static void failed(struct vbmq_engine *e, size_t i, int r, const char *text)
{
	uint32_t domain = e->plan->steps[i].domain;

	e->status[domain] = VBMQ_ENGINE_FAILED;
	vbmq_engine_end_of_domain(e, domain, r);
	vbmq_engine_result(e, i, VBMQ_OUTCOME_FAILED, r, text);
	vbmq_engine_fail_domain(e, i);
}

static void do_step(struct vbmq_engine *e, size_t i)
{
	struct vbmq_step s = e->plan->steps[i];
	const struct vbmq_track_thread *by = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_cpuset reduced, without;
	int r;

	if (e->status[s.domain] == VBMQ_ENGINE_FRESH) {
		const struct vbmq_actuator *act = e->a->actuator;

		r = act->ops->check_domain(act->ctx, e->snapshot->domains[s.domain], &err);
		if (r == -ENOENT)
			vbmq_track_domain_gone(e->actual, s.domain);
		if (r < 0) {
			failed(e, i, r, err.text);
			return;
		}
		e->status[s.domain] = VBMQ_ENGINE_GOOD;
	}
	remember(e, i);
	if (s.op == VBMQ_STEP_PIN)
		by = in_the_way(e, &s, &reduced);
	if (by) {
		blocked(e, i, by);
		return;
	}
	e->before[i].tried = true;
	r = vbmq_run_step(e->actual, e->a->actuator, &s, NULL, &err);
	if (r < 0) {
		failed(e, i, r, err.text);
		return;
	}
	without = s.cpus ? vbmq_cpuset_andnot(e->plan->steps[i].cpus, s.cpus) : VBMQ_CPUSET_EMPTY;
	if (!vbmq_cpuset_is_empty(&without)) {
		e->reduced = true;
		vbmq_strbuf_add(&b, "without CPUs ");
		vbmq_run_cpus(&b, &without);
		vbmq_strbuf_add(&b, ", which others did not give up");
	}
	vbmq_engine_result(e, i, VBMQ_OUTCOME_DONE, 0, b.len ? b.text : NULL);
	vbmq_strbuf_done(&b);
}

/* Rule 7. What a thread has for itself is not given back to the host, nor its interrupts. Where that makes other CPUs of it, they
 * are put into *other. */
static void keep_off_held(const struct vbmq_engine *e, struct vbmq_step *s, struct vbmq_cpuset *other)
{
	struct vbmq_cpuset held, less;

	if (!e->differs || s->interim || s->op == VBMQ_STEP_MOVE_IRQ)
		return;
	held = vbmq_track_held(e->actual, NULL);
	if (s->op == VBMQ_STEP_BAN_IRQS) {
		if (!vbmq_cpuset_is_empty(s->cpus)) {
			*other = vbmq_cpuset_or(s->cpus, &held);
			s->cpus = other;
		}
		return;
	}
	less = vbmq_cpuset_is_empty(s->cpus) ? e->snapshot->host->online : *s->cpus;
	if (!vbmq_cpuset_intersects(&less, &held))
		return;
	less = vbmq_cpuset_andnot(&less, &held);
	if (!vbmq_cpuset_is_empty(&less)) {
		*other = less;
		s->cpus = other;
	}
}

static void do_part_step(struct vbmq_engine *e, size_t i)
{
	struct vbmq_step s = e->plan->steps[i];
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_cpuset other;
	int r;

	if (!e->a->parts) {
		vbmq_engine_result(e, i, VBMQ_OUTCOME_SKIPPED, 0, "not tried: only vbmqd and vbmqctl --direct do that");
		return;
	}
	keep_off_held(e, &s, &other);
	r = vbmq_run_part_step(e->actual, e->a->parts, &s, &err);
	if (r < 0) {
		e->report->host_failed = true;
		vbmq_engine_result(e, i, VBMQ_OUTCOME_FAILED, r, err.text);
		return;
	}
	vbmq_engine_result(e, i, VBMQ_OUTCOME_DONE, 0,
			   vbmq_cpuset_equal(s.cpus, e->plan->steps[i].cpus)
				   ? NULL
				   : "not as far as planned: threads have not left places of their own");
	e->reduced |= !vbmq_cpuset_equal(s.cpus, e->plan->steps[i].cpus);
}

static void carry_out(struct vbmq_engine *e)
{
	bool stop = false;

	for (size_t i = 0; i < e->plan->n_steps; i++) {
		const struct vbmq_step *s = &e->plan->steps[i];

		stop = stop || (e->a->cancelled && e->a->cancelled(e->a->data));
		if (stop)
			vbmq_engine_result(e, i, VBMQ_OUTCOME_SKIPPED, 0, "not tried: the apply was stopped before");
		else if (e->a->dry_run)
			vbmq_engine_result(e, i, VBMQ_OUTCOME_DRY_RUN, 0, NULL);
		else if (vbmq_step_is_of_host(s))
			do_part_step(e, i);
		else if (e->status[s->domain] > VBMQ_ENGINE_GOOD)
			vbmq_engine_result(e, i, VBMQ_OUTCOME_SKIPPED, 0, skip_cause(e->status[s->domain]));
		else
			do_step(e, i);
		vbmq_track_assume(e->planned, s);
		if (e->a->progress)
			e->a->progress(e->a->data, i, &e->report->results[i]);
	}
}

/* --- before and after --------------------------------------------------------------------------------------------- */

static int check_plan(const struct vbmq_snapshot *s, const struct vbmq_plan *plan, struct vbmq_err *err)
{
	bool fits = plan->placement && plan->placement->n_domains == s->n_domains;

	for (size_t i = 0; fits && i < s->n_domains; i++)
		fits = strcmp(plan->placement->domains[i].uuid, s->domains[i]->uuid) == 0;
	for (size_t i = 0; fits && i < plan->n_steps; i++)
		fits = plan->steps[i].op == VBMQ_STEP_MOVE_IRQ
			       ? vbmq_snapshot_irq(s, plan->steps[i].id, plan->steps[i].target) != NULL
		       : vbmq_step_is_of_host(&plan->steps[i]) ? plan->steps[i].id < VBMQ_PARTS
							       : plan->steps[i].domain < s->n_domains;
	return fits ? 0 : vbmq_err_set(err, -EINVAL, "the plan was not made for this snapshot; make a new one");
}

static int prepare(struct vbmq_engine *e, const struct vbmq_undo *undo)
{
	const struct vbmq_plan *p = e->plan;

	e->report = vbmq_report_new(p);
	e->status = calloc(e->snapshot->n_domains + 1, sizeof(*e->status));
	e->before = calloc(p->n_steps + 1, sizeof(*e->before));
	if (!e->report || !e->status || !e->before ||
	    vbmq_track_new(e->snapshot, p->placement, undo, p->steps, p->n_steps, &e->actual) < 0 ||
	    vbmq_track_new(e->snapshot, p->placement, undo, p->steps, p->n_steps, &e->planned) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_steps; i++) {
		e->before[i].polling.max_ns = UINT64_MAX;
		if (p->steps[i].op != VBMQ_STEP_MAP_QUEUES || p->steps[i].n_map == 0)
			continue;
		e->before[i].map = calloc(p->steps[i].n_map, sizeof(uint32_t));
		if (!e->before[i].map)
			return -ENOMEM;
	}
	e->report->dry_run = e->a->dry_run;
	return 0;
}

static int note_all(struct vbmq_engine *e, struct vbmq_undo *undo, struct vbmq_err *err)
{
	struct vbmq_undo *work = NULL;
	struct vbmq_undo swap;
	int r = vbmq_undo_copy(undo, &work);

	for (size_t i = 0; r == 0 && i < e->plan->n_steps; i++)
		r = vbmq_undo_note(work, e->snapshot, &e->plan->steps[i]);
	if (r < 0)
		vbmq_err_oom(err);
	else if (e->a->save_undo)
		r = e->a->save_undo(e->a->data, work, err);
	if (r == 0) {
		swap = *undo;
		*undo = *work;
		*work = swap;
	}
	vbmq_undo_free(work);
	return r;
}

/* The record as it is now; a failure to save it again is no danger (the first one covers more), but is said. */
static bool save_again(struct vbmq_engine *e, const struct vbmq_undo *undo)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	size_t last = e->plan->n_steps - 1;

	if (!e->a->save_undo || e->a->save_undo(e->a->data, undo, &err) == 0)
		return true;
	vbmq_strbuf_printf(&b, "the undo record could not be brought up to date: %s", err.text);
	vbmq_engine_result(e, last, e->report->results[last].outcome, e->report->results[last].error, b.text);
	vbmq_strbuf_done(&b);
	return false;
}

static int conclude(const struct vbmq_engine *e, bool saved)
{
	struct vbmq_report *r = e->report;
	bool all = saved && !e->reduced;

	for (uint32_t d = 0; d < e->snapshot->n_domains; d++) {
		bool bad = false;

		for (size_t i = 0; i < r->n_results; i++)
			bad |= e->plan->steps[i].domain == d && r->results[i].outcome == VBMQ_OUTCOME_FAILED;
		r->n_domains_failed += bad;
	}
	for (size_t i = 0; i < r->n_results; i++)
		all &= r->results[i].outcome == VBMQ_OUTCOME_DONE || r->results[i].outcome == VBMQ_OUTCOME_DRY_RUN;
	return all ? 0 : 1;
}

int vbmq_apply_plan(const struct vbmq_apply *a, const struct vbmq_snapshot *snapshot, const struct vbmq_plan *plan,
		    struct vbmq_undo *undo, struct vbmq_report **ret_report, struct vbmq_err *err)
{
	_cleanup_(engine_done) struct vbmq_engine e = { .a = a, .snapshot = snapshot, .plan = plan };
	bool touch = !a->dry_run && plan->n_steps > 0;
	bool saved = true;
	int r = check_plan(snapshot, plan, err);

	if (r < 0)
		return r;
	if (prepare(&e, undo) < 0)
		return vbmq_err_oom(err);
	if (touch) {
		r = note_all(&e, undo, err);
		if (r < 0)
			return r;
	}
	carry_out(&e);
	if (touch) {
		vbmq_settle(undo, e.actual, plan->steps, e.report->results, plan->n_steps);
		saved = save_again(&e, undo);
	}
	r = conclude(&e, saved);
	*ret_report = VBMQ_STEAL(e.report);
	return r;
}
