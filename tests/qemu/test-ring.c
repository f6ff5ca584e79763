/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The driver finds what a device does wrong: here the device is this program. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "qtload.h"
#include "qtvm.h"

#define SIZE 16
#define RAM (1u << 20)

struct fake {
	uint8_t *ram;
	struct qt_queue q;
	uint16_t taken; /* of the avail ring */
};

static void set_up_ring(struct fake *f, bool event_idx)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	memset(f, 0, sizeof(*f));
	f->ram = aligned_alloc(4096, RAM);
	assert_non_null(f->ram);
	memset(f->ram, 0, RAM);
	f->q.size = SIZE;
	f->q.desc = (struct qt_desc *)(void *)f->ram;
	f->q.avail = (struct qt_avail *)(void *)(f->ram + SIZE * 16);
	f->q.used = (struct qt_used *)(void *)(f->ram + 4096);
	f->q.event_idx = event_idx;
	f->q.fresh = -1;
	f->q.kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(qt_queue_init(&f->q, 100, 8192, 65536, 16384, f->ram, &err), 0);
	assert_int_equal(f->q.n_slots, SIZE / 3);
}

static void tear_down_ring(struct fake *f)
{
	qt_queue_fini(&f->q);
	close(f->q.kick_fd);
	free(f->ram);
}

static struct qt_slot *ask(struct fake *f, enum qt_type type, uint32_t bytes)
{
	struct qt_slot *s = qt_slot_get(&f->q);

	assert_non_null(s);
	s->type = type;
	s->sector = 8;
	s->bytes = bytes;
	qt_submit(&f->q, s);
	return s;
}

static uint16_t take(struct fake *f)
{
	assert_true((uint16_t)(f->q.avail->idx - f->taken) > 0);
	return f->q.avail->ring[f->taken++ % SIZE];
}

/* The device completes what descriptor chain id asked for. */
static void complete(struct fake *f, uint32_t id, uint32_t len, int status)
{
	if (status >= 0) {
		struct qt_desc *d = &f->q.desc[id];

		while (d->flags & 1)
			d = &f->q.desc[d->next];
		f->ram[d->addr] = (uint8_t)status;
	}
	f->q.used->ring[f->q.used->idx % SIZE] = (struct qt_used_elem){ .id = id, .len = len };
	__atomic_store_n(&f->q.used->idx, (uint16_t)(f->q.used->idx + 1), __ATOMIC_RELEASE);
}

