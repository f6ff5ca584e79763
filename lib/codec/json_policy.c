/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "codec/json_policy.h"

#include <errno.h>
#include <string.h>

#include "codec/json_parts.h"
#include "util/err.h"

static const char *const count_words[] = { "auto", NULL };

/* --- counts: "auto" or a number --------------------------------------------------------------------------------------- */

static void put_count(struct vbmq_json_writer *w, json_t *o, const char *key, int32_t count)
{
	if (count == VBMQ_COUNT_AUTO)
		vbmq_json_put_text(w, o, key, "auto");
	else if (count != VBMQ_COUNT_UNSAID)
		vbmq_json_put_int(w, o, key, count);
}

static void opt_count(struct vbmq_json *o, const char *key, int64_t max, int32_t *ret)
{
	struct vbmq_json v = vbmq_json_opt(o, key);

	if (v.value && json_is_string(v.value))
		*ret = vbmq_json_word(&v, count_words, 0) == 0 ? VBMQ_COUNT_AUTO : *ret;
	else
		*ret = (int32_t)vbmq_json_int(&v, 1, max, *ret);
}

/* --- wish ------------------------------------------------------------------------------------------------------------- */

json_t *vbmq_json_wish_new(struct vbmq_json_writer *w, const struct vbmq_wish *wish)
{
	json_t *o = vbmq_json_new_object(w), *disks;

	if (wish->enabled != VBMQ_UNSAID)
		vbmq_json_put_bool(w, o, "enabled", wish->enabled == VBMQ_YES);
	if (wish->has_priority)
		vbmq_json_put_int(w, o, "priority", wish->priority);
	put_count(w, o, "iothreads", wish->iothreads);
	if (wish->exclusive != VBMQ_EXCLUSIVE_UNSAID)
		vbmq_json_put_text(w, o, "exclusive", vbmq_exclusive_words[wish->exclusive]);
	if (wish->poll != VBMQ_POLL_UNSAID)
		vbmq_json_put_text(w, o, "poll", vbmq_poll_words[wish->poll]);
	if (wish->vcpus != VBMQ_VCPUS_UNSAID)
		vbmq_json_put_text(w, o, "vcpus", vbmq_vcpus_words[wish->vcpus]);
	if (wish->n_disks == 0)
		return o;
	disks = vbmq_json_new_array(w);
	for (size_t i = 0; i < wish->n_disks; i++) {
		json_t *disk = vbmq_json_new_object(w);

		vbmq_json_put_text(w, disk, "target", wish->disks[i].target);
		put_count(w, disk, "iothreads", wish->disks[i].iothreads);
		put_count(w, disk, "queues", wish->disks[i].queues);
		vbmq_json_append(w, disks, disk);
	}
	vbmq_json_put(w, o, "disks", disks);
	return o;
}

static void read_disk_wish(struct vbmq_json *v, struct vbmq_wish *ret)
{
	char target[VBMQ_TARGET_MAX + 1] = "";
	struct vbmq_disk_wish *disk;

	vbmq_json_need_target(v, "target", target);
	if (v->reader->code < 0)
		return;
	if (vbmq_wish_find_disk(ret, target)) {
		vbmq_json_fail(v, -EINVAL, "disk \"%s\" is there twice", target);
		return;
	}
	disk = vbmq_wish_disk(ret, target, true);
	if (!disk) {
		vbmq_json_oom(v->reader);
		return;
	}
	opt_count(v, "iothreads", VBMQ_IOTHREADS_MAX, &disk->iothreads);
	opt_count(v, "queues", VBMQ_QUEUES_MAX, &disk->queues);
	vbmq_json_end(v);
}

