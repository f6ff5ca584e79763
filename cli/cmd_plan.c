/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* plan, explain: what should be, and why. Nothing here changes anything. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "codec/json_plan.h"
#include "fleet.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"

/* A person reads where the threads go; the vCPUs and emulators that float share one line. */
static int print_domain(const struct cli *cli, struct libscols_table *t, const struct vbmq_place_domain *d)
{
	const char *domain = d->name;

	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_place_thread *p = &d->threads[i];
		_cleanup_free_ char *cpus = vbmq_cpulist_format(&p->cpus);
		char name[32];
		const char *note = p->to_add	  ? "to be added"
				   : p->to_remove ? "to be removed"
				   : !p->planned  ? "left as it is"
						  : "";

		if (!d->managed && !p->planned)
			continue;
		if (cli_row(cli, t, p->exclusive ? "green" : NULL,
			    (const char *const[]){ domain, cli_thread_name(p->kind, p->id, name), cpus,
						   p->exclusive ? "its own" : "shared", note }))
			return CLI_FAILED;
		domain = "";
	}
	return 0;
}

static int print_placement(const struct cli *cli, const struct cli_source *source)
{
	static const char *const columns[] = { "DOMAIN", "THREAD", "CPUS", "CORE", "NOTE", NULL };
	const struct vbmq_placement *p = source->plan->placement;
	_cleanup_free_ char *shared = vbmq_cpulist_format(&p->shared), *dedicated = vbmq_cpulist_format(&p->dedicated);
	struct libscols_table *t;

	printf("host %s (%s): shared CPUs %s; dedicated CPUs %s\n", source->snapshot->host->name, source->origin,
	       shared ? shared : "?", dedicated && *dedicated ? dedicated : "none");
	printf("plan %s\n", source->plan->id);
	if (p->n_domains) {
		putchar('\n');
		t = cli_table(cli, columns);
		for (size_t i = 0; i < p->n_domains; i++)
			if (print_domain(cli, t, &p->domains[i]))
				return CLI_FAILED;
		if (cli_table_print(t))
			return CLI_FAILED;
	}
	return 0;
}

/* A described domain does not run: there is nothing to do now, the placement is for its next start. */
static int print_steps(const struct cli *cli, const struct cli_source *source)
{
	if (source->plan->n_steps == 0) {
		printf("\nNothing to do%s.\n",
		       cli->host ? " now: described domains are planned for their next start" : "");
		return 0;
	}
	printf("\n%zu steps:\n", source->plan->n_steps);
	return cli_print_steps(cli, source->plan, source->plan->steps, source->plan->n_steps, NULL);
}

static int print_all(const struct cli *cli, const struct cli_source *source)
{
	int r = print_placement(cli, source);

	if (r == 0)
		r = print_steps(cli, source);
	if (r == 0) {
		putchar('\n');
		cli_print_diags(cli, source->plan, true);
	}
	return r;
}

static int print_plan(const struct cli *cli, const struct cli_source *source)
{
	struct vbmq_fleet_report report = { .fleet = NULL };
	bool fleet = source->fleet.n_templates > 0;
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *json = NULL;
	bool drawn = false;
	int r = fleet ? cli_fleet_report(cli, source, &report) : 0;

	if (r == 0)
		r = cli_source_draw(cli, source, &drawn);
	if (r) {
		vbmq_fleet_report_done(&report);
		return r;
	}
	if (drawn)
		r = 0;
	else if (cli->json)
		r = vbmq_plan_format_fleet(source->plan, source->snapshot->host, fleet ? &report : NULL, true, &json,
					   &err) < 0
			    ? cli_fail(CLI_FAILED, &err)
			    : cli_print_text(json);
	else
		r = fleet ? cli_fleet_print(cli, source, &report) : print_all(cli, source);
	if (r == 0 && (source->plan->placement->infeasible || report.overcommitted))
		r = CLI_INFEASIBLE;
	vbmq_fleet_report_done(&report);
	return r;
}

int cmd_plan(struct cli *cli)
{
	struct cli_source source;
	int r = cli_source_load(cli, &source);

	if (r)
		return r;
	r = cli_source_plan(&source);
	if (r == 0)
		r = print_plan(cli, &source);
	cli_source_done(&source);
	return r;
}

/* --- explain ---------------------------------------------------------------------------------------------------------- */

static const char *const nearness_words[] = { "same core as", "same L3 domain as", "same node as",
					      "another node than" };

static void explain_place(const struct vbmq_place_thread *p)
{
	const struct vbmq_why *w = &p->why;
	_cleanup_free_ char *next = vbmq_cpulist_format(&w->next_cpus);

	if (!w->known) {
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
		printf("    next best: CPU %s at numa %llu, locality %llu, moves %llu, fragmentation %llu\n",
		       next ? next : "?", (unsigned long long)w->next_cost.numa,
		       (unsigned long long)w->next_cost.locality, (unsigned long long)w->next_cost.moves,
		       (unsigned long long)w->next_cost.fragment);
	else
		printf("    next best: none, no other core is free\n");
}

static bool explain_domain(const struct cli *cli, const struct vbmq_place_domain *d, const char *thread)
{
	bool found = false;

	printf("%s (%s, %s, priority %d)\n", d->name, vbmq_capability_words[d->capability],
	       d->managed ? "managed" : "not managed", d->priority);
	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_place_thread *p = &d->threads[i];
		_cleanup_free_ char *cpus = vbmq_cpulist_format(&p->cpus);
		char buf[32];
		const char *name = cli_thread_name(p->kind, p->id, buf);

		if (thread && strcmp(thread, name) != 0)
			continue;
		found = true;
		printf("  %s: CPU %s%s\n", name, cpus ? cpus : "?", p->exclusive ? ", a core of its own" : "");
		explain_place(p);
	}
	for (size_t i = 0; i < d->diags.n && !thread; i++)
		printf("  %s: %s [%s]\n", vbmq_severity_words[d->diags.items[i].severity], d->diags.items[i].text,
		       d->diags.items[i].code);
	return found;
}

static int explain_all(const struct cli *cli, const struct vbmq_plan *plan, const char *domain, const char *thread)
{
	for (size_t i = 0; i < plan->placement->n_domains; i++) {
		const struct vbmq_place_domain *d = &plan->placement->domains[i];

		if (domain && strcmp(domain, d->name) != 0 && strcmp(domain, d->uuid) != 0)
			continue;
		if (!explain_domain(cli, d, thread) && thread)
			return cli_failf(CLI_FAILED, "domain '%s' has no thread '%s' (vbmqctl show %s lists them)",
					 d->name, thread, d->name);
	}
	return 0;
}

int cmd_explain(struct cli *cli)
{
	const char *domain = cli->n_args >= 1 ? cli->args[0] : NULL, *thread = cli->n_args >= 2 ? cli->args[1] : NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *json = NULL;
	struct cli_source source;
	int r = cli_source_load(cli, &source);

	if (r)
		return r;
	r = cli_source_plan(&source);
	if (r == 0 && domain && !vbmq_placement_domain(source.plan->placement, domain))
		r = cli_failf(CLI_FAILED, "no domain '%s' in %s (vbmqctl list shows them)", domain, source.origin);
	if (r == 0 && cli->json)
		r = vbmq_explain_format(source.plan, domain, true, &json, &err) < 0 ? cli_fail(CLI_FAILED, &err)
										    : cli_print_text(json);
	else if (r == 0)
		r = explain_all(cli, source.plan, domain, thread);
	cli_source_done(&source);
	return r;
}
