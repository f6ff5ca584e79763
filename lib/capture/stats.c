/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "capture/stats.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "host/process.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "virt/sample.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_stats *, vbmq_stats_free);

static void take_iothread(struct vbmq_stats_thread *t, const struct vbmq_qmp_iothread *from)
{
	t->polling = from->polling;
	t->counts = from->counts;
	t->busy_ns = from->busy_ns;
	t->poll_ns = from->poll_ns;
	t->blocked_ns = from->blocked_ns;
	t->poll_hits = from->poll_hits;
	t->poll_misses = from->poll_misses;
}

/* False: there is another set of threads now. */
static bool take_iothreads(struct vbmq_stats *s, const struct vbmq_virt_sample *sample)
{
	size_t known = 0;

	for (size_t i = 0; i < s->n_threads; i++)
		for (size_t k = 0; s->threads[i].id && k < sample->n_iothreads; k++)
			if (sample->iothreads[k].id == s->threads[i].id &&
			    sample->iothreads[k].tid == s->threads[i].tid) {
				take_iothread(&s->threads[i], &sample->iothreads[k]);
				known++;
			}
	return known == sample->n_iothreads && known + 1 == s->n_threads;
}

static void take_queue(const struct vbmq_domain *d, struct vbmq_stats_queue *to, const struct vbmq_qmp_queue *from)
{
	to->iothread = from->iothread;
	to->counts = true;
	to->requests = from->completed;
	to->kicks = from->kicks;
	to->poll_hits = from->poll_hits;
	to->interrupts = from->interrupts;
	to->in_flight = from->in_flight;
	to->parked = from->parked;
	if (from->irq == VBMQ_QMP_IRQ_VCPU && vbmq_domain_thread(d, VBMQ_THREAD_VCPU, from->vcpu)) {
		to->vcpus = VBMQ_CPUSET_EMPTY;
		vbmq_cpuset_add(&to->vcpus, from->vcpu);
		to->vcpus_exact = true;
	}
}

/* False: there is another set of disks now. */
static bool take_disks(const struct vbmq_domain *d, struct vbmq_stats *s, const struct vbmq_virt_sample *sample)
{
	size_t known = 0, n = 0;

	for (size_t i = 0; i < sample->n_devices; i++)
		n += vbmq_qmp_is_disk(&sample->devices[i]);
	for (size_t i = 0; i < s->n_disks; i++) {
		const struct vbmq_qmp_device *device =
			d->disks[i].alias ? vbmq_qmp_find_disk(sample->devices, sample->n_devices, d->disks[i].alias)
					  : NULL;

		if (!device || device->n_queues != s->disks[i].n_queues)
			continue;
		known++;
		s->disks[i].started = device->started;
		for (size_t q = 0; q < device->n_queues; q++)
			take_queue(d, &s->disks[i].queues[q], &device->queues[q]);
	}
	return known == n && known == s->n_disks;
}

/* What the kernel says; a thread that has ended has no affinity. */
static int take_loads(const struct vbmq_domain *d, struct vbmq_stats *s, struct vbmq_err *err)
{
	for (size_t i = 0; i < s->n_threads; i++) {
		struct vbmq_stats_thread *t = &s->threads[i];
		struct vbmq_load load;
		struct vbmq_task task;
		int r = t->tid ? vbmq_process_task(NULL, d->pid, t->tid, &task, NULL) : -ESRCH;

		t->affinity = r == 0 ? task.affinity : VBMQ_CPUSET_EMPTY;
		if (r == 0)
			r = vbmq_process_load(NULL, d->pid, t->tid, &load, NULL);
		if (r == -ENOMEM)
			return vbmq_err_oom(err);
		t->runs = r == 0;
		if (t->runs) {
			t->run_ns = load.run_ns;
			t->wait_ns = load.wait_ns;
			t->cpu = load.cpu;
		}
	}
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int vbmq_capture_stats(struct vbmq_virt *v, const struct vbmq_domain *d, struct vbmq_stats **ret, bool *ret_changed,
		       struct vbmq_err *err)
{
	_cleanup_(vbmq_stats_freep) struct vbmq_stats *s = NULL;
	_cleanup_(vbmq_virt_sample_done) struct vbmq_virt_sample sample = { .time_ns = 0 };
	bool same = true;
	int r;

	if (vbmq_stats_new(d, &s) < 0)
		return vbmq_err_oom(err);
	s->counts = d->responsive && vbmq_caps_has(d->caps, VBMQ_CAP_PLACEMENT);
	if (s->counts) {
		r = vbmq_virt_sample(v, d, &sample, err);
		if (r < 0)
			return r;
		same = take_iothreads(s, &sample);
		same = take_disks(d, s, &sample) && same;
	}
	r = take_loads(d, s, err);
	if (r < 0)
		return r;
	s->time_ns = s->counts ? sample.time_ns : now_ns();
	*ret_changed = !same;
	*ret = VBMQ_STEAL(s);
	return 0;
}