static uint64_t kicks(struct fake *f)
{
	uint64_t n;

	return read(f->q.kick_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void expect_wrong(struct fake *f, const char *word)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct qt_slot *s;

	assert_int_equal(qt_reap(&f->q, &s, &err), -EPROTO);
	assert_non_null(strstr(err.text, word));
}

static void good_device(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct qt_slot *a, *b, *s;
	struct fake f;

	set_up_ring(&f, false);
	for (unsigned turn = 0; turn < 70000; turn++) { /* the indices wrap */
		uint16_t first, second;

		a = ask(&f, QT_READ, 512);
		b = ask(&f, QT_FLUSH, 0);
		assert_true(qt_publish(&f.q));
		assert_int_equal(qt_outstanding(&f.q), 2);
		first = take(&f);
		second = take(&f);
		assert_int_equal(qt_reap(&f.q, &s, &err), 0);
		complete(&f, second, 1, 0); /* out of order */
		complete(&f, first, 513, 3);
		assert_int_equal(qt_outstanding(&f.q), 0);
		assert_int_equal(qt_reap(&f.q, &s, &err), 1);
		assert_ptr_equal(s, b);
		assert_int_equal(s->status, 0);
		qt_slot_put(&f.q, s);
		assert_int_equal(qt_reap(&f.q, &s, &err), 1);
		assert_ptr_equal(s, a);
		assert_int_equal(s->status, 3);
		qt_slot_put(&f.q, s);
	}
	assert_int_equal(f.q.n_completed, 140000);
	tear_down_ring(&f);
}

static void doubled_completion(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct qt_slot *s;
	struct fake f;
	uint16_t id;

	set_up_ring(&f, false);
	ask(&f, QT_READ, 512);
	ask(&f, QT_READ, 512);
	qt_publish(&f.q);
	id = take(&f);
	complete(&f, id, 513, 0);
	assert_int_equal(qt_reap(&f.q, &s, &err), 1);
	qt_slot_put(&f.q, s);
	complete(&f, id, 513, 0);
	expect_wrong(&f, "doubled");
	tear_down_ring(&f);
}

/* It comes when the slot is in use again: only the status byte can tell. */
static void late_doubled_completion(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct qt_slot *s, *first;
	struct fake f;
	uint16_t id;

	set_up_ring(&f, false);
	first = ask(&f, QT_READ, 512);
	qt_publish(&f.q);
	id = take(&f);
	complete(&f, id, 513, 0);
	assert_int_equal(qt_reap(&f.q, &s, &err), 1);
	qt_slot_put(&f.q, s);
	do
		s = ask(&f, QT_READ, 512);
	while (s != first);
	qt_publish(&f.q);
	complete(&f, id, 513, -1);
	expect_wrong(&f, "without a status");
	tear_down_ring(&f);
}

static void made_up_completions(void **state)
{
	struct fake f;
	uint16_t id;

	set_up_ring(&f, false);
	ask(&f, QT_READ, 512);
	qt_publish(&f.q);
	id = take(&f);
	complete(&f, id + 1u, 513, -1);
	expect_wrong(&f, "heads no request");
	tear_down_ring(&f);

	set_up_ring(&f, false);
	ask(&f, QT_READ, 512);
	qt_publish(&f.q);
	f.q.used->idx = 2;
	expect_wrong(&f, "in flight");
	f.q.used->idx = 0xffff;
	expect_wrong(&f, "in flight");
	tear_down_ring(&f);

	set_up_ring(&f, false);
	ask(&f, QT_READ, 512);
	qt_publish(&f.q);
	complete(&f, take(&f), 512, 0);
	expect_wrong(&f, "length");
	tear_down_ring(&f);
}

static void kicks_only_when_wanted(void **state)
{
	uint16_t *event;
	struct fake f;

	set_up_ring(&f, false);
	assert_false(qt_publish(&f.q)); /* nothing new */
	ask(&f, QT_FLUSH, 0);
	assert_true(qt_publish(&f.q));
	assert_int_equal(kicks(&f), 1);
	f.q.used->flags = 1; /* NO_NOTIFY */
	ask(&f, QT_FLUSH, 0);
	assert_false(qt_publish(&f.q));
	assert_int_equal(kicks(&f), 0);
	assert_int_equal(f.q.n_kicks, 1);
	tear_down_ring(&f);

	set_up_ring(&f, true);
	f.q.used->flags = 1; /* means nothing with EVENT_IDX */
	ask(&f, QT_FLUSH, 0);
	ask(&f, QT_FLUSH, 0);
	assert_true(qt_publish(&f.q)); /* 0 -> 2 passes event 0 */
	ask(&f, QT_FLUSH, 0);
	assert_false(qt_publish(&f.q)); /* 2 -> 3 does not */
	event = (uint16_t *)(void *)&f.q.used->ring[SIZE];
	__atomic_store_n(event, 3, __ATOMIC_SEQ_CST);
	ask(&f, QT_FLUSH, 0);
	assert_true(qt_publish(&f.q));
	assert_int_equal(f.q.n_kicks, 2);
	assert_int_equal(kicks(&f), 2);
	tear_down_ring(&f);
}

static void again_in_order(void **state)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct qt_slot *a, *b, *c, *s;
	struct fake f;

	set_up_ring(&f, false);
	a = ask(&f, QT_READ, 512);
	b = ask(&f, QT_READ, 512);
	c = ask(&f, QT_READ, 512);
	qt_publish(&f.q);
	take(&f);
	complete(&f, take(&f), 513, 0);
	assert_int_equal(qt_reap(&f.q, &s, &err), 1);
	assert_ptr_equal(s, b);
	qt_slot_put(&f.q, s);
	qt_queue_again(&f.q);
	f.taken = 0;
	qt_publish(&f.q);
	assert_int_equal(take(&f), 3 * a->index);
	assert_int_equal(take(&f), 3 * c->index);
	assert_int_equal(f.q.avail->idx, 2);
	tear_down_ring(&f);
}

/* --- data --------------------------------------------------------------------------------------------------------- */

