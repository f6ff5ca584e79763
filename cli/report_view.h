/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"

/* The report document ("vbmq-report/1", schemas/report.schema.json) for people: tables of steps and bad checks, a verdict. */
int cli_report_print(const struct cli *cli, const char *json);
int cli_report_ok(const char *json, bool *ret);
/* Exit status of verify: CLI_DRIFT before CLI_FAILED (with a message: a domain was not looked at) before CLI_OK. */
int cli_report_verified(const char *json);
