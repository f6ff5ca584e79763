/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interrupts of disks: "irqs" of a snapshot and of a plan's host. */

#include <errno.h>
#include <string.h>

#include "codec/json_parts.h"
#include "util/err.h"

json_t *vbmq_json_irqs_new(struct vbmq_json_writer *w, const struct vbmq_snapshot *s)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < s->n_irqs && w->code == 0; i++) {
		const struct vbmq_irq *irq = &s->irqs[i];
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_int(w, o, "irq", irq->irq);
		vbmq_json_put_text(w, o, "name", irq->name);
		if (irq->device[0])
			vbmq_json_put_text(w, o, "device", irq->device);
		vbmq_json_put_text(w, o, "state", vbmq_irq_state_words[irq->state]);
		vbmq_json_put_cpus(w, o, "cpus", &irq->cpus);
		vbmq_json_put_cpus(w, o, "affinity", &irq->affinity);
		vbmq_json_put_cpus(w, o, "effective", &irq->effective);
		if (irq->held) {
			vbmq_json_put_cpus(w, o, "found", &irq->found);
			vbmq_json_put_cpus(w, o, "applied", &irq->applied);
		}
		vbmq_json_append(w, list, o);
	}
	return list;
}

json_t *vbmq_json_irqs_steady(json_t *snapshot)
{
	json_t *irq;
	size_t i;

	json_array_foreach(json_object_get(snapshot, "irqs"), i, irq)
	{
		json_object_del(irq, "affinity");
		json_object_del(irq, "effective");
	}
	return snapshot;
}

void vbmq_json_need_irq_name(struct vbmq_json *o, char ret[VBMQ_TARGET_MAX + 1])
{
	struct vbmq_json v = vbmq_json_need(o, "name");
	const char *name = vbmq_json_text(&v, 1, VBMQ_TARGET_MAX);

	if (name && (name[0] == '.' || strchr(name, '/')))
		vbmq_json_fail(&v, -EINVAL, "is no name of an interrupt");
	else if (name)
		memcpy(ret, name, strlen(name) + 1);
}

static void opt_device(struct vbmq_json *o, char ret[VBMQ_DEVICE_MAX + 1])
{
	struct vbmq_json v = vbmq_json_opt(o, "device");
	const char *name = vbmq_json_text(&v, 1, VBMQ_DEVICE_MAX);

	if (name)
		memcpy(ret, name, strlen(name) + 1);
}

/* What an interrupt is, wherever it stands. */
static void need_irq(struct vbmq_json *o, uint32_t *irq, char *name, char *device, enum vbmq_irq_state *state)
{
	*irq = (uint32_t)vbmq_json_need_int(o, "irq", 0, INT32_MAX);
	vbmq_json_need_irq_name(o, name);
	opt_device(o, device);
	*state = (enum vbmq_irq_state)vbmq_json_need_word(o, "state", vbmq_irq_state_words);
}

void vbmq_json_irqs(struct vbmq_json *list, struct vbmq_snapshot *ret)
{
	size_t n = vbmq_json_array(list, 0, VBMQ_IRQS_MAX);

	for (size_t i = 0; i < n && list->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(list, i);
		struct vbmq_irq *irq = vbmq_json_add(v.reader, ret->irqs, ret->n_irqs, VBMQ_IRQS_MAX);

		if (!irq)
			return;
		need_irq(&v, &irq->irq, irq->name, irq->device, &irq->state);
		vbmq_json_need_cpus(&v, "cpus", true, &irq->cpus);
		vbmq_json_need_cpus(&v, "affinity", false, &irq->affinity);
		if (!vbmq_json_opt_cpus(&v, "effective", false, &irq->effective))
			irq->effective = irq->affinity;
		irq->held = vbmq_json_opt_cpus(&v, "found", true, &irq->found);
		if (irq->held)
			vbmq_json_need_cpus(&v, "applied", true, &irq->applied);
		vbmq_json_end(&v);
	}
}

json_t *vbmq_json_place_irqs_new(struct vbmq_json_writer *w, const struct vbmq_placement *p)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < p->n_irqs && w->code == 0; i++) {
		const struct vbmq_place_irq *irq = &p->irqs[i];
		json_t *o;

		if (vbmq_cpuset_is_empty(&irq->cpus))
			continue;
		o = vbmq_json_new_object(w);
		vbmq_json_put_int(w, o, "irq", irq->irq);
		vbmq_json_put_text(w, o, "name", irq->name);
		if (irq->device[0])
			vbmq_json_put_text(w, o, "device", irq->device);
		vbmq_json_put_text(w, o, "state", vbmq_irq_state_words[irq->state]);
		vbmq_json_put_cpus(w, o, "cpus", &irq->cpus);
		vbmq_json_put_cpus(w, o, "on", &irq->on);
		vbmq_json_put_true(w, o, "planned", irq->planned);
		vbmq_json_put_true(w, o, "back", irq->put_back);
		vbmq_json_append(w, list, o);
	}
	return list;
}

void vbmq_json_place_irqs(struct vbmq_json *list, struct vbmq_placement *ret)
{
	size_t n = vbmq_json_array(list, 0, VBMQ_IRQS_MAX);

	for (size_t i = 0; i < n && list->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(list, i);
		struct vbmq_place_irq *irq = vbmq_json_add(v.reader, ret->irqs, ret->n_irqs, VBMQ_IRQS_MAX);

		if (!irq)
			return;
		need_irq(&v, &irq->irq, irq->name, irq->device, &irq->state);
		vbmq_json_need_cpus(&v, "cpus", false, &irq->cpus);
		vbmq_json_need_cpus(&v, "on", true, &irq->on);
		irq->planned = vbmq_json_opt_bool(&v, "planned", false);
		irq->put_back = vbmq_json_opt_bool(&v, "back", false);
		vbmq_json_end(&v);
	}
}
