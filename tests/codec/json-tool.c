/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What test_json.py drives:
 *   json-tool check KIND FILE       reads a document and prints it again; exit 1 and the cause on stderr if it is refused
 *   json-tool judge KIND FILE...    a line for each document: "ok", or why it is refused
 *   json-tool model KIND            prints the document of the model that has everything (models.h)
 *   json-tool make KIND SNAPSHOT    prints the plan, explain or report (dry run) that follows from a snapshot
 *   json-tool conf                  prints the shipped vbmqd.conf
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/conf.h"
#include "codec/json_plan.h"
#include "codec/json_snapshot.h"
#include "codec/json_stats.h"
#include "codec/json_undo.h"
#include "codec/plan_id.h"
#include "models.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"

static int print_plan(const struct vbmq_plan *plan, const char *kind, const struct vbmq_host *host,
		      struct vbmq_report *report, const struct vbmq_explanation *x, char **ret, struct vbmq_err *err)
{
	if (strcmp(kind, "plan") == 0)
		return vbmq_plan_format(plan, host, true, ret, err);
	if (strcmp(kind, "explain") == 0)
		return vbmq_explain_format_with(plan, x, NULL, true, ret, err);
	return vbmq_report_format(report, plan, NULL, plan->steps, plan->n_steps, true, ret, err);
}

static int check(const char *kind, const char *file, char **ret, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct vbmq_snapshot *snapshot;
	struct vbmq_plan *plan;
	struct vbmq_undo *undo;
	size_t len;
	int r = vbmq_file_read(file, VBMQ_SNAPSHOT_JSON_MAX, &text, &len, err);

	if (r < 0)
		return r;
	if (strcmp(kind, "snapshot") == 0) {
		r = vbmq_snapshot_parse(file, text, len, &snapshot, err);
		if (r < 0)
			return r;
		r = vbmq_snapshot_format(snapshot, true, ret, err);
		vbmq_snapshot_free(snapshot);
	} else if (strcmp(kind, "plan") == 0) {
		r = vbmq_plan_parse(file, text, len, &plan, err);
		if (r < 0)
			return r;
		r = vbmq_plan_format(plan, NULL, true, ret, err);
		vbmq_plan_free(plan);
	} else if (strcmp(kind, "undo") == 0) {
		r = vbmq_undo_parse(file, text, len, &undo, err);
		if (r < 0)
			return r;
		r = vbmq_undo_format(undo, ret, err);
		vbmq_undo_free(undo);
	} else {
		r = vbmq_err_set(err, -ENOTSUP, "%s: nothing reads documents of kind '%s'", file, kind);
	}
	return r;
}

/* A guest with everything, one whose QEMU counts nothing, and one that was just started. */
static int print_stats(char **ret, struct vbmq_err *err)
{
	struct vbmq_stats *first = model_stats(0), *then = model_stats(1), *plain = model_stats(1),
			  *fresh = model_stats(0);
	const struct vbmq_stats_pair pairs[] = { { first, then }, { first, plain }, { NULL, fresh } };
	struct vbmq_snapshot *snapshot = model_snapshot();
	int r;

	strcpy(plain->uuid, MODEL_UUID_1);
	strcpy(plain->name, "pl");
	memset(fresh->uuid, '0', 8);
	strcpy(fresh->name, "f");
	fresh->uuid[0] = '1';
	plain->counts = false;
	for (size_t i = 0; i < plain->n_threads; i++) {
		plain->threads[i].counts = false;
		plain->threads[i].runs = plain->threads[i].id != 0;
		plain->threads[i].affinity = VBMQ_CPUSET_EMPTY;
	}
	for (size_t i = 0; i < plain->n_disks; i++)
		for (size_t q = 0; q < plain->disks[i].n_queues; q++) {
			plain->disks[i].queues[q].counts = false;
			plain->disks[i].queues[q].vcpus = VBMQ_CPUSET_EMPTY;
		}
	r = vbmq_stats_format(pairs, VBMQ_ELEMENTSOF(pairs), snapshot->host, true, ret, err);
	vbmq_snapshot_free(snapshot);
	vbmq_stats_free(first);
	vbmq_stats_free(then);
	vbmq_stats_free(plain);
	vbmq_stats_free(fresh);
	return r;
}

