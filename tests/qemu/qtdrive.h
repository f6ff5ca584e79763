/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A virtio-blk driver outside the guest: drives a disk of a QEMU that runs under `-accel qtest`, at native speed.
 *
 * There is no guest. The guest's RAM is a memfd that QEMU and this process map, so this process owns the rings, fills
 * the avail ring, polls the used index and kicks by writing to QEMU's own host-notifier eventfds (pidfd_getfd). Only the set-up of
 * the device goes through the qtest protocol. What QEMU's I/O threads do is what they do for a real guest; what is
 * missing is the cost of exits and of interrupts, and any guest code. Label figures "backend only".
 *
 * Limits: x86 `pc` machine, legacy virtio-pci, split ring, direct descriptors (three a request), one driven disk a QEMU.
 *
 * Threads: qt_vm_*, qt_qmp*, qt_disk_* belong to one thread, the control. A queue belongs to whoever drives it: the load
 * thread between qt_load_new() and qt_load_free() unless it is held (qt_load_hold()), else the control.
 *
 * Errors: 0 or negative errno with err set (util/err.h). -EREMOTEIO: QMP answered with an error, err->text is its text.
 * -ETIMEDOUT: QEMU stopped making progress (see qt_patience); when QMP did, every later command fails so. -EPROTO: QEMU broke the virtio protocol.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "util/err.h"

#define QT_QUEUES_MAX 16
#define QT_SLOTS_MAX 340 /* requests a queue; three descriptors each */
#define QT_SECTOR 512

/* --- a QEMU ------------------------------------------------------------------------------------------------------- */

struct qt_vm;

struct qt_vm_conf {
	const char *emulator; /* NULL: qt_emulator() */
	unsigned ram_mib; /* 0: 64 */
	const char *const *args; /* further arguments, NULL-terminated; NULL: none */
};

/* VBMQ_QEMU of the environment if set and not empty, else qemu-system-x86_64. */
const char *qt_emulator(void);

/*
 * Can qt_emulator() be driven here, and does it have all these QMP commands (separated by spaces)? 1: yes; 0: it has not the
 * commands; -ENOENT: there is none, it is older than iothread-vq-mapping, or its descriptors may not be copied (a test is to be
 * skipped with err->text); other errors.
 */
int qt_probe(const char *commands, struct vbmq_err *err);

/* A running machine without devices; dies with this process. */
int qt_vm_new(const struct qt_vm_conf *conf, struct qt_vm **ret, struct vbmq_err *err);
struct qt_vm *qt_vm_free(struct qt_vm *vm); /* kills QEMU and waits for it */
pid_t qt_vm_pid(const struct qt_vm *vm);
/* CPU time that a thread of QEMU has taken, in nanoseconds. */
int qt_thread_cpu_ns(const struct qt_vm *vm, pid_t tid, uint64_t *ret, struct vbmq_err *err);
bool qt_vm_alive(struct qt_vm *vm);
/* The end of what QEMU wrote to stderr, NUL-terminated. */
void qt_vm_stderr(struct qt_vm *vm, char *buf, size_t size);
/* Guest-physical address -> this process; RAM below 1 MiB is not to be used. */
void *qt_ram(const struct qt_vm *vm, uint64_t addr);

/* Port accesses through qtest. size: 1, 2 or 4. */
int qt_out(struct qt_vm *vm, uint16_t port, unsigned size, uint32_t value, struct vbmq_err *err);
int qt_in(struct qt_vm *vm, uint16_t port, unsigned size, uint32_t *ret, struct vbmq_err *err);

/*
 * One QMP command; arguments by json_pack() format, or NULL for none. *ret (may be NULL) is a new reference to "return".
 * qt_qmpj() takes the arguments as a value and steals the reference (NULL: none).
 */
int qt_qmp(struct qt_vm *vm, json_t **ret, struct vbmq_err *err, const char *command, const char *fmt, ...);
int qt_qmpj(struct qt_vm *vm, json_t **ret, struct vbmq_err *err, const char *command, json_t *args);
/* Does QEMU know the command? By query-commands. 1, 0, or negative. */
int qt_qmp_has(struct qt_vm *vm, const char *command, struct vbmq_err *err);

