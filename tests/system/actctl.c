/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Drives lib/virt and lib/capture from the system tests, one command a line on standard input, one JSON document a line on
 * standard output, in one process (so that what a connection remembers between calls is tested, too):
 *
 *	capture                     the snapshot
 *	domain NAME                 a snapshot of this domain alone, on the live host
 *	hold NAME                   captures the domain and keeps it for the following steps
 *	check                       the held domain is still the same instance
 *	again                       a snapshot of the held domain alone, read as after an apply of pins
 *	pin KIND ID CPUS            a step on the held domain, executed and observed
 *	pin-task TID CPUS           one further thread of the emulator
 *	add ID | del ID
 *	polling ID MAX GROW SHRINK
 *	map TARGET ID,ID,...
 *	list
 *	events                      what came since the last time
 *	quit
 *
 * Failures are {"error": errno, "text": "..."}; every document has "ms", the time it took.
 */

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "capture/capture.h"
#include "codec/json_snapshot.h"
#include "host/topology.h"
#include "util/cleanup.h"
#include "util/cpuset.h"
#include "util/err.h"
#include "util/parse.h"
#include "virt/act_libvirt.h"
#include "virt/read.h"

#define WORDS 8

static struct vbmq_virt *virt;
static struct vbmq_domain *held;
static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;
static json_t *events;

static void on_event(void *data, enum vbmq_virt_event event, const char *uuid, const char *name, const char *reason)
{
	static const char *const words[] = { "changed", "tuned", "gone", "closed" };

	pthread_mutex_lock(&events_lock);
	json_array_append_new(events,
			      json_pack("{s:s, s:s*, s:s}", "event", words[event], "name", name, "reason", reason));
	pthread_mutex_unlock(&events_lock);
}

static json_t *failure(const struct vbmq_err *err)
{
	return json_pack("{s:i, s:s}", "error", -err->code, "text", err->text);
}

static json_t *snapshot_json(const struct vbmq_snapshot *s)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *text = NULL;

	if (vbmq_snapshot_format(s, false, &text, &err) < 0)
		return failure(&err);
	return json_pack("{s:o}", "snapshot", json_loads(text, 0, NULL));
}

static json_t *capture(void)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_snapshot *s = NULL;
	_cleanup_free_ char *skipped = NULL;
	json_t *j;

	if (vbmq_capture_all(virt, NULL, NULL, &s, &skipped, &err) < 0)
		return failure(&err);
	j = snapshot_json(s);
	if (skipped)
		json_object_set_new(j, "skipped", json_string(skipped));
	vbmq_snapshot_free(s);
	return j;
}

/* What the held domain is now, read as after an apply of pins: a snapshot with it alone. */
static json_t *again(void)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;
	json_t *j;
	int r = s ? vbmq_topology_live(NULL, &s->host, &err) : vbmq_err_oom(&err);

	if (r == 0)
		r = vbmq_capture_again(virt, held, &d, NULL, &err);
	if (r == 0)
		r = vbmq_snapshot_add(s, d, &err);
	if (r == 0)
		r = vbmq_snapshot_finish(s, &err);
	j = r == 0 ? snapshot_json(s) : failure(&err);
	vbmq_snapshot_free(s);
	return j;
}

static json_t *odd_json(const struct vbmq_domain *d)
{
	json_t *odd = json_array();

	for (size_t i = 0; i < d->n_odd_tasks; i++) {
		_cleanup_free_ char *cpus = vbmq_cpulist_format(&d->odd_tasks[i].affinity);

		json_array_append_new(odd, json_pack("[i, s]", (int)d->odd_tasks[i].tid, cpus));
	}
	return odd;
}

static json_t *domain(const char *name, bool hold)
{
	struct vbmq_err err = VBMQ_ERR_INIT, metadata = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;
	json_t *j;

	if (vbmq_capture_domain(virt, name, &d, &metadata, &err) < 0)
		return failure(&err);
	j = json_pack("{s:s, s:i, s:i, s:b, s:i, s:o}", "uuid", d->uuid, "id", (int)d->id, "pid", (int)d->pid,
		      "responsive", d->responsive, "caps", (int)d->caps.bits, "odd", odd_json(d));
	if (metadata.code)
		json_object_set_new(j, "metadata_error", json_string(metadata.text));
	if (hold) {
		vbmq_domain_free(held);
		held = d;
	} else {
		vbmq_domain_free(d);
	}
	return j;
}

