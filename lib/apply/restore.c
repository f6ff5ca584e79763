/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Restore: the steps of core/undo_steps.c, one after the other. Unlike an apply nothing is taken back: every thing that is
 * as found again is a gain of its own, so a failed step leaves the rest of its domain to go on, unless the domain is gone
 * or does not answer. What was put back is dropped from the record, the rest stays for another try.
 *
 * Before the first touch the record is saved with all its entries unsettled: when we die on the way, nobody may take what
 * is half put back for drift.
 */

#include "apply/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apply/run.h"
#include "apply/settle.h"
#include "apply/track.h"
#include "core/diff.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

enum domain_status { FRESH, GOOD, GONE, SILENT };

struct restore {
	const struct vbmq_apply *a;
	const struct vbmq_snapshot *snapshot;
	const struct vbmq_undo *undo;
	struct vbmq_track *track;
	struct vbmq_step *steps;
	size_t n_steps;
	struct vbmq_report *report;
	enum domain_status *status;
};

static void set(struct restore *r, size_t i, enum vbmq_outcome outcome, int error, const char *text)
{
	struct vbmq_step_result *res = &r->report->results[i];

	free(res->text);
	res->outcome = outcome;
	res->error = error;
	res->text = text ? strdup(text) : NULL;
}

static void set_failed(struct restore *r, size_t i, int code, const char *text)
{
	enum domain_status *status = &r->status[r->steps[i].domain];

	if (code == -ENOENT) {
		*status = GONE;
		vbmq_track_domain_gone(r->track, r->steps[i].domain);
	} else if (code == -ETIMEDOUT) {
		*status = SILENT;
	}
	set(r, i, VBMQ_OUTCOME_FAILED, code, text);
}

/* Says so where a place is smaller than what was found. */
static void set_done(struct restore *r, size_t i)
{
	const struct vbmq_step *s = &r->steps[i];
	const char *uuid = r->snapshot->domains[s->domain]->uuid;
	const struct vbmq_thread *t = vbmq_domain_thread(r->snapshot->domains[s->domain], s->kind, s->id);
	const struct vbmq_undo_entry *e = NULL;
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_cpuset without;

	if (s->op == VBMQ_STEP_PIN && s->tid != 0)
		e = vbmq_undo_find(r->undo, VBMQ_UNDO_TASK, uuid, s->kind, 0, s->tid, NULL);
	else if (s->op == VBMQ_STEP_PIN && t)
		e = vbmq_undo_affinity(r->undo, r->snapshot->domains[s->domain], t);
	if (e) {
		without = vbmq_cpuset_andnot(&e->found, s->cpus);
		if (!vbmq_cpuset_is_empty(&without)) {
			vbmq_strbuf_add(&b, "without CPUs ");
			vbmq_run_cpus(&b, &without);
			vbmq_strbuf_add(&b, ", which threads of other domains have for themselves");
		}
	}
	set(r, i, r->a->dry_run ? VBMQ_OUTCOME_DRY_RUN : VBMQ_OUTCOME_DONE, 0, b.len ? b.text : NULL);
	vbmq_strbuf_done(&b);
}

static void do_step(struct restore *r, size_t i)
{
	const struct vbmq_step *s = &r->steps[i];
	const struct vbmq_actuator *act = r->a->actuator;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int code;

	if (r->status[s->domain] == FRESH) {
		code = act->ops->check_domain(act->ctx, r->snapshot->domains[s->domain], &err);
		if (code < 0) {
			set_failed(r, i, code, err.text);
			return;
		}
		r->status[s->domain] = GOOD;
	}
	if (s->op == VBMQ_STEP_DEL_IOTHREAD && vbmq_track_serves(r->track, s->domain, s->id)) {
		set(r, i, VBMQ_OUTCOME_SKIPPED, 0, "not deleted: a queue is still mapped to it");
		return;
	}
	code = vbmq_run_step(r->track, act, s, &r->snapshot->host->online, &err);
	if (code < 0)
		set_failed(r, i, code, err.text);
	else
		set_done(r, i);
}

static void do_part_step(struct restore *r, size_t i)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	int code;

	if (r->a->dry_run) {
		set(r, i, VBMQ_OUTCOME_DRY_RUN, 0, NULL);
		return;
	}
	if (!r->a->parts) {
		set(r, i, VBMQ_OUTCOME_SKIPPED, 0, "not tried: only vbmqd and vbmqctl --direct do that");
		return;
	}
	code = vbmq_run_part_step(r->track, r->a->parts, &r->steps[i], &err);
	r->report->host_failed |= code < 0;
	set(r, i, code < 0 ? VBMQ_OUTCOME_FAILED : VBMQ_OUTCOME_DONE, code, code < 0 ? err.text : NULL);
}

