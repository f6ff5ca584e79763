/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* doctor: what keeps this host or a guest from the full capability, and what to do about it. Reads only. */

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus_client.h"
#include "virt/connection.h"
#include "cli.h"
#include "host/topology.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"
#include "util/file.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_virt *, vbmq_virt_close);

enum verdict { GOOD, WARN, BAD };

static const char *const verdict_words[] = { "ok", "warning", "problem" };

struct findings {
	struct cli *cli;
	struct libscols_table *table; /* or */
	json_t *list;
	size_t bad;
	int failed;
	bool daemon; /* vbmqd answers */
};

static void __attribute__((format(printf, 5, 6)))
found(struct findings *f, const char *subject, enum verdict verdict, const char *advice, const char *fmt, ...)
{
	static const char *const colors[] = { "green", "brown", "red" };
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	f->bad += verdict == BAD;
	if (f->list)
		json_array_append_new(f->list, json_pack("{s:s,s:s,s:s?,s:s?}", "subject", subject, "result",
							 verdict_words[verdict], "finding", text, "advice", advice));
	else
		f->failed |= cli_row(f->cli, f->table, colors[verdict],
				     (const char *const[]){ verdict_words[verdict], subject, text, advice });
}

/* --- the host --------------------------------------------------------------------------------------------------------- */

static bool process_runs(const char *name)
{
	DIR *proc = opendir("/proc");
	bool runs = false;

	for (struct dirent *e; proc && !runs && (e = readdir(proc));) {
		_cleanup_free_ char *path = NULL, *comm = NULL;
		size_t len = strlen(name), got;

		if (e->d_name[0] < '0' || e->d_name[0] > '9' || asprintf(&path, "/proc/%s/comm", e->d_name) < 0)
			continue;
		runs = vbmq_file_read(path, 64, &comm, &got, NULL) >= 0 && got == len + 1 &&
		       strncmp(comm, name, len) == 0;
	}
	if (proc)
		closedir(proc);
	return runs;
}

static void check_host(struct findings *f)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *h;
	unsigned usable;

	if (vbmq_topology_live(NULL, &h, &err) < 0) {
		found(f, "host", BAD, "see vbmqctl topology", "the topology cannot be read: %s", err.text);
		return;
	}
	usable = vbmq_cpuset_count(&h->usable);
	if (h->n_cores < 3)
		found(f, "host", WARN, "a bigger host: every I/O thread wants a core of its own",
		      "%zu cores: at most %zu can be dedicated", h->n_cores, h->n_cores - 1);
	else
		found(f, "host", GOOD, NULL, "%zu cores, %u usable CPUs, %zu L3 domains, %zu nodes", h->n_cores, usable,
		      h->n_l3s, h->n_nodes);
	if (!vbmq_cpuset_is_empty(&h->isolated)) {
		_cleanup_free_ char *isolated = vbmq_cpulist_format(&h->isolated);

		found(f, "host", GOOD, NULL, "isolated CPUs %s: used for dedicated threads first",
		      isolated ? isolated : "?");
	}
	if (process_runs("irqbalance"))
		found(f, "irqbalance", WARN,
		      "IRQBALANCE_BANNED_CPULIST in its configuration keeps it off the dedicated cores",
		      "it runs and may put interrupts on dedicated cores");
	vbmq_host_free(h);
}

/* --- vbmqd and libvirt ------------------------------------------------------------------------------------------------ */

static void check_daemon(struct findings *f)
{
	_cleanup_free_ char *state = NULL, *mode = NULL;

	if (!cli_bus_running(f->cli)) {
		found(f, "vbmqd", BAD, "systemctl enable --now vbmqd",
		      "it does not run: nothing is placed or kept in place");
		return;
	}
	if (cli_bus_property(f->cli, "State", &state) || cli_bus_property(f->cli, "Mode", &mode)) {
		found(f, "vbmqd", BAD, "journalctl -u vbmqd", "it runs but does not answer");
		return;
	}
	if (strcmp(state, "disconnected") == 0)
		found(f, "vbmqd", BAD, "systemctl status libvirtd; journalctl -u vbmqd",
		      "it has no connection to libvirt");
	else if (strcmp(state, "paused") == 0)
		found(f, "vbmqd", WARN, "vbmqctl resume", "it is paused: it watches and changes nothing");
	else if (strcmp(mode, "manage") != 0)
		found(f, "vbmqd", WARN, "mode=manage in vbmqd.conf, then vbmqctl reload",
		      "mode %s: it plans and touches nothing", mode);
	else
		found(f, "vbmqd", GOOD, NULL, "running, %s", state);
	f->daemon = strcmp(state, "disconnected") != 0;
}

