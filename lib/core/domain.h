/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A guest as it is: what libvirt's XML, /proc and QMP tell about one domain. Plain data, filled by codec and capture. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/caps.h"
#include "core/irq.h"
#include "core/policy.h"
#include "util/cpuset.h"

#define VBMQ_NAME_MAX 255u /* bytes of a domain name */
#define VBMQ_VCPUS_MAX 4096u
#define VBMQ_NODE_UNKNOWN (-1)

enum vbmq_domain_state {
	VBMQ_DOMAIN_SHUTOFF, /* described, not running: planned as it would be after its next start */
	VBMQ_DOMAIN_RUNNING,
	VBMQ_DOMAIN_PAUSED, /* planned and applied like a running one */
};

enum vbmq_thread_kind {
	VBMQ_THREAD_VCPU, /* id: vCPU number as libvirt counts them */
	VBMQ_THREAD_IOTHREAD, /* id: libvirt's I/O thread id; "iothread<ID>" in QEMU */
	VBMQ_THREAD_EMULATOR, /* id 0: the main thread and every other thread of the process that is neither of the above */
};

struct vbmq_polling {
	uint64_t max_ns;
	uint32_t grow;
	uint32_t shrink;
	enum vbmq_poll mode; /* VBMQ_POLL_UNSAID where the backend has no poll-mode */
};

struct vbmq_thread {
	enum vbmq_thread_kind kind;
	uint32_t id;
	uint32_t tid; /* 0: not running */
	uint64_t start; /* field 22 of /proc/PID/task/TID/stat: tells a reused tid */
	struct vbmq_cpuset
		affinity; /* what the kernel says now; for the emulator the union over its threads; empty: not running */
	bool has_pin; /* the owner pinned it in <cputune> (vcpupin, iothreadpin, emulatorpin) */
	struct vbmq_cpuset pin;
	bool held; /* we set its affinity before, and the undo record knows what was before: then pin and
	                               * has_pin tell what the owner had, not what we wrote */
	struct vbmq_cpuset applied; /* what we set last; with held. affinity != applied is drift */
	bool own; /* with held: applied is a place of its own, nobody else may be there */
	bool added; /* I/O thread that we added at run time */
	struct vbmq_polling polling; /* I/O threads; max_ns UINT64_MAX: not known */
	bool polling_held; /* we set its polling before, and the undo record knows what was before: */
	struct vbmq_polling found_polling;
};

/* A thread of the emulator whose affinity is not the union the emulator's entry shows (QEMU's own workers, vhost, a main
 * thread that somebody pinned alone). Filled by live captures only, not part of the snapshot document: just restore needs it. */
struct vbmq_odd_task {
	uint32_t tid;
	uint64_t start;
	struct vbmq_cpuset affinity;
};

struct vbmq_queue {
	uint32_t iothread; /* id, 0: the main loop */
	uint32_t applied; /* what we mapped it to last; with the disk's held */
	bool vcpus_exact; /* read from the backend; otherwise estimated from the counts */
	struct vbmq_cpuset vcpus; /* completion vCPUs, by vCPU number; empty: not known */
};

struct vbmq_disk {
	char target[VBMQ_TARGET_MAX + 1];
	char *alias; /* QEMU device id, e.g. "virtio-disk0"; NULL: not known */
	char *source; /* file or device as written in the XML; NULL: network or none */
	int32_t node; /* Linux number of the node its device hangs on; VBMQ_NODE_UNKNOWN */
	char (*devices)[VBMQ_DEVICE_MAX + 1]; /* controllers (NVMe, virtio) below it: struct vbmq_irq; owned */
	size_t n_devices;
	struct vbmq_queue *queues; /* at least one */
	size_t n_queues;
	bool mapped; /* the XML says which I/O threads serve it (iothread= or <iothreads>): respected */
	bool no_ioeventfd; /* ioeventfd='off': no I/O thread can serve it */
	bool no_poll; /* its backend (nbd, iscsi, ...) waits for descriptors: QEMU does not poll in a thread that serves it */
	bool aio_threads; /* requests go through QEMU's thread pool, which wanders, not through Linux AIO or io_uring */
	bool started; /* ioeventfd running, as far as known; only then a queue is served by its thread */
	bool held; /* we mapped its queues before: their "applied" tell to what */
};

struct vbmq_domain {
	char *name;
	char uuid[37];
	int32_t id; /* libvirt id of the running instance; -1 */
	uint32_t pid; /* of QEMU; 0: not running */
	enum vbmq_domain_state state;
	uint8_t in_part; /* 0, or 1 + the part of the host (enum vbmq_part_id) in whose cgroup QEMU runs */
	bool responsive; /* its monitor answered within the time limit; always true offline */
	uint32_t n_vcpus; /* online now (current), at most VBMQ_VCPUS_MAX */
	bool has_cpuset; /* <vcpu cpuset=> (or what numad advised): a leash for threads without a pin */
	struct vbmq_cpuset cpuset;
	struct vbmq_cpuset memory_nodes; /* Linux node numbers where its memory lies or must lie; empty: not known */
	struct vbmq_wish wish; /* its metadata */
	char *metadata_error; /* why its metadata was refused; then wish is empty and it is not managed. NULL: none */
	struct vbmq_caps caps;
	struct vbmq_thread *threads; /* sorted by kind, id */
	size_t n_threads;
	struct vbmq_odd_task *odd_tasks; /* sorted by tid, owned; may be NULL */
	size_t n_odd_tasks;
	struct vbmq_disk *disks; /* virtio-blk disks, sorted by target */
	size_t n_disks;
	struct vbmq_cpuset
		busy_iothreads; /* ids that serve something else (virtio-scsi controller, ...): never "unused" */
};

struct vbmq_domain *vbmq_domain_new(void);
struct vbmq_domain *vbmq_domain_free(struct vbmq_domain *d);
int vbmq_domain_copy(const struct vbmq_domain *d, struct vbmq_domain **ret);
const struct vbmq_thread *vbmq_domain_thread(const struct vbmq_domain *d, enum vbmq_thread_kind kind, uint32_t id);
struct vbmq_disk *vbmq_domain_disk(const struct vbmq_domain *d, const char *target);

/* Replaces its devices by a copy. 0 or -ENOMEM. */
int vbmq_disk_set_devices(struct vbmq_disk *disk, const char (*devices)[VBMQ_DEVICE_MAX + 1], size_t n);

/*
 * Whether somebody else changed the map that we had set. All queues on the main loop is how QEMU starts a disk, and what is
 * left of a map after whatever resets it (a new process, a disk plugged in anew): that is no drift, but work to be done again.
 */
bool vbmq_disk_drifted(const struct vbmq_disk *disk);

/*
 * Which vCPUs a queue completes on when the backend does not tell: Linux gives every queue one MSI-X vector and spreads
 * the vCPUs over the queues in order (drivers/virtio/virtio_pci_common.c asks for managed affinity; kernel
 * group_cpus_evenly()). queues >= vcpus: queue i -> vCPU i, the rest none.
 */
void vbmq_disk_estimate_vcpus(struct vbmq_disk *disk, uint32_t n_vcpus);

extern const char *const vbmq_domain_state_words[]; /* shutoff running paused */
extern const char *const vbmq_thread_kind_words[]; /* vcpu iothread emulator */
