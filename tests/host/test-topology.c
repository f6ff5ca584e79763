/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Topologies: real hosts (shared directory), synthetic ones, hand-made trees, bad input, this machine. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/topology.h"
#include "lib/tree.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/file.h"

struct expect {
	const char *what; /* file name or description */
	const char *online;
	size_t cores, l3s, nodes, packages;
	const char *node_ids; /* all nodes */
	const char *cpu_nodes; /* those with CPUs */
	const char *l3_last; /* CPUs of the last L3 domain */
	uint32_t far; /* greatest distance */
};

static const struct expect shared_hosts[] = {
	{ "128arm-2pa2n8cluster4co.xml", "0-127", 128, 4, 4, 2, "0-3", "0-3", "96-127", 33 },
	{ "16amd64-8n2c.xml", "0-15", 16, 8, 8, 8, "0-7", "0-7", "14-15", 20 },
	{ "16em64t-4s2c2t-offlines.xml", "0-1,3-4,6-12,15", 7, 4, 1, 4, "0", "0", "6,10", 10 },
	{ "20em64t-hybrid-1p6c2t+2ca4co1t.xml", "0-19", 14, 1, 1, 1, "0", "0", "0-19", 10 },
	{ "256ppc-8n8s4t.xml", "0-255", 64, 64, 8, 64, "0-1,4-5,8-9,12-13", "0-1,4-5,8-9,12-13", "252-255", 40 },
	{ "32amd64-4s2n4c-cgroup2.xml", "0-5", 6, 2, 6, 1, "0-5", "0-1", "4-5", 22 },
	{ "32em64t-2n8c+dax+nvme+mic+dimms.xml", "0-15", 16, 2, 2, 2, "0-1", "0-1", "8-15", 21 },
	{ "40intel64-2g2n4c+pcilocality.xml", "0-39", 40, 4, 4, 4, "0-3", "0-3", "3,7,11,15,19,23,27,31,35,39", 20 },
	{ "64amd64-4s2n4ca2co.xml", "0-63", 64, 8, 8, 4, "0-7", "0-7", "56-63", 22 },
	{ "96em64t-4no4pa3ca2co.xml", "0-95", 96, 16, 4, 16, "0-3", "0-3", "75,79,83,87,91,95", 26 },
	{ "fakecpuid1f-64intel64-2p4d2n2c2t.xml", "0-63", 32, 8, 16, 4, "0-15", "0-15", "56-63", 20 },
	{ "fakeheteromemtiers.xml", "0-5", 6, 1, 7, 1, "0-2,4,6,8-9", "0-2", "0-5", 20 },
	{ "nvidiagpunumanodes.xml", "0-15,88-103", 8, 4, 2, 2, "0,8", "0,8", "96-103", 40 },
};

