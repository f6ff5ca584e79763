/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The real hands of the apply engine: one step, one job (call.c), read back from where the truth is.
 *
 *   step          done by                                             read back from
 *   add, del      virDomainAddIOThread, virDomainDelIOThread          query-iothreads
 *                 (and sched_setaffinity: it starts where the emulator is)
 *   pin           virDomainPinVcpuFlags, -PinIOThread, -PinEmulator   /proc (task operations), never libvirt's own record
 *   set-polling   virDomainSetIOThreadParams; poll-mode by qom-set    query-iothreads
 *   map-queues    virtio-blk-set-iothread-vq-mapping                  query-virtio-placement; qom-get iothread-vq-mapping
 *
 * libvirt pins by sched_setaffinity() and, where it uses the cpuset controller, by the thread's cgroup first; the kernel's answer
 * is the same in /proc for both, with cgroup v1 and v2. virDomainPinEmulator() without cgroups moves the main thread only, so
 * the other threads of the process (workers, vhost) are then set one by one: after libvirt, because with cgroups it must have
 * widened the cpuset before. What it leaves in the live XML (<vcpupin> etc.) is what virsh shows; the persistent
 * configuration is never touched.
 *
 * All pinning needs the domain's job but not its monitor. A guest with a stopped QEMU can be pinned as long as nobody waits for
 * its monitor (tried). The emulator's other threads are told from I/O threads by the names QEMU gives its threads (libvirt
 * always has it do so), and only where those are not there by asking the monitor.
 *
 * Every step is for the instance that the snapshot saw: its process is still there (/proc, pid and start time), or else libvirt
 * is asked for the domain's id.
 */

#include "virt/act_libvirt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/qmp_placement.h"
#include "codec/qmp_reply.h"
#include "util/cleanup.h"
#include "util/strbuf.h"
#include "virt/act_private.h"

static const struct vbmq_task_ops *tasks(struct vbmq_virt *v)
{
	return __atomic_load_n(&v->tasks, __ATOMIC_ACQUIRE);
}

static void act_destroy(struct vbmq_call *call)
{
	struct vbmq_act_job *job = (struct vbmq_act_job *)call;

	free(job->name);
	free(job->alias);
	free(job->map);
	free(job->iothreads);
	free(job->reply);
	vbmq_virt_domain_freep(&job->dom);
	free(job);
}

static int look_up(struct vbmq_act_job *job)
{
	struct vbmq_virt *v = job->call.v;
	int r = vbmq_virt_lookup(v, job->uuid, &job->dom, &job->err);

	if (r < 0)
		return r;
	if ((int32_t)virDomainGetID(job->dom) != job->id)
		return vbmq_err_set(&job->err, -ENOENT, "domain '%s' does not run any more", job->name);
	vbmq_virt_note_dom(v, job->uuid, job->id, job->dom);
	return 0;
}

static void act_work(struct vbmq_call *call)
{
	struct vbmq_act_job *job = (struct vbmq_act_job *)call;
	int r = job->dom ? 0 : look_up(job);

	if (r == 0 && job->act) {
		r = job->act(job, job->dom);
		if (r < 0)
			r = vbmq_virt_gone(call->v, job->dom, job->id, r, &job->err);
	}
	job->result = r;
}

/* step NULL: only looks whether the instance is there. */
static struct vbmq_act_job *job_new(const struct vbmq_domain *domain, const struct vbmq_step *step,
				    int (*act)(struct vbmq_act_job *job, virDomainPtr dom))
{
	const struct vbmq_disk *disk = step && step->target[0] ? vbmq_domain_disk(domain, step->target) : NULL;
	struct vbmq_act_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->call.work = act_work;
	job->call.destroy = act_destroy;
	job->act = act;
	memcpy(job->uuid, domain->uuid, sizeof(job->uuid));
	job->id = domain->id;
	job->caps = domain->caps;
	job->name = strdup(domain->name);
	if (step) {
		job->step = *step;
		job->step.map = NULL; /* the copies below are the job's own */
		job->step.cpus = &job->cpus;
		if (step->cpus)
			vbmq_cpuset_copy(&job->cpus, step->cpus);
		job->map = calloc(step->n_map ? step->n_map : 1, sizeof(*job->map));
		if (job->map && step->n_map)
			memcpy(job->map, step->map, step->n_map * sizeof(*job->map));
	}
	if (disk && disk->alias)
		job->alias = strdup(disk->alias);
	if (disk)
		job->n_queues = disk->n_queues;
	if (!job->name || (step && !job->map) || (disk && disk->alias && !job->alias)) {
		act_destroy(&job->call);
		return NULL;
	}
	return job;
}

