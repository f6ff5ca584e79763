/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How long planning takes, beside how long hwloc takes to load the same host, in one process and one run:
 *   planclock [--rounds N] [--only TEXT]
 * For each fleet: the placement from nothing; the plan (placement and steps) from nothing, the plan of the state this leads to
 * (nothing to do), and the plan when one more guest has arrived there, as milliseconds of CPU time, the median of the rounds; beside hwloc's
 * ways of loading such a host: discovery below a directory that looks like the host's /sys and /proc (what a daemon on it does when it starts), XML as
 * lstopo writes it, synthetic. "grow" are hosts and fleets of doubling size; there is no /sys made for these.
 */

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hwloc.h>

#include "core/plan.h"
#include "core/planner.h"
#include "gen.h"
#include "sim.h"
#include "sysroot.h"
#include "util/err.h"

#define ROUNDS_MAX 1000u

struct fleet {
	const char *name;
	unsigned nodes, l3s, cores, smt; /* l3s a node, cores an L3 domain */
	unsigned guests, vcpus, iothreads; /* of each guest: vCPUs, and I/O threads it asks for */
};

static const struct fleet fleets[] = {
	{ "512 CPUs, 100 guests", 2, 16, 8, 2, 100, 8, 2 },
	{ "512 CPUs, 200 guests", 2, 16, 8, 2, 200, 8, 4 },
	{ "grow 128", 2, 4, 8, 2, 62, 8, 2 },
	{ "grow 256", 2, 8, 8, 2, 125, 8, 2 },
	{ "grow 512", 2, 16, 8, 2, 250, 8, 2 },
	{ "grow 1024", 4, 16, 8, 2, 500, 8, 2 },
	{ "grow 2048", 8, 16, 8, 2, 1000, 8, 2 },
	{ "grow 4096", 16, 16, 8, 2, 2000, 8, 2 },
};

/* --- memory: what malloc() hands out in this process, by wrapping it (see meson.build) -------------------------------- */

static size_t heap_now, heap_peak;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);
char *__wrap_strdup(const char *text);

static void *count(void *p)
{
	heap_now += malloc_usable_size(p);
	if (heap_now > heap_peak && heap_now < SIZE_MAX / 2) /* what was there before may have been freed since */
		heap_peak = heap_now;
	return p;
}

void *__wrap_malloc(size_t n)
{
	return count(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return count(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
	heap_now -= malloc_usable_size(p);
	return count(__real_realloc(p, n));
}

char *__wrap_strdup(const char *text)
{
	size_t n = strlen(text) + 1;
	char *copy = __wrap_malloc(n);

	return copy ? memcpy(copy, text, n) : NULL;
}

void __wrap_free(void *p)
{
	heap_now -= malloc_usable_size(p);
	__real_free(p);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* --- hwloc ------------------------------------------------------------------------------------------------------------ */

static double load(const char *synthetic, const char *xml, int size, char **ret_xml, int *ret_size)
{
	hwloc_topology_t t;
	double begin = now(), took;

	if (hwloc_topology_init(&t) < 0 ||
	    (xml ? hwloc_topology_set_xmlbuffer(t, xml, size) : hwloc_topology_set_synthetic(t, synthetic)) < 0 ||
	    hwloc_topology_load(t) < 0) {
		fprintf(stderr, "planclock: hwloc cannot load %s\n", synthetic);
		exit(1);
	}
	took = now() - begin;
	if (ret_xml && hwloc_topology_export_xmlbuffer(t, ret_xml, ret_size, 0) < 0)
		exit(1);
	hwloc_topology_destroy(t);
	return took;
}

/* As vbmqd does it, but for the root directory. */
static double discover(const char *root, const struct fleet *f)
{
	hwloc_topology_t t;
	double begin, took;
	int n_l3s = (int)(f->nodes * f->l3s);

	setenv("HWLOC_FSROOT", root, 1);
	setenv("HWLOC_COMPONENTS", "linux,stop", 1);
	begin = now();
	if (hwloc_topology_init(&t) < 0 || hwloc_topology_load(t) < 0) {
		fprintf(stderr, "planclock: hwloc cannot load %s\n", root);
		exit(1);
	}
	took = now() - begin;
	unsetenv("HWLOC_FSROOT");
	unsetenv("HWLOC_COMPONENTS");
	if (hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PU) != n_l3s * (int)(f->cores * f->smt) ||
	    hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE) != n_l3s * (int)f->cores ||
	    hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_L3CACHE) != n_l3s ||
	    hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_NUMANODE) != (int)f->nodes) {
		fprintf(stderr, "planclock: what hwloc found below %s is not the host it should be\n", root);
		exit(1);
	}
	hwloc_topology_destroy(t);
	return took;
}

