/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* list and show: the domains, and one of them in full. */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "domain_view.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"
#include "virt/connection.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_virt *, vbmq_virt_close);

/* --all: also the defined domains that do not run, which no snapshot knows. */
static int print_inactive(struct cli *cli, json_t *list)
{
	_cleanup_(vbmq_virt_closep) struct vbmq_virt *v = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_virt_name *names;
	size_t n;
	int r = cli_direct_open(cli, &v);

	if (r)
		return r;
	if (vbmq_virt_list(v, true, &names, &n, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	for (size_t i = 0; i < n; i++) {
		if (names[i].active)
			continue;
		if (list)
			json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "name", names[i].name, "uuid",
							      names[i].uuid, "state", "shutoff"));
		else
			printf("%s (shut off)\n", names[i].name);
	}
	vbmq_virt_names_free(names, n);
	return 0;
}

int cmd_list(struct cli *cli)
{
	_cleanup_(json_decrefp) json_t *list = NULL;
	struct cli_source source;
	int r = cli_source_load(cli, &source);

	if (r)
		return r;
	r = cli_source_plan(&source);
	if (r == 0 && !cli->json)
		r = cli_print_domains(cli, &source);
	if (r == 0 && cli->json) {
		list = cli_domains_json(&source);
		if (!list)
			r = cli_failf(CLI_FAILED, "out of memory");
	}
	if (r == 0 && cli->all)
		r = print_inactive(cli, list);
	if (r == 0 && cli->json)
		r = cli_print_json(json_pack("{s:s,s:O}", "schema", "vbmq-list/1", "domains", list));
	cli_source_done(&source);
	return r;
}

int cmd_show(struct cli *cli)
{
	const struct vbmq_domain *d;
	struct cli_source source;
	int r = cli_source_load(cli, &source);

	if (r)
		return r;
	r = cli_source_plan(&source);
	if (r == 0) {
		d = vbmq_snapshot_find(source.snapshot, cli->args[0]);
		if (!d)
			r = cli_failf(CLI_FAILED,
				      "no domain '%s' in %s (vbmqctl list shows them; a domain that does not run: "
				      "vbmqctl list --all)",
				      cli->args[0], source.origin);
		else if (cli->json)
			r = cli_print_json(cli_domain_json(&source, d));
		else
			r = cli_print_domain(cli, &source, d);
	}
	cli_source_done(&source);
	return r;
}
