/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "bus_client.h"
#include "cli.h"
#include "config.h"
#include "output.h"
#include "source.h"
#include "util/cleanup.h"
#include "virt/connection.h"

/* libvirt numbers: major * 1,000,000 + minor * 1,000 + release; 0: not known. */
static char *number(unsigned long v)
{
	char *text;

	if (!v || asprintf(&text, "%lu.%lu.%lu", v / 1000000, v / 1000 % 1000, v % 1000) < 0)
		return NULL;
	return text;
}

/* What cannot be reached is left out: version must work on a machine with neither vbmqd nor libvirtd. */
int cmd_version(struct cli *cli)
{
	_cleanup_free_ char *daemon = NULL, *libvirt = NULL, *qemu = NULL;
	unsigned long lib = 0, hypervisor = 0;
	struct vbmq_virt *v = NULL;

	if (cli_bus_running(cli) && cli_bus_property(cli, "Version", &daemon))
		daemon = NULL;
	if (vbmq_virt_open(cli->uri ? cli->uri : "qemu:///system", true, NULL, NULL, &v, NULL) >= 0) {
		if (vbmq_virt_versions(v, &lib, &hypervisor, NULL) < 0)
			lib = hypervisor = 0;
		vbmq_virt_close(v);
	}
	libvirt = number(lib);
	qemu = number(hypervisor);
	if (cli->json)
		return cli_print_json(json_pack("{s:s,s:s,s:s?,s:s?,s:s?}", "schema", "vbmq-version/1", "vbmqctl",
						VBMQ_VERSION, "vbmqd", daemon, "libvirt", libvirt, "qemu", qemu));
	printf("vbmqctl %s\nvbmqd   %s\nlibvirt %s\nQEMU    %s\n", VBMQ_VERSION, daemon ? daemon : "not running",
	       libvirt ? libvirt : "not reachable", qemu ? qemu : "not known");
	return CLI_OK;
}
