/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The planner's decisions, one by one, on hosts small enough to know the right answer. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/plan.h"
#include "core/planner.h"
#include "gen.h"
#include "sim.h"
#include "util/err.h"

#define STOCK (VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_COLD_MAP)
#define LIVE (STOCK | VBMQ_CAP_LIVE_MAP | VBMQ_CAP_POLL_MODE | VBMQ_CAP_PLACEMENT)

struct world {
	struct vbmq_snapshot *s;
	struct vbmq_policy policy;
	struct vbmq_placement *p;
};

static struct world *world_of(struct vbmq_host *h)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	vbmq_policy_init(&w->policy);
	w->s = vbmq_snapshot_new();
	assert_non_null(w->s);
	w->s->host = h;
	return w;
}

static struct vbmq_domain *guest(struct world *w, const char *name, unsigned vcpus, unsigned iothreads, uint32_t caps)
{
	struct vbmq_domain *d = gen_plain_domain(w->s->host, name, vcpus, iothreads, caps);

	assert_int_equal(vbmq_snapshot_add(w->s, d, NULL), 0);
	return d;
}

static void plan(struct world *w)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	w->p = vbmq_placement_free(w->p);
	assert_int_equal(vbmq_snapshot_finish(w->s, &err), 0);
	assert_int_equal(vbmq_planner_run(w->s, &w->policy, &w->p, &err), 0);
}

static void end(struct world *w)
{
	vbmq_placement_free(w->p);
	vbmq_snapshot_free(w->s);
	vbmq_policy_done(&w->policy);
	free(w);
}

static const struct vbmq_place_thread *iothread(struct world *w, const char *name, uint32_t id)
{
	const struct vbmq_place_thread *t =
		vbmq_place_thread(vbmq_placement_domain(w->p, name), VBMQ_THREAD_IOTHREAD, id);

	assert_non_null(t);
	return t;
}

static size_t count_exclusive(struct world *w, const char *name, enum vbmq_thread_kind kind)
{
	const struct vbmq_place_domain *d = vbmq_placement_domain(w->p, name);
	size_t n = 0;

	for (size_t i = 0; i < d->n_threads; i++)
		n += d->threads[i].kind == kind && d->threads[i].exclusive;
	return n;
}

static bool says(struct world *w, const char *name, const char *code)
{
	const struct vbmq_place_domain *d = vbmq_placement_domain(w->p, name);

	for (size_t i = 0; i < d->diags.n; i++)
		if (strcmp(d->diags.items[i].code, code) == 0)
			return true;
	return false;
}

static void assert_cpus(const struct vbmq_cpuset *s, const char *want)
{
	char *text = vbmq_cpulist_format(s);

	assert_string_equal(text, want);
	free(text);
}

/* A plain guest on patched QEMU: four threads are added near the device, queues spread, everybody else moves out. */
static void test_live(void **state)
{
	struct world *w = world_of(gen_regular_host(2, 1, 8, 2)); /* cores 0-7, 8-15; siblings 16-31 */
	struct vbmq_disk *disk;
	const struct vbmq_place_domain *d;

	disk = gen_add_disk(guest(w, "db1", 8, 0, LIVE), "vda", 8, 1);
	disk->alias = NULL;
	plan(w);
	d = vbmq_placement_domain(w->p, "db1");
	assert_cpus(&w->p->dedicated, "8-11,24-27");
	assert_cpus(&w->p->shared, "0-7,12-23,28-31");
	for (uint32_t id = 1; id <= 4; id++) {
		const struct vbmq_place_thread *t = iothread(w, "db1", id);

		assert_true(t->to_add && t->exclusive && t->planned && t->has_polling);
		assert_int_equal(t->polling.mode, VBMQ_POLL_DEDICATED);
		assert_int_equal(t->why->from_device, 10);
		assert_true(t->why->has_next);
		assert_int_equal(t->why->next_cost.numa, 0);
	}
	assert_true(d->disks[0].remap);
	for (uint32_t q = 0; q < 8; q++)
		assert_int_equal(d->disks[0].queues[q].iothread, q / 2 + 1);
	for (size_t i = 0; i < d->n_threads; i++)
		if (!d->threads[i].exclusive)
			assert_true(vbmq_cpuset_equal(d->threads[i].cpus, &w->p->shared));
	assert_false(w->p->infeasible);
	end(w);
}

