/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/*
 * Calls to vbmqd. Every function returns 0 or an exit code after a message; an unreachable daemon is CLI_NO_DAEMON. Calls
 * that take more than two seconds show on a terminal that they go on.
 */

/* org.vbmq1.Manager.METHOD with an optional string argument; the reply's document (a memfd). Caller frees *ret_text. */
int cli_bus_document(struct cli *cli, const char *method, const char *argument, char **ret_text);
/* Apply takes a plan id (NULL: whatever it is) and options: --dry-run, and for a rebalance --max-moves. */
int cli_bus_apply(struct cli *cli, const char *plan_id, bool rebalance, char **ret_text);
/* A method without a reply worth reading. */
int cli_bus_call(struct cli *cli, const char *method);
/* A string property of the Manager; caller frees. */
int cli_bus_property(struct cli *cli, const char *property, char **ret);
/* Whether vbmqd answers on the bus; no message. */
bool cli_bus_running(struct cli *cli);
