/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block devices and files to nodes, on the trees of tests/data/sysfs and on this machine. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/blockdev.h"
#include "lib/tree.h"
#include "util/cleanup.h"
#include "util/err.h"

static int node_of(const char *sysroot, const char *path, int32_t *ret, struct vbmq_err *err)
{
	char(*devices)[VBMQ_DEVICE_MAX + 1];
	size_t n;
	int r = vbmq_blockdev_find(sysroot, path, ret, &devices, &n, err);

	if (r == 0)
		free(devices);
	return r;
}

static void check(const struct tree *t, const char *manifest, const struct tree_expect *e)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	int32_t node = -77;
	int r = node_of(t->root, e->path, &node, &err);
	char got[32];

	if (r == -ENOENT) {
		snprintf(got, sizeof(got), "ENOENT");
		assert_int_equal(node, -77);
		assert_int_equal(err.code, r);
		assert_non_null(strstr(err.text, e->path));
	} else {
		assert_int_equal(r, 0);
		assert_int_equal(err.code, 0);
		if (node == VBMQ_NODE_UNKNOWN)
			snprintf(got, sizeof(got), "unknown");
		else
			snprintf(got, sizeof(got), "%d", node);
	}
	if (strcmp(got, e->what) != 0)
		fail_msg("%s: %s: node is %s, expected %s", manifest, e->path, got, e->what);
}

static size_t check_manifest(const char *path)
{
	struct tree *t = tree_from_file(path);
	size_t n = t->n_expects;

	assert_true(n > 0);
	for (size_t i = 0; i < n; i++)
		check(t, path, &t->expects[i]);
	tree_free(t);
	return n;
}

static const char *arg_manifest;

static void test_argument(void **state)
{
	check_manifest(arg_manifest);
}

static void test_manifests(void **state)
{
	DIR *dir = opendir(VBMQ_TEST_DATA "/sysfs");
	size_t n_files = 0, n_checks = 0;
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');
		char path[4096];

		if (!dot || strcmp(dot, ".txt") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", VBMQ_TEST_DATA "/sysfs", entry->d_name);
		n_checks += check_manifest(path);
		n_files++;
	}
	closedir(dir);
	print_message("# %zu manifests, %zu paths\n", n_files, n_checks);
	assert_true(n_files >= 8);
}

/* dm on dm on dm ..., on a disk of node 1. */
static char *tower(unsigned height)
{
	char *text, *line;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	fputs("/sys/devices/pci0/numa_node = 1\n/sys/devices/pci0/block/sda/size = 8\n", f);
	fputs("/sys/devices/virtual/block/dm-0/slaves/sda -> ../../../../pci0/block/sda\n/dev/top =\n", f);
	for (unsigned i = 1; i < height; i++) {
		assert_true(asprintf(&line, "/sys/devices/virtual/block/dm-%u/slaves/below -> ../../dm-%u\n", i,
				     i - 1) > 0);
		fputs(line, f);
		free(line);
	}
	fprintf(f, "/sys/class/block/top -> ../../devices/virtual/block/dm-%u\n", height - 1);
	fclose(f);
	return text;
}

static void test_depth(void **state)
{
	static const struct {
		unsigned height;
		int32_t node;
	} cases[] = { { 1, 1 }, { 20, 1 }, { 100, VBMQ_NODE_UNKNOWN } };

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(cases); i++) {
		_cleanup_free_ char *text = tower(cases[i].height);
		struct tree *t = tree_from_text(text);
		int32_t node = -77;

		assert_int_equal(node_of(t->root, "/dev/top", &node, NULL), 0);
		assert_int_equal(node, cases[i].node);
		tree_free(t);
	}
}

