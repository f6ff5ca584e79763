/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "gen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/err.h"

#define CAPS_RUNNING (VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD)

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

/* --- source ----------------------------------------------------------------------------------------------------------- */

struct gen gen_seed(uint64_t seed)
{
	return (struct gen){ .state = seed * UINT64_C(0x9e3779b97f4a7c15) + 0x1234567 };
}

struct gen gen_bytes(const uint8_t *bytes, size_t n)
{
	return (struct gen){ .bytes = bytes, .n_bytes = n };
}

static uint64_t next(struct gen *g)
{
	uint64_t x = g->state;

	if (g->bytes) {
		x = 0;
		for (unsigned i = 0; i < 2 && g->n_bytes; i++) {
			x = x << 8 | *g->bytes++;
			g->n_bytes--;
		}
		return x;
	}
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	g->state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

uint32_t gen_below(struct gen *g, uint32_t n)
{
	return n ? (uint32_t)(next(g) % n) : 0;
}

bool gen_chance(struct gen *g, unsigned percent)
{
	return gen_below(g, 100) < percent;
}

struct vbmq_cpuset gen_subset(struct gen *g, const struct vbmq_cpuset *of, unsigned percent)
{
	struct vbmq_cpuset s = VBMQ_CPUSET_EMPTY;

	for (int c = vbmq_cpuset_next(of, 0); c >= 0; c = vbmq_cpuset_next(of, (unsigned)c + 1))
		if (gen_chance(g, percent))
			vbmq_cpuset_add(&s, (unsigned)c);
	return s;
}

static struct vbmq_cpuset one_of(struct gen *g, const struct vbmq_cpuset *s)
{
	uint32_t n = gen_below(g, vbmq_cpuset_count(s));
	int c = vbmq_cpuset_next(s, 0);

	while (n--)
		c = vbmq_cpuset_next(s, (unsigned)c + 1);
	return c < 0 ? *s : vbmq_cpuset_of((unsigned)c);
}

/* --- hosts ------------------------------------------------------------------------------------------------------------ */

static void finish(struct vbmq_host *h)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_host_finish(h, &err) < 0) {
		fprintf(stderr, "gen: %s\n", err.text);
		abort();
	}
}

static struct vbmq_node *add_node(struct vbmq_host *h, uint32_t id)
{
	struct vbmq_node *n = need(vbmq_array_add(h->nodes, h->n_nodes, VBMQ_NODES_MAX));

	n->id = id;
	n->memory_kib = 1 << 20;
	return n;
}

static struct vbmq_core *add_core(struct vbmq_host *h, uint32_t node, uint32_t l3)
{
	struct vbmq_core *c = need(vbmq_array_add(h->cores, h->n_cores, VBMQ_CPUS_MAX));

	c->node = node;
	c->l3 = l3;
	c->die = node;
	c->package = node;
	c->kind = -1;
	return c;
}

/* smt siblings of every core: first CPUs of all cores, then second ones, ... */
static void number_cpus(struct vbmq_host *h, const unsigned *smt, bool together)
{
	unsigned cpu = 0, most = 0;

	for (size_t i = 0; i < h->n_cores; i++)
		most = smt[i] > most ? smt[i] : most;
	for (unsigned s = 0; s < (together ? 1 : most); s++)
		for (size_t i = 0; i < h->n_cores; i++)
			for (unsigned k = s; k < (together ? smt[i] : s + 1) && k < smt[i]; k++) {
				vbmq_cpuset_add(&h->cores[i].cpus, cpu);
				vbmq_cpuset_add(&h->l3s[h->cores[i].l3].cpus, cpu);
				vbmq_cpuset_add(&h->nodes[h->cores[i].node].cpus, cpu);
				vbmq_cpuset_add(&h->online, cpu);
				cpu++;
			}
}

struct vbmq_host *gen_regular_host(unsigned nodes, unsigned l3s, unsigned cores, unsigned smt)
{
	struct vbmq_host *h = need(vbmq_host_new());
	unsigned widths[VBMQ_CPUS_MAX];