/*
 * Is the process of the snapshot still there? Then its domain runs and is the one libvirt knows by this id; asking /proc costs
 * a tenth of asking libvirt. False: it is gone, or the snapshot does not tell.
 */
static bool same_process(struct vbmq_virt *v, const struct vbmq_domain *domain)
{
	const struct vbmq_thread *t = vbmq_domain_thread(domain, VBMQ_THREAD_EMULATOR, 0);
	uint64_t start;

	return domain->pid && t && t->start && t->tid == domain->pid &&
	       tasks(v)->get(domain->pid, domain->pid, &start, NULL, NULL) == 0 && start == t->start;
}

/* Runs a job; with 0 *ret has its results and is to be freed with act_destroy. */
static int run(struct vbmq_virt *v, const struct vbmq_domain *domain, const struct vbmq_step *step,
	       int (*act)(struct vbmq_act_job *job, virDomainPtr dom), struct vbmq_act_job **ret, struct vbmq_err *err)
{
	struct vbmq_act_job *job = job_new(domain, step, act);
	int r;

	if (!job)
		return vbmq_err_oom(err);
	if (act && same_process(v, domain))
		job->dom = vbmq_virt_recall_dom(v, domain->uuid, domain->id);
	r = vbmq_call_run(v, act ? domain->uuid : NULL, &job->call, err);
	if (r < 0) {
		(void)vbmq_err_prefix(err, "domain '%s': ", domain->name);
		return r;
	}
	if (job->result < 0) {
		r = vbmq_err_set(err, job->result, "%s", job->err.text);
		act_destroy(&job->call);
		return r;
	}
	*ret = job;
	return 0;
}

/* --- tids --- */

static int add_skip(uint32_t **skip, size_t *n, uint32_t tid)
{
	uint32_t *more;

	if (!tid)
		return 0;
	more = reallocarray(*skip, *n + 1, sizeof(**skip));
	if (!more)
		return -ENOMEM;
	*skip = more;
	more[(*n)++] = tid;
	return 0;
}

/* Threads of the process that are not the emulator's: those of the snapshot, and I/O threads as they are now; without
 * job the former only. */
static int skip_list(const struct vbmq_domain *domain, const struct vbmq_act_job *job, uint32_t **ret, size_t *ret_n,
		     struct vbmq_err *err)
{
	_cleanup_free_ uint32_t *skip = NULL;
	size_t n = 0;

	for (size_t i = 0; i < domain->n_threads; i++) {
		if (domain->threads[i].kind != VBMQ_THREAD_EMULATOR && add_skip(&skip, &n, domain->threads[i].tid) < 0)
			return vbmq_err_oom(err);
	}
	for (size_t i = 0; job && i < job->n_iothreads; i++) {
		if (add_skip(&skip, &n, job->iothreads[i].tid) < 0)
			return vbmq_err_oom(err);
	}
	*ret = VBMQ_STEAL(skip);
	*ret_n = n;
	return 0;
}

static const struct vbmq_qmp_iothread *find_iothread(const struct vbmq_act_job *job, uint32_t id)
{
	for (size_t i = 0; i < job->n_iothreads; i++) {
		if (job->iothreads[i].id == id)
			return &job->iothreads[i];
	}
	return NULL;
}

