/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/setref.h"

/* --- plan --------------------------------------------------------------------------------------------------------- */

static struct vbmq_place_thread *place(struct vbmq_place_domain *d, enum vbmq_thread_kind kind, uint32_t id,
				       const char *cpus)
{
	struct vbmq_place_thread *t = vbmq_array_add(d->threads, d->n_threads, 100);
	struct vbmq_cpuset set;

	model_must(t, "no memory");
	t->kind = kind;
	t->id = id;
	set = model_cpus(cpus);
	t->cpus = vbmq_setref_new(&set);
	model_must(t->cpus, "no memory");
	return t;
}

static void place_threads(struct vbmq_place_domain *d, struct vbmq_why *whys)
{
	struct vbmq_place_thread *t;

	place(d, VBMQ_THREAD_VCPU, 0, "0-1,4-5")->planned = true;
	place(d, VBMQ_THREAD_VCPU, 1, "0");
	t = place(d, VBMQ_THREAD_IOTHREAD, 1, "2");
	t->planned = t->exclusive = true;
	t->has_polling = true;
	t->polling = (struct vbmq_polling){ 1000000, 1000, 1, VBMQ_POLL_UNSAID };
	whys[0] = (struct vbmq_why){ .cost = { 11, 2, 0, 1 },
				     .nearness = VBMQ_NEAR_NODE,
				     .from_device = 21,
				     .from_memory = 10,
				     .has_next = true,
				     .next_cpu = 7,
				     .next_cost = { 11, 5, 1, 0 } };
	t->why = &whys[0];
	t = place(d, VBMQ_THREAD_IOTHREAD, 2, "3");
	t->planned = t->exclusive = t->to_add = true;
	whys[1] = (struct vbmq_why){ .nearness = VBMQ_NEAR_CORE };
	t->why = &whys[1];
	t = place(d, VBMQ_THREAD_IOTHREAD, 3, "0-1");
	t->planned = t->to_remove = true;
	place(d, VBMQ_THREAD_EMULATOR, 0, "0-1")->planned = true;
}

static void place_disks(struct vbmq_place_domain *d)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct vbmq_place_disk *disk = vbmq_array_add(d->disks, d->n_disks, 10);

		model_must(disk, "no memory");
		strcpy(disk->target, i ? "vdb" : "vda");
		disk->remap = i == 0;
		disk->at_next_start = i == 1;
		for (uint32_t q = 0; q < 2; q++) {
			struct vbmq_place_queue *queue = vbmq_array_add(disk->queues, disk->n_queues, 10);
			struct vbmq_cpuset vcpus;

			model_must(queue, "no memory");
			queue->iothread = q + 1;
			vcpus = i ? VBMQ_CPUSET_EMPTY : vbmq_cpuset_of(q);
			queue->vcpus = vbmq_setref_new(&vcpus);
			model_must(queue->vcpus, "no memory");
			queue->completes = q || i ? VBMQ_COMPLETES_UNKNOWN : VBMQ_COMPLETES_L3;
		}
	}
}

static struct vbmq_step *add_step(struct vbmq_plan *p, enum vbmq_step_op op, enum vbmq_thread_kind kind, uint32_t id,
				  const char *cpus)
{
	struct vbmq_step *s = vbmq_array_add(p->steps, p->n_steps, 100);
	struct vbmq_cpuset set;

	model_must(s, "no memory");
	s->op = op;
	s->kind = kind;
	s->id = id;
	set = model_cpus(cpus);
	s->cpus = vbmq_setref_new(&set);
	model_must(s->cpus, "no memory");
	return s;
}

static void add_steps(struct vbmq_plan *p)
{
	struct vbmq_step *s;

	add_step(p, VBMQ_STEP_ADD_IOTHREAD, VBMQ_THREAD_IOTHREAD, 2, "");
	add_step(p, VBMQ_STEP_PIN, VBMQ_THREAD_EMULATOR, 0, "0")->interim = true;
	add_step(p, VBMQ_STEP_PIN, VBMQ_THREAD_VCPU, 0, "0-1,4-5")->domain = 1;
	add_step(p, VBMQ_STEP_PIN, VBMQ_THREAD_IOTHREAD, 1, "2")->exclusive = true;
	s = add_step(p, VBMQ_STEP_SET_POLLING, VBMQ_THREAD_IOTHREAD, 1, "");
	s->polling = (struct vbmq_polling){ 1000000, 1000, 1, VBMQ_POLL_DEDICATED };
	s = add_step(p, VBMQ_STEP_MAP_QUEUES, VBMQ_THREAD_IOTHREAD, 0, "");
	strcpy(s->target, "vda");
	s->n_map = 2;
	s->map = calloc(2, sizeof(*s->map));
	model_must(s->map, "no memory");
	s->map[0] = 2;
	s->map[1] = 1;
	add_step(p, VBMQ_STEP_DEL_IOTHREAD, VBMQ_THREAD_IOTHREAD, 3, "");
	s = add_step(p, VBMQ_STEP_LIMIT_SLICE, VBMQ_THREAD_EMULATOR, VBMQ_PART_USER, "0-1");
	s->domain = VBMQ_STEP_OF_HOST;
	s->interim = true;
	add_step(p, VBMQ_STEP_LIMIT_SLICE, VBMQ_THREAD_EMULATOR, VBMQ_PART_SYSTEM, "")->domain = VBMQ_STEP_OF_HOST;
	add_step(p, VBMQ_STEP_BAN_IRQS, VBMQ_THREAD_EMULATOR, VBMQ_PART_IRQBALANCE, "6")->domain = VBMQ_STEP_OF_HOST;
	for (int back = 0; back < 2; back++) {
		s = add_step(p, VBMQ_STEP_MOVE_IRQ, VBMQ_THREAD_EMULATOR, 40, back ? "0-7" : "2");
		s->domain = VBMQ_STEP_OF_HOST;
		s->exclusive = !back;
		strcpy(s->target, "nvme0q1");
	}
}

