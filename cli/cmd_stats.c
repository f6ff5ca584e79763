/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * stats: what queues and I/O threads do, from two looks at a guest. Reads through libvirt, not through vbmqd, which has no use
 * for counters. A guest is captured once and again only when its threads or disks have changed; each look then costs it
 * two monitor commands, or none where its QEMU has no counters.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "capture/capture.h"
#include "capture/stats.h"
#include "cli.h"
#include "codec/json_stats.h"
#include "host/topology.h"
#include "output.h"
#include "source.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "virt/connection.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_virt *, vbmq_virt_close);

#define GUESTS_MAX 10000u

struct guest {
	char uuid[37];
	struct vbmq_domain *d; /* as captured last; NULL: to be captured (again) */
	struct vbmq_stats *before, *after;
	bool present; /* it runs */
	bool seen; /* in this look */
	bool noted; /* what is to be said about it was said */
};

struct watcher {
	struct cli *cli;
	struct vbmq_virt *v;
	struct vbmq_host *host;
	struct guest *guests;
	size_t n_guests;
};

static void forget(struct guest *g)
{
	vbmq_domain_free(g->d);
	vbmq_stats_free(g->before);
	vbmq_stats_free(g->after);
	*g = (struct guest){ .seen = false };
}

static void watcher_done(struct watcher *w)
{
	for (size_t i = 0; i < w->n_guests; i++)
		forget(&w->guests[i]);
	free(w->guests);
	vbmq_host_free(w->host);
}

/* --- looking ---------------------------------------------------------------------------------------------------------- */

static struct guest *guest_of(struct watcher *w, const char *uuid)
{
	struct guest *g;

	for (size_t i = 0; i < w->n_guests; i++)
		if (strcmp(w->guests[i].uuid, uuid) == 0)
			return &w->guests[i];
	g = vbmq_array_add(w->guests, w->n_guests, GUESTS_MAX);
	if (g)
		snprintf(g->uuid, sizeof(g->uuid), "%s", uuid);
	return g;
}

static void say_once(const struct watcher *w, struct guest *g, const char *text)
{
	if (!g->noted)
		cli_note(w->cli, "vbmqctl: %s", text);
	g->noted = true;
}

static int sample(struct watcher *w, struct guest *g, struct vbmq_err *err)
{
	struct vbmq_stats *now = NULL;
	bool changed = false;
	int r = 0;

	if (!g->d)
		r = vbmq_capture_domain(w->v, g->uuid, &g->d, NULL, err);
	if (r == 0 && g->d->state == VBMQ_DOMAIN_SHUTOFF)
		r = vbmq_err_set(err, -ENOENT, "domain '%s' has ended", g->d->name);
	if (r == 0)
		r = vbmq_capture_stats(w->v, g->d, &now, &changed, err);
	if (r < 0)
		return r;
	if (g->after && g->after->id != now->id)
		g->after = vbmq_stats_free(g->after); /* started anew: nothing to compare with */
	vbmq_stats_free(g->before);
	g->before = g->after;
	g->after = now;
	g->seen = true;
	if (changed)
		g->d = vbmq_domain_free(g->d);
	return 0;
}

/* 0, or an exit code when there is nothing more to be had. */
static int look_at(struct watcher *w, const struct vbmq_virt_name *name)
{
	struct guest *g = guest_of(w, name->uuid);
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r;

	if (!g)
		return cli_failf(CLI_FAILED, "too many domains or out of memory");
	g->present = true;
	r = sample(w, g, &err);
	if (r == -ENOENT) { /* what was captured is of an instance that has ended; there may be another one */
		g->d = vbmq_domain_free(g->d);
		r = sample(w, g, &err);
	}
	if (r == -ENOENT) {
		g->present = false;
		return 0;
	}
	if (r == -ENOMEM || r == -ENOTCONN || r == -ECONNRESET)
		return cli_fail(CLI_FAILED, &err);
	if (r < 0)
		say_once(w, g, err.text);
	return 0;
}

static const struct vbmq_virt_name *find(const struct vbmq_virt_name *names, size_t n, const char *wanted)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i].name, wanted) == 0 || strcmp(names[i].uuid, wanted) == 0)
			return &names[i];
	return NULL;
}

