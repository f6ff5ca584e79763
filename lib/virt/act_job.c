/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The libvirt and monitor calls of single steps; run in the threads of call.c, on the job's own data. */

#include "virt/act_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/cleanup.h"
#include "util/strbuf.h"

#define CPUMAP_BYTES (VBMQ_CPUS_MAX / 8)

/* libvirt's form of a set: bit n of byte n / 8. Returns the bytes that matter. */
static int to_cpumap(const struct vbmq_cpuset *s, unsigned char *map)
{
	memset(map, 0, CPUMAP_BYTES);
	for (int c = vbmq_cpuset_next(s, 0); c >= 0; c = vbmq_cpuset_next(s, (unsigned)c + 1))
		map[c / 8] |= (unsigned char)(1u << (c % 8));
	return vbmq_cpuset_last(s) / 8 + 1;
}

static int failed(struct vbmq_act_job *job, const char *doing)
{
	return vbmq_virt_error(&job->err, job->call.v->conn, "domain '%s': %s %u", job->name, doing, job->step.id);
}

static int empty(struct vbmq_act_job *job)
{
	return vbmq_err_set(&job->err, -EINVAL, "domain '%s': a thread cannot be pinned to no CPU", job->name);
}

int vbmq_act_pin_vcpu(struct vbmq_act_job *job, virDomainPtr dom)
{
	unsigned char map[CPUMAP_BYTES];

	if (vbmq_cpuset_is_empty(job->step.cpus))
		return empty(job);
	if (virDomainPinVcpuFlags(dom, job->step.id, map, to_cpumap(job->step.cpus, map), VIR_DOMAIN_AFFECT_LIVE) < 0)
		return failed(job, "pin vCPU");
	return 0;
}

int vbmq_act_pin_iothread(struct vbmq_act_job *job, virDomainPtr dom)
{
	unsigned char map[CPUMAP_BYTES];

	if (vbmq_cpuset_is_empty(job->step.cpus))
		return empty(job);
	if (virDomainPinIOThread(dom, job->step.id, map, to_cpumap(job->step.cpus, map), VIR_DOMAIN_AFFECT_LIVE) < 0)
		return failed(job, "pin I/O thread");
	return 0;
}

int vbmq_act_pin_emulator(struct vbmq_act_job *job, virDomainPtr dom)
{
	unsigned char map[CPUMAP_BYTES];

	if (vbmq_cpuset_is_empty(job->step.cpus))
		return empty(job);
	if (virDomainPinEmulator(dom, map, to_cpumap(job->step.cpus, map), VIR_DOMAIN_AFFECT_LIVE) < 0)
		return failed(job, "pin the emulator");
	return 0;
}

/* First what can fail without a trace: the caller needs it to tell the other threads. */
int vbmq_act_ask_and_pin_emulator(struct vbmq_act_job *job, virDomainPtr dom)
{
	int r = vbmq_act_query_iothreads(job, dom);

	return r < 0 ? r : vbmq_act_pin_emulator(job, dom);
}

int vbmq_act_add_iothread(struct vbmq_act_job *job, virDomainPtr dom)
{
	if (virDomainAddIOThread(dom, job->step.id, VIR_DOMAIN_AFFECT_LIVE) < 0)
		return failed(job, "add I/O thread");
	return vbmq_act_query_iothreads(job, dom);
}

int vbmq_act_del_iothread(struct vbmq_act_job *job, virDomainPtr dom)
{
	return virDomainDelIOThread(dom, job->step.id, VIR_DOMAIN_AFFECT_LIVE) < 0 ? failed(job, "remove I/O thread")
										   : 0;
}

/* A command whose result is nothing but whether it worked. */
static int command(struct vbmq_act_job *job, virDomainPtr dom, const struct vbmq_strbuf *text, const char *doing)
{
	_cleanup_free_ char *reply = NULL;
	int r;

	if (text->failed || !text->text)
		return vbmq_err_oom(&job->err);
	r = vbmq_virt_qmp(job->call.v, dom, text->text, &reply, &job->err);
	if (r == 0)
		r = vbmq_qmp_done(reply, strlen(reply), &job->err);
	if (r < 0)
		(void)vbmq_err_prefix(&job->err, "domain '%s': %s: ", job->name, doing);
	return r;
}

static int set_poll_mode(struct vbmq_act_job *job, virDomainPtr dom)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf text = VBMQ_STRBUF_INIT;

	vbmq_strbuf_printf(&text,
			   "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/objects/iothread%u\",\"property\":"
			   "\"poll-mode\",\"value\":\"%s\"}}",
			   job->step.id, job->step.polling.mode == VBMQ_POLL_DEDICATED ? "dedicated" : "adaptive");
	return command(job, dom, &text, "set the polling mode");
}

int vbmq_act_set_polling(struct vbmq_act_job *job, virDomainPtr dom)
{
	const struct vbmq_polling *p = &job->step.polling;
	virTypedParameterPtr params = NULL;
	int n = 0, max = 0, r = 0;

	if (p->max_ns > INT64_MAX)
		return vbmq_err_set(&job->err, -EINVAL, "domain '%s': I/O thread %u: no polling time given", job->name,
				    job->step.id);
	if (virTypedParamsAddULLong(&params, &n, &max, VIR_DOMAIN_IOTHREAD_POLL_MAX_NS, p->max_ns) < 0 ||
	    virTypedParamsAddUInt(&params, &n, &max, VIR_DOMAIN_IOTHREAD_POLL_GROW, p->grow) < 0 ||
	    virTypedParamsAddUInt(&params, &n, &max, VIR_DOMAIN_IOTHREAD_POLL_SHRINK, p->shrink) < 0 ||
	    virDomainSetIOThreadParams(dom, job->step.id, params, n, VIR_DOMAIN_AFFECT_LIVE) < 0)
		r = failed(job, "set the polling of I/O thread");
	virTypedParamsFree(params, n);
	if (r == 0 && p->mode != VBMQ_POLL_UNSAID && vbmq_caps_has(job->caps, VBMQ_CAP_POLL_MODE))
		r = set_poll_mode(job, dom);
	return r;
}

