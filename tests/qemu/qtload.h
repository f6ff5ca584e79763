/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside of a load; for qtload.c, qtcheck.c only. */

#include <pthread.h>
#include <stdatomic.h>

#include "qtdrive.h"

#define QT_GAPS_MAX 8192

/* A queue's part of the disk and of the load. Only the load thread writes to it, but for depth. */
struct qt_load_queue {
	struct qt_queue *q;
	atomic_uint depth;
	atomic_uint_fast64_t completed;
	atomic_uint in_flight;

	uint64_t first, n_blocks; /* of the disk */
	uint32_t *done, *asked; /* generations, with verify */
	uint8_t *busy; /* a block each */
	uint64_t rng;

	uint64_t due[QT_SLOTS_MAX]; /* FIFO: when requests may follow those that ended */
	unsigned due_head, n_due;

	uint64_t last_ns; /* of the last completion, or of the first request after idleness */
	uint64_t away_ns; /* longest turn of the load thread since */
	struct qt_load_stats stats;
	uint64_t base_submitted, base_kicks; /* of the queue's counters at qt_load_reset() */
};

struct qt_load {
	struct qt_disk *d;
	struct qt_load_conf conf;
	struct qt_load_queue queues[QT_QUEUES_MAX];
	unsigned n_queues;
	atomic_uint_fast64_t gap_ns;
	atomic_uint write_percent;

	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	atomic_bool want_hold, stop, draining;
	bool held; /* under lock */

	atomic_int failed;
	struct vbmq_err err; /* written before failed is set */

	struct qt_gap gaps[QT_GAPS_MAX]; /* one writer (load), one reader (control) */
	atomic_size_t gaps_in, gaps_out;
	atomic_uint_fast64_t gaps_lost;
};

/* qtcheck.c: the data of requests. */
uint64_t qt_random(uint64_t *state);
/* Chooses blocks that are free for a request of at most max_blocks, and marks them busy. false: none found. */
bool qt_pick_blocks(struct qt_load_queue *lq, unsigned max_blocks, uint64_t *ret_block, unsigned *ret_n);
void qt_fill_request(struct qt_load *l, struct qt_load_queue *lq, struct qt_slot *s);
/* After completion: data of a read, generations of a write; the blocks are free again. 0 or -EBADMSG. */
int qt_end_request(struct qt_load *l, struct qt_load_queue *lq, struct qt_slot *s, struct vbmq_err *err);
