/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Puts a snapshot together from libvirt (lib/virt) and the host (lib/host): the only module below daemon and cli that
 * knows both. No thread, no timer; blocking.
 */

#include "core/snapshot.h"
#include "core/undo.h"
#include "virt/act_libvirt.h"
#include "virt/connection.h"

/* One domain, complete: thread affinities and start times from /proc, device nodes, memory nodes. *ret_metadata_err as in
 * vbmq_virt_read_domain. */
int vbmq_capture_domain(struct vbmq_virt *v, const char *uuid, struct vbmq_domain **ret,
			struct vbmq_err *ret_metadata_err, struct vbmq_err *err);

/*
 * The same after an apply that set pins and polling and nothing else, for a fraction of the price: known is what was read
 * before, with the polling as the apply read it back. Where the threads stand, state and XML are read anew; the monitor is not
 * asked. Whenever anything is not as known says (another instance, a thread that ended or whose number is another's, one that
 * came, a disk), all of it is read as vbmq_capture_domain does.
 */
int vbmq_capture_again(struct vbmq_virt *v, const struct vbmq_domain *known, struct vbmq_domain **ret,
		       struct vbmq_err *ret_metadata_err, struct vbmq_err *err);

/* Everything: live host, all active domains. One that libvirtd does not answer for is there as not responsive, with what is known
 * of it; one that cannot be read for another reason is left out and named in *ret_skipped (text for
 * people, caller frees, NULL if none). undo may be NULL. policy may be NULL. The result is finished. */
int vbmq_capture_all(struct vbmq_virt *v, const struct vbmq_undo *undo, const struct vbmq_policy *policy,
		     struct vbmq_snapshot **ret, char **ret_skipped, struct vbmq_err *err);

/* The task operations on this machine's /proc, for vbmq_act_libvirt(). */
extern const struct vbmq_task_ops vbmq_capture_task_ops;
