/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is wanted. Three layers, later wins: host policy (vbmqd.conf, --policy FILE) < domain metadata < command line.
 * A domain's layer is a struct vbmq_wish in which every value can be "not said"; vbmq_policy_merge() gives the effective
 * one, in which nothing is. CPU numbers appear in the host policy only: metadata travels with the guest.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/cpuset.h"

struct vbmq_err;

#define VBMQ_DISKS_MAX 256u /* disks of one domain that are looked at */
#define VBMQ_IOTHREADS_MAX 256u /* I/O threads of one domain */
#define VBMQ_QUEUES_MAX 1024u /* VIRTIO_QUEUE_MAX of QEMU */
#define VBMQ_TARGET_MAX 32u /* length of a disk target name such as "vda" */
#define VBMQ_PRIORITY_MIN (-1000)
#define VBMQ_PRIORITY_MAX 1000

enum vbmq_tristate { VBMQ_UNSAID = -1, VBMQ_NO = 0, VBMQ_YES = 1 };

enum vbmq_exclusive { /* what an I/O thread wants for itself */
		      VBMQ_EXCLUSIVE_UNSAID = -1,
		      VBMQ_EXCLUSIVE_NONE, /* runs on the shared set */
		      VBMQ_EXCLUSIVE_CPU, /* one CPU; its SMT siblings may be in the shared set */
		      VBMQ_EXCLUSIVE_CORE, /* a whole core; the siblings stay idle */
};

enum vbmq_poll {
	VBMQ_POLL_UNSAID = -1,
	VBMQ_POLL_OFF, /* poll-max-ns 0 */
	VBMQ_POLL_ADAPTIVE, /* QEMU's defaults */
	VBMQ_POLL_DEDICATED, /* spins; only ever on a core of its own. On stock QEMU: the safe long polling of policy.poll_* */
};

enum vbmq_vcpus {
	VBMQ_VCPUS_UNSAID = -1,
	VBMQ_VCPUS_FOLLOW, /* keep the pins they have; unpinned ones float on the shared set */
	VBMQ_VCPUS_DEDICATED, /* a core each */
};

#define VBMQ_COUNT_UNSAID (-1)
#define VBMQ_COUNT_AUTO 0 /* elsewhere 1..VBMQ_IOTHREADS_MAX (I/O threads) or 1..VBMQ_QUEUES_MAX (queues) */

struct vbmq_disk_wish {
	char target[VBMQ_TARGET_MAX + 1];
	int32_t iothreads; /* how many of the domain's I/O threads serve this disk */
	int32_t queues; /* used by configure; a running disk keeps its queues */
};

/* One layer (metadata or command line), or the merged result. */
struct vbmq_wish {
	bool present; /* the domain carries vbmq metadata at all */
	enum vbmq_tristate enabled;
	bool has_priority;
	int32_t priority; /* higher is served first */
	int32_t iothreads; /* count */
	enum vbmq_exclusive exclusive;
	enum vbmq_poll poll;
	enum vbmq_vcpus vcpus;
	struct vbmq_disk_wish *disks; /* sorted by target, owned */
	size_t n_disks;
};

#define VBMQ_WISH_INIT                                           \
	((struct vbmq_wish){ .enabled = VBMQ_UNSAID,             \
			     .iothreads = VBMQ_COUNT_UNSAID,     \
			     .exclusive = VBMQ_EXCLUSIVE_UNSAID, \
			     .poll = VBMQ_POLL_UNSAID,           \
			     .vcpus = VBMQ_VCPUS_UNSAID })

void vbmq_wish_done(struct vbmq_wish *w); /* frees what it owns, back to INIT */
int vbmq_wish_copy(const struct vbmq_wish *from, struct vbmq_wish *ret); /* 0 or -ENOMEM */
struct vbmq_disk_wish *vbmq_wish_disk(struct vbmq_wish *w, const char *target,
				      bool create); /* NULL: none / no memory */
