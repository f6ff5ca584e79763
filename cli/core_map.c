/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "util/cleanup.h"
#include "util/strbuf.h"

#define INTRUDERS_SHOWN 3u

const char *const cli_core_use_words[] = { "shared", "dedicated", "unusable", "pinned" };

struct texts {
	struct vbmq_strbuf owner, threads, queues, intruders;
	size_t n_intruders;
};

/* "vda 0-1,vdb 0": the queues that an I/O thread serves. */
static void add_queues(struct vbmq_strbuf *b, const struct vbmq_place_domain *d, uint32_t id)
{
	for (size_t i = 0; i < d->n_disks; i++) {
		struct vbmq_cpuset queues = VBMQ_CPUSET_EMPTY;
		_cleanup_free_ char *list = NULL;

		for (size_t q = 0; q < d->disks[i].n_queues; q++)
			if (d->disks[i].queues[q].iothread == id)
				vbmq_cpuset_add(&queues, (unsigned)q);
		if (vbmq_cpuset_is_empty(&queues))
			continue;
		list = vbmq_cpulist_format(&queues);
		vbmq_strbuf_printf(b, "%s%s %s", b->len ? ", " : "", d->disks[i].target, list ? list : "?");
	}
}

static void add_owner(struct texts *t, const struct vbmq_place_domain *d, const struct vbmq_place_thread *p)
{
	_cleanup_free_ char *cpus = vbmq_cpulist_format(p->cpus);
	char name[32];

	if (!t->owner.len)
		vbmq_strbuf_add(&t->owner, d->name);
	else if (strcmp(t->owner.text, d->name) != 0)
		vbmq_strbuf_printf(&t->owner, ", %s", d->name);
	vbmq_strbuf_printf(&t->threads, "%s%s on CPU %s", t->threads.len ? ", " : "",
			   cli_thread_name(p->kind, p->id, name), cpus ? cpus : "?");
	if (p->kind == VBMQ_THREAD_IOTHREAD)
		add_queues(&t->queues, d, p->id);
}

/* A thread that may run on CPUs that another one has for itself. */
static bool intrudes(const struct vbmq_host *h, const struct vbmq_place_domain *d, const struct vbmq_thread *thread,
		     const struct vbmq_place_thread *owner, const struct vbmq_place_domain *owner_domain,
		     const struct vbmq_placement *placement)
{
	struct vbmq_cpuset room = vbmq_host_whole_cores(h, owner->cpus);

	if (d == owner_domain && owner->kind == thread->kind && owner->id == thread->id)
		return false;
	room = vbmq_cpuset_and(&room, &placement->dedicated);
	return vbmq_cpuset_intersects(&room, &thread->affinity);
}

static void add_intruders(struct texts *t, const struct vbmq_snapshot *s, const struct vbmq_placement *p,
			  const struct vbmq_place_domain *owner_domain, const struct vbmq_place_thread *owner)
{
	char name[32];

	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < s->domains[i]->n_threads; j++) {
			const struct vbmq_thread *thread = &s->domains[i]->threads[j];
			const struct vbmq_place_thread *theirs =
				vbmq_place_thread(&p->domains[i], thread->kind, thread->id);

			/* Threads of one domain may share its last core; the plan says so by giving both the place. */
			if (theirs && theirs->exclusive && vbmq_cpuset_equal(theirs->cpus, owner->cpus))
				continue;
			if (!intrudes(s->host, &p->domains[i], thread, owner, owner_domain, p))
				continue;
			if (t->n_intruders++ < INTRUDERS_SHOWN)
				vbmq_strbuf_printf(&t->intruders, "%s%s %s", t->intruders.len ? ", " : "",
						   s->domains[i]->name,
						   cli_thread_name(thread->kind, thread->id, name));
		}
}

static void count_now(const struct vbmq_snapshot *s, struct cli_core *map)
{
	for (size_t c = 0; c < s->host->n_cores; c++)
		for (size_t i = 0; i < s->n_domains; i++)
			for (size_t j = 0; j < s->domains[i]->n_threads; j++)
				map[c].n_now += vbmq_cpuset_intersects(&s->domains[i]->threads[j].affinity,
								       &s->host->cores[c].cpus);
}

static void classify(const struct vbmq_snapshot *s, const struct vbmq_placement *p, struct cli_core *map)
{
	for (size_t c = 0; c < s->host->n_cores; c++) {
		struct vbmq_cpuset usable = vbmq_cpuset_and(&s->host->cores[c].cpus, &s->host->usable);

		if (vbmq_cpuset_is_empty(&usable))
			map[c].use = CLI_CORE_UNUSABLE;
		else if (vbmq_cpuset_intersects(&usable, &p->dedicated))
			map[c].use = CLI_CORE_DEDICATED;
		else if (vbmq_cpuset_intersects(&usable, &p->shared))
			map[c].use = CLI_CORE_SHARED;
		else
			map[c].use = CLI_CORE_OWNER_PIN;
	}
}

static void fill_dedicated(const struct vbmq_snapshot *s, const struct vbmq_placement *p, struct texts *texts,
			   struct cli_core *map)
{
	for (size_t i = 0; i < p->n_domains; i++)
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			const struct vbmq_place_thread *place = &p->domains[i].threads[j];
			const struct vbmq_thread *now = vbmq_domain_thread(s->domains[i], place->kind, place->id);
			int cpu = vbmq_cpuset_next(place->cpus, 0);
			uint16_t core = cpu < 0 ? VBMQ_NO_CORE : s->host->core_of[cpu];

			if (!place->exclusive || core == VBMQ_NO_CORE)
				continue;
			add_owner(&texts[core], &p->domains[i], place);
			map[core].settled = now && vbmq_cpuset_equal(&now->affinity, place->cpus);
			add_intruders(&texts[core], s, p, &p->domains[i], place);
		}
}

struct cli_core *cli_core_map(const struct vbmq_snapshot *snapshot, const struct vbmq_plan *plan)
{
	size_t n = snapshot->host->n_cores;
	struct cli_core *map = calloc(n, sizeof(*map));
	struct texts *texts = calloc(n, sizeof(*texts));
	bool ok = map && texts;

	if (ok) {
		classify(snapshot, plan->placement, map);
		count_now(snapshot, map);
		fill_dedicated(snapshot, plan->placement, texts, map);
	}
	for (size_t c = 0; texts && c < n; c++) {
		if (texts[c].n_intruders > INTRUDERS_SHOWN)
			vbmq_strbuf_printf(&texts[c].intruders, " and %zu more",
					   texts[c].n_intruders - INTRUDERS_SHOWN);
		if (map) {
			map[c].owner = vbmq_strbuf_steal(&texts[c].owner);
			map[c].threads = vbmq_strbuf_steal(&texts[c].threads);
			map[c].queues = vbmq_strbuf_steal(&texts[c].queues);
			map[c].intruders = vbmq_strbuf_steal(&texts[c].intruders);
			ok = ok && map[c].owner && map[c].threads && map[c].queues && map[c].intruders;
		}
	}
	free(texts);
	if (!ok) {
		cli_core_map_free(map, n);
		return NULL;
	}
	return map;
}

void cli_core_map_free(struct cli_core *map, size_t n_cores)
{
	for (size_t c = 0; map && c < n_cores; c++) {
		free(map[c].owner);
		free(map[c].threads);
		free(map[c].queues);
		free(map[c].intruders);
	}
	free(map);
}
