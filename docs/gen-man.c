/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Prints the part of a manual page that the tables of the code know: "conf" the keys of vbmqd.conf, "fleet" those of a
 * template. Run by the build.
 */

#include <stdio.h>
#include <string.h>

#include "codec/conf.h"
#include "codec/fleet_conf.h"

static void print_conf(void)
{
	const char *section = "";

	for (size_t i = 0; i < vbmq_conf_n_keys(); i++) {
		const struct vbmq_conf_key *k = vbmq_conf_key(i);

		if (strcmp(section, k->section) != 0) {
			section = k->section;
			printf("\n[%s]\n", section);
			for (size_t n = strlen(section) + 2; n; n--)
				putchar('=');
			putchar('\n');
		}
		printf("%s=\n    %s (*%s*; default: %s)\n", k->name, k->help, k->range,
		       *k->fallback ? k->fallback : "empty");
	}
	printf("\nSEE ALSO\n========\n**vbmqd**\\ (8), **vbmqctl**\\ (1), **vbmq-xml**\\ (7)\n");
}

static void print_fleet(void)
{
	for (size_t i = 0; i < vbmq_fleet_conf_n_keys(); i++) {
		const struct vbmq_fleet_key *k = vbmq_fleet_conf_key(i);

		printf("%s=\n    %s (*%s*%s%s)\n", k->name, k->help, k->range,
		       !k->fallback   ? ""
		       : *k->fallback ? "; default: "
				      : "; must be said",
		       k->fallback ? k->fallback : "");
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "conf") == 0)
		print_conf();
	else if (argc == 2 && strcmp(argv[1], "fleet") == 0)
		print_fleet();
	else
		return 2;
	return 0;
}
