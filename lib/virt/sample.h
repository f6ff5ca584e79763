/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "codec/qmp_placement.h"
#include "codec/qmp_reply.h"
#include "core/domain.h"
#include "virt/connection.h"

/* What the patched QEMU of a guest counts, at one moment. */
struct vbmq_virt_sample {
	uint64_t time_ns; /* CLOCK_MONOTONIC, in the midst of it */
	struct vbmq_qmp_iothread *iothreads;
	size_t n_iothreads;
	struct vbmq_qmp_device *devices;
	size_t n_devices;
};

/*
 * Two monitor commands, one job of the domain each: a fraction of a millisecond. d: as read before (the instance must still be the
 * same: -ENOENT). -ENOTSUP: its QEMU cannot (capability placement). Free what *ret holds with vbmq_virt_sample_done.
 */
int vbmq_virt_sample(struct vbmq_virt *v, const struct vbmq_domain *d, struct vbmq_virt_sample *ret,
		     struct vbmq_err *err);
void vbmq_virt_sample_done(struct vbmq_virt_sample *s);
