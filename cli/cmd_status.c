/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* status and watch: which core belongs to whom, at a glance. */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bus_client.h"
#include "cli.h"
#include "core_map.h"
#include "domain_view.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"

struct counts {
	size_t managed, others, exclusive, shared, intruded, pending;
};

static struct counts count(const struct cli_source *s, const struct cli_core *map)
{
	const struct vbmq_placement *p = s->plan->placement;
	struct counts n = { .managed = 0 };

	for (size_t i = 0; i < p->n_domains; i++) {
		n.managed += p->domains[i].managed;
		n.others += !p->domains[i].managed;
		for (size_t j = 0; j < p->domains[i].n_threads; j++) {
			if (p->domains[i].threads[j].kind != VBMQ_THREAD_IOTHREAD)
				continue;
			n.exclusive += p->domains[i].threads[j].exclusive;
			n.shared += !p->domains[i].threads[j].exclusive;
		}
	}
	for (size_t c = 0; c < s->snapshot->host->n_cores; c++) {
		n.intruded += map[c].use == CLI_CORE_DEDICATED && *map[c].intruders;
		n.pending += map[c].use == CLI_CORE_DEDICATED && !map[c].settled;
	}
	return n;
}

/* State of the daemon, where there is one; NULL otherwise. */
static char *daemon_state(struct cli *cli)
{
	char *state = NULL;

	if (cli->direct || cli->snapshot || cli->host || cli_bus_property(cli, "State", &state))
		return NULL;
	return state;
}

/* --- for people ------------------------------------------------------------------------------------------------------- */

static void print_heading(struct cli *cli, const struct cli_source *s, const struct counts *n)
{
	const struct vbmq_host *h = s->snapshot->host;
	_cleanup_free_ char *state = daemon_state(cli);
	_cleanup_free_ char *shared = vbmq_cpulist_format(&s->plan->placement->shared);

	printf("host %s: %u CPUs, %zu cores, %zu L3 domains, %zu nodes; shared set %s\n", h->name,
	       vbmq_cpuset_count(&h->usable), h->n_cores, h->n_l3s, h->n_nodes, shared ? shared : "?");
	if (state)
		printf("vbmqd: %s; ", state);
	printf("plan %s, %zu steps to go\n", s->plan->id, s->plan->n_steps);
	printf("%zu managed and %zu other domains; I/O threads: %zu on cores of their own, %zu on the shared set\n\n",
	       n->managed, n->others, n->exclusive, n->shared);
}

