/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "domain_view.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "util/cleanup.h"

struct summary {
	size_t exclusive, total, queues, warnings;
};

static struct summary summarize(const struct vbmq_place_domain *p)
{
	struct summary s = { .exclusive = 0 };

	for (size_t i = 0; i < p->n_threads; i++)
		if (p->threads[i].kind == VBMQ_THREAD_IOTHREAD) {
			s.total++;
			s.exclusive += p->threads[i].exclusive;
		}
	for (size_t i = 0; i < p->n_disks; i++)
		s.queues += p->disks[i].n_queues;
	for (size_t i = 0; i < p->diags.n; i++)
		s.warnings += p->diags.items[i].severity != VBMQ_INFO;
	return s;
}

int cli_print_domains(const struct cli *cli, const struct cli_source *s)
{
	static const char *const columns[] = { "NAME",	 ">ID",	   "STATE",   "CAPABILITY", "MANAGED", ">PRIORITY",
					       ">VCPUS", ">DISKS", ">QUEUES", "IOTHREADS",  ">NOTES",  NULL };
	struct libscols_table *t = cli_table(cli, columns);

	for (size_t i = 0; i < s->snapshot->n_domains; i++) {
		const struct vbmq_domain *d = s->snapshot->domains[i];
		const struct vbmq_place_domain *p = &s->plan->placement->domains[i];
		struct summary n = summarize(p);
		char id[16] = "-", priority[16], vcpus[16], disks[24], queues[24], threads[64], notes[24];

		if (d->id >= 0)
			snprintf(id, sizeof(id), "%d", d->id);
		snprintf(priority, sizeof(priority), "%d", p->priority);
		snprintf(vcpus, sizeof(vcpus), "%u", d->n_vcpus);
		snprintf(disks, sizeof(disks), "%zu", p->n_disks);
		snprintf(queues, sizeof(queues), "%zu", n.queues);
		snprintf(threads, sizeof(threads), n.total ? "%zu, %zu on own cores" : "none", n.total, n.exclusive);
		snprintf(notes, sizeof(notes), "%zu", n.warnings);
		if (cli_row(cli, t, n.warnings ? "brown" : NULL,
			    (const char *const[]){ d->name, id,
						   d->responsive ? vbmq_domain_state_words[d->state] : "unresponsive",
						   vbmq_capability_words[p->capability], p->managed ? "yes" : "no",
						   priority, vcpus, disks, queues, threads, notes }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

/* --- one domain ------------------------------------------------------------------------------------------------------- */

static int print_threads(const struct cli *cli, const struct vbmq_domain *d, const struct vbmq_place_domain *p)
{
	static const char *const columns[] = { "THREAD",      ">TID",	 "IS",	 "SHOULD BE", "CORE",
					       "OWNER'S PIN", "POLLING", "NOTE", NULL };
	struct libscols_table *t = cli_table(cli, columns);

	for (size_t i = 0; i < p->n_threads; i++) {
		const struct vbmq_place_thread *place = &p->threads[i];
		const struct vbmq_thread *now = vbmq_domain_thread(d, place->kind, place->id);
		_cleanup_free_ char *is = now ? vbmq_cpulist_format(&now->affinity) : NULL;
		_cleanup_free_ char *should = vbmq_cpulist_format(place->cpus);
		_cleanup_free_ char *pin = now && now->has_pin ? vbmq_cpulist_format(&now->pin) : NULL;
		char name[32], tid[16] = "-", buf[48];
		const char *polling = "";

		if (now && now->tid)
			snprintf(tid, sizeof(tid), "%u", now->tid);
		if (now && place->kind == VBMQ_THREAD_IOTHREAD)
			polling = cli_polling(&now->polling, buf);
		if (cli_row(cli, t, place->exclusive ? "green" : NULL,
			    (const char *const[]){ cli_thread_name(place->kind, place->id, name), tid, is, should,
						   place->exclusive ? "its own" : "shared", pin, polling,
						   place->to_add       ? "to be added"
						   : place->to_remove  ? "to be removed"
						   : !place->planned   ? "left as it is"
						   : now && now->added ? "added by vbmqd"
								       : "" }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

static int print_queues(const struct cli *cli, const struct vbmq_domain *d, const struct vbmq_place_domain *p)
{
	static const char *const columns[] = { "DISK",	       "SOURCE",       "NODE",	   ">QUEUE", "IS ON",
					       "SHOULD BE ON", "COMPLETES ON", "DISTANCE", NULL };
	struct libscols_table *t = cli_table(cli, columns);

	for (size_t i = 0; i < d->n_disks && i < p->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues && q < p->disks[i].n_queues; q++) {
			const struct vbmq_disk *disk = &d->disks[i];
			_cleanup_free_ char *vcpus = vbmq_cpulist_format(p->disks[i].queues[q].vcpus),
					    *completes = NULL;
			char node[16] = "?", number[24], is[32] = "main loop", should[48] = "main loop";

			if (disk->node != VBMQ_NODE_UNKNOWN)
				snprintf(node, sizeof(node), "%d", disk->node);
			snprintf(number, sizeof(number), "%zu", q);
			if (disk->queues[q].iothread)
				snprintf(is, sizeof(is), "iothread%u", disk->queues[q].iothread);
			if (p->disks[i].queues[q].iothread)
				snprintf(should, sizeof(should), "iothread%u%s", p->disks[i].queues[q].iothread,
					 p->disks[i].at_next_start ? " (next start)" : "");
			if (asprintf(&completes, "%s%s%s", vcpus && *vcpus ? "vCPU " : "", vcpus ? vcpus : "",
				     vcpus && *vcpus && !disk->queues[q].vcpus_exact ? " (estimated)" : "") < 0)
				completes = NULL;
			if (cli_row(cli, t, NULL,
				    (const char *const[]){ q ? "" : disk->target, q ? "" : disk->source, q ? "" : node,
							   number, is, should, completes,
							   cli_completes_text(p->disks[i].queues[q].completes) }))
				return CLI_FAILED;
		}
	return cli_table_print(t);
}

int cli_print_domain(const struct cli *cli, const struct cli_source *s, const struct vbmq_domain *d)
{
	const struct vbmq_place_domain *p = vbmq_placement_domain(s->plan->placement, d->uuid);
	_cleanup_free_ char *nodes = vbmq_cpulist_format(&d->memory_nodes);

	printf("%s  %s\n", d->name, d->uuid);
	printf("state %s%s, %u vCPUs, memory on node %s, capability %s, %s, priority %d\n\n",
	       vbmq_domain_state_words[d->state], d->responsive ? "" : " (monitor does not answer)", d->n_vcpus,
	       nodes && *nodes ? nodes : "?", vbmq_capability_words[p->capability],
	       p->managed ? "managed" : "not managed", p->priority);
	if (print_threads(cli, d, p))
		return CLI_FAILED;
	if (d->n_disks) {
		putchar('\n');
		if (print_queues(cli, d, p))
			return CLI_FAILED;
	}
	putchar('\n');
	for (size_t i = 0; i < p->diags.n; i++)
		printf("%s: %s [%s]\n", vbmq_severity_words[p->diags.items[i].severity], p->diags.items[i].text,
		       p->diags.items[i].code);
	return 0;
}

/* --- JSON ------------------------------------------------------------------------------------------------------------- */

static json_t *head_json(const struct vbmq_domain *d, const struct vbmq_place_domain *p)
{
	struct summary n = summarize(p);

	return json_pack("{s:s,s:s,s:i,s:s,s:b,s:s,s:b,s:i,s:I,s:I,s:I,s:I,s:I}", "name", d->name, "uuid", d->uuid,
			 "id", d->id, "state", vbmq_domain_state_words[d->state], "responsive", (int)d->responsive,
			 "capability", vbmq_capability_words[p->capability], "managed", (int)p->managed, "priority",
			 p->priority, "vcpus", (json_int_t)d->n_vcpus, "disks", (json_int_t)p->n_disks, "queues",
			 (json_int_t)n.queues, "iothreads", (json_int_t)n.total, "iothreads_exclusive",
			 (json_int_t)n.exclusive);
}

json_t *cli_domains_json(const struct cli_source *s)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < s->snapshot->n_domains; i++)
		if (json_array_append_new(list, head_json(s->snapshot->domains[i], &s->plan->placement->domains[i])) <
		    0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *thread_json(const struct vbmq_domain *d, const struct vbmq_place_thread *p)
{
	const struct vbmq_thread *now = vbmq_domain_thread(d, p->kind, p->id);
	json_t *j = json_pack("{s:s,s:I,s:I,s:o,s:b,s:b,s:b,s:b}", "kind", vbmq_thread_kind_words[p->kind], "id",
			      (json_int_t)p->id, "tid", (json_int_t)(now ? now->tid : 0), "should",
			      cli_cpus_json(p->cpus), "exclusive", (int)p->exclusive, "planned", (int)p->planned, "add",
			      (int)p->to_add, "remove", (int)p->to_remove);

	if (j && now && json_object_set_new(j, "is", cli_cpus_json(&now->affinity)) < 0) {
		json_decref(j);
		return NULL;
	}
	return j;
}

static json_t *disk_json(const struct vbmq_disk *disk, const struct vbmq_place_disk *p)
{
	json_t *queues = json_array();

	for (size_t q = 0; queues && q < disk->n_queues && q < p->n_queues; q++)
		if (json_array_append_new(queues, json_pack("{s:I,s:I,s:I,s:o,s:b,s:s}", "queue", (json_int_t)q, "is",
							    (json_int_t)disk->queues[q].iothread, "should",
							    (json_int_t)p->queues[q].iothread, "vcpus",
							    cli_cpus_json(p->queues[q].vcpus), "exact",
							    (int)disk->queues[q].vcpus_exact, "distance",
							    vbmq_completes_words[p->queues[q].completes])) < 0) {
			json_decref(queues);
			return NULL;
		}
	return json_pack("{s:s,s:s?,s:i,s:b,s:o}", "target", disk->target, "source", disk->source, "node", disk->node,
			 "at_next_start", (int)p->at_next_start, "queues", queues);
}

json_t *cli_domain_json(const struct cli_source *s, const struct vbmq_domain *d)
{
	const struct vbmq_place_domain *p = vbmq_placement_domain(s->plan->placement, d->uuid);
	json_t *threads = json_array(), *disks = json_array();
	bool ok = threads && disks;

	for (size_t i = 0; ok && i < p->n_threads; i++)
		ok = json_array_append_new(threads, thread_json(d, &p->threads[i])) == 0;
	for (size_t i = 0; ok && i < d->n_disks && i < p->n_disks; i++)
		ok = json_array_append_new(disks, disk_json(&d->disks[i], &p->disks[i])) == 0;
	if (!ok) {
		json_decref(threads);
		json_decref(disks);
		return NULL;
	}
	return json_pack("{s:s,s:o,s:o,s:o}", "schema", "vbmq-show/1", "domain", head_json(d, p), "threads", threads,
			 "disks", disks);
}
