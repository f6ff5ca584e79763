/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * query-virtio-placement of our QEMU series -> which thread serves each virtqueue, which vCPU it interrupts, and its counters.
 * The same promises as codec/qmp_reply.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vbmq_err;

/* Where a queue interrupts, as the guest programmed it. */
enum vbmq_qmp_irq {
	VBMQ_QMP_IRQ_NONE, /* no message: no vector, INTx, or another transport than PCI */
	VBMQ_QMP_IRQ_MASKED, /* a vector that is masked now: its target means nothing */
	VBMQ_QMP_IRQ_UNKNOWN, /* a message whose target cannot be told (logical destination, broadcast, not x86) */
	VBMQ_QMP_IRQ_VCPU, /* exactly that vCPU */
};

struct vbmq_qmp_queue {
	uint32_t index;
	uint32_t iothread; /* libvirt id; 0: the main loop, or foreign */
	bool foreign; /* served by an I/O thread that libvirt did not make */
	uint32_t tid; /* of the serving thread */
	enum vbmq_qmp_irq irq;
	uint32_t vector; /* MSI-X entry; not with NONE */
	uint32_t vcpu; /* with VCPU */
	/* since the device was made; may start again from 0 when the guest was reset */
	uint64_t kicks; /* the thread was woken by the guest */
	uint64_t poll_hits; /* requests found by polling instead */
	uint64_t interrupts;
	uint64_t completed;
	uint32_t in_flight; /* now, parked ones included */
	uint32_t parked; /* wait for an error to be resolved */
};

struct vbmq_qmp_device {
	char *path; /* QOM path of the device or of its backend */
	char *id; /* as given on the command line ("virtio-disk0"); NULL: none */
	char *type; /* "virtio-blk" and the like */
	bool started; /* ioeventfd runs: queues are served by their threads */
	struct vbmq_qmp_queue *queues; /* sorted by index */
	size_t n_queues;
};

/* Devices sorted by path; free with vbmq_qmp_devices_free. */
int vbmq_qmp_placement(const char *reply, size_t len, struct vbmq_qmp_device **ret, size_t *ret_n,
		       struct vbmq_err *err);
void vbmq_qmp_devices_free(struct vbmq_qmp_device *devices, size_t n);

bool vbmq_qmp_is_disk(const struct vbmq_qmp_device *d); /* virtio-blk */
/* The virtio-blk device that libvirt calls alias; NULL: not among them, or its queues are not 0 to n-1. */
const struct vbmq_qmp_device *vbmq_qmp_find_disk(const struct vbmq_qmp_device *devices, size_t n, const char *alias);
