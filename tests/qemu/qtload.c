/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The load thread. One thread for all queues: with a thread a queue it would be the drivers that compete for CPUs, and not
 * QEMU's I/O threads. It never blocks: it reaps, refills, publishes, and, unless it is to spin, gives the CPU away when a
 * turn brought nothing.
 *
 * States: runs; held (asked by qt_load_hold(), acknowledged at the end of a turn); draining (reaps only); failed (stands
 * still, err is set). The control looks at completed counters, which are all it shares with the thread without a hold.
 */

#include "qtload.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void nap(long ns)
{
	nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

static unsigned bucket(uint64_t ns)
{
	unsigned top = 63u - (unsigned)__builtin_clzll(ns | 16);

	return ns < 16 ? (unsigned)ns : (top - 3) * 16 + (unsigned)(ns >> (top - 4) & 15);
}

static uint64_t bucket_end(unsigned i)
{
	return i < 16 ? i + 1 : (uint64_t)(17 + i % 16) << (i / 16 - 1);
}

uint64_t qt_latency(const struct qt_load_stats *s, unsigned permille)
{
	uint64_t all = 0, sum = 0;

	for (unsigned i = 0; i < QT_HISTOGRAM; i++)
		all += s->latency[i];
	for (unsigned i = 0; i < QT_HISTOGRAM; i++) {
		sum += s->latency[i];
		if (sum && sum * 1000 >= all * permille)
			return bucket_end(i);
	}
	return 0;
}

/* --- one queue ---------------------------------------------------------------------------------------------------- */

static void trace_gap(struct qt_load *l, struct qt_load_queue *lq, uint64_t now)
{
	size_t in = atomic_load_explicit(&l->gaps_in, memory_order_relaxed);

	if (in - atomic_load_explicit(&l->gaps_out, memory_order_acquire) >= QT_GAPS_MAX) {
		atomic_fetch_add_explicit(&l->gaps_lost, 1, memory_order_relaxed);
		return;
	}
	l->gaps[in % QT_GAPS_MAX] = (struct qt_gap){
		.begin_ns = lq->last_ns, .end_ns = now, .away_ns = lq->away_ns, .queue = lq->q->index
	};
	atomic_store_explicit(&l->gaps_in, in + 1, memory_order_release);
}

static int finish(struct qt_load *l, struct qt_load_queue *lq, struct qt_slot *s, uint64_t now)
{
	uint64_t gap = atomic_load_explicit(&l->gap_ns, memory_order_relaxed), took = now - s->tag2;
	int r;

	if (s->status)
		return vbmq_err_set(&l->err, -EIO, "queue %u: request %llu (type %d, sector %llu) ended with status %u",
				    lq->q->index, (unsigned long long)s->seq, (int)s->type,
				    (unsigned long long)s->sector, s->status);
	r = qt_end_request(l, lq, s, &l->err);
	if (r < 0)
		return r;
	qt_slot_put(lq->q, s);
	if (l->conf.trace_ns && now - lq->last_ns >= l->conf.trace_ns)
		trace_gap(l, lq, now);
	lq->last_ns = now;
	lq->away_ns = 0;
	lq->stats.latency[bucket(took)]++;
	lq->stats.completed++;
	if (gap && lq->n_due < QT_SLOTS_MAX)
		lq->due[(lq->due_head + lq->n_due++) % QT_SLOTS_MAX] = now + gap;
	return 0;
}

static int reap_all(struct qt_load *l, struct qt_load_queue *lq, uint64_t now)
{
	struct qt_slot *s;
	int n = 0, r;

	while ((r = qt_reap(lq->q, &s, &l->err)) > 0) {
		r = finish(l, lq, s, now);
		if (r < 0)
			return r;
		n++;
	}
	if (n) {
		atomic_store_explicit(&lq->completed, lq->stats.completed, memory_order_release);
		atomic_store_explicit(&lq->in_flight, lq->q->in_flight, memory_order_relaxed);
	}
	return r < 0 ? r : n;
}

/* May one more request go now? */
static bool admitted(struct qt_load_queue *lq, unsigned depth, uint64_t now)
{
	if (lq->q->in_flight >= depth)
		return false;
	if (lq->q->in_flight + lq->n_due < depth)
		return true;
	if (lq->due[lq->due_head] > now)
		return false;
	lq->due_head = (lq->due_head + 1) % QT_SLOTS_MAX;
	lq->n_due--;
	return true;
}

static bool submit_one(struct qt_load *l, struct qt_load_queue *lq, uint64_t now)
{
	unsigned dice = (unsigned)(qt_random(&lq->rng) % 1000), n = 0;
	struct qt_slot *s = qt_slot_get(lq->q);
	uint64_t block = 0;

	if (!s)
		return false;
	if (dice < l->conf.flush_permille) {
		s->type = QT_FLUSH;
		s->bytes = 0;
	} else if (qt_pick_blocks(lq, l->conf.max_blocks, &block, &n)) {
		s->type = qt_random(&lq->rng) % 100 < atomic_load_explicit(&l->write_percent, memory_order_relaxed)
				  ? QT_WRITE
				  : QT_READ;
		s->bytes = n * QT_BLOCK;
	} else {
		qt_slot_put(lq->q, s);
		return false;
	}
	s->sector = block * (QT_BLOCK / QT_SECTOR);
	s->tag2 = now;
	if (n)
		qt_fill_request(l, lq, s);
	if (!lq->q->in_flight) {
		lq->last_ns = now;
		lq->away_ns = 0;
	}
	qt_submit(lq->q, s);
	return true;
}

static int serve(struct qt_load *l, struct qt_load_queue *lq, uint64_t now, uint64_t turn)
{
	unsigned depth = atomic_load_explicit(&lq->depth, memory_order_relaxed);
	int n;

	if (turn > lq->away_ns)
		lq->away_ns = turn;
	n = reap_all(l, lq, now);
	if (n < 0)
		return n;
	if (!atomic_load_explicit(&l->draining, memory_order_relaxed))
		while (admitted(lq, depth, now) && submit_one(l, lq, now))
			n++;
	atomic_store_explicit(&lq->in_flight, lq->q->in_flight, memory_order_relaxed);
	qt_publish(lq->q);
	return n;
}

/* --- thread ------------------------------------------------------------------------------------------------------- */

static void wait_held(struct qt_load *l)
{
	pthread_mutex_lock(&l->lock);
	l->held = true;
	pthread_cond_broadcast(&l->changed);
	while (atomic_load(&l->want_hold) && !atomic_load(&l->stop))
		pthread_cond_wait(&l->changed, &l->lock);
	l->held = false;
	pthread_mutex_unlock(&l->lock);
}

static void rest(struct qt_load *l, unsigned *idle)
{
	if (l->conf.spin || ++*idle % 256)
		__builtin_ia32_pause();
	else
		nap(20000); /* not a yield, which on a busy machine costs a time slice */
}

static void *load_main(void *arg)
{
	struct qt_load *l = arg;
	unsigned idle = 0;
	uint64_t last = qt_now();

	if (l->conf.cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((unsigned)l->conf.cpu, &set);
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	}
	while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
		uint64_t now;
		bool moved = false;

		if (atomic_load_explicit(&l->want_hold, memory_order_acquire) ||
		    atomic_load_explicit(&l->failed, memory_order_relaxed)) {
			if (atomic_load(&l->failed))
				atomic_store(&l->want_hold, true);
			wait_held(l);
			last = qt_now();
			continue;
		}
		now = qt_now();
		for (unsigned i = 0; i < l->n_queues; i++) {
			int n = serve(l, &l->queues[i], now, now - last);

			if (n < 0) {
				atomic_store_explicit(&l->failed, n, memory_order_release);
				break;
			}
			moved |= n > 0;
		}
		last = now;
		if (moved)
			idle = 0;
		else
			rest(l, &idle);
	}
	return NULL;
}

