/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan document, read back. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json_parts.h"
#include "codec/json_plan.h"
#include "util/cleanup.h"
#include "util/err.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_plan *, vbmq_plan_free);

#define DIAGS_LIMIT 100000u
#define DIAG_TEXT_LIMIT 65536u

static void read_diags(struct vbmq_json *o, struct vbmq_diags *ret)
{
	struct vbmq_json list = vbmq_json_need(o, "diagnostics");
	size_t n = vbmq_json_array(&list, 0, DIAGS_LIMIT);

	for (size_t i = 0; i < n && o->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i), m;
		const char *word, *code, *subject, *text;
		int severity;

		m = vbmq_json_need(&v, "code");
		word = vbmq_json_text(&m, 1, VBMQ_NAME_MAX);
		code = word ? vbmq_diag_code(word) : NULL;
		if (word && !code)
			vbmq_json_fail(&m, -EINVAL, "\"%.40s\" is no diagnostic code", word);
		severity = vbmq_json_need_word(&v, "severity", vbmq_severity_words);
		m = vbmq_json_need(&v, "subject");
		subject = vbmq_json_text(&m, 0, DIAG_TEXT_LIMIT);
		m = vbmq_json_need(&v, "text");
		text = vbmq_json_text(&m, 0, DIAG_TEXT_LIMIT);
		vbmq_json_end(&v);
		if (o->reader->code < 0 || !code || !subject || !text)
			return;
		if (vbmq_diag_add(ret, code, (enum vbmq_severity)severity, subject, "%s", text) < 0)
			vbmq_json_oom(o->reader);
	}
}

static void read_thread(struct vbmq_json *v, struct vbmq_place_thread *t)
{
	struct vbmq_json polling;

	t->kind = (enum vbmq_thread_kind)vbmq_json_need_word(v, "kind", vbmq_thread_kind_words);
	if (t->kind != VBMQ_THREAD_EMULATOR)
		t->id = (uint32_t)vbmq_json_need_int(v, "id", 0, UINT32_MAX);
	t->cpus = vbmq_json_need_setref(v, "cpus", false);
	t->exclusive = vbmq_json_opt_bool(v, "exclusive", false);
	t->planned = vbmq_json_opt_bool(v, "planned", false);
	t->to_add = vbmq_json_opt_bool(v, "add", false);
	t->to_remove = vbmq_json_opt_bool(v, "remove", false);
	polling = vbmq_json_opt(v, "polling");
	if (polling.value) {
		t->has_polling = true;
		vbmq_json_polling(&polling, &t->polling);
	}
	vbmq_json_end(v);
}

static void read_disk(struct vbmq_json *v, struct vbmq_place_disk *disk)
{
	struct vbmq_json queues;
	size_t n;

	vbmq_json_need_target(v, "target", disk->target);
	queues = vbmq_json_need(v, "queues");
	n = vbmq_json_array(&queues, 1, VBMQ_QUEUES_MAX);
	for (size_t i = 0; i < n && v->reader->code == 0; i++) {
		struct vbmq_json item = vbmq_json_item(&queues, i);
		struct vbmq_place_queue *q;
		struct vbmq_json distance;

		q = vbmq_json_add(v->reader, disk->queues, disk->n_queues, VBMQ_QUEUES_MAX);
		if (!q)
			return;
		vbmq_json_need_int(&item, "index", (int64_t)i, (int64_t)i);
		q->iothread = (uint32_t)vbmq_json_need_int(&item, "iothread", 0, UINT32_MAX);
		q->vcpus = vbmq_json_need_setref(&item, "vcpus", true);
		distance = vbmq_json_opt(&item, "distance");
		q->completes = (enum vbmq_completes)(1 + vbmq_json_word(&distance, vbmq_completes_words + 1, -1));
		vbmq_json_end(&item);
	}
	disk->remap = vbmq_json_opt_bool(v, "remap", false);
	disk->at_next_start = vbmq_json_opt_bool(v, "at_next_start", false);
	vbmq_json_end(v);
}

static void read_domain(struct vbmq_json *v, struct vbmq_place_domain *d)
{
	struct vbmq_json list;
	size_t n;

	d->name = vbmq_json_need_dup(v, "name", 1, VBMQ_NAME_MAX);
	vbmq_json_need_uuid(v, "uuid", d->uuid);
	d->capability = (enum vbmq_capability)vbmq_json_need_word(v, "capability", vbmq_capability_words);
	d->managed = vbmq_json_need_bool(v, "managed");
	d->priority = (int32_t)vbmq_json_need_int(v, "priority", VBMQ_PRIORITY_MIN, VBMQ_PRIORITY_MAX);
	list = vbmq_json_need(v, "threads");
	n = vbmq_json_array(&list, 0, VBMQ_JSON_THREADS_MAX);
	for (size_t i = 0; i < n && v->reader->code == 0; i++) {
		struct vbmq_json item = vbmq_json_item(&list, i);
		struct vbmq_place_thread *t;

		t = vbmq_json_add(v->reader, d->threads, d->n_threads, VBMQ_JSON_THREADS_MAX);
		if (t)
			read_thread(&item, t);
	}
	list = vbmq_json_need(v, "disks");
	n = vbmq_json_array(&list, 0, VBMQ_DISKS_MAX);
	for (size_t i = 0; i < n && v->reader->code == 0; i++) {
		struct vbmq_json item = vbmq_json_item(&list, i);
		struct vbmq_place_disk *disk;

		disk = vbmq_json_add(v->reader, d->disks, d->n_disks, VBMQ_DISKS_MAX);
		if (disk)
			read_disk(&item, disk);
	}
	read_diags(v, &d->diags);
	vbmq_json_end(v);
}

