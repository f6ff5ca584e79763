/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/svg_parts.h"
#include "core/capacity.h"
#include "util/cleanup.h"

void vbmq_svg_thread_name(const struct vbmq_place_thread *t, char ret[32])
{
	if (t->kind == VBMQ_THREAD_EMULATOR)
		snprintf(ret, 32, "emulator");
	else
		snprintf(ret, 32, "%s%u", vbmq_thread_kind_words[t->kind], t->id);
}

/* --- who has which core ----------------------------------------------------------------------------------------------- */

static void classify(struct vbmq_svg_map *m, const struct vbmq_policy *policy)
{
	const struct vbmq_host *h = m->snapshot->host;

	for (size_t c = 0; c < h->n_cores; c++) {
		struct vbmq_cpuset usable = vbmq_cpuset_and(&h->cores[c].cpus, &h->usable);
		struct vbmq_svg_core *core = &m->cores[c];

		core->domain = VBMQ_SVG_NOBODY;
		if (vbmq_cpuset_is_empty(&usable))
			core->use = VBMQ_SVG_UNUSABLE;
		else if (vbmq_cpuset_intersects(&usable, &m->placement->dedicated))
			core->use = VBMQ_SVG_DEDICATED;
		else if (vbmq_cpuset_intersects(&usable, &m->placement->pinned))
			core->use = VBMQ_SVG_PINNED;
		else if (!vbmq_cpuset_intersects(&usable, &m->placement->shared))
			core->use = VBMQ_SVG_ISOLATED;
		else if (vbmq_cpuset_intersects(&usable, &policy->reserved) ||
			 (!vbmq_cpuset_is_empty(&policy->dedicated) &&
			  !vbmq_cpuset_intersects(&usable, &policy->dedicated)))
			core->use = VBMQ_SVG_RESERVED;
	}
}

static void add_owner(struct vbmq_svg_map *m, uint32_t domain, const struct vbmq_place_thread *t)
{
	uint32_t last = VBMQ_NO_CORE;

	for (int cpu = vbmq_cpuset_next(t->cpus, 0); cpu >= 0; cpu = vbmq_cpuset_next(t->cpus, (unsigned)cpu + 1)) {
		uint32_t c = m->snapshot->host->core_of[cpu];

		m->owner_of[cpu] = domain;
		if (c == VBMQ_NO_CORE || c == last)
			continue;
		last = c;
		if (m->cores[c].thread) {
			m->cores[c].n_more++;
			continue;
		}
		m->cores[c].domain = domain;
		m->cores[c].thread = t;
	}
}

static void add_pin(struct vbmq_svg_map *m, uint32_t domain, const struct vbmq_place_thread *t)
{
	uint32_t last = VBMQ_NO_CORE;

	if (!vbmq_cpuset_is_subset(t->cpus, &m->placement->pinned))
		return; /* all over the host */
	for (int cpu = vbmq_cpuset_next(t->cpus, 0); cpu >= 0; cpu = vbmq_cpuset_next(t->cpus, (unsigned)cpu + 1)) {
		uint32_t c = m->snapshot->host->core_of[cpu];

		if (c == VBMQ_NO_CORE || c == last || m->cores[c].use != VBMQ_SVG_PINNED)
			continue;
		last = c;
		if (m->cores[c].domain == VBMQ_SVG_NOBODY) {
			m->cores[c].domain = domain;
			m->cores[c].thread = t;
		} else {
			m->cores[c].n_more++;
		}
	}
}

static void count_guests(struct vbmq_svg_map *m)
{
	const struct vbmq_placement *p = m->placement;

	for (uint32_t i = 0; i < p->n_domains; i++) {
		struct vbmq_svg_guest g = { .domain = i };

		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			g.iothreads += p->domains[i].threads[j].exclusive &&
				       p->domains[i].threads[j].kind == VBMQ_THREAD_IOTHREAD;
			g.vcpus +=
				p->domains[i].threads[j].exclusive && p->domains[i].threads[j].kind == VBMQ_THREAD_VCPU;
		}
		for (size_t c = 0; c < m->snapshot->host->n_cores; c++)
			g.pinned += m->cores[c].use == VBMQ_SVG_PINNED && m->cores[c].domain == i;
		m->guest_of[i] = VBMQ_SVG_NOBODY;
		if (g.iothreads || g.vcpus || g.pinned) {
			m->guest_of[i] = (uint32_t)m->n_guests;
			m->guests[m->n_guests++] = g;
		}
	}
}