/* --- control ------------------------------------------------------------------------------------------------------ */

static int divide_disk(struct qt_load *l, struct vbmq_err *err)
{
	uint64_t all = l->d->sectors / (QT_BLOCK / QT_SECTOR), part;

	if (l->conf.blocks && l->conf.blocks < all)
		all = l->conf.blocks;
	part = all / l->n_queues;
	if (part < 4 * QT_SLOTS_MAX)
		return vbmq_err_set(err, -ENOSPC, "a disk of %llu blocks is too small for %u queues",
				    (unsigned long long)all, l->n_queues);
	for (unsigned i = 0; i < l->n_queues; i++) {
		struct qt_load_queue *lq = &l->queues[i];

		lq->first = i * part;
		lq->n_blocks = part;
		lq->busy = calloc(part, 1);
		lq->done = l->conf.verify ? calloc(part, sizeof(*lq->done)) : NULL;
		lq->asked = l->conf.verify ? calloc(part, sizeof(*lq->asked)) : NULL;
		if (!lq->busy || (l->conf.verify && (!lq->done || !lq->asked)))
			return vbmq_err_oom(err);
	}
	return 0;
}

int qt_load_new(struct qt_disk *d, const struct qt_load_conf *conf, struct qt_load **ret, struct vbmq_err *err)
{
	struct qt_load *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return vbmq_err_oom(err);
	l->d = d;
	l->conf = *conf;
	l->n_queues = d->n_queues;
	if (!l->conf.max_blocks)
		l->conf.max_blocks = 1;
	if (l->conf.max_blocks > d->conf.max_bytes / QT_BLOCK)
		l->conf.max_blocks = d->conf.max_bytes / QT_BLOCK;
	atomic_init(&l->gap_ns, conf->gap_ns);
	atomic_init(&l->write_percent, conf->write_percent);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	for (unsigned i = 0; i < l->n_queues; i++) {
		l->queues[i].q = &d->queues[i];
		l->queues[i].rng = (conf->seed + i + 1) * 0x9e3779b97f4a7c15u;
		l->queues[i].base_submitted = d->queues[i].n_submitted;
		l->queues[i].base_kicks = d->queues[i].n_kicks;
		atomic_init(&l->queues[i].depth, conf->depth[i]);
	}
	r = divide_disk(l, err);
	if (r >= 0) {
		r = -pthread_create(&l->thread, NULL, load_main, l);
		l->started = !r;
		if (r < 0)
			vbmq_err_set(err, r, "a thread: %s", strerror(-r));
	}
	if (r < 0) {
		qt_load_free(l);
		return r;
	}
	*ret = l;
	return 0;
}