/* Is it the thread the snapshot saw? */
static int guard(struct vbmq_virt *v, const struct vbmq_domain *domain, uint32_t tid, uint64_t want_start,
		 struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct vbmq_cpuset cpus;
	uint64_t start;
	int r;

	r = tasks(v)->get(domain->pid, tid, &start, ret ? &cpus : NULL, err);
	if (r < 0)
		return r;
	if (want_start && start != want_start)
		return vbmq_err_set(err, -ESRCH, "domain '%s': thread %u is another one now", domain->name, tid);
	if (ret)
		*ret = cpus;
	return 0;
}

/* --- operations --- */

static int check_domain(void *ctx, const struct vbmq_domain *domain, struct vbmq_err *err)
{
	struct vbmq_virt *v = ctx;
	const struct vbmq_thread *main_thread = vbmq_domain_thread(domain, VBMQ_THREAD_EMULATOR, 0);
	struct vbmq_act_job *job;
	int r;

	r = run(v, domain, NULL, NULL, &job, err);
	if (r < 0)
		return r;
	act_destroy(&job->call);
	if (!domain->pid)
		return 0;
	r = guard(v, domain, domain->pid, main_thread ? main_thread->start : 0, NULL, err);
	if (r == -ESRCH)
		return vbmq_err_set(err, -ENOENT, "domain '%s': process %u of its QEMU is gone", domain->name,
				    domain->pid);
	return r;
}

/* The same with the I/O threads of now as QEMU's names for its threads tell them. Negative: they do not. */
static int known_threads(struct vbmq_virt *v, const struct vbmq_domain *domain, uint32_t **ret, size_t *ret_n)
{
	_cleanup_free_ uint32_t *skip = NULL, *more = NULL;
	size_t n = 0, n_more = 0;
	int r = skip_list(domain, NULL, &skip, &n, NULL);

	if (r == 0)
		r = tasks(v)->new_iothreads(domain->pid, skip, n, &more, &n_more, NULL);
	for (size_t i = 0; r == 0 && i < n_more; i++)
		r = add_skip(&skip, &n, more[i]);
	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(skip);
	*ret_n = n;
	return 0;
}

static int pin_emulator(struct vbmq_virt *v, const struct vbmq_domain *domain, const struct vbmq_step *step,
			struct vbmq_err *err)
{
	_cleanup_free_ uint32_t *skip = NULL;
	struct vbmq_act_job *job;
	bool named;
	size_t n = 0;
	int r;

	if (step->tid) {
		r = guard(v, domain, step->tid, step->start, NULL, err);
		return r < 0 ? r : tasks(v)->set(step->tid, step->start, step->cpus, err);
	}
	named = known_threads(v, domain, &skip, &n) == 0;
	r = run(v, domain, step, named ? vbmq_act_pin_emulator : vbmq_act_ask_and_pin_emulator, &job, err);
	if (r < 0)
		return r;
	if (!named)
		r = skip_list(domain, job, &skip, &n, err);
	if (r == 0)
		r = tasks(v)->set_rest(domain->pid, skip, n, step->cpus, err);
	act_destroy(&job->call);
	return r;
}

/* libvirt lets a new I/O thread run on all CPUs; the order of steps counts on it starting where the emulator is. */
static int add_iothread(struct vbmq_virt *v, const struct vbmq_domain *domain, const struct vbmq_step *step,
			struct vbmq_err *err)
{
	const struct vbmq_qmp_iothread *iothread;
	struct vbmq_act_job *job;
	struct vbmq_cpuset cpus, now;
	uint64_t start;
	int r;

	r = run(v, domain, step, vbmq_act_add_iothread, &job, err);
	if (r < 0)
		return r;
	iothread = find_iothread(job, step->id);
	if (!iothread)
		r = vbmq_err_set(err, -ESRCH, "domain '%s' has no I/O thread %u", domain->name, step->id);
	if (r == 0)
		r = guard(v, domain, domain->pid, 0, &cpus, err);
	if (r == 0)
		r = tasks(v)->get(domain->pid, iothread->tid, &start, &now, err);
	if (r == 0 && !vbmq_cpuset_is_subset(&now, &cpus))
		r = tasks(v)->set(iothread->tid, start, &cpus, err);
	act_destroy(&job->call);
	return r;
}

