/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The hidden verb "_manual": the part of vbmqctl(1) that the tables know, as reStructuredText. Run by the build. */

#include <stdio.h>
#include <string.h>

#include "cli.h"

/* Lines that are indented in the help are examples: a line block, set off by blank lines. */
static void print_details(const char *details)
{
	bool block = false;

	for (const char *at = details; *at;) {
		size_t len = strcspn(at, "\n");
		bool example = at[0] == ' ' && at[1] == ' ';

		if (example != block)
			putchar('\n');
		block = example;
		printf("    %s%.*s\n", example ? "| " : "", (int)(example ? len - 2 : len), example ? at + 2 : at);
		at += len + (at[len] == '\n');
	}
	putchar('\n');
}

static void print_options(uint64_t mask)
{
	struct cli_option_text o;

	for (unsigned i = 0; i < CLI_OPT_MAX; i++) {
		if (!(mask >> i & 1))
			continue;
		o = cli_option_text((enum cli_option)i);
		if (o.letter)
			printf("**-%c**, ", o.letter);
		printf("**--%s**%s%s%s\n    %s\n", o.name,
		       cli_option_is_optional(i) ? "\\ [=\\ *"
		       : o.argument		 ? " *"
						 : "",
		       o.argument ? o.argument : "",
		       cli_option_is_optional(i) ? "*\\ ]"
		       : o.argument		 ? "*"
						 : "",
		       o.help);
	}
}

int cmd_manual(struct cli *cli)
{
	uint64_t all = 0;

	puts("=======\nvbmqctl\n=======\n"
	     "----------------------------------------------------------------\n"
	     "shows, explains, plans and applies the placement of I/O threads\n"
	     "----------------------------------------------------------------\n\n"
	     ":Manual section: 1\n:Manual group: VBMq\n\nSYNOPSIS\n========\n"
	     "**vbmqctl** *VERB* [*OPTION*...] [*ARGUMENT*...]\n\nVERBS\n=====");
	for (const struct cli_verb *v = cli_verbs; v->name; v++) {
		if (!v->summary)
			continue;
		all |= v->options;
		printf("%s%s%s\n    %s.\n", v->name, *v->arguments ? " " : "", v->arguments, v->summary);
		if (v->details) {
			putchar('\n');
			print_details(v->details);
		}
	}
	puts("\nCOMMON OPTIONS\n==============");
	print_options(CLI_COMMON_OPTIONS);
	puts("\nOPTIONS OF SOME VERBS\n=====================\n*vbmqctl VERB --help* tells which verb takes which.\n");
	print_options(all & ~(uint64_t)CLI_COMMON_OPTIONS);
	return CLI_OK;
}