static const struct expect synthetic_hosts[] = {
	{ "pu:1", "0", 1, 1, 1, 1, "0", "0", "0", 10 },
	{ "core:8 pu:2", "0-15", 8, 1, 1, 1, "0", "0", "0-15", 10 },
	{ "node:2 l3:4 core:4 pu:2", "0-63", 32, 8, 2, 1, "0-1", "0-1", "56-63", 20 },
	{ "package:8 node:1 l3:4 core:8 pu:2", "0-511", 256, 32, 8, 8, "0-7", "0-7", "496-511", 20 },
	{ "package:2 node:1 core:4 pu:1", "0-7", 8, 2, 2, 2, "0-1", "0-1", "4-7", 20 },
	{ "package:1 node:4 l3:2 core:4 pu:2", "0-63", 32, 8, 4, 1, "0-3", "0-3", "56-63", 20 },
	{ "package:2 l3:8 core:8 pu:2", "0-255", 128, 16, 1, 2, "0", "0", "240-255", 10 },
	/* without L3: an L2 that cores share is the domain, one that a core has alone is not */
	{ "package:2 l2:2 core:2 pu:1", "0-7", 8, 4, 1, 2, "0", "0", "6-7", 10 },
	{ "node:2 l2:4 core:1 pu:2", "0-15", 8, 2, 2, 1, "0-1", "0-1", "8-15", 20 },
	/* no cores at all: every CPU is one */
	{ "node:2 pu:4", "0-7", 8, 2, 2, 1, "0-1", "0-1", "4-7", 20 },
	/* two nodes on the same CPUs: the lower one has them */
	{ "package:2 [numa] [numa] core:4 pu:1", "0-7", 8, 2, 4, 2, "0-3", "0,2", "4-7", 20 },
	{ "package:2 die:2 l3:2 core:4 pu:2", "0-63", 32, 8, 1, 2, "0", "0", "56-63", 10 },
	/* SMT8; Linux numbers the siblings last */
	{ "package:2 node:1 core:4 pu:8", "0-63", 8, 2, 2, 2, "0-1", "0-1", "32-63", 20 },
	{ "node:2 core:2 pu:2(indexes=pu:core)", "0-7", 4, 2, 2, 1, "0-1", "0-1", NULL, 20 },
	/* as large as it gets */
	{ "node:16 l3:16 core:8 pu:2", "0-4095", 2048, 256, 16, 1, "0-15", "0-15", "4080-4095", 20 },
};

static void assert_set(const char *what, const struct vbmq_cpuset *is, const char *want)
{
	_cleanup_free_ char *text = vbmq_cpulist_format(is);

	assert_non_null(text);
	if (strcmp(text, want) != 0)
		fail_msg("%s: '%s', expected '%s'", what, text, want);
}

/* What holds for every host, beyond vbmq_host_finish(). */
static void assert_sound(const char *what, const struct vbmq_host *h)
{
	struct vbmq_cpuset in_nodes = VBMQ_CPUSET_EMPTY, in_l3s = VBMQ_CPUSET_EMPTY;

	for (size_t i = 0; i < h->n_nodes; i++) {
		assert_false(vbmq_cpuset_intersects(&in_nodes, &h->nodes[i].cpus));
		in_nodes = vbmq_cpuset_or(&in_nodes, &h->nodes[i].cpus);
		assert_int_equal(h->distances[i * h->n_nodes + i], VBMQ_DISTANCE_LOCAL);
	}
	for (size_t i = 0; i < h->n_l3s; i++) {
		assert_false(vbmq_cpuset_intersects(&in_l3s, &h->l3s[i].cpus));
		in_l3s = vbmq_cpuset_or(&in_l3s, &h->l3s[i].cpus);
	}
	assert_true(vbmq_cpuset_is_subset(&h->online, &in_nodes));
	assert_true(vbmq_cpuset_equal(&in_l3s, &in_nodes));
	for (size_t i = 0; i < h->n_cores; i++) {
		const struct vbmq_core *c = &h->cores[i];

		assert_true(vbmq_cpuset_intersects(&c->cpus, &h->online));
		assert_true(vbmq_cpuset_is_subset(&c->cpus, &h->l3s[c->l3].cpus));
		assert_true(vbmq_cpuset_is_subset(&c->cpus, &h->nodes[c->node].cpus));
		for (size_t k = 0; k < i && h->n_cores < 600; k++) {
			assert_true(h->cores[k].die != c->die || h->cores[k].package == c->package);
			assert_false(vbmq_cpuset_intersects(&h->cores[k].cpus, &c->cpus));
		}
	}
}

static size_t count_packages(const struct vbmq_host *h)
{
	struct vbmq_cpuset seen = VBMQ_CPUSET_EMPTY;

	for (size_t i = 0; i < h->n_cores; i++)
		vbmq_cpuset_add(&seen, h->cores[i].package);
	return vbmq_cpuset_count(&seen);
}