struct vbmq_plan *model_plan(void)
{
	struct vbmq_plan *p = calloc(1, sizeof(*p));
	struct vbmq_place_domain *d;

	model_must(p, "no memory");
	p->placement = calloc(1, sizeof(*p->placement));
	model_must(p->placement, "no memory");
	strcpy(p->id, "0123456789abcdef0123456789abcdef");
	p->placement->shared = model_cpus("0-1,4-5");
	p->placement->dedicated = model_cpus("2-3,6");
	p->placement->infeasible = true;
	p->placement->parts[VBMQ_PART_SYSTEM].planned = true;
	p->placement->parts[VBMQ_PART_IRQBALANCE] = (struct vbmq_place_part){ true, model_cpus("6") };
	for (uint32_t i = 0; i < 3; i++) {
		struct vbmq_place_irq *irq = vbmq_array_add(p->placement->irqs, p->placement->n_irqs, 10);

		model_must(irq, "no memory");
		irq->irq = 40 + i;
		snprintf(irq->name, sizeof(irq->name), "nvme0q%u", i + 1);
		strcpy(irq->device, i < 2 ? "nvme0" : "");
		irq->state = (enum vbmq_irq_state)i;
		irq->cpus = model_cpus("2");
		irq->on = model_cpus(i ? "1" : "");
		irq->planned = irq->put_back = i == 2;
	}
	for (int i = 0; i < 2; i++) {
		d = vbmq_array_add(p->placement->domains, p->placement->n_domains, 10);
		model_must(d, "no memory");
		d->name = model_copy(i ? "web \"ü\"" : "db1");
		strcpy(d->uuid, i ? MODEL_UUID_2 : MODEL_UUID_1);
		d->capability = i ? VBMQ_PIN_POLL : VBMQ_LIVE_MAP;
		d->managed = i == 0;
		d->priority = i ? 0 : -10;
	}
	d = p->placement->domains;
	p->placement->whys = calloc(2, sizeof(*p->placement->whys));
	model_must(p->placement->whys, "no memory");
	place_threads(d, p->placement->whys);
	place_disks(d);
	model_must(
		vbmq_diag_add(&d->diags, VBMQ_DIAG_FEWER_IOTHREADS, VBMQ_ERROR, "db1", "%s", "Two \"of\" four.\n") ==
				0 &&
			vbmq_diag_add(&d->diags, VBMQ_DIAG_REMOTE_NODE, VBMQ_WARNING, "db1/iothread1", "Far.") == 0 &&
			vbmq_diag_add(&p->placement->diags, VBMQ_DIAG_PIN_CONFLICT, VBMQ_INFO, "host", "Meets.") == 0,
		"no memory");
	add_steps(p);
	return p;
}

/* --- report ------------------------------------------------------------------------------------------------------ */

struct vbmq_report *model_report(const struct vbmq_plan *plan)
{
	struct vbmq_report *r = vbmq_report_new(plan);