	for (uint32_t n = 0; n < nodes; n++) {
		add_node(h, n);
		for (unsigned l = 0; l < l3s; l++) {
			struct vbmq_l3 *l3 = need(vbmq_array_add(h->l3s, h->n_l3s, VBMQ_CPUS_MAX));

			l3->node = n;
			for (unsigned c = 0; c < cores; c++) {
				widths[h->n_cores] = smt;
				add_core(h, n, (uint32_t)h->n_l3s - 1);
			}
		}
	}
	number_cpus(h, widths, false);
	h->allowed = h->online;
	finish(h);
	return h;
}

static void random_cores(struct gen *g, struct vbmq_host *h, unsigned max_cpus, unsigned *widths)
{
	static const unsigned smts[] = { 1, 2, 2, 4, 8 };
	unsigned smt = smts[gen_below(g, 5)], left = max_cpus, nodes = 1 + gen_below(g, 8);
	unsigned l3s = 1 + gen_below(g, 4), cores = 1 + gen_below(g, 8), first = gen_below(g, 3) == 0 ? 1 : 0;
	bool uneven = gen_chance(g, 30), hybrid = gen_chance(g, 10);

	for (uint32_t n = 0; n < nodes; n++) {
		uint32_t node = (uint32_t)h->n_nodes;

		add_node(h, first + n * (1 + first));
		if (n && gen_chance(g, 15))
			continue; /* no CPU */
		for (unsigned l = 0; l < l3s; l++) {
			unsigned here = uneven ? 1 + gen_below(g, cores) : cores;
			uint32_t l3 = (uint32_t)h->n_l3s;

			if (left < smt)
				break;
			((struct vbmq_l3 *)need(vbmq_array_add(h->l3s, h->n_l3s, VBMQ_CPUS_MAX)))->node = node;
			for (unsigned c = 0; c < here && left >= smt; c++, left -= smt) {
				bool slow = hybrid && gen_chance(g, 50);

				widths[h->n_cores] = slow ? 1 : smt;
				add_core(h, node, l3)->kind = hybrid ? !slow : -1;
			}
		}
	}
}

struct vbmq_host *gen_host(struct gen *g, unsigned max_cpus)
{
	struct vbmq_host *h = need(vbmq_host_new());
	unsigned widths[VBMQ_CPUS_MAX];

	random_cores(g, h, max_cpus < 8 ? 8 : max_cpus, widths);
	number_cpus(h, widths, gen_chance(g, 30));
	if (gen_chance(g, 50)) {
		h->distances = need(calloc(h->n_nodes * h->n_nodes, sizeof(*h->distances)));
		for (size_t i = 0; i < h->n_nodes * h->n_nodes; i++)
			h->distances[i] = i % (h->n_nodes + 1) ? 11 + gen_below(g, 30) : 10;
	}
	h->allowed = h->online;
	if (gen_chance(g, 15)) {
		struct vbmq_cpuset off = gen_subset(g, &h->online, 15);

		h->online = vbmq_cpuset_andnot(&h->online, &off);
	}
	if (gen_chance(g, 15))
		h->allowed = gen_subset(g, &h->allowed, 80);
	if (gen_chance(g, 20))
		h->isolated = gen_subset(g, &h->online, gen_chance(g, 50) ? 30 : 100);
	h->usable = vbmq_cpuset_and(&h->online, &h->allowed);
	if (vbmq_cpuset_is_empty(&h->usable)) {
		vbmq_cpuset_add(&h->online, 0);
		vbmq_cpuset_add(&h->allowed, 0);
	}
	finish(h);
	return h;
}

/* --- domains ---------------------------------------------------------------------------------------------------------- */

static struct vbmq_thread *add_thread(struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id)
{
	struct vbmq_thread *t = need(vbmq_array_add(d->threads, d->n_threads, 100000));

	t->kind = kind;
	t->id = id;
	t->polling = (struct vbmq_polling){ .max_ns = 32768, .mode = VBMQ_POLL_UNSAID };
	return t;
}

