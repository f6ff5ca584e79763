/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* libvirt domain XML -> struct vbmq_domain. */

#include <stddef.h>

#include "core/diag.h"
#include "core/domain.h"
#include "core/placement.h"

#define VBMQ_DOMXML_MAX (16u * 1024u * 1024u) /* bytes; libvirt's own limit for a string over RPC is 4 MiB */

/*
 * name (a file name or domain name) is for messages only. Without <uuid> one is derived from the domain's name. Queues
 * that the XML leaves out are as many as vCPUs (QEMU's default for virtio-blk-pci), completion vCPUs are estimated.
 * Metadata of ours is parsed and validated with metadata.h; bad metadata is an error of this call: "FILE:LINE: ...".
 * live: the XML comes from a running domain (id attribute, aliases). Thread entries are made for every vCPU, I/O thread and
 * the emulator, with tid 0 and empty affinity; offline vCPUs have none. Capabilities are not XML's business: caps.bits is 0.
 * The state is running (live) or shutoff.
 */
int vbmq_domxml_parse(const char *name, const char *xml, size_t len, bool live, struct vbmq_domain **ret,
		      struct vbmq_err *err);

/* The same, but bad metadata is not fatal: it becomes *ret_metadata_err and the domain has no wish. */
int vbmq_domxml_parse_lenient(const char *name, const char *xml, size_t len, bool live, struct vbmq_domain **ret,
			      struct vbmq_err *ret_metadata_err, struct vbmq_err *err);

/*
 * configure: the XML with <iothreads>, <iothreadids> and the disks' <driver queues= iothread= ><iothreads> as the placement
 * wants them at the next start: place is the planner's result for the domain that was read from this very XML, wish the
 * effective wish (vbmq_policy_merge), of which only the queue counts of its disks are used. A disk whose map is already
 * written down (iothread= or <iothreads>) is its owner's and stays; so do all other elements, comments and foreign
 * metadata. with_map false (libvirt < 10.0): one iothread= attribute a disk instead of a map.
 *
 * The result is UTF-8, ends with a newline, and configuring it again changes nothing. Where nothing changes it is the
 * input as libxml2 writes it back: place NULL gives just that, the left side for a diff. Caller frees *ret_xml.
 */
int vbmq_domxml_configure(const char *name, const char *xml, size_t len, const struct vbmq_place_domain *place,
			  const struct vbmq_wish *wish, bool with_map, char **ret_xml, struct vbmq_err *err);
