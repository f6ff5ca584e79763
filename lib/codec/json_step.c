/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One step, as plans and reports show it: which keys it has follows from "op". */

#include <errno.h>
#include <string.h>

#include "codec/json_parts.h"
#include "util/err.h"

json_t *vbmq_json_step_new(struct vbmq_json_writer *w, const struct vbmq_step *s, const char *domain)
{
	json_t *o = vbmq_json_new_object(w), *map;

	vbmq_json_put_text(w, o, "op", vbmq_step_word(s));
	if (domain)
		vbmq_json_put_text(w, o, "domain", domain);
	switch (s->op) {
	case VBMQ_STEP_PIN:
		if (s->kind != VBMQ_THREAD_EMULATOR)
			vbmq_json_put_int(w, o, "id", s->id);
		if (s->tid > 0)
			vbmq_json_put_int(w, o, "tid", s->tid);
		vbmq_json_put_cpus(w, o, "cpus", s->cpus);
		vbmq_json_put_true(w, o, "exclusive", s->exclusive);
		vbmq_json_put_true(w, o, "interim", s->interim);
		break;
	case VBMQ_STEP_SET_POLLING:
		vbmq_json_put_int(w, o, "id", s->id);
		vbmq_json_put_polling(w, o, "polling", &s->polling);
		break;
	case VBMQ_STEP_MAP_QUEUES:
		vbmq_json_put_text(w, o, "disk", s->target);
		map = vbmq_json_new_array(w);
		for (size_t i = 0; i < s->n_map; i++)
			vbmq_json_append(w, map, json_integer(s->map[i]));
		vbmq_json_put(w, o, "queues", map);
		break;
	case VBMQ_STEP_ADD_IOTHREAD:
	case VBMQ_STEP_DEL_IOTHREAD:
		vbmq_json_put_int(w, o, "id", s->id);
		break;
	case VBMQ_STEP_LIMIT_SLICE:
		vbmq_json_put_text(w, o, "unit", vbmq_part_words[s->id]);
		vbmq_json_put_cpus(w, o, "cpus", s->cpus);
		vbmq_json_put_true(w, o, "interim", s->interim);
		break;
	case VBMQ_STEP_BAN_IRQS:
		vbmq_json_put_cpus(w, o, "cpus", s->cpus);
		break;
	case VBMQ_STEP_MOVE_IRQ:
		vbmq_json_put_int(w, o, "irq", s->id);
		vbmq_json_put_text(w, o, "name", s->target);
		vbmq_json_put_cpus(w, o, "cpus", s->cpus);
		vbmq_json_put_true(w, o, "back", !s->exclusive);
		break;
	}
	return o;
}

/* The op (and kind) that vbmq_step_word() would write like this. */
static void read_op(struct vbmq_json *v, struct vbmq_step *ret)
{
	struct vbmq_json op = vbmq_json_need(v, "op");
	const char *word = vbmq_json_text(&op, 0, SIZE_MAX);

	for (int o = VBMQ_STEP_ADD_IOTHREAD; word && o <= VBMQ_STEP_MOVE_IRQ; o++) {
		for (int kind = VBMQ_THREAD_VCPU; kind <= VBMQ_THREAD_EMULATOR; kind++) {
			struct vbmq_step s = { .op = (enum vbmq_step_op)o, .kind = (enum vbmq_thread_kind)kind };

			if (strcmp(vbmq_step_word(&s), word) == 0) {
				ret->op = s.op;
				ret->kind = s.op == VBMQ_STEP_PIN ? s.kind : VBMQ_THREAD_IOTHREAD;
				return;
			}
		}
	}
	if (word)
		vbmq_json_fail(&op, -EINVAL, "\"%.40s\" is no operation", word);
}

static void read_map(struct vbmq_json *v, struct vbmq_step *ret)
{
	struct vbmq_json map;
	size_t n;

	vbmq_json_need_target(v, "disk", ret->target);
	map = vbmq_json_need(v, "queues");
	n = vbmq_json_array(&map, 1, VBMQ_QUEUES_MAX);
	for (size_t i = 0; i < n && v->reader->code == 0; i++) {
		struct vbmq_json item = vbmq_json_item(&map, i);
		uint32_t *id = vbmq_json_add(v->reader, ret->map, ret->n_map, VBMQ_QUEUES_MAX);

		if (id)
			*id = (uint32_t)vbmq_json_int(&item, 0, UINT32_MAX, 0);
	}
}

static void read_of_host(struct vbmq_json *v, struct vbmq_step *ret)
{
	struct vbmq_json m;
	int id = VBMQ_PART_IRQBALANCE;

	if (ret->op == VBMQ_STEP_LIMIT_SLICE) {
		m = vbmq_json_need(v, "unit");
		id = vbmq_json_word(&m, vbmq_part_words, 0);
		if (id == VBMQ_PART_IRQBALANCE)
			vbmq_json_fail(&m, -EINVAL, "is no unit");
		ret->interim = vbmq_json_opt_bool(v, "interim", false);
	} else if (ret->op == VBMQ_STEP_MOVE_IRQ) {
		id = (int)vbmq_json_need_int(v, "irq", 0, INT32_MAX);
		vbmq_json_need_irq_name(v, ret->target);
		ret->exclusive = !vbmq_json_opt_bool(v, "back", false);
	}
	ret->domain = VBMQ_STEP_OF_HOST;
	ret->kind = VBMQ_THREAD_EMULATOR;
	ret->id = (uint32_t)id;
	ret->cpus = vbmq_json_need_setref(v, "cpus", true);
	vbmq_json_end(v);
}

void vbmq_json_step(struct vbmq_json *v, const json_t *domains, struct vbmq_step *ret)
{
	struct vbmq_json m;
	const char *name;

	read_op(v, ret);
	if (v->reader->code == 0 && vbmq_step_is_of_host(ret)) {
		read_of_host(v, ret);
		return;
	}
	m = vbmq_json_need(v, "domain");
	name = vbmq_json_text(&m, 1, VBMQ_NAME_MAX);
	if (name) {
		const json_t *index = json_object_get(domains, name);

		if (index)
			ret->domain = (uint32_t)json_integer_value(index);
		else
			vbmq_json_fail(&m, -EINVAL, "\"%.80s\" is none of the plan's domains", name);
	}
	if (v->reader->code < 0)
		return;
	if (ret->op != VBMQ_STEP_MAP_QUEUES && !(ret->op == VBMQ_STEP_PIN && ret->kind == VBMQ_THREAD_EMULATOR))
		ret->id = (uint32_t)vbmq_json_need_int(v, "id", 0, UINT32_MAX);
	if (ret->op == VBMQ_STEP_PIN) {
		ret->cpus = vbmq_json_need_setref(v, "cpus", false);
		ret->exclusive = vbmq_json_opt_bool(v, "exclusive", false);
		ret->interim = vbmq_json_opt_bool(v, "interim", false);
	} else if (ret->op == VBMQ_STEP_SET_POLLING) {
		m = vbmq_json_need(v, "polling");
		vbmq_json_polling(&m, &ret->polling);
	} else if (ret->op == VBMQ_STEP_MAP_QUEUES) {
		read_map(v, ret);
	}
	vbmq_json_end(v);
}
