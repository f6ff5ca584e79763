/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * "explain": for every thread one English sentence and the numbers behind it. The objective is lexicographic, so what the
 * next best place would have cost more is told by the first component in which the two differ; later ones never mattered.
 */

#include <errno.h>
#include <stdlib.h>

#include "codec/json_parts.h"
#include "codec/json_plan.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

static const char *const component_words[] = { "numa", "locality", "moves", "fragment" };
static const char *const component_texts[] = { "NUMA distance", "distance to the completion vCPUs", "moved threads",
					       "fragmentation" };
#define N_COMPONENTS VBMQ_ELEMENTSOF(component_words)

static void components(const struct vbmq_cost *c, uint64_t ret[N_COMPONENTS])
{
	ret[0] = c->numa;
	ret[1] = c->locality;
	ret[2] = c->moves;
	ret[3] = c->fragment;
}

/* First component in which they differ, or -1. */
static int difference(const struct vbmq_cost *a, const struct vbmq_cost *b, int64_t *ret_more)
{
	uint64_t x[N_COMPONENTS], y[N_COMPONENTS];

	components(a, x);
	components(b, y);
	for (size_t i = 0; i < N_COMPONENTS; i++) {
		uint64_t by = y[i] > x[i] ? y[i] - x[i] : x[i] - y[i];

		if (by == 0)
			continue;
		if (by > INT64_MAX)
			by = INT64_MAX;
		*ret_more = y[i] > x[i] ? (int64_t)by : -(int64_t)by;
		return (int)i;
	}
	return -1;
}

static void add_cpus(struct vbmq_strbuf *b, const struct vbmq_cpuset *cpus)
{
	_cleanup_free_ char *text = vbmq_cpulist_format(cpus);

	if (text)
		vbmq_strbuf_printf(b, "%s %s", vbmq_cpuset_count(cpus) == 1 ? "CPU" : "CPUs", text);
	else
		b->failed = true;
}

static void add_distance(struct vbmq_strbuf *b, uint32_t distance, const char *of)
{
	if (distance == 0)
		vbmq_strbuf_printf(b, "the node of %s is not known", of);
	else if (distance <= VBMQ_DISTANCE_LOCAL)
		vbmq_strbuf_printf(b, "on the node of %s", of);
	else
		vbmq_strbuf_printf(b, "at NUMA distance %u (local: %u) from %s", distance, VBMQ_DISTANCE_LOCAL, of);
}

static void add_next(struct vbmq_strbuf *b, const struct vbmq_why *why)
{
	int64_t more = 0;
	int i = difference(&why->cost, &why->next_cost, &more);
	struct vbmq_cpuset next = vbmq_cpuset_of(why->next_cpu);

	vbmq_strbuf_add(b, "; the next best place, ");
	add_cpus(b, &next);
	if (i < 0)
		vbmq_strbuf_add(b, ", would have cost the same");
	else
		vbmq_strbuf_printf(b, ", would have cost %lld %s in %s", (long long)(more < 0 ? -more : more),
				   more < 0 ? "less by itself, but more for others," : "more", component_texts[i]);
}

static void add_chosen(struct vbmq_strbuf *b, const struct vbmq_place_thread *t)
{
	static const char *const nearness[] = {
		[VBMQ_NEAR_CORE] = "on the core of",
		[VBMQ_NEAR_L3] = "in the L3 domain of",
		[VBMQ_NEAR_NODE] = "on the node of, but not in the L3 domain of,",
		[VBMQ_NEAR_REMOTE] = "on another node than",
	};
	const struct vbmq_why *why = t->why;

	add_cpus(b, t->cpus);
	vbmq_strbuf_add(b, t->exclusive ? " for itself alone: " : ", shared with others: ");
	if (t->kind == VBMQ_THREAD_IOTHREAD) {
		add_distance(b, why->from_device, "its device");
		vbmq_strbuf_add(b, ", ");
	}
	add_distance(b, why->from_memory, "the guest's memory");
	if (t->kind == VBMQ_THREAD_IOTHREAD)
		vbmq_strbuf_printf(b, ", %s its completion vCPUs", nearness[why->nearness]);
	if (why->has_next)
		add_next(b, why);
	else
		vbmq_strbuf_add(b, "; there was no other place");
	vbmq_strbuf_add(b, ".");
}