static double discoveries(const struct fleet *f, unsigned rounds)
{
	static double took[ROUNDS_MAX];
	char *root = sysroot_make(&(struct sysroot_host){ f->nodes, f->l3s, f->cores, f->smt });

	if (!root) {
		perror("planclock: a directory that looks like /sys");
		exit(1);
	}
	for (unsigned i = 0; i < rounds; i++)
		took[i] = discover(root, f);
	sysroot_remove(root);
	return median(took, rounds);
}

/* --- guests ----------------------------------------------------------------------------------------------------------- */

static void add_guest(struct vbmq_snapshot *s, const struct fleet *f, unsigned number)
{
	uint32_t caps = VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_LIVE_MAP;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_domain *d;
	char name[16];

	snprintf(name, sizeof(name), "g%04u", number);
	d = gen_plain_domain(s->host, name, f->vcpus, 0, caps);
	snprintf(d->uuid, sizeof(d->uuid), "00000000-0000-4000-8000-%012u", number);
	d->wish.iothreads = (int32_t)f->iothreads;
	if (number % 2)
		d->wish.vcpus = VBMQ_VCPUS_DEDICATED;
	gen_add_disk(d, "vda", f->vcpus, (int32_t)(number % f->nodes));
	vbmq_cpuset_add(&d->memory_nodes, number / 2 % f->nodes);
	if (vbmq_snapshot_add(s, d, &err) < 0) {
		fprintf(stderr, "planclock: %s\n", err.text);
		exit(1);
	}
}

static void finish(struct vbmq_snapshot *s)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	if (vbmq_snapshot_finish(s, &err) < 0) {
		fprintf(stderr, "planclock: %s\n", err.text);
		exit(1);
	}
}

static double place_only(const struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_placement *p = NULL;
	double begin = now(), took;

	if (vbmq_planner_run(s, policy, &p, &err) < 0) {
		fprintf(stderr, "planclock: %s\n", err.text);
		exit(1);
	}
	took = now() - begin;
	vbmq_placement_free(p);
	return took;
}

static double plan(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, struct vbmq_plan **ret)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_plan *p = NULL;
	double begin = now(), took;

	if (vbmq_plan_make(s, policy, "00000000000000000000000000000000", &p, &err) < 0) {
		fprintf(stderr, "planclock: %s\n", err.text);
		exit(1);
	}
	took = now() - begin;
	if (ret)
		*ret = p;
	else
		vbmq_plan_free(p);
	return took;
}

/* --- a case ----------------------------------------------------------------------------------------------------------- */

struct result {
	double sysfs, xml, synthetic, place, fresh, settled, arrival; /* sysfs 0: not looked at */
	size_t bytes; /* that planning from nothing had allocated at once, at most */
	size_t n_exclusive, n_steps;
};

