/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The undo record as a file. An entry has the keys that mean something for its kind and no others, so a record that was
 * written by hand or by a broken program is noticed before anything is put "back". */

#include "codec/json_undo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json_parts.h"
#include "util/cleanup.h"
#include "util/err.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_undo *, vbmq_undo_free);

#define POLLING_UNKNOWN UINT64_MAX

/* --- writing ------------------------------------------------------------------------------------------------------ */

static json_t *map_new(struct vbmq_json_writer *w, const uint32_t *ids, size_t n)
{
	json_t *map = vbmq_json_new_array(w);

	for (size_t i = 0; i < n; i++)
		vbmq_json_append(w, map, json_integer(ids[i]));
	return map;
}

static json_t *entry_new(struct vbmq_json_writer *w, const struct vbmq_undo_entry *e)
{
	json_t *o = vbmq_json_new_object(w);

	vbmq_json_put_text(w, o, "kind", vbmq_undo_kind_words[e->kind]);
	if (e->kind == VBMQ_UNDO_PART) {
		vbmq_json_put_text(w, o, "part", vbmq_part_words[e->id]);
	} else if (e->kind == VBMQ_UNDO_IRQ) {
		vbmq_json_put_int(w, o, "irq", e->id);
		vbmq_json_put_text(w, o, "name", e->target);
		vbmq_json_put_cpus(w, o, "found", &e->found);
		vbmq_json_put_cpus(w, o, "applied", &e->applied);
		vbmq_json_put_bool(w, o, "settled", e->settled);
		return o;
	} else {
		vbmq_json_put_text(w, o, "uuid", e->uuid);
		vbmq_json_put_text(w, o, "name", e->name ? e->name : "");
	}
	vbmq_json_put_int(w, o, "tid", e->tid);
	vbmq_json_put_u64(w, o, "start", e->start);
	if (e->kind == VBMQ_UNDO_AFFINITY)
		vbmq_json_put_text(w, o, "thread", vbmq_thread_kind_words[e->thread]);
	if (e->kind == VBMQ_UNDO_AFFINITY || e->kind == VBMQ_UNDO_POLLING || e->kind == VBMQ_UNDO_ADDED)
		vbmq_json_put_int(w, o, "id", e->id);
	if (e->kind == VBMQ_UNDO_AFFINITY || e->kind == VBMQ_UNDO_TASK || e->kind == VBMQ_UNDO_PART)
		vbmq_json_put_cpus(w, o, "found", &e->found);
	if (e->kind == VBMQ_UNDO_PART) {
		vbmq_json_put_cpus(w, o, "applied", &e->applied);
		vbmq_json_put_bool(w, o, "settled", e->settled);
	} else if (e->kind == VBMQ_UNDO_AFFINITY) {
		if (e->had_pin)
			vbmq_json_put_cpus(w, o, "pin", &e->pin);
		vbmq_json_put_cpus(w, o, "applied", &e->applied);
		vbmq_json_put_bool(w, o, "exclusive", e->exclusive);
		vbmq_json_put_bool(w, o, "settled", e->settled);
	} else if (e->kind == VBMQ_UNDO_POLLING && e->polling.max_ns != POLLING_UNKNOWN) {
		vbmq_json_put_polling(w, o, "polling", &e->polling);
	} else if (e->kind == VBMQ_UNDO_MAP) {
		vbmq_json_put_text(w, o, "target", e->target);
		vbmq_json_put(w, o, "map", map_new(w, e->map, e->n_map));
		if (e->settled)
			vbmq_json_put(w, o, "applied", map_new(w, e->applied_map, e->n_map));
	}
	return o;
}