/*
 * Waits for the oldest event of that name whose data has key = value (key NULL: any), and takes it out of the queue.
 * *ret (may be NULL): a new reference to its data. qt_events_drop() forgets all that came so far.
 */
int qt_event(struct qt_vm *vm, const char *name, const char *key, const char *value, json_t **ret,
	     struct vbmq_err *err);
void qt_events_drop(struct qt_vm *vm);
/* The same without waiting, of what came with answers so far: 1 or 0. */
int qt_event_came(struct qt_vm *vm, const char *name, const char *key, const char *value, json_t **ret);

/* object-add of an IOThread; its thread id by query-iothreads. */
int qt_iothread_add(struct qt_vm *vm, const char *id, struct vbmq_err *err);
int qt_iothread_tid(struct qt_vm *vm, const char *id, pid_t *ret, struct vbmq_err *err);

/*
 * Patience is not counted in seconds: a tick (a tenth of a second or more) in which threads of QEMU waited for a CPU for
 * most of the time counts an eighth, so that a busy machine is not taken for a hang.
 */
struct qt_patience {
	struct qt_vm *vm;
	/* internal, all 0 to begin with */
	unsigned weight;
	uint64_t last_ns, wait_ns;
};

#define QT_PATIENCE_TICKS 300 /* about half a minute of QEMU being able to run and not doing what is waited for */

/* Call as often as liked while waiting: 0, or -ETIMEDOUT once QT_PATIENCE_TICKS have counted, or -EPIPE: QEMU ended. */
int qt_patience(struct qt_patience *p, const char *what, struct vbmq_err *err);

/* --- a disk of it ------------------------------------------------------------------------------------------------- */

enum qt_type {
	QT_READ = 0,
	QT_WRITE = 1,
	QT_FLUSH = 4,
};

/* A request. The driver of the queue owns it from qt_slot_get() to qt_submit() and from qt_reap() to qt_slot_put(). */
struct qt_slot {
	enum qt_type type;
	uint64_t sector;
	uint32_t bytes; /* of data; 0 for QT_FLUSH */
	uint8_t *data; /* guest RAM, disk->conf.max_bytes */
	uint64_t tag, tag2; /* the caller's */
	uint64_t due_ns; /* the caller's */

	uint8_t status; /* after qt_reap(): 0 = ok */
	uint64_t seq; /* number of the request on its queue, from 0 */
	uint16_t index;
	bool busy; /* submitted, not reaped */
	uint16_t avail_at; /* its place in the avail ring (free running) */
};

struct qt_queue {
	unsigned index;
	unsigned size; /* entries, as the device says */
	unsigned n_slots; /* requests that fit */
	unsigned in_flight;
	struct qt_slot *slots;
	uint16_t *free_slots; /* FIFO: a completion that comes twice meets a slot that is free */
	unsigned free_head, n_free;

	struct qt_desc *desc; /* in guest RAM */
	struct qt_avail *avail;
	struct qt_used *used;
	uint16_t avail_idx; /* filled in */
	uint16_t published; /* avail_idx that the device may see */
	uint16_t used_idx; /* reaped up to here */
	int kick_fd;
	int pidfd, fresh; /* fresh >= 0: kick by this number in QEMU; set by qt_disk_fresh_kicks() */
	bool event_idx, interrupts;
	uint8_t *reqs; /* headers and status bytes */
	uint64_t req_addr, data_addr;
	uint32_t max_bytes;

	uint64_t n_submitted, n_completed, n_kicks;
};

struct qt_disk_conf {
	const char *id; /* of the device; NULL: "disk0" */
	const char *drive; /* node name */
	unsigned queues; /* 1..QT_QUEUES_MAX */
	unsigned queue_size; /* 0: QEMU's default */
	uint32_t max_bytes; /* of data in a request; multiple of 512; 0: 16 KiB */
	unsigned max_slots; /* requests a queue; 0: 85, which is what a queue of 256 holds */
	bool event_idx;
	bool interrupts; /* leave them on: they are never served, only counted by QEMU */
	const json_t *props; /* further properties of device_add, such as iothread-vq-mapping; borrowed, may be NULL */
};