static void assert_host(const struct vbmq_host *h, const struct expect *e)
{
	struct vbmq_cpuset ids = VBMQ_CPUSET_EMPTY, with_cpus = VBMQ_CPUSET_EMPTY;
	uint32_t far = 0;

	print_message("# %s\n", e->what);
	assert_sound(e->what, h);
	assert_set("online", &h->online, e->online);
	assert_set("allowed", &h->allowed, e->online);
	assert_int_equal(h->n_cores, e->cores);
	assert_int_equal(h->n_l3s, e->l3s);
	assert_int_equal(h->n_nodes, e->nodes);
	assert_int_equal(count_packages(h), e->packages);
	for (size_t i = 0; i < h->n_nodes; i++) {
		vbmq_cpuset_add(&ids, h->nodes[i].id);
		if (!vbmq_cpuset_is_empty(&h->nodes[i].cpus))
			vbmq_cpuset_add(&with_cpus, h->nodes[i].id);
	}
	assert_set("nodes", &ids, e->node_ids);
	assert_set("nodes with CPUs", &with_cpus, e->cpu_nodes);
	if (e->l3_last)
		assert_set("last L3 domain", &h->l3s[h->n_l3s - 1].cpus, e->l3_last);
	for (size_t i = 0; i < h->n_nodes * h->n_nodes; i++)
		far = h->distances[i] > far ? h->distances[i] : far;
	assert_int_equal(far, e->far);
}

static struct vbmq_host *must_load(const char *argument)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *h = NULL;

	if (vbmq_topology_from_argument(argument, &h, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(err.code, 0);
	return h;
}

static bool shared_present(void)
{
	if (access(VBMQ_TEST_SHARED "/hosts", R_OK) == 0)
		return true;
	print_message("# the real hosts are not there: %s/hosts (meson option 'shared')\n", VBMQ_TEST_SHARED);
	return false;
}

static struct vbmq_host *load_shared(const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/hosts/%s", VBMQ_TEST_SHARED, name);
	return must_load(path);
}

static void test_shared(void **state)
{
	if (!shared_present())
		skip();
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(shared_hosts); i++) {
		struct vbmq_host *h = load_shared(shared_hosts[i].what);

		assert_host(h, &shared_hosts[i]);
		assert_string_equal(h->name, shared_hosts[i].what);
		vbmq_host_free(h);
	}
}

/* What the table has no column for. */
static void test_shared_details(void **state)
{
	struct vbmq_host *h;

	if (!shared_present())
		skip();
	h = load_shared("20em64t-hybrid-1p6c2t+2ca4co1t.xml");
	assert_true(vbmq_host_core_of(h, 0)->kind > vbmq_host_core_of(h, 12)->kind);
	assert_int_equal(vbmq_host_core_of(h, 12)->kind, 0);
	assert_set("E core", &vbmq_host_core_of(h, 19)->cpus, "19");
	assert_set("P core", &vbmq_host_core_of(h, 10)->cpus, "10-11");
	vbmq_host_free(h);
	h = load_shared("16em64t-4s2c2t-offlines.xml");
	assert_null(vbmq_host_core_of(h, 2));
	assert_set("core", &vbmq_host_core_of(h, 15)->cpus, "7,15");
	assert_int_equal(vbmq_host_core_of(h, 0)->kind, -1);
	vbmq_host_free(h);
	h = load_shared("fakeheteromemtiers.xml");
	assert_int_equal(h->nodes[vbmq_host_core_of(h, 3)->node].id, 1);
	assert_true(h->nodes[vbmq_host_node_index(h, 9)].memory_kib > 0);
	vbmq_host_free(h);
	h = load_shared("128arm-2pa2n8cluster4co.xml");
	assert_int_equal(vbmq_host_distance(h, 1, 2), 25);
	assert_int_equal(vbmq_host_distance(h, 0, 3), 33);
	vbmq_host_free(h);
}

