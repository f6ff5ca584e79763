/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What owners say about their threads (core/leash.h), and what the planner makes of it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/leash.h"
#include "core/planner.h"
#include "gen.h"
#include "util/err.h"

#define STOCK (VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | VBMQ_CAP_COLD_MAP)
#define LIVE (STOCK | VBMQ_CAP_LIVE_MAP)

struct world {
	struct vbmq_snapshot *s;
	struct vbmq_policy policy;
	struct vbmq_placement *p;
};

static struct vbmq_cpuset cpus(const char *list)
{
	struct vbmq_cpuset s;

	assert_int_equal(vbmq_cpulist_parse(list, strlen(list), 0, &s, NULL), 0);
	return s;
}

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

/* One that is to be placed has capability LIVE, others are not managed. */
static struct vbmq_domain *guest(struct world *w, const char *name, unsigned vcpus, uint32_t caps)
{
	struct vbmq_domain *d = gen_plain_domain(w->s->host, name, vcpus, 0, caps);

	d->wish.present = caps == LIVE;
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

static const struct vbmq_place_thread *thread(struct world *w, const char *name, enum vbmq_thread_kind kind)
{
	const struct vbmq_place_thread *t = vbmq_place_thread(vbmq_placement_domain(w->p, name), kind, 0);

	assert_non_null(t);
	return t;
}

static size_t count_exclusive(struct world *w, const char *name)
{
	const struct vbmq_place_domain *d = vbmq_placement_domain(w->p, name);
	size_t n = 0;

	for (size_t i = 0; i < d->n_threads; i++)
		n += d->threads[i].kind == VBMQ_THREAD_IOTHREAD && d->threads[i].exclusive;
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

	assert_non_null(text);
	assert_string_equal(text, want);
	free(text);
}

static void pin(struct vbmq_domain *d, size_t vcpu, const char *list)
{
	d->threads[vcpu].has_pin = true;
	d->threads[vcpu].pin = d->threads[vcpu].affinity = cpus(list);
}

/* One vCPU a CPU, from a CPU on. */
static struct vbmq_cpuset pin_all(struct vbmq_domain *d, unsigned first)
{
	struct vbmq_cpuset all = VBMQ_CPUSET_EMPTY;

	for (unsigned v = 0; v < d->n_vcpus; v++) {
		d->threads[v].has_pin = true;
		d->threads[v].pin = d->threads[v].affinity = vbmq_cpuset_of(first + v);
		vbmq_cpuset_add(&all, first + v);
	}
	return all;
}

/* --- the meaning ------------------------------------------------------------------------------------------------------ */

static void test_meaning(void **state)
{
	static const struct {
		const char *says, *isolated;
		enum vbmq_leash means;
	} rows[] = {
		{ "0", "", VBMQ_LEASH_PLACE }, /* one CPU */
		{ "0,32", "", VBMQ_LEASH_PLACE }, /* one core */
		{ "0-3", "", VBMQ_LEASH_PLACE }, /* a core for each vCPU */
		{ "0-3,32-35", "", VBMQ_LEASH_PLACE }, /* with siblings */
		{ "0-4", "", VBMQ_LEASH_ROOMY }, /* five cores for four vCPUs */
		{ "0-1,16-17", "", VBMQ_LEASH_ROOMY }, /* two nodes */
		{ "0-15", "", VBMQ_LEASH_ROOMY }, /* half a node */
		{ "0-15,32", "", VBMQ_LEASH_WIDE }, /* more */
		{ "0-15,32-47", "", VBMQ_LEASH_WIDE }, /* a node */
		{ "4-63", "", VBMQ_LEASH_WIDE }, /* all but those of a pinned guest */
		{ "12-15,28-31", "4-11,20-27,36-43,52-59", VBMQ_LEASH_ROOMY },
		{ "12-15,44-47", "0-11,32-42", VBMQ_LEASH_WIDE }, /* what can be shared of the node */
		{ "0-7", "0-15,32-47", VBMQ_LEASH_PLACE }, /* nobody floats there */
		{ "0-15,32-47", "0-15,32-47", VBMQ_LEASH_WIDE },
	};
	struct vbmq_host *h = gen_regular_host(2, 2, 8, 2); /* nodes 0-15, 16-31; siblings 32-63 */
	struct vbmq_domain *d = gen_plain_domain(h, "a", 4, 0, STOCK);

	d->has_cpuset = true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vbmq_cpuset isolated = VBMQ_CPUSET_EMPTY, shareable;

		if (rows[i].isolated[0])
			isolated = cpus(rows[i].isolated);
		shareable = vbmq_cpuset_andnot(&h->usable, &isolated);
		d->cpuset = cpus(rows[i].says);
		if (vbmq_leash_of(h, &shareable, d, &d->cpuset) != rows[i].means)
			fail_msg("%s without %s", rows[i].says, rows[i].isolated);
	}
	/* vCPUs that cannot leave it count, however they are kept: a union of pins is the emulator's place. */
	for (unsigned v = 0; v < 4; v++)
		pin(d, v, (const char *const[]){ "0", "1", "2,34", "3" }[v]);
	d->has_cpuset = false;
	d->cpuset = cpus("0-3,34");
	assert_int_equal(vbmq_leash_of(h, &h->usable, d, &d->cpuset), VBMQ_LEASH_PLACE);
	pin(d, 3, "4");
	assert_int_equal(vbmq_leash_of(h, &h->usable, d, &d->cpuset), VBMQ_LEASH_ROOMY);
	vbmq_domain_free(d);
	vbmq_host_free(h);
}

