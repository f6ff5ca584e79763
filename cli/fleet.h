/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"
#include "core/capacity.h"
#include "source.h"

/* Described guests: --fleet FILE and --guest NxFILE. All return 0 or an exit code after a message. */

int cli_fleet_load(const struct cli *cli, struct vbmq_fleet *ret);

/* Counts by template; with --max also how many fit. The source must be planned. Release with vbmq_fleet_report_done(). */
int cli_fleet_report(const struct cli *cli, const struct cli_source *s, struct vbmq_fleet_report *ret);

/* How many guests of each template would be placed wholly beside the others: report->max (fleet_max.c). */
int cli_fleet_max(const struct cli *cli, const struct cli_source *s, const uint32_t *members,
		  struct vbmq_fleet_report *report);

/* For people (fleet_view.c). */
int cli_fleet_print(const struct cli *cli, const struct cli_source *s, const struct vbmq_fleet_report *report);
