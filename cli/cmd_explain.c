/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* explain: why every thread is where it is, and what would have to change for a better place. Nothing here changes anything. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "codec/json_plan.h"
#include "core/explain.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_explanation *, vbmq_explanation_free);

static const char *const nearness_words[] = { "same core as", "same L3 domain as", "same node as",
					      "another node than" };

static void explain_place(const struct vbmq_place_thread *p)
{
	const struct vbmq_why *w = p->why;

	if (!w) {
		printf("    %s\n",
		       p->planned ? "floats on the shared set: it has no wish for a core of its own, or got none"
				  : "not ours to place: its owner pinned it, or its domain is not managed");
		return;
	}
	printf("    %s its completion vCPUs' place", nearness_words[w->nearness]);
	if (w->from_device)
		printf("; NUMA distance to the device %u", w->from_device);
	if (w->from_memory)
		printf("; to guest memory %u", w->from_memory);
	printf("\n    cost: numa %llu, locality %llu, moves %llu, fragmentation %llu\n",
	       (unsigned long long)w->cost.numa, (unsigned long long)w->cost.locality,
	       (unsigned long long)w->cost.moves, (unsigned long long)w->cost.fragment);
	if (w->has_next)
		printf("    next best: CPU %u at numa %llu, locality %llu, moves %llu, fragmentation %llu\n",
		       w->next_cpu, (unsigned long long)w->next_cost.numa, (unsigned long long)w->next_cost.locality,
		       (unsigned long long)w->next_cost.moves, (unsigned long long)w->next_cost.fragment);
	else
		printf("    next best: none, no other core is free\n");
}

/* Interrupts of disks that complete what the thread submits. */
static void explain_interrupts(const struct vbmq_placement *p, const struct vbmq_place_thread *t)
{
	static const char *const stays[] = {
		[VBMQ_IRQ_MOVABLE] = "", /* then something else keeps it there: see the diagnostics */
		[VBMQ_IRQ_MANAGED] = ", where the kernel put it",
		[VBMQ_IRQ_FOREIGN] = ", where somebody keeps it",
	};

	for (size_t i = 0; i < p->n_irqs && t->exclusive && t->kind == VBMQ_THREAD_IOTHREAD; i++) {
		const struct vbmq_place_irq *irq = &p->irqs[i];
		_cleanup_free_ char *on = vbmq_cpulist_format(&irq->on);

		if (!irq->put_back && vbmq_cpuset_intersects(&irq->cpus, t->cpus))
			printf("    interrupt %u (%s) comes on CPU %s%s\n", irq->irq, irq->name, on ? on : "?",
			       irq->planned ? ", to be kept with it" : stays[irq->state]);
	}
}

static void print_remedies(const struct vbmq_placement *p, const struct vbmq_explained *c, const char *indent,
			   const char *what)
{
	if (c->n_remedies == 0)
		printf("%s%s: no single change that was tried would do\n", indent, what);
	for (size_t i = 0; i < c->n_remedies; i++) {
		_cleanup_free_ char *text = vbmq_remedy_text(&c->remedies[i], p);

		printf("%s%s%s\n", indent, i ? "  or " : what, i ? text ? text : "?" : ":");
		if (i == 0)
			printf("%s     %s\n", indent, text ? text : "?");
	}
}

static void explain_better(const struct vbmq_placement *p, const struct vbmq_explained *c)
{
	_cleanup_free_ char *better = vbmq_cpulist_format(&c->better);
	char buf[32];

	printf("    nearer: the core of CPUs %s", better ? better : "?");
	if (c->held) {
		const struct vbmq_place_domain *d = &p->domains[c->holder];
		const struct vbmq_place_thread *t = &d->threads[c->holder_thread];

		printf(", which %s of %s has (priority %d)", cli_thread_name(t->kind, t->id, buf), d->name,
		       d->priority);
	} else {
		printf(", which nobody has for himself");
	}
	putchar('\n');
	print_remedies(p, c, "    ", "it would be nearer with");
}

/* Which vCPUs complete which queue, who serves it, and how far that is. */
static int explain_queues(const struct cli *cli, const struct vbmq_place_domain *d)
{
	static const char *const columns[] = { "  DISK", ">QUEUE", "SERVED BY", "COMPLETES ON", "DISTANCE AT WORST",
					       NULL };
	struct libscols_table *t = cli_table(cli, columns);
	char disk[VBMQ_TARGET_MAX + 4];

	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues; q++) {
			const struct vbmq_place_queue *queue = &d->disks[i].queues[q];
			_cleanup_free_ char *vcpus = vbmq_cpulist_format(queue->vcpus), *on = NULL;
			char number[24], by[32] = "main loop";

			snprintf(disk, sizeof(disk), "  %s", q ? "" : d->disks[i].target);
			snprintf(number, sizeof(number), "%zu", q);
			if (queue->iothread)
				cli_thread_name(VBMQ_THREAD_IOTHREAD, queue->iothread, by);
			if (asprintf(&on, "%s%s", vcpus && *vcpus ? "vCPU " : "", vcpus ? vcpus : "?") < 0)
				on = NULL;
			if (cli_row(cli, t, NULL,
				    (const char *const[]){ disk, number, by, on,
							   cli_completes_text(queue->completes) }))
				return CLI_FAILED;
		}
	return cli_table_print(t);
}

