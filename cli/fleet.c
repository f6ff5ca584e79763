/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/domxml.h"
#include "codec/fleet_conf.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/parse.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

static int load_file(const char *path, struct vbmq_fleet *ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *text = NULL;
	size_t len;

	if (vbmq_file_read(path, VBMQ_FLEET_CONF_MAX, &text, &len, &err) < 0 ||
	    vbmq_fleet_conf_parse(path, text, len, ret, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	return 0;
}

/* "40xsmall.xml". The guests are called after the domain of the XML: small-1, small-2 ... */
static int load_guest(const char *option, struct vbmq_fleet *ret)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	_cleanup_free_ char *xml = NULL, *number = NULL, *pattern = NULL, *name = NULL;
	const size_t digits = strspn(option, "0123456789");
	const char *path = option + digits + 1;
	struct vbmq_err err = VBMQ_ERR_INIT;
	uint32_t count;
	size_t len;

	number = strndup(option, digits);
	if (!number)
		return cli_failf(CLI_FAILED, "out of memory");
	if (option[digits] != 'x' || !*path || vbmq_parse_u32(number, 0, VBMQ_DOMAINS_MAX, &count) < 0)
		return cli_failf(CLI_USAGE, "--guest takes NxFILE such as 40xsmall.xml with N from 0 to %u, not '%s'",
				 VBMQ_DOMAINS_MAX, option);
	if (vbmq_file_read(path, VBMQ_DOMXML_MAX, &xml, &len, &err) < 0 ||
	    vbmq_domxml_parse(path, xml, len, false, &d, &err) < 0)
		return cli_fail(CLI_FAILED, &err);
	d->state = VBMQ_DOMAIN_SHUTOFF;
	d->wish.present = true; /* who names it here wants it planned, unless its metadata say enabled='no' */
	name = strdup(d->name);
	if (!name || asprintf(&pattern, "%s-%%d", name) < 0) {
		pattern = NULL;
		return cli_failf(CLI_FAILED, "out of memory");
	}
	if (vbmq_fleet_add(ret, path, name, pattern, count, VBMQ_STEAL(d), &err) < 0) {
		vbmq_err_prefix(&err, "%s: ", path);
		return cli_fail(CLI_FAILED, &err);
	}
	return 0;
}

int cli_fleet_load(const struct cli *cli, struct vbmq_fleet *ret)
{
	int r = 0;

	for (size_t i = 0; i < cli->n_fleets && r == 0; i++)
		r = load_file(cli->fleets[i], ret);
	for (size_t i = 0; i < cli->n_guests && r == 0; i++)
		r = load_guest(cli->guests[i], ret);
	for (size_t i = 0; i < ret->n_templates; i++)
		ret->templates[i].model->caps = cli_assumed_caps(cli->capability);
	return r;
}

int cli_fleet_report(const struct cli *cli, const struct cli_source *s, struct vbmq_fleet_report *ret)
{
	_cleanup_free_ uint32_t *members = vbmq_fleet_members(&s->fleet, NULL, s->snapshot);
	int r;

	if (!members || vbmq_fleet_report(&s->fleet, members, s->snapshot, &s->policy, s->plan->placement, ret) < 0)
		return cli_failf(CLI_FAILED, "out of memory");
	r = cli->fit ? cli_fleet_max(cli, s, members, ret) : 0;
	if (r)
		vbmq_fleet_report_done(ret);
	return r;
}
