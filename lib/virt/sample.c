/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A guest's counters. One job (call.c) for both commands; the replies are parsed when libvirt has let go of the domain. */

#include "virt/sample.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/cleanup.h"
#include "virt/private.h"

struct sample_job {
	struct vbmq_call call;
	char uuid[37];
	int32_t id;
	uint64_t time_ns;
	char *iothreads, *placement; /* replies */
	int result;
	struct vbmq_err err;
};

static void sample_destroy(struct vbmq_call *call)
{
	struct sample_job *job = (struct sample_job *)call;

	free(job->iothreads);
	free(job->placement);
	free(job);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void sample_work(struct vbmq_call *call)
{
	struct sample_job *job = (struct sample_job *)call;
	_cleanup_(vbmq_virt_domain_freep) virDomainPtr dom = NULL;
	int r = vbmq_virt_lookup(call->v, job->uuid, &dom, &job->err);

	if (r == 0 && (int32_t)virDomainGetID(dom) != job->id)
		r = vbmq_err_set(&job->err, -ENOENT, "it does not run any more");
	if (r == 0)
		r = vbmq_virt_qmp(call->v, dom, "{\"execute\":\"query-iothreads\"}", &job->iothreads, &job->err);
	job->time_ns = now_ns();
	if (r == 0)
		r = vbmq_virt_qmp(call->v, dom, VBMQ_VIRT_QUERY_PLACEMENT, &job->placement, &job->err);
	job->result = r < 0 && dom ? vbmq_virt_gone(call->v, dom, job->id, r, &job->err) : r;
}

void vbmq_virt_sample_done(struct vbmq_virt_sample *s)
{
	free(s->iothreads);
	vbmq_qmp_devices_free(s->devices, s->n_devices);
	*s = (struct vbmq_virt_sample){ .time_ns = 0 };
}

static int parse(const struct sample_job *job, struct vbmq_virt_sample *ret, struct vbmq_err *err)
{
	struct vbmq_virt_sample s = { .time_ns = job->time_ns };
	int r = vbmq_qmp_iothreads(job->iothreads, strlen(job->iothreads), &s.iothreads, &s.n_iothreads, err);

	if (r == 0)
		r = vbmq_qmp_placement(job->placement, strlen(job->placement), &s.devices, &s.n_devices, err);
	if (r < 0) {
		vbmq_virt_sample_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

int vbmq_virt_sample(struct vbmq_virt *v, const struct vbmq_domain *d, struct vbmq_virt_sample *ret,
		     struct vbmq_err *err)
{
	struct vbmq_err why = VBMQ_ERR_INIT;
	struct sample_job *job;
	int r;

	if (!vbmq_caps_has(d->caps, VBMQ_CAP_PLACEMENT))
		return vbmq_err_set(err, -ENOTSUP, "domain '%s': its QEMU has no counters", d->name);
	job = calloc(1, sizeof(*job));
	if (!job)
		return vbmq_err_oom(err);
	job->call.work = sample_work;
	job->call.destroy = sample_destroy;
	memcpy(job->uuid, d->uuid, sizeof(job->uuid));
	job->id = d->id;
	r = vbmq_call_run(v, d->uuid, &job->call, &why);
	if (r == 0) {
		r = job->result;
		if (r < 0)
			why = job->err;
		else
			r = parse(job, ret, &why);
		sample_destroy(&job->call);
	}
	return r < 0 ? vbmq_err_set(err, r, "domain '%s': %s", d->name, why.text) : 0;
}