static bool explain_domain(const struct cli *cli, const struct vbmq_placement *placement,
			   const struct vbmq_explanation *x, uint32_t index, const char *thread)
{
	const struct vbmq_place_domain *d = &placement->domains[index];
	const struct vbmq_explained *c;
	bool found = false;

	printf("%s (%s, %s, priority %d)\n", d->name, vbmq_capability_words[d->capability],
	       d->managed ? "managed" : "not managed", d->priority);
	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_place_thread *p = &d->threads[i];
		_cleanup_free_ char *cpus = vbmq_cpulist_format(p->cpus);
		char buf[32];
		const char *name = cli_thread_name(p->kind, p->id, buf);

		if (thread && strcmp(thread, name) != 0)
			continue;
		found = true;
		printf("  %s: CPU %s%s\n", name, cpus ? cpus : "?", p->exclusive ? ", a core of its own" : "");
		explain_place(p);
		explain_interrupts(placement, p);
		c = vbmq_explanation_find(x, index, (uint32_t)i);
		if (c)
			explain_better(placement, c);
	}
	if (d->n_disks && !thread && explain_queues(cli, d))
		return false;
	for (size_t i = 0; i < d->diags.n && !thread; i++)
		printf("  %s: %s [%s]\n", vbmq_severity_words[d->diags.items[i].severity], d->diags.items[i].text,
		       d->diags.items[i].code);
	c = thread ? NULL : vbmq_explanation_find(x, index, VBMQ_EXPLAIN_ALL);
	if (c)
		print_remedies(placement, c, "  ", "what it wishes would be possible with");
	return found;
}

static int explain_all(const struct cli *cli, const struct vbmq_plan *plan, const struct vbmq_explanation *x,
		       const char *domain, const char *thread)
{
	for (uint32_t i = 0; i < plan->placement->n_domains; i++) {
		const struct vbmq_place_domain *d = &plan->placement->domains[i];

		if (domain && strcmp(domain, d->name) != 0 && strcmp(domain, d->uuid) != 0)
			continue;
		if (!explain_domain(cli, plan->placement, x, i, thread) && thread)
			return cli_failf(CLI_FAILED, "domain '%s' has no thread '%s' (vbmqctl show %s lists them)",
					 d->name, thread, d->name);
	}
	return 0;
}

/* The nearest places and remedies: of one domain, or of all. */
static int find_remedies(const struct cli_source *source, const char *domain, struct vbmq_explanation **ret)
{
	const struct vbmq_placement *p = source->plan->placement;
	const struct vbmq_place_domain *d = domain ? vbmq_placement_domain(p, domain) : NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;

	return vbmq_explain_make(source->snapshot, &source->policy, p,
				 d ? (uint32_t)(d - p->domains) : VBMQ_EXPLAIN_ALL, ret, &err) < 0
		       ? cli_fail(CLI_FAILED, &err)
		       : 0;
}

int cmd_explain(struct cli *cli)
{
	const char *domain = cli->n_args >= 1 ? cli->args[0] : NULL, *thread = cli->n_args >= 2 ? cli->args[1] : NULL;
	_cleanup_(vbmq_explanation_freep) struct vbmq_explanation *x = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *json = NULL;
	struct cli_source source;
	int r = cli_source_load(cli, &source);

	if (r)
		return r;
	r = cli_source_plan(&source);
	if (r == 0 && domain && !vbmq_placement_domain(source.plan->placement, domain))
		r = cli_failf(CLI_FAILED, "no domain '%s' in %s (vbmqctl list shows them)", domain, source.origin);
	if (r == 0)
		r = find_remedies(&source, domain, &x);
	if (r == 0 && cli->json)
		r = vbmq_explain_format_with(source.plan, x, domain, true, &json, &err) < 0 ? cli_fail(CLI_FAILED, &err)
											    : cli_print_text(json);
	else if (r == 0)
		r = explain_all(cli, source.plan, x, domain, thread);
	if (r == 0 && x->cut)
		cli_note(cli, "vbmqctl: not everything was tried; name a domain to have it tried for that one.");
	cli_source_done(&source);
	return r;
}
