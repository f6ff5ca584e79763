/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/err.h"

void model_must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "models: %s\n", what);
		abort();
	}
}

char *model_copy(const char *text)
{
	char *c = strdup(text);

	model_must(c, "no memory");
	return c;
}

struct vbmq_cpuset model_cpus(const char *list)
{
	struct vbmq_cpuset set;

	model_must(vbmq_cpulist_parse(list, strlen(list), 0, &set, NULL) == 0, list);
	return set;
}

/* --- snapshot ----------------------------------------------------------------------------------------------------- */

static struct vbmq_host *host(void)
{
	static const char *const cores[] = { "0,4", "1,5", "2,6", "3,7" };
	struct vbmq_host *h = vbmq_host_new();

	model_must(h, "no memory");
	h->name = model_copy("höst \"1\" \\ \x01 \xf0\x9f\x90\xa7");
	h->online = model_cpus("0-7");
	h->allowed = model_cpus("0-6");
	h->isolated = model_cpus("3,7");
	for (uint32_t i = 0; i < 4; i++) {
		struct vbmq_core *core = vbmq_array_add(h->cores, h->n_cores, 4);

		model_must(core, "no memory");
		*core = (struct vbmq_core){ .cpus = model_cpus(cores[i]),
					    .l3 = i / 2,
					    .node = i / 2,
					    .die = i / 2 + 5,
					    .package = i / 2 + 7,
					    .kind = i == 3 ? 1 : -1 };
	}
	for (uint32_t i = 0; i < 3; i++) {
		struct vbmq_node *node = vbmq_array_add(h->nodes, h->n_nodes, 3);
		struct vbmq_l3 *l3 = i < 2 ? vbmq_array_add(h->l3s, h->n_l3s, 2) : NULL;

		model_must(node && (l3 || i == 2), "no memory");
		*node = (struct vbmq_node){ .id = i == 2 ? 1000 : i * 2, .memory_kib = i == 2 ? 1ull << 40 : 1024 + i };
		if (l3) {
			*l3 = (struct vbmq_l3){ .cpus = model_cpus(i ? "2-3,6-7" : "0-1,4-5"), .node = i };
			node->cpus = l3->cpus;
		}
	}
	h->distances = calloc(9, sizeof(*h->distances));
	model_must(h->distances, "no memory");
	for (uint32_t i = 0; i < 9; i++)
		h->distances[i] = i % 4 == 0 ? 10 : 11 + i;
	return h;
}

static struct vbmq_thread *add_thread(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id,
				      const char *affinity)
{
	struct vbmq_thread *t = vbmq_array_add(d->threads, d->n_threads, 100);

	model_must(t, "no memory");
	t->kind = kind;
	t->id = id;
	t->tid = 4000 + id + (uint32_t)kind * 100;
	t->start = 123456789012ull + id;
	t->affinity = model_cpus(affinity);
	t->polling = (struct vbmq_polling){ .max_ns = UINT64_MAX, .mode = VBMQ_POLL_UNSAID };
	return t;
}

static void add_disk(struct vbmq_domain *d, const char *target, bool full)
{
	struct vbmq_disk *disk = vbmq_array_add(d->disks, d->n_disks, 10);

	model_must(disk, "no memory");
	strcpy(disk->target, target);
	disk->node = full ? 2 : VBMQ_NODE_UNKNOWN;
	if (full) {
		disk->alias = model_copy("virtio-disk0");
		disk->source = model_copy("/dev/nvme0n1");
	}
	disk->mapped = full;
	disk->started = full;
	disk->no_ioeventfd = full;
	disk->no_poll = full;
	disk->aio_threads = full;
	disk->held = full;
	for (uint32_t q = 0; q < 2; q++) {
		struct vbmq_queue *queue = vbmq_array_add(disk->queues, disk->n_queues, 10);

		model_must(queue, "no memory");
		queue->iothread = full ? q + 1 : 0;
		queue->applied = full ? 2 - q : 0;
		queue->vcpus_exact = full;
		queue->vcpus = full ? vbmq_cpuset_of(q) : VBMQ_CPUSET_EMPTY;
	}
}

