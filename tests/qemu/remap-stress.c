/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Queues of a virtio-blk disk are moved between I/O threads, again and again, under load; nothing may hang, get lost, come
 * twice or be wrong. Every scenario is a test of its own (TAP) with a QEMU of its own.
 *
 * A remap without load proves nothing: only those are counted at whose sending the rings held requests that QEMU had not
 * completed, and a scenario that does not get enough of them fails. That the test can fail is shown by a QEMU with
 * tests/qemu/broken-drain-swap.patch (drain, swap the contexts, as one would think it is done) and --expect-failure.
 *
 * Seen from outside nothing is timed; how long QEMU may do nothing is qt_patience()'s business.
 */

#include <errno.h>
#include <limits.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disturb.h"
#include "util/cleanup.h"

#define MAIN_LOOP UINT_MAX

struct scenario {
	const char *name;
	unsigned queues, threads;
	bool null, event_idx;
	uint64_t latency_ns;
	unsigned with; /* enum stress_with */
	unsigned every; /* remaps between two disturbances, on average */
	unsigned share; /* of the remaps, in parts of SHARES */
};

#define SHARES 43

static const struct scenario scenarios[] = {
	{ .name = "null-1-queue", .queues = 1, .threads = 2, .null = true, .share = 12 },
	{ .name = "null-4-queues-event-idx", .queues = 4, .threads = 4, .null = true, .event_idx = true, .share = 10 },
	{ .name = "parked", .queues = 2, .threads = 2, .null = true, .latency_ns = 100000, .share = 2 },
	{ .name = "data-2-queues", .queues = 2, .threads = 2, .share = 6 },
	{ .name = "resize", .queues = 4, .threads = 3, .event_idx = true, .with = WITH_RESIZE, .every = 4, .share = 4 },
	{ .name = "stop-cont", .queues = 3, .threads = 3, .with = WITH_STOP, .every = 8, .share = 3 },
	{ .name = "unplug",
	  .queues = 4,
	  .threads = 2,
	  .event_idx = true,
	  .with = WITH_UNPLUG,
	  .every = 20,
	  .share = 2 },
	{ .name = "jobs", .queues = 4, .threads = 3, .with = WITH_JOBS, .every = 2, .share = 3 },
	{ .name = "all",
	  .queues = 4,
	  .threads = 4,
	  .with = WITH_RESIZE | WITH_STOP | WITH_UNPLUG | WITH_JOBS,
	  .every = 4,
	  .share = 1 },
};

static const char *arg_scenario;
static unsigned arg_remaps = 21500;
static uint64_t arg_seed = 1;
static bool arg_without_remap, arg_expect_failure;
static bool under_way; /* the last scenario came to its remaps */

struct run {
	const struct scenario *sc;
	struct stress_scene scene;
	unsigned threads, with, wanted;
	unsigned thread[QT_QUEUES_MAX]; /* where the queues are to be: number of the I/O thread, or MAIN_LOOP */
	bool has_placement; /* QEMU tells where they are */
	uint64_t remaps, loaded, refused, looked;
};

/* --- remapping ---------------------------------------------------------------------------------------------------- */

/* A random mapping of one of the two forms, queues named or threads only, or NULL: the main loop. Noted in run->thread. */
static json_t *random_mapping(struct run *run)
{
	struct stress_scene *s = &run->scene;
	unsigned of[QT_QUEUES_MAX], shift = stress_below(s, run->threads), n = 1 + stress_below(s, run->threads);
	bool named = stress_below(s, 4);
	json_t *list;
	char name[16];

	for (unsigned q = 0; q < run->sc->queues; q++)
		of[q] = stress_below(s, run->threads);
	for (unsigned q = 0; q < run->sc->queues; q++)
		run->thread[q] = named ? of[q] : (q % n + shift) % run->threads;
	if (!stress_below(s, 16)) {
		for (unsigned q = 0; q < run->sc->queues; q++)
			run->thread[q] = MAIN_LOOP;
		return NULL;
	}
	list = json_array();
	for (unsigned t = 0; t < (named ? run->threads : n); t++) {
		unsigned thread = (t + shift) % run->threads;
		json_t *vqs = json_array();

		for (unsigned q = 0; named && q < run->sc->queues; q++)
			if (of[q] == thread)
				json_array_append_new(vqs, json_integer(q));
		snprintf(name, sizeof(name), "io%u", thread);
		if (named && json_array_size(vqs))
			json_array_append_new(list, json_pack("{s:s, s:O}", "iothread", name, "vqs", vqs));
		else if (!named)
			json_array_append_new(list, json_pack("{s:s}", "iothread", name));
		json_decref(vqs);
	}
	return list;
}