/* --- what is made of it ----------------------------------------------------------------------------------------------- */

/* A pin over a whole node is a leash: the thread stays there, and its last shared core is not taken. */
static void test_leash(void **state)
{
	struct world *w = world_of(gen_regular_host(2, 1, 2, 1));
	struct vbmq_domain *a = guest(w, "a", 4, LIVE), *b = guest(w, "b", 1, STOCK);
	const struct vbmq_place_thread *t;

	gen_add_disk(a, "vda", 2, 1);
	b->threads[0].has_pin = true;
	b->threads[0].pin = w->s->host->nodes[1].cpus;
	plan(w);
	t = thread(w, "b", VBMQ_THREAD_VCPU);
	assert_int_equal(count_exclusive(w, "a"), 2);
	assert_int_equal(vbmq_cpuset_count(t->cpus), 1);
	assert_true(vbmq_cpuset_is_subset(t->cpus, &w->s->host->nodes[1].cpus));
	assert_true(t->planned);
	end(w);
}

/* Everything but the CPUs of pinned guests, which are on every node, is a leash too: it does not take what it lies on. What floats keeps
 * off the pinned ones, their own emulators included. */
static void test_beside_pins(void **state)
{
	struct world *w = world_of(gen_regular_host(2, 1, 8, 2)); /* nodes 0-7, 8-15; siblings 16-31 */
	struct vbmq_domain *a = guest(w, "a", 4, LIVE), *b = guest(w, "b", 3, STOCK), *c = guest(w, "c", 3, STOCK);
	struct vbmq_cpuset pins = pin_all(b, 0), more = pin_all(c, 8);

	pins = vbmq_cpuset_or(&pins, &more);
	gen_add_disk(a, "vda", 4, 0);
	a->has_cpuset = true;
	a->cpuset = vbmq_cpuset_andnot(&w->s->host->usable, &pins);
	plan(w);
	assert_int_equal(count_exclusive(w, "a"), 4);
	assert_cpus(&w->p->pinned, "0-2,8-10,16-18,24-26");
	assert_false(vbmq_cpuset_intersects(&w->p->shared, &pins));
	assert_true(vbmq_cpuset_has(&w->p->shared, 16)); /* the sibling of a pinned CPU */
	assert_true(thread(w, "a", VBMQ_THREAD_VCPU)->planned);
	assert_true(vbmq_cpuset_equal(thread(w, "a", VBMQ_THREAD_VCPU)->cpus, &w->p->shared));
	assert_true(vbmq_cpuset_equal(thread(w, "b", VBMQ_THREAD_EMULATOR)->cpus, &w->p->shared));
	end(w);
}