/* One entry an I/O thread, with the queues it serves, in the order of first use. */
static void add_mapping(struct vbmq_strbuf *b, const uint32_t *map, size_t n)
{
	bool first = true;

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (map[k] != map[i])
			k++;
		if (k < i)
			continue;
		vbmq_strbuf_printf(b, "%s{\"iothread\":\"iothread%u\"", first ? "" : ",", map[i]);
		for (k = i; k < n; k++) {
			if (map[k] == map[i])
				vbmq_strbuf_printf(b, "%s%zu", k == i ? ",\"vqs\":[" : ",", k);
		}
		vbmq_strbuf_add(b, "]}");
		first = false;
	}
}

/* -EBUSY: somebody (a block job that comes to its end, a snapshot) drains the device just now. That is a matter of milliseconds
 * as a rule, so it is tried again a few times before the whole domain is given up for this time; never forced. */
static int command_when_idle(struct vbmq_act_job *job, virDomainPtr dom, const struct vbmq_strbuf *text,
			     const char *doing)
{
	static const unsigned waits_ms[] = { 5, 20, 80, 250, 500, 500 };
	int r = command(job, dom, text, doing);

	for (size_t i = 0; r == -EBUSY && i < VBMQ_ELEMENTSOF(waits_ms); i++) {
		const struct timespec wait = { .tv_nsec = (long)waits_ms[i] * 1000000 };

		job->err = VBMQ_ERR_INIT;
		(void)nanosleep(&wait, NULL);
		r = command(job, dom, text, doing);
	}
	return r;
}

/* All queues on one side: QEMU has no map that says "main loop" for some of them. */
static int check_map(struct vbmq_act_job *job, bool *ret_main)
{
	size_t n_main = 0;

	for (size_t i = 0; i < job->step.n_map; i++)
		n_main += job->map[i] == 0;
	if (job->step.n_map == 0 || (n_main && n_main < job->step.n_map))
		return vbmq_err_set(&job->err, -EINVAL,
				    "domain '%s': disk %s: either all of its queues are on the main loop, or none",
				    job->name, job->step.target);
	*ret_main = n_main > 0;
	return 0;
}

int vbmq_act_map_queues(struct vbmq_act_job *job, virDomainPtr dom)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf text = VBMQ_STRBUF_INIT;
	bool to_main = false;
	int r;

	if (!vbmq_caps_has(job->caps, VBMQ_CAP_LIVE_MAP))
		return vbmq_err_set(&job->err, -ENOTSUP,
				    "domain '%s': this QEMU cannot change the queue map of a running disk", job->name);
	if (!job->alias)
		return vbmq_err_set(&job->err, -EINVAL, "domain '%s' has no disk '%s' in QEMU", job->name,
				    job->step.target);
	vbmq_strbuf_add(&text, "{\"execute\":\"virtio-blk-set-iothread-vq-mapping\",\"arguments\":{\"id\":");
	r = check_map(job, &to_main);
	if (r < 0)
		return r;
	vbmq_virt_json_string(&text, job->alias);
	if (!to_main) {
		vbmq_strbuf_add(&text, ",\"mapping\":[");
		add_mapping(&text, job->map, job->step.n_map);
		vbmq_strbuf_add(&text, "]");
	}
	vbmq_strbuf_add(&text, "}}");
	return command_when_idle(job, dom, &text, "map the queues");
}

int vbmq_act_query_iothreads(struct vbmq_act_job *job, virDomainPtr dom)
{
	_cleanup_free_ char *reply = NULL;
	int r;

	r = vbmq_virt_qmp(job->call.v, dom, "{\"execute\":\"query-iothreads\"}", &reply, &job->err);
	if (r == 0)
		r = vbmq_qmp_iothreads(reply, strlen(reply), &job->iothreads, &job->n_iothreads, &job->err);
	if (r < 0)
		(void)vbmq_err_prefix(&job->err, "domain '%s': ", job->name);
	return r;
}

int vbmq_act_query_map(struct vbmq_act_job *job, virDomainPtr dom)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf path = VBMQ_STRBUF_INIT;
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf text = VBMQ_STRBUF_INIT;

	if (!job->alias)
		return vbmq_err_set(&job->err, -EINVAL, "domain '%s' has no disk '%s' in QEMU", job->name,
				    job->step.target);
	/* The property tells what was asked for, the placement what is. */
	if (vbmq_caps_has(job->caps, VBMQ_CAP_PLACEMENT))
		return vbmq_virt_qmp(job->call.v, dom, VBMQ_VIRT_QUERY_PLACEMENT, &job->reply, &job->err);
	vbmq_strbuf_printf(&path, "/machine/peripheral/%s", job->alias);
	vbmq_strbuf_add(&text, "{\"execute\":\"qom-get\",\"arguments\":{\"path\":");
	if (!path.failed)
		vbmq_virt_json_string(&text, path.text);
	vbmq_strbuf_add(&text, ",\"property\":\"iothread-vq-mapping\"}}");
	if (path.failed || text.failed)
		return vbmq_err_oom(&job->err);
	return vbmq_virt_qmp(job->call.v, dom, text.text, &job->reply, &job->err);
}
