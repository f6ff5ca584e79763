/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/manager.h"

/*
 * What is known of a domain right after the apply whose report is m->cycle.report: as it was read before, with the polling
 * that the apply read back. A copy, for vbmq_capture_again. NULL: it has to be read as if for the first time, because the apply
 * did more to it than pins and polling, or did not do all, or because something was heard of it since it was read last (or
 * for lack of memory).
 */
struct vbmq_domain *vbmqd_known_after_apply(const struct vbmqd_manager *m, const struct vbmqd_domain *d);
