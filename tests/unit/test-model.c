/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* core: host, domain, snapshot, policy, capabilities, diagnostics. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/diag.h"
#include "core/snapshot.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"

static struct vbmq_cpuset cpus(const char *text)
{
	struct vbmq_cpuset s;

	assert_int_equal(vbmq_cpulist_parse(text, strlen(text), 0, &s, NULL), 0);
	return s;
}

/* Two nodes (ids 8 and 0, given in that order), an L3 domain each, two SMT cores each, given backwards. */
static struct vbmq_host *host(void)
{
	static const char *const core_cpus[] = { "6-7", "4-5", "2-3", "0-1" };
	struct vbmq_host *h = vbmq_host_new();

	h->online = cpus("0-7");
	h->allowed = cpus("0-6");
	for (uint32_t i = 0; i < 2; i++) {
		struct vbmq_node *node = vbmq_array_add(h->nodes, h->n_nodes, 2);
		struct vbmq_l3 *l3 = vbmq_array_add(h->l3s, h->n_l3s, 2);

		*node = (struct vbmq_node){ .id = i ? 0 : 8, .cpus = cpus(i ? "0-3" : "4-7") };
		*l3 = (struct vbmq_l3){ .cpus = node->cpus, .node = i };
	}
	for (uint32_t i = 0; i < 4; i++) {
		struct vbmq_core *core = vbmq_array_add(h->cores, h->n_cores, 4);

		*core = (struct vbmq_core){ .cpus = cpus(core_cpus[i]), .l3 = i / 2, .node = i / 2, .kind = -1 };
	}
	h->distances = malloc(4 * sizeof(*h->distances));
	memcpy(h->distances, (uint32_t[]){ 10, 32, 21, 10 }, 4 * sizeof(*h->distances)); /* 8->0: 32, 0->8: 21 */
	return h;
}

static void host_is_sorted_and_indexed(void **state)
{
	struct vbmq_host *h = host();
	struct vbmq_cpuset whole, one = cpus("4");

	assert_int_equal(vbmq_host_finish(h, NULL), 0);
	assert_int_equal(h->nodes[0].id, 0);
	assert_int_equal(h->nodes[1].id, 8);
	assert_int_equal(vbmq_host_distance(h, 0, 1), 21);
	assert_int_equal(vbmq_host_distance(h, 1, 0), 32);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(vbmq_cpuset_next(&h->cores[i].cpus, 0), 2 * i);
		assert_int_equal(h->cores[i].node, i / 2);
		assert_int_equal(h->cores[i].l3, i / 2);
	}
	assert_int_equal(vbmq_host_node_index(h, 8), 1);
	assert_int_equal(vbmq_host_node_index(h, 1), -1);
	assert_true(vbmq_cpuset_equal(&h->usable, &(struct vbmq_cpuset[]){ cpus("0-6") }[0]));
	assert_ptr_equal(vbmq_host_core_of(h, 5), &h->cores[2]);
	assert_null(vbmq_host_core_of(h, 8));
	assert_null(vbmq_host_core_of(h, VBMQ_CPUS_MAX));
	whole = vbmq_host_whole_cores(h, &one);
	assert_true(vbmq_cpuset_equal(&whole, &(struct vbmq_cpuset[]){ cpus("4-5") }[0]));
	assert_int_equal(vbmq_host_nearness(h, 0, 1), VBMQ_NEAR_CORE);
	assert_int_equal(vbmq_host_nearness(h, 0, 2), VBMQ_NEAR_L3);
	assert_int_equal(vbmq_host_nearness(h, 0, 4), VBMQ_NEAR_REMOTE);
	vbmq_host_free(h);
}