static char *reason(const struct vbmq_placement *p, const struct vbmq_place_thread *t)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	char *text;

	if (t->why) {
		add_chosen(&b, t);
	} else if (t->to_remove) {
		vbmq_strbuf_add(&b, "VBMq added it, it serves no queue any more, and it will be removed.");
	} else if (!t->planned) {
		vbmq_strbuf_add(&b, "Left where it is: its owner pinned it, or its domain is not to be touched.");
	} else if (vbmq_cpuset_equal(t->cpus, &p->shared)) {
		vbmq_strbuf_add(&b, "Floats on the whole shared set, off all dedicated cores.");
	} else {
		vbmq_strbuf_add(&b, "Floats on ");
		add_cpus(&b, t->cpus);
		vbmq_strbuf_add(&b, ": what its pin or its domain's cpuset leaves of the shared set.");
	}
	text = vbmq_strbuf_steal(&b);
	if (!text)
		vbmq_strbuf_done(&b);
	return text;
}

static json_t *cost_new(struct vbmq_json_writer *w, const struct vbmq_cost *cost)
{
	json_t *o = vbmq_json_new_object(w);
	uint64_t c[N_COMPONENTS];

	components(cost, c);
	for (size_t i = 0; i < N_COMPONENTS; i++)
		vbmq_json_put_u64(w, o, component_words[i], c[i] > INT64_MAX ? INT64_MAX : c[i]);
	return o;
}

static json_t *next_new(struct vbmq_json_writer *w, const struct vbmq_why *why)
{
	json_t *o = vbmq_json_new_object(w), *extra = vbmq_json_new_object(w);
	int64_t more = 0;
	int i = difference(&why->cost, &why->next_cost, &more);
	struct vbmq_cpuset next = vbmq_cpuset_of(why->next_cpu);

	vbmq_json_put_cpus(w, o, "cpus", &next);
	vbmq_json_put(w, o, "cost", cost_new(w, &why->next_cost));
	if (i >= 0)
		vbmq_json_put_int(w, extra, component_words[i], more);
	vbmq_json_put(w, o, "extra", extra);
	return o;
}

/* --- what would have to change ---------------------------------------------------------------------------------------- */

static json_t *remedies_new(struct vbmq_json_writer *w, const struct vbmq_placement *p, const struct vbmq_explained *c)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < c->n_remedies && w->code == 0; i++) {
		const struct vbmq_remedy *r = &c->remedies[i];
		_cleanup_free_ char *text = vbmq_remedy_text(r, p);
		bool sized = r->kind == VBMQ_REMEDY_SHARED_MIN || r->kind == VBMQ_REMEDY_IOTHREADS ||
			     r->kind == VBMQ_REMEDY_PRIORITY;
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_text(w, o, "change", vbmq_remedy_words[r->kind]);
		if (r->kind >= VBMQ_REMEDY_IOTHREADS)
			vbmq_json_put_text(w, o, "domain", p->domains[r->domain].name);
		if (sized) {
			vbmq_json_put_int(w, o, "from", r->from);
			vbmq_json_put_int(w, o, "to", r->to);
		}
		vbmq_json_put_u64(w, o, "losers", r->n_losers);
		vbmq_json_put(w, o, "text", text ? json_string(text) : NULL);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *better_new(struct vbmq_json_writer *w, const struct vbmq_placement *p, const struct vbmq_explained *c)
{
	json_t *o = vbmq_json_new_object(w), *held;

	vbmq_json_put_cpus(w, o, "cpus", &c->better);
	vbmq_json_put_u64(w, o, "numa", c->numa);
	vbmq_json_put_u64(w, o, "locality", c->locality);
	if (c->held) {
		const struct vbmq_place_domain *d = &p->domains[c->holder];

		held = vbmq_json_new_object(w);
		vbmq_json_put_text(w, held, "domain", d->name);
		vbmq_json_put_text(w, held, "kind", vbmq_thread_kind_words[d->threads[c->holder_thread].kind]);
		vbmq_json_put_int(w, held, "id", d->threads[c->holder_thread].id);
		vbmq_json_put_int(w, held, "priority", d->priority);
		vbmq_json_put(w, o, "held_by", held);
	}
	return o;
}

static json_t *queues_new(struct vbmq_json_writer *w, const struct vbmq_place_domain *d)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < d->n_disks; i++)
		for (size_t q = 0; q < d->disks[i].n_queues && w->code == 0; q++) {
			const struct vbmq_place_queue *queue = &d->disks[i].queues[q];
			json_t *o = vbmq_json_new_object(w);

			vbmq_json_put_text(w, o, "disk", d->disks[i].target);
			vbmq_json_put_int(w, o, "index", (int64_t)q);
			vbmq_json_put_int(w, o, "iothread", queue->iothread);
			vbmq_json_put_cpus(w, o, "vcpus", queue->vcpus);
			if (queue->completes != VBMQ_COMPLETES_UNKNOWN)
				vbmq_json_put_text(w, o, "distance", vbmq_completes_words[queue->completes]);
			vbmq_json_append(w, list, o);
		}
	return list;
}