struct vbmq_domain *gen_plain_domain(const struct vbmq_host *h, const char *name, unsigned vcpus, unsigned iothreads,
				     uint32_t caps)
{
	struct vbmq_domain *d = need(vbmq_domain_new());
	unsigned sum = 0;

	for (const char *c = name; *c; c++)
		sum = sum * 131 + (unsigned char)*c;
	d->name = need(strdup(name));
	snprintf(d->uuid, sizeof(d->uuid), "00000000-0000-4000-8000-0000%08x", sum);
	d->state = VBMQ_DOMAIN_RUNNING;
	d->responsive = true;
	d->id = 1;
	d->pid = 1000;
	d->n_vcpus = vcpus;
	d->caps.bits = caps;
	d->wish = VBMQ_WISH_INIT;
	d->wish.present = true;
	for (unsigned i = 0; i < vcpus; i++)
		add_thread(d, VBMQ_THREAD_VCPU, i);
	for (unsigned i = 1; i <= iothreads; i++)
		add_thread(d, VBMQ_THREAD_IOTHREAD, i);
	add_thread(d, VBMQ_THREAD_EMULATOR, 0);
	for (size_t i = 0; i < d->n_threads; i++) {
		d->threads[i].tid = 1000 + (uint32_t)i;
		d->threads[i].affinity = h->usable;
	}
	return d;
}

struct vbmq_disk *gen_add_disk(struct vbmq_domain *d, const char *target, unsigned queues, int32_t node)
{
	struct vbmq_disk *disk = need(vbmq_array_add(d->disks, d->n_disks, VBMQ_DISKS_MAX));

	snprintf(disk->target, sizeof(disk->target), "%s", target);
	disk->node = node;
	disk->n_queues = queues;
	disk->queues = need(calloc(queues, sizeof(*disk->queues)));
	disk->started = true;
	vbmq_disk_estimate_vcpus(disk, d->n_vcpus);
	return disk;
}

static void random_wish(struct gen *g, struct vbmq_wish *w)
{
	if (gen_chance(g, 20))
		w->present = false;
	if (gen_chance(g, 10))
		w->enabled = gen_chance(g, 50) ? VBMQ_YES : VBMQ_NO;
	w->has_priority = gen_chance(g, 40);
	w->priority = w->has_priority ? (int32_t)gen_below(g, 3) - 1 : 0;
	if (gen_chance(g, 40))
		w->iothreads = (int32_t)gen_below(g, 7);
	if (gen_chance(g, 40))
		w->exclusive = (enum vbmq_exclusive)gen_below(g, 3);
	if (gen_chance(g, 30))
		w->poll = (enum vbmq_poll)gen_below(g, 3);
	if (gen_chance(g, 30))
		w->vcpus = (enum vbmq_vcpus)gen_below(g, 2);
	for (unsigned i = gen_chance(g, 20) ? 1 + gen_below(g, 2) : 0; i > 0; i--) {
		char target[4] = { 'v', 'd', (char)('a' + gen_below(g, 4)), 0 };

		((struct vbmq_disk_wish *)need(vbmq_wish_disk(w, target, true)))->iothreads = (int32_t)gen_below(g, 4);
	}
}

static struct vbmq_cpuset random_place(struct gen *g, const struct vbmq_host *h)
{
	const struct vbmq_node *n = &h->nodes[gen_below(g, (uint32_t)h->n_nodes)];
	struct vbmq_cpuset s = vbmq_cpuset_and(&n->cpus, &h->usable);

	switch (gen_below(g, 5)) {
	case 0:
		break;
	case 1:
		s = gen_subset(g, &h->usable, 60);
		break;
	case 2:
		s = one_of(g, &h->online);
		break;
	case 3:
		s = h->usable;
		break;
	default:
		s = one_of(g, &h->usable);
		break;
	}
	return vbmq_cpuset_is_empty(&s) ? h->usable : s;
}

