/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * /proc/PID/numa_maps has a line a mapping: "ADDRESS POLICY [key=value ...] N0=PAGES N1=PAGES kernelpagesize_kB=SIZE". Guest
 * RAM is by far the largest mapping of QEMU (one, or one a guest node), so it is told by size and not by name: anonymous,
 * memfd and hugetlbfs backings all look different. Sizes are what is resident, in KiB, as pages differ in size.
 *
 * The kernel walks the page tables of the process while it prints; a terabyte of small pages takes seconds of the caller
 * and a little of the guest's time, so this is for captures and not for polling. Where only one node has memory there is
 * nothing to find out, and nothing is walked.
 *
 * libnuma tells whether there is NUMA at all (numa_available) and which node numbers are possible; everything else it
 * would do goes by the process that asks and not by the one asked about.
 */
#include "host/guestmem.h"

#include <errno.h>
#include <fcntl.h>
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/host.h"
#include "host/sysroot.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define NUMA_MAPS_MAX (32u * 1024u * 1024u) /* 65,530 mappings (vm.max_map_count) of less than 512 bytes each */
#define MAPPING_SHARE 16u /* of the largest mapping: smaller ones are not guest RAM */
#define NODE_SHARE 8u /* of all guest RAM: less on a node is stray */
#define PAGE_KIB_MAX (64u * 1024u * 1024u)
#define PAGES_MAX (UINT64_C(1) << 34) /* 64 TiB of small pages; times the largest page it is still no overflow */

/* The next word of a line: its start, with *n bytes; NULL at the end of the line. */
static const char *next_word(const char **at, size_t *n)
{
	const char *word = *at + strspn(*at, " ");

	*n = strcspn(word, " \n");
	*at = word + *n;
	return *n ? word : NULL;
}

/* key=VALUE of at most 31 bytes: the value, in value; NULL for anything else. */
static const char *value_of(const char *word, size_t n, size_t key_len, char value[32])
{
	if (n < key_len + 2 || n > key_len + 32 || word[key_len] != '=')
		return NULL;
	memcpy(value, word + key_len + 1, n - key_len - 1);
	value[n - key_len - 1] = '\0';
	return value;
}

static uint64_t page_size_kib(const char *line)
{
	static const char key[] = "kernelpagesize_kB";
	const char *word;
	char value[32];
	uint64_t kib;
	size_t n;

	while ((word = next_word(&line, &n)))
		if (n > sizeof(key) - 1 && memcmp(word, key, sizeof(key) - 1) == 0 &&
		    value_of(word, n, sizeof(key) - 1, value) && vbmq_parse_u64(value, 1, PAGE_KIB_MAX, &kib) == 0)
			return kib;
	return 0;
}

/* KiB of one mapping, 0 for a line that says none; added to kib (by node) when that is not NULL. */
static uint64_t scan_line(const char *line, uint64_t *kib)
{
	uint64_t size = page_size_kib(line), total = 0, pages;
	const char *word;
	char key[16], value[32];
	uint32_t node;
	size_t n;

	while (size && (word = next_word(&line, &n))) {
		const char *sign = memchr(word, '=', n);
		size_t key_len = sign ? (size_t)(sign - word) : sizeof(key);

		if (word[0] != 'N' || key_len >= sizeof(key))
			continue;
		memcpy(key, word, key_len);
		key[key_len] = '\0';
		if (vbmq_parse_u32(key + 1, 0, VBMQ_NODES_MAX - 1, &node) < 0 || !value_of(word, n, key_len, value) ||
		    vbmq_parse_u64(value, 0, PAGES_MAX, &pages) < 0)
			continue;
		total += pages * size;
		if (kib)
			kib[node] += pages * size;
	}
	return total;
}

static const char *next_line(const char *line)
{
	line += strcspn(line, "\n");
	return *line ? line + 1 : line;
}

/* Empty: nothing resident. -ENOMEM only. */
static int dominant_nodes(const char *text, struct vbmq_cpuset *ret)
{
	_cleanup_free_ uint64_t *kib = calloc(VBMQ_NODES_MAX, sizeof(*kib));
	uint64_t largest = 0, total = 0, size;

	if (!kib)
		return -ENOMEM;
	for (const char *line = text; *line; line = next_line(line)) {
		size = scan_line(line, NULL);
		if (size > largest)
			largest = size;
	}
	for (const char *line = text; largest && *line; line = next_line(line)) {
		size = scan_line(line, NULL);
		if (size && size >= largest / MAPPING_SHARE)
			total += scan_line(line, kib);
	}
	*ret = VBMQ_CPUSET_EMPTY;
	for (uint32_t i = 0; i < VBMQ_NODES_MAX; i++)
		if (kib[i] && kib[i] >= total / NODE_SHARE)
			vbmq_cpuset_add(ret, i);
	return 0;
}

/* On this machine only numbers that its kernel can have count. */
static void keep_possible(struct vbmq_cpuset *nodes)
{
	int max = numa_available() < 0 ? -1 : numa_max_possible_node();

	for (int node = vbmq_cpuset_next(nodes, 0); node >= 0; node = vbmq_cpuset_next(nodes, (unsigned)node + 1))
		if (node > max)
			vbmq_cpuset_del(nodes, (unsigned)node);
}

/* The only node with memory, if there is but one. */
static bool only_node(const char *sysroot, struct vbmq_cpuset *ret)
{
	_cleanup_free_ char *line = NULL;
	struct vbmq_cpuset nodes;

	if (vbmq_sysroot_line(sysroot, "/sys/devices/system/node/has_memory", &line) < 0 ||
	    vbmq_cpulist_parse(line, strlen(line), 0, &nodes, NULL) < 0 || vbmq_cpuset_count(&nodes) != 1)
		return false;
	*ret = nodes;
	return true;
}

int vbmq_guestmem_nodes(const char *sysroot, uint32_t pid, struct vbmq_cpuset *ret_nodes, struct vbmq_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct vbmq_cpuset nodes;
	char path[64];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "/proc/%u", pid);
	r = vbmq_sysroot_open(sysroot, path, O_PATH | O_DIRECTORY);
	if (r < 0)
		return vbmq_err_set(err, -ESRCH, "there is no process %u", pid);
	close(r);
	if (only_node(sysroot, ret_nodes))
		return 0;
	snprintf(path, sizeof(path), "/proc/%u/numa_maps", pid);
	r = vbmq_sysroot_read(sysroot, path, NUMA_MAPS_MAX, &text, &len);
	if (r == -ENOMEM)
		return vbmq_err_oom(err);
	if (r == -ESRCH)
		return vbmq_err_set(err, -ESRCH, "there is no process %u", pid);
	if (r == -ENOENT) { /* a kernel without NUMA */
		*ret_nodes = VBMQ_CPUSET_EMPTY;
		return 0;
	}
	if (r < 0)
		return vbmq_err_set(err, r, "%s: cannot be read: %s", path, strerror(-r));
	r = dominant_nodes(text, &nodes);
	if (r < 0)
		return vbmq_err_oom(err);
	if (!sysroot)
		keep_possible(&nodes);
	*ret_nodes = nodes;
	return 0;
}
