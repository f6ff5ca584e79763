/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Plans written by hand, for tests that say exactly which step comes when. */

#include "core/plan.h"
#include "core/snapshot.h"

/* A placement that leaves everything where it is, all of the host shared. */
struct vbmq_plan *hand_plan(const struct vbmq_snapshot *s);
/* A step "A/vcpu0", "A/iothread1", "A/emulator" to cpus; exclusive with '!' in front of cpus. The placement follows. */
void hand_pin(struct vbmq_plan *p, const char *thread, const char *cpus);
void hand_polling(struct vbmq_plan *p, const char *thread, uint64_t max_ns);
void hand_add(struct vbmq_plan *p, const char *thread);
void hand_del(struct vbmq_plan *p, const char *thread);
void hand_map(struct vbmq_plan *p, const char *disk, const uint32_t *map, size_t n);
void hand_shared(struct vbmq_plan *p, const char *cpus);

const struct vbmq_thread *hand_thread(const struct vbmq_snapshot *s, const char *thread);
