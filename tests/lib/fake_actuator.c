/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_actuator.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"

static void __attribute__((format(printf, 2, 3))) breach(struct fake *f, const char *fmt, ...)
{
	va_list ap;

	if (f->breach[0])
		return;
	va_start(ap, fmt);
	vsnprintf(f->breach, sizeof(f->breach), fmt, ap);
	va_end(ap);
}

/* --- promises ------------------------------------------------------------------------------------------------------ */

static struct fake_promise *promise_of(struct fake *f, const char *uuid, enum vbmq_thread_kind kind, uint32_t id)
{
	for (size_t i = 0; i < f->n_promises; i++)
		if (strcmp(f->promises[i].uuid, uuid) == 0 && f->promises[i].kind == kind && f->promises[i].id == id)
			return &f->promises[i];
	return NULL;
}

static void forget(struct fake *f, const char *uuid, enum vbmq_thread_kind kind, uint32_t id)
{
	struct fake_promise *p = promise_of(f, uuid, kind, id);

	if (p)
		*p = f->promises[--f->n_promises];
}

static void promise(struct fake *f, const struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id,
		    const struct vbmq_cpuset *cpus)
{
	const struct vbmq_place_domain *pd = f->placement ? vbmq_placement_domain(f->placement, d->uuid) : NULL;
	const struct vbmq_place_thread *place = pd ? vbmq_place_thread(pd, kind, id) : NULL;
	struct fake_promise *p;

	forget(f, d->uuid, kind, id);
	if (f->n_promises == FAKE_THREADS_MAX)
		abort();
	p = &f->promises[f->n_promises++];
	memset(p, 0, sizeof(*p));
	memcpy(p->uuid, d->uuid, sizeof(p->uuid));
	p->kind = kind;
	p->id = id;
	p->region = *cpus;
	if (place && place->exclusive && vbmq_cpuset_equal(place->cpus, cpus)) {
		struct vbmq_cpuset cores = vbmq_host_whole_cores(fake_state(f)->host, cpus);

		/* at its final place the idle siblings belong to it (exclusive=core) */
		cores = vbmq_cpuset_andnot(&cores, &f->placement->shared);
		p->region = vbmq_cpuset_or(&cores, cpus);
	}
}

/* The how manieth (from 0) thread of somebody else that may run in the region, or NULL. Threads added and not pinned yet
 * run nothing. */
static const struct vbmq_thread *intruder(const struct fake *f, const struct fake_promise *p, size_t number,
					  const struct vbmq_domain **ret_d)
{
	const struct vbmq_snapshot *s = fake_state(f);

	if (strcmp(p->uuid, f->gone) == 0)
		return NULL;
	for (size_t i = 0; i < s->n_domains; i++) {
		const struct vbmq_domain *d = s->domains[i];

		if (strcmp(d->uuid, f->gone) == 0)
			continue;
		for (size_t j = 0; j < d->n_threads; j++) {
			const struct vbmq_thread *t = &d->threads[j];
			bool self = strcmp(d->uuid, p->uuid) == 0 && t->kind == p->kind && t->id == p->id;
			bool idle = t->added && vbmq_cpuset_equal(&t->affinity, &s->host->usable);

			if (!self && !idle && vbmq_cpuset_intersects(&t->affinity, &p->region) && number-- == 0) {
				*ret_d = d;
				return t;
			}
		}
	}
	return NULL;
}

/* Who meets whom on a place that is promised. */
struct meeting {
	char uuid[37], by_uuid[37];
	enum vbmq_thread_kind kind, by_kind;
	uint32_t id, by_id;
};

#define MEETINGS_MAX 1024

struct meetings {
	struct meeting items[MEETINGS_MAX];
	size_t n;
};

static void find_meetings(const struct fake *f, struct meetings *m)
{
	m->n = 0;
	for (size_t i = 0; i < f->n_promises; i++) {
		const struct fake_promise *p = &f->promises[i];
		const struct vbmq_domain *d = NULL;
		const struct vbmq_thread *t;

		for (size_t k = 0; (t = intruder(f, p, k, &d)); k++) {
			struct meeting *x = &m->items[m->n++];

			if (m->n == MEETINGS_MAX)
				abort();
			memset(x, 0, sizeof(*x));
			memcpy(x->uuid, p->uuid, sizeof(x->uuid));
			memcpy(x->by_uuid, d->uuid, sizeof(x->by_uuid));
			x->kind = p->kind;
			x->id = p->id;
			x->by_kind = t->kind;
			x->by_id = t->id;
		}
	}
}