static void host_says_what_is_wrong(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *h;

	h = vbmq_host_new();
	assert_int_equal(vbmq_host_finish(h, &err), -EINVAL);
	vbmq_host_free(h);

	h = host();
	h->cores[0].cpus = cpus("4-5"); /* twice */
	assert_int_equal(vbmq_host_finish(h, &err), -EINVAL);
	assert_non_null(strstr(err.text, "in two cores"));
	vbmq_host_free(h);

	h = host();
	vbmq_cpuset_add(&h->online, 9);
	vbmq_cpuset_add(&h->allowed, 9);
	assert_int_equal(vbmq_host_finish(h, &err), -EINVAL);
	assert_non_null(strstr(err.text, "CPU 9 is online but in no core"));
	vbmq_host_free(h);

	h = host();
	h->nodes[0].id = 0;
	assert_int_equal(vbmq_host_finish(h, &err), -EINVAL);
	assert_non_null(strstr(err.text, "node 0 is there twice"));
	vbmq_host_free(h);

	h = host();
	h->distances[1] = 9;
	assert_int_equal(vbmq_host_finish(h, &err), -EINVAL);
	assert_non_null(strstr(err.text, "distance 9"));
	vbmq_host_free(h);

	h = host();
	h->cores[1].l3 = 7;
	assert_int_equal(vbmq_host_finish(h, &err), -EINVAL);
	vbmq_host_free(h);
}

static struct vbmq_domain *domain(const char *name, const char *uuid)
{
	struct vbmq_domain *d = vbmq_domain_new();
	struct vbmq_thread *t;
	struct vbmq_disk *disk;

	d->name = strdup(name);
	strcpy(d->uuid, uuid);
	d->n_vcpus = 2;
	for (uint32_t i = 0; i < 2; i++) {
		t = vbmq_array_add(d->threads, d->n_threads, 8);
		*t = (struct vbmq_thread){ .kind = VBMQ_THREAD_VCPU, .id = 1 - i };
	}
	t = vbmq_array_add(d->threads, d->n_threads, 8);
	*t = (struct vbmq_thread){ .kind = VBMQ_THREAD_IOTHREAD, .id = 3 };
	for (int i = 0; i < 2; i++) {
		disk = vbmq_array_add(d->disks, d->n_disks, 8);
		strcpy(disk->target, i ? "vda" : "vdb");
		disk->node = VBMQ_NODE_UNKNOWN;
		vbmq_array_add(disk->queues, disk->n_queues, 8)->iothread = 3;
	}
	return d;
}

#define UUID_A "00000000-0000-0000-0000-00000000000a"
#define UUID_B "00000000-0000-0000-0000-00000000000b"

static struct vbmq_snapshot *snapshot(void)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new();

	s->host = host();
	assert_int_equal(vbmq_host_finish(s->host, NULL), 0);
	assert_int_equal(vbmq_snapshot_add(s, domain("b", UUID_B), NULL), 0);
	assert_int_equal(vbmq_snapshot_add(s, domain("a", UUID_A), NULL), 0);
	return s;
}

static void snapshot_is_sorted(void **state)
{
	struct vbmq_snapshot *s = snapshot();

	assert_int_equal(vbmq_snapshot_finish(s, NULL), 0);
	assert_string_equal(s->domains[0]->name, "a");
	assert_int_equal(s->domains[0]->threads[0].id, 0);
	assert_string_equal(s->domains[0]->disks[0].target, "vda");
	assert_ptr_equal(vbmq_snapshot_find(s, UUID_B), s->domains[1]);
	assert_ptr_equal(vbmq_snapshot_find(s, "a"), s->domains[0]);
	assert_null(vbmq_snapshot_find(s, "c"));
	assert_non_null(vbmq_domain_thread(s->domains[0], VBMQ_THREAD_IOTHREAD, 3));
	assert_null(vbmq_domain_thread(s->domains[0], VBMQ_THREAD_IOTHREAD, 1));
	assert_non_null(vbmq_domain_disk(s->domains[0], "vdb"));
	vbmq_snapshot_free(s);
}