static json_t *observed_json(const struct vbmq_step *step, const struct vbmq_observed *o)
{
	_cleanup_free_ char *cpus = vbmq_cpulist_format(&o->cpus);
	json_t *j = json_object(), *map;

	switch (step->op) {
	case VBMQ_STEP_PIN:
		json_object_set_new(j, "cpus", json_string(cpus));
		break;
	case VBMQ_STEP_SET_POLLING:
		json_object_set_new(j, "polling",
				    json_pack("[I, i, i]", (json_int_t)o->polling.max_ns, (int)o->polling.grow,
					      (int)o->polling.shrink));
		break;
	case VBMQ_STEP_MAP_QUEUES:
		map = json_array();
		for (size_t i = 0; i < o->n_map; i++)
			json_array_append_new(map, json_integer((json_int_t)o->map[i]));
		json_object_set_new(j, "map", map);
		break;
	default:
		json_object_set_new(j, "exists", json_boolean(o->exists));
		break;
	}
	return j;
}

/* Execute, then observe: "executed" and "observed" each an object or a failure. */
static json_t *do_step(const struct vbmq_step *step)
{
	struct vbmq_err err = VBMQ_ERR_INIT, observe_err = VBMQ_ERR_INIT;
	const struct vbmq_thread *thread;
	struct vbmq_observed o = { .exists = false };
	struct vbmq_actuator act;
	json_t *j;

	vbmq_act_libvirt(virt, &vbmq_capture_task_ops, &act);
	thread = step->op == VBMQ_STEP_PIN ? vbmq_domain_thread(held, step->kind, step->id) : NULL;
	if (act.ops->execute(act.ctx, held, thread, step, &err) < 0)
		return failure(&err);
	if (act.ops->observe(act.ctx, held, thread, step, &o, &observe_err) < 0)
		return failure(&observe_err);
	j = observed_json(step, &o);
	free(o.map);
	return j;
}

static int parse_map(char *text, uint32_t *map, size_t max, size_t *ret_n)
{
	size_t n = 0;

	for (char *save = NULL, *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		if (n == max || vbmq_parse_u32(w, 0, 1000, &map[n]) < 0)
			return -EINVAL;
		n++;
	}
	*ret_n = n;
	return 0;
}

/* Fills step (and map) from the words of a line. */
static int parse_step(char **w, int n, struct vbmq_step *step, struct vbmq_cpuset *cpus, uint32_t *map, size_t max_map)
{
	struct vbmq_polling *p = &step->polling;
	int kind;

	if (!strcmp(w[0], "pin") && n == 4) {
		kind = vbmq_parse_word(w[1], vbmq_thread_kind_words);
		step->op = VBMQ_STEP_PIN;
		step->kind = (enum vbmq_thread_kind)kind;
		return kind < 0 || vbmq_parse_u32(w[2], 0, UINT32_MAX, &step->id) < 0
			       ? -EINVAL
			       : vbmq_cpulist_parse(w[3], strlen(w[3]), 0, cpus, NULL);
	}
	if (!strcmp(w[0], "pin-task") && n == 4) {
		step->op = VBMQ_STEP_PIN;
		step->kind = VBMQ_THREAD_EMULATOR;
		return vbmq_parse_u32(w[1], 1, UINT32_MAX, &step->tid) < 0 ||
				       vbmq_parse_u64(w[2], 1, UINT64_MAX, &step->start) < 0
			       ? -EINVAL
			       : vbmq_cpulist_parse(w[3], strlen(w[3]), 0, cpus, NULL);
	}
	if ((!strcmp(w[0], "add") || !strcmp(w[0], "del")) && n == 2) {
		step->op = w[0][0] == 'a' ? VBMQ_STEP_ADD_IOTHREAD : VBMQ_STEP_DEL_IOTHREAD;
		return vbmq_parse_u32(w[1], 0, UINT32_MAX, &step->id);
	}
	if (!strcmp(w[0], "polling") && n == 5) {
		step->op = VBMQ_STEP_SET_POLLING;
		p->mode = VBMQ_POLL_UNSAID;
		return vbmq_parse_u32(w[1], 0, UINT32_MAX, &step->id) < 0 ||
				       vbmq_parse_u64(w[2], 0, UINT64_MAX, &p->max_ns) < 0 ||
				       vbmq_parse_u32(w[3], 0, UINT32_MAX, &p->grow) < 0
			       ? -EINVAL
			       : vbmq_parse_u32(w[4], 0, UINT32_MAX, &p->shrink);
	}
	if (!strcmp(w[0], "map") && n == 3 && strlen(w[1]) <= VBMQ_TARGET_MAX) {
		step->op = VBMQ_STEP_MAP_QUEUES;
		memcpy(step->target, w[1], strlen(w[1]) + 1);
		step->map = map;
		return parse_map(w[2], map, max_map, &step->n_map);
	}
	return -EINVAL;
}

