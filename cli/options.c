/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The one table of options: parsing, help and completion are made from it. */

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "config.h"
#include "core/rebalance.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/parse.h"

static const struct cli_option_text options[CLI_OPT_MAX] = {
	[CLI_OPT_CONNECT] = { 'c', "connect", "URI", "libvirt connection (default qemu:///system)" },
	[CLI_OPT_BUS] = { 0, "bus", "ADDRESS", "bus of vbmqd: system (default), session, or a D-Bus address" },
	[CLI_OPT_JSON] = { 'j', "json", NULL, "print the document instead of tables; this is the stable interface" },
	[CLI_OPT_NO_COLOR] = { 0, "no-color", NULL, "no colours (also: not a terminal, or NO_COLOR is set)" },
	[CLI_OPT_QUIET] = { 'q', "quiet", NULL, "only results and errors, no remarks or progress" },
	[CLI_OPT_HELP] = { 'h', "help", NULL, "this help" },
	[CLI_OPT_DIRECT] = { 0, "direct", NULL, "without vbmqd: ask libvirt and /proc directly" },
	[CLI_OPT_SNAPSHOT] = { 's', "snapshot", "FILE",
			       "work on a captured snapshot (see capture), '-' for standard input" },
	[CLI_OPT_HOST] = { 0, "host", "HOST",
			   "described host: lstopo XML file, 'live', or 'synthetic:node:2 l3:4 core:4 pu:2'" },
	[CLI_OPT_DOMAIN] = { 'd', "domain", "FILE", "with --host: libvirt domain XML; may be given many times" },
	[CLI_OPT_DEVICE] = { 0, "device", "DEV=NODE",
			     "with --host: NUMA node of a disk's source; may be given many times" },
	[CLI_OPT_POLICY] = { 0, "policy", "FILE", "host policy in the format of vbmqd.conf" },
	[CLI_OPT_CAPABILITY] = { 0, "capability", "WORD",
				 "what described domains run on: live-map, cold-map (default) or pin-poll" },
	[CLI_OPT_DRY_RUN] = { 'n', "dry-run", NULL, "show what would be done, change nothing" },
	[CLI_OPT_PLAN_ID] = { 0, "plan", "ID",
			      "only if this is still the plan (refused when the state has moved since)" },
	[CLI_OPT_RUN_DIR] = { 0, "run-dir", "DIR",
			      "with --direct: where the undo record lies (default " VBMQ_RUN_DIR ")" },
	[CLI_OPT_STATE_DIR] = { 0, "state-dir", "DIR",
				"where configure keeps what it found (default " VBMQ_STATE_DIR ")" },
	[CLI_OPT_ALL] = { 'a', "all", NULL, "also domains that are not running" },
	[CLI_OPT_OUTPUT] = { 'o', "output", "FILE", "write to FILE instead of standard output" },
	[CLI_OPT_INTERVAL] = { 'i', "interval", "TIME", "time between two looks, e.g. 500ms, 2s (default 2s)" },
	[CLI_OPT_COUNT] = { 0, "count", "N", "stop after N looks" },
	[CLI_OPT_WATCH] = { 'w', "watch", "SECONDS", "again and again, every SECONDS (default and least: 1)" },
	[CLI_OPT_FLEET] = { 'f', "fleet", "FILE",
			    "guests that are described only, so many of each template; may be given many times" },
	[CLI_OPT_GUEST] = { 'g', "guest", "NxFILE",
			    "N guests like this libvirt domain XML, e.g. 40xsmall.xml; may be given many times" },
	[CLI_OPT_FIT] = { 0, "max", NULL, "with --fleet or --guest: how many guests of each template fit" },
	[CLI_OPT_MAX_MOVES] = { 0, "max-moves", "N",
				"at most N threads more have to leave a core of their own (default: any number)" },
	[CLI_OPT_SVG] = { 0, "svg", "FILE", "draw who has which core into an SVG file, '-' instead of the tables" },
	[CLI_OPT_REVERT] = { 0, "revert", NULL, "put the configuration back as it was before configure" },
};

bool cli_option_is_optional(enum cli_option o)
{
	return o == CLI_OPT_WATCH;
}

