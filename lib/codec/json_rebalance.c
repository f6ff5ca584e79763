/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "codec/json_rebalance.h"

#include "codec/json_parts.h"
#include "util/err.h"

static json_t *score_new(struct vbmq_json_writer *w, const struct vbmq_score *s)
{
	json_t *o = vbmq_json_new_object(w);

	vbmq_json_put_u64(w, o, "threads", s->n_threads);
	vbmq_json_put_u64(w, o, "own_core", s->n_own);
	vbmq_json_put_u64(w, o, "numa_known", s->n_served);
	vbmq_json_put_u64(w, o, "numa_misses", s->n_remote);
	vbmq_json_put_u64(w, o, "completions_placed", s->n_completions);
	vbmq_json_put_u64(w, o, "l3_misses", s->n_far);
	vbmq_json_put_u64(w, o, "l3_domains", s->n_l3);
	vbmq_json_put_u64(w, o, "l3_domains_free", s->n_l3_free);
	vbmq_json_put_u64(w, o, "numa_cost", s->numa);
	vbmq_json_put_u64(w, o, "locality_cost", s->locality);
	vbmq_json_put_u64(w, o, "core_cost", s->awkward);
	return o;
}

static json_t *moves_new(struct vbmq_json_writer *w, const struct vbmq_rebalance *r)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < r->n_moves && w->code == 0; i++) {
		const struct vbmq_move *m = &r->moves[i];
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_text(w, o, "domain", r->plan->placement->domains[m->domain].name);
		vbmq_json_put_text(w, o, "kind", vbmq_thread_kind_words[m->kind]);
		vbmq_json_put_int(w, o, "id", m->id);
		vbmq_json_put_cpus(w, o, "from", &m->from);
		vbmq_json_put_cpus(w, o, "to", &m->to);
		vbmq_json_put_true(w, o, "had_own", m->had_own);
		vbmq_json_append(w, list, o);
	}
	return list;
}

int vbmq_rebalance_format(const struct vbmq_rebalance *r, bool pretty, char **ret, struct vbmq_err *err)
{
	struct vbmq_json_writer w = { .err = err };
	json_t *root = vbmq_json_new_object(&w), *steps = vbmq_json_new_array(&w);

	vbmq_json_put_text(&w, root, "schema", VBMQ_REBALANCE_SCHEMA);
	vbmq_json_put_text(&w, root, "plan_id", r->plan->id);
	vbmq_json_put_bool(&w, root, "better", r->better);
	vbmq_json_put(&w, root, "moves", moves_new(&w, r));
	vbmq_json_put(&w, root, "before", score_new(&w, &r->before));
	vbmq_json_put(&w, root, "everyday", score_new(&w, &r->everyday));
	vbmq_json_put(&w, root, "after", score_new(&w, &r->after));
	for (size_t i = 0; i < r->plan->n_steps && w.code == 0; i++) {
		const struct vbmq_step *s = &r->plan->steps[i];

		vbmq_json_append(
			&w, steps,
			vbmq_json_step_new(
				&w, s, vbmq_step_is_of_host(s) ? NULL : r->plan->placement->domains[s->domain].name));
	}
	vbmq_json_put(&w, root, "steps", steps);
	vbmq_json_put_bool(&w, root, "infeasible", r->plan->placement->infeasible);
	return vbmq_json_print(&w, root, pretty ? VBMQ_JSON_PRETTY : VBMQ_JSON_COMPACT, 0, ret);
}