static int model(const char *kind, char **ret, struct vbmq_err *err)
{
	struct vbmq_snapshot *snapshot = model_snapshot();
	struct vbmq_plan *plan = model_plan();
	struct vbmq_report *report = model_report(plan);
	struct vbmq_explanation *x = model_explanation();
	struct vbmq_undo *undo = model_undo();
	int r;

	if (strcmp(kind, "snapshot") == 0)
		r = vbmq_snapshot_format(snapshot, true, ret, err);
	else if (strcmp(kind, "undo") == 0)
		r = vbmq_undo_format(undo, ret, err);
	else if (strcmp(kind, "stats") == 0)
		r = print_stats(ret, err);
	else
		r = print_plan(plan, kind, NULL, report, x, ret, err);
	vbmq_snapshot_free(snapshot);
	vbmq_report_free(report);
	vbmq_explanation_free(x);
	vbmq_plan_free(plan);
	vbmq_undo_free(undo);
	return r;
}

static int make(const char *kind, const char *file, char **ret, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct vbmq_snapshot *snapshot = NULL;
	struct vbmq_explanation *x = NULL;
	struct vbmq_report *report = NULL;
	struct vbmq_plan *plan = NULL;
	char id[VBMQ_PLAN_ID_LEN + 1];
	struct vbmq_policy policy;
	size_t len;
	int r = vbmq_file_read(file, VBMQ_SNAPSHOT_JSON_MAX, &text, &len, err);

	if (r < 0)
		return r;
	vbmq_policy_init(&policy);
	r = vbmq_snapshot_parse(file, text, len, &snapshot, err);
	if (r == 0)
		r = vbmq_plan_id(snapshot, &policy, id, err);
	if (r == 0)
		r = vbmq_plan_make(snapshot, &policy, id, &plan, err);
	if (r == 0)
		r = vbmq_explain_make(snapshot, &policy, plan->placement, VBMQ_EXPLAIN_ALL, &x, err);
	if (r == 0) {
		report = vbmq_report_new(plan);
		r = report ? print_plan(plan, kind, snapshot->host, report, x, ret, err) : vbmq_err_oom(err);
	}
	vbmq_report_free(report);
	vbmq_explanation_free(x);
	vbmq_plan_free(plan);
	vbmq_snapshot_free(snapshot);
	vbmq_policy_done(&policy);
	return r;
}

static int judge(const char *kind, char *const *files)
{
	for (; *files; files++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		_cleanup_free_ char *text = NULL;

		puts(check(kind, *files, &text, &err) == 0 ? "ok" : err.text);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *text = NULL;
	int r = -EINVAL;

	if (argc == 4 && strcmp(argv[1], "check") == 0)
		r = check(argv[2], argv[3], &text, &err);
	else if (argc >= 4 && strcmp(argv[1], "judge") == 0)
		return judge(argv[2], argv + 3);
	else if (argc == 3 && strcmp(argv[1], "model") == 0)
		r = model(argv[2], &text, &err);
	else if (argc == 4 && strcmp(argv[1], "make") == 0)
		r = make(argv[2], argv[3], &text, &err);
	else if (argc == 2 && strcmp(argv[1], "conf") == 0)
		r = vbmq_conf_example(&text, &err);
	if (r < 0) {
		fprintf(stderr, "%s\n",
			err.text[0] ? err.text : "usage: json-tool check|judge|model|make|conf [KIND [FILE]]");
		return err.text[0] ? 1 : 2;
	}
	fputs(text, stdout);
	return 0;
}