void vbmq_json_wish(struct vbmq_json *v, struct vbmq_wish *ret)
{
	struct vbmq_json m;
	size_t n;

	ret->present = true;
	m = vbmq_json_opt(v, "enabled");
	if (m.value)
		ret->enabled = vbmq_json_opt_bool(v, "enabled", false) ? VBMQ_YES : VBMQ_NO;
	m = vbmq_json_opt(v, "priority");
	if (m.value) {
		ret->has_priority = true;
		ret->priority = (int32_t)vbmq_json_int(&m, VBMQ_PRIORITY_MIN, VBMQ_PRIORITY_MAX, 0);
	}
	opt_count(v, "iothreads", VBMQ_IOTHREADS_MAX, &ret->iothreads);
	m = vbmq_json_opt(v, "exclusive");
	ret->exclusive = (enum vbmq_exclusive)vbmq_json_word(&m, vbmq_exclusive_words, ret->exclusive);
	m = vbmq_json_opt(v, "poll");
	ret->poll = (enum vbmq_poll)vbmq_json_word(&m, vbmq_poll_words, ret->poll);
	m = vbmq_json_opt(v, "vcpus");
	ret->vcpus = (enum vbmq_vcpus)vbmq_json_word(&m, vbmq_vcpus_words, ret->vcpus);
	m = vbmq_json_opt(v, "disks");
	n = vbmq_json_array(&m, 0, VBMQ_DISKS_MAX);
	for (size_t i = 0; i < n && v->reader->code == 0; i++) {
		struct vbmq_json item = vbmq_json_item(&m, i);

		read_disk_wish(&item, ret);
	}
	vbmq_json_end(v);
}

/* --- policy ----------------------------------------------------------------------------------------------------------- */

static bool says_something(const struct vbmq_wish *w)
{
	return w->enabled != VBMQ_UNSAID || w->has_priority || w->iothreads != VBMQ_COUNT_UNSAID ||
	       w->exclusive != VBMQ_EXCLUSIVE_UNSAID || w->poll != VBMQ_POLL_UNSAID || w->vcpus != VBMQ_VCPUS_UNSAID ||
	       w->n_disks > 0;
}

json_t *vbmq_json_policy_new(struct vbmq_json_writer *w, const struct vbmq_policy *p)
{
	json_t *o = vbmq_json_new_object(w);

	vbmq_json_put_bool(w, o, "manage_by_default", p->manage_by_default);
	vbmq_json_put_bool(w, o, "hold_others", p->hold_others);
	vbmq_json_put(w, o, "defaults", vbmq_json_wish_new(w, &p->defaults));
	vbmq_json_put_int(w, o, "auto_max", p->auto_max);
	vbmq_json_put_int(w, o, "shared_min_cores", p->shared_min_cores);
	vbmq_json_put_cpus(w, o, "reserved", &p->reserved);
	vbmq_json_put_cpus(w, o, "dedicated", &p->dedicated);
	vbmq_json_put_text(w, o, "drift", vbmq_drift_words[p->drift]);
	vbmq_json_put_int(w, o, "move_gain", p->move_gain);
	vbmq_json_put_u64(w, o, "poll_max_ns", p->poll_max_ns);
	vbmq_json_put_int(w, o, "poll_grow", p->poll_grow);
	vbmq_json_put_int(w, o, "poll_shrink", p->poll_shrink);
	if (!p->limit_slices) /* later than the others: said where it differs, so that older plan ids hold */
		vbmq_json_put_bool(w, o, "limit_slices", false);
	if (!p->keep_off_nova)
		vbmq_json_put_bool(w, o, "keep_off_nova", false);
	if (!p->ban_irqs)
		vbmq_json_put_bool(w, o, "ban_irqs", false);
	if (!p->move_irqs)
		vbmq_json_put_bool(w, o, "move_irqs", false);
	if (says_something(&p->override))
		vbmq_json_put(w, o, "override", vbmq_json_wish_new(w, &p->override));
	return o;
}