/* The device's node is full: the next best is the nearest one, and the plan says so. */
static void test_remote(void **state)
{
	struct world *w = world_of(gen_regular_host(2, 1, 2, 1));
	struct vbmq_domain *d = guest(w, "a", 4, 0, LIVE);

	gen_add_disk(d, "vda", 3, 0);
	plan(w);
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 3);
	assert_true(says(w, "a", VBMQ_DIAG_REMOTE_NODE));
	assert_int_equal(vbmq_cpuset_count(&w->p->shared), 1);
	end(w);
}

/* Two disks: queues of one vCPU meet on one thread; disks with few queues do not all take the first thread. */
static void test_queue_maps(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 16, 1));
	struct vbmq_domain *d = guest(w, "a", 4, 0, LIVE);
	const struct vbmq_place_domain *p;

	gen_add_disk(d, "vda", 4, 0);
	gen_add_disk(d, "vdb", 4, 0);
	gen_add_disk(d, "vdc", 1, 0);
	gen_add_disk(d, "vdd", 1, 0);
	assert_non_null(vbmq_wish_disk(&d->wish, "vdb", true));
	vbmq_wish_disk(&d->wish, "vdb", true)->iothreads = 2;
	plan(w);
	p = vbmq_placement_domain(w->p, "a");
	for (uint32_t q = 0; q < 4; q++) {
		assert_int_equal(p->disks[0].queues[q].iothread, q + 1);
		assert_int_equal(p->disks[1].queues[q].iothread, q / 2 + 1);
	}
	assert_int_equal(p->disks[2].queues[0].iothread, 3);
	assert_int_equal(p->disks[3].queues[0].iothread, 4);
	end(w);
}

/* A map written by hand is respected, also where QEMU could change it; its threads are the ones that serve. */
static void test_hand_map(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 16, 1));
	struct vbmq_domain *d = guest(w, "a", 4, 3, LIVE);
	struct vbmq_disk *disk = gen_add_disk(d, "vda", 2, 0);

	disk->mapped = true;
	disk->queues[0].iothread = 3;
	disk->queues[1].iothread = 2;
	plan(w);
	assert_false(vbmq_placement_domain(w->p, "a")->disks[0].remap);
	assert_false(iothread(w, "a", 1)->exclusive);
	assert_true(iothread(w, "a", 2)->exclusive);
	assert_true(iothread(w, "a", 3)->exclusive);
	assert_true(says(w, "a", VBMQ_DIAG_UNUSED_IOTHREAD));
	end(w);
}

/* A disk that no I/O thread can serve stays on the main loop; one that cannot be polled ends polling for its thread. */
static void test_odd_backends(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 16, 1));
	struct vbmq_domain *d = guest(w, "a", 4, 0, LIVE);
	const struct vbmq_place_domain *p;

	gen_add_disk(d, "vda", 1, 0)->no_ioeventfd = true;
	gen_add_disk(d, "vdb", 1, 0)->no_poll = true;
	gen_add_disk(d, "vdc", 1, 0);
	plan(w);
	p = vbmq_placement_domain(w->p, "a");
	assert_false(p->disks[0].remap);
	assert_int_equal(p->disks[0].queues[0].iothread, 0);
	assert_true(p->disks[1].remap && p->disks[2].remap);
	assert_int_not_equal(p->disks[1].queues[0].iothread, p->disks[2].queues[0].iothread);
	assert_int_equal(iothread(w, "a", p->disks[1].queues[0].iothread)->polling.max_ns, 0);
	assert_int_equal(iothread(w, "a", p->disks[1].queues[0].iothread)->polling.mode, VBMQ_POLL_ADAPTIVE);
	assert_int_equal(iothread(w, "a", p->disks[2].queues[0].iothread)->polling.mode, VBMQ_POLL_DEDICATED);
	assert_true(says(w, "a", VBMQ_DIAG_POLL_OFF));
	assert_true(says(w, "a", VBMQ_DIAG_NO_IOEVENTFD));
	assert_false(says(w, "a", VBMQ_DIAG_POLL_DEGRADED));
	end(w);
}

