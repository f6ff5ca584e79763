/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/stats.h"
#include "virt/connection.h"

/*
 * A sample of a running guest: QEMU's counters where it has them, the kernel's account of its threads in any case. d: as
 * captured before. *ret_changed: threads or disks have come or gone since, capture it again before the next sample.
 * -ENOENT: that instance does not run any more. -ETIMEDOUT, -EBUSY: it does not answer.
 */
int vbmq_capture_stats(struct vbmq_virt *v, const struct vbmq_domain *d, struct vbmq_stats **ret, bool *ret_changed,
		       struct vbmq_err *err);
