/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* apply, verify, restore: the verbs that ask for changes and the one that checks them. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "apply/engine.h"
#include "bus_client.h"
#include "capture/capture.h"
#include "cli.h"
#include "codec/json_plan.h"
#include "codec/json_undo.h"
#include "codec/plan_id.h"
#include "core/diff.h"
#include "core/verify.h"
#include "output.h"
#include "report_view.h"
#include "source.h"
#include "util/cleanup.h"
#include "util/file.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_snapshot_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_undo *, vbmq_undo_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_virt *, vbmq_virt_close);
VBMQ_DEFINE_CLEANUP(struct vbmq_report *, vbmq_report_free);

/* Everything a change without vbmqd needs. */
struct direct {
	struct cli *cli;
	struct vbmq_virt *virt;
	struct vbmq_undo *undo;
	struct vbmq_actuator actuator;
	struct vbmq_apply apply;
};

static int save_undo(void *data, const struct vbmq_undo *undo, struct vbmq_err *err)
{
	const struct direct *d = data;
	_cleanup_free_ char *path = NULL, *json = NULL;
	int r;

	if (asprintf(&path, "%s/undo.json", d->cli->run_dir) < 0) {
		path = NULL;
		return vbmq_err_oom(err);
	}
	if (mkdir(d->cli->run_dir, 0755) < 0 && errno != EEXIST)
		return vbmq_err_set(err, -errno, "%s: cannot make the directory: %m", d->cli->run_dir);
	r = vbmq_undo_format(undo, &json, err);
	return r < 0 ? r : vbmq_file_replace(path, json, strlen(json), 0600, err);
}

static int direct_open(struct cli *cli, struct direct *ret)
{
	int r;

	*ret = (struct direct){ .cli = cli };
	/* Two owners of the same affinities would undo each other. */
	if (!cli->dry_run && cli_bus_running(cli))
		return cli_failf(CLI_FAILED,
				 "vbmqd is running: leave out --direct, or stop it first (systemctl stop vbmqd)");
	r = cli_direct_open(cli, &ret->virt);
	if (r == 0)
		r = cli_direct_undo(cli, &ret->undo);
	if (r)
		return r;
	vbmq_act_libvirt(ret->virt, &vbmq_capture_task_ops, &ret->actuator);
	ret->apply = (struct vbmq_apply){
		.actuator = &ret->actuator,
		.dry_run = cli->dry_run,
		.save_undo = save_undo,
		.data = ret,
	};
	return 0;
}

static void direct_close(struct direct *d)
{
	vbmq_undo_free(d->undo);
	vbmq_virt_close(d->virt);
}

/* plan NULL: a restore, the snapshot gives the names. */
static int print_report(const struct cli *cli, const struct vbmq_report *report, const struct vbmq_plan *plan,
			const struct vbmq_snapshot *snapshot, const struct vbmq_step *steps, size_t n_steps)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *json = NULL;

	if (vbmq_report_format(report, plan, snapshot, steps, n_steps, true, &json, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return cli->json ? cli_print_text(json) : cli_report_print(cli, json);
}

/* --- apply ------------------------------------------------------------------------------------------------------------ */

/* Takes a snapshot, plans with the policy of --policy and the record, for apply and verify without vbmqd. */
static int direct_plan(struct cli *cli, struct direct *d, struct cli_source *source)
{
	int r;

	*source = (struct cli_source){ .snapshot = NULL };
	vbmq_policy_init(&source->policy);
	source->has_policy = true;
	r = cli_load_policy(cli, &source->policy);
	if (r == 0)
		r = cli_direct_snapshot(cli, d->virt, d->undo, NULL, &source->snapshot);
	return r ? r : cli_source_plan(source);
}

static int verify_now(struct cli *cli, struct direct *d, const struct cli_source *source, struct vbmq_report *report)
{
	_cleanup_(vbmq_snapshot_freep) struct vbmq_snapshot *after = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = cli_direct_snapshot(cli, d->virt, d->undo, NULL, &after);

	if (r)
		return r;
	return vbmq_verify(after, source->plan, report, &err) < 0 ? cli_fail(CLI_FAILED, &err) : 0;
}

static int apply_direct(struct cli *cli)
{
	_cleanup_(vbmq_report_freep) struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct cli_source source;
	struct direct d;
	int r, applied = 0;

	r = direct_open(cli, &d);
	if (r == 0)
		r = direct_plan(cli, &d, &source);
	else
		source = (struct cli_source){ .snapshot = NULL };
	if (r == 0 && cli->plan_id && strcmp(cli->plan_id, source.plan->id) != 0)
		r = cli_failf(CLI_FAILED,
			      "plan %s is stale: the state has moved, the plan is now %s (vbmqctl plan shows it)",
			      cli->plan_id, source.plan->id);
	if (r == 0) {
		applied = vbmq_apply_plan(&d.apply, source.snapshot, source.plan, d.undo, &report, &err);
		if (applied < 0)
			r = cli_fail(CLI_FAILED, &err);
	}
	if (r == 0 && !cli->dry_run)
		r = verify_now(cli, &d, &source, report);
	if (r == 0)
		r = print_report(cli, report, source.plan, source.snapshot, source.plan->steps, source.plan->n_steps);
	if (r == 0 && (applied > 0 || report->n_bad_checks))
		r = CLI_FAILED;
	cli_source_done(&source);
	direct_close(&d);
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
	r = cli_bus_apply(cli, cli->plan_id, cli->dry_run, &json);
	if (r)
		return r;
	r = cli->json ? cli_print_text(json) : cli_report_print(cli, json);
	if (r == 0)
		r = cli_report_ok(json, &ok);
	return r ? r : ok ? CLI_OK : CLI_FAILED;
}

/* --- verify ----------------------------------------------------------------------------------------------------------- */

/* Without vbmqd: does what is stand as a plan for it would leave it? */
static int verify_snapshot(struct cli *cli)
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
	if (r == 0)
		r = print_report(cli, report, source.plan, source.snapshot, NULL, 0);
	if (r == 0 && report->n_bad_checks)
		r = CLI_DRIFT;
	cli_source_done(&source);
	return r;
}

int cmd_verify(struct cli *cli)
{
	_cleanup_free_ char *json = NULL;
	bool ok;
	int r;

	if (cli->direct || cli->snapshot)
		return verify_snapshot(cli);
	r = cli_bus_document(cli, "Verify", NULL, &json);
	if (r)
		return r;
	r = cli->json ? cli_print_text(json) : cli_report_print(cli, json);
	if (r == 0)
		r = cli_report_ok(json, &ok);
	return r ? r : ok ? CLI_OK : CLI_DRIFT;
}

/* --- restore ---------------------------------------------------------------------------------------------------------- */

static int restore_direct(struct cli *cli, const char *domain)
{
	_cleanup_(vbmq_report_freep) struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct cli_source source = { .snapshot = NULL };
	struct vbmq_step *steps = NULL;
	const char *uuid = NULL;
	size_t n_steps = 0;
	struct direct d;
	int r, restored = 0;

	r = direct_open(cli, &d);
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
	if (r == 0 && restored > 0)
		r = CLI_FAILED;
	vbmq_steps_free(steps, n_steps);
	cli_source_done(&source);
	direct_close(&d);
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
