/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

static struct vbmq_thread *find(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].kind == kind && d->threads[i].id == id)
			return &d->threads[i];
	return NULL;
}

static struct vbmq_thread *must(struct vbmq_domain *d, const struct vbmq_step *s, enum vbmq_thread_kind kind)
{
	struct vbmq_thread *t = find(d, kind, s->id);

	if (!t)
		abort();
	return t;
}

static int by_kind_id(const void *a, const void *b)
{
	const struct vbmq_thread *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static void add(struct vbmq_domain *d, uint32_t id)
{
	const struct vbmq_thread *emulator = find(d, VBMQ_THREAD_EMULATOR, 0);
	struct vbmq_cpuset start = emulator ? emulator->affinity : VBMQ_CPUSET_EMPTY;
	struct vbmq_thread *t;

	if (find(d, VBMQ_THREAD_IOTHREAD, id))
		abort();
	t = vbmq_array_add(d->threads, d->n_threads, 1000000);
	if (!t)
		abort();
	*t = (struct vbmq_thread){
		.kind = VBMQ_THREAD_IOTHREAD,
		.id = id,
		.tid = 50000 + id,
		.affinity = start,
		.added = true,
		.polling = { .max_ns = 32768, .mode = VBMQ_POLL_UNSAID },
	};
	qsort(d->threads, d->n_threads, sizeof(*d->threads), by_kind_id);
}

static void map(struct vbmq_domain *d, const struct vbmq_step *s)
{
	struct vbmq_disk *disk = vbmq_domain_disk(d, s->target);

	if (!disk || disk->n_queues != s->n_map)
		abort();
	for (size_t q = 0; q < s->n_map; q++) {
		if (s->map[q] && !find(d, VBMQ_THREAD_IOTHREAD, s->map[q]))
			abort();
		disk->queues[q].iothread = s->map[q];
	}
}

static void del(struct vbmq_domain *d, const struct vbmq_step *s)
{
	struct vbmq_thread *t = must(d, s, VBMQ_THREAD_IOTHREAD);
	size_t at = (size_t)(t - d->threads);

	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			if (d->disks[i].queues[q].iothread == s->id)
				abort(); /* it still serves a queue */
	memmove(t, t + 1, (d->n_threads - at - 1) * sizeof(*t));
	d->n_threads--;
}

void sim_step(struct vbmq_snapshot *s, const struct vbmq_step *step)
{
	struct vbmq_domain *d = s->domains[step->domain];
	struct vbmq_thread *t;

	switch (step->op) {
	case VBMQ_STEP_ADD_IOTHREAD:
		add(d, step->id);
		break;
	case VBMQ_STEP_PIN:
		t = must(d, step, step->kind);
		t->affinity = *step->cpus;
		t->held = true;
		t->applied = *step->cpus;
		t->own = step->exclusive;
		break;
	case VBMQ_STEP_SET_POLLING:
		must(d, step, VBMQ_THREAD_IOTHREAD)->polling = step->polling;
		break;
	case VBMQ_STEP_MAP_QUEUES:
		map(d, step);
		break;
	case VBMQ_STEP_DEL_IOTHREAD:
		del(d, step);
		break;
	case VBMQ_STEP_LIMIT_SLICE:
	case VBMQ_STEP_BAN_IRQS:
	case VBMQ_STEP_MOVE_IRQ:
		break; /* these hosts are described ones */
	}
}

struct vbmq_snapshot *sim_copy(const struct vbmq_snapshot *s)
{
	struct vbmq_snapshot *c = vbmq_snapshot_new();
	struct vbmq_host *h = malloc(sizeof(*h));
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (!c || !h)
		abort();
	*h = *s->host;
	h->name = strdup(s->host->name);
	h->cores = malloc(h->n_cores * sizeof(*h->cores));
	h->l3s = malloc(h->n_l3s * sizeof(*h->l3s));
	h->nodes = malloc(h->n_nodes * sizeof(*h->nodes));
	h->distances = malloc(h->n_nodes * h->n_nodes * sizeof(*h->distances));
	if (!h->name || !h->cores || !h->l3s || !h->nodes || !h->distances)
		abort();
	memcpy(h->cores, s->host->cores, h->n_cores * sizeof(*h->cores));
	memcpy(h->l3s, s->host->l3s, h->n_l3s * sizeof(*h->l3s));
	memcpy(h->nodes, s->host->nodes, h->n_nodes * sizeof(*h->nodes));
	memcpy(h->distances, s->host->distances, h->n_nodes * h->n_nodes * sizeof(*h->distances));
	c->host = h;
	for (size_t i = 0; i < s->n_domains; i++) {
		struct vbmq_domain *d;

		if (vbmq_domain_copy(s->domains[i], &d) < 0 || vbmq_snapshot_add(c, d, &err) < 0)
			abort();
	}
	return c;
}

static void dump_set(struct vbmq_strbuf *b, const char *name, const struct vbmq_cpuset *s)
{
	_cleanup_free_ char *text = vbmq_cpulist_format(s);

	vbmq_strbuf_printf(b, " %s=%s", name, text ? text : "?");
}

static void dump_thread(struct vbmq_strbuf *b, const struct vbmq_place_thread *t)
{
	const struct vbmq_why *w = t->why;

	vbmq_strbuf_printf(b, "  %s%u%s%s%s%s", vbmq_thread_kind_words[t->kind], t->id,
			   t->exclusive ? " exclusive" : "", t->planned ? "" : " fixed", t->to_add ? " add" : "",
			   t->to_remove ? " remove" : "");
	dump_set(b, "cpus", t->cpus);
	if (t->has_polling)
		vbmq_strbuf_printf(b, " poll=%llu/%u/%u/%d", (unsigned long long)t->polling.max_ns, t->polling.grow,
				   t->polling.shrink, (int)t->polling.mode);
	if (w)
		vbmq_strbuf_printf(b, " cost=%llu,%llu,%llu,%llu near=%d dev=%u mem=%u",
				   (unsigned long long)w->cost.numa, (unsigned long long)w->cost.locality,
				   (unsigned long long)w->cost.moves, (unsigned long long)w->cost.fragment,
				   (int)w->nearness, w->from_device, w->from_memory);
	if (w && w->has_next)
		vbmq_strbuf_printf(b, " next=%u", w->next_cpu);
	vbmq_strbuf_add(b, "\n");
}

char *sim_dump(const struct vbmq_placement *p)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

	dump_set(&b, "shared", &p->shared);
	dump_set(&b, "dedicated", &p->dedicated);
	vbmq_strbuf_printf(&b, " infeasible=%d\n", p->infeasible);
	for (size_t i = 0; i < p->n_domains; i++) {
		const struct vbmq_place_domain *d = &p->domains[i];

		vbmq_strbuf_printf(&b, "%s %s %s prio=%d\n", d->name, d->managed ? "managed" : "other",
				   vbmq_capability_words[d->capability], (int)d->priority);
		for (size_t j = 0; j < d->n_threads; j++)
			dump_thread(&b, &d->threads[j]);
		for (size_t j = 0; j < d->n_disks; j++) {
			vbmq_strbuf_printf(&b, "  %s%s%s:", d->disks[j].target, d->disks[j].remap ? " remap" : "",
					   d->disks[j].at_next_start ? " next" : "");
			for (size_t q = 0; q < d->disks[j].n_queues; q++)
				vbmq_strbuf_printf(&b, " %u", d->disks[j].queues[q].iothread);
			vbmq_strbuf_add(&b, "\n");
		}
		for (size_t j = 0; j < d->diags.n; j++)
			vbmq_strbuf_printf(&b, "  ! %s %s\n", d->diags.items[j].code, d->diags.items[j].subject);
	}
	return vbmq_strbuf_steal(&b);
}

