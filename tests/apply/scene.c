/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/act_dryrun.h"
#include "core/undo.h"
#include "util/err.h"

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static void check(int r, const struct vbmq_err *err)
{
	if (r < 0) {
		fprintf(stderr, "scene: %s\n", err->text);
		abort();
	}
}

static struct vbmq_host *make_host(unsigned nodes, unsigned cores, unsigned smt)
{
	struct vbmq_host *h = must(vbmq_host_new());
	struct vbmq_err err = VBMQ_ERR_INIT;

	h->name = must(strdup("scene"));
	h->n_cores = nodes * cores;
	h->n_l3s = h->n_nodes = nodes;
	h->cores = must(calloc(h->n_cores, sizeof(*h->cores)));
	h->l3s = must(calloc(nodes, sizeof(*h->l3s)));
	h->nodes = must(calloc(nodes, sizeof(*h->nodes)));
	for (unsigned c = 0; c < nodes * cores; c++) {
		for (unsigned t = 0; t < smt; t++) {
			/* numbered as Linux does: all first threads, then all second ones */
			vbmq_cpuset_add(&h->cores[c].cpus, t * nodes * cores + c);
			vbmq_cpuset_add(&h->l3s[c / cores].cpus, t * nodes * cores + c);
		}
		h->cores[c].l3 = h->cores[c].node = h->cores[c].package = c / cores;
		h->cores[c].kind = -1;
	}
	for (unsigned n = 0; n < nodes; n++) {
		h->l3s[n].node = n;
		h->nodes[n] = (struct vbmq_node){ .id = n, .cpus = h->l3s[n].cpus, .memory_kib = 1 << 20 };
	}
	vbmq_cpuset_add_range(&h->online, 0, nodes * cores * smt - 1);
	h->allowed = h->online;
	check(vbmq_host_finish(h, &err), &err);
	return h;
}

static void add_thread(struct vbmq_domain *d, const struct vbmq_host *h, enum vbmq_thread_kind kind, uint32_t id)
{
	struct vbmq_thread *t = &d->threads[d->n_threads];

	t->kind = kind;
	t->id = id;
	t->tid = kind == VBMQ_THREAD_EMULATOR ? d->pid : d->pid + 1 + (uint32_t)d->n_threads;
	t->start = 1000 + t->tid;
	t->affinity = h->usable;
	t->polling = (struct vbmq_polling){ .max_ns = 32768, .mode = VBMQ_POLL_UNSAID };
	d->n_threads++;
}

static struct vbmq_domain *make_domain(const struct scene_domain *sd, unsigned number, const struct vbmq_host *h)
{
	struct vbmq_domain *d = must(vbmq_domain_new());
	struct vbmq_disk *disk;

	d->name = must(strdup(sd->name));
	snprintf(d->uuid, sizeof(d->uuid), "00000000-0000-4000-8000-%012u", number);
	d->id = (int32_t)number;
	d->pid = 1000 * number;
	d->state = VBMQ_DOMAIN_RUNNING;
	d->n_vcpus = sd->vcpus;
	d->caps.bits = sd->caps ? sd->caps : SCENE_CAPS_ALL;
	d->wish.present = true;
	d->wish.enabled = VBMQ_YES;
	d->wish.iothreads = sd->wish;
	d->wish.has_priority = true;
	d->wish.priority = sd->priority;
	d->threads = must(calloc(sd->vcpus + sd->iothreads + 1, sizeof(*d->threads)));
	for (unsigned i = 0; i < sd->vcpus; i++)
		add_thread(d, h, VBMQ_THREAD_VCPU, i);
	for (unsigned i = 0; i < sd->iothreads; i++)
		add_thread(d, h, VBMQ_THREAD_IOTHREAD, i + 1);
	add_thread(d, h, VBMQ_THREAD_EMULATOR, 0);
	if (sd->odd_task) {
		d->odd_tasks = must(calloc(1, sizeof(*d->odd_tasks)));
		d->odd_tasks[0] = (struct vbmq_odd_task){ d->pid + 900, 77, vbmq_cpuset_of(0) };
		d->n_odd_tasks = 1;
	}
	disk = d->disks = must(calloc(1, sizeof(*disk)));
	d->n_disks = 1;
	memcpy(disk->target, "vda", 4);
	disk->alias = must(strdup("virtio-disk0"));
	disk->node = 0;
	disk->started = true;
	disk->queues = must(calloc(sd->queues, sizeof(*disk->queues)));
	disk->n_queues = sd->queues;
	for (unsigned q = 0; q < sd->queues; q++)
		disk->queues[q].iothread = sd->iothreads ? q % sd->iothreads + 1 : 0;
	vbmq_disk_estimate_vcpus(disk, d->n_vcpus);
	return d;
}