int cli_failf(enum cli_exit code, const char *fmt, ...)
{
	va_list ap;

	fputs("vbmqctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

int cli_fail(enum cli_exit code, const struct vbmq_err *err)
{
	return cli_failf(code, "%s", err->text);
}

void cli_note(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	if (cli->quiet)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

struct cli_option_text cli_option_text(enum cli_option option)
{
	return options[option];
}

/* --- parsing ---------------------------------------------------------------------------------------------------------- */

static int usage_error(const struct cli *cli, const char *fmt, const char *text)
{
	_cleanup_free_ char *message = NULL;

	if (asprintf(&message, "%s%s", fmt, text) < 0)
		message = NULL;
	return cli_failf(CLI_USAGE, "%s (see vbmqctl %s --help)", message ? message : fmt, cli->verb->name);
}

static int add_to_list(const char ***list, size_t *n, const char *value)
{
	const char **slot = vbmq_array_add(*list, *n, CLI_LIST_MAX);

	if (!slot)
		return cli_failf(CLI_FAILED, "too many options or out of memory");
	*slot = value;
	return 0;
}

static int set_interval(struct cli *cli, const char *value)
{
	uint64_t ms;

	if (vbmq_parse_msec(value, 100, 3600000, &ms) < 0)
		return usage_error(cli, "--interval takes a time from 100ms to 1h, not ", value);
	cli->interval_ms = (uint32_t)ms;
	return 0;
}

static int set_seconds(struct cli *cli, const char *value)
{
	uint32_t seconds;

	if (vbmq_parse_u32(value, 1, 3600, &seconds) < 0)
		return usage_error(cli, "--watch takes seconds from 1 to 3600, not ", value);
	cli->interval_ms = seconds * 1000;
	return 0;
}

static int set_option(struct cli *cli, enum cli_option option, const char *value, bool *ret_help)
{
	int i;

	switch (option) {
	case CLI_OPT_CONNECT:
		cli->uri = value;
		break;
	case CLI_OPT_BUS:
		cli->bus = value;
		break;
	case CLI_OPT_JSON:
		cli->json = true;
		break;
	case CLI_OPT_NO_COLOR:
		cli->color = false;
		break;
	case CLI_OPT_QUIET:
		cli->quiet = true;
		break;
	case CLI_OPT_HELP:
		*ret_help = true;
		break;
	case CLI_OPT_DIRECT:
		cli->direct = true;
		break;
	case CLI_OPT_SNAPSHOT:
		cli->snapshot = value;
		break;
	case CLI_OPT_HOST:
		cli->host = value;
		break;
	case CLI_OPT_DOMAIN:
		return add_to_list(&cli->domains, &cli->n_domains, value);
	case CLI_OPT_DEVICE:
		return add_to_list(&cli->devices, &cli->n_devices, value);
	case CLI_OPT_POLICY:
		cli->policy = value;
		break;
	case CLI_OPT_CAPABILITY:
		i = vbmq_parse_word(value, vbmq_capability_words);
		if (i < 0)
			return usage_error(cli, "--capability takes live-map, cold-map or pin-poll, not ", value);
		cli->capability = (enum vbmq_capability)i;
		break;
	case CLI_OPT_DRY_RUN:
		cli->dry_run = true;
		break;
	case CLI_OPT_PLAN_ID:
		cli->plan_id = value;
		break;
	case CLI_OPT_RUN_DIR:
		cli->run_dir = value;
		break;
	case CLI_OPT_STATE_DIR:
		cli->state_dir = value;
		break;
	case CLI_OPT_ALL:
		cli->all = true;
		break;
	case CLI_OPT_OUTPUT:
		cli->output = value;
		break;
	case CLI_OPT_INTERVAL:
		return set_interval(cli, value);
	case CLI_OPT_COUNT:
		if (vbmq_parse_u32(value, 1, UINT32_MAX, &cli->count) < 0)
			return usage_error(cli, "--count takes a number from 1, not ", value);
		break;
	case CLI_OPT_FLEET:
		return add_to_list(&cli->fleets, &cli->n_fleets, value);
	case CLI_OPT_GUEST:
		return add_to_list(&cli->guests, &cli->n_guests, value);
	case CLI_OPT_FIT:
		cli->fit = true;
		break;
	case CLI_OPT_SVG:
		cli->svg = value;
		break;
	case CLI_OPT_MAX_MOVES:
		if (vbmq_parse_u32(value, 0, VBMQ_MOVES_ANY - 1, &cli->max_moves) < 0)
			return usage_error(cli, "--max-moves takes a number from 0, not ", value);
		break;
	case CLI_OPT_REVERT:
		cli->revert = true;
		break;
	case CLI_OPT_WATCH:
		cli->watch = true;
		cli->interval_ms = 1000;
		return value ? set_seconds(cli, value) : 0;
	case CLI_OPT_MAX:
		break;
	}
	return 0;
}

/* Combinations that mean nothing; said at once, not after a long run. */
static int check_combination(const struct cli *cli)
{
	int sources = !!cli->snapshot + !!cli->host + cli->direct;

	if (sources > 1)
		return usage_error(cli, "only one of --snapshot, --host and --direct can be given", "");
	if (!cli->host && cli->n_domains)
		return usage_error(cli, "--domain needs --host: which host should it be planned on?", "");
	if (!cli->host && cli->n_devices)
		return usage_error(cli, "--device needs --host", "");
	if (cli->svg && strcmp(cli->svg, "-") == 0 && cli->json)
		return usage_error(cli, "--svg - and --json cannot both go to standard output", "");
	if (cli->fit && !cli->n_fleets && !cli->n_guests)
		return usage_error(cli, "--max needs --fleet or --guest: how many of what?", "");
	if (cli->n_args < cli->verb->min_args)
		return usage_error(cli, "an argument is missing: ", cli->verb->arguments);
	if (cli->verb->max_args >= 0 && cli->n_args > cli->verb->max_args)
		return usage_error(cli, "unexpected argument: ", cli->args[cli->verb->max_args]);
	return 0;
}

int cli_options_parse(struct cli *cli, int argc, char **argv, bool *ret_help)
{
	struct option longs[CLI_OPT_MAX + 1] = { { .name = NULL } };
	char shorts[3 * CLI_OPT_MAX + 2] = ":";
	uint64_t mask = cli->verb->options | CLI_COMMON_OPTIONS;
	size_t n = 0, s = 1;
	int c, r;

	cli->bus = "system";
	cli->capability = VBMQ_COLD_MAP;
	cli->run_dir = VBMQ_RUN_DIR;
	cli->state_dir = VBMQ_STATE_DIR;
	cli->interval_ms = 2000;
	cli->max_moves = VBMQ_MOVES_ANY;
	cli->color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	for (unsigned o = 0; o < CLI_OPT_MAX; o++) {
		if (!(mask >> o & 1))
			continue;
		longs[n++] = (struct option){ .name = options[o].name,
					      .has_arg = cli_option_is_optional(o) ? optional_argument
							 : options[o].argument	   ? required_argument
										   : no_argument,
					      .val = 256 + (int)o };
		if (options[o].letter) {
			shorts[s++] = options[o].letter;
			if (options[o].argument)
				shorts[s++] = ':';
			if (cli_option_is_optional(o))
				shorts[s++] = ':';
		}
	}
	shorts[s] = '\0';
	optind = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (c == ':')
			return usage_error(cli, "a value is missing after ", argv[optind - 1]);
		if (c == '?')
			return usage_error(cli, "unknown option ", argv[optind - 1]);
		for (unsigned o = 0; c < 256 && o < CLI_OPT_MAX; o++)
			if (options[o].letter == c)
				c = 256 + (int)o;
		r = set_option(cli, (enum cli_option)(c - 256), optarg, ret_help);
		if (r)
			return r;
		if (*ret_help)
			return 0;
	}
	cli->args = argv + optind;
	cli->n_args = argc - optind;
	return check_combination(cli);
}

void cli_options_done(struct cli *cli)
{
	free(cli->domains);
	free(cli->devices);
	free(cli->fleets);
	free(cli->guests);
}

/* --- help and completion ---------------------------------------------------------------------------------------------- */

static void print_option(unsigned o)
{
	char left[64];

	snprintf(left, sizeof(left), "%s--%s%s%s%s", options[o].letter ? "" : "    ", options[o].name,
		 cli_option_is_optional(o) ? "[="
		 : options[o].argument	   ? " "
					   : "",
		 options[o].argument ? options[o].argument : "", cli_option_is_optional(o) ? "]" : "");
	if (options[o].letter)
		printf("  -%c, %-22s %s\n", options[o].letter, left, options[o].help);
	else
		printf("  %-26s %s\n", left, options[o].help);
}

void cli_print_verb_help(const struct cli_verb *verb)
{
	printf("Usage: vbmqctl %s [OPTION...]%s%s\n\n%s.\n", verb->name, *verb->arguments ? " " : "", verb->arguments,
	       verb->summary);
	if (verb->details)
		printf("\n%s\n", verb->details);
	if (verb->options) {
		printf("\nOptions:\n");
		for (unsigned o = 0; o < CLI_OPT_MAX; o++)
			if (verb->options >> o & 1)
				print_option(o);
	}
	printf("\nCommon options:\n");
	for (unsigned o = 0; o < CLI_OPT_MAX; o++)
		if (CLI_COMMON_OPTIONS >> o & 1)
			print_option(o);
}

void cli_print_help(void)
{
	printf("Usage: vbmqctl VERB [OPTION...] [ARGUMENT...]\n\n"
	       "Shows, explains, plans and applies the placement of QEMU I/O threads on the cores of this "
	       "host.\n\nVerbs:\n");
	for (const struct cli_verb *v = cli_verbs; v->name; v++)
		if (v->summary)
			printf("  %-10s %-18s %s\n", v->name, v->arguments, v->summary);
	printf("\nvbmqctl VERB --help tells the options of a verb. Exit status: 0 ok, 1 failed, 2 usage, 3 vbmqd not\n"
	       "reachable, 4 a wish cannot be fulfilled (the plan is still printed), 5 drift found by verify.\n");
}

int cmd_complete(struct cli *cli)
{
	const struct cli_verb *verb;

	if (cli->n_args >= 1 && strcmp(cli->args[0], "verbs") == 0) {
		for (const struct cli_verb *v = cli_verbs; v->name; v++)
			if (v->summary)
				puts(v->name);
		return CLI_OK;
	}
	if (cli->n_args < 2)
		return CLI_USAGE;
	verb = cli_find_verb(cli->args[1]);
	if (!verb)
		return CLI_USAGE;
	if (strcmp(cli->args[0], "arguments") == 0) {
		puts(verb->complete);
		return CLI_OK;
	}
	for (unsigned o = 0; o < CLI_OPT_MAX; o++)
		if ((verb->options | CLI_COMMON_OPTIONS) >> o & 1)
			printf("--%s%s\n", options[o].name,
			       options[o].argument && !cli_option_is_optional(o) ? "=" : "");
	return CLI_OK;
}