/* Stock QEMU: what exists is placed, nothing is mapped, and the way out is told. */
static void test_stock(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 8, 1));
	struct vbmq_domain *d = guest(w, "a", 2, 1, STOCK), *old = guest(w, "b", 2, 0, STOCK & ~VBMQ_CAP_COLD_MAP);

	gen_add_disk(d, "vda", 2, 0);
	gen_add_disk(d, "vdb", 1, 0)->queues[0].iothread = 1;
	gen_add_disk(old, "vda", 2, 0);
	d->wish.iothreads = 2;
	plan(w);
	assert_true(iothread(w, "a", 1)->exclusive);
	assert_int_equal(iothread(w, "a", 1)->polling.max_ns, 1000000);
	assert_int_equal(iothread(w, "a", 1)->polling.mode, VBMQ_POLL_UNSAID);
	assert_true(iothread(w, "a", 2)->to_add);
	assert_false(iothread(w, "a", 2)->exclusive);
	assert_true(says(w, "a", VBMQ_DIAG_NEEDS_RESTART));
	assert_true(says(w, "b", VBMQ_DIAG_NO_MAPPING));
	end(w);
}

static void test_shutoff_is_planned_for_next_start(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 8, 1));
	struct vbmq_domain *d = guest(w, "a", 4, 0, 0);

	d->state = VBMQ_DOMAIN_SHUTOFF;
	for (size_t i = 0; i < d->n_threads; i++)
		d->threads[i].affinity = VBMQ_CPUSET_EMPTY;
	gen_add_disk(d, "vda", 4, 0);
	plan(w);
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 4);
	assert_true(vbmq_placement_domain(w->p, "a")->disks[0].at_next_start);
	assert_false(vbmq_placement_domain(w->p, "a")->disks[0].remap);
	end(w);
}

/* Shortage among equals is shared in rounds; a higher priority is served first. */
static void test_shortage(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 6, 1)); /* one stays shared: five to give */
	struct vbmq_domain *a = guest(w, "a", 4, 0, LIVE), *b = guest(w, "b", 4, 0, LIVE);

	gen_add_disk(a, "vda", 4, 0);
	gen_add_disk(b, "vda", 4, 0);
	w->policy.shared_min_cores = 1;
	plan(w);
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 3);
	assert_int_equal(count_exclusive(w, "b", VBMQ_THREAD_IOTHREAD), 2);
	assert_true(says(w, "b", VBMQ_DIAG_FEWER_IOTHREADS));
	assert_false(w->p->infeasible);
	b->wish.has_priority = true;
	b->wish.priority = 5;
	b->wish.iothreads = 4;
	a->wish.iothreads = 4;
	plan(w);
	assert_int_equal(count_exclusive(w, "b", VBMQ_THREAD_IOTHREAD), 4);
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 1);
	assert_true(w->p->infeasible);
	end(w);
}

/* What stays shared goes with the vCPUs that float: a CPU for four of them, but not more than half of the cores; unless it was said. */
static void test_floating_load(void **state)
{
	static const struct {
		unsigned vcpus;
		uint32_t said;
		size_t shared, own;
	} rows[] = {
		{ 4, 0, 2, 0 }, { 20, 0, 6, 0 }, { 21, 0, 7, 0 }, { 60, 0, 8, 0 }, { 60, 3, 3, 0 }, { 9, 0, 2, 9 }
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world *w = world_of(gen_regular_host(1, 1, 16, 1));
		struct vbmq_domain *a = guest(w, "a", 4, 0, LIVE), *b = guest(w, "b", rows[i].vcpus, 0, LIVE);

		a->wish.iothreads = rows[i].own ? 1 : 16;
		gen_add_disk(a, "vda", 16, 0);
		b->wish.vcpus = rows[i].own ? VBMQ_VCPUS_DEDICATED : VBMQ_VCPUS_FOLLOW;
		w->policy.shared_min_cores = rows[i].said;
		plan(w);
		assert_int_equal(w->p->shared_min, rows[i].shared);
		assert_int_equal(count_exclusive(w, "b", VBMQ_THREAD_VCPU), rows[i].own);
		if (!rows[i].own)
			assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 16 - rows[i].shared);
		end(w);
	}
}