/*
 * A thread comes to a place of its own where another one may still run that is itself on its way to one, and will leave in
 * a step to come: they met before as well, and neither is alone yet. Not if that guest has had a fault: it may never leave.
 */
static bool on_its_way(const struct fake *f, const struct meeting *x, const struct vbmq_cpuset *region)
{
	const struct vbmq_place_domain *d = vbmq_placement_domain(f->placement, x->by_uuid);
	const struct vbmq_place_thread *place = d ? vbmq_place_thread(d, x->by_kind, x->by_id) : NULL;

	for (size_t i = 0; i < f->n_faulted; i++)
		if (strcmp(f->faulted[i], x->by_uuid) == 0 && strcmp(x->uuid, x->by_uuid) != 0)
			return false;
	return place && place->exclusive && !vbmq_cpuset_intersects(place->cpus, region);
}

void fake_watch(struct fake *f, const struct vbmq_placement *placement)
{
	const struct vbmq_snapshot *s = fake_state(f);

	f->placement = placement;
	f->n_promises = 0;
	for (size_t i = 0; i < s->n_domains; i++) {
		for (size_t j = 0; j < s->domains[i]->n_threads; j++) {
			const struct vbmq_thread *t = &s->domains[i]->threads[j];
			const struct vbmq_place_thread *place =
				vbmq_place_thread(&placement->domains[i], t->kind, t->id);
			const struct vbmq_domain *d;

			if (!place || !place->exclusive)
				continue;
			promise(f, s->domains[i], t->kind, t->id, &t->affinity);
			if (intruder(f, &f->promises[f->n_promises - 1], 0, &d))
				f->n_promises--;
		}
	}
}

void fake_release(struct fake *f, const char *uuid)
{
	size_t i = 0;

	while (i < f->n_promises) {
		if (strcmp(f->promises[i].uuid, uuid) == 0)
			f->promises[i] = f->promises[--f->n_promises];
		else
			i++;
	}
}

static void judge(struct fake *f, const struct vbmq_domain *mover, const struct vbmq_step *step,
		  const struct meetings *before)
{
	static struct meetings after;

	find_meetings(f, &after);
	for (size_t i = 0; i < after.n; i++) {
		const struct meeting *x = &after.items[i];
		const struct fake_promise *p = promise_of(f, x->uuid, x->kind, x->id);
		bool arrives = strcmp(mover->uuid, x->uuid) == 0 && step->kind == x->kind && step->id == x->id;
		bool old = false;

		for (size_t k = 0; k < before->n; k++)
			old |= memcmp(&before->items[k], x, sizeof(*x)) == 0;
		if (old || (arrives && on_its_way(f, x, &p->region)))
			continue;
		breach(f, "execute %zu (%s kind %d id %u) makes ..%s kind %d id %u meet ..%s kind %d id %u",
		       f->n_executed, mover->name, (int)step->kind, step->id, x->by_uuid + 34, (int)x->by_kind,
		       x->by_id, x->uuid + 34, (int)x->kind, x->id);
	}
}

/* --- the record ---------------------------------------------------------------------------------------------------- */

static bool same_instance(const struct fake *f, const struct vbmq_domain *domain, const struct vbmq_thread *t)
{
	const struct vbmq_domain *d = vbmq_snapshot_find(fake_state(f), domain->uuid);
	const struct vbmq_thread *now = d ? vbmq_domain_thread(d, t->kind, t->id) : NULL;

	return now && now->tid == t->tid && now->start == t->start;
}

