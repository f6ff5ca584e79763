/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/domain.h"

/*
 * The process of a domain whose monitor never answered, and its threads, from /proc alone: sets d->pid and the tids of
 * d->threads where exactly one process fits. None found is no error. Only for looking.
 */
int vbmq_orphan_find(struct vbmq_domain *d, struct vbmq_err *err);
