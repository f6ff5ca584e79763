/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A planned fleet for people: a line a template, a line a node, and what is wrong, each kind of trouble once a template. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "output.h"
#include "util/array.h"
#include "util/cleanup.h"

#define CELL 24

static const char *number(char cell[CELL], uint32_t n)
{
	snprintf(cell, CELL, "%u", n);
	return cell;
}

/* "14 (2 more)", "10 (2 fewer)", "any" */
static void max_cell(const struct vbmq_fleet_max *max, uint32_t count, char *cell, size_t size)
{
	if (max->unlimited)
		snprintf(cell, size, "any");
	else if (max->total >= count)
		snprintf(cell, size, "%u (%u more)", max->total, max->total - count);
	else
		snprintf(cell, size, "%u (%u fewer)", max->total, count - max->total);
}

static int group_row(const struct cli *cli, struct libscols_table *t, const char *name,
		     const struct vbmq_capacity_group *g, const char *max)
{
	char guests[CELL], wholly[CELL], less[CELL], failed[CELL], own[64], vcpus[64], queues[CELL], numa[CELL],
		l3[CELL];
	const uint32_t *n = g->guests;
	const char *color = n[VBMQ_PLACED_FAILED] ? "red" : n[VBMQ_PLACED_SHORT] ? "brown" : "green";

	snprintf(own, sizeof(own), "%u of %u", g->iothreads_own, g->iothreads);
	snprintf(vcpus, sizeof(vcpus), "%u of %u", g->vcpus_own, g->vcpus);
	return cli_row(cli, t, color,
		       (const char *const[]){ name, number(guests, n[0] + n[1] + n[2]),
					      number(wholly, n[VBMQ_PLACED_WHOLLY]), number(less, n[VBMQ_PLACED_SHORT]),
					      number(failed, n[VBMQ_PLACED_FAILED]), own, vcpus,
					      number(queues, g->queues_most), number(numa, g->numa_misses),
					      number(l3, g->l3_misses), max });
}

static int print_templates(const struct cli *cli, const struct cli_source *s, const struct vbmq_fleet_report *r)
{
	static const char *const columns[] = { "TEMPLATE",   ">GUESTS",	 ">PLACED",   ">SHORT",
					       ">FAILED",    ">IOT-OWN", ">VCPU-OWN", ">QUEUES/IOT",
					       ">NUMA-MISS", ">L3-MISS", ">MAX",      NULL };
	struct libscols_table *t = cli_table(cli, columns);
	const size_t n = s->fleet.n_templates;
	char max[48] = "";

	for (size_t i = 0; i < n; i++) {
		if (r->has_max)
			max_cell(&r->max[i], s->fleet.templates[i].count, max, sizeof(max));
		if (group_row(cli, t, s->fleet.templates[i].name, &r->groups[i], max))
			return CLI_FAILED;
	}
	if (r->groups[n].guests[0] + r->groups[n].guests[1] + r->groups[n].guests[2] &&
	    group_row(cli, t, "(others)", &r->groups[n], ""))
		return CLI_FAILED;
	return cli_table_print(t);
}