static void test_synthetic(void **state)
{
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(synthetic_hosts); i++) {
		_cleanup_free_ char *argument = NULL;
		struct vbmq_host *h;

		assert_true(asprintf(&argument, "synthetic:%s", synthetic_hosts[i].what) > 0);
		h = must_load(argument);
		assert_host(h, &synthetic_hosts[i]);
		assert_string_equal(h->name, argument);
		vbmq_host_free(h);
	}
}

static void test_bad_synthetic(void **state)
{
	static const struct {
		const char *text, *in_message;
		int code;
	} cases[] = {
		{ "", "synthetic:node:2 l3:4", -EINVAL },
		{ "node:2 core:2", "'node:2 core:2' describes no host", -EINVAL },
		{ "foo:2 pu:1", "'foo:2 pu:1' describes no host", -EINVAL },
		{ "pu:2(indexes=0,2", "describes no host", -EINVAL },
		{ "node:2 pu:0", "describes no host", -EINVAL },
		{ "core:4 node:2 pu:-1", "describes no host", -EINVAL },
		{ "8192", "more than 4096 CPUs", -ERANGE },
		{ "node:3000 core:3000 pu:1", "more than 4096 CPUs", -ERANGE },
		{ "pu:18446744073709551617", "more than 4096 CPUs", -ERANGE },
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		char mark;
		struct vbmq_host *h = (void *)&mark;
		struct vbmq_err err = VBMQ_ERR_INIT;

		assert_int_equal(vbmq_topology_synthetic(cases[i].text, &h, &err), cases[i].code);
		assert_int_equal(err.code, cases[i].code);
		assert_ptr_equal(h, (void *)&mark); /* untouched */
		if (!strstr(err.text, cases[i].in_message))
			fail_msg("'%s': message is '%s'", cases[i].text, err.text);
	}
}

#define HEAD "<?xml version=\"1.0\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
#define CPUSET "cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x1\" complete_nodeset=\"0x1\""
#define MACHINE                                           \
	"<object type=\"Machine\" os_index=\"0\" " CPUSET \
	" allowed_cpuset=\"0x1\" allowed_nodeset=\"0x1\" gp_index=\"1\">"
#define NODE "<object type=\"NUMANode\" os_index=\"0\" " CPUSET " gp_index=\"2\" local_memory=\"4096\"/>"
#define PU "<object type=\"PU\" os_index=\"0\" " CPUSET " gp_index=\"3\"/>"

static const struct {
	const char *xml, *in_message; /* NULL: it is good */
} documents[] = {
	{ HEAD "<topology version=\"2.0\">" MACHINE NODE PU "</object></topology>", NULL },
	{ HEAD "<topology version=\"2.0\">" MACHINE "<info name=\"HostName\" value=\"h1\"/>" NODE PU
	       "</object></topology>",
	  NULL },
	{ "", "no XML" },
	{ "root:x:0:0\n", "no XML" },
	{ "<domain type='kvm'><name>a</name></domain>", "libvirt domain" },
	{ HEAD "<!-- <topology> -->\n<domain/>", "--domain" },
	{ "<capabilities/>", "lacks caches" },
	{ "<html lang='en'>", "<html>, not <topology>" },
	{ HEAD "<topology version=\"2.0\">" MACHINE NODE PU "</object>", "cut off" },
	{ HEAD "<topology version=\"2.0\">" MACHINE NODE "<object type=\"PU\" os", "a tag is not closed" },
	{ HEAD "<!-- never closed", "comment is not closed" },
	{ "<?xml", "'<?' is not closed" },
	{ "</topology>", "end tag without a start" },
	{ "<topology/><topology/>", "follows the end" },
	{ "<!DOCTYPE topology [<!ENTITY a \"b\">]><topology/>", "not accepted" },
	{ "<topology><![CDATA[x]]></topology>", "not accepted" },
	{ "<>", "without a name" },
	{ HEAD "<topology version=\"2.0\">\n<object type=\"PU\" os_index=\"4096\"/></topology>",
	  "line 4: CPU number '4096'" },
	{ HEAD "<topology version=\"2.0\">\n<object os_index='4294967296' type='PU'/></topology>", "not in 0..4095" },
	{ HEAD "<topology version=\"2.0\"><object type=\"NUMANode\" os_index=\"1024\"/></topology>",
	  "NUMA node number '1024'" },
	{ HEAD "<topology version=\"2.0\"><object type=\"PU\" gp_index=\"1\"/></topology>", "has no number" },
	{ HEAD "<topology version=\"2.0\"></topology>", "hwloc cannot read" },
	{ HEAD "<topology version=\"2.0\">" MACHINE NODE "</object></topology>", "" },
	{ HEAD "<topology version=\"2.0\">" MACHINE NODE PU PU "</object></topology>", "" },
	{ HEAD "<topology version=\"99.0\">" MACHINE NODE PU "</object></topology>", "hwloc cannot read" },
};