static struct vbmq_domain *full_domain(void)
{
	static const char devices[2][VBMQ_DEVICE_MAX + 1] = { "nvme0", "virtio12" };
	struct vbmq_domain *d = vbmq_domain_new();
	struct vbmq_disk_wish *disk;
	struct vbmq_thread *t;

	model_must(d, "no memory");
	d->name = model_copy("db1");
	strcpy(d->uuid, MODEL_UUID_1);
	d->id = 17;
	d->pid = 4000;
	d->state = VBMQ_DOMAIN_PAUSED;
	d->responsive = false;
	d->n_vcpus = 2;
	d->has_cpuset = true;
	d->cpuset = model_cpus("0-5");
	d->memory_nodes = model_cpus("0,1000");
	d->wish = (struct vbmq_wish){ .present = true,
				      .enabled = VBMQ_YES,
				      .has_priority = true,
				      .priority = -10,
				      .iothreads = 2,
				      .exclusive = VBMQ_EXCLUSIVE_CPU,
				      .poll = VBMQ_POLL_ADAPTIVE,
				      .vcpus = VBMQ_VCPUS_DEDICATED };
	disk = vbmq_wish_disk(&d->wish, "vdb", true);
	model_must(disk, "no memory");
	disk->iothreads = VBMQ_COUNT_AUTO;
	disk = vbmq_wish_disk(&d->wish, "vda", true);
	model_must(disk, "no memory");
	disk->queues = 1024;
	d->caps.bits = VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_LIVE_MAP | VBMQ_CAP_PLACEMENT;
	add_thread(d, VBMQ_THREAD_EMULATOR, 0, "0-1");
	t = add_thread(d, VBMQ_THREAD_IOTHREAD, 2, "2");
	t->held = true;
	t->applied = model_cpus("3");
	t->own = true;
	t->added = true;
	t->polling = (struct vbmq_polling){ 32768, 2, 3, VBMQ_POLL_DEDICATED };
	t->polling_held = true;
	t->found_polling = (struct vbmq_polling){ 32768, 0, 0, VBMQ_POLL_UNSAID };
	t = add_thread(d, VBMQ_THREAD_IOTHREAD, 1, "1");
	t->has_pin = true;
	t->pin = model_cpus("1-2");
	t->polling = (struct vbmq_polling){ 0, 0, 0, VBMQ_POLL_UNSAID };
	add_thread(d, VBMQ_THREAD_VCPU, 1, "0");
	add_thread(d, VBMQ_THREAD_VCPU, 0, "0-7");
	add_disk(d, "vdb", true);
	add_disk(d, "vda", false);
	model_must(vbmq_disk_set_devices(&d->disks[0], devices, 2) == 0, "no memory");
	d->busy_iothreads = model_cpus("2");
	return d;
}

static void add_irqs(struct vbmq_snapshot *s)
{
	for (uint32_t i = 0; i < 3; i++) {
		struct vbmq_irq *irq = vbmq_array_add(s->irqs, s->n_irqs, 10);

		model_must(irq, "no memory");
		irq->irq = 40 + i;
		snprintf(irq->name, sizeof(irq->name), "nvme0q%u", i + 1);
		if (i < 2)
			strcpy(irq->device, "nvme0");
		irq->state = (enum vbmq_irq_state)i;
		irq->cpus = model_cpus("0-1");
		irq->affinity = model_cpus("2-3");
		irq->effective = model_cpus("3");
		irq->held = i == 0;
		if (irq->held) {
			irq->found = model_cpus("0-7");
			irq->applied = model_cpus("2");
		}
	}
}

