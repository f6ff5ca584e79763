/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Where a topology comes from; topology_map.c turns it into a struct vbmq_host.
 *
 * Live. hwloc is asked for everything there is, also what the cpuset of this process leaves out: a daemon that the host's
 * own work was moved away from ("AllowedCPUs=" on system.slice, our own doing) must not take its own cage for the host.
 * "allowed" is what guests may have: the effective cpuset of the root of the cgroup tree as it is seen from here, and of
 * machine.slice (or "machine", libvirt without systemd) where that exists. isolcpus= is read from the kernel.
 * hwloc's x86 component is left out: it moves the calling thread to every CPU in turn, also those that are dedicated to
 * somebody, to ask cpuid what Linux tells just as well. So are those for accelerators, which load their drivers.
 *
 * Below a root directory. hwloc takes it from the environment (HWLOC_FSROOT) and nowhere else. It is set for the time of
 * the call, under a lock: for tools and tests; a program with threads that read the environment must not pass a sysroot.
 *
 * Messages. hwloc prints to stderr what it finds wrong and has only an environment variable against it, read once: it is
 * set before main(), when no thread can be reading the environment, and only if the user has not set it.
 */
#include "host/topology.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/nova.h"
#include "host/parts.h"
#include "host/sysroot.h"
#include "host/topology_map.h"
#include "host/topology_trial.h"
#include "host/topology_xml.h"
#include "host/tuned.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"
#include "util/parse.h"

#define EXAMPLE "node:2 l3:4 core:4 pu:2"
#define SYNTHETIC_MAX 4096u

static pthread_mutex_t fsroot_lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void quiet_hwloc(void)
{
	setenv("HWLOC_HIDE_ERRORS", "2", 0);
}

static void topology_destroyp(hwloc_topology_t *t)
{
	if (*t)
		hwloc_topology_destroy(*t);
}
#define _cleanup_topology_ _cleanup_(topology_destroyp)

static int new_topology(hwloc_topology_t *ret, struct vbmq_err *err)
{
	hwloc_topology_t t;

	if (hwloc_topology_init(&t) < 0)
		return vbmq_err_oom(err);
	if (hwloc_topology_set_flags(t, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) < 0) {
		hwloc_topology_destroy(t);
		return vbmq_err_set(err, -EINVAL, "hwloc refuses the flag to include disallowed CPUs");
	}
	*ret = t;
	return 0;
}

/* Names the host: what it called itself when it was recorded, else fallback. */
static int set_name(struct vbmq_host *h, hwloc_topology_t t, const char *fallback, struct vbmq_err *err)
{
	const char *name = hwloc_obj_get_info_by_name(hwloc_get_root_obj(t), "HostName");

	h->name = strdup(name && *name ? name : fallback);
	return h->name ? 0 : vbmq_err_oom(err);
}

/* Takes h; *ret only on success. */
static int finish(struct vbmq_host *h, struct vbmq_host **ret, struct vbmq_err *err)
{
	int r = vbmq_host_finish(h, err);

	if (r < 0)
		vbmq_host_free(h);
	else
		*ret = h;
	return r;
}

/* A CPU list of the kernel; false when it is absent, empty or not one. */
static bool read_cpulist(const char *sysroot, const char *path, struct vbmq_cpuset *ret)
{
	_cleanup_free_ char *line = NULL;

	return vbmq_sysroot_line(sysroot, path, &line) == 0 && *line &&
	       vbmq_cpulist_parse(line, strlen(line), 0, ret, NULL) == 0;
}

/* What the cgroups that hold all guests allow. */
static void restrict_to_cgroups(const char *sysroot, struct vbmq_host *h)
{
	static const char *const files[] = {
		"/sys/fs/cgroup/%scpuset.cpus.effective", /* v2 */
		"/sys/fs/cgroup/cpuset/%scpuset.effective_cpus", /* v1 */
	};
	static const char *const groups[] = { "", "machine.slice/", "machine/" };

	h->allowed = h->online;
	for (size_t f = 0; f < VBMQ_ELEMENTSOF(files); f++)
		for (size_t g = 0; g < VBMQ_ELEMENTSOF(groups); g++) {
			struct vbmq_cpuset cpus;
			char path[128];
			char *s = strstr(files[f], "%s");

			snprintf(path, sizeof(path), "%.*s%s%s", (int)(s - files[f]), files[f], groups[g], s + 2);
			if (read_cpulist(sysroot, path, &cpus))
				h->allowed = vbmq_cpuset_and(&h->allowed, &cpus);
		}
}