/* Threads that must all stay (a hand-written map) share a core, then float; never with another guest. */
static void test_degrade(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 3, 1));
	struct vbmq_domain *a = guest(w, "a", 3, 3, STOCK), *b;

	for (unsigned q = 0; q < 3; q++) {
		if (q == 0)
			gen_add_disk(a, "vda", 3, 0)->mapped = true;
		a->disks[0].queues[q].iothread = q + 1;
	}
	plan(w);
	assert_true(says(w, "a", VBMQ_DIAG_SHARED_CORE));
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 3);
	assert_int_equal(vbmq_cpuset_count(&w->p->dedicated), 2);
	w->policy.shared_min_cores = 2;
	b = guest(w, "b", 1, 1, STOCK);
	gen_add_disk(b, "vda", 1, 0)->queues[0].iothread = 1;
	plan(w);
	assert_true(says(w, "b", VBMQ_DIAG_SHARED_SET));
	assert_true(says(w, "b", VBMQ_DIAG_POLL_DEGRADED));
	assert_int_equal(iothread(w, "b", 1)->polling.max_ns, 32768);
	assert_true(w->p->infeasible);
	end(w);
}

/* A newcomer moves nobody who stands validly, even if the fresh plan would have been another. */
static void test_stability(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 8, 1));
	struct vbmq_domain *b = guest(w, "b", 1, 1, STOCK), *a;

	gen_add_disk(b, "vda", 1, 0)->queues[0].iothread = 1;
	b->threads[1].affinity = vbmq_cpuset_of(6); /* sorted: vcpu0, iothread1, emulator */
	a = guest(w, "a", 1, 1, STOCK);
	gen_add_disk(a, "vda", 1, 0)->queues[0].iothread = 1;
	plan(w);
	assert_cpus(iothread(w, "b", 1)->cpus, "6");
	assert_int_equal(iothread(w, "b", 1)->why->cost.moves, 0);
	assert_true(iothread(w, "a", 1)->exclusive);
	end(w);
}

/* Two cores, one of them dedicated: a newcomer whose name comes first does not get it, nor when it is all planned again. */
static void test_newcomer_displaces_nobody(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 2, 1));
	struct vbmq_domain *b = guest(w, "b", 1, 1, STOCK), *a = guest(w, "a", 1, 1, STOCK);

	gen_add_disk(b, "vda", 1, 0)->queues[0].iothread = 1;
	gen_add_disk(a, "vda", 1, 0)->queues[0].iothread = 1;
	b->threads[0].affinity = b->threads[2].affinity = vbmq_cpuset_of(0);
	b->threads[1].affinity = vbmq_cpuset_of(1);
	for (unsigned again = 0; again < 2; again++) {
		plan(w);
		assert_true(iothread(w, "b", 1)->exclusive);
		assert_cpus(iothread(w, "b", 1)->cpus, "1");
		assert_cpus(iothread(w, "a", 1)->cpus, "0");
		for (size_t i = 0; i < a->n_threads; i++)
			a->threads[i].affinity = vbmq_cpuset_of(0);
	}
	end(w);
}

static void test_stability_yields_to_numa(void **state)
{
	struct world *w = world_of(gen_regular_host(2, 1, 4, 1));
	struct vbmq_domain *b = guest(w, "b", 1, 1, STOCK);

	gen_add_disk(b, "vda", 1, 1)->queues[0].iothread = 1;
	b->threads[1].affinity = vbmq_cpuset_of(2);
	w->policy.move_gain = VBMQ_MOVE_GAIN_MAX;
	plan(w);
	assert_int_equal(w->s->host->cores[vbmq_cpuset_next(iothread(w, "b", 1)->cpus, 0)].node, 1);
	assert_int_equal(iothread(w, "b", 1)->why->cost.moves, 1);
	end(w);
}

/* One dedicated vCPU in another L3 domain is 64 of locality: not more than a threshold of 64, but more than 63. */
static void test_move_gain(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 4, 4, 1));
	struct vbmq_domain *a = guest(w, "a", 1, 1, STOCK);

	gen_add_disk(a, "vda", 1, VBMQ_NODE_UNKNOWN)->queues[0].iothread = 1;
	a->threads[0].has_pin = true;
	a->threads[0].pin = vbmq_cpuset_of(9);
	a->threads[0].affinity = a->threads[0].pin;
	a->threads[1].affinity = vbmq_cpuset_of(1);
	w->policy.move_gain = 64;
	plan(w);
	assert_cpus(iothread(w, "a", 1)->cpus, "1");
	assert_true(iothread(w, "a", 1)->exclusive);
	w->policy.move_gain = 63;
	plan(w);
	assert_int_equal(w->s->host->cores[vbmq_cpuset_next(iothread(w, "a", 1)->cpus, 0)].l3, 2);
	assert_int_equal(iothread(w, "a", 1)->why->cost.locality, 0);
	end(w);
}

