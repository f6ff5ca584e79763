/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The driver's side of a split virtqueue.
 *
 * Slot i has descriptors 3i..3i+2 (header, data, status), 64 bytes of guest RAM for header and status, and a data buffer.
 * A slot that ends goes to the tail of the free list, so with more slots than requests a second completion of the same
 * request meets a free slot and is seen at once; if it meets one in use, the status byte, poisoned at submission, or the
 * data tell. Used elements are checked against what was asked for before anything of them is believed.
 */

#include "qtvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define QT_DESC_NEXT 1
#define QT_DESC_WRITE 2
#define QT_AVAIL_NO_INTERRUPT 1
#define QT_USED_NO_NOTIFY 1
#define QT_REQ_SIZE 64
#define QT_STATUS_AT 16
#define QT_POISON 0xfe

struct qt_req {
	uint32_t type;
	uint32_t ioprio;
	uint64_t sector;
};

static uint8_t *req_of(const struct qt_queue *q, const struct qt_slot *s)
{
	return q->reqs + (size_t)s->index * QT_REQ_SIZE;
}

static uint16_t *used_event(const struct qt_queue *q)
{
	return &q->avail->ring[q->size];
}

static const uint16_t *avail_event(const struct qt_queue *q)
{
	return (const uint16_t *)&q->used->ring[q->size];
}

/* Half a turn ahead of what was seen: no interrupt is due, ever. */
static void defer_interrupts(struct qt_queue *q)
{
	if (q->interrupts)
		__atomic_store_n(used_event(q), q->used_idx, __ATOMIC_RELAXED);
	else
		__atomic_store_n(used_event(q), (uint16_t)(q->used_idx + 0x8000), __ATOMIC_RELAXED);
}

static void empty_rings(struct qt_queue *q)
{
	memset(q->avail, 0, sizeof(*q->avail) + (q->size + 1) * sizeof(uint16_t));
	memset(q->used, 0, sizeof(*q->used) + q->size * sizeof(struct qt_used_elem) + sizeof(uint16_t));
	q->avail_idx = q->published = q->used_idx = 0;
	q->avail->flags = q->interrupts ? 0 : QT_AVAIL_NO_INTERRUPT;
	defer_interrupts(q);
}

int qt_queue_init(struct qt_queue *q, unsigned n_slots, uint64_t req_addr, uint64_t data_addr, uint32_t max_bytes,
		  uint8_t *ram, struct vbmq_err *err)
{
	q->n_slots = n_slots < q->size / 3 ? n_slots : q->size / 3;
	q->slots = calloc(q->n_slots, sizeof(*q->slots));
	q->free_slots = calloc(q->n_slots, sizeof(*q->free_slots));
	if (!q->slots || !q->free_slots)
		return vbmq_err_oom(err);
	q->reqs = ram + req_addr;
	q->req_addr = req_addr;
	q->data_addr = data_addr;
	q->max_bytes = max_bytes;
	for (unsigned i = 0; i < q->n_slots; i++) {
		q->slots[i].index = (uint16_t)i;
		q->slots[i].data = ram + data_addr + (uint64_t)i * max_bytes;
		q->free_slots[i] = (uint16_t)i;
	}
	q->free_head = 0;
	q->n_free = q->n_slots;
	empty_rings(q);
	return 0;
}

void qt_queue_fini(struct qt_queue *q)
{
	free(q->slots);
	free(q->free_slots);
	q->slots = NULL;
	q->free_slots = NULL;
}

struct qt_slot *qt_slot_get(struct qt_queue *q)
{
	struct qt_slot *s;

	if (!q->n_free)
		return NULL;
	s = &q->slots[q->free_slots[q->free_head]];
	q->free_head = (q->free_head + 1) % q->n_slots;
	q->n_free--;
	return s;
}

void qt_slot_put(struct qt_queue *q, struct qt_slot *s)
{
	q->free_slots[(q->free_head + q->n_free++) % q->n_slots] = s->index;
}

static struct qt_desc *put_desc(struct qt_queue *q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	q->desc[i] = (struct qt_desc){ .addr = addr, .len = len, .flags = flags, .next = (uint16_t)(i + 1) };
	return &q->desc[i];
}

static void make_available(struct qt_queue *q, struct qt_slot *s)
{
	uint64_t addr = q->req_addr + (uint64_t)s->index * QT_REQ_SIZE;
	struct qt_req req = { .type = s->type, .sector = s->type == QT_FLUSH ? 0 : s->sector };
	unsigned head = 3u * s->index;

	memcpy(req_of(q, s), &req, sizeof(req));
	req_of(q, s)[QT_STATUS_AT] = QT_POISON;
	put_desc(q, head, addr, sizeof(req), QT_DESC_NEXT);
	if (s->bytes)
		put_desc(q, head + 1, q->data_addr + (uint64_t)s->index * q->max_bytes, s->bytes,
			 QT_DESC_NEXT | (s->type == QT_READ ? QT_DESC_WRITE : 0));
	else
		q->desc[head].next = (uint16_t)(head + 2);
	put_desc(q, head + 2, addr + QT_STATUS_AT, 1, QT_DESC_WRITE);
	s->avail_at = q->avail_idx;
	q->avail->ring[q->avail_idx % q->size] = (uint16_t)head;
	q->avail_idx++;
}

