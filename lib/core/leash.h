/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What an owner means by the CPUs that he lets a thread of his guest run on (vcpupin, iothreadpin, emulatorpin, or the guest's
 * <vcpu cpuset=>): these very CPUs, or a part of the host inside which the thread floats.
 *
 *   wide    More than half of what can be shared of some node, or all of a node. A leash: "near this memory", "not on the CPUs of
 *           the pinned ones". It binds all threads of the guest, also those that VBMq gives a core of their own.
 *   place   Not wide, of one node, and with no more cores than the guest has vCPUs that cannot leave it; one core is always a place. It is
 *           wanted for itself: 1:1 pins, a pool of the guest's own. Who is there stays there and is not touched, nobody else
 *           gets a core of it, and where it is a vCPU's, what floats is kept off it (planner_owner.c).
 *   roomy   All others: the guest cannot fill it, so it is a leash as well, but one for floating threads only: I/O threads of a
 *           managed guest and vCPUs that the policy dedicates would take away what room there is.
 *
 * It depends on the host and on the one guest, never on who else is there: nobody's coming or going makes another's pool a leash.
 */

#include "core/domain.h"
#include "core/host.h"

enum vbmq_leash { VBMQ_LEASH_PLACE, VBMQ_LEASH_ROOMY, VBMQ_LEASH_WIDE };

/*
 * says: what the owner said, cut to the usable CPUs, not empty. shareable: the CPUs that could be shared if nobody pinned anything;
 * what has none of them and covers no node is a place: nobody floats there.
 */
enum vbmq_leash vbmq_leash_of(const struct vbmq_host *h, const struct vbmq_cpuset *shareable,
			      const struct vbmq_domain *d, const struct vbmq_cpuset *says);

/* What the owner says about a thread: its pin, else the guest's cpuset, cut to the usable CPUs (may be empty). False: nothing. */
bool vbmq_leash_said(const struct vbmq_host *h, const struct vbmq_domain *d, const struct vbmq_thread *t,
		     struct vbmq_cpuset *ret);

/* Whether a thread that may run there is all over some node (holds all its usable CPUs): that is nowhere in particular. */
bool vbmq_leash_covers_node(const struct vbmq_host *h, const struct vbmq_cpuset *cpus);