struct vbmq_snapshot *model_snapshot(void)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_domain *d = vbmq_domain_new();
	struct vbmq_err err = VBMQ_ERR_INIT;

	model_must(s && d, "no memory");
	s->host = host();
	model_must(vbmq_snapshot_add(s, full_domain(), NULL) == 0, "add");
	d->name = model_copy("böse\n");
	d->metadata_error = model_copy("böse:3: attribute 'count'");
	strcpy(d->uuid, MODEL_UUID_2);
	d->n_vcpus = 1;
	model_must(vbmq_snapshot_add(s, d, NULL) == 0, "add");
	s->policy = malloc(sizeof(*s->policy));
	model_must(s->policy, "no memory");
	vbmq_policy_init(s->policy);
	s->policy->manage_by_default = true;
	s->policy->hold_others = false;
	s->policy->auto_max = 64;
	s->policy->shared_min_cores = 3;
	s->policy->reserved = model_cpus("0,4");
	s->policy->dedicated = model_cpus("1-3");
	s->policy->drift = VBMQ_DRIFT_RESPECT;
	s->policy->move_gain = 5;
	s->policy->poll_max_ns = 500000;
	s->policy->poll_grow = 7;
	s->policy->poll_shrink = 9;
	s->policy->move_irqs = s->policy->limit_slices = s->policy->ban_irqs = s->policy->keep_off_nova = false;
	s->host->nova = model_cpus("2");
	s->policy->override.enabled = VBMQ_NO;
	s->host->parts[VBMQ_PART_SYSTEM] = (struct vbmq_part){ .state = VBMQ_PART_OK, .held = true };
	s->host->parts[VBMQ_PART_SYSTEM].cpus = s->host->parts[VBMQ_PART_SYSTEM].applied = model_cpus("0-1");
	s->host->parts[VBMQ_PART_INIT].state = VBMQ_PART_NO_CPUSET;
	s->host->parts[VBMQ_PART_IRQBALANCE] =
		(struct vbmq_part){ .state = VBMQ_PART_FOREIGN, .pid = 812, .start = 4711 };
	s->host->parts[VBMQ_PART_IRQBALANCE].cpus = model_cpus("3");
	d->in_part = 1 + VBMQ_PART_USER;
	add_irqs(s);
	model_must(vbmq_host_finish(s->host, &err) == 0, err.text);
	model_must(vbmq_snapshot_finish(s, &err) == 0, err.text);
	return s;
}

/* --- undo ---------------------------------------------------------------------------------------------------------- */

struct vbmq_undo *model_undo(void)
{
	struct vbmq_undo *u = vbmq_undo_new();

	model_must(u, "no memory");
	for (int kind = VBMQ_UNDO_AFFINITY; kind <= VBMQ_UNDO_IRQ; kind++) {
		bool of_host = kind == VBMQ_UNDO_PART || kind == VBMQ_UNDO_IRQ;
		bool is_new = false;
		struct vbmq_undo_entry *e;

		e = vbmq_undo_entry(u, (enum vbmq_undo_kind)kind,
				    of_host    ? ""
				    : kind % 2 ? MODEL_UUID_1
					       : MODEL_UUID_2,
				    of_host ? VBMQ_THREAD_EMULATOR : VBMQ_THREAD_IOTHREAD, 3,
				    kind == VBMQ_UNDO_IRQ ? 0 : 4000, kind == VBMQ_UNDO_IRQ ? "nvme0q1" : "vda",
				    &is_new);
		model_must(e && is_new, "undo entry");
		e->name = of_host ? NULL : model_copy("dö1");
		e->start = kind == VBMQ_UNDO_IRQ ? 0 : 987654321;
		if (of_host) {
			e->found = model_cpus("7");
			e->applied = model_cpus("2-3,7");
			e->settled = true;
		}
		if (kind == VBMQ_UNDO_AFFINITY || kind == VBMQ_UNDO_TASK)
			e->found = model_cpus("0-7");
		if (kind == VBMQ_UNDO_AFFINITY) {
			e->had_pin = e->exclusive = e->settled = true;
			e->pin = model_cpus("1-2");
			e->applied = model_cpus("3");
		}
		if (kind == VBMQ_UNDO_POLLING)
			e->polling = (struct vbmq_polling){ 32768, 2, 0, VBMQ_POLL_OFF };
		if (kind == VBMQ_UNDO_MAP) {
			e->map = calloc(2, sizeof(*e->map));
			e->applied_map = calloc(2, sizeof(*e->applied_map));
			model_must(e->map && e->applied_map, "no memory");
			e->map[1] = e->applied_map[0] = 5;
			e->n_map = 2;
			e->settled = true;
		}
	}
	return u;
}
