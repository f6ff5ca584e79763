/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "codec/json_snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "codec/json_parts.h"
#include "util/cleanup.h"
#include "util/err.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_snapshot_free);

json_t *vbmq_json_snapshot_new(struct vbmq_json_writer *w, const struct vbmq_snapshot *s, bool with_policy)
{
	json_t *o = vbmq_json_new_object(w), *domains = vbmq_json_new_array(w);

	vbmq_json_put_text(w, o, "schema", VBMQ_SNAPSHOT_SCHEMA);
	vbmq_json_put(w, o, "host", vbmq_json_host_new(w, s->host));
	for (size_t i = 0; i < s->n_domains && w->code == 0; i++) {
		vbmq_json_append(w, domains, vbmq_json_domain_new(w, s->domains[i]));
		if (w->code == -EILSEQ || w->code == -ERANGE)
			vbmq_err_prefix(w->err, "domain '%s': ", s->domains[i]->name);
	}
	vbmq_json_put(w, o, "domains", domains);
	if (s->n_irqs)
		vbmq_json_put(w, o, "irqs", vbmq_json_irqs_new(w, s));
	if (with_policy && s->policy)
		vbmq_json_put(w, o, "policy", vbmq_json_policy_new(w, s->policy));
	return o;
}

int vbmq_snapshot_format(const struct vbmq_snapshot *s, bool pretty, char **ret, struct vbmq_err *err)
{
	struct vbmq_json_writer w = { .err = err };
	json_t *root = vbmq_json_snapshot_new(&w, s, true);

	return vbmq_json_print(&w, root, pretty ? VBMQ_JSON_CANONICAL_PRETTY : VBMQ_JSON_CANONICAL,
			       VBMQ_SNAPSHOT_JSON_MAX, ret);
}

static void read_domains(struct vbmq_json *root, struct vbmq_snapshot *s)
{
	struct vbmq_json list = vbmq_json_need(root, "domains");
	size_t n = vbmq_json_array(&list, 0, VBMQ_DOMAINS_MAX);

	for (size_t i = 0; i < n && root->reader->code == 0; i++) {
		struct vbmq_json v = vbmq_json_item(&list, i);
		struct vbmq_domain *d = vbmq_domain_new();
		struct vbmq_err cause = VBMQ_ERR_INIT;
		int r;

		if (!d) {
			vbmq_json_oom(v.reader);
			return;
		}
		vbmq_json_domain(&v, d);
		if (v.reader->code < 0) {
			vbmq_domain_free(d);
			return;
		}
		r = vbmq_snapshot_add(s, d, &cause);
		if (r == -ENOMEM)
			vbmq_json_oom(v.reader);
		else if (r < 0)
			vbmq_json_fail(&v, -EINVAL, "%s", cause.text);
	}
}

static void read_snapshot(struct vbmq_json *root, struct vbmq_snapshot *s)
{
	struct vbmq_json m;

	vbmq_json_need_schema(root, VBMQ_SNAPSHOT_SCHEMA);
	m = vbmq_json_need(root, "host");
	s->host = vbmq_host_new();
	if (s->host)
		vbmq_json_host(&m, s->host);
	else
		vbmq_json_oom(root->reader);
	read_domains(root, s);
	m = vbmq_json_opt(root, "irqs");
	vbmq_json_irqs(&m, s);
	m = vbmq_json_opt(root, "policy");
	if (m.value) {
		s->policy = malloc(sizeof(*s->policy));
		if (!s->policy) {
			vbmq_json_oom(root->reader);
			return;
		}
		vbmq_policy_init(s->policy);
		vbmq_json_policy(&m, s->policy);
	}
	vbmq_json_end(root);
}

int vbmq_snapshot_parse(const char *name, const char *json, size_t len, struct vbmq_snapshot **ret,
			struct vbmq_err *err)
{
	_cleanup_(vbmq_snapshot_freep) struct vbmq_snapshot *s = vbmq_snapshot_new();
	struct vbmq_json_reader reader = { .name = name, .err = err };
	struct vbmq_err cause = VBMQ_ERR_INIT;
	struct vbmq_json root;
	json_t *tree;
	int r;

	if (!s)
		return vbmq_err_oom(err);
	r = vbmq_json_load(&reader, json, len, VBMQ_SNAPSHOT_JSON_MAX, &tree);
	if (r < 0)
		return r;
	root = vbmq_json_root(&reader, tree, NULL);
	read_snapshot(&root, s);
	json_decref(tree);
	if (reader.code < 0)
		return reader.code;
	r = vbmq_host_finish(s->host, &cause);
	if (r == 0)
		r = vbmq_snapshot_finish(s, &cause);
	if (r == -ENOMEM)
		return vbmq_err_oom(err);
	if (r < 0)
		return vbmq_err_set(err, -EINVAL, "%s: %s", name, cause.text);
	*ret = VBMQ_STEAL(s);
	return 0;
}
