/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/deadline_act.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/err.h"

enum call_op { CALL_CHECK, CALL_EXECUTE, CALL_OBSERVE };

struct call {
	struct vbmqd_job job;
	enum call_op op;
	struct vbmqd_conn *conn;
	struct vbmq_actuator inner;
	struct vbmq_domain *domain;
	bool has_thread;
	struct vbmq_thread thread;
	struct vbmq_step step;
	/* results */
	int r;
	struct vbmq_err err;
	struct vbmq_observed observed;
};

static void call_run(struct vbmqd_job *job)
{
	struct call *c = (struct call *)job;
	const struct vbmq_thread *thread = c->has_thread ? &c->thread : NULL;

	switch (c->op) {
	case CALL_CHECK:
		c->r = c->inner.ops->check_domain(c->inner.ctx, c->domain, &c->err);
		break;
	case CALL_EXECUTE:
		c->r = c->inner.ops->execute(c->inner.ctx, c->domain, thread, &c->step, &c->err);
		break;
	case CALL_OBSERVE:
		c->r = c->inner.ops->observe(c->inner.ctx, c->domain, thread, &c->step, &c->observed, &c->err);
		break;
	}
}

static struct vbmqd_job *call_free(struct vbmqd_job *job)
{
	struct call *c = (struct call *)job;

	if (!c)
		return NULL;
	vbmqd_conn_unref(c->conn);
	vbmq_domain_free(c->domain);
	free(c->step.map);
	free(c->observed.map);
	free(c);
	return NULL;
}

/* Only ever run through vbmqd_workers_call: neither done nor late is used. */
static const struct vbmqd_job_ops call_ops = {
	.name = "actuator",
	.run = call_run,
	.free = call_free,
};

/* Copies everything: the engine's memory may be gone when a hung call comes back. */
static struct call *call_new(const struct vbmqd_deadline_act *a, enum call_op op, const struct vbmq_domain *domain,
			     const struct vbmq_thread *thread, const struct vbmq_step *step)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->job = (struct vbmqd_job){ .ops = &call_ops, .timeout_ms = a->timeout_ms };
	memcpy(c->job.key, domain->uuid, sizeof(domain->uuid));
	c->op = op;
	c->conn = vbmqd_conn_ref(a->conn);
	c->inner = a->inner;
	if (thread) {
		c->has_thread = true;
		c->thread = *thread;
	}
	if (step) {
		c->step = *step;
		c->step.map = NULL;
		if (step->n_map) {
			c->step.map = malloc(step->n_map * sizeof(step->map[0]));
			if (!c->step.map)
				goto no_memory;
			memcpy(c->step.map, step->map, step->n_map * sizeof(step->map[0]));
		}
	}
	if (vbmq_domain_copy(domain, &c->domain) < 0)
		goto no_memory;
	return c;

no_memory:
	call_free(&c->job);
	return NULL;
}

static int call(struct vbmqd_deadline_act *a, enum call_op op, const struct vbmq_domain *domain,
		const struct vbmq_thread *thread, const struct vbmq_step *step, struct vbmq_observed *ret,
		struct vbmq_err *err)
{
	struct call *c = call_new(a, op, domain, thread, step);
	int r;

	if (!c)
		return vbmq_err_oom(err);
	r = vbmqd_workers_call(a->workers, &c->job);
	if (r == -ETIMEDOUT)
		return vbmq_err_set(err, r, "domain %s did not answer within %llu ms", domain->name,
				    (unsigned long long)a->timeout_ms);
	if (r == -ECANCELED)
		return vbmq_err_set(err, r, "the daemon is stopping");
	if (r == -EBUSY) {
		call_free(&c->job);
		return vbmq_err_set(err, -ETIMEDOUT,
				    "domain %s does not answer: an earlier call is still waiting for it", domain->name);
	}
	r = c->r;
	if (r < 0)
		vbmq_err_set(err, r, "%s", c->err.text);
	else if (ret) {
		*ret = c->observed;
		c->observed.map = NULL;
	}
	call_free(&c->job);
	return r;
}

static int act_check(void *ctx, const struct vbmq_domain *domain, struct vbmq_err *err)
{
	return call(ctx, CALL_CHECK, domain, NULL, NULL, NULL, err);
}

static int act_execute(void *ctx, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		       const struct vbmq_step *step, struct vbmq_err *err)
{
	return call(ctx, CALL_EXECUTE, domain, thread, step, NULL, err);
}

static int act_observe(void *ctx, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		       const struct vbmq_step *step, struct vbmq_observed *ret, struct vbmq_err *err)
{
	return call(ctx, CALL_OBSERVE, domain, thread, step, ret, err);
}

static const struct vbmq_actuator_ops deadline_ops = {
	.check_domain = act_check,
	.execute = act_execute,
	.observe = act_observe,
};

void vbmqd_deadline_act(struct vbmqd_deadline_act *a, struct vbmq_actuator *ret)
{
	*ret = (struct vbmq_actuator){ .ops = &deadline_ops, .ctx = a };
}