static bool try_again(const struct vbmq_err *err)
{
	return strstr(err->text, "drained") != NULL;
}

static int check_queue(struct run *run, unsigned q, json_t *of, bool at_end, struct vbmq_err *err)
{
	const char *is = json_string_value(json_object_get(of, "iothread"));
	json_t *stats = json_object_get(of, "stats");
	char name[16] = "main loop";

	if (run->thread[q] != MAIN_LOOP)
		snprintf(name, sizeof(name), "io%u", run->thread[q]);
	if (strcmp(is ? is : "main loop", name))
		return vbmq_err_set(err, -EPROTO, "queue %u is at %s instead of %s", q, is ? is : "the main loop",
				    name);
	if (!at_end)
		return 0;
	if (json_integer_value(json_object_get(stats, "in-flight")) ||
	    json_integer_value(json_object_get(stats, "parked")))
		return vbmq_err_set(err, -EPROTO, "queue %u: QEMU counts requests in flight that are not there", q);
	if (!run->scene.n_unplug &&
	    (uint64_t)json_integer_value(json_object_get(stats, "completed")) != run->scene.disk->queues[q].n_completed)
		return vbmq_err_set(err, -EPROTO, "queue %u: QEMU counts %lld completions, the driver %llu", q,
				    (long long)json_integer_value(json_object_get(stats, "completed")),
				    (unsigned long long)run->scene.disk->queues[q].n_completed);
	return 0;
}

/* Are the queues where they were put, and at the end, are QEMU's counters the driver's? */
static int check_placement(struct run *run, bool at_end, struct vbmq_err *err)
{
	json_t *v, *queues;
	int r;

	if (!run->has_placement)
		return 0;
	r = qt_qmp(run->scene.vm, &v, err, "query-virtio-placement", "{s:s}", "path", "disk0");
	if (r < 0)
		return r;
	queues = json_object_get(json_array_get(v, 0), "queues");
	if (json_array_size(queues) != run->sc->queues)
		r = vbmq_err_set(err, -EPROTO, "query-virtio-placement does not tell of %u queues", run->sc->queues);
	for (unsigned q = 0; r >= 0 && q < run->sc->queues; q++)
		r = check_queue(run, q, json_array_get(queues, q), at_end, err);
	json_decref(v);
	run->looked++;
	return r;
}

/* Requests that are in flight now, after giving the load a moment to make some. */
static unsigned await_requests(struct run *run)
{
	unsigned n = 0;

	for (unsigned turn = 0; turn < 10000 && !n; turn++) {
		for (unsigned q = 0; q < run->sc->queues; q++)
			n += qt_outstanding(&run->scene.disk->queues[q]);
		if (!n && turn % 1000 == 999)
			usleep(50); /* sleeping, not yielding: on a busy machine a yield costs a time slice */
	}
	return n;
}

static int remap(struct run *run, struct vbmq_err *err)
{
	struct stress_scene *s = &run->scene;
	struct qt_patience patience = { .vm = s->vm };
	unsigned met = await_requests(run);
	int r;
	while (!arg_without_remap && (r = qt_disk_remap(s->disk, random_mapping(run), err)) < 0) {
		if (r != -EREMOTEIO || !s->job || !try_again(err))
			return r;
		run->refused++;
		r = stress_jobs(s, err);
		if (r >= 0)
			r = qt_patience(&patience, "a remap that is not refused", err);
		if (r < 0)
			return r;
	}
	run->remaps++;
	run->loaded += met > 0;
	return 0;
}

static int remap_stopped(void *arg, struct vbmq_err *err)
{
	struct run *run = arg;

	return stress_below(&run->scene, 2) ? remap(run, err) : 0;
}

/* --- load --------------------------------------------------------------------------------------------------------- */

/* One to all queues loaded, each with a depth of its own. */
static void change_load(struct run *run)
{
	static const unsigned depths[] = { 1, 2, 4, 8, 16, 32, 64 };
	struct stress_scene *s = &run->scene;
	unsigned loaded = 1 + stress_below(s, run->sc->queues), first = stress_below(s, run->sc->queues);

	for (unsigned q = 0; q < run->sc->queues; q++) {
		bool on = (q + run->sc->queues - first) % run->sc->queues < loaded;

		qt_load_depth(s->load, q, on ? depths[stress_below(s, VBMQ_ELEMENTSOF(depths))] : 0);
	}
}