/* A pool that a guest can fill is its own; one with more cores than it has vCPUs is not. */
static void test_pools(void **state)
{
	struct world *w = world_of(gen_regular_host(2, 1, 16, 1));
	struct vbmq_domain *a = guest(w, "a", 4, LIVE), *b = guest(w, "b", 4, STOCK);

	gen_add_disk(a, "vda", 4, 0);
	b->has_cpuset = true;
	b->cpuset = cpus("0-3");
	plan(w);
	assert_false(thread(w, "b", VBMQ_THREAD_VCPU)->planned);
	assert_cpus(&w->p->pinned, "0-3");
	assert_false(vbmq_cpuset_intersects(&w->p->shared, &w->p->pinned));
	assert_true(says(w, "b", VBMQ_DIAG_FOREIGN_PIN));
	b->cpuset = cpus("12-15,16"); /* what floats there is left one core at least */
	w->policy.dedicated = cpus("12-16");
	w->policy.shared_min_cores = 1;
	plan(w);
	assert_true(vbmq_cpuset_is_empty(&w->p->pinned));
	assert_true(thread(w, "b", VBMQ_THREAD_VCPU)->planned);
	assert_int_equal(count_exclusive(w, "a"), 4);
	assert_int_equal(vbmq_cpuset_count(thread(w, "b", VBMQ_THREAD_VCPU)->cpus), 1);
	end(w);
}

/* Owners' CPUs are shared after all where too little would be left: for what floats, or for what the operator said. */
static void test_too_little_left(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 8, 1));
	struct vbmq_domain *b;

	guest(w, "a", 4, LIVE);
	b = guest(w, "b", 7, STOCK);
	pin_all(b, 0);
	plan(w); /* four vCPUs and two emulators on one CPU */
	assert_cpus(&w->p->shared, "0-7");
	assert_cpus(&w->p->pinned, "0-6");
	b->threads[6].has_pin = false;
	plan(w);
	assert_cpus(&w->p->shared, "6-7");
	w->policy.shared_min_cores = 2; /* none of them could be dedicated */
	plan(w);
	assert_cpus(&w->p->shared, "0-7");
	end(w);
}

/* Two cores, one of them with somebody's pin: the other one can be dedicated all the same. */
static void test_pin_on_two_cores(void **state)
{
	struct world *w = world_of(gen_regular_host(1, 1, 2, 1));
	struct vbmq_domain *a = guest(w, "a", 1, LIVE), *b = guest(w, "b", 2, STOCK);

	gen_add_disk(a, "vda", 1, 0);
	pin(b, 0, "0");
	for (uint32_t said = 0; said < 2; said++) {
		w->policy.shared_min_cores = said;
		plan(w);
		assert_cpus(&w->p->shared, "0");
		assert_int_equal(count_exclusive(w, "a"), 1);
	}
	end(w);
}

/* Two owners want the same CPUs, the one as a place, the other as a part of the host: each has his will. */
static void test_leash_inside_place(void **state)
{
	struct world *w = world_of(gen_regular_host(2, 1, 16, 1));
	struct vbmq_domain *a = guest(w, "a", 1, LIVE), *b = guest(w, "b", 8, STOCK), *c = guest(w, "c", 2, STOCK);

	b->has_cpuset = c->has_cpuset = true;
	b->cpuset = cpus("0-7");
	c->cpuset = cpus("0-3");
	plan(w);
	assert_cpus(&w->p->shared, "8-31");
	assert_true(thread(w, "c", VBMQ_THREAD_VCPU)->planned);
	assert_cpus(thread(w, "c", VBMQ_THREAD_VCPU)->cpus, "0-3");
	a->wish.present = false; /* nobody is managed: nothing changes for anybody */
	plan(w);
	assert_cpus(&w->p->shared, "0-31");
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meaning),
		cmocka_unit_test(test_leash),
		cmocka_unit_test(test_beside_pins),
		cmocka_unit_test(test_pools),
		cmocka_unit_test(test_too_little_left),
		cmocka_unit_test(test_pin_on_two_cores),
		cmocka_unit_test(test_leash_inside_place),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
