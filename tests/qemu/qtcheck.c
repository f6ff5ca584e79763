/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Data that prove themselves. Every sector of a write carries a mark, its place on the disk, the block's generation, the
 * queue and the number of the request, and a filling computed from these; so a lost write, a stale read, data of another
 * place, torn or mixed sectors are all told from right ones. Generation 0 is a block never written: all zero.
 */

#include "qtload.h"

#include <errno.h>
#include <string.h>

#define QT_MARK 0x56424d71u
#define QT_WORDS (QT_SECTOR / 8)
#define QT_BLOCK_SECTORS (QT_BLOCK / QT_SECTOR)

uint64_t qt_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

bool qt_pick_blocks(struct qt_load_queue *lq, unsigned max_blocks, uint64_t *ret_block, unsigned *ret_n)
{
	for (unsigned attempt = 0; attempt < 16; attempt++) {
		unsigned n = max_blocks > 1 ? 1 + (unsigned)(qt_random(&lq->rng) % max_blocks) : 1;
		uint64_t at = qt_random(&lq->rng) % (lq->n_blocks - n + 1);

		if (memchr(lq->busy + at, 1, n))
			continue;
		memset(lq->busy + at, 1, n);
		*ret_block = lq->first + at;
		*ret_n = n;
		return true;
	}
	return false;
}

static void fill_sector(uint64_t *w, uint64_t place, uint32_t generation, uint64_t queue, uint64_t seq)
{
	/* Odd factors: any change of any of them changes the filling. */
	uint64_t x = place * 0x9e3779b97f4a7c15u + generation * 0xbf58476d1ce4e5b9u + seq * 0x94d049bb133111ebu + queue;

	w[0] = QT_MARK | (uint64_t)generation << 32;
	w[1] = place;
	w[2] = queue;
	w[3] = seq;
	for (unsigned i = 4; i < QT_WORDS; i++)
		w[i] = x += 0xd1342543de82ef95u;
}

void qt_fill_request(struct qt_load *l, struct qt_load_queue *lq, struct qt_slot *s)
{
	uint64_t block = s->sector / QT_BLOCK_SECTORS;

	if (!l->conf.verify)
		return;
	if (s->type == QT_READ) {
		memset(s->data, 0x5a, s->bytes);
		return;
	}
	for (uint32_t i = 0; i < s->bytes / QT_SECTOR; i++) {
		uint64_t at = block - lq->first + i / QT_BLOCK_SECTORS;

		if (i % QT_BLOCK_SECTORS == 0)
			lq->asked[at] = lq->done[at] + 1;
		/* The number the request will get: qt_submit() counts the same way. */
		fill_sector((uint64_t *)(void *)(s->data + (size_t)i * QT_SECTOR), s->sector + i, lq->asked[at],
			    lq->q->index, lq->q->n_submitted);
	}
}

static int check_sector(const uint64_t *w, uint64_t place, uint32_t from, uint32_t to, struct vbmq_err *err)
{
	uint64_t want[QT_WORDS];
	uint32_t generation = (uint32_t)(w[0] >> 32);
	bool written = (uint32_t)w[0] == QT_MARK;

	if (!written) {
		for (unsigned i = 0; i < QT_WORDS; i++)
			if (w[i])
				return vbmq_err_set(
					err, -EBADMSG,
					"sector %llu: word %u is %#llx: neither zero nor what was ever written",
					(unsigned long long)place, i, (unsigned long long)w[i]);
		generation = 0;
	}
	if (generation < from || generation > to)
		return vbmq_err_set(err, -EBADMSG, "sector %llu: generation %u, but %u to %u were expected",
				    (unsigned long long)place, generation, from, to);
	if (!written)
		return 0;
	fill_sector(want, place, generation, w[2], w[3]);
	for (unsigned i = 0; i < QT_WORDS; i++)
		if (w[i] != want[i])
			return vbmq_err_set(err, -EBADMSG,
					    "sector %llu (says it is %llu, generation %u, queue %llu, request %llu): "
					    "word %u is %#llx, not %#llx",
					    (unsigned long long)place, (unsigned long long)w[1], generation,
					    (unsigned long long)w[2], (unsigned long long)w[3], i,
					    (unsigned long long)w[i], (unsigned long long)want[i]);
	return 0;
}