/* names: filled with name -> index, for the steps. */
static void read_domains(struct vbmq_json *root, struct vbmq_placement *p, json_t *names)
{
	struct vbmq_json list = vbmq_json_need(root, "domains");
	size_t n = vbmq_json_array(&list, 0, VBMQ_DOMAINS_MAX);

	for (size_t i = 0; i < n && root->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		struct vbmq_place_domain *d;

		d = vbmq_json_add(root->reader, p->domains, p->n_domains, VBMQ_DOMAINS_MAX);
		if (!d)
			return;
		read_domain(&v, d);
		if (root->reader->code < 0)
			return;
		if (json_object_get(names, d->name))
			vbmq_json_fail(&v, -EINVAL, "domain \"%.80s\" is there twice", d->name);
		else if (json_object_set_new(names, d->name, json_integer((json_int_t)i)) < 0)
			vbmq_json_oom(root->reader);
	}
}

static void read_steps(struct vbmq_json *root, const json_t *names, struct vbmq_plan *plan)
{
	struct vbmq_json list = vbmq_json_need(root, "steps");
	size_t n = vbmq_json_array(&list, 0, VBMQ_STEPS_MAX);

	for (size_t i = 0; i < n && root->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		struct vbmq_step *s = vbmq_json_add(root->reader, plan->steps, plan->n_steps, VBMQ_STEPS_MAX);

		if (s)
			vbmq_json_step(&v, names, s);
	}
}

static void read_id(struct vbmq_json *root, struct vbmq_plan *plan)
{
	struct vbmq_json v = vbmq_json_need(root, "plan_id");
	const char *text = vbmq_json_text(&v, 0, SIZE_MAX);

	if (!text)
		return;
	if (strlen(text) != VBMQ_PLAN_ID_LEN || strspn(text, "0123456789abcdef") != VBMQ_PLAN_ID_LEN)
		vbmq_json_fail(&v, -EINVAL, "is not %u hexadecimal digits in lower case", VBMQ_PLAN_ID_LEN);
	else
		memcpy(plan->id, text, VBMQ_PLAN_ID_LEN + 1);
}

static void read_parts(struct vbmq_json *host, struct vbmq_placement *p)
{
	struct vbmq_json parts = vbmq_json_opt(host, "parts");

	for (unsigned i = 0; parts.value && i < VBMQ_PARTS && host->reader->code == 0; i++)
		p->parts[i].planned = vbmq_json_opt_cpus(&parts, vbmq_part_words[i], true, &p->parts[i].cpus);
	if (parts.value)
		vbmq_json_end(&parts);
}

static void read_plan(struct vbmq_json *root, json_t *names, struct vbmq_plan *plan)
{
	struct vbmq_placement *p = plan->placement;
	struct vbmq_json host, irqs;
	struct vbmq_cpuset cpus; /* follows from the others: looked at, not kept */

	vbmq_json_need_schema(root, VBMQ_PLAN_SCHEMA);
	read_id(root, plan);
	host = vbmq_json_need(root, "host");
	vbmq_json_need_cpus(&host, "cpus", false, &cpus);
	vbmq_json_need_cpus(&host, "shared", false, &p->shared);
	vbmq_json_need_cpus(&host, "dedicated", true, &p->dedicated);
	vbmq_json_opt_cpus(&host, "pinned", false, &p->pinned);
	read_parts(&host, p);
	irqs = vbmq_json_opt(&host, "irqs");
	vbmq_json_place_irqs(&irqs, p);
	vbmq_json_end(&host);
	read_domains(root, p, names);
	read_steps(root, names, plan);
	read_diags(root, &p->diags);
	p->infeasible = vbmq_json_need_bool(root, "infeasible");
	vbmq_json_opt(root, "fleet");
	vbmq_json_end(root);
}

int vbmq_plan_parse(const char *name, const char *json, size_t len, struct vbmq_plan **ret, struct vbmq_err *err)
{
	_cleanup_(vbmq_plan_freep) struct vbmq_plan *plan = calloc(1, sizeof(*plan));
	struct vbmq_json_reader reader = { .name = name, .err = err };
	struct vbmq_json root;
	json_t *tree, *names;
	int r;

	if (!plan)
		return vbmq_err_oom(err);
	plan->placement = calloc(1, sizeof(*plan->placement));
	if (!plan->placement)
		return vbmq_err_oom(err);
	r = vbmq_json_load(&reader, json, len, VBMQ_PLAN_JSON_MAX, &tree);
	if (r < 0)
		return r;
	names = json_object();
	if (names) {
		root = vbmq_json_root(&reader, tree, NULL);
		read_plan(&root, names, plan);
	} else {
		vbmq_json_oom(&reader);
	}
	json_decref(names);
	json_decref(tree);
	if (reader.code < 0)
		return reader.code;
	*ret = VBMQ_STEAL(plan);
	return 0;
}