static int disturb(struct run *run, struct vbmq_err *err)
{
	unsigned with = run->with, one = with & -with, n = stress_below(&run->scene, 4);
	struct stress_scene *s = &run->scene;

	for (; n; n--) /* one of those asked for */
		for (one <<= 1; !(one & with); one = one > WITH_JOBS ? 1 : one << 1)
			;
	if (one == WITH_RESIZE)
		return stress_resize(s, err);
	if (one == WITH_STOP)
		return stress_stop(s, remap_stopped, run, err);
	if (one == WITH_JOBS)
		return stress_jobs(s, err);
	if (s->job)
		return 0; /* the node is in use: device_del would have to wait for the job */
	json_t *props = json_pack("{s:o*}", "iothread-vq-mapping", random_mapping(run));
	int r = stress_unplug(s, props, err);

	json_decref(props);
	return r;
}

static int go_on(struct run *run, struct vbmq_err *err)
{
	struct stress_scene *s = &run->scene;
	unsigned dice = stress_below(s, 16);

	if (dice < 8) /* at once: remap meets remap */
		return qt_load_failed(s->load, err);
	return qt_load_await(s->load, dice < 15 ? 1 : 1 + stress_below(s, 128), err);
}

static bool jobs_seen(const struct run *run)
{
	const uint64_t *n = run->scene.n_done;

	return !(run->with & WITH_JOBS) || (n[JOB_MIRROR] && n[JOB_BACKUP] && n[JOB_STREAM]);
}

/* Only remaps that met requests count; and a copy by each kind of job must have been seen through. */
static bool enough(const struct run *run)
{
	if (run->remaps >= 20ull * run->wanted + 20000)
		return true;
	return run->loaded >= run->wanted && jobs_seen(run);
}

static int stress(struct run *run, struct vbmq_err *err)
{
	struct stress_scene *s = &run->scene;
	int r = 0;

	for (uint64_t turn = 0; r >= 0 && !enough(run); turn++) {
		if (turn % 64 == 0)
			change_load(run);
		r = remap(run, err);
		if (r >= 0)
			r = stress_renew(s, err);
		if (r >= 0 && !stress_below(s, 16))
			r = check_placement(run, false, err);
		if (r >= 0 && run->with && !stress_below(s, run->sc->every))
			r = disturb(run, err);
		if (r >= 0 && s->job && turn % 8 == 0)
			r = stress_jobs(s, err);
		if (r >= 0)
			r = go_on(run, err);
	}
	if (r >= 0)
		r = stress_jobs_end(s, err);
	/* Whatever was cut off by the last remap shows now. */
	for (unsigned q = 0; q < run->sc->queues; q++)
		qt_load_depth(s->load, q, 8);
	return r < 0 ? r : qt_load_await(s->load, 64, err);
}

/* --- a scenario --------------------------------------------------------------------------------------------------- */

static int set_up(struct run *run, struct vbmq_err *err)
{
	struct stress_scene *s = &run->scene;
	struct qt_load_conf load = { .write_percent = s->write_percent = 50,
				     .flush_permille = 5,
				     .max_blocks = 4,
				     .cpu = -1,
				     .seed = s->rng,
				     .blocks = STRESS_IMAGE / QT_BLOCK,
				     .verify = !run->sc->null };
	struct qt_disk_conf disk = { .queues = run->sc->queues, .event_idx = run->sc->event_idx };
	char drive[16], io[16];
	json_t *props;
	int r = qt_vm_new(&(struct qt_vm_conf){ .ram_mib = 64 }, &s->vm, err);

	run->threads = run->sc->threads;
	run->with = run->sc->with;
	/*
	 * What stock QEMU does not survive, with or without remaps (10.0.2, 10.0.13): a backup beside requests from several I/O
	 * threads (use after free in block-copy), and stop and cont beside jobs. Patches for both are in the series.
	 */
	if (arg_without_remap && run->with & WITH_JOBS) {
		run->threads = 1;
		run->with &= ~(unsigned)WITH_STOP;
	}
	for (unsigned i = 0; r >= 0 && i < run->threads; i++) {
		snprintf(io, sizeof(io), "io%u", i);
		r = qt_iothread_add(s->vm, io, err);
	}
	if (r >= 0)
		r = stress_image_new(s, run->sc->null, run->sc->latency_ns, drive, err);
	if (r < 0)
		return r;
	r = arg_without_remap ? 0 : qt_qmp_has(s->vm, "query-virtio-placement", err);
	if (r < 0)
		return r;
	run->has_placement = r;
	props = json_pack("{s:o*}", "iothread-vq-mapping", random_mapping(run));
	disk.drive = drive;
	disk.props = props;
	r = qt_disk_new(s->vm, &disk, &s->disk, err);
	json_decref(props);
	if (r < 0)
		return r;
	s->disk->conf.drive = NULL;
	s->disk->conf.props = NULL;
	return qt_load_new(s->disk, &load, &s->load, err);
}

