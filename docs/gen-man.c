/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Prints the part of a manual page that the tables of the code know: "conf" the keys of vbmqd.conf. Run by the build. */

#include <stdio.h>
#include <string.h>

#include "codec/conf.h"

int main(void)
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
	return 0;
}