static void test_documents(void **state)
{
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(documents); i++) {
		size_t len = strlen(documents[i].xml);
		_cleanup_free_ char *exact = malloc(len + 1); /* no NUL behind it: the sanitizer sees a read too far */
		struct vbmq_err err = VBMQ_ERR_INIT;
		struct vbmq_host *h = NULL;
		int r;

		memcpy(exact, documents[i].xml, len);
		r = vbmq_topology_xml("dir/some.xml", exact, len, &h, &err);
		if (!documents[i].in_message) {
			if (r < 0)
				fail_msg("%s", err.text);
			assert_string_equal(h->name, strstr(documents[i].xml, "HostName") ? "h1" : "some.xml");
			vbmq_host_free(h);
			continue;
		}
		if (r == 0)
			fail_msg("accepted: %s", documents[i].xml);
		assert_null(h);
		assert_int_equal(err.code, r);
		if (strncmp(err.text, "dir/some.xml: ", 14) != 0 || !strstr(err.text, documents[i].in_message))
			fail_msg("%s\nmessage is '%s'", documents[i].xml, err.text);
	}
}

static void test_hostile(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	_cleanup_free_ char *text = NULL;
	struct vbmq_host *h = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(vbmq_topology_xml("a", "<topology\0/>", 12, &h, &err), -EINVAL);
	assert_non_null(strstr(err.text, "NUL byte"));
	assert_int_equal(vbmq_topology_xml("a", "", (size_t)VBMQ_TOPOLOGY_XML_MAX + 1, &h, &err), -EFBIG);
	fputs("<topology version=\"2.0\">", f);
	for (int i = 0; i < 1000000; i++)
		fputs("<object type=\"Group\">", f);
	fclose(f);
	assert_int_equal(vbmq_topology_xml("a", text, len, &h, &err), -ERANGE);
	assert_non_null(strstr(err.text, "more than 128 deep"));
}

/* hwloc 2.9 crashes on a CPU without complete_cpuset (found by fuzzing): a child of ours does, and we live. */
static void test_crasher(void **state)
{
	static const char xml[] =
		HEAD "<topology version=\"2.0\"><object type=\"Machine\" os_index=\"0\" cpuset=\"0x3\" "
		     "complete_cpuset=\"0x3\" "
		     "allowed_cpuset=\"0x3\" nodeset=\"0x1\" complete_nodeset=\"0x1\" allowed_nodeset=\"0x1\" "
		     "gp_index=\"1\">" PU "<object type=\"PU\" os_index=\"1\" cpuset=\"0x2\" nodeset=\"0x1\" "
		     "complete_nodeset=\"0x1\" gp_index=\"4\"/>"
		     "</object></topology>";
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *h = NULL;
	int r = vbmq_topology_xml("a", xml, sizeof(xml) - 1, &h, &err);

	if (r == 0)
		assert_sound("a", h); /* a newer hwloc may well read it */
	else
		assert_non_null(strstr(err.text, "hwloc cannot read"));
	vbmq_host_free(h);
}