/* What must hold when nothing is left in flight. */
static int check_end(struct run *run, struct vbmq_err *err)
{
	struct stress_scene *s = &run->scene;
	int r = qt_load_drain(s->load, err);

	if (r >= 0)
		r = qt_load_verify_all(s->load, err);
	for (unsigned q = 0; r >= 0 && q < run->sc->queues; q++) {
		json_t *v;

		r = qt_qmp(s->vm, &v, err, "x-query-virtio-queue-status", "{s:s, s:i}", "path",
			   "/machine/peripheral/disk0/virtio-backend", "queue", (int)q);
		if (r < 0)
			break;
		if (json_integer_value(json_object_get(v, "inuse")) ||
		    json_integer_value(json_object_get(v, "last-avail-idx")) != s->disk->queues[q].avail_idx ||
		    json_integer_value(json_object_get(v, "used-idx")) != s->disk->queues[q].used_idx)
			r = vbmq_err_set(err, -EPROTO,
					 "queue %u: QEMU's indices are not the driver's though nothing is in flight",
					 q);
		json_decref(v);
	}
	if (r >= 0)
		r = check_placement(run, true, err);
	if (r >= 0 && !jobs_seen(run))
		r = vbmq_err_set(err, -ENODATA, "not every kind of block job has been seen through");
	if (r >= 0 && run->loaded < run->wanted)
		r = vbmq_err_set(err, -ENODATA, "only %llu of %llu remaps met requests in flight: that proves nothing",
				 (unsigned long long)run->loaded, (unsigned long long)run->remaps);
	return r;
}

static void report(struct run *run, double seconds)
{
	struct stress_scene *s = &run->scene;
	uint64_t completed = 0, verified = 0, kicks = 0;

	for (unsigned q = 0; q < run->sc->queues; q++) {
		struct qt_load_stats st;

		qt_load_stats(s->load, q, &st);
		completed += st.completed;
		verified += st.reads_verified;
		kicks += st.kicks;
	}
	printf("# %s: %llu remaps (%llu under load, %llu refused and repeated, %llu looked after) in %.1f s; %llu "
	       "requests, %llu kicks, "
	       "%llu written "
	       "blocks read back\n",
	       run->sc->name, (unsigned long long)run->remaps, (unsigned long long)run->loaded,
	       (unsigned long long)run->refused, (unsigned long long)run->looked, seconds,
	       (unsigned long long)completed, (unsigned long long)kicks, (unsigned long long)verified);
	printf("#   new eventfds %llu, stop/cont %llu, block_resize %llu (%llu refused), unplugged %llu (with %llu "
	       "requests in flight), "
	       "mirrors %llu, backups %llu (%llu blocks checked), streams %llu, cancelled %llu\n",
	       (unsigned long long)s->n_renewed, (unsigned long long)s->n_stop, (unsigned long long)s->n_resize,
	       (unsigned long long)s->n_resize_refused, (unsigned long long)s->n_unplug,
	       (unsigned long long)s->n_unplugged_with, (unsigned long long)s->n_done[JOB_MIRROR],
	       (unsigned long long)s->n_done[JOB_BACKUP], (unsigned long long)s->n_verified,
	       (unsigned long long)s->n_done[JOB_STREAM], (unsigned long long)s->n_cancelled);
}

