/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What guests do: a writer only. What is not known is left out, so that nobody takes it for a zero. */

#include "codec/json_stats.h"

#include "codec/json_write.h"

struct stats_writer {
	struct vbmq_json_writer w;
	const struct vbmq_host *host;
};

/* Counters may be anything; those that do not fit into the documents' numbers stop at their end. */
static void put_count(struct vbmq_json_writer *w, json_t *o, const char *key, uint64_t value)
{
	vbmq_json_put_u64(w, o, key, value > INT64_MAX ? INT64_MAX : value);
}

static void put_place(struct stats_writer *s, json_t *o, const struct vbmq_stats_thread *t)
{
	if (!vbmq_cpuset_is_empty(&t->affinity))
		vbmq_json_put_cpus(&s->w, o, "affinity", &t->affinity);
	if (!t->runs)
		return;
	vbmq_json_put_int(&s->w, o, "cpu", t->cpu);
	if (s->host && t->cpu < VBMQ_CPUS_MAX && s->host->core_of[t->cpu] != VBMQ_NO_CORE)
		vbmq_json_put_int(&s->w, o, "core", s->host->core_of[t->cpu]);
}

static json_t *thread_new(struct stats_writer *s, const struct vbmq_stats_pair *pair, const struct vbmq_stats_thread *t,
			  uint64_t between)
{
	const struct vbmq_stats_thread *before = vbmq_stats_thread(pair->before, t->id, t->tid);
	struct vbmq_thread_rates r = vbmq_thread_rates(before, t, between);
	json_t *o = vbmq_json_new_object(&s->w);

	vbmq_json_put_int(&s->w, o, "iothread", t->id);
	vbmq_json_put_int(&s->w, o, "tid", t->tid);
	put_place(s, o, t);
	if (t->polling.max_ns != UINT64_MAX)
		vbmq_json_put_polling(&s->w, o, "polling", &t->polling);
	if (r.runs) {
		vbmq_json_put_int(&s->w, o, "on_cpu", r.run);
		vbmq_json_put_int(&s->w, o, "waiting", r.wait);
	}
	if (r.counts) {
		vbmq_json_put_int(&s->w, o, "busy", r.busy);
		vbmq_json_put_int(&s->w, o, "polling_time", r.poll);
		vbmq_json_put_int(&s->w, o, "blocked", r.blocked);
		vbmq_json_put_int(&s->w, o, "poll_success", r.poll_success);
	}
	return o;
}

static json_t *queue_new(struct stats_writer *s, const struct vbmq_stats_pair *pair, const struct vbmq_stats_disk *disk,
			 size_t index, uint64_t between)
{
	const struct vbmq_stats_queue *q = &disk->queues[index];
	struct vbmq_queue_rates r = vbmq_queue_rates(vbmq_stats_queue(pair->before, disk->target, index), q, between);
	json_t *o = vbmq_json_new_object(&s->w);

	vbmq_json_put_int(&s->w, o, "index", (int64_t)index);
	vbmq_json_put_int(&s->w, o, "iothread", q->iothread);
	if (!vbmq_cpuset_is_empty(&q->vcpus)) {
		vbmq_json_put_cpus(&s->w, o, "vcpus", &q->vcpus);
		vbmq_json_put_bool(&s->w, o, "exact", q->vcpus_exact);
	}
	if (q->counts) {
		vbmq_json_put_int(&s->w, o, "in_flight", q->in_flight);
		vbmq_json_put_int(&s->w, o, "parked", q->parked);
	}
	if (r.counts) {
		put_count(&s->w, o, "requests", r.requests);
		put_count(&s->w, o, "requests_per_second", r.per_second);
		put_count(&s->w, o, "kicks_per_1000", r.kicks);
		put_count(&s->w, o, "interrupts_per_1000", r.interrupts);
		put_count(&s->w, o, "poll_hits_per_1000", r.poll_hits);
	}
	return o;
}

static json_t *domain_new(struct stats_writer *s, const struct vbmq_stats_pair *pair)
{
	const struct vbmq_stats *now = pair->after;
	uint64_t between =
		pair->before && now->time_ns > pair->before->time_ns ? now->time_ns - pair->before->time_ns : 0;
	json_t *o = vbmq_json_new_object(&s->w), *threads = vbmq_json_new_array(&s->w),
	       *disks = vbmq_json_new_array(&s->w);

	vbmq_json_put_text(&s->w, o, "name", now->name);
	vbmq_json_put_text(&s->w, o, "uuid", now->uuid);
	vbmq_json_put_bool(&s->w, o, "counters", now->counts);
	if (between)
		put_count(&s->w, o, "interval_ns", between);
	for (size_t i = 0; i < now->n_threads; i++)
		vbmq_json_append(&s->w, threads, thread_new(s, pair, &now->threads[i], between));
	vbmq_json_put(&s->w, o, "threads", threads);
	for (size_t i = 0; i < now->n_disks; i++) {
		json_t *disk = vbmq_json_new_object(&s->w), *queues = vbmq_json_new_array(&s->w);

		vbmq_json_put_text(&s->w, disk, "target", now->disks[i].target);
		vbmq_json_put_bool(&s->w, disk, "started", now->disks[i].started);
		for (size_t q = 0; q < now->disks[i].n_queues; q++)
			vbmq_json_append(&s->w, queues, queue_new(s, pair, &now->disks[i], q, between));
		vbmq_json_put(&s->w, disk, "queues", queues);
		vbmq_json_append(&s->w, disks, disk);
	}
	vbmq_json_put(&s->w, o, "disks", disks);
	return o;
}

int vbmq_stats_format(const struct vbmq_stats_pair *pairs, size_t n, const struct vbmq_host *host, bool pretty,
		      char **ret, struct vbmq_err *err)
{
	struct stats_writer s = { .w = { .err = err }, .host = host };
	json_t *root = vbmq_json_new_object(&s.w), *domains = vbmq_json_new_array(&s.w);

	vbmq_json_put_text(&s.w, root, "schema", VBMQ_STATS_SCHEMA);
	for (size_t i = 0; i < n && s.w.code == 0; i++)
		vbmq_json_append(&s.w, domains, domain_new(&s, &pairs[i]));
	vbmq_json_put(&s.w, root, "domains", domains);
	return vbmq_json_print(&s.w, root, pretty ? VBMQ_JSON_PRETTY : VBMQ_JSON_COMPACT, 0, ret);
}