static void check_covered(struct fake *f, const struct vbmq_domain *domain, const struct vbmq_step *step)
{
	const struct vbmq_domain *d = vbmq_snapshot_find(vbmq_dryrun_state(f->original), domain->uuid);
	const struct vbmq_thread *t = d ? vbmq_domain_thread(d, step->kind, step->id) : NULL;
	const struct vbmq_undo_entry *e;

	if (f->restoring || !d || step->tid)
		return;
	if (step->op == VBMQ_STEP_ADD_IOTHREAD && !vbmq_undo_added(f->saved, d, step->id))
		breach(f, "%s: I/O thread %u is added before the record knows", d->name, step->id);
	if (step->op == VBMQ_STEP_MAP_QUEUES &&
	    !vbmq_undo_find(f->saved, VBMQ_UNDO_MAP, d->uuid, 0, 0, vbmq_domain_thread(d, VBMQ_THREAD_EMULATOR, 0)->tid,
			    step->target))
		breach(f, "%s: %s is mapped before the record knows", d->name, step->target);
	if (step->op != VBMQ_STEP_PIN || !t || !same_instance(f, domain, t))
		return;
	e = vbmq_undo_affinity(f->saved, d, t);
	if (!e)
		breach(f, "%s kind %d id %u is pinned before the record knows", d->name, (int)t->kind, t->id);
	else if (!vbmq_cpuset_equal(&e->found, &t->affinity))
		breach(f, "%s kind %d id %u: the record has not what was there at first", d->name, (int)t->kind, t->id);
}

/* --- the actuator --------------------------------------------------------------------------------------------------- */

static int standing(const struct fake *f, const struct vbmq_domain *d, const struct vbmq_step *step,
		    struct vbmq_err *err)
{
	if (f->dead)
		return vbmq_err_set(err, -ETIMEDOUT, "we are dead");
	if (strcmp(d->uuid, f->gone) == 0)
		return vbmq_err_set(err, -ENOENT, "domain %s is gone", d->name);
	if (strcmp(d->uuid, f->silent) == 0)
		return vbmq_err_set(err, -ETIMEDOUT, "domain %s does not answer", d->name);
	if (step && strcmp(d->uuid, f->reused) == 0 && step->op == VBMQ_STEP_PIN && step->kind == f->reused_kind &&
	    step->id == f->reused_id)
		return vbmq_err_set(err, -ESRCH, "its tid belongs to another thread now");
	return 0;
}

static int check_domain(void *ctx, const struct vbmq_domain *d, struct vbmq_err *err)
{
	struct fake *f = ctx;
	int r = standing(f, d, NULL, err);

	return r < 0 ? r : f->inner.ops->check_domain(f->inner.ctx, d, err);
}

static int really(struct fake *f, const struct vbmq_domain *d, const struct vbmq_thread *thread,
		  const struct vbmq_step *step, struct vbmq_err *err)
{
	static struct meetings before;
	int r;

	check_covered(f, d, step);
	find_meetings(f, &before);
	r = f->inner.ops->execute(f->inner.ctx, d, thread, step, err);
	if (r < 0)
		return r;
	if (step->op == VBMQ_STEP_PIN && step->tid == 0) {
		forget(f, d->uuid, step->kind, step->id);
		if (step->exclusive)
			promise(f, d, step->kind, step->id, step->cpus);
	}
	if (step->op == VBMQ_STEP_DEL_IOTHREAD)
		forget(f, d->uuid, VBMQ_THREAD_IOTHREAD, step->id);
	judge(f, d, step, &before);
	return 0;
}