/* Dedicated vCPUs, three of them with the others in one L3 domain and one next door: there is room for it where the others are. */
static void test_move_gain_of_vcpus(void **state)
{
	static const unsigned stands[] = { 5, 6, 7, 9 };
	struct world *w = world_of(gen_regular_host(1, 4, 4, 1));
	struct vbmq_domain *a = guest(w, "a", 4, 0, STOCK);

	a->wish.vcpus = VBMQ_VCPUS_DEDICATED;
	for (size_t i = 0; i < 4; i++)
		a->threads[i].affinity = vbmq_cpuset_of(stands[i]);
	w->policy.move_gain = 64;
	plan(w);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(vbmq_cpuset_next(vbmq_place_thread(&w->p->domains[0], VBMQ_THREAD_VCPU, i)->cpus, 0),
				 (int)stands[i]);
	w->policy.move_gain = 63;
	plan(w);
	assert_cpus(vbmq_place_thread(&w->p->domains[0], VBMQ_THREAD_VCPU, 3)->cpus, "4");
	end(w);
}

/* The thread goes to the L3 domain of the vCPU that its queue interrupts. */
static void test_locality(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 4, 4, 1));
	struct vbmq_domain *a = guest(w, "a", 1, 1, STOCK);

	gen_add_disk(a, "vda", 1, VBMQ_NODE_UNKNOWN)->queues[0].iothread = 1;
	a->threads[0].has_pin = true;
	a->threads[0].pin = vbmq_cpuset_of(9);
	a->threads[0].affinity = a->threads[0].pin;
	plan(w);
	assert_int_equal(w->s->host->cores[vbmq_cpuset_next(iothread(w, "a", 1)->cpus, 0)].l3, 2);
	assert_int_equal(iothread(w, "a", 1)->why->nearness, VBMQ_NEAR_L3);
	assert_false(vbmq_cpuset_has(iothread(w, "a", 1)->cpus, 9));
	assert_true(says(w, "a", VBMQ_DIAG_FOREIGN_PIN));
	assert_false(vbmq_place_thread(vbmq_placement_domain(w->p, "a"), VBMQ_THREAD_VCPU, 0)->planned);
	assert_false(vbmq_cpuset_has(&w->p->shared, 9)); /* its owner's */
	end(w);
}

/* Dedicated vCPUs gather in one L3 domain with the I/O threads that serve them. */
static void test_dedicated_vcpus(void **state)
{
	struct world *w = world_of(gen_regular_host(2, 2, 6, 1));
	struct vbmq_domain *a = guest(w, "a", 4, 0, LIVE);
	const struct vbmq_place_domain *d;

	a->wish.vcpus = VBMQ_VCPUS_DEDICATED;
	a->wish.iothreads = 2;
	gen_add_disk(a, "vda", 4, 1);
	vbmq_cpuset_add(&a->memory_nodes, 1);
	plan(w);
	d = vbmq_placement_domain(w->p, "a");
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_VCPU), 4);
	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].exclusive)
			assert_int_equal(w->s->host->cores[vbmq_cpuset_next(d->threads[i].cpus, 0)].l3, 2);
	w->policy.shared_min_cores = 20;
	plan(w);
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 2);
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_VCPU), 0);
	assert_true(says(w, "a", VBMQ_DIAG_VCPUS_SHARED));
	end(w);
}

/* exclusive=cpu: siblings of one core go to one domain; what is left over of it stays shared. */
static void test_exclusive_cpu(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 4, 2)); /* siblings n, n + 4 */
	struct vbmq_domain *a = guest(w, "a", 3, 0, LIVE);

	a->wish.exclusive = VBMQ_EXCLUSIVE_CPU;
	gen_add_disk(a, "vda", 3, 0);
	plan(w);
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 3);
	assert_int_equal(vbmq_cpuset_count(&w->p->dedicated), 3);
	assert_int_equal(vbmq_cpuset_count(&w->p->shared), 5);
	end(w);
}