static json_t *check(void)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_actuator act;

	vbmq_act_libvirt(virt, &vbmq_capture_task_ops, &act);
	return act.ops->check_domain(act.ctx, held, &err) < 0 ? failure(&err) : json_object();
}

static json_t *list(void)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_virt_name *names;
	json_t *j;
	size_t n;

	if (vbmq_virt_list(virt, true, &names, &n, &err) < 0)
		return failure(&err);
	j = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(j, json_pack("{s:s, s:b}", "name", names[i].name, "active", names[i].active));
	vbmq_virt_names_free(names, n);
	return json_pack("{s:o}", "domains", j);
}

static json_t *command(char **w, int n)
{
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	struct vbmq_step step = { .op = VBMQ_STEP_PIN, .cpus = &cpus };
	uint32_t map[VBMQ_QUEUES_MAX];
	json_t *j;

	if (!strcmp(w[0], "capture"))
		return capture();
	if (!strcmp(w[0], "domain") && n == 2)
		return domain(w[1], false);
	if (!strcmp(w[0], "hold") && n == 2)
		return domain(w[1], true);
	if (!strcmp(w[0], "list"))
		return list();
	if (!strcmp(w[0], "events")) {
		pthread_mutex_lock(&events_lock);
		j = json_pack("{s:o, s:b}", "events", events, "alive", vbmq_virt_alive(virt));
		events = json_array();
		pthread_mutex_unlock(&events_lock);
		return j;
	}
	if (!held)
		return json_pack("{s:s}", "usage", "hold a domain first");
	if (!strcmp(w[0], "check"))
		return check();
	if (!strcmp(w[0], "again"))
		return again();
	if (parse_step(w, n, &step, &cpus, map, VBMQ_ELEMENTSOF(map)) < 0)
		return json_pack("{s:s}", "usage", w[0]);
	return do_step(&step);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool stop;

static void *loop_main(void *data)
{
	(void)vbmq_virt_loop_run(&stop);
	return NULL;
}

static void answer(json_t *j, double begin)
{
	char *text;

	json_object_set_new(j, "ms", json_real(now_ms() - begin));
	text = json_dumps(j, JSON_COMPACT);
	puts(text);
	fflush(stdout);
	free(text);
	json_decref(j);
}

int main(int argc, char **argv)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *line = NULL;
	double begin = now_ms();
	pthread_t loop;
	size_t cap = 0;
	uint32_t ms;

	if (argc != 3 || vbmq_parse_u32(argv[2], 1, UINT32_MAX, &ms) < 0) {
		fputs("usage: actctl URI TIMEOUT-MS\n", stderr);
		return 2;
	}
	events = json_array();
	if (vbmq_virt_loop_init(&err) < 0 || pthread_create(&loop, NULL, loop_main, NULL)) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	if (vbmq_virt_open(argv[1], false, on_event, NULL, &virt, &err) < 0) {
		answer(failure(&err), begin);
	} else {
		vbmq_virt_set_timeout(virt, ms);
		answer(json_object(), begin);
		while (getline(&line, &cap, stdin) > 0) {
			char *w[WORDS], *save = NULL;
			int n = 0;

			for (char *p = strtok_r(line, " \n", &save); p && n < WORDS; p = strtok_r(NULL, " \n", &save))
				w[n++] = p;
			if (n && !strcmp(w[0], "quit"))
				break;
			begin = now_ms();
			if (n)
				answer(command(w, n), begin);
		}
		vbmq_virt_close(virt);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	vbmq_virt_loop_wake();
	pthread_join(loop, NULL);
	vbmq_domain_free(held);
	json_decref(events);
	return 0;
}
