/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "gen.h"

/* Hosts of up to 48 CPUs; all vCPUs are where their owner or the shared set has them, and nobody's threads hang. */
struct vbmq_snapshot *instance_exact(struct gen *g, struct vbmq_policy *policy);

/*
 * Small hosts, one to three guests: dedicated vCPUs, vCPUs pinned by their owner here and there, queues that may be mapped or not,
 * more I/O threads than cores, devices and memory on all nodes; nothing but whole cores, no leash. In some all stand where an
 * earlier plan put them, and one more comes or one leaves.
 */
struct vbmq_snapshot *instance_coupled(struct gen *g, struct vbmq_policy *policy);
