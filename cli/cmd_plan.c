/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* plan: what should be. Nothing here changes anything. */

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
		_cleanup_free_ char *cpus = vbmq_cpulist_format(p->cpus);
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