/* Isolated CPUs are taken first and never shared; reserved ones never dedicated. */
static void test_isolated_and_reserved(void **state)
{
	struct vbmq_host *h = gen_regular_host(1, 1, 8, 1);
	struct world *w = world_of(h);
	struct vbmq_domain *a = guest(w, "a", 4, 0, LIVE);

	vbmq_cpuset_add_range(&h->isolated, 5, 7);
	vbmq_cpuset_add(&w->policy.reserved, 7);
	gen_add_disk(a, "vda", 2, 0);
	plan(w);
	assert_cpus(&w->p->dedicated, "5-6");
	assert_cpus(&w->p->shared, "0-4");
	end(w);
}

/* Isolated cores let more be granted than the shared set can spare; the rest of that must go to them, however far. */
static void test_budget_with_isolated(void **state)
{
	struct vbmq_host *h = gen_regular_host(2, 1, 2, 1);
	struct world *w = world_of(h);

	vbmq_cpuset_add_range(&h->isolated, 2, 3);
	gen_add_disk(guest(w, "a", 4, 0, LIVE), "vda", 4, 0);
	plan(w);
	assert_int_equal(count_exclusive(w, "a", VBMQ_THREAD_IOTHREAD), 3);
	assert_int_equal(vbmq_cpuset_count(&w->p->shared), 1);
	end(w);
}

/* An I/O thread that serves a controller we know nothing of is in use. */
static void test_busy_iothread(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 4, 1));
	struct vbmq_domain *a = guest(w, "a", 1, 2, STOCK);

	vbmq_cpuset_add(&a->busy_iothreads, 2);
	plan(w);
	assert_false(iothread(w, "a", 1)->exclusive);
	assert_true(iothread(w, "a", 2)->exclusive);
	end(w);
}

static void test_not_ours(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 8, 1));
	struct vbmq_domain *dumb = guest(w, "dumb", 1, 1, LIVE), *other = guest(w, "other", 1, 1, LIVE);

	dumb->responsive = false;
	gen_add_disk(dumb, "vda", 1, 0)->queues[0].iothread = 1;
	dumb->threads[1].affinity = vbmq_cpuset_of(3);
	other->wish.present = false;
	other->threads[1].has_pin = true;
	other->threads[1].pin = other->threads[1].affinity = vbmq_cpuset_of(4);
	gen_add_disk(guest(w, "a", 4, 0, LIVE), "vda", 4, 0);
	plan(w);
	assert_true(says(w, "dumb", VBMQ_DIAG_UNRESPONSIVE));
	assert_false(iothread(w, "dumb", 1)->planned);
	assert_cpus(iothread(w, "dumb", 1)->cpus, "3");
	assert_true(says(w, "other", VBMQ_DIAG_NOT_MANAGED));
	assert_false(iothread(w, "other", 1)->planned);
	assert_false(vbmq_cpuset_has(&w->p->dedicated, 3));
	assert_false(vbmq_cpuset_has(&w->p->dedicated, 4));
	assert_true(vbmq_place_thread(vbmq_placement_domain(w->p, "other"), VBMQ_THREAD_EMULATOR, 0)->planned);
	w->policy.hold_others = false;
	plan(w);
	assert_false(vbmq_place_thread(vbmq_placement_domain(w->p, "other"), VBMQ_THREAD_EMULATOR, 0)->planned);
	end(w);
}

static void test_drift(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 8, 1));
	struct vbmq_domain *a = guest(w, "a", 1, 1, STOCK);

	gen_add_disk(a, "vda", 1, 0)->queues[0].iothread = 1;
	a->threads[1].held = true;
	a->threads[1].applied = vbmq_cpuset_of(2);
	a->threads[1].affinity = w->s->host->usable;
	plan(w);
	assert_true(says(w, "a", VBMQ_DIAG_DRIFT));
	assert_true(iothread(w, "a", 1)->exclusive);
	w->policy.drift = VBMQ_DRIFT_RESPECT;
	plan(w);
	assert_true(says(w, "a", VBMQ_DIAG_DRIFT));
	assert_false(iothread(w, "a", 1)->planned);
	end(w);
}