	model_must(r, "no memory");
	for (size_t i = 0; i < r->n_results; i++)
		r->results[i].outcome = (enum vbmq_outcome)(i % (VBMQ_OUTCOME_UNDO_FAILED + 1));
	r->results[VBMQ_OUTCOME_FAILED].error = -ETIMEDOUT;
	r->results[VBMQ_OUTCOME_FAILED].text = model_copy("the monitor does not answer, cut \xc3");
	for (int kind = VBMQ_CHECK_OK; kind <= VBMQ_CHECK_POLLING; kind++) {
		struct vbmq_check *c = vbmq_array_add(r->checks, r->n_checks, 100);

		model_must(c, "no memory");
		c->kind = (enum vbmq_check_kind)kind;
		c->thread = kind == VBMQ_CHECK_OK ? VBMQ_THREAD_EMULATOR : VBMQ_THREAD_IOTHREAD;
		c->id = 1;
		c->want = model_cpus("2");
		c->is = model_cpus("2-3");
		c->is_disk = kind == VBMQ_CHECK_MAP;
		strcpy(c->target, c->is_disk ? "vda" : "");
		if (kind != VBMQ_CHECK_OK) {
			c->text = model_copy("why");
			r->n_bad_checks++;
		}
	}
	for (unsigned part = VBMQ_PART_INIT; part <= VBMQ_PART_IRQBALANCE; part++) {
		struct vbmq_check *c = vbmq_array_add(r->checks, r->n_checks, 100);

		model_must(c, "no memory");
		c->is_part = true;
		c->id = part;
		c->want = c->is = model_cpus("0");
		c->kind = part == VBMQ_PART_INIT ? VBMQ_CHECK_OK : VBMQ_CHECK_DRIFT;
	}
	for (uint32_t i = 0; i < 2; i++) {
		struct vbmq_check *c = vbmq_array_add(r->checks, r->n_checks, 100);

		model_must(c, "no memory");
		c->is_irq = true;
		c->id = 40 + i;
		c->want = c->is = model_cpus("2");
		c->kind = i ? VBMQ_CHECK_DRIFT : VBMQ_CHECK_OK;
	}
	r->n_domains_failed = 1;
	model_must(vbmq_report_unread(r, "böse\n") == 0, "no memory");
	return r;
}

/* --- stats ------------------------------------------------------------------------------------------------------- */

struct vbmq_stats *model_stats(unsigned n)
{
	struct vbmq_snapshot *snapshot = model_snapshot();
	const uint64_t second = 1000000000u;
	struct vbmq_stats *s = NULL;

	model_must(vbmq_stats_new(snapshot->domains[1], &s) == 0, "no memory");
	vbmq_snapshot_free(snapshot);
	s->counts = true;
	s->time_ns = 17 + n * second;
	for (size_t i = 0; i < s->n_threads; i++) {
		struct vbmq_stats_thread *t = &s->threads[i];

		t->runs = true;
		t->cpu = (uint32_t)i + 2;
		t->run_ns = n * second / 2;
		t->wait_ns = n * second / 100;
		t->counts = t->id != 0;
		t->busy_ns = n * second / 3;
		t->poll_ns = n * second / 6;
		t->blocked_ns = n * second / 2;
		t->poll_hits = n * 30;
		t->poll_misses = n * 10;
	}
	for (size_t i = 0; i < s->n_disks; i++)
		for (size_t q = 0; q < s->disks[i].n_queues; q++) {
			struct vbmq_stats_queue *to = &s->disks[i].queues[q];

			to->counts = true;
			to->requests = n * 150000;
			to->kicks = n * 150 + q;
			to->poll_hits = n * 149850;
			to->interrupts = n * 75000;
			to->in_flight = 32;
			to->parked = (uint32_t)q;
		}
	return s;
}

struct vbmq_explanation *model_explanation(void)
{
	struct vbmq_explanation *x = calloc(1, sizeof(*x));

	model_must(x, "explanation");
	x->items = calloc(3, sizeof(*x->items));
	model_must(x->items, "explanation");
	x->n_items = 3;
	x->items[0] = (struct vbmq_explained){ .thread = VBMQ_EXPLAIN_ALL, .n_remedies = 4 };
	x->items[0].remedies[0] =
		(struct vbmq_remedy){ .kind = VBMQ_REMEDY_SHARED_MIN, .from = 4, .to = 2, .cores = 2 };
	x->items[0].remedies[1] = (struct vbmq_remedy){ .kind = VBMQ_REMEDY_IOTHREADS, .from = 4, .to = 3 };
	x->items[0].remedies[2] = (struct vbmq_remedy){ .kind = VBMQ_REMEDY_EXCLUSIVE };
	x->items[0].remedies[3] =
		(struct vbmq_remedy){ .kind = VBMQ_REMEDY_PRIORITY, .from = -10, .to = 1, .n_losers = 1, .loser = 1 };
	x->items[1] = (struct vbmq_explained){
		.thread = 2,
		.n_remedies = 4,
		.better = model_cpus("1,5"),
		.locality = 7,
		.held = true,
		.holder = 0,
		.holder_thread = 3,
	};
	x->items[1].remedies[0].kind = VBMQ_REMEDY_REBALANCE;
	x->items[1].remedies[1].kind = VBMQ_REMEDY_RESERVED;
	x->items[1].remedies[2].kind = VBMQ_REMEDY_DEDICATED;
	x->items[1].remedies[3].kind = VBMQ_REMEDY_FOLLOW;
	x->items[2] = (struct vbmq_explained){ .thread = 3, .better = model_cpus("0,4"), .numa = 11 };
	return x;
}
