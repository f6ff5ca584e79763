/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* doctor: what keeps this host or a guest from the full capability, and what to do about it. Reads only. */

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus_client.h"
#include "cli.h"
#include "codec/qmp_placement.h"
#include "host/topology.h"
#include "host/tuned.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "virt/connection.h"
#include "virt/sample.h"

enum verdict { GOOD, WARN, BAD };

static const char *const verdict_words[] = { "ok", "warning", "problem" };

struct findings {
	struct cli *cli;
	struct libscols_table *table; /* or */
	json_t *list;
	size_t bad;
	int failed;
	bool daemon; /* vbmqd answers */
	struct vbmq_virt *v; /* NULL: no libvirt */
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

/* Whether the host's own work can be kept off dedicated cores. */
static void check_parts(struct findings *f, const struct vbmq_host *h)
{
	const struct vbmq_part *irqbalance = &h->parts[VBMQ_PART_IRQBALANCE];
	_cleanup_free_ char *banned = vbmq_cpulist_format(&irqbalance->cpus);
	unsigned n_ok = 0;

	for (unsigned i = 0; i < VBMQ_SLICES; i++)
		n_ok += h->parts[i].state == VBMQ_PART_OK;
	if (h->parts[VBMQ_PART_SYSTEM].state == VBMQ_PART_CGROUP_V1)
		found(f, "slices", WARN,
		      "boot with systemd.unified_cgroup_hierarchy=1, or set CPUAffinity= in /etc/systemd/system.conf",
		      "cgroup v1: systemd cannot keep the host's own services off dedicated cores");
	else if (h->parts[VBMQ_PART_SYSTEM].state == VBMQ_PART_NO_CPUSET)
		found(f, "slices", WARN, "boot without cgroup_disable=cpuset, or set CPUAffinity= in system.conf",
		      "the kernel's cpuset controller is off: the host's own services may run on dedicated cores");
	else if (n_ok)
		found(f, "slices", GOOD, NULL, "%u units of the host can be kept off dedicated cores", n_ok);
	else
		found(f, "slices", WARN, "set the affinity of the host's services by hand",
		      "systemd does not run this host: its services may run on dedicated cores");
	if (irqbalance->state == VBMQ_PART_ABSENT && process_runs("irqbalance"))
		found(f, "irqbalance", WARN,
		      "IRQBALANCE_BANNED_CPULIST in its configuration keeps it off the dedicated cores",
		      "it runs without a socket in /run/irqbalance and may put interrupts on dedicated cores");
	else if (irqbalance->state == VBMQ_PART_SILENT)
		found(f, "irqbalance", WARN, "are you root? else: systemctl restart irqbalance",
		      "it runs and does not answer: it may put interrupts on dedicated cores");
	else if (irqbalance->state == VBMQ_PART_FOREIGN)
		found(f, "irqbalance", WARN,
		      "where these are not the dedicated cores, take IRQBALANCE_BANNED_CPULIST (TuneD's setting of it) "
		      "away",
		      "somebody, or vbmqd, set its banned CPUs: %s", banned && *banned ? banned : "(none)");
	else if (irqbalance->state == VBMQ_PART_OK)
		found(f, "irqbalance", GOOD, NULL, "it can be told to keep interrupts off dedicated cores");
}

/* TuneD's isolated cores, and whether irqbalance's ban list is its. */
static void check_tuned(struct findings *f, const struct vbmq_host *h)
{
	const struct vbmq_part *irqbalance = &h->parts[VBMQ_PART_IRQBALANCE];
	char profile[VBMQ_TUNED_PROFILE_MAX + 1];
	_cleanup_free_ char *list = NULL;
	struct vbmq_cpuset cpus;

	if (!vbmq_tuned_isolated(NULL, &cpus, profile))
		return;
	list = vbmq_cpulist_format(&cpus);
	cpus = vbmq_cpuset_and(&cpus, &h->online);
	found(f, "tuned", GOOD, NULL, "its profile %s isolates CPUs %s: %s%s", profile, list ? list : "?",
	      vbmq_cpuset_is_subset(&cpus, &h->isolated) ? "used for dedicated threads first, never shared"
							 : "nearly all there are, so they count like the others",
	      irqbalance->state == VBMQ_PART_FOREIGN && vbmq_cpuset_equal(&irqbalance->cpus, &cpus)
		      ? "; irqbalance's list of banned CPUs is its, too"
		      : "");
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
	if (!vbmq_cpuset_is_empty(&h->nova)) {
		_cleanup_free_ char *nova = vbmq_cpulist_format(&h->nova);

		found(f, "nova", GOOD, NULL,
		      "CPUs %s are in its cpu_dedicated_set: left to it, unless vbmqd.conf says nova=no",
		      nova ? nova : "?");
	}
	check_tuned(f, h);
	check_parts(f, h);
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

/* --- guests ----------------------------------------------------------------------------------------------------------- */

#define PATCHED "run it on QEMU with the patches of VBMq (qemu-patches/build)"

/* What its QEMU and libvirt can do, and what of that is missing. */
static void check_capability(struct findings *f, const struct vbmq_domain *d, enum vbmq_capability capability)
{
	const char *word = vbmq_capability_words[capability];

	if (capability == VBMQ_PIN_POLL)
		found(f, d->name, WARN,
		      "QEMU 9.0 and libvirt 10.0 map one disk's queues to several I/O threads from the next start; to "
		      "have it "
		      "while the guest runs, " PATCHED,
		      "capability %s: its I/O threads can be pinned and told to poll, its queues cannot be moved",
		      word);
	else if (capability == VBMQ_COLD_MAP)
		found(f, d->name, WARN,
		      "vbmqctl configure, then restart the guest; to have it while the guest runs, " PATCHED,
		      "capability %s: its QEMU cannot move the queues of a running disk", word);
	else if (!vbmq_caps_has(d->caps, VBMQ_CAP_PLACEMENT) || !vbmq_caps_has(d->caps, VBMQ_CAP_POLL_MODE))
		found(f, d->name, WARN,
		      "build QEMU with the whole series (qemu-patches/build), then restart or migrate it",
		      "capability %s, but its QEMU has only part of the patches: no%s%s%s", word,
		      vbmq_caps_has(d->caps, VBMQ_CAP_PLACEMENT) ? "" : " counters and completion vCPUs",
		      vbmq_caps_has(d->caps, VBMQ_CAP_PLACEMENT) || vbmq_caps_has(d->caps, VBMQ_CAP_POLL_MODE) ? ""
													       : ", no",
		      vbmq_caps_has(d->caps, VBMQ_CAP_POLL_MODE) ? "" : " dedicated polling");
	else
		found(f, d->name, GOOD, NULL, "capability %s", word);
	if (!vbmq_caps_has(d->caps, VBMQ_CAP_ADD_IOTHREAD) || !vbmq_caps_has(d->caps, VBMQ_CAP_POLLING))
		found(f, d->name, WARN, PATCHED, "its QEMU cannot %s while it runs",
		      vbmq_caps_has(d->caps, VBMQ_CAP_ADD_IOTHREAD) ? "change the polling of I/O threads"
								    : "add I/O threads");
}

static void check_disk(struct findings *f, const struct vbmq_domain *d, const struct vbmq_disk *disk)
{
	if (disk->n_queues < d->n_vcpus)
		found(f, d->name, WARN, "leave <driver queues=> unset, or set it to the number of vCPUs",
		      "disk %s has %zu queues for %u vCPUs: completions cross vCPUs", disk->target, disk->n_queues,
		      d->n_vcpus);
	if (disk->aio_threads)
		found(f, d->name, WARN, "cache='none' and io='native' or io='io_uring' in its <driver>",
		      "requests of disk %s go through QEMU's thread pool: those threads wander, pinning the I/O thread "
		      "does "
		      "not pin the I/O",
		      disk->target);
	if (disk->no_poll)
		found(f, d->name, WARN, "a local device or file, or a backend that QEMU can poll (rbd, io_uring, nvme)",
		      "disk %s is reached over a socket that QEMU waits for: an I/O thread that serves it does not "
		      "poll",
		      disk->target);
}

/* Whether each queue has an interrupt of its own, and so completes on the vCPU that asked. */
static void check_interrupts(struct findings *f, const struct vbmq_domain *d, const struct vbmq_disk *disk,
			     const struct vbmq_qmp_device *device)
{
	size_t used = disk->n_queues < d->n_vcpus ? disk->n_queues : d->n_vcpus, none = 0;
	bool shared = false;

	for (size_t q = 0; q < used && q < device->n_queues; q++) {
		none += device->queues[q].irq == VBMQ_QMP_IRQ_NONE;
		for (size_t k = 0; k < q; k++)
			shared |= device->queues[q].irq != VBMQ_QMP_IRQ_NONE &&
				  device->queues[k].irq != VBMQ_QMP_IRQ_NONE &&
				  device->queues[q].vector == device->queues[k].vector;
	}
	if (none == used)
		found(f, d->name, WARN, "let the guest use MSI-X (no pci=nomsi; a virtio-pci disk)",
		      "disk %s has no interrupt message of its own (INTx, or another bus than PCI): completions cannot "
		      "be "
		      "steered",
		      disk->target);
	else if (none || shared)
		found(f, d->name, WARN,
		      "leave 'vectors' of the device unset, or set it to the number of queues and one",
		      "queues of disk %s share an interrupt vector: completions cannot be steered", disk->target);
}

static void check_vectors(struct findings *f, const struct vbmq_domain *d)
{
	_cleanup_(vbmq_virt_sample_done) struct vbmq_virt_sample sample = { .time_ns = 0 };
	const struct vbmq_qmp_device *device;

	if (!f->v || d->id < 0 || !vbmq_caps_has(d->caps, VBMQ_CAP_PLACEMENT) ||
	    vbmq_virt_sample(f->v, d, &sample, NULL) < 0)
		return;
	for (size_t i = 0; i < d->n_disks; i++) {
		device = d->disks[i].alias ? vbmq_qmp_find_disk(sample.devices, sample.n_devices, d->disks[i].alias)
					   : NULL;
		if (device && device->started)
			check_interrupts(f, d, &d->disks[i], device);
	}
}

static void check_domain(struct findings *f, const struct vbmq_domain *d, const struct vbmq_place_domain *p)
{
	if (!d->responsive) {
		found(f, d->name, BAD, "look at QEMU's log and state; vbmqd leaves it alone",
		      "its monitor does not answer");
		return;
	}
	check_capability(f, d, p->capability);
	if (!p->managed && !d->wish.present && !d->metadata_error)
		found(f, d->name, WARN,
		      "add <vbmq:domain xmlns:vbmq=\"urn:vbmq:domain:1\"/> to its <metadata>, or default=manage in "
		      "vbmqd.conf",
		      "not managed: it carries no vbmq metadata");
	for (size_t i = 0; i < d->n_disks; i++)
		check_disk(f, d, &d->disks[i]);
	check_vectors(f, d);
	for (size_t i = 0; i < p->diags.n; i++)
		if (p->diags.items[i].severity != VBMQ_INFO ||
		    strcmp(p->diags.items[i].code, VBMQ_DIAG_POLL_DEGRADED) == 0)
			found(f, d->name, p->diags.items[i].severity == VBMQ_ERROR ? BAD : WARN, NULL, "%s",
			      p->diags.items[i].text);
}

static void check_libvirt(struct findings *f)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	unsigned long lib = 0, hypervisor = 0;

	if (vbmq_virt_open(f->cli->uri ? f->cli->uri : "qemu:///system", false, NULL, NULL, &f->v, &err) < 0)
		found(f, "libvirt", BAD, "systemctl start libvirtd; are you root or in its group?", "%s", err.text);
	else if (vbmq_virt_versions(f->v, &lib, &hypervisor, &err) < 0)
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
	vbmq_virt_close(f.v);
	if (cli->json)
		r = cli_print_json(
			json_pack("{s:s,s:o,s:b}", "schema", "vbmq-doctor/1", "findings", f.list, "ok", f.bad == 0));
	else
		r = cli_table_print(f.table);
	if (r == 0 && f.failed)
		r = CLI_FAILED;
	return r ? r : f.bad ? CLI_FAILED : CLI_OK;
}
