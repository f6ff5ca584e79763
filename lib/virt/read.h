/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/domain.h"
#include "virt/connection.h"

/*
 * One domain as libvirt and QMP tell it: XML, state, thread ids, polling, capabilities, queue map. Not /proc, not NUMA, not
 * block devices: lib/capture adds those. Bad metadata does not fail the read: *ret_metadata_err says what is wrong.
 * -ENOENT: no such domain. A monitor that does not answer gives responsive=false and what XML alone tells.
 */
int vbmq_virt_read_domain(struct vbmq_virt *v, const char *name_or_uuid, struct vbmq_domain **ret,
			  struct vbmq_err *ret_metadata_err, struct vbmq_err *err);

/*
 * The same after pins and polling were set and nothing else, without its monitor: known is what was read before, and what only
 * the monitor tells is taken from there (thread ids, queues, capabilities, polling); the caller sees to it that the threads
 * still are the same. State and XML are read anew. -ESTALE: something else has changed, or it does not answer: read it all.
 */
int vbmq_virt_reread_domain(struct vbmq_virt *v, const struct vbmq_domain *known, struct vbmq_domain **ret,
			    struct vbmq_err *err);

/*
 * A domain of the list that libvirtd then says nothing more of (-ETIMEDOUT, -EBUSY): what was last heard of this instance, or
 * just that it is there; responsive=false. Asks nobody.
 */
int vbmq_virt_recall_domain(struct vbmq_virt *v, const struct vbmq_virt_name *name, struct vbmq_domain **ret,
			    struct vbmq_err *err);

/*
 * Where the memory of a running instance lies costs a walk over all of it to find out, so lib/capture leaves it here with the
 * time up to which it need not look again (CLOCK_MONOTONIC, ms). recall: false when nothing is noted for this instance or its
 * time is over. No memory: it is not noted.
 */
void vbmq_virt_note_memory(struct vbmq_virt *v, const struct vbmq_domain *d, uint64_t until_ms);
bool vbmq_virt_recall_memory(struct vbmq_virt *v, struct vbmq_domain *d, uint64_t now_ms);

/* XML texts; caller frees. inactive: the persistent configuration. */
int vbmq_virt_domain_xml(struct vbmq_virt *v, const char *name_or_uuid, bool inactive, char **ret,
			 struct vbmq_err *err);
/* Redefines the persistent configuration (validated by libvirt); the running instance is not touched. */
int vbmq_virt_define(struct vbmq_virt *v, const char *xml, struct vbmq_err *err);
