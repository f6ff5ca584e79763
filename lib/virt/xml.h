/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What libvirtd knows of a domain without its monitor; for the files of lib/virt only. */

#include "virt/private.h"

struct vbmq_virt_facts {
	char uuid[37];
	char name[VBMQ_NAME_MAX + 1];
	int32_t id; /* -1: not running */
	int state; /* VIR_DOMAIN_RUNNING, ... */
};

enum vbmq_domain_state vbmq_virt_state(int state); /* of a running domain */

/* No job, no monitor: always answers. */
int vbmq_virt_look(struct vbmq_virt *v, const char *name_or_uuid, struct vbmq_virt_facts *ret, struct vbmq_err *err);

/* The state of an instance that was looked at before; that it still is this one, the caller knows, or finds out afterwards. */
int vbmq_virt_look_again(struct vbmq_virt *v, const char *uuid, int32_t id, struct vbmq_virt_facts *ret,
			 struct vbmq_err *err);

/* Text for flags (VIR_DOMAIN_XML_...); that of a running domain takes its job, so it is not to be had (-ETIMEDOUT, -EBUSY) while
 * anybody waits for the monitor. Caller frees. */
int vbmq_virt_xml_text(struct vbmq_virt *v, const struct vbmq_virt_facts *facts, unsigned flags, char **ret,
		       struct vbmq_err *err);
