/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What can be done to one domain, found out by asking (query-qmp-schema, libvirt version for what it writes into XML),
 * never by the version of QEMU.
 */

#include <stdbool.h>
#include <stdint.h>

enum vbmq_cap {
	VBMQ_CAP_PIN = 1 << 0, /* affinities can be set (any running domain that is not foreign) */
	VBMQ_CAP_POLLING = 1 << 1, /* poll-max-ns, -grow, -shrink of an I/O thread can be set live */
	VBMQ_CAP_ADD_IOTHREAD = 1 << 2, /* I/O threads can be added live */
	VBMQ_CAP_COLD_MAP = 1 << 3, /* a queue map in the persistent configuration holds from the next start:
	                                 * QEMU >= 9.0 (iothread-vq-mapping property) and libvirt >= 10.0 */
	VBMQ_CAP_LIVE_MAP = 1 << 4, /* virtio-blk-set-iothread-vq-mapping in the schema (our QEMU series) */
	VBMQ_CAP_POLL_MODE = 1 << 5, /* poll-mode of an I/O thread (our series) */
	VBMQ_CAP_PLACEMENT = 1 << 6, /* query-virtio-placement (our series): completion vCPUs and counters */
};

struct vbmq_caps {
	uint32_t bits;
};

enum vbmq_capability { VBMQ_PIN_POLL, VBMQ_COLD_MAP, VBMQ_LIVE_MAP }; /* what the plan document calls "capability" */

enum vbmq_capability vbmq_caps_level(struct vbmq_caps caps);
bool vbmq_caps_has(struct vbmq_caps caps, enum vbmq_cap cap);

extern const char *const vbmq_capability_words[]; /* pin-poll cold-map live-map */
extern const char *const vbmq_cap_words[]; /* pin polling add-iothread cold-map live-map poll-mode placement; by bit */
