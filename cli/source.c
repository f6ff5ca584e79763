/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus_client.h"
#include "capture/capture.h"
#include "codec/conf.h"
#include "codec/domxml.h"
#include "codec/json_snapshot.h"
#include "codec/json_undo.h"
#include "codec/plan_id.h"
#include "codec/svg.h"
#include "fleet.h"
#include "host/topology.h"
#include "output.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/parse.h"
#include "virt/connection.h"

#define PATIENCE_MS 30000u /* for one libvirt call: here a person waits, who can interrupt */

VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_snapshot_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_undo *, vbmq_undo_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_virt *, vbmq_virt_close);

int cli_load_policy(const struct cli *cli, struct vbmq_policy *policy)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *text = NULL;
	struct vbmq_conf conf;
	size_t len;

	if (!cli->policy)
		return 0;
	if (vbmq_file_read(cli->policy, VBMQ_CONF_MAX, &text, &len, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	vbmq_conf_init(&conf);
	conf.policy.manage_by_default = policy->manage_by_default;
	if (vbmq_conf_parse(cli->policy, text, len, &conf, &err) < 0) {
		vbmq_conf_done(&conf);
		return cli_fail(CLI_FAILED, &err);
	}
	vbmq_policy_done(policy);
	if (vbmq_policy_copy(&conf.policy, policy) < 0) {
		vbmq_policy_init(policy);
		vbmq_conf_done(&conf);
		return cli_failf(CLI_FAILED, "out of memory");
	}
	vbmq_conf_done(&conf);
	return 0;
}

/* --- a described host ------------------------------------------------------------------------------------------------- */

/* A partition is on the node of its disk: /dev/sda1, /dev/nvme0n1p2. */
static bool names_device(const char *source, const char *device, size_t len)
{
	if (strncmp(source, device, len) != 0)
		return false;
	source += len;
	if (*source == 'p')
		source++;
	return strspn(source, "0123456789") == strlen(source);
}

static void set_node(struct vbmq_domain *d, const char *device, size_t len, uint32_t node)
{
	for (size_t i = 0; i < d->n_disks; i++)
		if (d->disks[i].source && names_device(d->disks[i].source, device, len))
			d->disks[i].node = (int32_t)node;
}

/* Templates too: --max makes more guests of them. */
static int apply_device(const struct vbmq_snapshot *s, const struct vbmq_fleet *fleet, const char *option)
{
	const char *equals = strrchr(option, '=');
	uint32_t node;

	if (!equals || equals == option || vbmq_parse_u32(equals + 1, 0, VBMQ_NODES_MAX - 1, &node) < 0)
		return cli_failf(CLI_USAGE, "--device takes DEVICE=NODE such as /dev/nvme0n1=0, not '%s'", option);
	if (vbmq_host_node_index(s->host, node) < 0)
		return cli_failf(CLI_USAGE, "--device %s: host '%s' has no node %u", option, s->host->name, node);
	for (size_t i = 0; i < s->n_domains; i++)
		set_node(s->domains[i], option, (size_t)(equals - option), node);
	for (size_t i = 0; i < fleet->n_templates; i++)
		set_node(fleet->templates[i].model, option, (size_t)(equals - option), node);
	return 0;
}

struct vbmq_caps cli_assumed_caps(enum vbmq_capability level)
{
	struct vbmq_caps caps = { .bits = VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD };

	if (level != VBMQ_PIN_POLL)
		caps.bits |= VBMQ_CAP_COLD_MAP;
	if (level == VBMQ_LIVE_MAP)
		caps.bits |= VBMQ_CAP_LIVE_MAP | VBMQ_CAP_POLL_MODE | VBMQ_CAP_PLACEMENT;
	return caps;
}

static int add_domain_file(const struct cli *cli, struct vbmq_snapshot *s, const char *path)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *xml = NULL;
	size_t len;

	if (vbmq_file_read(path, VBMQ_DOMXML_MAX, &xml, &len, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	if (vbmq_domxml_parse(path, xml, len, false, &d, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	d->state = VBMQ_DOMAIN_SHUTOFF;
	d->caps = cli_assumed_caps(cli->capability);
	if (vbmq_snapshot_add(s, VBMQ_STEAL(d), &err) < 0) {
		vbmq_err_prefix(&err, "%s: ", path);
		return cli_fail(CLI_FAILED, &err);
	}
	return 0;
}

static int load_described(struct cli *cli, struct cli_source *ret)
{
	_cleanup_(vbmq_snapshot_freep) struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r;

	if (!s)
		return cli_failf(CLI_FAILED, "out of memory");
	if (vbmq_topology_from_argument(cli->host, &s->host, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	for (size_t i = 0; i < cli->n_domains; i++) {
		r = add_domain_file(cli, s, cli->domains[i]);
		if (r)
			return r;
	}
	vbmq_policy_init(&ret->policy);
	ret->has_policy = true;
	/* Who names a domain here wants it planned; in vbmqd.conf the default is the operator's. */
	ret->policy.manage_by_default = true;
	ret->snapshot = VBMQ_STEAL(s);
	return 0;
}

/* --- captured, direct, daemon ----------------------------------------------------------------------------------------- */

static int policy_of_snapshot(struct cli_source *ret)
{
	vbmq_policy_init(&ret->policy);
	ret->has_policy = true;
	if (ret->snapshot->policy && vbmq_policy_copy(ret->snapshot->policy, &ret->policy) < 0)
		return cli_failf(CLI_FAILED, "out of memory");
	return 0;
}

static int load_snapshot_file(struct cli *cli, struct cli_source *ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *json = NULL;
	size_t len;

	if (vbmq_file_read(cli->snapshot, VBMQ_SNAPSHOT_JSON_MAX, &json, &len, &err) < 0 ||
	    vbmq_snapshot_parse(cli->snapshot, json, len, &ret->snapshot, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return policy_of_snapshot(ret);
}

int cli_direct_open(const struct cli *cli, struct vbmq_virt **ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_virt_open(cli->uri ? cli->uri : "qemu:///system", false, NULL, NULL, ret, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	vbmq_virt_set_timeout(*ret, PATIENCE_MS);
	return 0;
}

int cli_direct_undo(const struct cli *cli, struct vbmq_undo **ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *path = NULL, *json = NULL;
	size_t len;
	int r;

	if (asprintf(&path, "%s/undo.json", cli->run_dir) < 0) {
		path = NULL;
		return cli_failf(CLI_FAILED, "out of memory");
	}
	r = vbmq_file_read(path, VBMQ_UNDO_JSON_MAX, &json, &len, &err);
	if (r == -ENOENT) {
		*ret = vbmq_undo_new();
		return *ret ? 0 : cli_failf(CLI_FAILED, "out of memory");
	}
	if (r < 0 || vbmq_undo_parse(path, json, len, ret, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return 0;
}

int cli_direct_snapshot(const struct cli *cli, struct vbmq_virt *v, const struct vbmq_undo *undo,
			const struct vbmq_policy *policy, struct vbmq_snapshot **ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *skipped = NULL;

	if (vbmq_capture_all(v, undo, policy, ret, &skipped, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	if (skipped)
		cli_note(cli, "vbmqctl: left out: %s", skipped);
	return 0;
}

static int load_direct(struct cli *cli, struct cli_source *ret)
{
	_cleanup_(vbmq_virt_closep) struct vbmq_virt *v = NULL;
	_cleanup_(vbmq_undo_freep) struct vbmq_undo *undo = NULL;
	int r = cli_direct_open(cli, &v);

	if (r == 0)
		r = cli_direct_undo(cli, &undo);
	if (r)
		return r;
	vbmq_policy_init(&ret->policy);
	ret->has_policy = true;
	return cli_direct_snapshot(cli, v, undo, NULL, &ret->snapshot);
}

static int load_daemon(struct cli *cli, struct cli_source *ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *json = NULL;
	int r = cli_bus_document(cli, "GetSnapshot", NULL, &json);

	if (r)
		return r;
	if (vbmq_snapshot_parse("vbmqd", json, strlen(json), &ret->snapshot, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return policy_of_snapshot(ret);
}

/* What was described beside the host: guests, and where devices are. Then the snapshot is what is to be planned. */
static int add_described(const struct cli *cli, struct cli_source *ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = cli_fleet_load(cli, &ret->fleet);

	if (r)
		return r;
	if (vbmq_fleet_fill(&ret->fleet, NULL, ret->snapshot, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	for (size_t i = 0; i < cli->n_devices; i++) {
		r = apply_device(ret->snapshot, &ret->fleet, cli->devices[i]);
		if (r)
			return r;
	}
	return vbmq_snapshot_finish(ret->snapshot, &err) < 0 ? cli_fail(CLI_FAILED, &err) : 0;
}

int cli_source_load(struct cli *cli, struct cli_source *ret)
{
	const char *origin;
	int r;

	*ret = (struct cli_source){ .snapshot = NULL };
	if (cli->host) {
		origin = cli->host;
		r = load_described(cli, ret);
	} else if (cli->snapshot) {
		origin = cli->snapshot;
		r = load_snapshot_file(cli, ret);
	} else if (cli->direct) {
		origin = "libvirt";
		r = load_direct(cli, ret);
	} else {
		origin = "vbmqd";
		r = load_daemon(cli, ret);
	}
	if (r == 0)
		r = add_described(cli, ret);
	if (r == 0)
		r = cli_load_policy(cli, &ret->policy);
	if (r == 0) {
		ret->origin = strdup(origin);
		if (!ret->origin)
			r = cli_failf(CLI_FAILED, "out of memory");
	}
	if (r)
		cli_source_done(ret);
	return r;
}

int cli_source_plan(struct cli_source *source)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	char id[VBMQ_PLAN_ID_LEN + 1];

	if (vbmq_plan_id(source->snapshot, &source->policy, id, &err) < 0 ||
	    vbmq_plan_make(source->snapshot, &source->policy, id, &source->plan, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return 0;
}

int cli_source_draw(const struct cli *cli, const struct cli_source *source, bool *ret_only)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *svg = NULL;

	*ret_only = cli->svg && strcmp(cli->svg, "-") == 0;
	if (!cli->svg)
		return 0;
	if (vbmq_svg_format(source->snapshot, &source->policy, source->plan, &svg, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	if (*ret_only)
		return cli_print_text(svg);
	return vbmq_file_replace(cli->svg, svg, strlen(svg), 0644, &err) < 0 ? cli_fail(CLI_FAILED, &err) : 0;
}

void cli_source_done(struct cli_source *source)
{
	vbmq_plan_free(source->plan);
	vbmq_snapshot_free(source->snapshot);
	vbmq_fleet_done(&source->fleet);
	if (source->has_policy)
		vbmq_policy_done(&source->policy);
	free(source->origin);
	*source = (struct cli_source){ .snapshot = NULL };
}
