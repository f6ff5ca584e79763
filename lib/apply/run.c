/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "apply/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

void vbmq_run_cpus(struct vbmq_strbuf *b, const struct vbmq_cpuset *cpus)
{
	_cleanup_free_ char *list = vbmq_cpulist_format(cpus);

	vbmq_strbuf_add(b, list ? (*list ? list : "none") : "?");
}

static void thread_name(struct vbmq_strbuf *b, enum vbmq_thread_kind kind, uint32_t id)
{
	vbmq_strbuf_add(b, vbmq_thread_kind_words[kind]);
	if (kind != VBMQ_THREAD_EMULATOR)
		vbmq_strbuf_printf(b, "%u", id);
}

void vbmq_run_thread_name(const struct vbmq_snapshot *snapshot, const struct vbmq_track_thread *th,
			  struct vbmq_strbuf *b)
{
	vbmq_strbuf_printf(b, "%s/", snapshot->domains[th->domain]->name);
	thread_name(b, th->kind, th->id);
}

void vbmq_run_name(const struct vbmq_snapshot *snapshot, const struct vbmq_step *step, struct vbmq_strbuf *b)
{
	if (vbmq_step_is_of_host(step)) {
		vbmq_strbuf_add(b, step->op == VBMQ_STEP_MOVE_IRQ ? step->target : vbmq_part_words[step->id]);
		return;
	}
	vbmq_strbuf_printf(b, "%s/", snapshot->domains[step->domain]->name);
	if (step->op == VBMQ_STEP_MAP_QUEUES)
		vbmq_strbuf_add(b, step->target);
	else
		thread_name(b, step->op == VBMQ_STEP_PIN ? step->kind : VBMQ_THREAD_IOTHREAD, step->id);
	if (step->tid != 0)
		vbmq_strbuf_printf(b, " task %u", step->tid);
}

static bool same_polling(const struct vbmq_polling *want, const struct vbmq_polling *is)
{
	return (want->max_ns == UINT64_MAX || want->max_ns == is->max_ns) && want->grow == is->grow &&
	       want->shrink == is->shrink && (want->mode == VBMQ_POLL_UNSAID || want->mode == is->mode);
}

static bool same_cpus(const struct vbmq_cpuset *want, const struct vbmq_cpuset *is, const struct vbmq_cpuset *within)
{
	struct vbmq_cpuset a, b;

	if (!within)
		return vbmq_cpuset_equal(want, is);
	a = vbmq_cpuset_and(want, within);
	b = vbmq_cpuset_and(is, within);
	return vbmq_cpuset_equal(&a, &b);
}

/* Empty text: as wanted. */
static void compare(const struct vbmq_step *step, const struct vbmq_observed *is, const struct vbmq_cpuset *within,
		    struct vbmq_strbuf *b)
{
	switch (step->op) {
	case VBMQ_STEP_LIMIT_SLICE:
	case VBMQ_STEP_BAN_IRQS:
	case VBMQ_STEP_MOVE_IRQ:
		return; /* vbmq_run_part_step() */
	case VBMQ_STEP_PIN:
		if (same_cpus(step->cpus, &is->cpus, within))
			return;
		vbmq_strbuf_add(b, "asked for CPUs ");
		vbmq_run_cpus(b, step->cpus);
		vbmq_strbuf_add(b, ", reads back CPUs ");
		vbmq_run_cpus(b, &is->cpus);
		return;
	case VBMQ_STEP_ADD_IOTHREAD:
		if (!is->exists)
			vbmq_strbuf_add(b, "was added, yet it is not there");
		return;
	case VBMQ_STEP_DEL_IOTHREAD:
		if (is->exists)
			vbmq_strbuf_add(b, "was deleted, yet it is still there");
		return;
	case VBMQ_STEP_SET_POLLING:
		if (!same_polling(&step->polling, &is->polling))
			vbmq_strbuf_printf(b,
					   "asked for polling of %llu ns (grow %u, shrink %u), reads back %llu ns "
					   "(grow %u, shrink %u)",
					   (unsigned long long)step->polling.max_ns, step->polling.grow,
					   step->polling.shrink, (unsigned long long)is->polling.max_ns,
					   is->polling.grow, is->polling.shrink);
		return;
	case VBMQ_STEP_MAP_QUEUES:
		if (is->n_map != step->n_map || memcmp(is->map, step->map, step->n_map * sizeof(*step->map)) != 0)
			vbmq_strbuf_add(b, "reads back another queue map than was asked for");
		return;
	}
}

