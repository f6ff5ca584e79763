/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "virt/xml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "virt/read.h"

struct xml_job {
	struct vbmq_call call;
	char *text; /* in: name or UUID; define: the XML */
	int32_t id; /* in: of the running instance, -1: none or not known */
	unsigned flags;
	char *xml; /* out */
	struct vbmq_virt_facts facts;
	int result;
	struct vbmq_err err;
};

static void xml_destroy(struct vbmq_call *call)
{
	struct xml_job *job = (struct xml_job *)call;

	free(job->text);
	free(job->xml);
	free(job);
}

/* uuid: see vbmq_call_run. With 0 *ret is to be freed with xml_destroy. */
static int run(struct vbmq_virt *v, const char *uuid, const char *text, int32_t id, unsigned flags,
	       void (*work)(struct vbmq_call *call), struct xml_job **ret, struct vbmq_err *err)
{
	struct xml_job *job = calloc(1, sizeof(*job));
	int r;

	if (job)
		job->text = strdup(text);
	if (!job || !job->text) {
		free(job);
		return vbmq_err_oom(err);
	}
	job->call.work = work;
	job->call.destroy = xml_destroy;
	job->flags = flags;
	job->id = id;
	r = vbmq_call_run(v, uuid, &job->call, err);
	if (r < 0)
		return r;
	if (job->result < 0) {
		r = vbmq_err_set(err, job->result, "%s", job->err.text);
		xml_destroy(&job->call);
		return r;
	}
	*ret = job;
	return 0;
}

enum vbmq_domain_state vbmq_virt_state(int state)
{
	switch (state) {
	case VIR_DOMAIN_SHUTOFF:
		return VBMQ_DOMAIN_SHUTOFF;
	case VIR_DOMAIN_PAUSED:
	case VIR_DOMAIN_PMSUSPENDED:
	case VIR_DOMAIN_CRASHED:
		return VBMQ_DOMAIN_PAUSED;
	default:
		return VBMQ_DOMAIN_RUNNING;
	}
}

static void look_work(struct vbmq_call *call)
{
	struct xml_job *job = (struct xml_job *)call;
	_cleanup_(vbmq_virt_domain_freep) virDomainPtr dom = NULL;

	if (job->id >= 0)
		dom = vbmq_virt_recall_dom(call->v, job->text, job->id);
	if (!dom)
		job->result = vbmq_virt_lookup(call->v, job->text, &dom, &job->err);
	if (job->result < 0)
		return;
	if (virDomainGetState(dom, &job->facts.state, NULL, 0) < 0 ||
	    virDomainGetUUIDString(dom, job->facts.uuid) < 0) {
		job->result = vbmq_virt_error(&job->err, call->v->conn, "domain '%s'", job->text);
		return;
	}
	job->facts.id = (int32_t)virDomainGetID(dom);
	(void)snprintf(job->facts.name, sizeof(job->facts.name), "%s", virDomainGetName(dom));
	if (job->facts.state == VIR_DOMAIN_SHUTOFF)
		job->facts.id = -1; /* it stopped between the two */
	vbmq_virt_note_dom(call->v, job->facts.uuid, job->facts.id, dom);
}

static int look(struct vbmq_virt *v, const char *name_or_uuid, int32_t id, struct vbmq_virt_facts *ret,
		struct vbmq_err *err)
{
	struct xml_job *job = NULL;
	int r = run(v, NULL, name_or_uuid, id, 0, look_work, &job, err);

	if (r < 0)
		return r;
	*ret = job->facts;
	xml_destroy(&job->call);
	return 0;
}

int vbmq_virt_look(struct vbmq_virt *v, const char *name_or_uuid, struct vbmq_virt_facts *ret, struct vbmq_err *err)
{
	return look(v, name_or_uuid, -1, ret, err);
}

int vbmq_virt_look_again(struct vbmq_virt *v, const char *uuid, int32_t id, struct vbmq_virt_facts *ret,
			 struct vbmq_err *err)
{
	return look(v, uuid, id, ret, err);
}

static void text_work(struct vbmq_call *call)
{
	struct xml_job *job = (struct xml_job *)call;
	_cleanup_(vbmq_virt_domain_freep) virDomainPtr dom = vbmq_virt_recall_dom(call->v, job->text, job->id);

	if (!dom)
		job->result = vbmq_virt_lookup(call->v, job->text, &dom, &job->err);
	if (job->result < 0)
		return;
	job->xml = virDomainGetXMLDesc(dom, job->flags);
	if (!job->xml)
		job->result = vbmq_virt_error(&job->err, call->v->conn, "XML of domain '%s'", virDomainGetName(dom));
}

int vbmq_virt_xml_text(struct vbmq_virt *v, const struct vbmq_virt_facts *facts, unsigned flags, char **ret,
		       struct vbmq_err *err)
{
	struct xml_job *job = NULL;
	int r = run(v, facts->id >= 0 ? facts->uuid : NULL, facts->uuid, facts->id, flags, text_work, &job, err);

	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(job->xml);
	xml_destroy(&job->call);
	return 0;
}

int vbmq_virt_domain_xml(struct vbmq_virt *v, const char *name_or_uuid, bool inactive, char **ret, struct vbmq_err *err)
{
	unsigned flags = (inactive ? VIR_DOMAIN_XML_INACTIVE : 0) | (v->read_only ? 0 : VIR_DOMAIN_XML_SECURE);
	struct vbmq_virt_facts facts;
	int r = vbmq_virt_look(v, name_or_uuid, &facts, err);

	if (r == 0)
		r = vbmq_virt_xml_text(v, &facts, flags, ret, err);
	return r;
}

static void define_work(struct vbmq_call *call)
{
	struct xml_job *job = (struct xml_job *)call;
	virDomainPtr dom = virDomainDefineXMLFlags(call->v->conn, job->text, VIR_DOMAIN_DEFINE_VALIDATE);

	if (dom)
		(void)virDomainFree(dom);
	else
		job->result = vbmq_virt_error(&job->err, call->v->conn, "cannot define the domain");
}

int vbmq_virt_define(struct vbmq_virt *v, const char *xml, struct vbmq_err *err)
{
	struct xml_job *job = NULL;
	int r = run(v, NULL, xml, -1, 0, define_work, &job, err);

	if (r < 0)
		return r;
	xml_destroy(&job->call);
	return 0;
}