int qt_load_check_block(const struct qt_load *l, uint64_t block, const uint8_t *data, uint32_t from, uint32_t to,
			struct vbmq_err *err)
{
	uint32_t first = 0;

	for (unsigned i = 0; i < QT_BLOCK_SECTORS; i++) {
		const uint64_t *w = (const uint64_t *)(const void *)(data + (size_t)i * QT_SECTOR);
		uint32_t generation = (uint32_t)w[0] == QT_MARK ? (uint32_t)(w[0] >> 32) : 0;
		int r = check_sector(w, block * QT_BLOCK_SECTORS + i, from, to, err);

		if (r < 0)
			return r;
		if (!i)
			first = generation;
		if (generation != first)
			return vbmq_err_set(err, -EBADMSG, "block %llu is torn: generations %u and %u",
					    (unsigned long long)block, first, generation);
	}
	return 0;
}

int qt_end_request(struct qt_load *l, struct qt_load_queue *lq, struct qt_slot *s, struct vbmq_err *err)
{
	uint64_t at = s->sector / QT_BLOCK_SECTORS - lq->first;
	unsigned n = s->bytes / QT_BLOCK;
	int r;

	if (s->type == QT_FLUSH)
		return 0;
	memset(lq->busy + at, 0, n);
	for (unsigned i = 0; l->conf.verify && i < n; i++, at++) {
		if (s->type == QT_WRITE) {
			lq->done[at] = lq->asked[at];
			continue;
		}
		r = qt_load_check_block(l, lq->first + at, s->data + (size_t)i * QT_BLOCK, lq->done[at], lq->done[at],
					err);
		if (r < 0)
			return vbmq_err_prefix(err, "queue %u, read %llu: ", lq->q->index, (unsigned long long)s->seq);
		lq->stats.reads_verified += lq->done[at] != 0;
	}
	return 0;
}

static const struct qt_load_queue *owner(const struct qt_load *l, uint64_t block)
{
	for (unsigned i = 0; i < l->n_queues; i++)
		if (block >= l->queues[i].first && block - l->queues[i].first < l->queues[i].n_blocks)
			return &l->queues[i];
	return NULL;
}

void qt_load_generation(const struct qt_load *l, uint64_t block, uint32_t *ret_done, uint32_t *ret_asked)
{
	const struct qt_load_queue *lq = l->conf.verify ? owner(l, block) : NULL;

	*ret_done = lq ? lq->done[block - lq->first] : 0;
	*ret_asked = lq ? lq->asked[block - lq->first] : 0;
}

/* --- reading back ------------------------------------------------------------------------------------------------- */

static void ask_block(struct qt_load_queue *lq, uint64_t at)
{
	struct qt_slot *s = qt_slot_get(lq->q);

	s->type = QT_READ;
	s->sector = (lq->first + at) * QT_BLOCK_SECTORS;
	s->bytes = QT_BLOCK;
	memset(s->data, 0x5a, QT_BLOCK);
	qt_submit(lq->q, s);
}

static int verify_queue(struct qt_load *l, struct qt_load_queue *lq, struct vbmq_err *err)
{
	struct qt_patience patience = { .vm = l->d->vm };
	uint64_t at = 0;

	while (at < lq->n_blocks || lq->q->in_flight) {
		struct qt_slot *s;
		int r;

		for (; at < lq->n_blocks && lq->q->in_flight < 32 && lq->q->n_free; at++)
			if (lq->done[at])
				ask_block(lq, at);
		qt_publish(lq->q);
		r = qt_reap(lq->q, &s, err);
		if (r == 0)
			r = qt_patience(&patience, "a read for verification", err);
		else if (r > 0) {
			patience = (struct qt_patience){ .vm = l->d->vm };
			r = s->status ? vbmq_err_set(err, -EIO, "queue %u: read of sector %llu: status %u",
						     lq->q->index, (unsigned long long)s->sector, s->status)
				      : qt_end_request(l, lq, s, err);
			qt_slot_put(lq->q, s);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int qt_load_verify_all(struct qt_load *l, struct vbmq_err *err)
{
	for (unsigned i = 0; l->conf.verify && i < l->n_queues; i++) {
		int r = verify_queue(l, &l->queues[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}
