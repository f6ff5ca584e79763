/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * What TuneD puts on the kernel's command line (nohz_full=, isolcpus=) the kernel tells itself, once the host was booted with it.
 * Before that, and with profiles that only set CPUAffinity= of systemd and irqbalance's ban list, its files are all there is:
 *
 *	/etc/tuned/active_profile		names of profiles, separated by white space
 *	/etc/tuned/PROFILE-variables.conf	isolated_cores=2,4-7	by whoever runs the host; the last one counts
 *	.../PROFILE/tuned.conf			include=		profiles that this one is made of
 *	/etc/tuned/bootcmdline			TUNED_BOOT_CMDLINE="... nohz_full=2-7 ...": the same, worked out
 *
 * isolated_cores may be a function of TuneD's (as shipped: all but one core a socket). That is not worked out here: then what
 * TuneD has written for the boot loader counts, if it has.
 *
 * Limits. Lists as hexadecimal masks, and variables that another file sets, are taken for functions.
 */
#include "host/tuned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/sysroot.h"
#include "util/cleanup.h"

#define FILE_MAX 65536u
#define DEPTH_MAX 4u /* profiles that include others */
#define PROFILES_MAX 64u /* looked at in all */
#define WHITE " \t\r\n"

struct search {
	const char *sysroot;
	struct vbmq_cpuset cpus;
	char profile[VBMQ_TUNED_PROFILE_MAX + 1];
	unsigned n_profiles;
	bool found; /* cpus */
	bool isolates; /* profile has isolated_cores, whatever they are */
};

static char *read_text(const char *sysroot, const char *path)
{
	char *text;
	size_t len;

	return vbmq_sysroot_read(sysroot, path, FILE_MAX, &text, &len) < 0 ? NULL : text;
}

/* Takes white space and quotes at both ends off; cuts text up. */
static char *strip(char *text)
{
	size_t n;

	text += strspn(text, WHITE "\"'");
	n = strlen(text);
	while (n && strchr(WHITE "\"'", text[n - 1]))
		text[--n] = '\0';
	return text;
}

/* The last value of a key in the lines of text, which is cut up. NULL: there is none. */
static char *value_of(char *text, const char *key)
{
	char *value = NULL, *next;

	for (char *line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		line += strspn(line, WHITE);
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		line += strlen(key);
		line += strspn(line, " \t");
		if (*line == '=')
			value = strip(line + 1);
	}
	return value;
}

static bool is_name(const char *name)
{
	size_t n = strlen(name);

	return n && n <= VBMQ_TUNED_PROFILE_MAX && name[0] != '.' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

/* "2,4-7,!5": TuneD takes '!' for '^', and spaces. */
static bool parse_list(char *list, struct vbmq_cpuset *ret)
{
	char *to = list;

	for (const char *from = list; *from; from++)
		if (*from != ' ')
			*to++ = *from == '!' ? '^' : *from;
	*to = '\0';
	return vbmq_cpulist_parse(list, strlen(list), VBMQ_CPULIST_EXCLUDE, ret, NULL) == 0 &&
	       !vbmq_cpuset_is_empty(ret);
}

static void look_at(struct search *s, const char *path, const char *profile)
{
	_cleanup_free_ char *text = read_text(s->sysroot, path);
	char *value = text ? value_of(text, "isolated_cores") : NULL;

	if (!value || !*value)
		return;
	s->isolates = true;
	snprintf(s->profile, sizeof(s->profile), "%s", profile);
	s->found = parse_list(value, &s->cpus);
}

static void look_for(struct search *s, const char *profile, unsigned depth)
{
	static const char *const directories[] = { "/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles",
						   "/usr/lib/tuned" };
	char path[64 + VBMQ_TUNED_PROFILE_MAX];

	if (!is_name(profile) || s->n_profiles++ >= PROFILES_MAX)
		return;
	snprintf(path, sizeof(path), "/etc/tuned/%s-variables.conf", profile);
	look_at(s, path, profile);
	for (size_t i = 0; !s->isolates && depth < DEPTH_MAX && i < VBMQ_ELEMENTSOF(directories); i++) {
		_cleanup_free_ char *text = NULL;
		char *value, *save = NULL;

		snprintf(path, sizeof(path), "%s/%s/tuned.conf", directories[i], profile);
		text = read_text(s->sysroot, path);
		value = text ? value_of(text, "include") : NULL;
		for (char *word = value ? strtok_r(value, ", \t", &save) : NULL; word && !s->isolates;
		     word = strtok_r(NULL, ", \t", &save))
			look_for(s, word, depth + 1);
		if (text)
			break; /* the first directory that has the profile has it */
	}
}

/* nohz_full= of what TuneD has the boot loader say. */
static bool from_boot_loader(const char *sysroot, struct vbmq_cpuset *ret)
{
	static const char key[] = "nohz_full=";
	_cleanup_free_ char *text = read_text(sysroot, "/etc/tuned/bootcmdline");
	char *value = text ? value_of(text, "TUNED_BOOT_CMDLINE") : NULL, *save = NULL;
	bool found = false;

	for (char *word = value ? strtok_r(value, " \t", &save) : NULL; word; word = strtok_r(NULL, " \t", &save))
		if (strncmp(word, key, strlen(key)) == 0)
			found = parse_list(word + strlen(key), ret);
	return found;
}

bool vbmq_tuned_isolated(const char *sysroot, struct vbmq_cpuset *ret, char ret_profile[VBMQ_TUNED_PROFILE_MAX + 1])
{
	_cleanup_free_ char *text = read_text(sysroot, "/etc/tuned/active_profile");
	struct search s = { .sysroot = sysroot };
	char *save = NULL;

	for (char *word = text ? strtok_r(text, WHITE, &save) : NULL; word && !s.isolates;
	     word = strtok_r(NULL, WHITE, &save))
		look_for(&s, word, 0);
	if (s.isolates && !s.found)
		s.found = from_boot_loader(sysroot, &s.cpus);
	if (!s.found)
		return false;
	*ret = s.cpus;
	memcpy(ret_profile, s.profile, sizeof(s.profile));
	return true;
}