static int execute(void *ctx, const struct vbmq_domain *d, const struct vbmq_thread *thread,
		   const struct vbmq_step *step, struct vbmq_err *err)
{
	struct fake *f = ctx;
	const struct fake_fault *fault = NULL;
	int r = standing(f, d, step, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < f->n_faults; i++)
		if (f->faults[i].at == f->n_executed)
			fault = &f->faults[i];
	if (fault && f->n_faulted < FAKE_FAULTS_MAX)
		memcpy(f->faulted[f->n_faulted++], d->uuid, sizeof(f->faulted[0]));
	if (fault && (fault->effect == FAKE_VANISH || fault->effect == FAKE_SILENT || fault->effect == FAKE_REUSED ||
		      fault->effect == FAKE_CRASH)) {
		if (fault->effect == FAKE_VANISH ||
		    (fault->effect == FAKE_REUSED && step->op == VBMQ_STEP_PIN && step->kind == VBMQ_THREAD_EMULATOR))
			memcpy(f->gone, d->uuid, sizeof(f->gone));
		else if (fault->effect == FAKE_SILENT)
			memcpy(f->silent, d->uuid, sizeof(f->silent));
		else if (fault->effect == FAKE_CRASH)
			f->dead = true;
		if (fault->effect == FAKE_REUSED && step->op == VBMQ_STEP_PIN) {
			memcpy(f->reused, d->uuid, sizeof(f->reused));
			f->reused_kind = step->kind;
			f->reused_id = step->id;
		}
		f->n_executed++;
		r = standing(f, d, step, err);
		return r < 0 ? r : vbmq_err_set(err, -EIO, "refused");
	}
	if (!fault || fault->effect != FAKE_NOTHING)
		r = really(f, d, thread, step, err);
	f->n_executed++;
	if (!fault || r < 0)
		return r;
	f->blind = fault->effect == FAKE_BLIND;
	f->blind_error = fault->error;
	f->dead |= fault->effect == FAKE_CRASH_AFTER;
	if (fault->effect == FAKE_BLIND || fault->error == 0)
		return 0;
	if (fault->error == -ENOENT)
		memcpy(f->gone, d->uuid, sizeof(f->gone));
	return vbmq_err_set(err, fault->error, "scripted fault");
}

static int observe(void *ctx, const struct vbmq_domain *d, const struct vbmq_thread *thread,
		   const struct vbmq_step *step, struct vbmq_observed *ret, struct vbmq_err *err)
{
	struct fake *f = ctx;
	int r = standing(f, d, step, err);

	if (r < 0)
		return r;
	if (f->blind) {
		f->blind = false;
		return vbmq_err_set(err, f->blind_error, "cannot look");
	}
	return f->inner.ops->observe(f->inner.ctx, d, thread, step, ret, err);
}

static const struct vbmq_actuator_ops ops = { check_domain, execute, observe };

static int save(void *data, const struct vbmq_undo *undo, struct vbmq_err *err)
{
	struct fake *f = data;
	struct vbmq_undo *copy;

	if (++f->n_saves == f->fail_save)
		return vbmq_err_set(err, -ENOSPC, "no space");
	if (f->dead)
		return vbmq_err_set(err, -EIO, "we are dead");
	if (vbmq_undo_copy(undo, &copy) < 0)
		return vbmq_err_oom(err);
	vbmq_undo_free(f->saved);
	f->saved = copy;
	return 0;
}

static bool cancelled(void *data)
{
	struct fake *f = data;

	return f->n_asked++ >= f->cancel_at;
}

void fake_init(struct fake *f, const struct vbmq_snapshot *state, const struct vbmq_snapshot *original,
	       const struct vbmq_undo *saved)
{
	struct vbmq_actuator unused;

	memset(f, 0, sizeof(*f));
	f->cancel_at = SIZE_MAX;
	f->actuator = (struct vbmq_actuator){ &ops, f };
	if (vbmq_dryrun_new(state, &f->dry, &f->inner) < 0 ||
	    vbmq_dryrun_new(original ? original : state, &f->original, &unused) < 0)
		abort();
	f->saved = vbmq_undo_new();
	if (saved) {
		f->saved = vbmq_undo_free(f->saved);
		if (vbmq_undo_copy(saved, &f->saved) < 0)
			abort();
	}
	f->apply =
		(struct vbmq_apply){ .actuator = &f->actuator, .save_undo = save, .cancelled = cancelled, .data = f };
}

void fake_done(struct fake *f)
{
	vbmq_dryrun_free(f->dry);
	vbmq_dryrun_free(f->original);
	vbmq_undo_free(f->saved);
}

void fake_fault(struct fake *f, size_t at, enum fake_effect effect, int error)
{
	if (f->n_faults == FAKE_FAULTS_MAX)
		abort();
	f->faults[f->n_faults++] = (struct fake_fault){ at, effect, error };
}

const struct vbmq_snapshot *fake_state(const struct fake *f)
{
	return vbmq_dryrun_state(f->dry);
}
