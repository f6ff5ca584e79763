/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "config.h"

/* Results that could not be written are not results: a full disk or a closed pipe must not look like success. */
static int flush_output(int code)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		return cli_failf(CLI_FAILED, "cannot write to standard output: %m");
	return code;
}

int main(int argc, char **argv)
{
	struct cli cli = { .verb = NULL };
	bool help = false;
	int r;

	setlocale(LC_CTYPE, ""); /* widths of names in tables; numbers and sorting stay locale-free */
	if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		if (argc >= 3 && cli_find_verb(argv[2]))
			cli_print_verb_help(cli_find_verb(argv[2]));
		else
			cli_print_help();
		return flush_output(argc < 2 ? CLI_USAGE : CLI_OK);
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("vbmqctl %s\n", VBMQ_VERSION);
		return flush_output(CLI_OK);
	}
	if (argv[1][0] == '-')
		return cli_failf(CLI_USAGE, "the verb comes first: vbmqctl VERB %s ... (see vbmqctl --help)", argv[1]);
	cli.verb = cli_find_verb(argv[1]);
	if (!cli.verb)
		return cli_failf(CLI_USAGE, "unknown verb '%s' (see vbmqctl --help)", argv[1]);
	r = cli_options_parse(&cli, argc - 1, argv + 1, &help);
	if (r == 0 && help)
		cli_print_verb_help(cli.verb);
	else if (r == 0)
		r = cli.verb->run(&cli);
	cli_options_done(&cli);
	return flush_output(r);
}
