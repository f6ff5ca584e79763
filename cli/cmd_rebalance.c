/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* rebalance: shows what the better placement of all guests moves and gains, then carries it out unless told not to. */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus_client.h"
#include "cli.h"
#include "codec/json_plan.h"
#include "codec/json_rebalance.h"
#include "codec/plan_id.h"
#include "core/rebalance.h"
#include "direct.h"
#include "output.h"
#include "report_view.h"
#include "source.h"
#include "util/cleanup.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_rebalance *, vbmq_rebalance_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_report *, vbmq_report_free);

/* --- what it is worth ------------------------------------------------------------------------------------------------- */

static int print_moves(const struct cli *cli, const struct vbmq_host *h, const struct vbmq_rebalance *r)
{
	static const char *const columns[] = { "DOMAIN", "THREAD", "FROM", "TO", ">NODE", ">L3", "NOTE", NULL };
	struct libscols_table *t = cli_table(cli, columns);

	for (size_t i = 0; i < r->n_moves; i++) {
		const struct vbmq_move *m = &r->moves[i];
		_cleanup_free_ char *from = vbmq_cpulist_format(&m->from), *to = vbmq_cpulist_format(&m->to);
		const struct vbmq_core *core = vbmq_host_core_of(h, (unsigned)vbmq_cpuset_next(&m->to, 0));
		char name[32], node[16] = "", l3[16] = "";

		if (core) {
			snprintf(node, sizeof(node), "%u", h->nodes[core->node].id);
			snprintf(l3, sizeof(l3), "%u", core->l3);
		}
		if (cli_row(cli, t, "green",
			    (const char *const[]){ r->plan->placement->domains[m->domain].name,
						   cli_thread_name(m->kind, m->id, name), from && *from ? from : "-",
						   to, node, l3, m->had_own ? "" : "gets a core of its own" }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

static int gain_row(const struct cli *cli, struct libscols_table *t, const char *what, size_t before, size_t after,
		    size_t of)
{
	char a[48], b[48];

	snprintf(a, sizeof(a), "%zu of %zu", before, of);
	snprintf(b, sizeof(b), "%zu of %zu", after, of);
	return cli_row(cli, t, before == after ? NULL : "green", (const char *const[]){ what, a, b });
}

static int print_gain(const struct cli *cli, const struct vbmq_score *before, const struct vbmq_score *after)
{
	static const char *const columns[] = { "GAIN", ">BEFORE", ">AFTER", NULL };
	struct libscols_table *t = cli_table(cli, columns);
	char a[32], b[32];
	int r;

	r = gain_row(cli, t, "threads on a core of their own", before->n_own, after->n_own, after->n_threads);
	r = r ? r : gain_row(cli, t, "I/O threads off their node", before->n_remote, after->n_remote, after->n_served);
	r = r ? r
	      : gain_row(cli, t, "completions out of their L3 domain", before->n_far, after->n_far,
			 after->n_completions);
	r = r ? r : gain_row(cli, t, "L3 domains wholly free", before->n_l3_free, after->n_l3_free, after->n_l3);
	snprintf(a, sizeof(a), "%llu", (unsigned long long)before->locality);
	snprintf(b, sizeof(b), "%llu", (unsigned long long)after->locality);
	r = r ? r
	      : cli_row(cli, t, before->locality == after->locality ? NULL : "green",
			(const char *const[]){ "distance to completion vCPUs", a, b });
	snprintf(a, sizeof(a), "%s", before->awkward ? "yes" : "no");
	snprintf(b, sizeof(b), "%s", after->awkward ? after->awkward < before->awkward ? "fewer" : "yes" : "no");
	r = r ? r
	      : cli_row(cli, t, before->awkward == after->awkward ? NULL : "green",
			(const char *const[]){ "threads on boot, slower or not isolated cores", a, b });
	return r ? r : cli_table_print(t);
}

static int print_rebalance(const struct cli *cli, const struct cli_source *source, const struct vbmq_rebalance *r)
{
	int code = 0;

	printf("host %s (%s), rebalance %s\n", source->snapshot->host->name, source->origin, r->plan->id);
	if (!r->better) {
		printf("Nothing to gain%s: no placement of all guests is better than the one that %s.\n",
		       cli->max_moves == VBMQ_MOVES_ANY ? "" : " with so few moves",
		       r->plan->n_steps ? "the everyday plan leads to (vbmqctl apply carries it out)" : "is there");
		return 0;
	}
	printf("%zu thread%s would leave a core of %s own, %zu step%s:\n\n", r->n_own_moves,
	       r->n_own_moves == 1 ? "" : "s", r->n_own_moves == 1 ? "its" : "their", r->plan->n_steps,
	       r->plan->n_steps == 1 ? "" : "s");
	if (r->n_moves)
		code = print_moves(cli, source->snapshot->host, r);
	if (code == 0) {
		putchar('\n');
		code = print_gain(cli, &r->before, &r->after);
	}
	return code;
}

/* --- doing it --------------------------------------------------------------------------------------------------------- */

static int compute(struct cli *cli, struct cli_source *source, struct vbmq_rebalance **ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char everyday[VBMQ_PLAN_ID_LEN + 1], id[VBMQ_PLAN_ID_LEN + 1];

	if (vbmq_plan_id(source->snapshot, &source->policy, everyday, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	vbmq_plan_id_rebalance(everyday, cli->max_moves, id);
	if (cli->plan_id && strcmp(cli->plan_id, id) != 0)
		return cli_failf(CLI_FAILED,
				 "rebalance %s is stale: the state has moved, it is now %s (--dry-run shows it)",
				 cli->plan_id, id);
	return vbmq_rebalance_make(source->snapshot, &source->policy, cli->max_moves, id, ret, &err) < 0
		       ? cli_fail(CLI_FAILED, &err)
		       : 0;
}

/* report: its document, or NULL when nothing was applied. */
static int print_document(const struct vbmq_rebalance *r, const char *report)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *text = NULL;
	json_t *root;

	if (vbmq_rebalance_format(r, true, &text, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	if (!report)
		return cli_print_text(text);
	root = json_loads(text, 0, NULL);
	if (!root || json_object_set_new(root, "report", json_loads(report, 0, NULL)) < 0) {
		json_decref(root);
		return cli_failf(CLI_FAILED, "the report cannot be shown as a document");
	}
	return cli_print_json(root);
}

static int show_and_report(struct cli *cli, const struct cli_source *source, const struct vbmq_rebalance *r,
			   int (*apply)(struct cli *cli, void *data, const struct cli_source *source,
					const struct vbmq_rebalance *r, char **ret_report),
			   void *data)
{
	bool act = r->better && !cli->dry_run && apply, ok = true;
	_cleanup_free_ char *report = NULL;
	int code = cli->json ? 0 : print_rebalance(cli, source, r);

	if (code == 0 && act) {
		fflush(stdout);
		code = apply(cli, data, source, r, &report);
	}
	if (code == 0 && cli->json)
		code = print_document(r, report);
	if (code == 0 && report) {
		if (!cli->json)
			putchar('\n');
		code = cli->json ? 0 : cli_report_print(cli, report);
		code = code ? code : cli_report_ok(report, &ok);
	} else if (code == 0 && r->better && !cli->json) {
		printf("\nNothing was changed%s.\n", apply ? ": leave out --dry-run to carry it out" : "");
	}
	return code ? code : ok ? CLI_OK : CLI_FAILED;
}

static int apply_direct(struct cli *cli, void *data, const struct cli_source *source, const struct vbmq_rebalance *r,
			char **ret_report)
{
	_cleanup_(vbmq_report_freep) struct vbmq_report *report = NULL;
	bool ok;
	int code = cli_direct_apply(data, source->snapshot, r->plan, &report, &ok);

	return code ? code
		    : cli_direct_report(report, r->plan, source->snapshot, r->plan->steps, r->plan->n_steps,
					ret_report);
}

static int apply_bus(struct cli *cli, void *data, const struct cli_source *source, const struct vbmq_rebalance *r,
		     char **ret_report)
{
	return cli_bus_apply(cli, r->plan->id, true, ret_report);
}

static int rebalance_direct(struct cli *cli)
{
	_cleanup_(vbmq_rebalance_freep) struct vbmq_rebalance *r = NULL;
	struct cli_source source = { .snapshot = NULL };
	struct cli_direct d;
	int code = cli_direct_begin(cli, &d);

	if (code == 0)
		code = cli_direct_look(&d, &source);
	if (code == 0) {
		source.origin = strdup("libvirt");
		code = source.origin ? compute(cli, &source, &r) : cli_failf(CLI_FAILED, "out of memory");
	}
	if (code == 0)
		code = show_and_report(cli, &source, r, apply_direct, &d);
	cli_source_done(&source);
	cli_direct_end(&d);
	return code;
}

int cmd_rebalance(struct cli *cli)
{
	_cleanup_(vbmq_rebalance_freep) struct vbmq_rebalance *r = NULL;
	_cleanup_free_ char *fresh = NULL;
	struct cli_source source = { .snapshot = NULL };
	int code = 0;

	if (cli->direct)
		return rebalance_direct(cli);
	if (cli->policy && !cli->snapshot)
		return cli_failf(CLI_USAGE,
				 "vbmqd has its own policy: --policy goes with --direct and --snapshot only");
	if (!cli->snapshot) /* what vbmqd knows may be as old as its last look; a look of its own is what it compares with */
		code = cli_bus_document(cli, "Verify", NULL, &fresh);
	if (code == 0)
		code = cli_source_load(cli, &source);
	if (code == 0)
		code = compute(cli, &source, &r);
	if (code == 0)
		code = show_and_report(cli, &source, r, cli->snapshot ? NULL : apply_bus, NULL);
	cli_source_done(&source);
	return code;
}
