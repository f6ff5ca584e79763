/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Before Linux 6.2, writing cpuset.cpus gives every thread below that cgroup all CPUs of its own cgroup: what it had been
 * pinned to (CPUAffinity= of its service, the polling threads of a virtual switch) is forgotten, even if all of that is
 * still allowed. So who is pinned is looked up before a limit changes, and pinned again afterwards, if Linux did forget.
 * Later kernels remember by themselves, and more than can be seen from outside; there nobody is looked up. (Distributions
 * took that over into older ones, whose version does not tell: there nobody is seen to be forgotten.)
 *
 * Pinned is who may run on less than the nearest cgroup above him with a cpuset lets him.
 *
 * Limits. What of a pin a limit cuts off is not known any more when the limit goes; who was pinned to nothing but what is cut
 * off is pinned no more. A thread that pins itself between the two looks loses that, and one that is made meanwhile
 * has what Linux gives it.
 */
#include "bus/pins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/process.h"
#include "host/sysroot.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define ROOT "/sys/fs/cgroup"
#define THREADS_MAX (16u * 1024u * 1024u) /* bytes of a list of them */
#define PINS_MAX 65536u
#define DEPTH_MAX 32u

struct walk {
	const char *sysroot;
	struct vbmq_bus_pins pins;
};

/* "6.1.0-50-cloud-amd64" */
static bool remembers(const char *sysroot)
{
	_cleanup_free_ char *release = NULL;
	uint32_t major, minor;
	char *dot;

	if (vbmq_sysroot_line(sysroot, "/proc/sys/kernel/osrelease", &release) < 0)
		return false;
	dot = strchr(release, '.');
	if (!dot)
		return false;
	*dot++ = '\0';
	dot[strspn(dot, "0123456789")] = '\0';
	return vbmq_parse_u32(release, 0, UINT32_MAX, &major) == 0 && vbmq_parse_u32(dot, 0, UINT32_MAX, &minor) == 0 &&
	       (major > 6 || (major == 6 && minor >= 2));
}

static int look_at(struct walk *w, uint32_t tid, const struct vbmq_cpuset *cpus)
{
	struct vbmq_bus_pin *pin;
	struct vbmq_task t;

	if (vbmq_process_task(w->sysroot, tid, tid, &t, NULL) < 0 || vbmq_cpuset_equal(&t.affinity, cpus) ||
	    !vbmq_cpuset_is_subset(&t.affinity, cpus))
		return 0;
	pin = vbmq_array_add(w->pins.items, w->pins.n, PINS_MAX);
	if (!pin)
		return -ENOMEM;
	*pin = (struct vbmq_bus_pin){ .tid = tid, .start = t.start, .cpus = t.affinity, .had = *cpus };
	return 0;
}

static int look_at_threads(struct walk *w, const char *path, const struct vbmq_cpuset *cpus)
{
	_cleanup_free_ char *file = NULL, *text = NULL;
	size_t len;
	int r = 0;

	if (asprintf(&file, "%s/cgroup.threads", path) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	if (vbmq_sysroot_read(w->sysroot, file, THREADS_MAX, &text, &len) < 0)
		return 0;
	for (char *at = text, *rest; r == 0 && *at; at = rest) {
		uint32_t tid;

		rest = at + strcspn(at, "\n");
		if (*rest)
			*rest++ = '\0';
		if (vbmq_parse_u32(at, 1, INT32_MAX, &tid) == 0)
			r = look_at(w, tid, cpus);
	}
	return r;
}

static int look_below(struct walk *w, const char *path, const struct vbmq_cpuset *above, unsigned depth);

static int look_at_children(struct walk *w, const char *path, char **names, size_t n, const struct vbmq_cpuset *cpus,
			    unsigned depth)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *below = NULL;
		int r;

		if (asprintf(&below, "%s/%s", path, names[i]) < 0) {
			below = NULL;
			return -ENOMEM;
		}
		r = look_below(w, below, cpus, depth + 1);
		if (r < 0)
			return r;
	}
	return 0;
}

/* above: the CPUs of the cgroup above, where this one has no cpuset. What is no directory is no cgroup. */
static int look_below(struct walk *w, const char *path, const struct vbmq_cpuset *above, unsigned depth)
{
	_cleanup_free_ char *file = NULL, *line = NULL;
	struct vbmq_cpuset cpus = *above, own;
	char **names = NULL;
	size_t n = 0;
	int r;

	if (depth > DEPTH_MAX || vbmq_sysroot_list(w->sysroot, path, &names, &n) < 0)
		return 0;
	if (asprintf(&file, "%s/cpuset.cpus.effective", path) < 0)
		file = NULL;
	if (file && vbmq_sysroot_line(w->sysroot, file, &line) == 0 && *line &&
	    vbmq_cpulist_parse(line, strlen(line), 0, &own, NULL) == 0)
		cpus = own;
	r = file ? look_at_threads(w, path, &cpus) : -ENOMEM;
	if (r == 0)
		r = look_at_children(w, path, names, n, &cpus, depth);
	vbmq_sysroot_names_free(names, n);
	return r;
}

int vbmq_bus_pins_take(const char *sysroot, const char *unit, struct vbmq_bus_pins *ret, struct vbmq_err *err)
{
	struct walk w = { .sysroot = sysroot };
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY;
	_cleanup_free_ char *line = NULL;
	char path[128];
	int r = 0;

	if (!remembers(sysroot) && vbmq_sysroot_line(sysroot, "/sys/devices/system/cpu/online", &line) == 0 &&
	    vbmq_cpulist_parse(line, strlen(line), 0, &all, NULL) == 0) {
		snprintf(path, sizeof(path), ROOT "/%s", unit);
		r = look_below(&w, path, &all, 0);
	}
	if (r < 0) {
		vbmq_bus_pins_done(&w.pins);
		return vbmq_err_oom(err);
	}
	*ret = w.pins;
	return 0;
}

/* Whether all that its cgroup had, as far as the limit leaves it, is the thread's now. */
static bool is_forgotten(const struct vbmq_bus_pin *pin, const struct vbmq_task *now, const struct vbmq_cpuset *limit)
{
	struct vbmq_cpuset cpus = vbmq_cpuset_is_empty(limit) ? pin->had : vbmq_cpuset_and(&pin->had, limit);

	return vbmq_cpuset_is_subset(&cpus, &now->affinity);
}

void vbmq_bus_pins_give_back(const char *sysroot, const struct vbmq_bus_pins *pins, const struct vbmq_cpuset *limit)
{
	for (size_t i = 0; i < pins->n; i++) {
		const struct vbmq_bus_pin *pin = &pins->items[i];
		struct vbmq_cpuset want = vbmq_cpuset_is_empty(limit) ? pin->cpus : vbmq_cpuset_and(&pin->cpus, limit);
		struct vbmq_task t;

		if (!vbmq_cpuset_is_empty(&want) && vbmq_process_task(sysroot, pin->tid, pin->tid, &t, NULL) == 0 &&
		    t.start == pin->start && is_forgotten(pin, &t, limit) && !vbmq_cpuset_equal(&t.affinity, &want))
			vbmq_process_set_affinity(pin->tid, pin->start, &want, NULL);
	}
}

void vbmq_bus_pins_done(struct vbmq_bus_pins *pins)
{
	free(pins->items);
	*pins = (struct vbmq_bus_pins){ .items = NULL };
}
