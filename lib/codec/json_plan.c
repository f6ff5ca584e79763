/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan document, written. Keys stand in the order of the design; booleans of threads, disks and steps are left out
 * while false, so that the common thread is one short line. */

#include "codec/json_plan.h"

#include "codec/json_parts.h"
#include "util/err.h"

static json_t *host_new(struct vbmq_json_writer *w, const struct vbmq_placement *p, const struct vbmq_host *host)
{
	struct vbmq_cpuset all = vbmq_cpuset_or(&p->shared, &p->dedicated);
	json_t *o = vbmq_json_new_object(w), *parts = NULL;

	all = vbmq_cpuset_or(&all, &p->pinned);
	vbmq_json_put_cpus(w, o, "cpus", host ? &host->usable : &all);
	vbmq_json_put_cpus(w, o, "shared", &p->shared);
	vbmq_json_put_cpus(w, o, "dedicated", &p->dedicated);
	if (!vbmq_cpuset_is_empty(&p->pinned))
		vbmq_json_put_cpus(w, o, "pinned", &p->pinned);
	for (unsigned i = 0; i < VBMQ_PARTS; i++) {
		if (!p->parts[i].planned)
			continue;
		if (!parts)
			parts = vbmq_json_new_object(w);
		vbmq_json_put_cpus(w, parts, vbmq_part_words[i], &p->parts[i].cpus);
	}
	if (parts)
		vbmq_json_put(w, o, "parts", parts);
	if (p->n_irqs)
		vbmq_json_put(w, o, "irqs", vbmq_json_place_irqs_new(w, p));
	return o;
}

static json_t *threads_new(struct vbmq_json_writer *w, const struct vbmq_place_domain *d)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < d->n_threads; i++) {
		const struct vbmq_place_thread *t = &d->threads[i];
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_text(w, o, "kind", vbmq_thread_kind_words[t->kind]);
		if (t->kind != VBMQ_THREAD_EMULATOR)
			vbmq_json_put_int(w, o, "id", t->id);
		vbmq_json_put_cpus(w, o, "cpus", t->cpus);
		vbmq_json_put_true(w, o, "exclusive", t->exclusive);
		vbmq_json_put_true(w, o, "planned", t->planned);
		vbmq_json_put_true(w, o, "add", t->to_add);
		vbmq_json_put_true(w, o, "remove", t->to_remove);
		if (t->has_polling)
			vbmq_json_put_polling(w, o, "polling", &t->polling);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *disks_new(struct vbmq_json_writer *w, const struct vbmq_place_domain *d)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < d->n_disks; i++) {
		const struct vbmq_place_disk *disk = &d->disks[i];
		json_t *o = vbmq_json_new_object(w), *queues = vbmq_json_new_array(w);

		vbmq_json_put_text(w, o, "target", disk->target);
		for (size_t q = 0; q < disk->n_queues; q++) {
			json_t *queue = vbmq_json_new_object(w);

			vbmq_json_put_int(w, queue, "index", (int64_t)q);
			vbmq_json_put_int(w, queue, "iothread", disk->queues[q].iothread);
			vbmq_json_put_cpus(w, queue, "vcpus", disk->queues[q].vcpus);
			if (disk->queues[q].completes != VBMQ_COMPLETES_UNKNOWN)
				vbmq_json_put_text(w, queue, "distance",
						   vbmq_completes_words[disk->queues[q].completes]);
			vbmq_json_append(w, queues, queue);
		}
		vbmq_json_put(w, o, "queues", queues);
		vbmq_json_put_true(w, o, "remap", disk->remap);
		vbmq_json_put_true(w, o, "at_next_start", disk->at_next_start);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *domain_new(struct vbmq_json_writer *w, const struct vbmq_place_domain *d)
{
	json_t *o = vbmq_json_new_object(w);

	vbmq_json_put_text(w, o, "name", d->name);
	vbmq_json_put_text(w, o, "uuid", d->uuid);
	vbmq_json_put_text(w, o, "capability", vbmq_capability_words[d->capability]);
	vbmq_json_put_bool(w, o, "managed", d->managed);
	vbmq_json_put_int(w, o, "priority", d->priority);
	vbmq_json_put(w, o, "threads", threads_new(w, d));
	vbmq_json_put(w, o, "disks", disks_new(w, d));
	vbmq_json_put_diags(w, o, "diagnostics", &d->diags);
	return o;
}

int vbmq_plan_format(const struct vbmq_plan *plan, const struct vbmq_host *host, bool pretty, char **ret,
		     struct vbmq_err *err)
{
	return vbmq_plan_format_fleet(plan, host, NULL, pretty, ret, err);
}

int vbmq_plan_format_fleet(const struct vbmq_plan *plan, const struct vbmq_host *host,
			   const struct vbmq_fleet_report *report, bool pretty, char **ret, struct vbmq_err *err)
{
	const struct vbmq_placement *p = plan->placement;
	struct vbmq_json_writer w = { .err = err };
	json_t *root = vbmq_json_new_object(&w), *domains = vbmq_json_new_array(&w), *steps;

	vbmq_json_put_text(&w, root, "schema", VBMQ_PLAN_SCHEMA);
	vbmq_json_put_text(&w, root, "plan_id", plan->id);
	vbmq_json_put(&w, root, "host", host_new(&w, p, host));
	for (size_t i = 0; i < p->n_domains && w.code == 0; i++)
		vbmq_json_append(&w, domains, domain_new(&w, &p->domains[i]));
	vbmq_json_put(&w, root, "domains", domains);
	steps = vbmq_json_new_array(&w);
	for (size_t i = 0; i < plan->n_steps && w.code == 0; i++) {
		const struct vbmq_step *s = &plan->steps[i];

		vbmq_json_append(
			&w, steps,
			vbmq_json_step_new(&w, s, vbmq_step_is_of_host(s) ? NULL : p->domains[s->domain].name));
	}
	vbmq_json_put(&w, root, "steps", steps);
	vbmq_json_put_diags(&w, root, "diagnostics", &p->diags);
	vbmq_json_put_bool(&w, root, "infeasible", p->infeasible);
	if (report)
		vbmq_json_put(&w, root, "fleet", vbmq_json_fleet_new(&w, report));
	return vbmq_json_print(&w, root, pretty ? VBMQ_JSON_PRETTY : VBMQ_JSON_COMPACT, 0, ret);
}
