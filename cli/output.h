/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libsmartcols/libsmartcols.h>

#include "cli.h"
#include "core/diag.h"
#include "core/plan.h"
#include "core/report.h"

/* Tables for people (libsmartcols) and the few shapes that several verbs print. JSON documents come from codec. */

struct json_t;

/* A table without lines; columns are a NULL-terminated list of headings, ">" in front: right-aligned. NULL: no memory. */
struct libscols_table *cli_table(const struct cli *cli, const char *const *columns);
/* One row; cells are copied, NULL is empty. color: an SCOLS colour name or NULL. 0 or CLI_FAILED. */
int cli_row(const struct cli *cli, struct libscols_table *t, const char *color, const char *const *cells);
/* Prints and frees. */
int cli_table_print(struct libscols_table *t);

/* "severity subject: text" lines of the plan, errors and warnings (all: also infos); 0 or an exit code. */
void cli_print_diags(const struct cli *cli, const struct vbmq_plan *plan, bool all);
/* The steps as lines a person can read; step results beside them if report is not NULL. */
int cli_print_steps(const struct cli *cli, const struct vbmq_plan *plan, const struct vbmq_step *steps, size_t n,
		    const struct vbmq_report *report);

/* "iothread 1", "vcpu 0", "emulator"; static buffer of the caller. */
const char *cli_thread_name(enum vbmq_thread_kind kind, uint32_t id, char buf[32]);
/* How an I/O thread polls, with its bound where there is one: "dedicated" has none. Empty: not known. */
const char *cli_polling(const struct vbmq_polling *p, char buf[48]);

/* How far a queue's thread is from its completion vCPUs, for a table. */
const char *cli_completes_text(enum vbmq_completes completes);

/* Prints a document (takes the reference) with two spaces of indentation; 0 or CLI_FAILED. */
int cli_print_json(struct json_t *document);
/* A CPU list as a new reference; NULL: no memory. */
struct json_t *cli_cpus_json(const struct vbmq_cpuset *set);
int cli_print_text(const char *text);
