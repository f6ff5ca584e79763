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

/* XML texts; caller frees. inactive: the persistent configuration. */
int vbmq_virt_domain_xml(struct vbmq_virt *v, const char *name_or_uuid, bool inactive, char **ret,
			 struct vbmq_err *err);
/* Redefines the persistent configuration (validated by libvirt); the running instance is not touched. */
int vbmq_virt_define(struct vbmq_virt *v, const char *xml, struct vbmq_err *err);