static int print_nodes(const struct cli *cli, const struct vbmq_capacity *c)
{
	static const char *const columns[] = { ">NODE", ">CORES",   ">DEDICATED", ">PINNED",
					       ">FREE", ">L3-FREE", "SHARED",	  NULL };
	struct libscols_table *t = cli_table(cli, columns);

	for (size_t i = 0; i < c->n_nodes; i++) {
		const struct vbmq_capacity_node *n = &c->nodes[i];
		_cleanup_free_ char *shared = vbmq_cpulist_format(&n->shared);
		char id[CELL], cores[CELL], dedicated[CELL], pinned[CELL], nfree[CELL], l3[64];

		snprintf(l3, sizeof(l3), "%u of %u", n->l3s_free, n->l3s);
		if (cli_row(cli, t, NULL,
			    (const char *const[]){ number(id, n->node), number(cores, n->cores),
						   number(dedicated, n->dedicated), number(pinned, n->pinned),
						   number(nfree, n->free), l3, shared }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

static void print_left(const struct vbmq_fleet_report *r)
{
	const struct vbmq_capacity *c = &r->left;
	const uint64_t tenths = c->shared ? ((uint64_t)c->floating * 10 + c->shared / 2) / c->shared : 0;

	printf("\n%u more %s could be dedicated; %u floating vCPUs on %u shared CPUs, %llu.%llu for each", c->free,
	       c->free == 1 ? "core" : "cores", c->floating, c->shared, (unsigned long long)(tenths / 10),
	       (unsigned long long)(tenths % 10));
	if (r->fleet->overcommit)
		printf(" (%s %u, as [fleet] overcommit allows)", r->overcommitted ? "more than" : "at most",
		       r->fleet->overcommit);
	puts("");
}

/* --- what is wrong ---------------------------------------------------------------------------------------------------- */

struct trouble {
	const struct vbmq_diag *first;
	uint32_t template;
	size_t n_guests;
	const struct vbmq_place_domain *last;
};

/* One entry for each template, code and severity. False: no memory. */
static bool collect(const struct vbmq_place_domain *d, uint32_t template, struct trouble **list, size_t *n)
{
	for (size_t i = 0; i < d->diags.n; i++) {
		const struct vbmq_diag *g = &d->diags.items[i];
		struct trouble *t = NULL;

		if (g->severity == VBMQ_INFO)
			continue;
		for (size_t k = 0; k < *n && !t; k++)
			if ((*list)[k].template == template && (*list)[k].first->severity == g->severity &&
			    strcmp((*list)[k].first->code, g->code) == 0)
				t = &(*list)[k];
		if (!t) {
			t = vbmq_array_add(*list, *n, SIZE_MAX);
			if (!t)
				return false;
			*t = (struct trouble){ .first = g, .template = template };
		}
		t->n_guests += t->last != d;
		t->last = d;
	}
	return true;
}

static int print_trouble(const struct cli *cli, const struct cli_source *s, const uint32_t *members)
{
	static const char *const colors[] = { "", "\033[33m", "\033[31m" };
	const struct vbmq_placement *p = s->plan->placement;
	_cleanup_free_ struct trouble *list = NULL;
	size_t n = 0;

	for (size_t i = 0; i < p->n_domains; i++)
		if (!collect(&p->domains[i], members[i], &list, &n))
			return cli_failf(CLI_FAILED, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const struct vbmq_diag *g = list[i].first;
		const char *name =
			list[i].template == VBMQ_NO_TEMPLATE ? "(others)" : s->fleet.templates[list[i].template].name;

		printf("%s%s%s %s: %zu %s, such as %s: %s [%s]\n", cli->color ? colors[g->severity] : "",
		       vbmq_severity_words[g->severity], cli->color ? "\033[0m" : "", name, list[i].n_guests,
		       list[i].n_guests == 1 ? "guest" : "guests", g->subject, g->text, g->code);
	}
	for (size_t i = 0; i < p->diags.n; i++)
		if (p->diags.items[i].severity != VBMQ_INFO)
			printf("%s %s: %s [%s]\n", vbmq_severity_words[p->diags.items[i].severity],
			       p->diags.items[i].subject, p->diags.items[i].text, p->diags.items[i].code);
	return 0;
}

int cli_fleet_print(const struct cli *cli, const struct cli_source *s, const struct vbmq_fleet_report *report)
{
	_cleanup_free_ uint32_t *members = vbmq_fleet_members(&s->fleet, NULL, s->snapshot);
	const struct vbmq_host *h = s->snapshot->host;
	int r;

	if (!members)
		return cli_failf(CLI_FAILED, "out of memory");
	printf("host %s", h->name);
	if (strcmp(h->name, s->origin) != 0)
		printf(" (%s)", s->origin);
	printf(": %u usable CPUs, %zu cores, %zu L3 domains, %zu nodes\nplan %s\n\n", vbmq_cpuset_count(&h->usable),
	       h->n_cores, h->n_l3s, h->n_nodes, s->plan->id);
	r = print_templates(cli, s, report);
	if (r == 0) {
		putchar('\n');
		r = print_nodes(cli, &report->left);
	}
	if (r)
		return r;
	print_left(report);
	return print_trouble(cli, s, members);
}