void qt_submit(struct qt_queue *q, struct qt_slot *s)
{
	s->seq = q->n_submitted++;
	s->busy = true;
	q->in_flight++;
	make_available(q, s);
}

/* Writes to QEMU's descriptor of that number, if it is an eventfd, as kick_fd is one. */
static void kick_fresh(const struct qt_queue *q, int number)
{
	static const uint64_t one = 1;
	int fd = (int)syscall(SYS_pidfd_getfd, q->pidfd, number, 0);
	struct stat now, known;

	if (fd < 0)
		return; /* not there at this moment: the device starts with a kick of its own */
	if (!fstat(fd, &now) && !fstat(q->kick_fd, &known) && now.st_dev == known.st_dev &&
	    now.st_ino == known.st_ino && write(fd, &one, sizeof(one)) < 0)
		(void)0; /* EAGAIN as in qt_kick(), EINVAL: another anonymous file */
	close(fd);
}

void qt_kick(struct qt_queue *q)
{
	static const uint64_t one = 1;
	int fresh = __atomic_load_n(&q->fresh, __ATOMIC_RELAXED);

	if (fresh >= 0)
		kick_fresh(q, fresh);
	else if (write(q->kick_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: the counter is full, so a kick is pending */
}

bool qt_publish(struct qt_queue *q)
{
	uint16_t old = q->published, new = q->avail_idx;
	bool wanted;

	if (old == new)
		return false;
	__atomic_store_n(&q->avail->idx, new, __ATOMIC_RELEASE);
	q->published = new;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->event_idx) {
		uint16_t event = __atomic_load_n(avail_event(q), __ATOMIC_RELAXED);

		wanted = (uint16_t)(new - event - 1) < (uint16_t)(new - old);
	} else {
		wanted = !(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) & QT_USED_NO_NOTIFY);
	}
	if (!wanted)
		return false;
	q->n_kicks++;
	qt_kick(q);
	return true;
}

int qt_reap(struct qt_queue *q, struct qt_slot **ret, struct vbmq_err *err)
{
	uint16_t idx = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
	uint16_t ready = (uint16_t)(idx - q->used_idx);
	struct qt_used_elem e;
	struct qt_slot *s;

	if (!ready)
		return 0;
	if (ready > q->in_flight)
		return vbmq_err_set(
			err, -EPROTO,
			"queue %u: the used index says %u completions, but %u are in flight (used %u, seen %u)",
			q->index, ready, q->in_flight, idx, q->used_idx);
	e = q->used->ring[q->used_idx % q->size];
	if (e.id % 3 || e.id / 3 >= q->n_slots)
		return vbmq_err_set(err, -EPROTO, "queue %u: completion of descriptor %u, which heads no request",
				    q->index, e.id);
	s = &q->slots[e.id / 3];
	if (!s->busy)
		return vbmq_err_set(err, -EPROTO,
				    "queue %u: doubled completion of request %llu (slot %u), used index %u", q->index,
				    (unsigned long long)s->seq, s->index, q->used_idx);
	s->status = *(volatile uint8_t *)(req_of(q, s) + QT_STATUS_AT);
	if (s->status == QT_POISON)
		return vbmq_err_set(
			err, -EPROTO,
			"queue %u: request %llu (slot %u) completed without a status: not this one, or twice", q->index,
			(unsigned long long)s->seq, s->index);
	if (e.len != (s->type == QT_READ ? s->bytes : 0) + 1)
		return vbmq_err_set(err, -EPROTO, "queue %u: request %llu of %u bytes completed with length %u",
				    q->index, (unsigned long long)s->seq, s->bytes, e.len);
	s->busy = false;
	q->in_flight--;
	q->used_idx++;
	q->n_completed++;
	if (q->event_idx)
		defer_interrupts(q);
	*ret = s;
	return 1;
}

unsigned qt_outstanding(const struct qt_queue *q)
{
	uint16_t used = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);

	return (uint16_t)(__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) - used);
}

static int by_avail(const void *a, const void *b)
{
	const struct qt_slot *x = *(struct qt_slot *const *)a, *y = *(struct qt_slot *const *)b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

void qt_queue_again(struct qt_queue *q)
{
	struct qt_slot *left[QT_SLOTS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < q->n_slots; i++)
		if (q->slots[i].busy)
			left[n++] = &q->slots[i];
	qsort(left, n, sizeof(left[0]), by_avail);
	empty_rings(q);
	for (unsigned i = 0; i < n; i++)
		make_available(q, left[i]);
}