/* Whoever kept the timer off these CPUs, or had TuneD isolate them, meant them for busy threads of their own. Not where nearly all CPUs are such
 * (nohz_full=1-N is common beside pinned guests): an eighth at least has to be left for all the rest. */
static void add_nohz_full(struct vbmq_host *h, const struct vbmq_cpuset *nohz)
{
	struct vbmq_cpuset both = vbmq_cpuset_or(&h->isolated, nohz);

	both = vbmq_cpuset_and(&both, &h->online);
	if ((vbmq_cpuset_count(&h->online) - vbmq_cpuset_count(&both)) * 8 >= vbmq_cpuset_count(&h->online))
		h->isolated = both;
}

static void live_details(const char *sysroot, struct vbmq_host *h)
{
	char profile[VBMQ_TUNED_PROFILE_MAX + 1];
	struct vbmq_cpuset cpus;

	if (read_cpulist(sysroot, "/sys/devices/system/cpu/online", &cpus))
		h->online = vbmq_cpuset_and(&h->online, &cpus);
	if (read_cpulist(sysroot, "/sys/devices/system/cpu/isolated", &cpus))
		h->isolated = vbmq_cpuset_and(&cpus, &h->online);
	if (read_cpulist(sysroot, "/sys/devices/system/cpu/nohz_full", &cpus))
		add_nohz_full(h, &cpus);
	if (vbmq_tuned_isolated(sysroot, &cpus, profile))
		add_nohz_full(h, &cpus);
	if (vbmq_nova_dedicated(sysroot, &cpus))
		h->nova = vbmq_cpuset_and(&cpus, &h->online);
	restrict_to_cgroups(sysroot, h);
	vbmq_parts_read(sysroot, h->parts);
}

static void leave_out_components(hwloc_topology_t t)
{
	static const char *const names[] = { "x86", "opencl", "cuda", "nvml", "rsmi", "levelzero", "gl" };

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(names); i++) /* fails for those that are not there: good */
		hwloc_topology_set_components(t, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, names[i]);
}

/* hwloc_topology_init() to _load() with the variable set. The earlier value comes back. */
static int load_below(const char *sysroot, hwloc_topology_t t)
{
	_cleanup_free_ char *before = NULL;
	const char *old;
	int r = -1;

	pthread_mutex_lock(&fsroot_lock);
	old = getenv("HWLOC_FSROOT");
	before = old ? strdup(old) : NULL;
	if ((!old || before) && setenv("HWLOC_FSROOT", sysroot, 1) == 0)
		r = hwloc_topology_load(t);
	if (before)
		setenv("HWLOC_FSROOT", before, 1);
	else if (!old)
		unsetenv("HWLOC_FSROOT");
	pthread_mutex_unlock(&fsroot_lock);
	return r;
}

