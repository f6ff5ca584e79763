/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * QMP replies as libvirt's passthrough hands them over ({"return": ..., "id": ...} or {"error": ...}) -> model. Every
 * parser takes bytes of any origin: cut, over-long, wrong type, extra keys (ignored: QEMU adds some in every release),
 * missing keys (error with the command's name and the path). A QMP error reply is -EREMOTEIO with class and desc in err,
 * CommandNotFound is -ENOTSUP. query-virtio-placement has a header of its own (qmp_placement.h).
 */

#include <stddef.h>

#include "core/domain.h"

#define VBMQ_QMP_REPLY_MAX (16u * 1024u * 1024u) /* query-qmp-schema of 10.0 is about 200 KiB */

struct vbmq_qmp_iothread {
	uint32_t id; /* from "iothread<ID>"; others are left out */
	uint32_t tid;
	struct vbmq_polling polling;
	bool counts; /* the rest is known (our series); since the thread was made */
	uint64_t busy_ns; /* it did something */
	uint64_t poll_ns; /* it looked for something to do */
	uint64_t blocked_ns; /* it slept */
	uint64_t poll_hits; /* looks that found something ... */
	uint64_t poll_misses; /* ... and those that gave up */
};

int vbmq_qmp_iothreads(const char *reply, size_t len, struct vbmq_qmp_iothread **ret, size_t *ret_n,
		       struct vbmq_err *err);

struct vbmq_qmp_vcpu {
	uint32_t index;
	uint32_t tid;
};
int vbmq_qmp_cpus(const char *reply, size_t len, struct vbmq_qmp_vcpu **ret, size_t *ret_n, struct vbmq_err *err);

/* query-qmp-schema -> the bits of vbmq_caps that the schema shows: POLLING, ADD_IOTHREAD, LIVE_MAP, POLL_MODE, PLACEMENT.
 * PIN is not QEMU's, and whether it has the property behind COLD_MAP is told by device-list-properties virtio-blk-pci: */
int vbmq_qmp_schema_caps(const char *reply, size_t len, struct vbmq_caps *ret, struct vbmq_err *err);
int vbmq_qmp_has_vq_mapping(const char *reply, size_t len, bool *ret, struct vbmq_err *err);

struct vbmq_qmp_virtio {
	char *path; /* QOM path */
	char *name; /* "virtio-blk" */
};
int vbmq_qmp_virtio_list(const char *reply, size_t len, struct vbmq_qmp_virtio **ret, size_t *ret_n,
			 struct vbmq_err *err);
void vbmq_qmp_virtio_free(struct vbmq_qmp_virtio *v, size_t n);

/* x-query-virtio-status -> number of virtqueues and whether the driver is up. */
int vbmq_qmp_virtio_status(const char *reply, size_t len, uint32_t *ret_num_vqs, bool *ret_started,
			   struct vbmq_err *err);

/* qom-get DEVICE iothread-vq-mapping -> I/O thread id by queue for n_queues; an empty list leaves *ret_map NULL. Rules of
 * QEMU: without "vqs" round robin in the order of the list. */
int vbmq_qmp_vq_mapping(const char *reply, size_t len, size_t n_queues, uint32_t **ret_map, struct vbmq_err *err);
/* qom-get DEVICE num-queues and the like. */
int vbmq_qmp_u64(const char *reply, size_t len, uint64_t *ret, struct vbmq_err *err);

/* A command that returns nothing of interest: 0 when it worked, -EBUSY when the device is being drained just now and QEMU
 * wants it tried again. */
int vbmq_qmp_done(const char *reply, size_t len, struct vbmq_err *err);