static void play(struct restore *r)
{
	bool stop = false;

	for (size_t i = 0; i < r->n_steps; i++) {
		bool of_host = vbmq_step_is_of_host(&r->steps[i]);
		enum domain_status status = of_host ? GOOD : r->status[r->steps[i].domain];

		stop = stop || (r->a->cancelled && r->a->cancelled(r->a->data));
		if (stop)
			set(r, i, VBMQ_OUTCOME_SKIPPED, 0, "not tried: the restore was stopped before");
		else if (of_host)
			do_part_step(r, i);
		else if (status == GONE)
			set(r, i, VBMQ_OUTCOME_SKIPPED, 0, "not tried: the domain is gone");
		else if (status == SILENT)
			set(r, i, VBMQ_OUTCOME_SKIPPED, 0, "not tried: the domain does not answer");
		else if (r->a->dry_run)
			set_done(r, i);
		else
			do_step(r, i);
		if (r->a->progress)
			r->a->progress(r->a->data, i, &r->report->results[i]);
	}
}

static int unsettle(const struct vbmq_apply *a, const char *uuid, struct vbmq_undo *undo, struct vbmq_err *err)
{
	struct vbmq_undo *work;
	int r = vbmq_undo_copy(undo, &work);

	if (r < 0)
		return vbmq_err_oom(err);
	for (size_t i = 0; i < work->n_entries; i++)
		if (!uuid || strcmp(uuid, work->entries[i].uuid) == 0)
			work->entries[i].settled = false;
	if (a->save_undo)
		r = a->save_undo(a->data, work, err);
	vbmq_undo_free(work);
	return r;
}

static int conclude(struct restore *r)
{
	bool all = true;

	for (uint32_t d = 0; d < r->snapshot->n_domains; d++) {
		bool bad = false;

		for (size_t i = 0; i < r->n_steps; i++)
			bad |= r->steps[i].domain == d && r->report->results[i].outcome == VBMQ_OUTCOME_FAILED;
		r->report->n_domains_failed += bad;
	}
	for (size_t i = 0; i < r->n_steps; i++)
		all &= r->report->results[i].outcome == VBMQ_OUTCOME_DONE ||
		       r->report->results[i].outcome == VBMQ_OUTCOME_DRY_RUN;
	return all ? 0 : 1;
}

static void restore_done(struct restore *r)
{
	vbmq_steps_free(r->steps, r->n_steps);
	vbmq_track_free(r->track);
	vbmq_report_free(r->report);
	free(r->status);
}

static int prepare(struct restore *r, const char *uuid, struct vbmq_err *err)
{
	struct vbmq_plan plan = { .n_steps = 0 };
	int code = vbmq_undo_steps(r->undo, r->snapshot, uuid, &r->steps, &r->n_steps, err);

	if (code < 0)
		return code;
	plan.steps = r->steps;
	plan.n_steps = r->n_steps;
	r->report = vbmq_report_new(&plan);
	r->status = calloc(r->snapshot->n_domains + 1, sizeof(*r->status));
	if (!r->report || !r->status || vbmq_track_new(r->snapshot, NULL, r->undo, r->steps, r->n_steps, &r->track) < 0)
		return vbmq_err_oom(err);
	r->report->dry_run = r->a->dry_run;
	return 0;
}

int vbmq_apply_restore(const struct vbmq_apply *a, const struct vbmq_snapshot *snapshot, const char *uuid,
		       struct vbmq_undo *undo, struct vbmq_step **ret_steps, size_t *ret_n_steps,
		       struct vbmq_report **ret_report, struct vbmq_err *err)
{
	_cleanup_(restore_done) struct restore r = { .a = a, .snapshot = snapshot, .undo = undo };
	struct vbmq_err save_err = VBMQ_ERR_INIT;
	int code = prepare(&r, uuid, err);

	if (code < 0)
		return code;
	if (!a->dry_run && r.n_steps > 0) {
		code = unsettle(a, uuid, undo, err);
		if (code < 0)
			return code;
	}
	play(&r);
	code = conclude(&r);
	if (!a->dry_run) {
		vbmq_settle_restored(undo, r.track, uuid, r.steps, r.report->results, r.n_steps);
		if (a->save_undo && a->save_undo(a->data, undo, &save_err) < 0)
			code = 1; /* the record on disk names more than is to be done: playing it again does no harm */
	}
	*ret_n_steps = r.n_steps;
	*ret_steps = VBMQ_STEAL(r.steps);
	r.n_steps = 0;
	*ret_report = VBMQ_STEAL(r.report);
	return code;
}
