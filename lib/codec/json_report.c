/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came of a plan: its steps with their outcome, what verify found, and the counts of both. */

#include <string.h>

#include "codec/json_parts.h"
#include "codec/json_plan.h"
#include "util/cleanup.h"
#include "util/err.h"

#define OUTCOMES (VBMQ_OUTCOME_UNDO_FAILED + 1)

struct names {
	const struct vbmq_plan *plan;
	const struct vbmq_snapshot *snapshot;
};

static const char *domain_name(const struct names *n, uint32_t index)
{
	if (n->plan)
		return index < n->plan->placement->n_domains ? n->plan->placement->domains[index].name : "";
	return n->snapshot && index < n->snapshot->n_domains ? n->snapshot->domains[index]->name : "";
}

/* The name of an errno ("ETIMEDOUT"): the numbers differ between architectures. */
static const char *error_name(int error)
{
	const char *name = strerrorname_np(error < 0 ? -error : error);

	return name ? name : "UNKNOWN";
}

static json_t *steps_new(struct vbmq_json_writer *w, const struct vbmq_report *r, const struct names *names,
			 const struct vbmq_step *steps, size_t n_steps)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < n_steps && i < r->n_results && w->code == 0; i++) {
		const struct vbmq_step_result *result = &r->results[i];
		json_t *o = vbmq_json_step_new(
			w, &steps[i], vbmq_step_is_of_host(&steps[i]) ? NULL : domain_name(names, steps[i].domain));

		vbmq_json_put_text(w, o, "outcome", vbmq_outcome_words[result->outcome]);
		if (result->error != 0)
			vbmq_json_put_text(w, o, "error", error_name(result->error));
		if (result->text)
			vbmq_json_put_prose(w, o, "text", result->text);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *checks_new(struct vbmq_json_writer *w, const struct vbmq_report *r, const struct names *names)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < r->n_checks && w->code == 0; i++) {
		const struct vbmq_check *c = &r->checks[i];
		json_t *o = vbmq_json_new_object(w);

		vbmq_json_put_text(w, o, "check", vbmq_check_words[c->kind]);
		if (!c->is_part && !c->is_irq)
			vbmq_json_put_text(w, o, "domain", domain_name(names, c->domain));
		if (c->is_irq) {
			vbmq_json_put_int(w, o, "irq", c->id);
			vbmq_json_put_cpus(w, o, "want", &c->want);
			vbmq_json_put_cpus(w, o, "is", &c->is);
		} else if (c->is_part) {
			vbmq_json_put_text(w, o, "host", vbmq_part_words[c->id]);
			vbmq_json_put_cpus(w, o, "want", &c->want);
			vbmq_json_put_cpus(w, o, "is", &c->is);
		} else if (c->is_disk) {
			vbmq_json_put_text(w, o, "disk", c->target);
		} else {
			vbmq_json_put_text(w, o, "kind", vbmq_thread_kind_words[c->thread]);
			if (c->thread != VBMQ_THREAD_EMULATOR)
				vbmq_json_put_int(w, o, "id", c->id);
			if (c->kind == VBMQ_CHECK_OK || c->kind == VBMQ_CHECK_DRIFT || c->kind == VBMQ_CHECK_OVERLAP) {
				vbmq_json_put_cpus(w, o, "want", &c->want);
				vbmq_json_put_cpus(w, o, "is", &c->is);
			}
		}
		if (c->text)
			vbmq_json_put_prose(w, o, "text", c->text);
		vbmq_json_append(w, list, o);
	}
	return list;
}

static json_t *counts_new(struct vbmq_json_writer *w, const struct vbmq_report *r)
{
	static const char *const keys[OUTCOMES] = { "pending", "done",	 "dry_run",    "failed",
						    "skipped", "undone", "undo_failed" };
	json_t *o = vbmq_json_new_object(w);
	int64_t n[OUTCOMES] = { 0 };

	for (size_t i = 0; i < r->n_results; i++)
		n[r->results[i].outcome]++;
	vbmq_json_put_int(w, o, "steps", (int64_t)r->n_results);
	for (size_t i = 0; i < OUTCOMES; i++)
		vbmq_json_put_int(w, o, keys[i], n[i]);
	vbmq_json_put_int(w, o, "domains_failed", (int64_t)r->n_domains_failed);
	vbmq_json_put_int(w, o, "checks", (int64_t)r->n_checks);
	vbmq_json_put_int(w, o, "bad_checks", (int64_t)r->n_bad_checks);
	return o;
}

static json_t *unread_new(struct vbmq_json_writer *w, const struct vbmq_report *r)
{
	json_t *list = vbmq_json_new_array(w);

	for (size_t i = 0; i < r->n_unread; i++)
		vbmq_json_append(w, list, json_string(r->unread[i]));
	return list;
}

/* Everything that was to be done is done (or would be), and was looked at and is as it should be. */
static bool is_ok(const struct vbmq_report *r)
{
	for (size_t i = 0; i < r->n_results; i++)
		if (r->results[i].outcome != VBMQ_OUTCOME_DONE && r->results[i].outcome != VBMQ_OUTCOME_DRY_RUN)
			return false;
	return r->n_domains_failed == 0 && r->n_bad_checks == 0 && r->n_unread == 0;
}

int vbmq_report_format(const struct vbmq_report *report, const struct vbmq_plan *plan,
		       const struct vbmq_snapshot *snapshot, const struct vbmq_step *steps, size_t n_steps, bool pretty,
		       char **ret, struct vbmq_err *err)
{
	const struct names names = { plan, snapshot };
	struct vbmq_json_writer w = { .err = err };
	json_t *root = vbmq_json_new_object(&w);

	vbmq_json_put_text(&w, root, "schema", VBMQ_REPORT_SCHEMA);
	vbmq_json_put_text(&w, root, "plan_id", report->plan_id);
	vbmq_json_put_bool(&w, root, "dry_run", report->dry_run);
	vbmq_json_put_bool(&w, root, "ok", is_ok(report));
	vbmq_json_put(&w, root, "steps", steps_new(&w, report, &names, steps, n_steps));
	vbmq_json_put(&w, root, "checks", checks_new(&w, report, &names));
	vbmq_json_put(&w, root, "unread", unread_new(&w, report));
	vbmq_json_put(&w, root, "counts", counts_new(&w, report));
	return vbmq_json_print(&w, root, pretty ? VBMQ_JSON_PRETTY : VBMQ_JSON_COMPACT, 0, ret);
}
