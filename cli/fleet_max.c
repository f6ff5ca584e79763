/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How many guests of one template fit, while all others stay as many as they are: found by planning. So many fit when
 *   - every guest of the template is placed wholly,
 *   - not more of the other guests fall short than without the template, and
 *   - the shared set bears the floating vCPUs, if the fleet limits them.
 * Where k guests fit, fewer do too (the planner gives fewer wishes never less), so the largest k is found by doubling and
 * bisection: some twenty plans. It never exceeds the number of CPUs, since every whole guest that wants a place of its own
 * has one CPU at least; a template that wants none, and floats without a limit, is limited by nothing that is known here.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/planner.h"
#include "fleet.h"
#include "util/cleanup.h"

#define SILENCE_MS 2000 /* longer ones show on a terminal that they go on */

VBMQ_DEFINE_CLEANUP(struct vbmq_placement *, vbmq_placement_free);

struct search {
	const struct cli *cli;
	const struct cli_source *source;
	const uint32_t *members;
	uint32_t *counts; /* by template, of the trial */
	size_t template; /* that is looked at */
	unsigned n_plans;
	struct timespec start;
	bool shown; /* a line of progress stands on the terminal */
};

struct outcome {
	struct vbmq_capacity_group own, others;
	struct vbmq_capacity left;
};

static void show_progress(struct search *x)
{
	struct timespec now;
	const char *name = x->source->fleet.templates[x->template].name;

	clock_gettime(CLOCK_MONOTONIC, &now);
	x->n_plans++;
	if (x->cli->quiet || !isatty(STDERR_FILENO) ||
	    (now.tv_sec - x->start.tv_sec) * 1000 + (now.tv_nsec - x->start.tv_nsec) / 1000000 < SILENCE_MS)
		return;
	fprintf(stderr, "\r\033[Kplan %u: do %u guests of %s fit? ...", x->n_plans, x->counts[x->template], name);
	x->shown = true;
}

/* A snapshot with the trial's numbers of guests; its host is borrowed: to be released by trial_free() only. */
static struct vbmq_snapshot *trial_new(struct search *x, struct vbmq_err *err)
{
	const struct vbmq_snapshot *from = x->source->snapshot;
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	int r = s ? 0 : vbmq_err_oom(err);

	if (s)
		s->host = from->host;
	for (size_t i = 0; i < from->n_domains && r == 0; i++) {
		struct vbmq_domain *d = NULL;

		if (x->members[i] != VBMQ_NO_TEMPLATE)
			continue;
		r = vbmq_domain_copy(from->domains[i], &d) < 0 ? vbmq_err_oom(err) : vbmq_snapshot_add(s, d, err);
	}
	if (r == 0)
		r = vbmq_fleet_fill(&x->source->fleet, x->counts, s, err);
	if (r == 0)
		r = vbmq_snapshot_finish(s, err);
	if (r < 0 && s) {
		s->host = NULL;
		s = vbmq_snapshot_free(s);
	}
	return s;
}

static struct vbmq_snapshot *trial_free(struct vbmq_snapshot *s)
{
	if (s)
		s->host = NULL;
	return vbmq_snapshot_free(s);
}
VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, trial_free);

static int look(struct search *x, uint32_t count, struct outcome *ret, struct vbmq_err *err)
{
	_cleanup_(vbmq_placement_freep) struct vbmq_placement *p = NULL;
	_cleanup_(trial_freep) struct vbmq_snapshot *s = NULL;
	_cleanup_free_ uint32_t *members = NULL;
	struct vbmq_fleet_report report;
	int r;

	x->counts[x->template] = count;
	show_progress(x);
	s = trial_new(x, err);
	if (!s)
		return err->code;
	r = vbmq_planner_run(s, &x->source->policy, &p, err);
	if (r < 0)
		return r;
	members = vbmq_fleet_members(&x->source->fleet, x->counts, s);
	if (!members || vbmq_fleet_report(&x->source->fleet, members, s, &x->source->policy, p, &report) < 0)
		return vbmq_err_oom(err);
	*ret = (struct outcome){ .own = report.groups[x->template], .left = report.left };
	for (size_t i = 0; i <= x->source->fleet.n_templates; i++)
		for (size_t k = 0; k < VBMQ_ELEMENTSOF(ret->others.guests) && i != x->template; k++)
			ret->others.guests[k] += report.groups[i].guests[k];
	ret->left.nodes = NULL;
	ret->left.n_nodes = 0;
	vbmq_fleet_report_done(&report);
	return 0;
}