int vbmq_undo_format(const struct vbmq_undo *u, char **ret, struct vbmq_err *err)
{
	struct vbmq_json_writer w = { .err = err };
	json_t *root = vbmq_json_new_object(&w), *entries = vbmq_json_new_array(&w);

	vbmq_json_put_text(&w, root, "schema", VBMQ_UNDO_SCHEMA);
	for (size_t i = 0; i < u->n_entries && w.code == 0; i++)
		vbmq_json_append(&w, entries, entry_new(&w, &u->entries[i]));
	vbmq_json_put(&w, root, "entries", entries);
	return vbmq_json_print(&w, root, VBMQ_JSON_CANONICAL_PRETTY, VBMQ_UNDO_JSON_MAX, ret);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static uint32_t *read_map(struct vbmq_json *list, size_t n)
{
	uint32_t *map = calloc(n, sizeof(*map));

	if (!map)
		vbmq_json_oom(list->reader);
	for (size_t i = 0; map && i < n && list->reader->code == 0; i++) {
		struct vbmq_json item = vbmq_json_item(list, i);

		map[i] = (uint32_t)vbmq_json_int(&item, 0, UINT32_MAX, 0);
	}
	return map;
}

/* What was set last is there once that is known: "settled" of the other kinds. */
static void read_maps(struct vbmq_json *v, struct vbmq_undo_entry *e)
{
	struct vbmq_json map = vbmq_json_need(v, "map"), applied = vbmq_json_opt(v, "applied");

	e->n_map = vbmq_json_array(&map, 1, VBMQ_QUEUES_MAX);
	if (v->reader->code == 0)
		e->map = read_map(&map, e->n_map);
	e->settled = applied.value;
	if (!applied.value || v->reader->code < 0)
		return;
	if (vbmq_json_array(&applied, 1, VBMQ_QUEUES_MAX) != e->n_map)
		vbmq_json_fail(&applied, -EINVAL, "has not as many queues as \"map\"");
	else
		e->applied_map = read_map(&applied, e->n_map);
}

/* What names the thing; kind and thread are enums of the key. */
static void read_key(struct vbmq_json *v, struct vbmq_undo_entry *key)
{
	key->kind = (enum vbmq_undo_kind)vbmq_json_need_word(v, "kind", vbmq_undo_kind_words);
	if (key->kind == VBMQ_UNDO_PART) {
		key->thread = VBMQ_THREAD_EMULATOR;
		key->id = (uint32_t)vbmq_json_need_word(v, "part", vbmq_part_words);
	} else if (key->kind == VBMQ_UNDO_IRQ) {
		key->thread = VBMQ_THREAD_EMULATOR;
		key->id = (uint32_t)vbmq_json_need_int(v, "irq", 0, INT32_MAX);
		vbmq_json_need_irq_name(v, key->target);
		return;
	} else {
		vbmq_json_need_uuid(v, "uuid", key->uuid);
	}
	key->tid = (uint32_t)vbmq_json_need_int(v, "tid", 0, INT32_MAX);
	if (key->kind == VBMQ_UNDO_AFFINITY)
		key->thread = (enum vbmq_thread_kind)vbmq_json_need_word(v, "thread", vbmq_thread_kind_words);
	if (key->kind == VBMQ_UNDO_AFFINITY || key->kind == VBMQ_UNDO_POLLING || key->kind == VBMQ_UNDO_ADDED)
		key->id = (uint32_t)vbmq_json_need_int(v, "id", 0, UINT32_MAX);
	if (key->kind == VBMQ_UNDO_MAP)
		vbmq_json_need_target(v, "target", key->target);
}

static void read_found(struct vbmq_json *v, struct vbmq_undo_entry *e)
{
	struct vbmq_json polling;

	if (e->kind == VBMQ_UNDO_IRQ) {
		vbmq_json_need_cpus(v, "found", true, &e->found);
		vbmq_json_need_cpus(v, "applied", true, &e->applied);
		e->settled = vbmq_json_need_bool(v, "settled");
		vbmq_json_end(v);
		return;
	}
	if (e->kind != VBMQ_UNDO_PART)
		e->name = vbmq_json_need_dup(v, "name", 0, VBMQ_NAME_MAX);
	e->start = (uint64_t)vbmq_json_need_int(v, "start", 0, INT64_MAX);
	if (e->kind == VBMQ_UNDO_AFFINITY || e->kind == VBMQ_UNDO_TASK || e->kind == VBMQ_UNDO_PART)
		vbmq_json_need_cpus(v, "found", true, &e->found);
	if (e->kind == VBMQ_UNDO_PART) {
		vbmq_json_need_cpus(v, "applied", true, &e->applied);
		e->settled = vbmq_json_need_bool(v, "settled");
	} else if (e->kind == VBMQ_UNDO_AFFINITY) {
		e->had_pin = vbmq_json_opt_cpus(v, "pin", false, &e->pin);
		vbmq_json_need_cpus(v, "applied", true, &e->applied);
		e->exclusive = vbmq_json_need_bool(v, "exclusive");
		e->settled = vbmq_json_need_bool(v, "settled");
	} else if (e->kind == VBMQ_UNDO_POLLING) {
		e->polling = (struct vbmq_polling){ .max_ns = POLLING_UNKNOWN, .mode = VBMQ_POLL_UNSAID };
		polling = vbmq_json_opt(v, "polling");
		if (polling.value)
			vbmq_json_polling(&polling, &e->polling);
	} else if (e->kind == VBMQ_UNDO_MAP) {
		read_maps(v, e);
	}
	vbmq_json_end(v);
}

static void read_entry(struct vbmq_json *v, struct vbmq_undo *u)
{
	struct vbmq_undo_entry key = { .kind = VBMQ_UNDO_AFFINITY }, *e;
	bool is_new = false;

	read_key(v, &key);
	if (v->reader->code < 0)
		return;
	e = vbmq_undo_entry(u, key.kind, key.uuid, key.thread, key.id, key.tid, key.target, &is_new);
	if (!e)
		vbmq_json_oom(v->reader);
	else if (!is_new)
		vbmq_json_fail(v, -EINVAL, "the thing it speaks of has an entry already");
	else
		read_found(v, e);
}

int vbmq_undo_parse(const char *name, const char *json, size_t len, struct vbmq_undo **ret, struct vbmq_err *err)
{
	_cleanup_(vbmq_undo_freep) struct vbmq_undo *u = vbmq_undo_new();
	struct vbmq_json_reader reader = { .name = name, .err = err };
	struct vbmq_json root, entries;
	json_t *tree;
	size_t n;
	int r;

	if (!u)
		return vbmq_err_oom(err);
	r = vbmq_json_load(&reader, json, len, VBMQ_UNDO_JSON_MAX, &tree);
	if (r < 0)
		return r;
	root = vbmq_json_root(&reader, tree, NULL);
	vbmq_json_need_schema(&root, VBMQ_UNDO_SCHEMA);
	entries = vbmq_json_need(&root, "entries");
	n = vbmq_json_array(&entries, 0, VBMQ_UNDO_ENTRIES_MAX);
	for (size_t i = 0; i < n && reader.code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&entries, i);

		read_entry(&v, u);
	}
	vbmq_json_end(&root);
	json_decref(tree);
	if (reader.code < 0)
		return reader.code;
	*ret = VBMQ_STEAL(u);
	return 0;
}
