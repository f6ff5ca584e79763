/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The summary of a fleet in the plan document. */

#include "codec/json_parts.h"

static json_t *template_new(struct vbmq_json_writer *w, const struct vbmq_fleet_report *r, size_t index)
{
	const struct vbmq_template *t = &r->fleet->templates[index];
	const struct vbmq_capacity_group *g = &r->groups[index];
	json_t *o = vbmq_json_new_object(w), *guests = vbmq_json_new_object(w), *max;

	vbmq_json_put_text(w, o, "name", t->name);
	vbmq_json_put_int(w, o, "count", t->count);
	vbmq_json_put_int(w, guests, "wholly", g->guests[VBMQ_PLACED_WHOLLY]);
	vbmq_json_put_int(w, guests, "short", g->guests[VBMQ_PLACED_SHORT]);
	vbmq_json_put_int(w, guests, "failed", g->guests[VBMQ_PLACED_FAILED]);
	vbmq_json_put(w, o, "placed", guests);
	vbmq_json_put_int(w, o, "iothreads", g->iothreads);
	vbmq_json_put_int(w, o, "iothreads_own", g->iothreads_own);
	vbmq_json_put_int(w, o, "vcpus", g->vcpus);
	vbmq_json_put_int(w, o, "vcpus_own", g->vcpus_own);
	vbmq_json_put_int(w, o, "queues", g->queues);
	vbmq_json_put_int(w, o, "queues_most", g->queues_most);
	vbmq_json_put_int(w, o, "numa_misses", g->numa_misses);
	vbmq_json_put_int(w, o, "l3_misses", g->l3_misses);
	if (r->has_max) {
		max = vbmq_json_new_object(w);
		if (r->max[index].unlimited)
			vbmq_json_put_true(w, max, "unlimited", true);
		else
			vbmq_json_put_int(w, max, "guests", r->max[index].total);
		vbmq_json_put(w, o, "max", max);
	}
	return o;
}

static json_t *left_new(struct vbmq_json_writer *w, const struct vbmq_capacity *c)
{
	json_t *o = vbmq_json_new_object(w), *nodes = vbmq_json_new_array(w);

	for (size_t i = 0; i < c->n_nodes; i++) {
		const struct vbmq_capacity_node *n = &c->nodes[i];
		json_t *node = vbmq_json_new_object(w);

		vbmq_json_put_int(w, node, "node", n->node);
		vbmq_json_put_int(w, node, "cores", n->cores);
		vbmq_json_put_int(w, node, "dedicated", n->dedicated);
		vbmq_json_put_int(w, node, "pinned", n->pinned);
		vbmq_json_put_int(w, node, "free", n->free);
		vbmq_json_put_int(w, node, "l3", n->l3s);
		vbmq_json_put_int(w, node, "l3_free", n->l3s_free);
		vbmq_json_put_cpus(w, node, "shared", &n->shared);
		vbmq_json_append(w, nodes, node);
	}
	vbmq_json_put_int(w, o, "cores", c->free);
	vbmq_json_put_int(w, o, "shared_cpus", c->shared);
	vbmq_json_put_int(w, o, "floating_vcpus", c->floating);
	vbmq_json_put(w, o, "nodes", nodes);
	return o;
}

json_t *vbmq_json_fleet_new(struct vbmq_json_writer *w, const struct vbmq_fleet_report *r)
{
	json_t *o = vbmq_json_new_object(w), *templates = vbmq_json_new_array(w);

	for (size_t i = 0; i < r->fleet->n_templates && w->code == 0; i++)
		vbmq_json_append(w, templates, template_new(w, r, i));
	vbmq_json_put(w, o, "templates", templates);
	vbmq_json_put(w, o, "left", left_new(w, &r->left));
	if (r->fleet->overcommit)
		vbmq_json_put_int(w, o, "overcommit", r->fleet->overcommit);
	vbmq_json_put_true(w, o, "overcommitted", r->overcommitted);
	return o;
}