static uint32_t not_whole(const struct vbmq_capacity_group *g)
{
	return g->guests[VBMQ_PLACED_SHORT] + g->guests[VBMQ_PLACED_FAILED];
}

static int fits(struct search *x, uint32_t count, const struct outcome *without, bool *ret, struct vbmq_err *err)
{
	struct outcome o;
	int r = look(x, count, &o, err);

	if (r < 0)
		return r;
	*ret = not_whole(&o.own) == 0 && not_whole(&o.others) <= not_whole(&without->others) &&
	       !vbmq_fleet_overcommitted(&x->source->fleet, &o.left);
	return 0;
}

/* More than that cannot fit; UINT32_MAX: nothing is known that limits them. one: the outcome with one guest of it. */
static uint32_t bound(const struct search *x, const struct outcome *one)
{
	const struct vbmq_snapshot *s = x->source->snapshot;
	const struct vbmq_fleet *f = &x->source->fleet;
	uint64_t cpus = vbmq_cpuset_count(&s->host->usable), most = UINT32_MAX;
	uint32_t others = 0;

	if (one->own.iothreads_own || one->own.vcpus_own || not_whole(&one->own))
		most = cpus;
	else if (f->overcommit && one->own.vcpus)
		most = cpus * f->overcommit / one->own.vcpus;
	for (size_t i = 0; i < s->n_domains; i++)
		others += x->members[i] != x->template;
	if (most != UINT32_MAX && most > VBMQ_DOMAINS_MAX - others)
		most = VBMQ_DOMAINS_MAX - others;
	return (uint32_t)most;
}

static int search_one(struct search *x, struct vbmq_fleet_max *ret, struct vbmq_err *err)
{
	uint32_t low = 0, high = x->source->fleet.templates[x->template].count, most;
	struct outcome without, one;
	bool ok = false;
	int r = look(x, 0, &without, err);

	if (r == 0)
		r = look(x, 1, &one, err);
	if (r < 0)
		return r;
	most = bound(x, &one);
	if (most == UINT32_MAX) {
		ret->unlimited = true;
		return 0;
	}
	/* low fits, high is tried next; the described number first, it is the likeliest. */
	for (uint32_t step = 1; low < most; step *= 2) {
		if (high <= low)
			high = low + step;
		if (high > most)
			high = most;
		r = fits(x, high, &without, &ok, err);
		if (r < 0)
			return r;
		if (!ok)
			break;
		low = high;
	}
	for (; !ok && high - low > 1; ok = false) {
		uint32_t middle = low + (high - low) / 2;

		r = fits(x, middle, &without, &ok, err);
		if (r < 0)
			return r;
		if (ok)
			low = middle;
		else
			high = middle;
	}
	ret->total = low;
	return 0;
}

int cli_fleet_max(const struct cli *cli, const struct cli_source *s, const uint32_t *members,
		  struct vbmq_fleet_report *report)
{
	const size_t n = s->fleet.n_templates;
	_cleanup_free_ uint32_t *counts = calloc(n + 1, sizeof(*counts));
	struct search x = { .cli = cli, .source = s, .members = members, .counts = counts };
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = 0;

	report->max = calloc(n + 1, sizeof(*report->max));
	if (!counts || !report->max)
		return cli_failf(CLI_FAILED, "out of memory");
	clock_gettime(CLOCK_MONOTONIC, &x.start);
	for (x.template = 0; x.template <n &&r == 0; x.template ++) {
		for (size_t i = 0; i < n; i++)
			counts[i] = s->fleet.templates[i].count;
		r = search_one(&x, &report->max[x.template], &err);
	}
	if (x.shown)
		fputs("\r\033[K", stderr);
	report->has_max = true;
	return r < 0 ? cli_fail(CLI_FAILED, &err) : 0;
}
