/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "direct.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bus_client.h"
#include "capture/capture.h"
#include "codec/json_plan.h"
#include "codec/json_undo.h"
#include "core/verify.h"
#include "util/cleanup.h"
#include "util/file.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_snapshot_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_report *, vbmq_report_free);

static int save_undo(void *data, const struct vbmq_undo *undo, struct vbmq_err *err)
{
	const struct cli_direct *d = data;
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

int cli_direct_begin(struct cli *cli, struct cli_direct *ret)
{
	int r;

	*ret = (struct cli_direct){ .cli = cli };
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
	ret->own.where = cli->bus;
	ret->parts = vbmq_bus_parts_actuator(&ret->own);
	ret->apply = (struct vbmq_apply){
		.actuator = &ret->actuator,
		.parts = &ret->parts,
		.dry_run = cli->dry_run,
		.save_undo = save_undo,
		.data = ret,
	};
	return 0;
}

void cli_direct_end(struct cli_direct *d)
{
	vbmq_bus_parts_close(&d->own);
	vbmq_undo_free(d->undo);
	vbmq_virt_close(d->virt);
}

int cli_direct_look(struct cli_direct *d, struct cli_source *source)
{
	int r;

	*source = (struct cli_source){ .snapshot = NULL };
	vbmq_policy_init(&source->policy);
	source->has_policy = true;
	r = cli_load_policy(d->cli, &source->policy);
	return r ? r : cli_direct_snapshot(d->cli, d->virt, d->undo, NULL, &source->snapshot);
}

static int verify_now(struct cli_direct *d, const struct vbmq_plan *plan, struct vbmq_report *report)
{
	_cleanup_(vbmq_snapshot_freep) struct vbmq_snapshot *after = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = cli_direct_snapshot(d->cli, d->virt, d->undo, NULL, &after);

	if (r)
		return r;
	return vbmq_verify(after, plan, report, &err) < 0 ? cli_fail(CLI_FAILED, &err) : 0;
}

int cli_direct_apply(struct cli_direct *d, const struct vbmq_snapshot *snapshot, const struct vbmq_plan *plan,
		     struct vbmq_report **ret, bool *ret_ok)
{
	_cleanup_(vbmq_report_freep) struct vbmq_report *report = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int applied = vbmq_apply_plan(&d->apply, snapshot, plan, d->undo, &report, &err), r;

	if (applied < 0)
		return cli_fail(CLI_FAILED, &err);
	r = d->cli->dry_run ? 0 : verify_now(d, plan, report);
	if (r)
		return r;
	*ret_ok = applied == 0 && report->n_bad_checks == 0;
	*ret = VBMQ_STEAL(report);
	return 0;
}

int cli_direct_report(const struct vbmq_report *report, const struct vbmq_plan *plan,
		      const struct vbmq_snapshot *snapshot, const struct vbmq_step *steps, size_t n_steps, char **ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	return vbmq_report_format(report, plan, snapshot, steps, n_steps, true, ret, &err) < 0
		       ? cli_fail(CLI_FAILED, &err)
		       : 0;
}