void vbmq_json_policy(struct vbmq_json *v, struct vbmq_policy *ret)
{
	struct vbmq_json m;

	ret->manage_by_default = vbmq_json_opt_bool(v, "manage_by_default", ret->manage_by_default);
	ret->hold_others = vbmq_json_opt_bool(v, "hold_others", ret->hold_others);
	m = vbmq_json_opt(v, "defaults");
	if (m.value) {
		vbmq_json_wish(&m, &ret->defaults);
		ret->defaults.present = false; /* a word about one domain */
	}
	ret->auto_max = (uint32_t)vbmq_json_opt_int(v, "auto_max", 1, VBMQ_AUTO_MAX_LIMIT, ret->auto_max);
	ret->shared_min_cores =
		(uint32_t)vbmq_json_opt_int(v, "shared_min_cores", 0, VBMQ_CPUS_MAX, ret->shared_min_cores);
	vbmq_json_opt_cpus(v, "reserved", true, &ret->reserved);
	vbmq_json_opt_cpus(v, "dedicated", true, &ret->dedicated);
	m = vbmq_json_opt(v, "drift");
	ret->drift = (enum vbmq_drift)vbmq_json_word(&m, vbmq_drift_words, ret->drift);
	ret->move_gain = (uint32_t)vbmq_json_opt_int(v, "move_gain", 0, VBMQ_MOVE_GAIN_MAX, ret->move_gain);
	ret->poll_max_ns =
		(uint64_t)vbmq_json_opt_int(v, "poll_max_ns", 0, VBMQ_POLL_MAX_NS_LIMIT, (int64_t)ret->poll_max_ns);
	ret->poll_grow = (uint32_t)vbmq_json_opt_int(v, "poll_grow", 0, VBMQ_POLL_FACTOR_LIMIT, ret->poll_grow);
	ret->poll_shrink = (uint32_t)vbmq_json_opt_int(v, "poll_shrink", 0, VBMQ_POLL_FACTOR_LIMIT, ret->poll_shrink);
	ret->limit_slices = vbmq_json_opt_bool(v, "limit_slices", ret->limit_slices);
	ret->keep_off_nova = vbmq_json_opt_bool(v, "keep_off_nova", ret->keep_off_nova);
	ret->ban_irqs = vbmq_json_opt_bool(v, "ban_irqs", ret->ban_irqs);
	ret->move_irqs = vbmq_json_opt_bool(v, "move_irqs", ret->move_irqs);
	m = vbmq_json_opt(v, "override");
	if (m.value) {
		vbmq_json_wish(&m, &ret->override);
		ret->override.present = false;
	}
	vbmq_json_end(v);
}

/* --- the same without a document -------------------------------------------------------------------------------------- */

/* A tree for one who has none to put it into: the only thing that can fail is memory, or text that is not UTF-8. */
static json_t *tree_or_null(const struct vbmq_json_writer *w, json_t *tree)
{
	if (w->code == 0)
		return tree;
	json_decref(tree);
	return NULL;
}

json_t *vbmq_policy_to_json(const struct vbmq_policy *p)
{
	struct vbmq_json_writer w = { .code = 0 };
	json_t *tree = vbmq_json_policy_new(&w, p);

	return tree_or_null(&w, tree);
}

json_t *vbmq_wish_to_json(const struct vbmq_wish *wish)
{
	struct vbmq_json_writer w = { .code = 0 };
	json_t *tree = vbmq_json_wish_new(&w, wish);

	return tree_or_null(&w, tree);
}

int vbmq_policy_from_json(const json_t *j, const char *path, struct vbmq_policy *ret, struct vbmq_err *err)
{
	struct vbmq_json_reader r = { .err = err };
	struct vbmq_json v = vbmq_json_root(&r, j, path);
	struct vbmq_policy p;

	vbmq_policy_init(&p);
	vbmq_json_policy(&v, &p);
	if (r.code < 0) {
		vbmq_policy_done(&p);
		return r.code;
	}
	*ret = p;
	return 0;
}

int vbmq_wish_from_json(const json_t *j, const char *path, struct vbmq_wish *ret, struct vbmq_err *err)
{
	struct vbmq_json_reader r = { .err = err };
	struct vbmq_json v = vbmq_json_root(&r, j, path);
	struct vbmq_wish w = VBMQ_WISH_INIT;

	vbmq_json_wish(&v, &w);
	if (r.code < 0) {
		vbmq_wish_done(&w);
		return r.code;
	}
	*ret = w;
	return 0;
}
