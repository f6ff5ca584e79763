/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * configure: the "cold map". Writes I/O threads and queue map of the planner's choice into the domain's persistent
 * configuration; libvirt validates it, and it holds from the next start. What was there before is kept in the state
 * directory, once, so that --revert can put it back.
 */

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "codec/domxml.h"
#include "host/topology.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "virt/connection.h"
#include "virt/read.h"

#define LIBVIRT_WITH_MAP 10000000ul /* <driver><iothreads> since libvirt 10.0.0 */

VBMQ_DEFINE_CLEANUP(struct vbmq_virt *, vbmq_virt_close);
VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

struct change {
	char *name, *kept_dir, *uuid_file;
	char uuid[37];
	char *old_xml; /* as libxml2 writes it back: the left side of the diff */
	char *new_xml;
	char *found_xml; /* as libvirt gave it: what --revert puts back */
};

static void change_done(struct change *c)
{
	free(c->name);
	free(c->kept_dir);
	free(c->uuid_file);
	free(c->old_xml);
	free(c->new_xml);
	free(c->found_xml);
}

static int text_fd(const char *text)
{
	int fd = memfd_create("vbmqctl", 0);
	size_t len = strlen(text);

	if (fd >= 0 && write(fd, text, len) != (ssize_t)len) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The system's own diff: its output is what everybody's tools and eyes know. */
static int print_diff(const struct change *c)
{
	_cleanup_free_ char *left = NULL, *right = NULL, *label = NULL;
	int old_fd = text_fd(c->old_xml), new_fd = text_fd(c->new_xml), status = 0, r = 0;
	pid_t pid;

	if (old_fd < 0 || new_fd < 0 || asprintf(&left, "/proc/self/fd/%d", old_fd) < 0 ||
	    asprintf(&right, "/proc/self/fd/%d", new_fd) < 0 || asprintf(&label, "%s (as it is)", c->name) < 0) {
		r = cli_failf(CLI_FAILED, "cannot prepare the diff: %m");
	} else {
		char *argv[] = { (char[]){ "diff" },
				 (char[]){ "-u" },
				 (char[]){ "--label" },
				 label,
				 (char[]){ "--label" },
				 (char[]){ "as configured" },
				 left,
				 right,
				 NULL };

		fflush(stdout);
		errno = posix_spawnp(&pid, "diff", NULL, NULL, argv, environ);
		if (errno || waitpid(pid, &status, 0) < 0)
			r = cli_failf(CLI_FAILED, "cannot run diff: %m");
	}
	if (old_fd >= 0)
		close(old_fd);
	if (new_fd >= 0)
		close(new_fd);
	return r;
}

/* --- what it should be ------------------------------------------------------------------------------------------------ */

/* The domain alone on this host: counts and map depend on its own disks and vCPUs, its place on the host does not stand in
 * the XML. */
static int plan_alone(struct cli_source *s, struct vbmq_domain *d, bool with_map)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	d->state = VBMQ_DOMAIN_SHUTOFF;
	d->caps.bits = VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | (with_map ? VBMQ_CAP_COLD_MAP : 0);
	s->snapshot = vbmq_snapshot_new();
	if (!s->snapshot) {
		vbmq_domain_free(d);
		return cli_failf(CLI_FAILED, "out of memory");
	}
	if (vbmq_snapshot_add(s->snapshot, d, &err) < 0 || vbmq_topology_live(NULL, &s->snapshot->host, &err) < 0 ||
	    vbmq_snapshot_finish(s->snapshot, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return cli_source_plan(s);
}

/* What the plan could not fulfil, or not well; info is about the running instance. */
static void tell(const struct cli *cli, const struct vbmq_plan *plan)
{
	const struct vbmq_diags *diags = &plan->placement->domains[0].diags;

	for (size_t i = 0; i < diags->n; i++)
		if (diags->items[i].severity != VBMQ_INFO)
			cli_note(cli, "%s: %s: %s (%s)", vbmq_severity_words[diags->items[i].severity],
				 diags->items[i].subject, diags->items[i].text, diags->items[i].code);
}

static int make_change(struct cli *cli, struct vbmq_virt *v, struct change *c)
{
	struct cli_source s = { .snapshot = NULL };
	struct vbmq_err err = VBMQ_ERR_INIT;
	unsigned long lib = 0, hypervisor = 0;
	struct vbmq_wish wish;
	struct vbmq_domain *d;
	bool with_map;
	int r;

	vbmq_policy_init(&s.policy);
	s.has_policy = true;
	s.policy.manage_by_default = true;
	r = cli_load_policy(cli, &s.policy);
	if (r == 0 && vbmq_virt_versions(v, &lib, &hypervisor, &err) < 0)
		r = cli_fail(CLI_FAILED, &err);
	with_map = lib >= LIBVIRT_WITH_MAP && hypervisor >= 9000000;
	if (r == 0 && vbmq_domxml_parse(c->name, c->found_xml, strlen(c->found_xml), false, &d, &err) < 0)
		r = cli_fail(CLI_FAILED, &err);
	if (r == 0) {
		memcpy(c->uuid, d->uuid, sizeof(c->uuid));
		r = vbmq_policy_merge(&s.policy, &d->wish, &wish) < 0 ? cli_failf(CLI_FAILED, "out of memory") : 0;
		if (r)
			vbmq_domain_free(d);
	}
	if (r == 0) {
		r = plan_alone(&s, d, with_map);
		if (r == 0 &&
		    (vbmq_domxml_configure(c->name, c->found_xml, strlen(c->found_xml), NULL, &wish, with_map,
					   &c->old_xml, &err) < 0 ||
		     vbmq_domxml_configure(c->name, c->found_xml, strlen(c->found_xml), &s.plan->placement->domains[0],
					   &wish, with_map, &c->new_xml, &err) < 0))
			r = cli_fail(CLI_FAILED, &err);
		if (r == 0)
			tell(cli, s.plan);
		if (r == 0 && !with_map)
			cli_note(cli, "This libvirt or QEMU cannot map one disk's queues to several I/O threads (needs "
				      "libvirt 10.0 and "
				      "QEMU 9.0): every disk gets one I/O thread.");
		vbmq_wish_done(&wish);
	}
	cli_source_done(&s);
	return r;
}

/* --- keeping and reverting -------------------------------------------------------------------------------------------- */

static int kept_file(const struct cli *cli, struct change *c)
{
	if (asprintf(&c->kept_dir, "%s/configured", cli->state_dir) < 0)
		c->kept_dir = NULL;
	if (!c->kept_dir || asprintf(&c->uuid_file, "%s/%s.xml", c->kept_dir, c->uuid) < 0) {
		c->uuid_file = NULL;
		return cli_failf(CLI_FAILED, "out of memory");
	}
	return 0;
}

/* Only the first configure keeps: what was there before any of our changes. */
static int keep_found(const struct cli *cli, struct change *c)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (access(c->uuid_file, F_OK) == 0)
		return 0;
	if ((mkdir(cli->state_dir, 0755) < 0 && errno != EEXIST) || (mkdir(c->kept_dir, 0700) < 0 && errno != EEXIST))
		return cli_failf(CLI_FAILED, "cannot make %s: %m", c->kept_dir);
	if (vbmq_file_replace(c->uuid_file, c->found_xml, strlen(c->found_xml), 0600, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return 0;
}

static int revert(struct cli *cli, struct vbmq_virt *v, struct change *c)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *xml = NULL;
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	size_t len;

	if (vbmq_domxml_parse(c->name, c->found_xml, strlen(c->found_xml), false, &d, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	memcpy(c->uuid, d->uuid, sizeof(c->uuid));
	if (kept_file(cli, c))
		return CLI_FAILED;
	if (access(c->uuid_file, F_OK) < 0)
		return cli_failf(CLI_FAILED, "nothing to revert: '%s' was not configured by vbmqctl on this host",
				 c->name);
	if (vbmq_file_read(c->uuid_file, VBMQ_DOMXML_MAX, &xml, &len, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	if (cli->dry_run) {
		c->old_xml = strdup(c->found_xml);
		c->new_xml = VBMQ_STEAL(xml);
		return c->old_xml ? print_diff(c) : cli_failf(CLI_FAILED, "out of memory");
	}
	if (vbmq_virt_define(v, xml, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	unlink(c->uuid_file);
	cli_note(cli, "%s: configuration is as it was before; it holds from the next start.", c->name);
	return CLI_OK;
}

static int carry_out(struct cli *cli, struct vbmq_virt *v, struct change *c)
{
	bool changes = strcmp(c->old_xml, c->new_xml) != 0;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = 0;

	r = kept_file(cli, c);
	if (r == 0 && changes && !cli->dry_run) {
		r = keep_found(cli, c);
		if (r == 0 && vbmq_virt_define(v, c->new_xml, &err) < 0)
			r = cli_fail(CLI_FAILED, &err);
	}
	if (r)
		return r;
	if (cli->json)
		return cli_print_json(json_pack("{s:s,s:s,s:s,s:b,s:b,s:s}", "schema", "vbmq-configure/1", "domain",
						c->name, "uuid", c->uuid, "changed", (int)changes, "dry_run",
						(int)cli->dry_run, "xml", c->new_xml));
	if (!changes)
		printf("%s: nothing to change: its disks have their I/O threads (a map that is there is kept%s).\n",
		       c->name,
		       c->uuid_file && access(c->uuid_file, F_OK) == 0 ? "; --revert first to have ours computed anew"
								       : "");
	else if (cli->dry_run)
		return print_diff(c);
	else
		printf("%s: configured; it holds from the next start (not from a reboot inside the guest).\n", c->name);
	return 0;
}

int cmd_configure(struct cli *cli)
{
	_cleanup_(vbmq_virt_closep) struct vbmq_virt *v = NULL;
	struct change c = { .name = strdup(cli->args[0]) };
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = c.name ? cli_direct_open(cli, &v) : cli_failf(CLI_FAILED, "out of memory");

	if (r == 0 && vbmq_virt_domain_xml(v, c.name, true, &c.found_xml, &err) < 0)
		r = cli_fail(CLI_FAILED, &err);
	if (r == 0 && cli->revert) {
		r = revert(cli, v, &c);
	} else if (r == 0) {
		r = make_change(cli, v, &c);
		if (r == 0)
			r = carry_out(cli, v, &c);
	}
	change_done(&c);
	return r;
}
