/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of the domain XML reader, one file each; for domxml*.c only. */

#include "codec/xml.h"
#include "core/domain.h"

/* I/O thread ids end here so that a set of ids is a struct vbmq_cpuset. libvirt counts from 1 and fills gaps first. */
#define VBMQ_DOMXML_IOTHREAD_ID_MAX (VBMQ_CPUS_MAX - 1)

struct vbmq_domxml {
	const char *name; /* for messages */
	xmlNode *root; /* <domain> */
	bool live;
	struct vbmq_domain *d; /* being built */
	struct vbmq_cpuset iothreads; /* their ids, once read */
	uint32_t boot_vcpus; /* what -smp starts with; QEMU's default number of queues */
};

/* domxml_threads.c: <vcpu>, <vcpus>, <iothreads>, <iothreadids>, <cputune> -> threads, n_vcpus, cpuset. Sorted. */
int vbmq_domxml_threads(struct vbmq_domxml *x, struct vbmq_err *err);

/* domxml_disks.c: <disk> with bus virtio, other users of I/O threads; after the threads. */
int vbmq_domxml_disks(struct vbmq_domxml *x, struct vbmq_err *err);

/* Is it a <disk> that QEMU serves by virtio-blk in its own threads? And its target, whatever the bus; caller releases. */
int vbmq_domxml_is_virtio_blk(const char *name, xmlNode *disk, bool *ret, char **ret_target, struct vbmq_err *err);