struct vbmq_snapshot *scene_new(unsigned nodes, unsigned cores, unsigned smt, const struct scene_domain *domains)
{
	struct vbmq_snapshot *s = must(vbmq_snapshot_new());
	struct vbmq_err err = VBMQ_ERR_INIT;

	s->host = make_host(nodes, cores, smt);
	for (unsigned i = 0; domains[i].name; i++)
		check(vbmq_snapshot_add(s, make_domain(&domains[i], i + 1, s->host), &err), &err);
	check(vbmq_snapshot_finish(s, &err), &err);
	return s;
}

struct vbmq_snapshot *scene_copy(const struct vbmq_snapshot *from, const struct vbmq_undo *undo)
{
	static const struct scene_domain none[] = { { .name = NULL } };
	struct vbmq_snapshot *s = scene_new(1, 1, 1, none);
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *h = s->host;

	vbmq_host_free(h);
	h = s->host = must(vbmq_host_new());
	*h = *from->host;
	h->name = must(strdup(h->name));
	h->cores = memcpy(must(calloc(h->n_cores, sizeof(*h->cores))), h->cores, h->n_cores * sizeof(*h->cores));
	h->l3s = memcpy(must(calloc(h->n_l3s, sizeof(*h->l3s))), h->l3s, h->n_l3s * sizeof(*h->l3s));
	h->nodes = memcpy(must(calloc(h->n_nodes, sizeof(*h->nodes))), h->nodes, h->n_nodes * sizeof(*h->nodes));
	h->distances = memcpy(must(calloc(h->n_nodes * h->n_nodes, sizeof(*h->distances))), h->distances,
			      h->n_nodes * h->n_nodes * sizeof(*h->distances));
	for (size_t i = 0; i < from->n_domains; i++) {
		struct vbmq_domain *d;

		check(vbmq_domain_copy(from->domains[i], &d), &err);
		check(vbmq_snapshot_add(s, d, &err), &err);
	}
	if (from->n_irqs)
		s->irqs = memcpy(must(calloc(from->n_irqs, sizeof(*s->irqs))), from->irqs,
				 from->n_irqs * sizeof(*s->irqs));
	s->n_irqs = from->n_irqs;
	check(vbmq_snapshot_finish(s, &err), &err);
	if (undo)
		vbmq_undo_overlay(undo, s);
	return s;
}

void scene_remove(struct vbmq_snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->n_domains; i++) {
		if (strcmp(s->domains[i]->name, name) != 0)
			continue;
		vbmq_domain_free(s->domains[i]);
		memmove(&s->domains[i], &s->domains[i + 1], (s->n_domains - i - 1) * sizeof(*s->domains));
		s->n_domains--;
		return;
	}
}

struct vbmq_cpuset scene_cpus(const char *list)
{
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	struct vbmq_err err = VBMQ_ERR_INIT;

	check(vbmq_cpulist_parse(list, strlen(list), 0, &cpus, &err), &err);
	return cpus;
}

struct vbmq_plan *scene_plan(const struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_plan *p = NULL;
	struct vbmq_policy built_in;
	struct vbmq_err err = VBMQ_ERR_INIT;

	vbmq_policy_init(&built_in);
	check(vbmq_plan_make(s, policy ? policy : &built_in, "00000000000000000000000000000000", &p, &err), &err);
	vbmq_policy_done(&built_in);
	return p;
}