static int look(struct watcher *w)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_virt_name *names;
	size_t n, kept = 0;
	int r = 0;

	if (vbmq_virt_list(w->v, false, &names, &n, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	for (size_t i = 0; i < w->n_guests; i++)
		w->guests[i].seen = w->guests[i].present = false;
	for (int i = 0; r == 0 && i < w->cli->n_args; i++) {
		const struct vbmq_virt_name *name = find(names, n, w->cli->args[i]);

		if (name)
			r = look_at(w, name);
		else
			r = cli_failf(CLI_FAILED, "no running domain '%s' (vbmqctl list --all shows all there are)",
				      w->cli->args[i]);
	}
	for (size_t i = 0; r == 0 && w->cli->n_args == 0 && i < n; i++)
		r = look_at(w, &names[i]);
	vbmq_virt_names_free(names, n);
	for (size_t i = 0; i < w->n_guests; i++) {
		if (!w->guests[i].present)
			forget(&w->guests[i]);
		else
			w->guests[kept++] = w->guests[i];
	}
	w->n_guests = kept;
	return r;
}

/* --- for people ------------------------------------------------------------------------------------------------------- */

/* Thousandths as a percentage or as a plain number with a fraction; "-": not known. */
static void percent(char buf[24], bool known, uint64_t thousandths)
{
	snprintf(buf, 24, known ? "%llu.%llu" : "-", (unsigned long long)(thousandths / 10),
		 (unsigned long long)(thousandths % 10));
}

static void fraction(char buf[24], bool known, uint64_t thousandths)
{
	snprintf(buf, 24, known ? "%llu.%03llu" : "-", (unsigned long long)(thousandths / 1000),
		 (unsigned long long)(thousandths % 1000));
}

static uint64_t between(const struct guest *g)
{
	return g->before && g->after->time_ns > g->before->time_ns ? g->after->time_ns - g->before->time_ns : 0;
}

static void thread_label(char buf[32], uint32_t iothread)
{
	if (iothread)
		snprintf(buf, 32, "iothread%u", iothread);
	else
		snprintf(buf, 32, "main loop");
}

static int queue_row(const struct watcher *w, struct libscols_table *t, const struct guest *g,
		     const struct vbmq_stats_disk *disk, size_t index)
{
	const struct vbmq_stats_queue *q = &disk->queues[index];
	struct vbmq_queue_rates r = vbmq_queue_rates(vbmq_stats_queue(g->before, disk->target, index), q, between(g));
	_cleanup_free_ char *vcpus = vbmq_cpulist_format(&q->vcpus), *completes = NULL;
	char number[24], thread[32], requests[24], kicks[24], irqs[24], hits[24], in_flight[48] = "-";

	snprintf(number, sizeof(number), "%zu", index);
	thread_label(thread, q->iothread);
	snprintf(requests, sizeof(requests), r.counts ? "%llu" : "-", (unsigned long long)r.per_second);
	fraction(kicks, r.counts && r.requests, r.kicks);
	fraction(irqs, r.counts && r.requests, r.interrupts);
	fraction(hits, r.counts && r.requests, r.poll_hits);
	if (q->counts && q->parked)
		snprintf(in_flight, sizeof(in_flight), "%u (%u wait)", q->in_flight, q->parked);
	else if (q->counts)
		snprintf(in_flight, sizeof(in_flight), "%u", q->in_flight);
	if (asprintf(&completes, "%s%s%s", vcpus && *vcpus ? "vCPU " : "?", vcpus ? vcpus : "",
		     vcpus && *vcpus && !q->vcpus_exact ? " (estimated)" : "") < 0)
		completes = NULL;
	return cli_row(w->cli, t, disk->started ? NULL : "gray",
		       (const char *const[]){ g->after->name, disk->target, number, thread, completes, requests, kicks,
					      irqs, hits, in_flight });
}

static int print_queues(const struct watcher *w)
{
	static const char *const columns[] = { "DOMAIN",       "DISK",	     ">QUEUE",	   "SERVED BY",
					       "COMPLETES ON", ">REQ/S",     ">KICKS/REQ", ">IRQS/REQ",
					       ">POLLED/REQ",  ">IN FLIGHT", NULL };
	struct libscols_table *t = cli_table(w->cli, columns);

	for (size_t i = 0; i < w->n_guests; i++) {
		const struct guest *g = &w->guests[i];

		for (size_t k = 0; g->seen && k < g->after->n_disks; k++)
			for (size_t q = 0; q < g->after->disks[k].n_queues; q++)
				if (queue_row(w, t, g, &g->after->disks[k], q))
					return CLI_FAILED;
	}
	return cli_table_print(t);
}

static int thread_row(const struct watcher *w, struct libscols_table *t, const struct guest *g,
		      const struct vbmq_stats_thread *th)
{
	struct vbmq_thread_rates r = vbmq_thread_rates(vbmq_stats_thread(g->before, th->id, th->tid), th, between(g));
	_cleanup_free_ char *allowed = vbmq_cpulist_format(&th->affinity);
	char name[32], tid[16], cpu[48] = "-", buf[48], run[24], busy[24], poll[24], success[24];

	thread_label(name, th->id);
	snprintf(tid, sizeof(tid), "%u", th->tid);
	if (th->runs && w->host && th->cpu < VBMQ_CPUS_MAX && w->host->core_of[th->cpu] != VBMQ_NO_CORE)
		snprintf(cpu, sizeof(cpu), "%u (core %u)", th->cpu, w->host->core_of[th->cpu]);
	else if (th->runs)
		snprintf(cpu, sizeof(cpu), "%u", th->cpu);
	percent(run, r.runs, r.run);
	percent(busy, r.counts, r.busy);
	percent(poll, r.counts, r.poll);
	percent(success, r.counts, r.poll_success);
	return cli_row(w->cli, t, NULL,
		       (const char *const[]){ g->after->name, name, tid, cpu, allowed, cli_polling(&th->polling, buf),
					      run, busy, poll, success });
}

static int print_threads(const struct watcher *w)
{
	static const char *const columns[] = { "DOMAIN",  "THREAD", ">TID",    "ON CPU",     "MAY RUN ON",
					       "POLLING", ">% CPU", ">% BUSY", ">% POLLING", ">% POLLS THAT HIT",
					       NULL };
	struct libscols_table *t = cli_table(w->cli, columns);

	for (size_t i = 0; i < w->n_guests; i++) {
		const struct guest *g = &w->guests[i];

		for (size_t k = 0; g->seen && k < g->after->n_threads; k++)
			if (thread_row(w, t, g, &g->after->threads[k]))
				return CLI_FAILED;
	}
	return cli_table_print(t);
}

static void say_what_is_missing(struct watcher *w)
{
	for (size_t i = 0; i < w->n_guests; i++) {
		struct guest *g = &w->guests[i];
		_cleanup_free_ char *text = NULL;

		if (!g->seen || g->after->counts)
			continue;
		if (asprintf(&text,
			     "domain '%s': its QEMU does not count requests (that takes QEMU with the patches of VBMq, "
			     "see "
			     "vbmqctl doctor): only what the kernel says about its threads is shown",
			     g->after->name) < 0) {
			text = NULL;
			continue;
		}
		say_once(w, g, text);
	}
}

/* --- the verb --------------------------------------------------------------------------------------------------------- */

static int print_document(const struct watcher *w)
{
	_cleanup_free_ struct vbmq_stats_pair *pairs = calloc(w->n_guests + 1, sizeof(*pairs));
	_cleanup_free_ char *text = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	size_t n = 0;

	if (!pairs)
		return cli_failf(CLI_FAILED, "out of memory");
	for (size_t i = 0; i < w->n_guests; i++)
		if (w->guests[i].seen)
			pairs[n++] = (struct vbmq_stats_pair){ w->guests[i].before, w->guests[i].after };
	if (vbmq_stats_format(pairs, n, w->host, true, &text, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return cli_print_text(text);
}

static int print(struct watcher *w)
{
	int r;

	say_what_is_missing(w);
	if (w->cli->json)
		return print_document(w);
	r = print_queues(w);
	if (r == 0) {
		putchar('\n');
		r = print_threads(w);
	}
	return r;
}

static int watch(struct watcher *w)
{
	const struct cli *cli = w->cli;
	const struct timespec pause = { .tv_sec = cli->watch ? cli->interval_ms / 1000 : 1 };
	bool screen = cli->watch && isatty(STDOUT_FILENO) && !cli->json;
	uint32_t looks = cli->watch ? cli->count : 1;
	int r = look(w);

	for (uint32_t i = 0; r == 0 && (!looks || i < looks); i++) {
		nanosleep(&pause, NULL);
		r = look(w);
		if (r)
			return r;
		if (screen)
			fputs("\033[H\033[2J", stdout);
		else if (i && !cli->json)
			putchar('\n');
		r = print(w);
		if (r == 0 && fflush(stdout) != 0)
			r = CLI_FAILED;
	}
	return r;
}

int cmd_stats(struct cli *cli)
{
	_cleanup_(vbmq_virt_closep) struct vbmq_virt *v = NULL;
	_cleanup_(watcher_done) struct watcher w = { .cli = cli };
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = cli_direct_open(cli, &v);

	if (r)
		return r;
	w.v = v;
	if (vbmq_topology_live(NULL, &w.host, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return watch(&w);
}
