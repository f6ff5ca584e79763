/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of qtdrive share and its users need not see. */

#include "qtdrive.h"

struct qt_vm {
	pid_t pid; /* 0: it ended and was waited for */
	int pidfd;
	int qtest_fd, qmp_fd, ram_fd, stderr_fd;
	uint8_t *ram;
	size_t ram_size;
	char dir[64]; /* holds the firmware QEMU insists on */
	bool silent; /* a command was left without an answer */
	json_t *events; /* array of whole event objects, oldest first */
	char *in; /* QMP bytes not yet a line */
	size_t n_in, size_in;
	char qtest_in[256];
	size_t n_qtest_in;
};

int qt_write_all(int fd, const char *data, size_t n);

/* Reads until data comes, with patience. >0 bytes, or negative with err. */
ssize_t qt_read_some(struct qt_vm *vm, int fd, char *buf, size_t size, const char *what, struct vbmq_err *err);

/* Reads the QMP greeting and leaves capabilities negotiation. */
int qt_qmp_hello(struct qt_vm *vm, struct vbmq_err *err);

/* A copy of QEMU's descriptor. */
int qt_vm_getfd(struct qt_vm *vm, int number);

/* The kernel's rings, after the virtio specification 1.x, 2.7 (split virtqueues), in guest-native little endian. */
struct qt_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct qt_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* size entries, then used_event */
};

struct qt_used_elem {
	uint32_t id;
	uint32_t len;
};

struct qt_used {
	uint16_t flags;
	uint16_t idx;
	struct qt_used_elem ring[]; /* size entries, then avail_event */
};

/*
 * qtring.c. Given: index, size, desc, avail, used, event_idx, interrupts, kick_fd. ram is guest-physical 0; headers are at
 * req_addr (64 bytes a slot), data at data_addr (max_bytes a slot).
 */
int qt_queue_init(struct qt_queue *q, unsigned n_slots, uint64_t req_addr, uint64_t data_addr, uint32_t max_bytes,
		  uint8_t *ram, struct vbmq_err *err);
void qt_queue_fini(struct qt_queue *q);
/* Empty rings; what is in flight is made available anew, in its old order, and not yet published. */
void qt_queue_again(struct qt_queue *q);