static void snapshot_says_what_is_wrong(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_snapshot *s = snapshot();

	assert_int_equal(vbmq_snapshot_add(s, domain("a", "00000000-0000-0000-0000-00000000000c"), &err), -EEXIST);
	assert_non_null(strstr(err.text, "'a' is there twice"));
	assert_int_equal(vbmq_snapshot_add(s, domain("c", UUID_A), &err), -EEXIST);
	assert_non_null(strstr(err.text, "same UUID"));
	s->domains[0]->disks[0].node = 1; /* the host has 0 and 8 */
	assert_int_equal(vbmq_snapshot_finish(s, &err), -EINVAL);
	assert_non_null(strstr(err.text, "node 1"));
	s->domains[1]->disks[1].node = s->domains[0]->disks[0].node = VBMQ_NODE_UNKNOWN;
	for (size_t i = 0; i < s->n_domains; i++)
		for (size_t j = 0; j < 2; j++)
			s->domains[i]->disks[j].node = VBMQ_NODE_UNKNOWN;
	assert_int_equal(vbmq_snapshot_finish(s, NULL), 0);
	s->domains[0]->disks[0].queues[0].iothread = 9;
	assert_int_equal(vbmq_snapshot_finish(s, &err), -EINVAL);
	assert_non_null(strstr(err.text, "I/O thread 9"));
	s->domains[0]->disks[0].queues[0].iothread = 0;
	s->domains[0]->threads[1].id = 0;
	assert_int_equal(vbmq_snapshot_finish(s, &err), -EINVAL);
	assert_non_null(strstr(err.text, "vcpu 0 is there twice"));
	vbmq_snapshot_free(s);
}

static void domain_copies_are_deep(void **state)
{
	struct vbmq_domain *d = domain("a", UUID_A), *copy = NULL;

	d->disks[0].alias = strdup("virtio-disk0");
	assert_non_null(vbmq_wish_disk(&d->wish, "vda", true));
	assert_int_equal(vbmq_domain_copy(d, &copy), 0);
	assert_ptr_not_equal(copy->name, d->name);
	assert_ptr_not_equal(copy->disks[0].queues, d->disks[0].queues);
	assert_ptr_not_equal(copy->disks[0].alias, d->disks[0].alias);
	assert_ptr_not_equal(copy->wish.disks, d->wish.disks);
	vbmq_domain_free(d);
	assert_string_equal(copy->name, "a");
	assert_string_equal(copy->disks[0].alias, "virtio-disk0");
	assert_int_equal(copy->n_threads, 3);
	vbmq_domain_free(copy);
	assert_null(vbmq_domain_free(NULL));
}

/* As Linux spreads vCPUs over the vectors of the queues. */
static void completion_vcpus(void **state)
{
	struct vbmq_queue queues[4] = { { .iothread = 0 } };
	struct vbmq_disk disk = { .queues = queues, .n_queues = 4 };

	vbmq_disk_estimate_vcpus(&disk, 4);
	for (unsigned q = 0; q < 4; q++)
		assert_true(vbmq_cpuset_equal(&queues[q].vcpus, &(struct vbmq_cpuset[]){ vbmq_cpuset_of(q) }[0]));
	vbmq_disk_estimate_vcpus(&disk, 2);
	assert_int_equal(vbmq_cpuset_count(&queues[1].vcpus), 1);
	assert_true(vbmq_cpuset_is_empty(&queues[2].vcpus));
	vbmq_disk_estimate_vcpus(&disk, 10);
	for (unsigned q = 0, all = 0; q < 4; q++) {
		all += vbmq_cpuset_count(&queues[q].vcpus);
		assert_in_range(vbmq_cpuset_count(&queues[q].vcpus), 2, 3);
		if (q == 3)
			assert_int_equal(all, 10);
	}
	assert_true(vbmq_cpuset_equal(&queues[0].vcpus, &(struct vbmq_cpuset[]){ cpus("0-2") }[0]));
}

