/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "virt/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/snapshot.h"
#include "util/cleanup.h"

struct list_job {
	struct vbmq_call call;
	bool inactive_too;
	struct vbmq_virt_name *names;
	size_t n;
	unsigned long hypervisor;
	int result;
	struct vbmq_err err;
};

void vbmq_virt_names_free(struct vbmq_virt_name *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i].name);
	free(names);
}

static void list_destroy(struct vbmq_call *call)
{
	struct list_job *job = (struct list_job *)call;

	vbmq_virt_names_free(job->names, job->n);
	free(job);
}

static struct list_job *list_job_new(void (*work)(struct vbmq_call *call))
{
	struct list_job *job = calloc(1, sizeof(*job));

	if (job) {
		job->call.work = work;
		job->call.destroy = list_destroy;
	}
	return job;
}

static int by_name(const void *a, const void *b)
{
	const struct vbmq_virt_name *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : strcmp(x->uuid, y->uuid);
}

static int fill(struct list_job *job, virDomainPtr *doms, size_t n)
{
	job->names = calloc(n ? n : 1, sizeof(*job->names));
	if (!job->names)
		return vbmq_err_oom(&job->err);
	for (size_t i = 0; i < n; i++) {
		struct vbmq_virt_name *name = &job->names[job->n];
		const char *text = virDomainGetName(doms[i]);

		if (!text || virDomainGetUUIDString(doms[i], name->uuid) < 0)
			continue;
		name->name = strdup(text);
		if (!name->name)
			return vbmq_err_oom(&job->err);
		/* A client-side number: -1 for a domain that was not running when it was listed. */
		name->id = (int32_t)virDomainGetID(doms[i]);
		name->active = name->id >= 0;
		job->n++;
	}
	qsort(job->names, job->n, sizeof(*job->names), by_name);
	return 0;
}

static void list_work(struct vbmq_call *call)
{
	struct list_job *job = (struct list_job *)call;
	virDomainPtr *doms = NULL;
	int n;

	n = virConnectListAllDomains(call->v->conn, &doms, job->inactive_too ? 0 : VIR_CONNECT_LIST_DOMAINS_ACTIVE);
	if (n < 0) {
		job->result = vbmq_virt_error(&job->err, call->v->conn, "cannot list the domains");
		return;
	}
	if (n > (int)VBMQ_DOMAINS_MAX)
		job->result = vbmq_err_set(&job->err, -E2BIG, "%d domains, but no more than %u are supported", n,
					   VBMQ_DOMAINS_MAX);
	else
		job->result = fill(job, doms, (size_t)n);
	for (int i = 0; i < n; i++)
		(void)virDomainFree(doms[i]);
	free(doms);
}

/* Forgets what is remembered of domains that are not running any more. */
static void forget(struct vbmq_virt *v, const struct vbmq_virt_name *names, size_t n)
{
	struct vbmq_virt_instance **p, *gone;

	pthread_mutex_lock(&v->lock);
	for (p = &v->instances; *p;) {
		size_t i = 0;

		while (i < n && (!names[i].active || strcmp(names[i].uuid, (*p)->uuid)))
			i++;
		if (i < n) {
			p = &(*p)->next;
			continue;
		}
		gone = *p;
		*p = gone->next;
		gone->next = NULL;
		vbmq_virt_instances_free(gone);
	}
	pthread_mutex_unlock(&v->lock);
}

int vbmq_virt_list(struct vbmq_virt *v, bool inactive_too, struct vbmq_virt_name **ret, size_t *ret_n,
		   struct vbmq_err *err)
{
	struct list_job *job = list_job_new(list_work);
	int r;

	if (!job)
		return vbmq_err_oom(err);
	job->inactive_too = inactive_too;
	r = vbmq_call_run(v, NULL, &job->call, err);
	if (r < 0)
		return r;
	r = job->result;
	if (r == 0) {
		forget(v, job->names, job->n);
		*ret = VBMQ_STEAL(job->names);
		*ret_n = job->n;
		job->n = 0;
	} else {
		vbmq_err_set(err, r, "%s", job->err.text);
	}
	list_destroy(&job->call);
	return r;
}

static void versions_work(struct vbmq_call *call)
{
	struct list_job *job = (struct list_job *)call;

	if (virConnectGetVersion(call->v->conn, &job->hypervisor) < 0)
		job->result = vbmq_virt_error(&job->err, call->v->conn, "libvirt names no hypervisor version");
}

int vbmq_virt_versions(struct vbmq_virt *v, unsigned long *ret_lib, unsigned long *ret_hypervisor, struct vbmq_err *err)
{
	struct list_job *job = list_job_new(versions_work);
	int r;

	if (!job)
		return vbmq_err_oom(err);
	r = vbmq_call_run(v, NULL, &job->call, err);
	if (r < 0)
		return r;
	r = job->result;
	if (r == 0) {
		*ret_lib = v->lib_version;
		*ret_hypervisor = job->hypervisor;
	} else {
		vbmq_err_set(err, r, "%s", job->err.text);
	}
	list_destroy(&job->call);
	return r;
}