struct qt_load *qt_load_free(struct qt_load *l)
{
	if (!l)
		return NULL;
	if (l->started) {
		pthread_mutex_lock(&l->lock);
		atomic_store(&l->stop, true);
		pthread_cond_broadcast(&l->changed);
		pthread_mutex_unlock(&l->lock);
		pthread_join(l->thread, NULL);
	}
	for (unsigned i = 0; i < QT_QUEUES_MAX; i++) {
		free(l->queues[i].busy);
		free(l->queues[i].done);
		free(l->queues[i].asked);
	}
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
	return NULL;
}

void qt_load_depth(struct qt_load *l, unsigned queue, unsigned depth)
{
	atomic_store(&l->queues[queue].depth, depth);
}

void qt_load_gap(struct qt_load *l, uint64_t gap_ns)
{
	atomic_store(&l->gap_ns, gap_ns);
}

void qt_load_writes(struct qt_load *l, unsigned percent)
{
	atomic_store(&l->write_percent, percent);
}

uint64_t qt_load_completed(const struct qt_load *l, unsigned queue)
{
	return atomic_load_explicit(&l->queues[queue].completed, memory_order_acquire);
}

unsigned qt_load_in_flight(const struct qt_load *l, unsigned queue)
{
	return atomic_load_explicit(&l->queues[queue].in_flight, memory_order_relaxed);
}

void qt_load_stats(const struct qt_load *l, unsigned queue, struct qt_load_stats *ret)
{
	const struct qt_load_queue *lq = &l->queues[queue];

	*ret = lq->stats;
	ret->submitted = lq->q->n_submitted - lq->base_submitted;
	ret->kicks = lq->q->n_kicks - lq->base_kicks;
}