/* What is known after the actuator said r (<0), whichever of its two calls it was. */
static void learn_failure(struct vbmq_track *track, const struct vbmq_step *step, int r)
{
	struct vbmq_track_thread *th;

	switch (r) {
	case -ENOENT:
		vbmq_track_domain_gone(track, step->domain);
		return;
	case -ESRCH:
		th = vbmq_track_thread(track, step->domain,
				       step->op == VBMQ_STEP_PIN ? step->kind : VBMQ_THREAD_IOTHREAD, step->id);
		if (th && step->tid == 0)
			th->lost = true;
		return;
	default:
		vbmq_track_learn(track, step, NULL);
	}
}

static int say(const struct vbmq_track *track, const struct vbmq_step *step, int code, const char *text,
	       struct vbmq_err *err)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

	vbmq_run_name(track->snapshot, step, &b);
	vbmq_err_set(err, code, "%s: %s%s", b.text ? b.text : "?", text && *text ? text : "it failed",
		     code == -EBUSY ? "; the domain is busy, it will be tried again" : "");
	vbmq_strbuf_done(&b);
	return code;
}

static int look(struct vbmq_track *track, const struct vbmq_actuator *a, const struct vbmq_domain *d,
		const struct vbmq_thread *thread, const struct vbmq_step *step, const struct vbmq_cpuset *within,
		int done, struct vbmq_err *err)
{
	struct vbmq_observed seen = { .exists = false };
	struct vbmq_err why = VBMQ_ERR_INIT;
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	int r = a->ops->observe(a->ctx, d, thread, step, &seen, &why);

	if (r < 0) {
		learn_failure(track, step, r);
		return done < 0 ? done : say(track, step, r, why.text, err);
	}
	vbmq_track_learn(track, step, &seen);
	if (done == 0)
		compare(step, &seen, within, &b);
	free(seen.map);
	if (b.len > 0 || b.failed)
		done = say(track, step, -EIO, b.text, err);
	vbmq_strbuf_done(&b);
	return done;
}

int vbmq_run_step(struct vbmq_track *track, const struct vbmq_actuator *a, const struct vbmq_step *step,
		  const struct vbmq_cpuset *within, struct vbmq_err *err)
{
	const struct vbmq_domain *d = track->snapshot->domains[step->domain];
	enum vbmq_thread_kind kind = step->op == VBMQ_STEP_PIN ? step->kind : VBMQ_THREAD_IOTHREAD;
	struct vbmq_track_thread *th =
		step->op == VBMQ_STEP_MAP_QUEUES ? NULL : vbmq_track_thread(track, step->domain, kind, step->id);
	const struct vbmq_thread *thread = th ? th->thread : NULL;
	struct vbmq_err why = VBMQ_ERR_INIT;
	int r;

	if (step->op != VBMQ_STEP_ADD_IOTHREAD && step->op != VBMQ_STEP_MAP_QUEUES && (!th || th->gone || th->lost))
		return say(track, step, -ESRCH, "there is no such thread any more", err);
	r = a->ops->execute(a->ctx, d, thread, step, &why);
	if (r == 0)
		return look(track, a, d, thread, step, within, 0, err);
	say(track, step, r, why.text, err);
	if (r == -ENOENT || r == -ETIMEDOUT || r == -ESRCH)
		learn_failure(track, step, r);
	else
		look(track, a, d, thread, step, within, r, err); /* it may have worked in part */
	return r;
}

int vbmq_run_part_step(struct vbmq_track *track, const struct vbmq_part_actuator *a, const struct vbmq_step *step,
		       struct vbmq_err *err)
{
	struct vbmq_cpuset is = VBMQ_CPUSET_EMPTY;
	struct vbmq_err why = VBMQ_ERR_INIT;
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_track_part *part = vbmq_track_part(track, step);
	int r = part ? a->ops->execute(a->ctx, step, &why) : -ENOENT;

	if (part)
		part->known = false;
	if (r < 0)
		return say(track, step, r, why.text, err);
	r = a->ops->observe(a->ctx, step, &is, &why);
	if (r < 0)
		return say(track, step, r, why.text, err);
	part->known = true;
	part->cpus = is;
	if (vbmq_cpuset_equal(&is, step->cpus))
		return 0;
	vbmq_strbuf_add(&b, "asked for CPUs ");
	vbmq_run_cpus(&b, step->cpus);
	vbmq_strbuf_add(&b, ", reads back CPUs ");
	vbmq_run_cpus(&b, &is);
	r = say(track, step, -EIO, b.text, err);
	vbmq_strbuf_done(&b);
	return r;
}