static void random_thread(struct gen *g, const struct vbmq_host *h, struct vbmq_domain *d, struct vbmq_thread *t)
{
	if (gen_chance(g, 20)) {
		t->has_pin = true;
		t->pin = random_place(g, h);
	}
	if (d->state == VBMQ_DOMAIN_SHUTOFF) {
		t->tid = 0;
		t->affinity = VBMQ_CPUSET_EMPTY;
		return;
	}
	if (t->has_pin && gen_chance(g, 80))
		t->affinity = vbmq_cpuset_and(&t->pin, &h->online);
	else if (gen_chance(g, 30))
		t->affinity = random_place(g, h);
	if (vbmq_cpuset_is_empty(&t->affinity))
		t->affinity = h->usable;
	if (gen_chance(g, 30)) {
		t->held = true;
		t->applied = gen_chance(g, 85) ? t->affinity : random_place(g, h);
		t->own = vbmq_cpuset_count(&t->applied) == 1 && gen_chance(g, 70);
	}
	if (t->kind == VBMQ_THREAD_IOTHREAD) {
		t->added = gen_chance(g, 20);
		if (gen_chance(g, 20))
			t->polling.max_ns = gen_chance(g, 50) ? UINT64_MAX : 1000000;
	}
}

static void random_disks(struct gen *g, const struct vbmq_host *h, struct vbmq_domain *d, unsigned iothreads)
{
	for (unsigned n = gen_below(g, 4), i = 0; i < n; i++) {
		char target[4] = { 'v', 'd', (char)('a' + i), 0 };
		int32_t node = gen_chance(g, 70) ? (int32_t)h->nodes[gen_below(g, (uint32_t)h->n_nodes)].id
						 : VBMQ_NODE_UNKNOWN;
		struct vbmq_disk *disk = gen_add_disk(d, target, 1 + gen_below(g, 8), node);
		bool spread = iothreads && gen_chance(g, 60), by_hand = gen_chance(g, 30);

		for (size_t q = 0; q < disk->n_queues; q++) {
			if (spread)
				disk->queues[q].iothread = gen_below(g, iothreads + 1);
			disk->mapped = disk->mapped || (by_hand && disk->queues[q].iothread);
			if (gen_chance(g, 10))
				disk->queues[q].vcpus = VBMQ_CPUSET_EMPTY;
		}
	}
}

/* CPUs of different cores, one a call; in the order of the host's cores from a random one on. */
static struct vbmq_cpuset next_core(const struct vbmq_host *h, uint32_t *core)
{
	for (size_t i = 0; i < h->n_cores; i++) {
		struct vbmq_cpuset cpus = vbmq_cpuset_and(&h->cores[*core % h->n_cores].cpus, &h->usable);

		++*core;
		if (!vbmq_cpuset_is_empty(&cpus))
			return vbmq_cpuset_of((unsigned)vbmq_cpuset_next(&cpus, 0));
	}
	return h->usable;
}

/* A guest that had places of its own, and does not answer any more. */
static void hang(struct gen *g, const struct vbmq_host *h, struct vbmq_domain *d)
{
	uint32_t core = gen_below(g, (uint32_t)h->n_cores);
	bool vcpus = gen_chance(g, 30);

	d->responsive = false;
	for (size_t i = 0; i < d->n_threads; i++) {
		struct vbmq_thread *t = &d->threads[i];

		if (t->kind == VBMQ_THREAD_EMULATOR || (t->kind == VBMQ_THREAD_VCPU && !vcpus))
			continue;
		t->has_pin = false;
		t->held = true;
		t->own = true;
		t->applied = next_core(h, &core);
		t->affinity = t->applied;
	}
}

/* A guest that somebody else pinned, vCPU by vCPU, and that is not ours. */
static void pin_by_hand(struct gen *g, const struct vbmq_host *h, struct vbmq_domain *d)
{
	uint32_t core = gen_below(g, (uint32_t)h->n_cores);

	d->wish.enabled = VBMQ_NO;
	for (size_t i = 0; i < d->n_threads; i++) {
		struct vbmq_thread *t = &d->threads[i];

		t->held = false;
		t->own = false;
		t->has_pin = true;
		t->pin = next_core(h, &core);
		t->affinity = d->state == VBMQ_DOMAIN_SHUTOFF ? VBMQ_CPUSET_EMPTY : t->pin;
	}
}

