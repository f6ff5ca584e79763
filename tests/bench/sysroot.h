/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A host as Linux shows it below /sys and /proc, written into a temporary directory: what hwloc discovers on a real one. */

struct sysroot_host {
	unsigned nodes, l3s, cores, smt; /* l3s a node, cores an L3 domain; CPUs in this order */
};

char *sysroot_make(const struct sysroot_host *h); /* path, NULL: errno; sysroot_remove() frees it */
void sysroot_remove(char *root);
