/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One domain, read.
 *
 * Which datum comes from where:
 *   state, id          libvirtd alone: always to be had
 *   XML                libvirtd; it takes the domain's job, so it waits behind a hung monitor call of anybody
 *   thread ids         QMP query-cpus-fast and query-iothreads; libvirt has no call that tells them
 *   polling            the same query-iothreads (virDomainListGetStats would make libvirt send it once more)
 *   capabilities       query-qmp-schema and device-list-properties, once for every QEMU binary
 *   queue count, started     x-query-virtio-status of each disk (QEMU >= 7.2; without it: what the XML says, started unknown)
 *   queue map          the XML; qom-get iothread-vq-mapping only where the map can have changed (live map) or the queue count
 *                      is QEMU's default and several threads serve the disk
 *   these three, and exact completion vCPUs     one query-virtio-placement for all disks, where QEMU has it
 *
 * Each line is a job with a time limit of its own (call.c), the QMP ones together one. When XML or monitor do not come in time
 * the domain is not responsive; what was heard last of this instance (XML, thread ids, capabilities) then stands in: its
 * threads still occupy CPUs, and a planner that did not know where would put others there. With nothing heard yet it is just
 * said that the domain is there (the persistent configuration cannot tell more: libvirt takes the job for it, too).
 *
 * Drivers other than QEMU (test:///), and read-only connections, have no monitor: XML alone, no capability.
 */

#include "virt/read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/domxml.h"
#include "codec/qmp_placement.h"
#include "codec/qmp_reply.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include "virt/xml.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

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
	char *cpus, *iothreads; /* replies */
	char *placement; /* reply; NULL: the disks were asked one by one */
	struct vbmq_caps caps;
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
	free(job->cpus);
	free(job->iothreads);
	free(job->placement);
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
	if (q->want_map || vbmq_caps_has(job->caps, VBMQ_CAP_LIVE_MAP)) {
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

static int parse_caps(struct vbmq_virt *v, const char *schema, const char *props, struct vbmq_caps *ret,
		      struct vbmq_err *err)
{
	struct vbmq_caps caps = { .bits = 0 };
	bool has_map = false;
	int r;

	r = vbmq_qmp_schema_caps(schema, strlen(schema), &caps, err);
	if (r < 0)
		return r;
	r = vbmq_qmp_has_vq_mapping(props, strlen(props), &has_map, err);
	if (r < 0 && r != -EREMOTEIO) /* no virtio-blk-pci in this QEMU */
		return r;
	caps.bits |= VBMQ_CAP_PIN;
	if (r == 0 && has_map && v->lib_version >= VBMQ_LIBVIRT_DISK_IOTHREADS)
		caps.bits |= VBMQ_CAP_COLD_MAP;
	*ret = caps;
	return 0;
}

/* Before the disks are asked: whether the map can change decides what they are asked. */
static int ask_caps(struct monitor_job *job, virDomainPtr dom)
{
	static const char schema_command[] = "{\"execute\":\"query-qmp-schema\"}";
	static const char props_command[] =
		"{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"virtio-blk-pci\"}}";
	struct vbmq_virt *v = job->call.v;
	_cleanup_free_ struct vbmq_qmp_vcpu *cpus = NULL;
	_cleanup_free_ char *schema = NULL, *props = NULL;
	uint32_t tid;
	size_t n;
	int r;

	r = vbmq_qmp_cpus(job->cpus, strlen(job->cpus), &cpus, &n, &job->err);
	if (r < 0)
		return r;
	tid = n ? cpus[0].tid : 0;
	if (vbmq_virt_program_caps(v, tid, &job->caps))
		return 0;
	r = vbmq_virt_qmp(v, dom, schema_command, &schema, &job->err);
	if (r == 0)
		r = vbmq_virt_qmp(v, dom, props_command, &props, &job->err);
	if (r == 0)
		r = parse_caps(v, schema, props, &job->caps, &job->err);
	if (r == 0)
		vbmq_virt_program_learn(v, tid, job->caps);
	return r;
}

static int monitor_steps(struct monitor_job *job)
{
	struct vbmq_virt *v = job->call.v;
	_cleanup_(vbmq_virt_domain_freep) virDomainPtr dom = vbmq_virt_recall_dom(v, job->uuid, job->id);
	int r = 0;

	/* Noted by the look that this reading began with. Should another instance have come since, its threads are not taken for
	 * those of this one for long: an event says so, and no apply starts on an id that is not libvirt's own. */
	if (!dom)
		r = vbmq_virt_lookup(v, job->uuid, &dom, &job->err);
	if (r < 0)
		return r;
	if ((int32_t)virDomainGetID(dom) != job->id)
		return vbmq_err_set(&job->err, -ENOENT, "domain '%s' does not run any more", virDomainGetName(dom));
	r = vbmq_virt_qmp(v, dom, "{\"execute\":\"query-cpus-fast\"}", &job->cpus, &job->err);
	if (r == 0)
		r = vbmq_virt_qmp(v, dom, "{\"execute\":\"query-iothreads\"}", &job->iothreads, &job->err);
	if (r == 0)
		r = ask_caps(job, dom);
	if (r == 0 && job->n_disks && vbmq_caps_has(job->caps, VBMQ_CAP_PLACEMENT))
		r = vbmq_virt_qmp(v, dom, VBMQ_VIRT_QUERY_PLACEMENT, &job->placement, &job->err);
	for (size_t i = 0; r == 0 && !job->placement && i < job->n_disks; i++)
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

static struct monitor_job *monitor_job_new(const struct vbmq_domain *d)
{
	struct monitor_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->call.work = monitor_work;
	job->call.destroy = monitor_destroy;
	memcpy(job->uuid, d->uuid, sizeof(job->uuid));
	job->id = d->id;
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

static int unknown_thread(const struct vbmq_disk *disk, uint32_t queue, struct vbmq_err *err)
{
	return vbmq_err_set(err, -EAGAIN, "disk %s: queue %u is served by an I/O thread that libvirt does not know",
			    disk->target, queue);
}

static int take_disk(struct vbmq_domain *d, struct vbmq_disk *disk, const struct disk_query *q, struct vbmq_err *err)
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
		for (size_t i = 0; map && i < disk->n_queues; i++) {
			if (map[i] && !find_thread(d, VBMQ_THREAD_IOTHREAD, map[i]))
				return unknown_thread(disk, (uint32_t)i, err);
			disk->queues[i].iothread = map[i];
		}
	}
	vbmq_disk_estimate_vcpus(disk, d->n_vcpus);
	return 0;
}

/* The vCPU a queue interrupts. Where the guest's vector does not tell, the estimate stays; but a queue in use that sends no
 * message at all (INTx, another transport, not used by the guest) does not complete where the estimate thinks. */
static void take_vcpu(const struct vbmq_domain *d, struct vbmq_queue *queue, const struct vbmq_qmp_queue *q,
		      bool started)
{
	if (q->irq == VBMQ_QMP_IRQ_VCPU && vbmq_domain_thread(d, VBMQ_THREAD_VCPU, q->vcpu)) {
		queue->vcpus = VBMQ_CPUSET_EMPTY;
		vbmq_cpuset_add(&queue->vcpus, q->vcpu);
		queue->vcpus_exact = true;
	} else if (q->irq == VBMQ_QMP_IRQ_NONE && started) {
		queue->vcpus = VBMQ_CPUSET_EMPTY;
	}
}

static int take_placed_disk(struct vbmq_domain *d, struct vbmq_disk *disk, const struct vbmq_qmp_device *device,
			    struct vbmq_err *err)
{
	if (!device) /* on its way in or out: the XML has to do */
		return 0;
	disk->started = device->started;
	if (resize_queues(disk, (uint32_t)device->n_queues) < 0)
		return vbmq_err_oom(err);
	vbmq_disk_estimate_vcpus(disk, d->n_vcpus);
	for (uint32_t i = 0; i < disk->n_queues; i++) {
		const struct vbmq_qmp_queue *q = &device->queues[i];

		if (q->foreign || (q->iothread && !find_thread(d, VBMQ_THREAD_IOTHREAD, q->iothread)))
			return unknown_thread(disk, i, err);
		disk->queues[i].iothread = q->iothread;
		take_vcpu(d, &disk->queues[i], q, device->started);
	}
	return 0;
}

static int take_placement(struct vbmq_domain *d, const char *reply, struct vbmq_err *err)
{
	struct vbmq_qmp_device *devices = NULL;
	size_t n = 0;
	int r = vbmq_qmp_placement(reply, strlen(reply), &devices, &n, err);

	for (size_t i = 0; r == 0 && i < d->n_disks; i++)
		if (d->disks[i].alias)
			r = take_placed_disk(d, &d->disks[i], vbmq_qmp_find_disk(devices, n, d->disks[i].alias), err);
	vbmq_qmp_devices_free(devices, n);
	return r;
}

/* Remembers what was heard of this instance. No memory: then it is not remembered. */
static void remember(struct vbmq_virt *v, const struct vbmq_domain *d, const char *xml)
{
	struct vbmq_virt_thread *threads = calloc(d->n_threads ? d->n_threads : 1, sizeof(*threads));
	char *copy = strdup(xml);
	struct vbmq_virt_instance *i;

	for (size_t k = 0; threads && k < d->n_threads; k++)
		threads[k] = (struct vbmq_virt_thread){ .kind = d->threads[k].kind,
							.id = d->threads[k].id,
							.tid = d->threads[k].tid };
	pthread_mutex_lock(&v->lock);
	i = threads && copy ? vbmq_virt_instance(v, d->uuid, d->id, true) : NULL;
	if (i) {
		i->caps = d->caps;
		free(i->xml);
		i->xml = VBMQ_STEAL(copy);
		free(i->threads);
		i->threads = VBMQ_STEAL(threads);
		i->n_threads = d->n_threads;
	}
	pthread_mutex_unlock(&v->lock);
	free(threads);
	free(copy);
}

static char *recall_xml(struct vbmq_virt *v, const struct vbmq_virt_facts *facts)
{
	const struct vbmq_virt_instance *i;
	char *xml;

	pthread_mutex_lock(&v->lock);
	i = vbmq_virt_instance(v, facts->uuid, facts->id, false);
	xml = i && i->xml ? strdup(i->xml) : NULL;
	pthread_mutex_unlock(&v->lock);
	return xml;
}

static void recall_threads(struct vbmq_virt *v, struct vbmq_domain *d)
{
	const struct vbmq_virt_instance *i;

	pthread_mutex_lock(&v->lock);
	i = vbmq_virt_instance(v, d->uuid, d->id, false);
	if (i)
		d->caps = i->caps;
	for (size_t k = 0; i && k < i->n_threads; k++) {
		struct vbmq_thread *t = find_thread(d, i->threads[k].kind, i->threads[k].id);

		if (t)
			t->tid = i->threads[k].tid;
	}
	pthread_mutex_unlock(&v->lock);
}

static int take_replies(struct vbmq_domain *d, struct monitor_job *job, struct vbmq_err *err)
{
	size_t k = 0;
	int r;

	d->caps = job->caps;
	r = take_threads(d, job, err);
	if (r == 0 && job->placement)
		return take_placement(d, job->placement, err);
	for (size_t i = 0; r == 0 && i < d->n_disks; i++) {
		if (d->disks[i].alias)
			r = take_disk(d, &d->disks[i], &job->disks[k++], err);
	}
	return r;
}

/* 0, -ETIMEDOUT or -EBUSY (it hangs), or a failure. */
static int ask_monitor(struct vbmq_virt *v, struct vbmq_domain *d, struct vbmq_err *err)
{
	struct vbmq_err why = VBMQ_ERR_INIT;
	struct monitor_job *job = monitor_job_new(d);
	int r;

	if (!job)
		return vbmq_err_oom(err);
	r = vbmq_call_run(v, d->uuid, &job->call, &why);
	if (r == 0) {
		r = job->result;
		if (r < 0)
			why = job->err;
		else
			r = take_replies(d, job, &why);
		monitor_destroy(&job->call);
	}
	return r < 0 ? vbmq_err_set(err, r, "domain '%s': %s", d->name, why.text) : 0;
}

/* --- all of it --- */

static bool hangs(int r)
{
	return r == -ETIMEDOUT || r == -EBUSY;
}

/* The XML, or what stands in for it when the domain hangs: what was read last, or NULL. */
static int get_xml(struct vbmq_virt *v, const struct vbmq_virt_facts *facts, char **ret, bool *ret_hangs,
		   struct vbmq_err *err)
{
	struct vbmq_err why = VBMQ_ERR_INIT;
	int r = vbmq_virt_xml_text(v, facts, 0, ret, &why);

	*ret_hangs = facts->id >= 0 && hangs(r);
	if (*ret_hangs) {
		*ret = recall_xml(v, facts);
		return 0;
	}
	return r < 0 ? vbmq_err_set(err, r, "%s", why.text) : 0;
}

/* A domain that hangs and was never read: nothing but that it is there. Its threads are for lib/capture to find. */
static int bare_domain(const struct vbmq_virt_facts *facts, struct vbmq_domain **ret, struct vbmq_err *err)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = vbmq_domain_new();
	struct vbmq_thread *emulator = d ? vbmq_array_add(d->threads, d->n_threads, 1) : NULL;

	if (!emulator)
		return vbmq_err_oom(err);
	emulator->kind = VBMQ_THREAD_EMULATOR;
	d->name = strdup(facts->name);
	if (!d->name)
		return vbmq_err_oom(err);
	memcpy(d->uuid, facts->uuid, sizeof(d->uuid));
	d->n_vcpus = 1;
	*ret = VBMQ_STEAL(d);
	return 0;
}

/* From XML, NULL: there is none. Everything but what the monitor tells. */
static int make_domain(const char *called, const struct vbmq_virt_facts *facts, const char *xml,
		       struct vbmq_domain **ret, struct vbmq_err *ret_metadata, struct vbmq_err *err)
{
	struct vbmq_domain *d = NULL;
	int r = xml ? vbmq_domxml_parse_lenient(called, xml, strlen(xml), facts->id >= 0, &d, ret_metadata, err)
		    : bare_domain(facts, &d, err);

	if (r < 0)
		return r;
	d->id = facts->id;
	d->state = facts->id >= 0 ? vbmq_virt_state(facts->state) : VBMQ_DOMAIN_SHUTOFF;
	*ret = d;
	return 0;
}

/* The text begins with what we were called with; people know the domain by its name. */
static int note_metadata_error(struct vbmq_domain *d, const char *called, const struct vbmq_err *metadata,
			       struct vbmq_err *err)
{
	size_t own = strlen(called);

	if (!metadata->code)
		return 0;
	if (strncmp(metadata->text, called, own) != 0)
		own = 0;
	if (asprintf(&d->metadata_error, "%s%s", own ? d->name : "", metadata->text + own) < 0) {
		d->metadata_error = NULL;
		return vbmq_err_oom(err);
	}
	return 0;
}

int vbmq_virt_read_domain(struct vbmq_virt *v, const char *name_or_uuid, struct vbmq_domain **ret,
			  struct vbmq_err *ret_metadata_err, struct vbmq_err *err)
{
	struct vbmq_err metadata = VBMQ_ERR_INIT, why = VBMQ_ERR_INIT;
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	_cleanup_free_ char *xml = NULL;
	struct vbmq_virt_facts facts;
	bool hung = false;
	int r;

	r = vbmq_virt_look(v, name_or_uuid, &facts, err);
	if (r == 0)
		r = get_xml(v, &facts, &xml, &hung, err);
	if (r == 0)
		r = make_domain(name_or_uuid, &facts, xml, &d, &metadata, err);
	if (r < 0)
		return r;
	d->responsive = !hung;
	if (facts.id >= 0 && !hung && v->qemu && !v->read_only) {
		r = ask_monitor(v, d, &why);
		if (r == 0)
			remember(v, d, xml);
		else if (hangs(r))
			d->responsive = false;
		else
			return vbmq_err_set(err, r, "%s", why.text);
	}
	if (!d->responsive)
		recall_threads(v, d);
	r = note_metadata_error(d, name_or_uuid, &metadata, err);
	if (r < 0)
		return r;
	if (metadata.code && ret_metadata_err)
		*ret_metadata_err = metadata;
	*ret = VBMQ_STEAL(d);
	return 0;
}

int vbmq_virt_recall_domain(struct vbmq_virt *v, const struct vbmq_virt_name *name, struct vbmq_domain **ret,
			    struct vbmq_err *err)
{
	struct vbmq_virt_facts facts = { .id = name->id, .state = VIR_DOMAIN_RUNNING };
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	struct vbmq_err metadata = VBMQ_ERR_INIT;
	_cleanup_free_ char *xml = NULL;
	int r;

	memcpy(facts.uuid, name->uuid, sizeof(facts.uuid));
	(void)snprintf(facts.name, sizeof(facts.name), "%s", name->name);
	xml = recall_xml(v, &facts);
	r = make_domain(facts.uuid, &facts, xml, &d, &metadata, err);
	if (r == 0)
		r = note_metadata_error(d, facts.uuid, &metadata, err);
	if (r < 0)
		return r;
	d->responsive = false;
	recall_threads(v, d);
	*ret = VBMQ_STEAL(d);
	return 0;
}