struct qt_disk {
	struct qt_vm *vm;
	struct qt_disk_conf conf; /* strings and props as given: the caller keeps them */
	unsigned n_queues;
	uint64_t sectors; /* capacity when it was plugged */
	struct qt_queue queues[QT_QUEUES_MAX];
	bool plugged;

	int *others; /* eventfds of QEMU that are not this disk's; internal */
	size_t n_others;
	int fds[2 * QT_QUEUES_MAX + 1]; /* numbers in QEMU: guest notifiers, config, host notifiers */
	int config_fd;
};

/* device_add, features, rings, DRIVER_OK, eventfds. */
int qt_disk_new(struct qt_vm *vm, const struct qt_disk_conf *conf, struct qt_disk **ret, struct vbmq_err *err);
struct qt_disk *qt_disk_free(struct qt_disk *d); /* leaves the device in QEMU as it is */

/*
 * QEMU makes new host notifiers when it restarts ioeventfd (stop/cont, stop/start remap, reset). To be called after
 * every such command: 1 = they are new, have been fetched, and every queue was kicked once, as kicks in between went
 * nowhere; 0 = still the same. With the light remap they stay, so that a lost kick is not hidden by this.
 */
int qt_disk_renew(struct qt_disk *d, struct vbmq_err *err);
/* One read on queue 0 by the control, from submission to completion, in nanoseconds. -EIO: it ended badly. */
int qt_request(struct qt_disk *d, uint64_t *ret_ns, struct vbmq_err *err);

/*
 * While on, every kick fetches the eventfd by its number first (some microseconds): kicks arrive also while a command makes
 * new eventfds, which QEMU opens under the same numbers again. For measuring such a command. Before and after it: renew.
 */
void qt_disk_fresh_kicks(struct qt_disk *d, bool on);

/*
 * device_del and ejection with whatever is in flight, until DEVICE_DELETED. After it qt_reap() still finds what the
 * device completed. qt_disk_plug() adds it again with new rings; requests then still in flight are submitted anew.
 * qt_disk_orphans() checks before that: what is left in flight must be the last that were made available, since a
 * device takes them in order and completes all it took. 0 or -EPROTO.
 */
int qt_disk_unplug(struct qt_disk *d, struct vbmq_err *err);
int qt_disk_orphans(struct qt_disk *d, struct vbmq_err *err);
int qt_disk_plug(struct qt_disk *d, struct vbmq_err *err);

/* virtio-blk-set-iothread-vq-mapping; mapping is stolen, NULL: all queues to the main loop. */
int qt_disk_remap(struct qt_disk *d, json_t *mapping, struct vbmq_err *err);

/* A free slot or NULL; then qt_submit() it, once filled in. Nothing is seen by the device before qt_publish(). */
struct qt_slot *qt_slot_get(struct qt_queue *q);
void qt_submit(struct qt_queue *q, struct qt_slot *s);
/* Publishes what was submitted and kicks if the device wants it. true: kicked. */
bool qt_publish(struct qt_queue *q);
/* Requests the device has been given and has not completed, as the rings say; any thread may ask. */
unsigned qt_outstanding(const struct qt_queue *q);
void qt_kick(struct qt_queue *q); /* in any case; not counted */
/*
 * One completion: 1 and *ret, 0 = none there, -EPROTO: one that was never asked for, that came twice, or with a wrong
 * length. The status is the caller's to judge.
 */
int qt_reap(struct qt_queue *q, struct qt_slot **ret, struct vbmq_err *err);
void qt_slot_put(struct qt_queue *q, struct qt_slot *s);

/* Everything about the disk that helps to understand a hang: queues on both sides, threads, mapping, QEMU's stderr. */
void qt_disk_diagnose(struct qt_disk *d, FILE *to);

/* --- load --------------------------------------------------------------------------------------------------------- */

/*
 * A thread that keeps every queue at its depth and checks what comes back. The disk is divided among the queues; a block
 * (4 KiB) has at most one request at a time. With verify, a write fills every sector with the block's number, a
 * generation, queue and sequence, and a read must find the generation written last (zeroes before the first).
 */