/* A device node in the tree goes by its number, whatever its name. Needs the right to make one. */
static void test_device_node(void **state)
{
	struct tree *t = tree_from_text("/sys/devices/pci0/numa_node = 5\n/sys/devices/pci0/block/sda/size = 8\n"
					"/sys/devices/pci0/nvme/ng0n1/dev = 300:7\n/dev/\n"
					"/sys/dev/block/259:77 -> ../../devices/pci0/block/sda\n"
					"/sys/dev/char/300:7 -> ../../devices/pci0/nvme/ng0n1\n");
	_cleanup_free_ char *block = NULL, *character = NULL;
	int32_t node = -77;

	assert_true(asprintf(&block, "%s/dev/anything", t->root) > 0);
	assert_true(asprintf(&character, "%s/dev/ng0n1", t->root) > 0);
	if (mknod(block, S_IFBLK | 0600, makedev(259, 77)) < 0 ||
	    mknod(character, S_IFCHR | 0600, makedev(300, 7)) < 0) {
		print_message("# cannot make device nodes here: %s\n", strerror(errno));
		tree_free(t);
		skip();
	}
	assert_int_equal(node_of(t->root, "/dev/anything", &node, NULL), 0);
	assert_int_equal(node, 5);
	node = -77;
	assert_int_equal(node_of(t->root, "/dev/ng0n1", &node, NULL), 0);
	assert_int_equal(node, 5);
	tree_free(t);
}

/* Links that point out of the tree stay inside. */
static void test_confined(void **state)
{
	struct tree *t = tree_from_text("/sys/devices/pci0/numa_node = 4\n/sys/devices/pci0/block/sda/size = 8\n"
					"/sys/class/block/sda -> /sys/devices/pci0/block/sda\n/dev/sda =\n"
					"/dev/up -> ../../../../../../../../dev/sda\n/dev/out -> /etc/passwd\n");
	int32_t node = -77;

	assert_int_equal(node_of(t->root, "/dev/up", &node, NULL), 0);
	assert_int_equal(node, 4);
	assert_int_equal(node_of(t->root, "/dev/out", &node, NULL), -ENOENT);
	assert_int_equal(node_of(t->root, "dev/sda", &node, NULL), -EINVAL);
	tree_free(t);
}

/* numa_node of the nearest ancestor of a plain disk, read the simple way. */
static int32_t plain_node(const char *name)
{
	char path[4096], real[4096];
	int32_t node = -1;

	snprintf(path, sizeof(path), "/sys/class/block/%s", name);
	if (!realpath(path, real))
		return -1;
	while (strlen(real) > strlen("/sys/devices")) {
		FILE *f;

		snprintf(path, sizeof(path), "%.4000s/numa_node", real);
		f = fopen(path, "re");
		if (f) {
			int ok = fscanf(f, "%d", &node);

			fclose(f);
			if (ok == 1 && node >= 0)
				return node;
		}
		*strrchr(real, '/') = '\0';
	}
	return -1;
}

static void test_live(void **state)
{
	DIR *dir = opendir("/sys/class/block");
	struct dirent *entry;
	size_t n = 0;
	int32_t node;

	while (dir && (entry = readdir(dir))) {
		char path[300], link[4096];
		struct stat st;
		ssize_t len;

		snprintf(path, sizeof(path), "/sys/class/block/%.200s", entry->d_name);
		len = readlink(path, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = '\0';
		snprintf(path, sizeof(path), "/dev/%.200s", entry->d_name);
		if (strstr(link, "/virtual/") || stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
			continue;
		assert_int_equal(node_of(NULL, path, &node, NULL), 0);
		assert_int_equal(node, plain_node(entry->d_name));
		n++;
	}
	if (dir)
		closedir(dir);
	assert_int_equal(node_of(NULL, "/nonexistent/vbmq", &node, NULL), -ENOENT);
	assert_int_equal(node_of(NULL, "/proc/self/status", &node, NULL), 0);
	assert_int_equal(node, VBMQ_NODE_UNKNOWN);
	assert_int_equal(node_of("/", "/etc", &node, NULL), 0);
	print_message("# %zu disks of this machine compared\n", n);
	if (n == 0)
		skip();
}

/* With an argument: that manifest only. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_manifests), cmocka_unit_test(test_depth), cmocka_unit_test(test_device_node),
		cmocka_unit_test(test_confined),  cmocka_unit_test(test_live),
	};
	const struct CMUnitTest one[] = { cmocka_unit_test(test_argument) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (argc > 1) {
		arg_manifest = argv[1];
		return cmocka_run_group_tests(one, NULL, NULL);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