static bool run_scenario(const struct scenario *sc, unsigned remaps)
{
	struct run run = { .sc = sc, .wanted = remaps };
	struct stress_scene *s = &run.scene;
	struct vbmq_err err = VBMQ_ERR_INIT;
	uint64_t begin = qt_now();
	int r;

	s->rng = arg_seed * 0x9e3779b97f4a7c15u + (uint64_t)(sc - scenarios);
	s->active.fd = s->target.fd = -1;
	r = set_up(&run, &err);
	if (r >= 0)
		r = stress(&run, &err);
	if (r >= 0)
		r = check_end(&run, &err);
	if (s->load) {
		qt_load_hold(s->load);
		report(&run, (double)(qt_now() - begin) / 1e9);
	}
	under_way = run.remaps > 0;
	if (r < 0) {
		printf("# %s: FAILED after %llu remaps (seed %llu): %s\n", sc->name, (unsigned long long)run.remaps,
		       (unsigned long long)arg_seed, err.text);
		if (s->disk)
			qt_disk_diagnose(s->disk, stdout);
	}
	s->load = qt_load_free(s->load);
	s->disk = qt_disk_free(s->disk);
	s->vm = qt_vm_free(s->vm);
	stress_scene_fini(s);
	fflush(stdout);
	return r >= 0;
}

/* --- program ------------------------------------------------------------------------------------------------------ */

static void usage(void)
{
	printf("remap-stress [--remaps N] [--scenario NAME] [--seed N] [--without-remap] [--expect-failure] [--list]\n"
	       "  --remaps N         in all scenarios together (default %u); with --scenario, in it\n"
	       "  --without-remap    everything but the remaps: any QEMU\n"
	       "  --expect-failure   succeeds if some scenario fails: for a QEMU that is broken on purpose\n"
	       "The emulator is $VBMQ_QEMU, else qemu-system-x86_64.\n",
	       arg_remaps);
}

static int parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "remaps", required_argument, NULL, 'n' },   { "scenario", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },     { "without-remap", no_argument, NULL, 'w' },
		{ "expect-failure", no_argument, NULL, 'x' }, { "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },	      { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			arg_remaps = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 's':
			arg_scenario = optarg;
			break;
		case 'r':
			arg_seed = strtoull(optarg, NULL, 10);
			break;
		case 'w':
			arg_without_remap = true;
			break;
		case 'x':
			arg_expect_failure = true;
			break;
		case 'l':
			for (size_t i = 0; i < VBMQ_ELEMENTSOF(scenarios); i++)
				puts(scenarios[i].name);
			return 1;
		case 'h':
			usage();
			return 1;
		default:
			return -EINVAL;
		}
	}
	return 0;
}

/* 0: it can be tested; 1: not, and why is said. Skipped is told by the TAP plan: meson takes a status of 77 for an error there. */
static int probe(bool *ret_skip)
{
	const char *missing = arg_without_remap ? "" : "virtio-blk-set-iothread-vq-mapping";
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = qt_probe(missing, &err);

	*ret_skip = r == 0 || r == -ENOENT;
	if (r > 0)
		return 0;
	if (r == -ENOENT || r == 0) {
		printf("1..0 # SKIP %s%s\n", r ? err.text : "not the patched QEMU (VBMQ_QEMU names one): no ",
		       r ? "" : missing);
		return 1;
	}
	printf("Bail out! %s: %s\n", qt_emulator(), err.text);
	return 1;
}

int main(int argc, char **argv)
{
	unsigned number = 0, failed = 0, n = arg_scenario ? 1 : VBMQ_ELEMENTSOF(scenarios);
	int r = parse(argc, argv);
	bool skip;

	if (r)
		return r < 0 ? 2 : 0;
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (probe(&skip))
		return skip ? 0 : 1;
	n = arg_scenario || arg_expect_failure ? 1 : VBMQ_ELEMENTSOF(scenarios);
	printf("1..%u\n", n);
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(scenarios); i++) {
		const struct scenario *sc = &scenarios[i];
		unsigned remaps = arg_scenario ? arg_remaps : arg_remaps * sc->share / SHARES;
		bool ok;

		if (arg_scenario && strcmp(arg_scenario, sc->name))
			continue;
		ok = run_scenario(sc, remaps ? remaps : 1);
		failed += !ok;
		number++;
		if (arg_expect_failure && ok)
			continue;
		if (arg_expect_failure)
			break;
		printf("%sok %u - %s\n", ok ? "" : "not ", number, sc->name);
	}
	if (!number) {
		printf("Bail out! there is no scenario %s (see --list)\n", arg_scenario);
		return 2;
	}
	if (!arg_expect_failure)
		return failed != 0;
	printf("%sok 1 - a broken QEMU fails\n", failed && under_way ? "" : "not ");
	return !failed || !under_way;
}