#define QT_BLOCK 4096

struct qt_load_conf {
	unsigned depth[QT_QUEUES_MAX]; /* 0: the queue is left alone */
	uint64_t gap_ns; /* from a completion to the next request in its place */
	unsigned write_percent, flush_permille;
	unsigned max_blocks; /* of a request, 1..max_bytes / QT_BLOCK; 0: 1 */
	uint64_t blocks; /* of the disk that are used; 0: all */
	bool verify;
	bool spin; /* never give the CPU away while waiting; for measurements only */
	int cpu; /* to run on; -1: any */
	uint64_t seed;
	uint64_t trace_ns; /* record times without completions at least this long; 0: none */
};

/* Completed-to-completed times of a queue (with requests in flight all through) of at least trace_ns. */
struct qt_gap {
	uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC */
	uint64_t away_ns; /* longest time in it that the load thread itself did not look */
	unsigned queue;
};

#define QT_HISTOGRAM 1024 /* buckets of a latency histogram: sixteen to a power of two of nanoseconds */

struct qt_load_stats {
	uint64_t submitted, completed, kicks;
	uint64_t reads_verified; /* blocks of written data that were read back and found right */
	uint32_t latency[QT_HISTOGRAM];
};

struct qt_load;

int qt_load_new(struct qt_disk *d, const struct qt_load_conf *conf, struct qt_load **ret, struct vbmq_err *err);
struct qt_load *qt_load_free(struct qt_load *l); /* stops it if it runs */

void qt_load_depth(struct qt_load *l, unsigned queue, unsigned depth); /* from the next request on */
void qt_load_gap(struct qt_load *l, uint64_t gap_ns);
void qt_load_writes(struct qt_load *l, unsigned percent);
/* What a queue completed so far; cheap, callable while it runs. */
uint64_t qt_load_completed(const struct qt_load *l, unsigned queue);
unsigned qt_load_in_flight(const struct qt_load *l, unsigned queue);
/* Sums over queues since start or qt_load_reset(); held only. */
void qt_load_stats(const struct qt_load *l, unsigned queue, struct qt_load_stats *ret);
void qt_load_reset(struct qt_load *l);
/* Nanoseconds below which permille of the requests ended; upper end of the bucket. 0: no request. */
uint64_t qt_latency(const struct qt_load_stats *s, unsigned permille);

/* What went wrong in the load thread: 0, or -EPROTO, -EIO (status), -EBADMSG (data). It then stands still. */
int qt_load_failed(const struct qt_load *l, struct vbmq_err *err);

/* The thread lets go of the queues (requests stay in flight), and takes them up again. */
void qt_load_hold(struct qt_load *l);
void qt_load_go(struct qt_load *l);
/* Held only: takes and checks the completions that are there; after qt_disk_unplug(), before qt_disk_orphans(). */
int qt_load_settle(struct qt_load *l, struct vbmq_err *err);

/* Until each loaded queue has completed n more requests, or the load failed, or patience ended (-ETIMEDOUT). */
int qt_load_await(struct qt_load *l, unsigned n, struct vbmq_err *err);
/* No further requests; until all in flight are completed. Held afterwards. Then -EPROTO if any is missing. */
int qt_load_drain(struct qt_load *l, struct vbmq_err *err);
/* Reads every block that was ever written, and checks it. Drained only. */
int qt_load_verify_all(struct qt_load *l, struct vbmq_err *err);
/* The generation a block has (completed writes), and the one of the write in flight, else the same. */
void qt_load_generation(const struct qt_load *l, uint64_t block, uint32_t *ret_done, uint32_t *ret_asked);
/* Checks a block's bytes against a range of generations: 0, or -EBADMSG. */
int qt_load_check_block(const struct qt_load *l, uint64_t block, const uint8_t *data, uint32_t from, uint32_t to,
			struct vbmq_err *err);

/* Gaps since the last call, at most max, oldest first; those that found no room are lost and counted in *ret_lost. */
size_t qt_load_gaps(struct qt_load *l, struct qt_gap *gaps, size_t max, uint64_t *ret_lost);

uint64_t qt_now(void); /* CLOCK_MONOTONIC, nanoseconds */
