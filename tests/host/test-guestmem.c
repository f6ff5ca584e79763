/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest memory to nodes: recorded numa_maps and this process. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/guestmem.h"
#include "lib/tree.h"
#include "util/cleanup.h"
#include "util/err.h"

static const struct {
	const char *name;
	const char *maps;
	const char *nodes;
} cases[] = {
	{ "one node, small pages",
	  "7f0000000000 default anon=262144 dirty=262144 active=0 N0=10 N1=262134 kernelpagesize_kB=4\\n"
	  "560000000000 default file=/usr/bin/qemu mapped=900 N0=900 kernelpagesize_kB=4",
	  "1" },
	{ "huge pages count by size and not by number",
	  "7f0000000000 bind:1 file=/dev/hugepages/libvirt/qemu/1-a/ram huge dirty=4 N1=4 kernelpagesize_kB=1048576\\n"
	  "7e0000000000 default anon=9000 dirty=9000 N0=9000 kernelpagesize_kB=4",
	  "1" },
	{ "two guest nodes on two host nodes",
	  "7f0000000000 bind:0 file=/memfd:a dirty=1000000 N0=1000000 kernelpagesize_kB=4\\n"
	  "7e0000000000 bind:3 file=/memfd:b dirty=1000000 N3=1000000 kernelpagesize_kB=4",
	  "0,3" },
	{ "interleaved, a node below an eighth left out",
	  "7f0000000000 interleave:0-2 anon=200 N0=90 N1=90 N2=20 kernelpagesize_kB=2048", "0-1" },
	{ "a sixteenth counts as guest memory, less does not",
	  "7f0000000000 default anon=1600 N0=1600 kernelpagesize_kB=4\\n"
	  "7e0000000000 default anon=1600 N0=1600 kernelpagesize_kB=4\\n"
	  "7d0000000000 default anon=99 N5=99 kernelpagesize_kB=4",
	  "0" },
	{ "names cannot pose as counts", "7f0000000000 default file=/tmp/N7=99999999 anon=10 N2=10 kernelpagesize_kB=4",
	  "2" },
	{ "nothing touched", "7f0000000000 default\\n7e0000000000 default stack", "" },
	{ "no page size, no sense", "7f0000000000 default anon=5 N1=5\\ngarbage\\n\\nN1=", "" },
	{ "numbers out of range are left out",
	  "7f0000000000 default N1=5 N4096=99 N2=99999999999999999999 N-1=7 N=3 NX=4 N3=x kernelpagesize_kB=4", "1" },
	{ "page size nonsense",
	  "7f0000000000 default N1=5 kernelpagesize_kB=0\\n7e000 default N2=5 kernelpagesize_kB=4x", "" },
};

static void test_recorded(void **state)
{
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		_cleanup_free_ char *text = NULL, *got = NULL;
		struct vbmq_cpuset nodes;
		struct tree *t;

		assert_true(asprintf(&text, "/proc/42/numa_maps = %s\n", cases[i].maps) > 0);
		t = tree_from_text(text);
		assert_int_equal(vbmq_guestmem_nodes(t->root, 42, &nodes, &err), 0);
		got = vbmq_cpulist_format(&nodes);
		if (strcmp(got, cases[i].nodes) != 0)
			fail_msg("%s: nodes '%s', expected '%s'", cases[i].name, got, cases[i].nodes);
		tree_free(t);
	}
}

static void test_absent(void **state)
{
	struct tree *t = tree_from_text("/proc/42/status = x\n/proc/43/numa_maps/\n");
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_cpuset nodes = vbmq_cpuset_of(77);

	assert_int_equal(vbmq_guestmem_nodes(t->root, 41, &nodes, &err), -ESRCH);
	assert_int_equal(err.code, -ESRCH);
	assert_true(vbmq_cpuset_has(&nodes, 77)); /* untouched */
	assert_int_equal(vbmq_guestmem_nodes(t->root, 43, &nodes, &err), -EISDIR);
	assert_int_equal(vbmq_guestmem_nodes(t->root, 42, &nodes, NULL), 0); /* a kernel without NUMA */
	assert_true(vbmq_cpuset_is_empty(&nodes));
	tree_free(t);
}

/* Nothing to find out: numa_maps, whose reading walks all of the guest, is not looked at. */
static void test_one_node(void **state)
{
	static const struct {
		const char *has_memory, *nodes;
	} hosts[] = { { "3", "3" }, { "0,3", "7" }, { "", "7" }, { "x", "7" } };

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(hosts); i++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		_cleanup_free_ char *text = NULL, *got = NULL;
		struct vbmq_cpuset nodes;
		struct tree *t;

		assert_true(asprintf(&text,
				     "/sys/devices/system/node/has_memory = %s\n"
				     "/proc/42/numa_maps = 7f0000000000 default N7=50000 kernelpagesize_kB=4\n",
				     hosts[i].has_memory) > 0);
		t = tree_from_text(text);
		assert_int_equal(vbmq_guestmem_nodes(t->root, 42, &nodes, &err), 0);
		got = vbmq_cpulist_format(&nodes);
		assert_string_equal(got, hosts[i].nodes);
		assert_int_equal(vbmq_guestmem_nodes(t->root, 41, &nodes, &err), -ESRCH);
		tree_free(t);
	}
}

/* This process after touching memory lies on nodes that the kernel lets it use. */
static void test_live(void **state)
{
	size_t size = 64u << 20;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_cpuset nodes, allowed;
	char line[4096];
	bool found = false;
	void *ram;
	FILE *f;

	if (access("/proc/self/numa_maps", R_OK) < 0) {
		print_message("# this kernel has no numa_maps\n");
		skip();
	}
	ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(ram != MAP_FAILED);
	memset(ram, 1, size);
	if (vbmq_guestmem_nodes(NULL, (uint32_t)getpid(), &nodes, &err) < 0)
		fail_msg("%s", err.text);
	f = fopen("/proc/self/status", "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "Mems_allowed_list:", 18) == 0)
			found = vbmq_cpulist_parse(line + 18, strlen(line) - 18, 0, &allowed, NULL) == 0;
	fclose(f);
	munmap(ram, size);
	assert_true(found);
	assert_false(vbmq_cpuset_is_empty(&nodes));
	assert_true(vbmq_cpuset_is_subset(&nodes, &allowed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_one_node),
		cmocka_unit_test(test_live),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