static const char *capability_advice(enum vbmq_capability c)
{
	switch (c) {
	case VBMQ_LIVE_MAP:
		return NULL;
	case VBMQ_COLD_MAP:
		return "queues move at the next start after vbmqctl configure; a QEMU with our patches moves them live";
	default:
		return "QEMU 9.0 and libvirt 10.0 map one disk's queues to several I/O threads; older ones only pin "
		       "and poll";
	}
}

static void check_domain(struct findings *f, const struct vbmq_domain *d, const struct vbmq_place_domain *p)
{
	if (!d->responsive) {
		found(f, d->name, BAD, "look at QEMU's log and state; vbmqd leaves it alone",
		      "its monitor does not answer");
		return;
	}
	found(f, d->name, p->capability == VBMQ_LIVE_MAP ? GOOD : WARN, capability_advice(p->capability),
	      "capability %s", vbmq_capability_words[p->capability]);
	if (!p->managed && !d->wish.present && !d->metadata_error)
		found(f, d->name, WARN,
		      "add <vbmq:domain xmlns:vbmq=\"urn:vbmq:domain:1\"/> to its <metadata>, or default=manage in "
		      "vbmqd.conf",
		      "not managed: it carries no vbmq metadata");
	for (size_t i = 0; i < d->n_disks; i++)
		if (d->disks[i].n_queues < d->n_vcpus)
			found(f, d->name, WARN, "leave <driver queues=> unset, or set it to the number of vCPUs",
			      "disk %s has %zu queues for %u vCPUs: completions cross vCPUs", d->disks[i].target,
			      d->disks[i].n_queues, d->n_vcpus);
	for (size_t i = 0; i < p->diags.n; i++)
		if (p->diags.items[i].severity != VBMQ_INFO)
			found(f, d->name, p->diags.items[i].severity == VBMQ_ERROR ? BAD : WARN, NULL, "%s",
			      p->diags.items[i].text);
}

static void check_libvirt(struct findings *f)
{
	_cleanup_(vbmq_virt_closep) struct vbmq_virt *v = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	unsigned long lib = 0, hypervisor = 0;

	if (vbmq_virt_open(f->cli->uri ? f->cli->uri : "qemu:///system", false, NULL, NULL, &v, &err) < 0)
		found(f, "libvirt", BAD, "systemctl start libvirtd; are you root or in its group?", "%s", err.text);
	else if (vbmq_virt_versions(v, &lib, &hypervisor, &err) < 0)
		found(f, "libvirt", BAD, NULL, "%s", err.text);
	else
		found(f, "libvirt", lib >= 10000000 ? GOOD : WARN,
		      lib >= 10000000 ? NULL
				      : "from 10.0 on a disk's queues can be mapped to several I/O threads in the XML",
		      "libvirt %lu.%lu, QEMU %lu.%lu", lib / 1000000, lib / 1000 % 1000, hypervisor / 1000000,
		      hypervisor / 1000 % 1000);
}

/* vbmqd's snapshot where it runs; it knows which pins are its own. Else libvirt's, with the undo record. */
static void check_domains(struct findings *f)
{
	struct cli_source s;

	if (!f->daemon)
		f->cli->direct = true;
	if (cli_source_load(f->cli, &s))
		return;
	if (cli_source_plan(&s) == 0)
		for (size_t i = 0; i < s.snapshot->n_domains; i++)
			check_domain(f, s.snapshot->domains[i], &s.plan->placement->domains[i]);
	cli_source_done(&s);
}

int cmd_doctor(struct cli *cli)
{
	static const char *const columns[] = { "RESULT", "WHAT", "FINDING", "WHAT TO DO", NULL };
	struct findings f = { .cli = cli };
	int r;

	if (cli->json)
		f.list = json_array();
	else
		f.table = cli_table(cli, columns);
	check_host(&f);
	if (!cli->direct)
		check_daemon(&f);
	check_libvirt(&f);
	check_domains(&f);
	if (cli->json)
		r = cli_print_json(
			json_pack("{s:s,s:o,s:b}", "schema", "vbmq-doctor/1", "findings", f.list, "ok", f.bad == 0));
	else
		r = cli_table_print(f.table);
	if (r == 0 && f.failed)
		r = CLI_FAILED;
	return r ? r : f.bad ? CLI_FAILED : CLI_OK;
}
