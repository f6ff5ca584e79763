/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One key of a file whose lines may be of any length and which nobody but Nova can check: so it is looked for, and the rest
 * is not parsed. As Nova reads it: the last one counts, '#' begins a comment line, "0-3,^2,8" leaves 2 out, spaces mean
 * nothing. A value that goes on in the next line is taken up to the end of the first.
 */
#include "host/nova.h"

#include <stdlib.h>
#include <string.h>

#include "host/sysroot.h"
#include "util/cleanup.h"

#define PATH "/etc/nova/nova.conf"
#define FILE_MAX (4u * 1024u * 1024u)
#define SECTION "[compute]"
#define KEY "cpu_dedicated_set"

/* Takes white space out. */
static void squeeze(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++)
		if (*from != ' ' && *from != '\t' && *from != '\r')
			*to++ = *from;
	*to = '\0';
}

bool vbmq_nova_dedicated(const char *sysroot, struct vbmq_cpuset *ret)
{
	_cleanup_free_ char *text = NULL;
	bool inside = false, found = false;
	struct vbmq_cpuset cpus;
	char *next;
	size_t len;

	if (vbmq_sysroot_read(sysroot, PATH, FILE_MAX, &text, &len) < 0)
		return false;
	for (char *line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		squeeze(line);
		if (*line == '[')
			inside = strcmp(line, SECTION) == 0;
		if (!inside || strncmp(line, KEY, strlen(KEY)) != 0 ||
		    (line[strlen(KEY)] != '=' && line[strlen(KEY)] != ':'))
			continue;
		line += strlen(KEY) + 1;
		found = vbmq_cpulist_parse(line, strlen(line), VBMQ_CPULIST_EXCLUDE, &cpus, NULL) == 0 &&
			!vbmq_cpuset_is_empty(&cpus);
	}
	if (found)
		*ret = cpus;
	return found;
}