static int execute(void *ctx, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		   const struct vbmq_step *step, struct vbmq_err *err)
{
	struct vbmq_virt *v = ctx;
	int (*act)(struct vbmq_act_job * job, virDomainPtr dom);
	struct vbmq_act_job *job;
	int r;

	if (step->op == VBMQ_STEP_PIN && thread && thread->tid && !step->tid) {
		r = guard(v, domain, thread->tid, thread->start, NULL, err);
		if (r < 0)
			return r;
	}
	switch (step->op) {
	case VBMQ_STEP_PIN:
		if (step->kind == VBMQ_THREAD_EMULATOR)
			return pin_emulator(v, domain, step, err);
		act = step->kind == VBMQ_THREAD_VCPU ? vbmq_act_pin_vcpu : vbmq_act_pin_iothread;
		break;
	case VBMQ_STEP_ADD_IOTHREAD:
		return add_iothread(v, domain, step, err);
	case VBMQ_STEP_DEL_IOTHREAD:
		act = vbmq_act_del_iothread;
		break;
	case VBMQ_STEP_SET_POLLING:
		act = vbmq_act_set_polling;
		break;
	case VBMQ_STEP_MAP_QUEUES:
		act = vbmq_act_map_queues;
		break;
	default:
		return vbmq_err_set(err, -ENOTSUP, "domain '%s': unknown step %d", domain->name, (int)step->op);
	}
	r = run(v, domain, step, act, &job, err);
	if (r == 0)
		act_destroy(&job->call);
	return r;
}

/* All but the threads of the snapshot: true if they are where they should be. The monitor then need not be asked who of them
 * is an I/O thread that came since; it would be there as well, or the emulator's be less than asked for, never elsewhere. */
static bool rest_is_there(struct vbmq_virt *v, const struct vbmq_domain *domain, const struct vbmq_cpuset *want)
{
	_cleanup_free_ uint32_t *skip = NULL;
	struct vbmq_cpuset is;
	size_t n = 0;

	return skip_list(domain, NULL, &skip, &n, NULL) == 0 &&
	       tasks(v)->get_rest(domain->pid, skip, n, &is, NULL) == 0 && vbmq_cpuset_equal(&is, want);
}

static int observe_pin(struct vbmq_virt *v, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		       const struct vbmq_step *step, struct vbmq_observed *ret, struct vbmq_err *err)
{
	_cleanup_free_ uint32_t *skip = NULL;
	const struct vbmq_qmp_iothread *iothread;
	struct vbmq_act_job *job;
	size_t n = 0;
	int r;

	if (step->tid)
		return guard(v, domain, step->tid, step->start, &ret->cpus, err);
	if (step->kind != VBMQ_THREAD_EMULATOR && thread && thread->tid)
		return guard(v, domain, thread->tid, thread->start, &ret->cpus, err);
	if (step->kind == VBMQ_THREAD_VCPU)
		return vbmq_err_set(err, -ESRCH, "domain '%s': vCPU %u has no thread", domain->name, step->id);
	if (step->kind == VBMQ_THREAD_EMULATOR && rest_is_there(v, domain, step->cpus)) {
		ret->cpus = *step->cpus;
		return 0;
	}
	r = run(v, domain, step, vbmq_act_query_iothreads, &job, err);
	if (r < 0)
		return r;
	if (step->kind == VBMQ_THREAD_EMULATOR) {
		r = skip_list(domain, job, &skip, &n, err);
		if (r == 0)
			r = tasks(v)->get_rest(domain->pid, skip, n, &ret->cpus, err);
	} else {
		iothread = find_iothread(job, step->id);
		if (iothread)
			r = guard(v, domain, iothread->tid, 0, &ret->cpus, err);
		else
			r = vbmq_err_set(err, -ESRCH, "domain '%s' has no I/O thread %u", domain->name, step->id);
	}
	act_destroy(&job->call);
	return r;
}