struct fake_load {
	struct fake f;
	struct qt_load l;
	struct qt_slot *s;
};

static struct qt_load_queue *set_up_load(struct fake_load *x)
{
	struct qt_load_queue *lq = &x->l.queues[0];

	memset(&x->l, 0, sizeof(x->l));
	set_up_ring(&x->f, false);
	x->l.conf.verify = true;
	x->l.n_queues = 1;
	lq->q = &x->f.q;
	lq->n_blocks = 64;
	lq->busy = calloc(64, 1);
	lq->done = calloc(64, sizeof(*lq->done));
	lq->asked = calloc(64, sizeof(*lq->asked));
	x->s = qt_slot_get(&x->f.q);
	x->s->sector = 16;
	x->s->bytes = 2 * QT_BLOCK;
	return lq;
}

static void tear_down_load(struct fake_load *x)
{
	free(x->l.queues[0].busy);
	free(x->l.queues[0].done);
	free(x->l.queues[0].asked);
	tear_down_ring(&x->f);
}

static int read_back(struct fake_load *x, const uint8_t *data)
{
	struct vbmq_err err = VBMQ_ERR_INIT;

	x->s->type = QT_READ;
	memcpy(x->s->data, data, 2 * QT_BLOCK);
	return qt_end_request(&x->l, &x->l.queues[0], x->s, &err);
}

static void data_prove_themselves(void **state)
{
	static struct fake_load x;
	static uint8_t old[2 * QT_BLOCK], new[2 * QT_BLOCK], bad[2 * QT_BLOCK], zero[2 * QT_BLOCK];
	struct qt_load_queue *lq = set_up_load(&x);
	struct vbmq_err err = VBMQ_ERR_INIT;

	assert_int_equal(read_back(&x, zero), 0);
	for (int i = 0; i < 2; i++) {
		x.s->type = QT_WRITE;
		qt_fill_request(&x.l, lq, x.s);
		memcpy(i ? new : old, x.s->data, sizeof(old));
		assert_int_equal(qt_end_request(&x.l, lq, x.s, &err), 0);
	}
	assert_int_equal(lq->done[2], 2);
	assert_int_equal(lq->done[3], 2);
	assert_int_equal(read_back(&x, new), 0);
	assert_int_equal(read_back(&x, zero), -EBADMSG); /* a lost write */
	assert_int_equal(read_back(&x, old), -EBADMSG); /* a stale read */

	memcpy(bad, new, sizeof(bad));
	memcpy(bad + QT_BLOCK, new, QT_BLOCK); /* another place's data */
	assert_int_equal(read_back(&x, bad), -EBADMSG);
	memcpy(bad, new, sizeof(bad));
	memcpy(bad + 512, old + 512, 512); /* a torn block */
	assert_int_equal(read_back(&x, bad), -EBADMSG);
	assert_int_equal(qt_load_check_block(&x.l, 2, bad, 1, 2, &err), -EBADMSG);
	for (size_t at = 0; at < sizeof(bad); at += 7) { /* any bit */
		memcpy(bad, new, sizeof(bad));
		bad[at] ^= 0x10;
		assert_int_equal(read_back(&x, bad), -EBADMSG);
	}
	assert_int_equal(qt_load_check_block(&x.l, 2, old, 1, 2, &err), 0);
	assert_int_equal(qt_load_check_block(&x.l, 2, new, 1, 2, &err), 0);
	assert_int_equal(qt_load_check_block(&x.l, 2, zero, 1, 2, &err), -EBADMSG);
	tear_down_load(&x);
}

static void histogram(void **state)
{
	static struct qt_load_stats s;

	assert_int_equal(qt_latency(&s, 500), 0);
	s.latency[5] = 99; /* 5 ns */
	s.latency[16] = 1; /* 16 ns */
	assert_int_equal(qt_latency(&s, 500), 6);
	assert_int_equal(qt_latency(&s, 990), 6);
	assert_int_equal(qt_latency(&s, 991), 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_device),
		cmocka_unit_test(doubled_completion),
		cmocka_unit_test(late_doubled_completion),
		cmocka_unit_test(made_up_completions),
		cmocka_unit_test(kicks_only_when_wanted),
		cmocka_unit_test(again_in_order),
		cmocka_unit_test(data_prove_themselves),
		cmocka_unit_test(histogram),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