int vbmq_svg_map(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_placement *p,
		 struct vbmq_svg_map *ret)
{
	ret->snapshot = s;
	ret->placement = p;
	ret->n_guests = 0;
	ret->cores = calloc(s->host->n_cores + 1, sizeof(*ret->cores));
	ret->guests = calloc(p->n_domains + 1, sizeof(*ret->guests));
	ret->guest_of = calloc(p->n_domains + 1, sizeof(*ret->guest_of));
	if (!ret->cores || !ret->guests || !ret->guest_of) {
		vbmq_svg_map_done(ret);
		return -ENOMEM;
	}
	for (unsigned cpu = 0; cpu < VBMQ_CPUS_MAX; cpu++)
		ret->owner_of[cpu] = VBMQ_SVG_NOBODY;
	classify(ret, policy);
	for (uint32_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *t = &p->domains[i].threads[j];

			if (t->exclusive)
				add_owner(ret, i, t);
			else if (!t->planned)
				add_pin(ret, i, t);
		}
	count_guests(ret);
	return 0;
}

void vbmq_svg_map_done(struct vbmq_svg_map *m)
{
	free(m->cores);
	free(m->guests);
	free(m->guest_of);
	m->cores = NULL;
	m->guests = NULL;
	m->guest_of = NULL;
}

/* --- what the pointer is told ----------------------------------------------------------------------------------------- */

/* ": vda queues 0-1, vdb queues 0" */
static void add_queues(const struct vbmq_place_domain *d, uint32_t iothread, struct vbmq_strbuf *b)
{
	const char *sign = ":";

	for (size_t i = 0; i < d->n_disks; i++) {
		struct vbmq_cpuset queues = VBMQ_CPUSET_EMPTY;
		_cleanup_free_ char *list = NULL;

		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			if (d->disks[i].queues[q].iothread == iothread)
				vbmq_cpuset_add(&queues, (unsigned)q);
		if (vbmq_cpuset_is_empty(&queues))
			continue;
		list = vbmq_cpulist_format(&queues);
		vbmq_strbuf_printf(b, "%s ", sign);
		vbmq_svg_clean(d->disks[i].target, b);
		vbmq_strbuf_printf(b, " queues %s", list ? list : "?");
		sign = ",";
	}
}

void vbmq_svg_tip(const struct vbmq_svg_map *m, uint32_t core, struct vbmq_strbuf *ret)
{
	const struct vbmq_core *c = &m->snapshot->host->cores[core];
	const struct vbmq_svg_core *what = &m->cores[core];
	_cleanup_free_ char *cpus = vbmq_cpulist_format(&c->cpus);
	char name[32];

	vbmq_strbuf_printf(ret, "core %u: CPUs %s, L3 domain %u, node %u", core, cpus ? cpus : "?", c->l3,
			   m->snapshot->host->nodes[c->node].id);
	if (what->use == VBMQ_SVG_PINNED && what->thread) {
		vbmq_svg_thread_name(what->thread, name);
		vbmq_strbuf_printf(ret, "\n%s of ", name);
		vbmq_svg_clean(m->placement->domains[what->domain].name, ret);
		vbmq_strbuf_printf(ret, ", pinned by its owner");
		if (what->n_more)
			vbmq_strbuf_printf(ret, ", and %u more", what->n_more);
	}
	for (int cpu = vbmq_cpuset_next(&c->cpus, 0); cpu >= 0; cpu = vbmq_cpuset_next(&c->cpus, (unsigned)cpu + 1)) {
		const struct vbmq_place_domain *d;

		if (m->owner_of[cpu] == VBMQ_SVG_NOBODY)
			continue;
		d = &m->placement->domains[m->owner_of[cpu]];
		for (size_t i = 0; i < d->n_threads; i++) {
			if (!d->threads[i].exclusive || vbmq_cpuset_next(d->threads[i].cpus, 0) != cpu)
				continue;
			vbmq_svg_thread_name(&d->threads[i], name);
			vbmq_strbuf_printf(ret, "\nCPU %d: %s of ", cpu, name);
			vbmq_svg_clean(d->name, ret);
			if (d->threads[i].kind == VBMQ_THREAD_IOTHREAD)
				add_queues(d, d->threads[i].id, ret);
		}
	}
}
