/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * systemd writes AllowedCPUs= of a unit into cpuset.cpus of its cgroup, on the unified hierarchy only. Reading it there
 * needs no bus and tells what is in force, whoever asked for it. Where no unit below the root is limited, the file is not
 * there at all: systemd turns the cpuset controller on when it is first needed. When it is needed no more, by this unit,
 * the file stays and holds what it held; so no limit looks like one that leaves every CPU.
 */
#include "host/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/irqbalance.h"
#include "host/sysroot.h"
#include "util/cleanup.h"
#include "util/err.h"

#define ROOT "/sys/fs/cgroup"
#define CPUS "/sys/devices/system/cpu"
#define CGROUP_MAX 65536u

static bool is_there(const char *sysroot, const char *path)
{
	_cleanup_free_ char *real = NULL;

	return vbmq_sysroot_real(sysroot, path, &real) == 0;
}

static bool has_word(const char *line, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = line; *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");

		if (n == len && memcmp(at, word, n) == 0)
			return true;
		at += n;
	}
	return false;
}

/* ret: empty where the file is empty or missing */
static int read_cpus(const char *sysroot, const char *path, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	_cleanup_free_ char *line = NULL;
	struct vbmq_err why = VBMQ_ERR_INIT;
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	int r = vbmq_sysroot_line(sysroot, path, &line);

	if (r == 0 && *line && vbmq_cpulist_parse(line, strlen(line), 0, &cpus, &why) < 0)
		return vbmq_err_set(err, -EBADMSG, "%s: %s", path, why.text);
	if (r < 0 && r != -ENOENT)
		return vbmq_err_set(err, r, "%s: %s", path, strerror(-r));
	*ret = cpus;
	return 0;
}

int vbmq_parts_possible(const char *sysroot, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct vbmq_cpuset cpus;
	int r = read_cpus(sysroot, CPUS "/possible", &cpus, err);

	if (r < 0)
		return r;
	if (vbmq_cpuset_is_empty(&cpus))
		return vbmq_err_set(err, -ENODATA, CPUS "/possible names no CPU");
	*ret = cpus;
	return 0;
}

int vbmq_parts_read_unit(const char *sysroot, unsigned part, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct vbmq_cpuset cpus, online;
	char path[128];
	int r;

	snprintf(path, sizeof(path), ROOT "/%s/cpuset.cpus", vbmq_part_words[part]);
	r = read_cpus(sysroot, path, &cpus, err);
	if (r >= 0)
		r = read_cpus(sysroot, CPUS "/online", &online, err);
	if (r < 0)
		return r;
	if (!vbmq_cpuset_is_empty(&online) && vbmq_cpuset_is_subset(&online, &cpus))
		cpus = VBMQ_CPUSET_EMPTY;
	*ret = cpus;
	return 0;
}

static void read_units(const char *sysroot, struct vbmq_part *parts)
{
	_cleanup_free_ char *controllers = NULL;
	enum vbmq_part_state state = VBMQ_PART_OK;

	if (vbmq_sysroot_line(sysroot, ROOT "/cgroup.controllers", &controllers) < 0) {
		if (!is_there(sysroot, ROOT "/systemd/system.slice"))
			return; /* systemd does not run this host */
		state = VBMQ_PART_CGROUP_V1;
	} else if (!has_word(controllers, "cpuset")) {
		state = VBMQ_PART_NO_CPUSET;
	}
	for (unsigned i = 0; i < VBMQ_SLICES; i++) {
		char path[128];

		snprintf(path, sizeof(path), ROOT "%s/%s", state == VBMQ_PART_CGROUP_V1 ? "/systemd" : "",
			 vbmq_part_words[i]);
		if (is_there(sysroot, path) && vbmq_parts_read_unit(sysroot, i, &parts[i].cpus, NULL) == 0)
			parts[i].state = state;
	}
}

void vbmq_parts_read(const char *sysroot, struct vbmq_part ret[VBMQ_PARTS])
{
	memset(ret, 0, VBMQ_PARTS * sizeof(*ret));
	read_units(sysroot, ret);
	vbmq_irqbalance_read(sysroot, &ret[VBMQ_PART_IRQBALANCE]);
}

uint8_t vbmq_parts_of_process(const char *sysroot, uint32_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *path;
	char file[64];
	size_t len;

	snprintf(file, sizeof(file), "/proc/%u/cgroup", pid);
	if (vbmq_sysroot_read(sysroot, file, CGROUP_MAX, &text, &len) < 0)
		return 0;
	path = strncmp(text, "0::/", 4) == 0 ? text : strstr(text, "\n0::/");
	if (!path)
		return 0;
	path = strstr(path, "0::/") + 4;
	for (unsigned i = 0; i < VBMQ_SLICES; i++) {
		len = strlen(vbmq_part_words[i]);
		if (strncmp(path, vbmq_part_words[i], len) == 0 && (path[len] == '/' || path[len] == '\n'))
			return (uint8_t)(1 + i);
	}
	return 0;
}

size_t vbmq_parts_mask(const struct vbmq_cpuset *cpus, uint8_t ret[VBMQ_PARTS_MASK_MAX])
{
	int highest = vbmq_cpuset_last(cpus);

	memset(ret, 0, VBMQ_PARTS_MASK_MAX);
	for (int c = vbmq_cpuset_next(cpus, 0); c >= 0; c = vbmq_cpuset_next(cpus, (unsigned)c + 1))
		ret[c / 8] |= (uint8_t)(1u << (c % 8));
	return highest < 0 ? 0 : (size_t)highest / 8 + 1;
}