/* Interrupts of disks that complete what the thread submits. */
static json_t *interrupts_new(struct vbmq_json_writer *w, const struct vbmq_placement *p,
			      const struct vbmq_place_thread *t)
{
	json_t *list = NULL;

	for (size_t i = 0; i < p->n_irqs && w->code == 0; i++) {
		const struct vbmq_place_irq *irq = &p->irqs[i];
		json_t *o;

		if (irq->put_back || !vbmq_cpuset_intersects(&irq->cpus, t->cpus))
			continue;
		if (!list)
			list = vbmq_json_new_array(w);
		o = vbmq_json_new_object(w);
		vbmq_json_put_int(w, o, "irq", irq->irq);
		vbmq_json_put_text(w, o, "name", irq->name);
		vbmq_json_put_text(w, o, "state", vbmq_irq_state_words[irq->state]);
		vbmq_json_put_cpus(w, o, "on", &irq->on);
		vbmq_json_put_true(w, o, "planned", irq->planned);
		vbmq_json_append(w, list, o);
	}
	return list;
}

/* --- the document ----------------------------------------------------------------------------------------------------- */

static json_t *threads_new(struct vbmq_json_writer *w, const struct vbmq_placement *p, const struct vbmq_explanation *x,
			   uint32_t domain)
{
	const struct vbmq_place_domain *d = &p->domains[domain];

	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < d->n_threads && w->code == 0; i++) {
		const struct vbmq_explained *c = vbmq_explanation_find(x, domain, (uint32_t)i);
		const struct vbmq_place_thread *t = &d->threads[i];
		_cleanup_free_ char *text = reason(p, t);
		json_t *o = vbmq_json_new_object(w), *interrupts;

		vbmq_json_put_text(w, o, "kind", vbmq_thread_kind_words[t->kind]);
		if (t->kind != VBMQ_THREAD_EMULATOR)
			vbmq_json_put_int(w, o, "id", t->id);
		vbmq_json_put_cpus(w, o, "cpus", t->cpus);
		vbmq_json_put_true(w, o, "exclusive", t->exclusive);
		vbmq_json_put(w, o, "reason", text ? json_string(text) : NULL);
		if (t->why)
			vbmq_json_put(w, o, "cost", cost_new(w, &t->why->cost));
		if (t->why && t->why->has_next)
			vbmq_json_put(w, o, "next", next_new(w, t->why));
		interrupts = t->kind == VBMQ_THREAD_IOTHREAD && t->exclusive ? interrupts_new(w, p, t) : NULL;
		if (interrupts)
			vbmq_json_put(w, o, "interrupts", interrupts);
		if (c) {
			vbmq_json_put(w, o, "better", better_new(w, p, c));
			vbmq_json_put(w, o, "remedies", remedies_new(w, p, c));
		}
		vbmq_json_append(w, list, o);
	}
	return list;
}

int vbmq_explain_format(const struct vbmq_plan *plan, const char *domain, bool pretty, char **ret, struct vbmq_err *err)
{
	return vbmq_explain_format_with(plan, NULL, domain, pretty, ret, err);
}

int vbmq_explain_format_with(const struct vbmq_plan *plan, const struct vbmq_explanation *x, const char *domain,
			     bool pretty, char **ret, struct vbmq_err *err)
{
	const struct vbmq_placement *p = plan->placement;
	const struct vbmq_place_domain *only = domain ? vbmq_placement_domain(p, domain) : NULL;
	struct vbmq_json_writer w = { .err = err };
	json_t *root, *domains;

	if (domain && !only)
		return vbmq_err_set(err, -ENOENT, "domain '%s' is not in the plan", domain);
	root = vbmq_json_new_object(&w);
	domains = vbmq_json_new_array(&w);
	vbmq_json_put_text(&w, root, "schema", VBMQ_EXPLAIN_SCHEMA);
	vbmq_json_put_text(&w, root, "plan_id", plan->id);
	for (uint32_t i = 0; i < p->n_domains && w.code == 0; i++) {
		const struct vbmq_explained *c = vbmq_explanation_find(x, i, VBMQ_EXPLAIN_ALL);
		const struct vbmq_place_domain *d = &p->domains[i];
		json_t *o;

		if (only && only != d)
			continue;
		o = vbmq_json_new_object(&w);
		vbmq_json_put_text(&w, o, "name", d->name);
		vbmq_json_put_text(&w, o, "uuid", d->uuid);
		vbmq_json_put(&w, o, "threads", threads_new(&w, p, x, i));
		vbmq_json_put(&w, o, "queues", queues_new(&w, d));
		if (c)
			vbmq_json_put(&w, o, "remedies", remedies_new(&w, p, c));
		vbmq_json_append(&w, domains, o);
	}
	vbmq_json_put(&w, root, "domains", domains);
	return vbmq_json_print(&w, root, pretty ? VBMQ_JSON_PRETTY : VBMQ_JSON_COMPACT, 0, ret);
}
