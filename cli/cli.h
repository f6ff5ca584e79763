/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * vbmqctl: one file a verb (cmd_*.c), one table of verbs (verbs.c), one table of options (options.c) from which parsing, help
 * and completion are made. A verb prints to standard output and returns an exit code; trouble goes to standard error.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/caps.h"
#include "util/err.h"

/* DESIGN 7.2; stable. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_NO_DAEMON = 3,
	CLI_INFEASIBLE = 4, /* a plan is still printed, with its diagnostics */
	CLI_DRIFT = 5, /* verify: what is differs from what should be */
};

enum cli_option { /* bit numbers of struct cli_verb.options */
		  CLI_OPT_CONNECT,
		  CLI_OPT_BUS,
		  CLI_OPT_JSON,
		  CLI_OPT_NO_COLOR,
		  CLI_OPT_QUIET,
		  CLI_OPT_HELP,
		  CLI_OPT_DIRECT,
		  CLI_OPT_SNAPSHOT,
		  CLI_OPT_HOST,
		  CLI_OPT_DOMAIN,
		  CLI_OPT_DEVICE,
		  CLI_OPT_POLICY,
		  CLI_OPT_CAPABILITY,
		  CLI_OPT_DRY_RUN,
		  CLI_OPT_PLAN_ID,
		  CLI_OPT_RUN_DIR,
		  CLI_OPT_STATE_DIR,
		  CLI_OPT_ALL,
		  CLI_OPT_OUTPUT,
		  CLI_OPT_INTERVAL,
		  CLI_OPT_COUNT,
		  CLI_OPT_REVERT,
		  CLI_OPT_WATCH,
		  CLI_OPT_FLEET,
		  CLI_OPT_GUEST,
		  CLI_OPT_FIT,
		  CLI_OPT_SVG,
		  CLI_OPT_MAX_MOVES,
		  CLI_OPT_MAX,
};

#define CLI_LIST_MAX 100000u

struct cli {
	const struct cli_verb *verb;
	const char *uri; /* --connect; NULL: qemu:///system */
	const char *bus; /* --bus: "system" (default), "session" or a D-Bus address */
	bool json;
	bool color;
	bool quiet;
	bool direct; /* ask libvirt itself, not vbmqd */
	const char *snapshot;
	const char *host;
	const char **domains; /* --domain FILE, in order */
	size_t n_domains;
	const char **devices; /* --device DEV=NODE */
	size_t n_devices;
	const char **fleets; /* --fleet FILE, in order */
	size_t n_fleets;
	const char **guests; /* --guest COUNTxFILE */
	size_t n_guests;
	bool fit; /* --max: how many guests of each template fit */
	const char *svg; /* write the picture here, "-" standard output */
	const char *policy;
	enum vbmq_capability capability; /* what described domains are assumed to run on */
	bool dry_run;
	const char *plan_id;
	const char *run_dir; /* where the undo record lies, for --direct */
	const char *state_dir; /* where configure keeps what it found */
	bool all;
	const char *output;
	uint32_t interval_ms;
	uint32_t count; /* watch: 0 = for ever */
	bool revert;
	uint32_t max_moves; /* rebalance; VBMQ_MOVES_ANY */
	bool watch; /* stats: again and again */
	char **args; /* what follows the options */
	int n_args;
};

struct cli_verb {
	const char *name;
	const char *arguments; /* as in the usage line, "" for none */
	int min_args, max_args; /* max -1: any number */
	uint64_t options; /* bits of enum cli_option; the common ones are always there */
	const char *summary; /* one line */
	const char *details; /* paragraphs for --help; may be NULL */
	const char *complete; /* what the arguments are: "domain", "file" or "" (completion) */
	int (*run)(struct cli *cli);
};

extern const struct cli_verb cli_verbs[]; /* ends with name NULL */
const struct cli_verb *cli_find_verb(const char *name);

/* Options and arguments of one verb. 0, or CLI_USAGE after a message; *ret_help: the user asked for help. */
int cli_options_parse(struct cli *cli, int argc, char **argv, bool *ret_help);
void cli_options_done(struct cli *cli);
void cli_print_help(void);
void cli_print_verb_help(const struct cli_verb *verb);
struct cli_option_text {
	char letter; /* 0: none */
	const char *name;
	const char *argument; /* NULL: none */
	const char *help;
};
struct cli_option_text cli_option_text(enum cli_option option);
bool cli_option_is_optional(enum cli_option o); /* its argument may be left out */
/* Every verb takes these. */
#define CLI_COMMON_OPTIONS                                                                         \
	(1u << CLI_OPT_CONNECT | 1u << CLI_OPT_BUS | 1u << CLI_OPT_JSON | 1u << CLI_OPT_NO_COLOR | \
	 1u << CLI_OPT_QUIET | 1u << CLI_OPT_HELP)

/* The hidden verb "_manual" (manual.c). */
int cmd_manual(struct cli *cli);
/* For the completion scripts: "verbs", "options VERB", "domains". Hidden verb "_complete". */
int cmd_complete(struct cli *cli);

/* "vbmqctl: TEXT" on standard error; returns code. */
int cli_fail(enum cli_exit code, const struct vbmq_err *err);
int cli_failf(enum cli_exit code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A remark on standard error that --quiet silences. */
void cli_note(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int cmd_apply(struct cli *cli);
int cmd_capture(struct cli *cli);
int cmd_configure(struct cli *cli);
int cmd_doctor(struct cli *cli);
int cmd_explain(struct cli *cli);
int cmd_list(struct cli *cli);
int cmd_pause(struct cli *cli);
int cmd_plan(struct cli *cli);
int cmd_rebalance(struct cli *cli);
int cmd_reload(struct cli *cli);
int cmd_restore(struct cli *cli);
int cmd_resume(struct cli *cli);
int cmd_show(struct cli *cli);
int cmd_stats(struct cli *cli);
int cmd_status(struct cli *cli);
int cmd_topology(struct cli *cli);
int cmd_validate(struct cli *cli);
int cmd_verify(struct cli *cli);
int cmd_version(struct cli *cli);
int cmd_watch(struct cli *cli);
