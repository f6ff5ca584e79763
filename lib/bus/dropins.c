/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A limit taken away with SetUnitProperties stays a file, /run/systemd/system.control/UNIT.d/50-AllowedCPUs.conf, that
 * says "AllowedCPUs=" up to the boot. It outranks files in /etc: an operator who limits the unit there later would see
 * nothing happen. systemd has no call that takes a single drop-in away (RevertUnitFiles takes all of the unit, also those
 * that are not ours), so the file is removed, and systemd told to look.
 *
 * A limit that was found is set again as such a file; it stays, for whose it was cannot be told any more.
 */
#include "bus/dropins.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/parts.h"
#include "host/sysroot.h"
#include "util/cleanup.h"
#include "util/err.h"

#define CONTROL "/run/systemd/system.control"
#define NAME "50-AllowedCPUs.conf"
#define FILE_MAX 65536u
#define PATIENCE_USEC UINT64_C(10000000) /* of a reload that has begun and goes on all the same */

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* Whether comments, section headers and "AllowedCPUs=" are all there is. */
static bool says_nothing(const char *text)
{
	static const char none[] = "AllowedCPUs=";
	bool seen = false;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t len = strcspn(line, "\n");
		bool is_none = len == strlen(none) && memcmp(line, none, len) == 0;

		if (len && *line != '#' && *line != '[' && !is_none)
			return false;
		seen = seen || is_none;
	}
	return seen;
}

/* 1: it was there and is removed; 0: nothing of ours. The last setting of a unit takes its directory along. */
static int remove_one(const char *sysroot, const char *unit)
{
	_cleanup_(closep) int top = vbmq_sysroot_open(sysroot, CONTROL, O_RDONLY | O_DIRECTORY), dir = -1;
	_cleanup_free_ char *text = NULL;
	char name[64], path[128];
	size_t len;
	int r;

	if (top < 0)
		return top == -ENOENT ? 0 : top;
	snprintf(name, sizeof(name), "%s.d", unit);
	snprintf(path, sizeof(path), CONTROL "/%s/" NAME, name);
	r = vbmq_sysroot_read(sysroot, path, FILE_MAX, &text, &len);
	if (r < 0 || !says_nothing(text))
		return r == -ENOENT ? 0 : r;
	dir = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || unlinkat(dir, NAME, 0) < 0)
		return -errno;
	if (unlinkat(top, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST)
		return -errno;
	return 1;
}

static int reload(struct vbmq_bus_parts *p, struct vbmq_err *err)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = vbmq_bus_parts_call_new(p, "Reload", &m);

	if (r >= 0)
		r = sd_bus_call(p->bus, m, PATIENCE_USEC, &error, NULL);
	if (r < 0 && r != -ETIMEDOUT) {
		vbmq_err_set(err, r, "systemd does not read its files again: %s",
			     error.message ? error.message : strerror(-r));
		vbmq_bus_parts_close(p); /* it may be broken: what comes next tries a new one */
	}
	sd_bus_error_free(&error);
	return r < 0 && r != -ETIMEDOUT ? r : 0;
}

int vbmq_bus_dropins_remove(struct vbmq_bus_parts *p, struct vbmq_err *err)
{
	int n = 0, r;

	for (unsigned i = 0; i < VBMQ_SLICES; i++) {
		r = remove_one(p->sysroot, vbmq_part_words[i]);
		if (r < 0)
			return vbmq_err_set(err, r, CONTROL "/%s.d/" NAME " cannot be removed: %s", vbmq_part_words[i],
					    strerror(-r));
		n += r;
	}
	r = n ? reload(p, err) : 0;
	return r < 0 ? r : n;
}
