/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pause, resume, reload: one call to vbmqd each. */

#include "bus_client.h"
#include "cli.h"

int cmd_pause(struct cli *cli)
{
	int r = cli_bus_call(cli, "Pause");

	if (r == 0)
		cli_note(cli, "vbmqd changes nothing from now on; guests stay as they are.");
	return r;
}

int cmd_resume(struct cli *cli)
{
	return cli_bus_call(cli, "Resume");
}

int cmd_reload(struct cli *cli)
{
	return cli_bus_call(cli, "Reload");
}
