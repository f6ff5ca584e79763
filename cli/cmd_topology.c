/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* topology: the host as the planner sees it. */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "host/topology.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"

static int print_nodes(const struct cli *cli, const struct vbmq_host *h)
{
	static const char *const columns[] = { ">NODE", "CPUS", ">MEMORY", "DISTANCES", NULL };
	struct libscols_table *t = cli_table(cli, columns);

	for (size_t i = 0; i < h->n_nodes; i++) {
		_cleanup_free_ char *cpus = vbmq_cpulist_format(&h->nodes[i].cpus), *distances = NULL;
		char id[16], memory[32];

		snprintf(id, sizeof(id), "%u", h->nodes[i].id);
		snprintf(memory, sizeof(memory), "%llu MiB", (unsigned long long)(h->nodes[i].memory_kib / 1024));
		for (size_t j = 0; j < h->n_nodes; j++) {
			char *longer = NULL;

			if (asprintf(&longer, "%s%s%u", distances ? distances : "", j ? " " : "",
				     vbmq_host_distance(h, (uint32_t)i, (uint32_t)j)) < 0)
				return cli_failf(CLI_FAILED, "out of memory");
			free(distances);
			distances = longer;
		}
		if (cli_row(cli, t, NULL, (const char *const[]){ id, cpus, memory, distances }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

static int print_cores(const struct cli *cli, const struct vbmq_host *h)
{
	static const char *const columns[] = { ">CORE", "CPUS", ">NODE", ">L3", ">DIE", ">PACKAGE", "STATE", NULL };
	struct libscols_table *t = cli_table(cli, columns);

	for (size_t c = 0; c < h->n_cores; c++) {
		const struct vbmq_core *core = &h->cores[c];
		struct vbmq_cpuset usable = vbmq_cpuset_and(&core->cpus, &h->usable);
		_cleanup_free_ char *cpus = vbmq_cpulist_format(&core->cpus);
		char number[24], node[16], l3[16], die[16], package[16];

		snprintf(number, sizeof(number), "%zu", c);
		snprintf(node, sizeof(node), "%u", h->nodes[core->node].id);
		snprintf(l3, sizeof(l3), "%u", core->l3);
		snprintf(die, sizeof(die), "%u", core->die);
		snprintf(package, sizeof(package), "%u", core->package);
		if (cli_row(cli, t, NULL,
			    (const char *const[]){ number, cpus, node, l3, die, package,
						   vbmq_cpuset_is_empty(&usable)		   ? "not usable"
						   : vbmq_cpuset_intersects(&usable, &h->isolated) ? "isolated"
						   : vbmq_cpuset_intersects(&usable, &h->nova)	   ? "Nova's"
						   : vbmq_cpuset_equal(&usable, &core->cpus)	   ? ""
												   : "partly usable" }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

static json_t *topology_json(const struct vbmq_host *h)
{
	json_t *nodes = json_array(), *cores = json_array();

	for (size_t i = 0; i < h->n_nodes; i++) {
		json_t *distances = json_array();

		for (size_t j = 0; j < h->n_nodes; j++)
			json_array_append_new(distances, json_integer(vbmq_host_distance(h, (uint32_t)i, (uint32_t)j)));
		json_array_append_new(nodes, json_pack("{s:I,s:o,s:I,s:o}", "node", (json_int_t)h->nodes[i].id, "cpus",
						       cli_cpus_json(&h->nodes[i].cpus), "memory_kib",
						       (json_int_t)h->nodes[i].memory_kib, "distances", distances));
	}
	for (size_t c = 0; c < h->n_cores; c++)
		json_array_append_new(cores, json_pack("{s:I,s:o,s:I,s:I,s:I,s:I,s:I}", "core", (json_int_t)c, "cpus",
						       cli_cpus_json(&h->cores[c].cpus), "node",
						       (json_int_t)h->nodes[h->cores[c].node].id, "l3",
						       (json_int_t)h->cores[c].l3, "die", (json_int_t)h->cores[c].die,
						       "package", (json_int_t)h->cores[c].package, "kind",
						       (json_int_t)h->cores[c].kind));
	return json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:o}", "schema", "vbmq-topology/1", "host", h->name, "online",
			 cli_cpus_json(&h->online), "usable", cli_cpus_json(&h->usable), "isolated",
			 cli_cpus_json(&h->isolated), "nodes", nodes, "cores", cores);
}

static int print_host(const struct cli *cli, const struct vbmq_host *h)
{
	_cleanup_free_ char *usable = vbmq_cpulist_format(&h->usable), *isolated = vbmq_cpulist_format(&h->isolated);

	if (cli->json)
		return cli_print_json(topology_json(h));
	printf("host %s: %u usable CPUs (%s)%s%s, %zu cores, %zu L3 domains, %zu nodes\n\n", h->name,
	       vbmq_cpuset_count(&h->usable), usable ? usable : "?", isolated && *isolated ? ", isolated " : "",
	       isolated ? isolated : "", h->n_cores, h->n_l3s, h->n_nodes);
	if (print_nodes(cli, h))
		return CLI_FAILED;
	putchar('\n');
	return print_cores(cli, h);
}

int cmd_topology(struct cli *cli)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *host = NULL;
	struct cli_source source;
	int r;

	if (cli->snapshot) {
		r = cli_source_load(cli, &source);
		if (r)
			return r;
		r = print_host(cli, source.snapshot->host);
		cli_source_done(&source);
		return r;
	}
	if (vbmq_topology_from_argument(cli->host ? cli->host : "live", &host, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	r = print_host(cli, host);
	vbmq_host_free(host);
	return r;
}
