/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A described fleet. What is accepted is complete: names that number their guests, vCPUs, queues with their vCPUs. */
#include "codec/fleet_conf.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vbmq_fleet fleet = { .templates = NULL };
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = vbmq_fleet_conf_parse("fuzz.conf", (const char *)data, size, &fleet, &err);

	fuzz_check_err(r, &err);
	FUZZ_ASSERT(r < 0 || fleet.n_templates > 0);
	for (size_t i = 0; i < fleet.n_templates; i++) {
		const struct vbmq_template *t = &fleet.templates[i];
		const struct vbmq_domain *d = t->model;

		FUZZ_ASSERT(*t->name && vbmq_fleet_check_pattern(t->pattern, NULL) == 0);
		FUZZ_ASSERT(t->count <= VBMQ_DOMAINS_MAX && d->n_vcpus >= 1 && d->n_threads == d->n_vcpus + 1);
		for (size_t k = 0; k < d->n_disks; k++)
			FUZZ_ASSERT(d->disks[k].n_queues >= 1 && vbmq_cpuset_has(&d->disks[k].queues[0].vcpus, 0));
	}
	vbmq_fleet_done(&fleet);
	FUZZ_ASSERT(!fleet.templates);
	return 0;
}