static void run(const struct fleet *f, unsigned rounds, struct result *ret)
{
	static double xml[ROUNDS_MAX], synthetic[ROUNDS_MAX], place[ROUNDS_MAX], fresh[ROUNDS_MAX], settled[ROUNDS_MAX],
		arrival[ROUNDS_MAX];
	struct vbmq_snapshot *s = vbmq_snapshot_new(), *later;
	struct vbmq_policy policy;
	struct vbmq_plan *p = NULL;
	char text[128], *buffer = NULL;
	int size = 0;

	vbmq_policy_init(&policy);
	policy.shared_min_cores = f->nodes * f->l3s * f->cores / 8;
	s->host = gen_regular_host(f->nodes, f->l3s, f->cores, f->smt);
	for (unsigned i = 0; i < f->guests; i++)
		add_guest(s, f, i);
	finish(s);
	snprintf(text, sizeof(text), "node:%u l3:%u core:%u pu:%u", f->nodes, f->l3s, f->cores, f->smt);
	*ret = (struct result){ 0 };
	load(text, NULL, 0, &buffer, &size);

	later = sim_copy(s);
	finish(later);
	heap_peak = heap_now = 0;
	plan(s, &policy, &p);
	ret->bytes = heap_peak;
	for (size_t i = 0; i < p->n_steps; i++)
		sim_step(later, &p->steps[i]);
	for (size_t i = 0; i < p->placement->n_domains; i++)
		for (size_t j = 0; j < p->placement->domains[i].n_threads; j++)
			ret->n_exclusive += p->placement->domains[i].threads[j].exclusive;
	ret->n_steps = p->n_steps;
	vbmq_plan_free(p);
	for (unsigned i = 0; i < rounds; i++) {
		xml[i] = load(text, buffer, size, NULL, NULL);
		synthetic[i] = load(text, NULL, 0, NULL, NULL);
		place[i] = place_only(s, &policy);
		fresh[i] = plan(s, &policy, NULL);
		settled[i] = plan(later, &policy, NULL);
	}
	add_guest(later, f, f->guests);
	finish(later);
	for (unsigned i = 0; i < rounds; i++)
		arrival[i] = plan(later, &policy, NULL);
	if (strncmp(f->name, "grow ", 5) != 0)
		ret->sysfs = discoveries(f, rounds);
	ret->xml = median(xml, rounds);
	ret->synthetic = median(synthetic, rounds);
	ret->place = median(place, rounds);
	ret->fresh = median(fresh, rounds);
	ret->settled = median(settled, rounds);
	ret->arrival = median(arrival, rounds);
	free(buffer);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
	vbmq_snapshot_free(later);
}

/* --- growth: the slope of log time over log CPUs, by least squares ---------------------------------------------------- */

struct slope {
	double n, x, y, xx, xy;
};

static struct slope grown_place, grown_fresh, grown_xml;

static void add_point(struct slope *s, double cpus, double ms)
{
	double x = log2(cpus), y = log2(ms);

	s->n++;
	s->x += x;
	s->y += y;
	s->xx += x * x;
	s->xy += x * y;
}

static double exponent(const struct slope *s)
{
	return (s->n * s->xy - s->x * s->y) / (s->n * s->xx - s->x * s->x);
}

static void grow_by(double cpus, const struct result *r)
{
	add_point(&grown_place, cpus, r->place);
	add_point(&grown_fresh, cpus, r->fresh);
	add_point(&grown_xml, cpus, r->xml);
}

int main(int argc, char **argv)
{
	unsigned rounds = 9;
	const char *only = "";

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--rounds") == 0)
			rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--only") == 0)
			only = argv[i + 1];
	}
	if (rounds < 1 || rounds > ROUNDS_MAX)
		return 2;
	for (size_t i = 0; i < sizeof(fleets) / sizeof(fleets[0]); i++) {
		struct result r;

		if (!strstr(fleets[i].name, only))
			continue;
		run(&fleets[i], rounds, &r);
		printf("%s: xml %.2f synthetic %.2f placement %.2f fresh %.2f settled %.2f arrival %.2f, %.1f MiB, %zu "
		       "exclusive, "
		       "%zu steps; in loads: placement %.2f fresh %.2f arrival %.2f\n",
		       fleets[i].name, r.xml, r.synthetic, r.place, r.fresh, r.settled, r.arrival,
		       (double)r.bytes / 1048576, r.n_exclusive, r.n_steps, r.place / r.xml, r.fresh / r.xml,
		       r.arrival / r.xml);
		if (r.sysfs > 0)
			printf("%s: sysfs %.2f; in loads of sysfs: placement %.3f fresh %.3f arrival %.3f\n",
			       fleets[i].name, r.sysfs, r.place / r.sysfs, r.fresh / r.sysfs, r.arrival / r.sysfs);
		if (strncmp(fleets[i].name, "grow ", 5) == 0)
			grow_by(strtod(fleets[i].name + 5, NULL), &r);
		fflush(stdout);
	}
	if (grown_xml.n > 1)
		printf("exponents: placement %.2f fresh %.2f xml %.2f\n", exponent(&grown_place),
		       exponent(&grown_fresh), exponent(&grown_xml));
	return 0;
}
