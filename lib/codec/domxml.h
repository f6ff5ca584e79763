/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libvirt domain XML -> struct vbmq_domain. */

#include <stddef.h>

#include "core/diag.h"
#include "core/domain.h"

#define VBMQ_DOMXML_MAX (16u * 1024u * 1024u) /* bytes; libvirt's own limit for a string over RPC is 4 MiB */

/*
 * name (a file name or domain name) is for messages only. Without <uuid> one is derived from the domain's name. Queues
 * that the XML leaves out are as many as vCPUs (QEMU's default for virtio-blk-pci), completion vCPUs are estimated.
 * Metadata of ours is parsed and validated with metadata.h; bad metadata is an error of this call: "FILE:LINE: ...".
 * live: the XML comes from a running domain (id attribute, aliases). Thread entries are made for every vCPU, I/O thread and
 * the emulator, with tid 0 and empty affinity.
 */
int vbmq_domxml_parse(const char *name, const char *xml, size_t len, bool live, struct vbmq_domain **ret,
		      struct vbmq_err *err);

/* The same, but bad metadata is not fatal: it becomes *ret_metadata_err and the domain has no wish. */
int vbmq_domxml_parse_lenient(const char *name, const char *xml, size_t len, bool live, struct vbmq_domain **ret,
			      struct vbmq_err *ret_metadata_err, struct vbmq_err *err);

/*
 * configure: the XML with <iothreads> (count and ids) and <driver queues= ><iothreads> of its virtio disks as
 * the placement's domain wants them at the next start. Everything else keeps its bytes as libxml2 writes them back.
 * with_map false (libvirt < 10.0): one iothread= attribute a disk instead of a map. Caller frees *ret_xml.
 */
int vbmq_domxml_configure(const char *name, const char *xml, size_t len, const struct vbmq_domain *domain,
			  const struct vbmq_wish *wish, bool with_map, char **ret_xml, struct vbmq_err *err);