static int read_placed(const struct vbmq_act_job *job, uint32_t **ret_map, struct vbmq_err *err)
{
	struct vbmq_qmp_device *devices = NULL;
	const struct vbmq_qmp_device *device;
	uint32_t *map = NULL;
	size_t n = 0;
	int r = vbmq_qmp_placement(job->reply, strlen(job->reply), &devices, &n, err);

	if (r < 0)
		return r;
	device = vbmq_qmp_find_disk(devices, n, job->alias);
	if (!device || device->n_queues != job->n_queues) {
		r = vbmq_err_set(err, -ENODEV, "domain '%s': disk %s is not there any more", job->name,
				 job->step.target);
	} else {
		map = calloc(device->n_queues, sizeof(*map));
		if (!map)
			r = vbmq_err_oom(err);
	}
	for (size_t q = 0; map && q < device->n_queues; q++) /* a foreign thread is none of those asked for */
		map[q] = device->queues[q].foreign ? UINT32_MAX : device->queues[q].iothread;
	vbmq_qmp_devices_free(devices, n);
	if (r == 0)
		*ret_map = map;
	return r;
}

static int observe_map(struct vbmq_virt *v, const struct vbmq_domain *domain, const struct vbmq_step *step,
		       struct vbmq_observed *ret, struct vbmq_err *err)
{
	struct vbmq_act_job *job;
	uint32_t *map = NULL;
	int r;

	r = run(v, domain, step, vbmq_act_query_map, &job, err);
	if (r < 0)
		return r;
	if (vbmq_caps_has(job->caps, VBMQ_CAP_PLACEMENT))
		r = read_placed(job, &map, err);
	else
		r = vbmq_qmp_vq_mapping(job->reply, strlen(job->reply), job->n_queues, &map, err);
	if (r == 0 && !map) { /* no mapping: all on the main loop */
		map = calloc(job->n_queues ? job->n_queues : 1, sizeof(*map));
		if (!map)
			r = vbmq_err_oom(err);
	}
	if (r == 0) {
		ret->map = map;
		ret->n_map = job->n_queues;
	}
	act_destroy(&job->call);
	return r;
}

static int observe(void *ctx, const struct vbmq_domain *domain, const struct vbmq_thread *thread,
		   const struct vbmq_step *step, struct vbmq_observed *ret, struct vbmq_err *err)
{
	struct vbmq_virt *v = ctx;
	const struct vbmq_qmp_iothread *iothread;
	struct vbmq_act_job *job;
	int r;

	if (step->op == VBMQ_STEP_PIN)
		return observe_pin(v, domain, thread, step, ret, err);
	if (step->op == VBMQ_STEP_MAP_QUEUES)
		return observe_map(v, domain, step, ret, err);
	r = run(v, domain, step, vbmq_act_query_iothreads, &job, err);
	if (r < 0)
		return r;
	iothread = find_iothread(job, step->id);
	if (step->op != VBMQ_STEP_SET_POLLING)
		ret->exists = iothread != NULL;
	else if (iothread)
		ret->polling = iothread->polling;
	else
		r = vbmq_err_set(err, -ESRCH, "domain '%s' has no I/O thread %u", domain->name, step->id);
	act_destroy(&job->call);
	return r;
}

static const struct vbmq_actuator_ops ops = {
	.check_domain = check_domain,
	.execute = execute,
	.observe = observe,
};

void vbmq_act_libvirt(struct vbmq_virt *v, const struct vbmq_task_ops *task_ops, struct vbmq_actuator *ret)
{
	__atomic_store_n(&v->tasks, task_ops, __ATOMIC_RELEASE);
	ret->ops = &ops;
	ret->ctx = v;
}
