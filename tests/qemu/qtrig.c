/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "qtrig.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WARM_UP 200 /* requests of each queue before the load is held */

void qt_nap(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t qt_permille(uint64_t *v, size_t n, unsigned permille)
{
	qsort(v, n, sizeof(*v), by_size);
	return v[(n - 1) * permille / 1000];
}

static int set_property(struct qt_rig *g, const char *name, json_t *value, struct vbmq_err *err)
{
	return qt_qmpj(g->vm, NULL, err, "qom-set",
		       json_pack("{s:s, s:s, s:o}", "path", "/objects/io0", "property", name, "value", value));
}

static int io_thread(struct qt_rig *g, const struct qt_rig_conf *conf, struct vbmq_err *err)
{
	int r = qt_iothread_add(g->vm, "io0", err);

	if (r >= 0)
		r = qt_iothread_tid(g->vm, "io0", &g->io_tid, err);
	if (r >= 0 && conf->poll_mode)
		r = set_property(g, "poll-mode", json_string(conf->poll_mode), err);
	if (r >= 0 && conf->poll_max_ns >= 0)
		r = set_property(g, "poll-max-ns", json_integer(conf->poll_max_ns), err);
	if (r >= 0 && conf->io_cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((unsigned)conf->io_cpu, &set);
		if (sched_setaffinity(g->io_tid, sizeof(set), &set))
			r = vbmq_err_set(err, -errno, "pinning the I/O thread to CPU %d: %s", conf->io_cpu,
					 strerror(errno));
	}
	return r;
}

int qt_rig_new(struct qt_rig *g, const struct qt_rig_conf *conf, struct vbmq_err *err)
{
	struct qt_load_conf load = { .gap_ns = conf->gap_ns, .spin = conf->spin, .cpu = conf->load_cpu, .seed = 1 };
	json_t *props = json_pack("{s:s}", "iothread", "io0");
	struct qt_disk_conf disk = { .drive = "n0", .queues = conf->queues, .props = props };
	int r = qt_vm_new(&(struct qt_vm_conf){ .emulator = conf->emulator }, &g->vm, err);

	if (r >= 0)
		r = io_thread(g, conf, err);
	if (r >= 0)
		r = qt_qmp(g->vm, NULL, err, "blockdev-add", "{s:s, s:s, s:I}", "driver", "null-co", "node-name", "n0",
			   "size", (json_int_t)64 << 20);
	if (r >= 0)
		r = qt_disk_new(g->vm, &disk, &g->disk, err);
	if (g->disk)
		g->disk->conf.props = NULL;
	json_decref(props);
	if (r < 0 || !conf->depth)
		return r;
	for (unsigned q = 0; q < conf->queues; q++)
		load.depth[q] = conf->depth;
	r = qt_load_new(g->disk, &load, &g->load, err);
	if (r >= 0)
		r = qt_load_await(g->load, conf->gap_ns ? 2 : WARM_UP, err);
	if (r >= 0)
		qt_load_hold(g->load);
	return r;
}

void qt_rig_free(struct qt_rig *g)
{
	g->load = qt_load_free(g->load);
	g->disk = qt_disk_free(g->disk);
	g->vm = qt_vm_free(g->vm);
}

uint64_t qt_rig_completed(const struct qt_rig *g)
{
	uint64_t sum = 0;

	for (unsigned q = 0; q < g->disk->n_queues; q++)
		sum += qt_load_completed(g->load, q);
	return sum;
}

int qt_rig_counter(struct qt_rig *g, const char *member, uint64_t *ret, struct vbmq_err *err)
{
	json_t *list = NULL;
	int r = qt_qmp(g->vm, &list, err, "query-iothreads", NULL);

	if (r < 0)
		return r;
	*ret = (uint64_t)json_integer_value(json_object_get(json_array_get(list, 0), member));
	json_decref(list);
	return 0;
}
