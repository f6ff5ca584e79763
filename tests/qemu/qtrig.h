/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What benchmarks compare: a QEMU with one I/O thread that serves all queues of a null-co disk, under a load that can be held.
 * Several rigs may live at the same time; those whose load is held sleep, so that they can take turns in short slices and
 * whatever else the machine does meets all of them alike.
 *
 * Where CPUs are given, the I/O thread has one, and the load thread another. Errors as in qtdrive.h.
 */

#include "qtdrive.h"

struct qt_rig_conf {
	const char *emulator;
	const char *poll_mode; /* NULL: left alone, as an unpatched QEMU has none */
	int64_t poll_max_ns; /* < 0: QEMU's default */
	unsigned queues, depth;
	uint64_t gap_ns;
	bool spin; /* the load thread never gives its CPU away */
	int io_cpu, load_cpu; /* -1: any */
};

struct qt_rig {
	struct qt_vm *vm;
	struct qt_disk *disk;
	struct qt_load *load;
	pid_t io_tid;
};

/* Without a load if depth is 0; else the load was tried and is held. What was made is the caller's also after an error. */
int qt_rig_new(struct qt_rig *g, const struct qt_rig_conf *conf, struct vbmq_err *err);
void qt_rig_free(struct qt_rig *g);

/* Requests completed so far, of all queues. */
uint64_t qt_rig_completed(const struct qt_rig *g);
/* A counter of the I/O thread by query-iothreads; 0 where QEMU has none of that name. */
int qt_rig_counter(struct qt_rig *g, const char *member, uint64_t *ret, struct vbmq_err *err);

/* Until ns nanoseconds are over, asleep. */
void qt_nap(uint64_t ns);
/* The element at that permille of the sorted order; sorts v. n > 0. */
uint64_t qt_permille(uint64_t *v, size_t n, unsigned permille);