/* Every prefix of a real file is refused, and with words. */
static void test_cut(void **state)
{
	_cleanup_free_ char *xml = NULL;
	char path[4096];
	size_t len;

	if (!shared_present())
		skip();
	snprintf(path, sizeof(path), "%s/hosts/16em64t-4s2c2t-offlines.xml", VBMQ_TEST_SHARED);
	assert_int_equal(vbmq_file_read(path, VBMQ_TOPOLOGY_XML_MAX, &xml, &len, NULL), 0);
	len = (size_t)(strstr(xml, "</topology>") - xml);
	for (size_t cut = 0; cut < len; cut++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		struct vbmq_host *h = NULL;

		assert_true(vbmq_topology_xml("a", xml, cut, &h, &err) < 0);
		assert_true(strlen(err.text) > 10);
	}
}

static void test_argument(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *h = NULL;

	assert_int_equal(vbmq_topology_from_argument("/nonexistent/host.xml", &h, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/host.xml"));
	assert_non_null(strstr(err.text, "synthetic:node:2"));
	assert_int_equal(vbmq_topology_from_argument("/", &h, &err), -EISDIR);
	assert_null(h);
}

/* One file of /sys as a CPU list; empty when absent. */
static struct vbmq_cpuset sys_list(const char *path)
{
	struct vbmq_cpuset ret = VBMQ_CPUSET_EMPTY;
	char line[16384];
	FILE *f = fopen(path, "re");

	if (f && fgets(line, sizeof(line), f) && line[0] != '\n')
		assert_int_equal(vbmq_cpulist_parse(line, strlen(line), 0, &ret, NULL), 0);
	if (f)
		fclose(f);
	return ret;
}

/* This machine as /sys and lscpu tell it. */
static void test_live(void **state)
{
	struct vbmq_cpuset online = sys_list("/sys/devices/system/cpu/online");
	unsigned cpu, core, node;
	struct vbmq_host *h;
	char line[256];
	size_t n = 0;
	FILE *f;

	h = must_load("live");
	assert_sound("live", h);
	assert_true(vbmq_cpuset_equal(&h->online, &online));
	assert_true(vbmq_cpuset_is_subset(&h->allowed, &h->online));
	for (int c = vbmq_cpuset_next(&online, 0); c >= 0; c = vbmq_cpuset_next(&online, (unsigned)c + 1)) {
		char path[128];
		struct vbmq_cpuset siblings, mine;

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", c);
		siblings = sys_list(path);
		mine = vbmq_cpuset_and(&vbmq_host_core_of(h, (unsigned)c)->cpus, &online);
		if (!vbmq_cpuset_is_empty(&siblings))
			assert_true(vbmq_cpuset_equal(&siblings, &mine));
	}
	f = popen("LC_ALL=C lscpu -p=CPU,CORE,NODE 2>/dev/null", "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%u,%u,%u", &cpu, &core, &node) == 3) {
			assert_int_equal(h->nodes[vbmq_host_core_of(h, cpu)->node].id, node);
			n++;
		}
	pclose(f);
	print_message("# %u CPUs, %zu compared with lscpu\n", vbmq_cpuset_count(&online), n);
	vbmq_host_free(h);
}

/* A tree with two nodes, four cores of which one CPU is off, isolcpus and a machine.slice that has not everything. */
static struct tree *small_tree(const char *more)
{
	_cleanup_free_ char *text = NULL;
	struct tree *t;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	fputs("/proc/mounts = cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n/proc/cpuinfo = processor : 0\n"
	      "/sys/devices/system/cpu/online = 0-6\n/sys/devices/system/cpu/possible = 0-7\n"
	      "/sys/devices/system/cpu/present = 0-7\n/sys/devices/system/cpu/isolated = "
	      "2\n/sys/devices/system/cpu/nohz_full = 6-7\n"
	      "/sys/devices/system/node/online = 0-1\n/sys/devices/system/node/possible = 0-1\n",
	      f);
	for (int node = 0; node < 2; node++) {
		fprintf(f, "/sys/devices/system/node/node%d/cpumap = %s\n", node, node ? "7a" : "05");
		fprintf(f, "/sys/devices/system/node/node%d/distance = %s\n", node, node ? "21 10" : "10 21");
		fprintf(f, "/sys/devices/system/node/node%d/meminfo = Node %d MemTotal: 1024 kB\n", node, node);
	}
	for (int cpu = 0; cpu < 7; cpu++) {
		int core = cpu % 4;
		const char *siblings[] = { "11", "22", "44", "08" };

		fprintf(f, "/sys/devices/system/cpu/cpu%d/topology/core_id = %d\n", cpu, core);
		fprintf(f, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id = %d\n", cpu, core / 2);
		fprintf(f, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings = %s\n", cpu, siblings[core]);
		fprintf(f, "/sys/devices/system/cpu/cpu%d/topology/core_siblings = %s\n", cpu, core / 2 ? "4c" : "33");
		fprintf(f, "/sys/devices/system/cpu/cpu%d/online = 1\n", cpu);
	}
	fputs("/sys/devices/system/cpu/cpu7/online = 0\n", f);
	fputs(more, f);
	fclose(f);
	t = tree_from_text(text);
	return t;
}

static void assert_tree(const char *more, const char *isolated, const char *allowed)
{
	struct tree *t = small_tree(more);
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *h = NULL;

	if (vbmq_topology_live(t->root, &h, &err) < 0)
		fail_msg("%s", err.text);
	assert_null(getenv("HWLOC_FSROOT"));
	assert_set("online", &h->online, "0-6");
	assert_set("isolated", &h->isolated, isolated);
	assert_set("allowed", &h->allowed, allowed);
	assert_int_equal(h->n_cores, 4);
	vbmq_host_free(h);
	tree_free(t);
}

static void assert_tree_allowed(const char *more, const char *allowed)
{
	assert_tree(more, "2,6", allowed);
}

/* TuneD's isolated cores are isolated, unless they are nearly all. */
static void test_tuned(void **state)
{
	assert_tree("/etc/tuned/active_profile = cpu-partitioning\n"
		    "/etc/tuned/cpu-partitioning-variables.conf = isolated_cores=5,7\n",
		    "2,5-6", "0-6");
	assert_tree("/etc/tuned/active_profile = cpu-partitioning\n"
		    "/etc/tuned/cpu-partitioning-variables.conf = isolated_cores=0-6\n",
		    "2,6", "0-6");
}

static void test_tree(void **state)
{
	unsetenv("HWLOC_FSROOT");
	assert_tree_allowed("", "0-6");
	assert_tree_allowed("/sys/fs/cgroup/cpuset.cpus.effective = 0-6\n"
			    "/sys/fs/cgroup/system.slice/cpuset.cpus.effective = 0\n",
			    "0-6");
	assert_tree_allowed("/sys/fs/cgroup/cpuset.cpus.effective = 0-5\n", "0-5");
	assert_tree_allowed("/sys/fs/cgroup/machine.slice/cpuset.cpus.effective = 2-6\n", "2-6");
	assert_tree_allowed("/sys/fs/cgroup/cpuset/machine/cpuset.effective_cpus = 1,3\n", "1,3");
	/* created, but nothing written to it yet */
	assert_tree_allowed("/sys/fs/cgroup/cpuset/machine.slice/cpuset.effective_cpus =\n", "0-6");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared),	  cmocka_unit_test(test_shared_details),
		cmocka_unit_test(test_synthetic), cmocka_unit_test(test_bad_synthetic),
		cmocka_unit_test(test_documents), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_crasher),	  cmocka_unit_test(test_cut),
		cmocka_unit_test(test_argument),  cmocka_unit_test(test_live),
		cmocka_unit_test(test_tuned),	  cmocka_unit_test(test_tree),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