struct vbmq_domain *gen_domain(struct gen *g, const struct vbmq_host *h, unsigned number)
{
	static const uint32_t levels[] = {
		VBMQ_CAP_PIN,
		CAPS_RUNNING,
		CAPS_RUNNING | VBMQ_CAP_COLD_MAP,
		CAPS_RUNNING | VBMQ_CAP_LIVE_MAP,
		CAPS_RUNNING | VBMQ_CAP_LIVE_MAP | VBMQ_CAP_POLL_MODE,
		CAPS_RUNNING | VBMQ_CAP_LIVE_MAP | VBMQ_CAP_POLL_MODE | VBMQ_CAP_PLACEMENT,
		VBMQ_CAP_PIN | VBMQ_CAP_LIVE_MAP,
		0,
	};
	unsigned iothreads = gen_below(g, 5);
	struct vbmq_domain *d;
	char name[32];

	snprintf(name, sizeof(name), "%c%u", (char)('a' + gen_below(g, 26)), number);
	d = gen_plain_domain(h, name, 1 + gen_below(g, 8), iothreads, levels[gen_below(g, 8)]);
	if (gen_chance(g, 20))
		d->state = gen_chance(g, 50) ? VBMQ_DOMAIN_SHUTOFF : VBMQ_DOMAIN_PAUSED;
	d->responsive = !gen_chance(g, 5);
	d->has_cpuset = gen_chance(g, 15);
	if (d->has_cpuset)
		d->cpuset = random_place(g, h);
	if (gen_chance(g, 60))
		vbmq_cpuset_add(&d->memory_nodes, h->nodes[gen_below(g, (uint32_t)h->n_nodes)].id);
	if (iothreads && gen_chance(g, 10))
		vbmq_cpuset_add(&d->busy_iothreads, 1 + gen_below(g, iothreads));
	random_wish(g, &d->wish);
	for (size_t i = 0; i < d->n_threads; i++)
		random_thread(g, h, d, &d->threads[i]);
	random_disks(g, h, d, iothreads);
	if (gen_chance(g, 5) && d->state != VBMQ_DOMAIN_SHUTOFF)
		hang(g, h, d);
	else if (gen_chance(g, 7))
		pin_by_hand(g, h, d);
	return d;
}

struct vbmq_snapshot *gen_snapshot(struct gen *g, unsigned max_cpus, unsigned max_domains)
{
	struct vbmq_snapshot *s = need(vbmq_snapshot_new());
	struct vbmq_err err = VBMQ_ERR_INIT;

	s->host = gen_host(g, max_cpus);
	for (unsigned n = gen_below(g, max_domains + 1), i = 0; i < n; i++)
		if (vbmq_snapshot_add(s, gen_domain(g, s->host, i), &err) < 0)
			break; /* the same name: never mind */
	if (vbmq_snapshot_finish(s, &err) < 0) {
		fprintf(stderr, "gen: %s\n", err.text);
		abort();
	}
	return s;
}

void gen_policy(struct gen *g, const struct vbmq_host *h, struct vbmq_policy *ret)
{
	vbmq_policy_init(ret);
	ret->manage_by_default = gen_chance(g, 30);
	ret->hold_others = !gen_chance(g, 15);
	ret->auto_max = 1 + gen_below(g, 6);
	if (gen_chance(g, 30))
		ret->shared_min_cores = gen_below(g, 5);
	if (gen_chance(g, 20))
		ret->reserved = gen_subset(g, &h->online, 15);
	if (gen_chance(g, 15))
		ret->dedicated = gen_subset(g, &h->online, 60);
	if (gen_chance(g, 30))
		ret->drift = VBMQ_DRIFT_RESPECT;
	if (gen_chance(g, 20))
		ret->defaults.exclusive = (enum vbmq_exclusive)gen_below(g, 3);
	if (gen_chance(g, 15))
		ret->defaults.vcpus = VBMQ_VCPUS_DEDICATED;
	if (gen_chance(g, 5))
		ret->override.enabled = VBMQ_YES;
	if (gen_chance(g, 40))
		ret->move_gain = gen_chance(g, 50) ? 0 : gen_below(g, 300);
}