void qt_load_reset(struct qt_load *l)
{
	for (unsigned i = 0; i < l->n_queues; i++) {
		struct qt_load_queue *lq = &l->queues[i];

		memset(&lq->stats, 0, sizeof(lq->stats));
		lq->base_submitted = lq->q->n_submitted;
		lq->base_kicks = lq->q->n_kicks;
		atomic_store(&lq->completed, 0);
	}
}

int qt_load_failed(const struct qt_load *l, struct vbmq_err *err)
{
	int r = atomic_load_explicit(&l->failed, memory_order_acquire);

	if (r < 0 && err)
		*err = l->err;
	return r;
}

void qt_load_hold(struct qt_load *l)
{
	pthread_mutex_lock(&l->lock);
	atomic_store(&l->want_hold, true);
	while (!l->held)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

void qt_load_go(struct qt_load *l)
{
	pthread_mutex_lock(&l->lock);
	atomic_store(&l->draining, false);
	atomic_store(&l->want_hold, false);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

int qt_load_settle(struct qt_load *l, struct vbmq_err *err)
{
	int r = qt_load_failed(l, err);

	for (unsigned i = 0; r >= 0 && i < l->n_queues; i++) {
		r = reap_all(l, &l->queues[i], qt_now());
		if (r < 0)
			*err = l->err;
	}
	return r < 0 ? r : 0;
}

int qt_load_await(struct qt_load *l, unsigned n, struct vbmq_err *err)
{
	for (unsigned i = 0; i < l->n_queues; i++) {
		struct qt_patience patience = { .vm = l->d->vm };
		uint64_t begin = qt_load_completed(l, i), seen = begin, now;
		char what[80];

		snprintf(what, sizeof(what), "a completion on queue %u", i);
		while (atomic_load(&l->queues[i].depth) && (now = qt_load_completed(l, i)) - begin < n) {
			int r = qt_load_failed(l, err);

			if (r < 0)
				return r;
			if (now != seen)
				patience = (struct qt_patience){ .vm = l->d->vm };
			seen = now;
			r = qt_patience(&patience, what, err);
			if (r < 0)
				return r;
			nap(50000);
		}
	}
	return qt_load_failed(l, err);
}

int qt_load_drain(struct qt_load *l, struct vbmq_err *err)
{
	struct qt_patience patience = { .vm = l->d->vm };
	struct qt_slot *s;
	unsigned seen = 0;

	atomic_store(&l->draining, true);
	for (;;) {
		unsigned left = 0;
		int r = qt_load_failed(l, err);

		if (r < 0)
			return r;
		qt_load_hold(l);
		for (unsigned i = 0; i < l->n_queues; i++)
			left += l->queues[i].q->in_flight;
		if (!left)
			break;
		pthread_mutex_lock(&l->lock);
		atomic_store(&l->want_hold, false);
		pthread_cond_broadcast(&l->changed);
		pthread_mutex_unlock(&l->lock);
		if (left != seen)
			patience = (struct qt_patience){ .vm = l->d->vm };
		seen = left;
		r = qt_patience(&patience, "the rest of the completions", err);
		if (r < 0)
			return r;
		nap(200000);
	}
	for (unsigned i = 0; i < l->n_queues; i++) {
		int r = qt_reap(l->queues[i].q, &s, err); /* nothing is in flight: whatever is there is one too many */

		if (r < 0)
			return r;
	}
	return 0;
}

size_t qt_load_gaps(struct qt_load *l, struct qt_gap *gaps, size_t max, uint64_t *ret_lost)
{
	size_t in = atomic_load_explicit(&l->gaps_in, memory_order_acquire), out = atomic_load(&l->gaps_out), n = 0;

	for (; out != in && n < max; out++)
		gaps[n++] = l->gaps[out % QT_GAPS_MAX];
	atomic_store_explicit(&l->gaps_out, out, memory_order_release);
	if (ret_lost)
		*ret_lost = atomic_exchange(&l->gaps_lost, 0);
	return n;
}