static int print_cores(const struct cli *cli, const struct cli_source *s, const struct cli_core *map)
{
	static const char *const columns[] = { "NODE",	 "L3",	   "CORE", "CPUS", "USE", "OWNER",
					       "THREAD", "QUEUES", ">NOW", "NOTE", NULL };
	const struct vbmq_host *h = s->snapshot->host;
	struct libscols_table *t = cli_table(cli, columns);
	uint32_t last_node = UINT32_MAX, last_l3 = UINT32_MAX;

	for (size_t c = 0; c < h->n_cores; c++) {
		const struct vbmq_core *core = &h->cores[c];
		_cleanup_free_ char *cpus = vbmq_cpulist_format(&core->cpus), *note = NULL;
		char node[16] = "", l3[16] = "", number[24], now[24];
		const struct cli_core *m = &map[c];
		const char *color = NULL;

		/* Grouped: node and L3 are written where they change. */
		if (core->node != last_node)
			snprintf(node, sizeof(node), "%u", h->nodes[core->node].id);
		if (core->l3 != last_l3 || core->node != last_node)
			snprintf(l3, sizeof(l3), "%u", core->l3);
		last_node = core->node;
		last_l3 = core->l3;
		snprintf(number, sizeof(number), "%zu", c);
		snprintf(now, sizeof(now), "%zu", m->n_now);
		if (m->use == CLI_CORE_DEDICATED) {
			color = *m->intruders ? "red" : m->settled ? "green" : "brown";
			if (*m->intruders) {
				if (asprintf(&note, "! also allowed: %s", m->intruders) < 0)
					note = NULL;
			} else if (!m->settled) {
				note = strdup("planned, not there yet");
			}
		}
		if (cli_row(cli, t, color,
			    (const char *const[]){ node, l3, number, cpus, cli_core_use_words[m->use], m->owner,
						   m->threads, m->queues, now, note }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

static int print_people(struct cli *cli, const struct cli_source *s, const struct cli_core *map)
{
	struct counts n = count(s, map);
	int r;

	print_heading(cli, s, &n);
	r = print_cores(cli, s, map);
	if (r == 0 && s->plan->placement->n_domains) {
		putchar('\n');
		r = cli_print_domains(cli, s);
	}
	if (r == 0) {
		putchar('\n');
		cli_print_diags(cli, s->plan, false);
	}
	return r;
}

/* --- the document ----------------------------------------------------------------------------------------------------- */

static json_t *core_json(const struct cli_source *s, const struct cli_core *m, size_t c)
{
	const struct vbmq_core *core = &s->snapshot->host->cores[c];

	return json_pack("{s:I,s:o,s:I,s:I,s:s,s:s,s:s,s:s,s:b,s:s,s:I}", "core", (json_int_t)c, "cpus",
			 cli_cpus_json(&core->cpus), "node", (json_int_t)s->snapshot->host->nodes[core->node].id, "l3",
			 (json_int_t)core->l3, "use", cli_core_use_words[m->use], "owner", m->owner, "threads",
			 m->threads, "queues", m->queues, "settled", (int)m->settled, "intruders", m->intruders,
			 "allowed_threads", (json_int_t)m->n_now);
}

static json_t *status_json(struct cli *cli, const struct cli_source *s, const struct cli_core *map)
{
	struct counts n = count(s, map);
	_cleanup_free_ char *state = daemon_state(cli);
	json_t *cores = json_array();

	for (size_t c = 0; cores && c < s->snapshot->host->n_cores; c++)
		if (json_array_append_new(cores, core_json(s, &map[c], c)) < 0) {
			json_decref(cores);
			return NULL;
		}
	return json_pack("{s:s,s:s,s:s?,s:s,s:I,s:o,s:o,s:{s:I,s:I},s:{s:I,s:I},s:I,s:o}", "schema", "vbmq-status/1",
			 "host", s->snapshot->host->name, "state", state, "plan_id", s->plan->id, "steps",
			 (json_int_t)s->plan->n_steps, "shared", cli_cpus_json(&s->plan->placement->shared),
			 "dedicated", cli_cpus_json(&s->plan->placement->dedicated), "domains", "managed",
			 (json_int_t)n.managed, "others", (json_int_t)n.others, "iothreads", "exclusive",
			 (json_int_t)n.exclusive, "shared", (json_int_t)n.shared, "intruded_cores",
			 (json_int_t)n.intruded, "cores", cores);
}

/* --- the verbs -------------------------------------------------------------------------------------------------------- */

static int status_once(struct cli *cli)
{
	struct cli_core *map = NULL;
	struct cli_source source;
	bool drawn = false;
	int r = cli_source_load(cli, &source);

	if (r)
		return r;
	r = cli_source_plan(&source);
	if (r == 0) {
		map = cli_core_map(source.snapshot, source.plan);
		if (!map)
			r = cli_failf(CLI_FAILED, "out of memory");
	}
	if (r == 0)
		r = cli_source_draw(cli, &source, &drawn);
	if (r == 0 && !drawn)
		r = cli->json ? cli_print_json(status_json(cli, &source, map)) : print_people(cli, &source, map);
	if (map)
		cli_core_map_free(map, source.snapshot->host->n_cores);
	cli_source_done(&source);
	return r;
}

int cmd_status(struct cli *cli)
{
	return status_once(cli);
}

/* With --json: one document a look, so that a pipe can read them one by one. */
int cmd_watch(struct cli *cli)
{
	struct timespec pause = { .tv_sec = cli->interval_ms / 1000,
				  .tv_nsec = (long)(cli->interval_ms % 1000) * 1000000 };
	bool screen = isatty(STDOUT_FILENO) && !cli->json;
	int r;

	for (uint32_t i = 0; !cli->count || i < cli->count; i++) {
		if (i)
			nanosleep(&pause, NULL);
		if (screen)
			fputs("\033[H\033[2J", stdout);
		else if (i && !cli->json)
			putchar('\n');
		r = status_once(cli);
		/* A daemon that is being restarted is no reason to leave. */
		if (r && !(r == CLI_NO_DAEMON && (!cli->count || cli->count > 1)))
			return r;
		if (fflush(stdout) != 0)
			return CLI_FAILED;
	}
	return CLI_OK;
}
