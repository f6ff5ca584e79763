/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* apply, verify, restore: the verbs that ask for changes and the one that checks them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/dropins.h"
#include "bus_client.h"
#include "cli.h"
#include "codec/json_plan.h"
#include "core/diff.h"
#include "core/verify.h"
#include "direct.h"
#include "output.h"
#include "report_view.h"
#include "source.h"
#include "util/cleanup.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_report *, vbmq_report_free);

/* plan NULL: a restore, the snapshot gives the names. */
static int print_report(const struct cli *cli, const struct vbmq_report *report, const struct vbmq_plan *plan,
			const struct vbmq_snapshot *snapshot, const struct vbmq_step *steps, size_t n_steps)
{
	_cleanup_free_ char *json = NULL;
	int r = cli_direct_report(report, plan, snapshot, steps, n_steps, &json);

	if (r)
		return r;
	return cli->json ? cli_print_text(json) : cli_report_print(cli, json);
}

/* --- apply ------------------------------------------------------------------------------------------------------------ */

static int apply_direct(struct cli *cli)
{
	_cleanup_(vbmq_report_freep) struct vbmq_report *report = NULL;
	struct cli_source source = { .snapshot = NULL };
	struct cli_direct d;
	bool ok = false;
	int r;

	r = cli_direct_begin(cli, &d);
	if (r == 0)
		r = cli_direct_look(&d, &source);
	if (r == 0)
		r = cli_source_plan(&source);
	if (r == 0 && cli->plan_id && strcmp(cli->plan_id, source.plan->id) != 0)
		r = cli_failf(CLI_FAILED,
			      "plan %s is stale: the state has moved, the plan is now %s (vbmqctl plan shows it)",
			      cli->plan_id, source.plan->id);
	if (r == 0)
		r = cli_direct_apply(&d, source.snapshot, source.plan, &report, &ok);
	if (r == 0)
		r = print_report(cli, report, source.plan, source.snapshot, source.plan->steps, source.plan->n_steps);
	if (r == 0 && !ok)
		r = CLI_FAILED;
	cli_source_done(&source);
	cli_direct_end(&d);
	return r;
}

int cmd_apply(struct cli *cli)
{
	_cleanup_free_ char *json = NULL;
	bool ok;
	int r;

	if (cli->direct)
		return apply_direct(cli);
	if (cli->policy)
		return cli_failf(CLI_USAGE, "vbmqd has its own policy: --policy goes with --direct only");
	r = cli_bus_apply(cli, cli->plan_id, false, &json);
	if (r)
		return r;
	r = cli->json ? cli_print_text(json) : cli_report_print(cli, json);
	if (r == 0)
		r = cli_report_ok(json, &ok);
	return r ? r : ok ? CLI_OK : CLI_FAILED;
}

/* --- verify ----------------------------------------------------------------------------------------------------------- */

/* Without vbmqd: does what is stand as a plan for it would leave it? */
static int verify_snapshot(struct cli *cli, char **ret)
{
	_cleanup_(vbmq_report_freep) struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct cli_source source;
	int r = cli_source_load(cli, &source);

	if (r)
		return r;
	r = cli_source_plan(&source);
	if (r == 0) {
		report = vbmq_report_new(source.plan);
		if (!report || vbmq_verify(source.snapshot, source.plan, report, &err) < 0)
			r = report ? cli_fail(CLI_FAILED, &err) : cli_failf(CLI_FAILED, "out of memory");
	}
	for (size_t i = 0; r == 0 && i < source.snapshot->n_domains; i++) {
		if (!source.snapshot->domains[i]->responsive &&
		    vbmq_report_unread(report, source.snapshot->domains[i]->name) < 0)
			r = cli_failf(CLI_FAILED, "out of memory");
	}
	if (r == 0 && vbmq_report_format(report, source.plan, source.snapshot, NULL, 0, true, ret, &err) < 0)
		r = cli_fail(CLI_FAILED, &err);
	cli_source_done(&source);
	return r;
}

int cmd_verify(struct cli *cli)
{
	_cleanup_free_ char *json = NULL;
	int r;

	if (cli->direct || cli->snapshot)
		r = verify_snapshot(cli, &json);
	else
		r = cli_bus_document(cli, "Verify", NULL, &json);
	if (r == 0)
		r = cli->json ? cli_print_text(json) : cli_report_print(cli, json);
	return r ? r : cli_report_verified(json);
}

/* --- restore ---------------------------------------------------------------------------------------------------------- */

static bool limits_any(const struct vbmq_step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (steps[i].op == VBMQ_STEP_LIMIT_SLICE)
			return true;
	return false;
}

static int restore_direct(struct cli *cli, const char *domain)
{
	_cleanup_(vbmq_report_freep) struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct cli_source source = { .snapshot = NULL };
	struct vbmq_step *steps = NULL;
	const char *uuid = NULL;
	size_t n_steps = 0;
	struct cli_direct d;
	int r, restored = 0;

	r = cli_direct_begin(cli, &d);
	if (r == 0)
		r = cli_direct_snapshot(cli, d.virt, d.undo, NULL, &source.snapshot);
	if (r == 0 && domain) {
		const struct vbmq_domain *found = vbmq_snapshot_find(source.snapshot, domain);

		uuid = found ? found->uuid : NULL;
		if (!uuid)
			r = cli_failf(CLI_FAILED, "no running domain '%s'", domain);
	}
	if (r == 0) {
		restored = vbmq_apply_restore(&d.apply, source.snapshot, uuid, d.undo, &steps, &n_steps, &report, &err);
		if (restored < 0)
			r = cli_fail(CLI_FAILED, &err);
	}
	if (r == 0)
		r = print_report(cli, report, NULL, source.snapshot, steps, n_steps);
	if (r == 0 && !domain && !cli->dry_run && limits_any(steps, n_steps) &&
	    vbmq_bus_dropins_remove(&d.own, &err) < 0)
		r = cli_fail(CLI_FAILED, &err);
	if (r == 0 && restored > 0)
		r = CLI_FAILED;
	vbmq_steps_free(steps, n_steps);
	cli_source_done(&source);
	cli_direct_end(&d);
	return r;
}

int cmd_restore(struct cli *cli)
{
	const char *domain = cli->n_args ? cli->args[0] : "";
	_cleanup_free_ char *json = NULL;
	bool ok;
	int r;

	if (cli->direct)
		return restore_direct(cli, *domain ? domain : NULL);
	if (cli->dry_run)
		return cli_failf(CLI_USAGE, "--dry-run of restore goes with --direct only");
	r = cli_bus_document(cli, "Restore", domain, &json);
	if (r)
		return r;
	r = cli->json ? cli_print_text(json) : cli_report_print(cli, json);
	if (r == 0)
		r = cli_report_ok(json, &ok);
	if (r == 0)
		cli_note(cli, "vbmqd is paused now; 'vbmqctl resume' lets it place threads again.");
	return r ? r : ok ? CLI_OK : CLI_FAILED;
}
