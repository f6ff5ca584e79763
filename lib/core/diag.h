/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Diagnostics: trouble and remarks about wishes, as data that travels in the plan. */

#include <stddef.h>

enum vbmq_severity {
	VBMQ_INFO,
	VBMQ_WARNING,
	VBMQ_ERROR
}; /* error: a wish is not fulfilled (plan "infeasible", exit 4) */

/* The codes are a stable interface: the comments below tell their meaning. */
struct vbmq_diag {
	const char *code; /* static, from the table in diag.c */
	enum vbmq_severity severity;
	char *subject; /* "db1", "db1/iothread1", "db1/vda", "host"; owned */
	char *text; /* one or two sentences: what, why, what to do; owned */
};

struct vbmq_diags {
	struct vbmq_diag *items;
	size_t n;
};

/* Every code there is. */
#define VBMQ_DIAG_NOT_MANAGED "not-managed" /* info: no metadata or enabled='no': only held off dedicated cores */
#define VBMQ_DIAG_FEWER_IOTHREADS "fewer-iothreads" /* warning (auto) or error (count said): cores ran short */
#define VBMQ_DIAG_SHARED_CORE "iothreads-share-core" /* error: the domain's I/O threads share one dedicated core */
#define VBMQ_DIAG_SHARED_SET "iothreads-on-shared-set" /* error: no core left, they run on the shared set */
#define VBMQ_DIAG_VCPUS_SHARED "vcpus-on-shared-set" /* error: dedicated vCPUs wished, no cores left */
#define VBMQ_DIAG_NEEDS_RESTART \
	"needs-restart" /* warning: queues on the main loop; configure + restart would spread them */
#define VBMQ_DIAG_NO_MAPPING "no-queue-mapping" /* warning: QEMU/libvirt too old to map queues to several threads */
#define VBMQ_DIAG_UNUSED_IOTHREAD "iothread-unused" /* info: serves no queue, gets no core of its own */
#define VBMQ_DIAG_FOREIGN_PIN "foreign-pin" /* info: pinned by its owner; those cores are taken, never touched */
#define VBMQ_DIAG_PIN_CONFLICT "pin-conflict" /* warning: owner pins of two domains meet on a core; not ours to mend */
#define VBMQ_DIAG_REMOTE_NODE "remote-node" /* warning: an I/O thread on another node than device or memory */
#define VBMQ_DIAG_REMOTE_L3 "remote-l3" /* info: completion vCPUs are outside its L3 domain */
#define VBMQ_DIAG_DRIFT "drift" /* warning: someone changed an affinity or queue map that we had set */
#define VBMQ_DIAG_UNRESPONSIVE "unresponsive" /* warning: monitor does not answer; left as it is */
#define VBMQ_DIAG_UNKNOWN_DISK "unknown-disk" /* warning: metadata names a disk the domain does not have */
#define VBMQ_DIAG_POLL_DEGRADED "poll-adaptive" /* info: no core of its own, so no dedicated polling */
#define VBMQ_DIAG_POLL_OFF "poll-off" /* info: serves a disk whose backend does not let a thread poll */
#define VBMQ_DIAG_NO_IOEVENTFD "no-ioeventfd" /* warning: ioeventfd='off', so no I/O thread can serve the disk */
#define VBMQ_DIAG_NO_DISKS "no-disks" /* info: managed, but no virtio disk to serve */
#define VBMQ_DIAG_BAD_METADATA "bad-metadata" /* error: metadata refused; the domain is treated as not managed */
#define VBMQ_DIAG_SLICES "slices-not-limited" /* warning: the host's own work cannot be kept off dedicated cores */
#define VBMQ_DIAG_NOVA "nova-dedicated" /* info: CPUs that Nova has for its pinned guests are taken */
#define VBMQ_DIAG_INTERRUPTS "interrupts-elsewhere" /* info: a disk's interrupt comes on another core and stays there */
#define VBMQ_DIAG_IRQBALANCE "irqbalance-foreign" /* warning: its ban list is not ours and leaves dedicated cores out */

/* code must be one of the above; subject and text are copied. 0 or -ENOMEM. */
int vbmq_diag_add(struct vbmq_diags *d, const char *code, enum vbmq_severity severity, const char *subject,
		  const char *text_fmt, ...) __attribute__((format(printf, 5, 6)));
void vbmq_diags_done(struct vbmq_diags *d);
const char *vbmq_diag_code(const char *code); /* the static string for a code read from a document, or NULL */

extern const char *const vbmq_severity_words[]; /* info warning error */