int vbmq_topology_live(const char *sysroot, struct vbmq_host **ret, struct vbmq_err *err)
{
	const char *where = sysroot && sysroot[strspn(sysroot, "/")] ? sysroot : NULL;
	_cleanup_topology_ hwloc_topology_t t = NULL;
	struct vbmq_host *h;
	int r;

	r = new_topology(&t, err);
	if (r < 0)
		return r;
	leave_out_components(t);
	r = where ? load_below(where, t) : hwloc_topology_load(t);
	if (r < 0)
		return vbmq_err_set(err, -EIO, "hwloc cannot read the topology of %s", where ? where : "this machine");
	r = vbmq_topology_map(t, &h, err);
	if (r < 0) {
		vbmq_err_prefix(err, "%s: ", where ? where : "this machine");
		return r;
	}
	live_details(where, h);
	r = set_name(h, t, where ? where : "localhost", err);
	if (r < 0) {
		vbmq_host_free(h);
		return r;
	}
	return finish(h, ret, err);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* xml: NUL-terminated copy of len bytes. err is not prefixed. */
static int load_xml(const char *name, const char *xml, size_t len, struct vbmq_host **ret, struct vbmq_err *err)
{
	_cleanup_topology_ hwloc_topology_t t = NULL;
	struct vbmq_host *h;
	int r;

	r = new_topology(&t, err);
	if (r < 0)
		return r;
	if (hwloc_topology_set_xmlbuffer(t, xml, (int)len + 1) < 0 || hwloc_topology_load(t) < 0)
		return vbmq_err_set(err, -EIO, "hwloc read it once and refuses it now");
	r = vbmq_topology_map(t, &h, err);
	if (r < 0)
		return r;
	r = set_name(h, t, base_name(name), err);
	if (r < 0) {
		vbmq_host_free(h);
		return r;
	}
	return finish(h, ret, err);
}

int vbmq_topology_xml(const char *name, const void *xml, size_t len, struct vbmq_host **ret, struct vbmq_err *err)
{
	_cleanup_free_ char *copy = NULL;
	int r;

	if (len > VBMQ_TOPOLOGY_XML_MAX)
		return vbmq_err_set(err, -EFBIG, "%s: larger than %u MiB", name, VBMQ_TOPOLOGY_XML_MAX >> 20);
	copy = malloc(len + 1);
	if (!copy)
		return vbmq_err_oom(err);
	if (len)
		memcpy(copy, xml, len);
	copy[len] = '\0';
	r = vbmq_topology_xml_check(copy, len, err);
	if (r == 0)
		r = vbmq_topology_trial(copy, len, err);
	if (r == 0)
		r = load_xml(name, copy, len, ret, err);
	if (r < 0)
		vbmq_err_prefix(err, "%s: ", name);
	return r;
}

/*
 * Counts the CPUs a description asks for before hwloc makes them: the product of the numbers outside "(...)" and "[...]".
 * Only the size is judged here.
 */
static int check_synthetic(const char *text, struct vbmq_err *err)
{
	unsigned inside = 0;
	uint64_t cpus = 1;

	for (const char *c = text; *c;) {
		uint64_t n = 0;

		if (*c == '(' || *c == '[')
			inside++;
		else if ((*c == ')' || *c == ']') && inside)
			inside--;
		if (*c < '0' || *c > '9' || inside || (c > text && c[-1] != ':' && c[-1] != ' ')) {
			c++;
			continue;
		}
		for (; *c >= '0' && *c <= '9'; c++)
			n = n > VBMQ_CPUS_MAX ? n : n * 10 + (uint64_t)(*c - '0');
		cpus *= n ? n : 1;
		if (cpus > VBMQ_CPUS_MAX)
			return vbmq_err_set(err, -ERANGE, "synthetic host '%s' has more than %u CPUs", text,
					    VBMQ_CPUS_MAX);
	}
	return 0;
}

int vbmq_topology_synthetic(const char *description, struct vbmq_host **ret, struct vbmq_err *err)
{
	_cleanup_topology_ hwloc_topology_t t = NULL;
	struct vbmq_host *h;
	int r;

	if (strlen(description) > SYNTHETIC_MAX)
		return vbmq_err_set(err, -EINVAL, "a synthetic host of more than %u characters", SYNTHETIC_MAX);
	r = check_synthetic(description, err);
	if (r < 0)
		return r;
	r = new_topology(&t, err);
	if (r < 0)
		return r;
	if (hwloc_topology_set_synthetic(t, description) < 0 || hwloc_topology_load(t) < 0)
		return vbmq_err_set(
			err, -EINVAL,
			"'%s' describes no host: levels from the outside in, each TYPE:COUNT of package, node, die, "
			"l3, l2, core, pu; the last one is pu; such as 'synthetic:" EXAMPLE "'",
			description);
	r = vbmq_topology_map(t, &h, err);
	if (r == 0 && asprintf(&h->name, "synthetic:%s", description) < 0) {
		h->name = NULL;
		vbmq_host_free(h);
		return vbmq_err_oom(err);
	}
	if (r == 0)
		r = finish(h, ret, err);
	else
		vbmq_err_prefix(err, "synthetic:%s: ", description);
	return r;
}

int vbmq_topology_from_argument(const char *argument, struct vbmq_host **ret, struct vbmq_err *err)
{
	_cleanup_free_ char *xml = NULL;
	struct vbmq_err cause = VBMQ_ERR_INIT;
	size_t len;
	int r;

	if (strncmp(argument, "synthetic:", 10) == 0)
		return vbmq_topology_synthetic(argument + 10, ret, err);
	if (strcmp(argument, "live") == 0)
		return vbmq_topology_live(NULL, ret, err);
	r = vbmq_file_read(argument, VBMQ_TOPOLOGY_XML_MAX, &xml, &len, &cause);
	if (r == -ENOENT)
		return vbmq_err_set(err, r,
				    "%s: no such file; a host is 'live', the path of an lstopo XML file, or "
				    "'synthetic:" EXAMPLE "'",
				    argument);
	if (r < 0)
		return vbmq_err_set(err, r, "%s", cause.text);
	return vbmq_topology_xml(argument, xml, len, ret, err);
}