const struct vbmq_disk_wish *vbmq_wish_find_disk(const struct vbmq_wish *w, const char *target);

/*
 * In units of locality: VBMQ_COST_FIXED (64) is one completion vCPU that stays inside one L3 domain and comes one step nearer, to the
 * same node or to the same L3 domain; one that wanders counts 16 at most. So the default is half such a step: what the shared set's
 * coming and going does to the mean distance of floating vCPUs moves nobody, a dedicated vCPU's neighbourhood does. NUMA distance and
 * cores for those who would have none are levels above locality: for them threads move whatever this says.
 */
#define VBMQ_MOVE_GAIN_DEFAULT 32u
#define VBMQ_MOVE_GAIN_MAX 1000000u

/* How many floating vCPUs `auto` of shared-min-cores lets come to a CPU of the shared set. */
#define VBMQ_VCPUS_PER_CPU 4u

/* Somebody re-pinned a thread that we had placed, or changed a queue map that we had set. */
enum vbmq_drift { VBMQ_DRIFT_REPAIR, VBMQ_DRIFT_RESPECT };

/* The host's layer and the rules that hold for all domains. Keys of vbmqd.conf [policy] have these names with '-'. */
struct vbmq_policy {
	bool manage_by_default; /* domains without metadata: managed (true) or only held off dedicated cores */
	bool hold_others; /* floating threads of unmanaged domains are held to the shared set; default true */
	struct vbmq_wish defaults; /* what a managed domain gets where it says nothing; every field said */
	uint32_t auto_max; /* I/O threads per domain for "auto" without measured load; 1..64, default 4 */
	/* At least so many cores stay shared. 0: of those that owners' places leave one eighth, and more where many vCPUs float: a CPU for
	 * VBMQ_VCPUS_PER_CPU of them, but for their sake no more than half; one at least. */
	uint32_t shared_min_cores;
	struct vbmq_cpuset reserved; /* never dedicated (housekeeping) */
	struct vbmq_cpuset dedicated; /* only these may be dedicated; empty = any */
	enum vbmq_drift drift; /* default repair */
	uint32_t
		move_gain; /* a thread on a core of its own moves only if locality (core/cost.h) falls by more than this for each
			     * thread moved; 0: whenever it is better; default VBMQ_MOVE_GAIN_DEFAULT */
	uint64_t poll_max_ns; /* long polling for stock QEMU: field values 500000..1000000; default 1000000 */
	uint32_t poll_grow; /* default 1000 */
	uint32_t poll_shrink; /* default 1 */
	bool limit_slices; /* [host] slices: keep the host's own services off dedicated cores; default true */
	bool keep_off_nova; /* [host] nova: its cpu_dedicated_set is taken; default true */
	bool ban_irqs; /* [host] irqbalance: have it keep interrupts off dedicated cores; default true */
	bool move_irqs; /* [host] interrupts: those of disks go with the I/O threads that submit; default true */
	struct vbmq_wish override; /* command line layer, applied to every domain after its metadata */
};

void vbmq_policy_init(struct vbmq_policy *p); /* built-in defaults; cannot fail */
void vbmq_policy_done(struct vbmq_policy *p);
int vbmq_policy_copy(const struct vbmq_policy *from, struct vbmq_policy *ret);

/* Effective wish of one domain: defaults < metadata < override; then nothing in *ret is "unsaid". 0 or -ENOMEM. */
int vbmq_policy_merge(const struct vbmq_policy *p, const struct vbmq_wish *metadata, struct vbmq_wish *ret);

/* Names as written in XML, JSON and configuration; NULL-terminated lists for vbmq_parse_word(). */
extern const char *const vbmq_exclusive_words[]; /* none cpu core */
extern const char *const vbmq_poll_words[]; /* off adaptive dedicated */
extern const char *const vbmq_vcpus_words[]; /* follow dedicated */
extern const char *const vbmq_drift_words[]; /* repair respect */
