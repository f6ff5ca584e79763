/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* capture: the snapshot as a file. With its policy it is all the planner knows: bug report and test fixture in one. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "codec/json_snapshot.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"
#include "util/file.h"

int cmd_capture(struct cli *cli)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *json = NULL;
	struct cli_source source;
	int r = cli_source_load(cli, &source);

	if (r)
		return r;
	if (!source.snapshot->policy) {
		source.snapshot->policy = calloc(1, sizeof(*source.snapshot->policy));
		if (!source.snapshot->policy || vbmq_policy_copy(&source.policy, source.snapshot->policy) < 0)
			r = cli_failf(CLI_FAILED, "out of memory");
	}
	if (r == 0 && vbmq_snapshot_format(source.snapshot, true, &json, &err) < 0)
		r = cli_fail(CLI_FAILED, &err);
	if (r == 0 && !cli->output)
		r = cli_print_text(json);
	else if (r == 0 && vbmq_file_replace(cli->output, json, strlen(json), 0644, &err) < 0)
		r = cli_fail(CLI_FAILED, &err);
	else if (r == 0)
		cli_note(cli, "%s: host %s with %zu domains", cli->output, source.snapshot->host->name,
			 source.snapshot->n_domains);
	cli_source_done(&source);
	return r;
}
