/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What hwloc's Linux backend reads of the topology, with the caches that every such machine has (L1, L2 of a core, L3), one package a
 * node, memory and distances; no devices, no DMI.
 */

#include "sysroot.h"

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MASK_MAX 2048u

/* The kernel's form: words of 32 bits, the highest first. */
static const char *mask(char *text, unsigned n_cpus, unsigned first, unsigned n)
{
	char *at = text;

	for (unsigned word = (n_cpus + 31) / 32; word-- > 0;) {
		unsigned bits = 0;

		for (unsigned b = 0; b < 32; b++)
			if (word * 32 + b >= first && word * 32 + b < first + n)
				bits |= 1u << b;
		at += snprintf(at, 10, "%08x%s", bits, word ? "," : "");
	}
	return text;
}

static bool __attribute__((format(printf, 3, 4))) put(const char *dir, const char *name, const char *fmt, ...)
{
	char path[4096];
	va_list ap;
	FILE *f;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return false;
	f = fopen(path, "we");
	if (!f)
		return false;
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fputc('\n', f);
	return fclose(f) == 0;
}

static bool make_dir(char *path, size_t size, const char *root, const char *fmt, unsigned a, unsigned b)
{
	int n = snprintf(path, size, "%s/", root);

	if (n < 0 || (size_t)n >= size)
		return false;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(path + n, size - (size_t)n, fmt, a, b);
#pragma GCC diagnostic pop
	for (char *c = strchr(path + n, '/'); c; c = strchr(c + 1, '/')) {
		*c = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return false;
		*c = '/';
	}
	return mkdir(path, 0755) == 0 || errno == EEXIST;
}

static bool put_cache(const char *root, unsigned cpu, unsigned index, unsigned n_cpus, unsigned first, unsigned n)
{
	static const struct {
		unsigned level, size_kib, ways;
		const char *type;
	} caches[] = { { 1, 32, 8, "Data" },
		       { 1, 32, 8, "Instruction" },
		       { 2, 1024, 8, "Unified" },
		       { 3, 32768, 16, "Unified" } };
	char dir[4096], text[MASK_MAX];
	unsigned ways = caches[index].ways, size = caches[index].size_kib;

	return make_dir(dir, sizeof(dir), root, "sys/devices/system/cpu/cpu%u/cache/index%u", cpu, index) &&
	       put(dir, "level", "%u", caches[index].level) && put(dir, "type", "%s", caches[index].type) &&
	       put(dir, "size", "%uK", size) && put(dir, "coherency_line_size", "64") &&
	       put(dir, "physical_line_partition", "1") && put(dir, "ways_of_associativity", "%u", ways) &&
	       put(dir, "number_of_sets", "%u", size * 1024 / 64 / ways) &&
	       put(dir, "shared_cpu_map", "%s", mask(text, n_cpus, first, n));
}

static bool put_cpu(const char *root, const struct sysroot_host *h, unsigned cpu)
{
	unsigned l3 = h->cores * h->smt, node = h->l3s * l3, n_cpus = h->nodes * node, core = cpu - cpu % h->smt;
	char dir[4096], siblings[MASK_MAX], package[MASK_MAX];

	mask(siblings, n_cpus, core, h->smt);
	mask(package, n_cpus, cpu - cpu % node, node);
	return make_dir(dir, sizeof(dir), root, "sys/devices/system/cpu/cpu%u/topology", cpu, 0) &&
	       put(dir, "core_id", "%u", core % node / h->smt) && put(dir, "physical_package_id", "%u", cpu / node) &&
	       put(dir, "die_id", "0") && put(dir, "core_cpus", "%s", siblings) &&
	       put(dir, "thread_siblings", "%s", siblings) && put(dir, "package_cpus", "%s", package) &&
	       put(dir, "core_siblings", "%s", package) && put(dir, "die_cpus", "%s", package) &&
	       put_cache(root, cpu, 0, n_cpus, core, h->smt) && put_cache(root, cpu, 1, n_cpus, core, h->smt) &&
	       put_cache(root, cpu, 2, n_cpus, core, h->smt) && put_cache(root, cpu, 3, n_cpus, cpu - cpu % l3, l3);
}

static bool put_node(const char *root, const struct sysroot_host *h, unsigned node)
{
	unsigned n = h->l3s * h->cores * h->smt;
	char dir[4096], text[MASK_MAX], *at;

	if (!make_dir(dir, sizeof(dir), root, "sys/devices/system/node/node%u", node, 0) ||
	    !put(dir, "cpumap", "%s", mask(text, h->nodes * n, node * n, n)) ||
	    !put(dir, "meminfo", "Node %u MemTotal:       268435456 kB", node))
		return false;
	at = text;
	for (unsigned to = 0; to < h->nodes; to++)
		at += snprintf(at, 8, "%s%u", to ? " " : "", to == node ? 10u : 20u);
	return put(dir, "distance", "%s", text);
}

static bool put_all(const char *root, const struct sysroot_host *h)
{
	unsigned n_cpus = h->nodes * h->l3s * h->cores * h->smt;
	char dir[4096];

	if (!make_dir(dir, sizeof(dir), root, "proc", 0, 0) ||
	    !put(dir, "meminfo", "MemTotal:       %u kB", 268435456u) || !put(dir, "cpuinfo", "processor\t: 0"))
		return false;
	for (unsigned i = 0; i < n_cpus; i++)
		if (!put_cpu(root, h, i))
			return false;
	for (unsigned i = 0; i < h->nodes; i++)
		if (!put_node(root, h, i))
			return false;
	return make_dir(dir, sizeof(dir), root, "sys/devices/system/cpu", 0, 0) &&
	       put(dir, "online", "0-%u", n_cpus - 1) && put(dir, "possible", "0-%u", n_cpus - 1) &&
	       put(dir, "present", "0-%u", n_cpus - 1) &&
	       make_dir(dir, sizeof(dir), root, "sys/devices/system/node", 0, 0) &&
	       put(dir, "online", "0-%u", h->nodes - 1) && put(dir, "possible", "0-%u", h->nodes - 1);
}

char *sysroot_make(const struct sysroot_host *h)
{
	const char *tmp = getenv("TMPDIR");
	char *root;

	if (asprintf(&root, "%s/planclock.XXXXXX", tmp ? tmp : "/tmp") < 0)
		return NULL;
	if (mkdtemp(root) && put_all(root, h))
		return root;
	sysroot_remove(root);
	return NULL;
}

static int take_away(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void sysroot_remove(char *root)
{
	if (root)
		nftw(root, take_away, 16, FTW_DEPTH | FTW_PHYS);
	free(root);
}
