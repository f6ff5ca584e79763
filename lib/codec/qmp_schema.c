/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * query-qmp-schema -> capabilities.
 *
 * The schema is a flat list; types have arbitrary names and are found by following names from a command: object-add has
 * an argument type with one variant a QOM class, and the type of its case "iothread" lists what an I/O thread can be
 * given. Commands keep their real names. The list is read once into a sorted index, so a hostile schema costs n log n.
 */

#include "codec/qmp_reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/qmp_json.h"
#include "util/cleanup.h"
#include "util/err.h"

static const char command[] = "query-qmp-schema";

#define ENTITIES_MAX 65536u

struct entity {
	const char *name, *meta; /* of the document */
	const json_t *json;
};

struct schema {
	struct entity *items; /* by name, meta-type */
	size_t n;
};

static int compare(const struct entity *x, const struct entity *y)
{
	int r = strcmp(x->name, y->name);

	return r ? r : strcmp(x->meta, y->meta);
}

static int by_name(const void *a, const void *b)
{
	return compare(a, b);
}

static const json_t *find(const struct schema *s, const char *name, const char *meta)
{
	const struct entity key = { .name = name, .meta = meta };
	const struct entity *e = s->n && name ? bsearch(&key, s->items, s->n, sizeof(*s->items), by_name) : NULL;

	return e ? e->json : NULL;
}

static int index_schema(const json_t *list, struct schema *s, struct vbmq_err *err)
{
	size_t n = json_array_size(list);

	if (!n)
		return vbmq_err_set(err, -EPROTO, "%s: the schema is empty", command);
	s->items = calloc(n, sizeof(*s->items));
	if (!s->items)
		return vbmq_err_oom(err);
	for (s->n = 0; s->n < n; s->n++) {
		struct entity *e = &s->items[s->n];
		int r;

		e->json = json_array_get(list, s->n);
		r = vbmq_qmp_get_text(command, e->json, s->n, "name", &e->name, err);
		if (r >= 0)
			r = vbmq_qmp_get_text(command, e->json, s->n, "meta-type", &e->meta, err);
		if (r < 0)
			return r;
	}
	qsort(s->items, n, sizeof(*s->items), by_name);
	for (size_t i = 1; i < n; i++)
		if (!compare(&s->items[i - 1], &s->items[i]))
			return vbmq_err_set(err, -EPROTO, "%s: %s '%.64s' comes twice", command, s->items[i].meta,
					    s->items[i].name);
	return 0;
}

/* The item of a list of objects in which key is value. */
static const json_t *find_item(const json_t *list, const char *key, const char *value)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		const char *text = json_string_value(json_object_get(item, key));

		if (text && !strcmp(text, value))
			return item;
	}
	return NULL;
}

/* What object-add takes for an I/O thread; NULL: it cannot make one. */
static const json_t *iothread_members(const struct schema *s)
{
	const json_t *add = find(s, "object-add", "command");
	const json_t *arg = find(s, json_string_value(json_object_get(add, "arg-type")), "object");
	const json_t *variant = find_item(json_object_get(arg, "variants"), "case", "iothread");
	const json_t *type = find(s, json_string_value(json_object_get(variant, "type")), "object");

	return json_object_get(type, "members");
}

int vbmq_qmp_schema_caps(const char *reply, size_t len, struct vbmq_caps *ret, struct vbmq_err *err)
{
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ struct entity *items = NULL;
	struct schema s = { .items = NULL };
	const json_t *members;
	json_t *list = NULL;
	uint32_t bits = 0;
	int r = vbmq_qmp_reply(command, reply, len, &doc, &list, err);

	if (r >= 0)
		r = vbmq_qmp_check_array(command, list, ENTITIES_MAX, err);
	if (r >= 0)
		r = index_schema(list, &s, err);
	items = s.items;
	if (r < 0)
		return r;
	members = iothread_members(&s);
	if (members)
		bits |= VBMQ_CAP_ADD_IOTHREAD;
	if (find_item(members, "name", "poll-max-ns") && find(&s, "qom-set", "command"))
		bits |= VBMQ_CAP_POLLING;
	if (find_item(members, "name", "poll-mode") && find(&s, "qom-set", "command"))
		bits |= VBMQ_CAP_POLL_MODE;
	if (find(&s, "virtio-blk-set-iothread-vq-mapping", "command"))
		bits |= VBMQ_CAP_LIVE_MAP;
	if (find(&s, "query-virtio-placement", "command"))
		bits |= VBMQ_CAP_PLACEMENT;
	ret->bits = bits;
	return 0;
}