static void policy_layers(void **state)
{
	struct vbmq_wish metadata = VBMQ_WISH_INIT, w;
	struct vbmq_policy p, copy;

	vbmq_policy_init(&p);
	assert_int_equal(vbmq_policy_merge(&p, &metadata, &w), 0);
	assert_int_equal(w.enabled, VBMQ_NO); /* no metadata, and the host does not manage by default */
	assert_int_equal(w.exclusive, VBMQ_EXCLUSIVE_CORE);
	assert_int_equal(w.poll, VBMQ_POLL_DEDICATED);
	vbmq_wish_done(&w);
	metadata.present = true;
	metadata.poll = VBMQ_POLL_OFF;
	metadata.iothreads = 2;
	vbmq_wish_disk(&metadata, "vda", true)->iothreads = 1;
	vbmq_wish_disk(&p.override, "vda", true)->queues = 8;
	p.override.iothreads = 3;
	p.defaults.priority = 5;
	assert_int_equal(vbmq_policy_copy(&p, &copy), 0);
	assert_int_equal(vbmq_policy_merge(&copy, &metadata, &w), 0);
	assert_int_equal(w.enabled, VBMQ_YES);
	assert_int_equal(w.poll, VBMQ_POLL_OFF);
	assert_int_equal(w.iothreads, 3);
	assert_int_equal(w.priority, 5);
	assert_int_equal(vbmq_wish_find_disk(&w, "vda")->iothreads, 1);
	assert_int_equal(vbmq_wish_find_disk(&w, "vda")->queues, 8);
	assert_null(vbmq_wish_find_disk(&w, "vdb"));
	vbmq_wish_done(&w);
	metadata.enabled = VBMQ_NO;
	p.manage_by_default = true;
	assert_int_equal(vbmq_policy_merge(&p, &metadata, &w), 0);
	assert_int_equal(w.enabled, VBMQ_NO);
	vbmq_wish_done(&w);
	vbmq_wish_done(&metadata);
	assert_int_equal(vbmq_policy_merge(&p, &metadata, &w), 0);
	assert_int_equal(w.enabled, VBMQ_YES);
	vbmq_wish_done(&w);
	vbmq_policy_done(&p);
	vbmq_policy_done(&copy);
}

static void disk_wishes_stay_sorted(void **state)
{
	struct vbmq_wish w = VBMQ_WISH_INIT;
	char too_long[VBMQ_TARGET_MAX + 2];

	for (const char **t = (const char *[]){ "vdc", "vda", "vdd", "vdb", "vda", NULL }; *t; t++)
		assert_non_null(vbmq_wish_disk(&w, *t, true));
	assert_int_equal(w.n_disks, 4);
	for (size_t i = 1; i < w.n_disks; i++)
		assert_true(strcmp(w.disks[i - 1].target, w.disks[i].target) < 0);
	memset(too_long, 'v', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	assert_null(vbmq_wish_disk(&w, too_long, true));
	assert_null(vbmq_wish_disk(&w, "vdz", false));
	vbmq_wish_done(&w);
}

static void capability_levels(void **state)
{
	assert_int_equal(vbmq_caps_level((struct vbmq_caps){ 0 }), VBMQ_PIN_POLL);
	assert_int_equal(vbmq_caps_level((struct vbmq_caps){ VBMQ_CAP_PIN | VBMQ_CAP_COLD_MAP }), VBMQ_COLD_MAP);
	assert_int_equal(vbmq_caps_level((struct vbmq_caps){ VBMQ_CAP_COLD_MAP | VBMQ_CAP_LIVE_MAP }), VBMQ_LIVE_MAP);
	for (unsigned bit = 0; vbmq_cap_words[bit]; bit++)
		assert_true(vbmq_caps_has((struct vbmq_caps){ 1u << bit }, (enum vbmq_cap)(1u << bit)));
	assert_string_equal(vbmq_cap_words[4], "live-map"); /* words are in the order of the bits */
	assert_true(VBMQ_CAP_LIVE_MAP == 1 << 4);
}

static void diagnostics(void **state)
{
	struct vbmq_diags d = { .items = NULL };
	char code[] = "drift"; /* not the literal: it must be looked up */

	assert_int_equal(vbmq_diag_add(&d, code, VBMQ_WARNING, "db1", "%s %d", "moved to", 3), 0);
	assert_int_equal(d.n, 1);
	assert_string_equal(d.items[0].code, VBMQ_DIAG_DRIFT);
	assert_ptr_not_equal(d.items[0].code, code);
	assert_string_equal(d.items[0].text, "moved to 3");
	assert_null(vbmq_diag_code("no-such-code"));
	vbmq_diags_done(&d);
	assert_int_equal(d.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_is_sorted_and_indexed),
		cmocka_unit_test(host_says_what_is_wrong),
		cmocka_unit_test(snapshot_is_sorted),
		cmocka_unit_test(snapshot_says_what_is_wrong),
		cmocka_unit_test(domain_copies_are_deep),
		cmocka_unit_test(completion_vcpus),
		cmocka_unit_test(policy_layers),
		cmocka_unit_test(disk_wishes_stay_sorted),
		cmocka_unit_test(capability_levels),
		cmocka_unit_test(diagnostics),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