/* A map that somebody changed is respected if the policy says so; one that was reset is not anybody's wish. */
static void test_drifted_map(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 8, 1));
	struct vbmq_domain *a = guest(w, "a", 2, 2, LIVE);
	struct vbmq_disk *vda = gen_add_disk(a, "vda", 2, 0);

	for (uint32_t q = 0; q < 2; q++) {
		vda->queues[q].iothread = 2;
		vda->queues[q].applied = 1 + q;
	}
	vda->held = true;
	plan(w);
	assert_true(says(w, "a", VBMQ_DIAG_DRIFT));
	assert_true(w->p->domains[0].disks[0].remap);
	w->policy.drift = VBMQ_DRIFT_RESPECT;
	plan(w);
	assert_true(says(w, "a", VBMQ_DIAG_DRIFT));
	assert_false(w->p->domains[0].disks[0].remap);
	assert_int_equal(w->p->domains[0].disks[0].queues[0].iothread, 2);
	assert_int_equal(w->p->domains[0].disks[0].queues[1].iothread, 2);
	assert_true(iothread(w, "a", 2)->exclusive);

	vda->queues[0].iothread = 0;
	plan(w);
	assert_false(w->p->domains[0].disks[0].remap);
	vda->queues[1].iothread = 0;
	plan(w);
	assert_false(says(w, "a", VBMQ_DIAG_DRIFT));
	assert_true(w->p->domains[0].disks[0].remap);

	vda->queues[0].iothread = vda->queues[1].iothread = 2;
	vda->held = false;
	plan(w);
	assert_true(w->p->domains[0].disks[0].remap);
	end(w);
}

/* An added thread that nobody needs any more goes. */
static void test_remove(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 8, 1));
	struct vbmq_domain *a = guest(w, "a", 2, 3, LIVE);

	gen_add_disk(a, "vda", 2, 0);
	a->threads[4].added = true; /* vcpu0, vcpu1, iothread1, iothread2, iothread3 */
	plan(w);
	assert_true(iothread(w, "a", 3)->to_remove);
	assert_false(iothread(w, "a", 2)->to_remove);
	a->wish.iothreads = 3;
	plan(w);
	assert_false(iothread(w, "a", 3)->to_remove);
	end(w);
}

static void test_wish_remarks(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 4, 1));
	struct vbmq_domain *a = guest(w, "a", 1, 0, LIVE);

	assert_non_null(vbmq_wish_disk(&a->wish, "vdz", true));
	plan(w);
	assert_true(says(w, "a", VBMQ_DIAG_NO_DISKS));
	assert_true(says(w, "a", VBMQ_DIAG_UNKNOWN_DISK));
	end(w);
}

static void test_no_usable_cpu(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 4, 1));
	struct vbmq_err err = VBMQ_ERR_INIT;

	w->s->host->usable = VBMQ_CPUSET_EMPTY;
	assert_int_equal(vbmq_planner_run(w->s, &w->policy, &w->p, &err), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_null(w->p);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_live),
		cmocka_unit_test(test_remote),
		cmocka_unit_test(test_queue_maps),
		cmocka_unit_test(test_hand_map),
		cmocka_unit_test(test_odd_backends),
		cmocka_unit_test(test_stock),
		cmocka_unit_test(test_shutoff_is_planned_for_next_start),
		cmocka_unit_test(test_shortage),
		cmocka_unit_test(test_floating_load),
		cmocka_unit_test(test_degrade),
		cmocka_unit_test(test_stability),
		cmocka_unit_test(test_newcomer_displaces_nobody),
		cmocka_unit_test(test_stability_yields_to_numa),
		cmocka_unit_test(test_move_gain),
		cmocka_unit_test(test_move_gain_of_vcpus),
		cmocka_unit_test(test_locality),
		cmocka_unit_test(test_dedicated_vcpus),
		cmocka_unit_test(test_exclusive_cpu),
		cmocka_unit_test(test_isolated_and_reserved),
		cmocka_unit_test(test_budget_with_isolated),
		cmocka_unit_test(test_busy_iothread),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_drift),
		cmocka_unit_test(test_drifted_map),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_wish_remarks),
		cmocka_unit_test(test_no_usable_cpu),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
