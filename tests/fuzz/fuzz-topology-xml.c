/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lstopo XML and, with a first byte 's', synthetic descriptions: hwloc, and what we make of it. */
#include <string.h>

#include "fuzz.h"
#include "host/topology.h"
#include "util/cleanup.h"

static void check_host(const struct vbmq_host *h)
{
	struct vbmq_cpuset in_nodes = VBMQ_CPUSET_EMPTY, in_l3s = VBMQ_CPUSET_EMPTY;

	FUZZ_ASSERT(h->name && h->n_cores > 0 && h->n_nodes > 0 && h->n_l3s > 0);
	FUZZ_ASSERT(vbmq_cpuset_is_subset(&h->allowed, &h->online));
	for (size_t i = 0; i < h->n_nodes; i++) {
		FUZZ_ASSERT(i == 0 || h->nodes[i - 1].id < h->nodes[i].id);
		FUZZ_ASSERT(!vbmq_cpuset_intersects(&in_nodes, &h->nodes[i].cpus));
		in_nodes = vbmq_cpuset_or(&in_nodes, &h->nodes[i].cpus);
	}
	for (size_t i = 0; i < h->n_l3s; i++) {
		FUZZ_ASSERT(!vbmq_cpuset_intersects(&in_l3s, &h->l3s[i].cpus));
		in_l3s = vbmq_cpuset_or(&in_l3s, &h->l3s[i].cpus);
	}
	FUZZ_ASSERT(vbmq_cpuset_is_subset(&h->online, &in_nodes) && vbmq_cpuset_equal(&in_nodes, &in_l3s));
	for (size_t i = 0; i < h->n_cores; i++) {
		FUZZ_ASSERT(h->cores[i].l3 < h->n_l3s && h->cores[i].node < h->n_nodes);
		FUZZ_ASSERT(vbmq_cpuset_is_subset(&h->cores[i].cpus, &h->l3s[h->cores[i].l3].cpus));
		FUZZ_ASSERT(vbmq_cpuset_is_subset(&h->cores[i].cpus, &h->nodes[h->cores[i].node].cpus));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_host *h = NULL;
	int r;

	if (size && data[0] == 's') {
		_cleanup_free_ char *text = fuzz_text((const char *)data + 1, size - 1);

		r = vbmq_topology_synthetic(text, &h, &err);
	} else {
		r = vbmq_topology_xml("fuzz.xml", data, size, &h, &err);
	}
	fuzz_check_err(r, &err);
	FUZZ_ASSERT((r == 0) == (h != NULL));
	if (h)
		check_host(h);
	vbmq_host_free(h);
	return 0;
}
