/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One domain, read.
 *
 * Which datum comes from where:
 *   XML, state, id     libvirt, without a job: works whatever the monitor does
 *   thread ids         QMP query-cpus-fast and query-iothreads; libvirt has no call that tells them
 *   polling            the same query-iothreads (virDomainListGetStats would make libvirt send it once more)
 *   capabilities       query-qmp-schema and device-list-properties, once for an instance
 *   queue count, started     x-query-virtio-status of each disk (QEMU >= 7.2; without it: what the XML says, started unknown)
 *   queue map          the XML; qom-get iothread-vq-mapping only where the map can have changed (live map) or the queue count
 *                      is QEMU's default and several threads serve the disk
 *
 * Reading is two jobs with a time limit each (call.c): what libvirtd knows, then what the monitor tells. Without the second the
 * domain is not responsive; the thread ids heard last from this instance are then used again: its threads still occupy CPUs, and
 * a planner that did not know where would put others there.
 *
 * Drivers other than QEMU (test:///), and read-only connections, have no monitor: XML alone, no capability.
 */

#include "virt/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/domxml.h"
#include "codec/qmp_reply.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include "virt/private.h"

/* --- what libvirtd knows --- */

struct xml_job {
	struct vbmq_call call;
	char *name;
	unsigned flags;
	bool define; /* name is the XML to define */
	char *xml;
	char uuid[37];
	int32_t id;
	int state;
	int result;
	struct vbmq_err err;
};

static void xml_destroy(struct vbmq_call *call)
{
	struct xml_job *job = (struct xml_job *)call;

	free(job->name);
	free(job->xml);
	free(job);
}

static int xml_steps(struct xml_job *job)
{
	struct vbmq_virt *v = job->call.v;
	_cleanup_(vbmq_virt_domain_freep) virDomainPtr dom = NULL;
	int r = vbmq_virt_lookup(v, job->name, &dom, &job->err);

	if (r < 0)
		return r;
	job->xml = virDomainGetXMLDesc(dom, job->flags);
	if (!job->xml || virDomainGetState(dom, &job->state, NULL, 0) < 0 ||
	    virDomainGetUUIDString(dom, job->uuid) < 0) {
		r = vbmq_virt_error(&job->err, vbmq_virt_conn_alive(v), "domain '%s'", job->name);
		return vbmq_virt_gone(v, dom, (int32_t)virDomainGetID(dom), r, &job->err);
	}
	/* The id of the lookup, an instant before the XML: when the XML says another one, the domain was restarted in between,
	 * and the reader's caller will see that at the next event. */
	job->id = (int32_t)virDomainGetID(dom);
	return 0;
}

static void xml_work(struct vbmq_call *call)
{
	struct xml_job *job = (struct xml_job *)call;
	virDomainPtr dom;

	if (!job->define) {
		job->result = xml_steps(job);
		return;
	}
	dom = virDomainDefineXMLFlags(call->v->conn, job->name, VIR_DOMAIN_DEFINE_VALIDATE);
	if (dom)
		(void)virDomainFree(dom);
	else
		job->result = vbmq_virt_error(&job->err, vbmq_virt_conn_alive(call->v), "cannot define the domain");
}

/* Runs the job; *ret is to be freed with xml_destroy. */
static int xml_run(struct vbmq_virt *v, const char *name, unsigned flags, bool define, struct xml_job **ret,
		   struct vbmq_err *err)
{
	struct xml_job *job = calloc(1, sizeof(*job));
	int r;

	if (job)
		job->name = strdup(name);
	if (!job || !job->name) {
		free(job);
		return vbmq_err_oom(err);
	}
	job->call.work = xml_work;
	job->call.destroy = xml_destroy;
	job->flags = flags;
	job->define = define;
	r = vbmq_call_run(v, NULL, &job->call, err);
	if (r < 0) {
		(void)vbmq_err_prefix(err, "%s", define ? "define" : name);
		return r;
	}
	if (job->result < 0) {
		r = vbmq_err_set(err, job->result, "%s", job->err.text);
		xml_destroy(&job->call);
		return r;
	}
	*ret = job;
	return 0;
}

int vbmq_virt_domain_xml(struct vbmq_virt *v, const char *name_or_uuid, bool inactive, char **ret, struct vbmq_err *err)
{
	unsigned flags = (inactive ? VIR_DOMAIN_XML_INACTIVE : 0) | (v->read_only ? 0 : VIR_DOMAIN_XML_SECURE);
	struct xml_job *job;
	int r = xml_run(v, name_or_uuid, flags, false, &job, err);

	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(job->xml);
	xml_destroy(&job->call);
	return 0;
}

int vbmq_virt_define(struct vbmq_virt *v, const char *xml, struct vbmq_err *err)
{
	struct xml_job *job;
	int r = xml_run(v, xml, 0, true, &job, err);

	if (r < 0)
		return r;
	xml_destroy(&job->call);
	return 0;
}

/* --- what the monitor tells --- */

struct disk_query {
	char *alias;
	bool want_map;
	char *status; /* reply, NULL: not to be had */
	char *map;
};

struct monitor_job {
	struct vbmq_call call;
	char uuid[37];
	int32_t id;
	bool want_caps, live_map;
	char *schema, *props, *cpus, *iothreads;
	struct disk_query *disks;
	size_t n_disks;
	int result;
	struct vbmq_err err;
};

static void monitor_destroy(struct vbmq_call *call)
{
	struct monitor_job *job = (struct monitor_job *)call;

	for (size_t i = 0; i < job->n_disks; i++) {
		free(job->disks[i].alias);
		free(job->disks[i].status);
		free(job->disks[i].map);
	}
	free(job->disks);
	free(job->schema);
	free(job->props);
	free(job->cpus);
	free(job->iothreads);
	free(job);
}

static int ask_disk(struct monitor_job *job, virDomainPtr dom, struct disk_query *q)
{
	struct vbmq_virt *v = job->call.v;
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf path = VBMQ_STRBUF_INIT;
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf text = VBMQ_STRBUF_INIT;
	int r;

	vbmq_strbuf_printf(&path, "/machine/peripheral/%s", q->alias);
	if (path.failed)
		return vbmq_err_oom(&job->err);
	if (q->want_map || job->live_map) {
		vbmq_strbuf_add(&text, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":");
		vbmq_virt_json_string(&text, path.text);
		vbmq_strbuf_add(&text, ",\"property\":\"iothread-vq-mapping\"}}");
		r = text.failed ? vbmq_err_oom(&job->err) : vbmq_virt_qmp(v, dom, text.text, &q->map, &job->err);
		if (r < 0)
			return r;
		vbmq_strbuf_done(&text);
		text = VBMQ_STRBUF_INIT;
	}
	vbmq_strbuf_add(&path, "/virtio-backend");
	vbmq_strbuf_add(&text, "{\"execute\":\"x-query-virtio-status\",\"arguments\":{\"path\":");
	if (!path.failed)
		vbmq_virt_json_string(&text, path.text);
	vbmq_strbuf_add(&text, "}}");
	if (text.failed || path.failed)
		return vbmq_err_oom(&job->err);
	return vbmq_virt_qmp(v, dom, text.text, &q->status, &job->err);
}

/* Capabilities first: whether the map can change decides what is asked of the disks. */
static int ask_caps(struct monitor_job *job, virDomainPtr dom)
{
	struct vbmq_virt *v = job->call.v;
	struct vbmq_caps caps;
	int r;

	r = vbmq_virt_qmp(v, dom, "{\"execute\":\"query-qmp-schema\"}", &job->schema, &job->err);
	if (r == 0)
		r = vbmq_virt_qmp(
			v, dom,
			"{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"virtio-blk-pci\"}}",
			&job->props, &job->err);
	if (r == 0 && vbmq_qmp_schema_caps(job->schema, strlen(job->schema), &caps, NULL) == 0)
		job->live_map = vbmq_caps_has(caps, VBMQ_CAP_LIVE_MAP);
	return r;
}

static int monitor_steps(struct monitor_job *job)
{
	struct vbmq_virt *v = job->call.v;
	_cleanup_(vbmq_virt_domain_freep) virDomainPtr dom = NULL;
	int r = vbmq_virt_lookup(v, job->uuid, &dom, &job->err);

	if (r < 0)
		return r;
	if ((int32_t)virDomainGetID(dom) != job->id)
		return vbmq_err_set(&job->err, -ENOENT, "domain '%s' does not run any more", virDomainGetName(dom));
	r = vbmq_virt_qmp(v, dom, "{\"execute\":\"query-cpus-fast\"}", &job->cpus, &job->err);
	if (r == 0)
		r = vbmq_virt_qmp(v, dom, "{\"execute\":\"query-iothreads\"}", &job->iothreads, &job->err);
	if (r == 0 && job->want_caps)
		r = ask_caps(job, dom);
	for (size_t i = 0; r == 0 && i < job->n_disks; i++)
		r = ask_disk(job, dom, &job->disks[i]);
	return r < 0 ? vbmq_virt_gone(v, dom, job->id, r, &job->err) : 0;
}

static void monitor_work(struct vbmq_call *call)
{
	struct monitor_job *job = (struct monitor_job *)call;

	job->result = monitor_steps(job);
}

static bool several_threads(const struct vbmq_disk *disk)
{
	for (size_t i = 1; i < disk->n_queues; i++) {
		if (disk->queues[i].iothread != disk->queues[0].iothread)
			return true;
	}
	return false;
}

static struct monitor_job *monitor_job_new(const struct vbmq_domain *d, const struct vbmq_caps *caps)
{
	struct monitor_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->call.work = monitor_work;
	job->call.destroy = monitor_destroy;
	memcpy(job->uuid, d->uuid, sizeof(job->uuid));
	job->id = d->id;
	job->want_caps = !caps;
	job->live_map = caps && vbmq_caps_has(*caps, VBMQ_CAP_LIVE_MAP);
	job->disks = calloc(d->n_disks ? d->n_disks : 1, sizeof(*job->disks));
	if (!job->disks) {
		monitor_destroy(&job->call);
		return NULL;
	}
	for (size_t i = 0; i < d->n_disks; i++) {
		struct disk_query *q = &job->disks[job->n_disks];

		if (!d->disks[i].alias)
			continue;
		q->alias = strdup(d->disks[i].alias);
		q->want_map = several_threads(&d->disks[i]);
		if (!q->alias) {
			monitor_destroy(&job->call);
			return NULL;
		}
		job->n_disks++;
	}
	return job;
}

/* --- replies into the domain --- */

static struct vbmq_thread *find_thread(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	for (size_t i = 0; i < d->n_threads; i++) {
		if (d->threads[i].kind == kind && d->threads[i].id == id)
			return &d->threads[i];
	}
	return NULL;
}

static int take_threads(struct vbmq_domain *d, const struct monitor_job *job, struct vbmq_err *err)
{
	_cleanup_free_ struct vbmq_qmp_vcpu *cpus = NULL;
	_cleanup_free_ struct vbmq_qmp_iothread *iothreads = NULL;
	struct vbmq_thread *t;
	size_t n_cpus, n_iothreads;
	int r;

	r = vbmq_qmp_cpus(job->cpus, strlen(job->cpus), &cpus, &n_cpus, err);
	if (r < 0)
		return r;
	r = vbmq_qmp_iothreads(job->iothreads, strlen(job->iothreads), &iothreads, &n_iothreads, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_cpus; i++) {
		t = find_thread(d, VBMQ_THREAD_VCPU, cpus[i].index);
		if (t)
			t->tid = cpus[i].tid;
	}
	for (size_t i = 0; i < n_iothreads; i++) {
		t = find_thread(d, VBMQ_THREAD_IOTHREAD, iothreads[i].id);
		if (t) {
			t->tid = iothreads[i].tid;
			t->polling = iothreads[i].polling;
		}
	}
	return 0;
}

/* The queues QEMU really made: without queues= in the XML as many as vCPUs when the device was created. */
static int resize_queues(struct vbmq_disk *disk, uint32_t n)
{
	struct vbmq_queue *queues;

	if (n == disk->n_queues || n == 0 || n > VBMQ_QUEUES_MAX)
		return 0;
	queues = calloc(n, sizeof(*queues));
	if (!queues)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		queues[i].iothread = i < disk->n_queues ? disk->queues[i].iothread : disk->queues[0].iothread;
	free(disk->queues);
	disk->queues = queues;
	disk->n_queues = n;
	return 0;
}

static int take_disk(struct vbmq_domain *d, struct vbmq_disk *disk, const struct disk_query *q, bool live_map,
		     struct vbmq_err *err)
{
	_cleanup_free_ uint32_t *map = NULL;
	uint32_t n;
	bool started;
	int r;

	/* An old QEMU (-ENOTSUP), or a device on its way in or out (-EREMOTEIO): the XML has to do. */
	r = vbmq_qmp_virtio_status(q->status, strlen(q->status), &n, &started, err);
	if (r == -ENOTSUP || r == -EREMOTEIO)
		return 0;
	if (r < 0)
		return r;
	disk->started = started;
	if (resize_queues(disk, n) < 0)
		return vbmq_err_oom(err);
	if (q->map) {
		r = vbmq_qmp_vq_mapping(q->map, strlen(q->map), disk->n_queues, &map, err);
		if (r < 0 && r != -ENOTSUP && r != -EREMOTEIO)
			return r;
		for (size_t i = 0; map && i < disk->n_queues; i++)
			disk->queues[i].iothread = map[i];
	}
	vbmq_disk_estimate_vcpus(disk, d->n_vcpus);
	return 0;
}

static int take_caps(struct vbmq_virt *v, const struct monitor_job *job, struct vbmq_caps *ret, struct vbmq_err *err)
{
	struct vbmq_caps caps = { .bits = 0 };
	bool has_map = false;
	int r;

	r = vbmq_qmp_schema_caps(job->schema, strlen(job->schema), &caps, err);
	if (r < 0)
		return r;
	r = vbmq_qmp_has_vq_mapping(job->props, strlen(job->props), &has_map, err);
	if (r < 0 && r != -EREMOTEIO) /* no virtio-blk-pci in this QEMU */
		return r;
	caps.bits &= ~(uint32_t)VBMQ_CAP_COLD_MAP;
	caps.bits |= VBMQ_CAP_PIN;
	if (has_map && v->lib_version >= VBMQ_LIBVIRT_DISK_IOTHREADS)
		caps.bits |= VBMQ_CAP_COLD_MAP;
	*ret = caps;
	return 0;
}

/* Remembers caps and threads of this instance. No memory: it is asked again. */
static void remember(struct vbmq_virt *v, const struct vbmq_domain *d)
{
	struct vbmq_virt_thread *threads = calloc(d->n_threads ? d->n_threads : 1, sizeof(*threads));
	struct vbmq_virt_instance *i;

	pthread_mutex_lock(&v->lock);
	i = threads ? vbmq_virt_instance(v, d->uuid, d->id, true) : NULL;
	if (i) {
		i->has_caps = true;
		i->caps = d->caps;
		free(i->threads);
		i->threads = VBMQ_STEAL(threads);
		i->n_threads = d->n_threads;
		for (size_t k = 0; k < d->n_threads; k++)
			i->threads[k] = (struct vbmq_virt_thread){ .kind = d->threads[k].kind,
								   .id = d->threads[k].id,
								   .tid = d->threads[k].tid };
	}
	pthread_mutex_unlock(&v->lock);
	free(threads);
}

static bool recall_caps(struct vbmq_virt *v, const struct vbmq_domain *d, struct vbmq_caps *ret)
{
	const struct vbmq_virt_instance *i;
	bool found;

	pthread_mutex_lock(&v->lock);
	i = vbmq_virt_instance(v, d->uuid, d->id, false);
	found = i && i->has_caps;
	if (found)
		*ret = i->caps;
	pthread_mutex_unlock(&v->lock);
	return found;
}

static void recall_threads(struct vbmq_virt *v, struct vbmq_domain *d)
{
	const struct vbmq_virt_instance *i;

	pthread_mutex_lock(&v->lock);
	i = vbmq_virt_instance(v, d->uuid, d->id, false);
	for (size_t k = 0; i && k < i->n_threads; k++) {
		struct vbmq_thread *t = find_thread(d, i->threads[k].kind, i->threads[k].id);

		if (t)
			t->tid = i->threads[k].tid;
	}
	pthread_mutex_unlock(&v->lock);
}

static int take_replies(struct vbmq_virt *v, struct vbmq_domain *d, struct monitor_job *job, struct vbmq_err *err)
{
	size_t k = 0;
	int r;

	if (job->want_caps) {
		r = take_caps(v, job, &d->caps, err);
		if (r < 0)
			return r;
	}
	r = take_threads(d, job, err);
	for (size_t i = 0; r == 0 && i < d->n_disks; i++) {
		if (d->disks[i].alias)
			r = take_disk(d, &d->disks[i], &job->disks[k++], job->live_map, err);
	}
	if (r == 0)
		remember(v, d);
	return r;
}

static int ask_monitor(struct vbmq_virt *v, struct vbmq_domain *d, struct vbmq_err *err)
{
	struct vbmq_err why = VBMQ_ERR_INIT;
	bool known = recall_caps(v, d, &d->caps);
	struct monitor_job *job = monitor_job_new(d, known ? &d->caps : NULL);
	int r;

	if (!job)
		return vbmq_err_oom(err);
	r = vbmq_call_run(v, d->uuid, &job->call, &why);
	if (r == 0) {
		r = job->result;
		if (r < 0)
			why = job->err;
		else
			r = take_replies(v, d, job, &why);
		monitor_destroy(&job->call);
	}
	if (r == -ETIMEDOUT || r == -EBUSY) {
		d->responsive = false;
		recall_threads(v, d);
		return 0;
	}
	return r < 0 ? vbmq_err_set(err, r, "domain '%s': %s", d->name, why.text) : 0;
}

static enum vbmq_domain_state state_of(int state)
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

int vbmq_virt_read_domain(struct vbmq_virt *v, const char *name_or_uuid, struct vbmq_domain **ret,
			  struct vbmq_err *ret_metadata_err, struct vbmq_err *err)
{
	struct vbmq_domain *d = NULL;
	struct xml_job *job;
	bool live;
	int r;

	r = xml_run(v, name_or_uuid, 0, false, &job, err);
	if (r < 0)
		return r;
	live = job->id >= 0 && job->state != VIR_DOMAIN_SHUTOFF;
	r = vbmq_domxml_parse_lenient(name_or_uuid, job->xml, strlen(job->xml), live, &d, ret_metadata_err, err);
	if (r == 0) {
		d->id = live ? job->id : -1;
		d->state = live ? state_of(job->state) : VBMQ_DOMAIN_SHUTOFF;
		d->responsive = true;
	}
	xml_destroy(&job->call);
	if (r == 0 && live && v->qemu && !v->read_only)
		r = ask_monitor(v, d, err);
	if (r < 0) {
		vbmq_domain_free(d);
		return r;
	}
	*ret = d;
	return 0;
}