char *sim_dump_snapshot(const struct vbmq_snapshot *s)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

	dump_set(&b, "usable", &s->host->usable);
	dump_set(&b, "isolated", &s->host->isolated);
	vbmq_strbuf_add(&b, " cores");
	for (size_t c = 0; c < s->host->n_cores; c++)
		dump_set(&b, "", &s->host->cores[c].cpus);
	vbmq_strbuf_add(&b, "\n");
	for (size_t i = 0; i < s->n_domains; i++) {
		const struct vbmq_domain *d = s->domains[i];

		vbmq_strbuf_printf(&b, "%zu: %s %s%s", i, d->name, vbmq_domain_state_words[d->state],
				   d->responsive ? "" : " hung");
		if (d->has_cpuset)
			dump_set(&b, "leash", &d->cpuset);
		vbmq_strbuf_add(&b, "\n");
		for (size_t j = 0; j < d->n_threads; j++) {
			const struct vbmq_thread *t = &d->threads[j];

			vbmq_strbuf_printf(&b, "  %s%u", vbmq_thread_kind_words[t->kind], t->id);
			dump_set(&b, "at", &t->affinity);
			if (t->has_pin)
				dump_set(&b, "pin", &t->pin);
			if (t->held)
				dump_set(&b, t->own ? "own" : "applied", &t->applied);
			vbmq_strbuf_add(&b, t->added ? " added\n" : "\n");
		}
		for (size_t j = 0; j < d->n_disks; j++) {
			vbmq_strbuf_printf(&b, "  %s%s:", d->disks[j].target, d->disks[j].mapped ? " by hand" : "");
			for (size_t q = 0; q < d->disks[j].n_queues; q++)
				vbmq_strbuf_printf(&b, " %u", d->disks[j].queues[q].iothread);
			vbmq_strbuf_add(&b, "\n");
		}
	}
	return vbmq_strbuf_steal(&b);
}

char *sim_dump_steps(const struct vbmq_step *steps, size_t n)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

	for (size_t i = 0; i < n; i++) {
		const struct vbmq_step *s = &steps[i];

		vbmq_strbuf_printf(&b, "%zu: %s domain %u id %u%s%s %s", i, vbmq_step_word(s), s->domain, s->id,
				   s->exclusive ? " exclusive" : "", s->interim ? " interim" : "", s->target);
		if (s->cpus)
			dump_set(&b, "cpus", s->cpus);
		vbmq_strbuf_add(&b, "\n");
	}
	return vbmq_strbuf_steal(&b);
}
