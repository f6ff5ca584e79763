/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Guests out of templates. A guest gets the template's name pattern with its number, a UUID that is derived from the name
 * (so that the same description always gives the same plan id), and, where the template leaves the memory's node to us,
 * the node that has the fewest vCPUs for its CPUs so far, the lowest of equals: what an operator would do who starts them
 * one by one. Guests that are there already count with their vCPUs on the nodes of their memory.
 */

#include "core/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"
#include "util/sha256.h"
#include "util/strbuf.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

void vbmq_fleet_done(struct vbmq_fleet *f)
{
	for (size_t i = 0; i < f->n_templates; i++) {
		free(f->templates[i].name);
		free(f->templates[i].pattern);
		free(f->templates[i].origin);
		vbmq_domain_free(f->templates[i].model);
	}
	free(f->templates);
	*f = (struct vbmq_fleet){ .templates = NULL };
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

/* The place of "%d" or "%0Nd", its width and what follows; NULL: not of the form. */
static const char *find_number(const char *pattern, size_t *ret_digits, const char **ret_rest)
{
	const char *at = strchr(pattern, '%'), *end = at ? at + 1 : NULL;
	size_t digits = 1;

	if (!at)
		return NULL;
	if (end[0] == '0' && end[1] >= '1' && end[1] <= '9') {
		digits = (size_t)(end[1] - '0');
		end += 2;
	}
	if (*end != 'd' || strchr(end, '%'))
		return NULL;
	*ret_digits = digits;
	*ret_rest = end + 1;
	return at;
}

int vbmq_fleet_check_pattern(const char *pattern, struct vbmq_err *err)
{
	const char *rest;
	size_t digits;

	if (!find_number(pattern, &digits, &rest))
		return vbmq_err_set(err, -EINVAL,
				    "'%s' needs just one %%d (or %%03d for three digits), which stands for the guest's "
				    "number, as in db%%d",
				    pattern);
	for (const char *c = pattern; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '/')
			return vbmq_err_set(err, -EINVAL, "a domain's name has no control characters and no '/'");
	if (strlen(pattern) + 10 > VBMQ_NAME_MAX)
		return vbmq_err_set(err, -EINVAL, "the pattern is too long: a domain's name has %u bytes at most",
				    VBMQ_NAME_MAX);
	return 0;
}

/* Caller frees; NULL: no memory. */
static char *guest_name(const char *pattern, uint32_t number)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	const char *rest = pattern, *at;
	size_t digits = 1;

	at = find_number(pattern, &digits, &rest);
	if (at)
		vbmq_strbuf_add_bytes(&b, pattern, (size_t)(at - pattern));
	vbmq_strbuf_printf(&b, "%0*u%s", (int)digits, number, rest);
	return vbmq_strbuf_steal(&b);
}

/* A name-based UUID (version 8 of RFC 9562): the same name always gives the same one. */
static void derive_uuid(const char *name, char ret[37])
{
	static const char space[] = "urn:vbmq:fleet:1";
	struct vbmq_sha256 sha;
	uint8_t digest[32];
	char hex[33];

	vbmq_sha256_init(&sha);
	vbmq_sha256_add(&sha, space, sizeof(space));
	vbmq_sha256_add(&sha, name, strlen(name));
	vbmq_sha256_end(&sha, digest);
	digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80);
	digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
	vbmq_sha256_hex(digest, 32, hex);
	vbmq_parse_uuid(hex, ret); /* accepts 32 digits, writes the dashes */
}

int vbmq_fleet_add(struct vbmq_fleet *f, const char *origin, const char *name, const char *pattern, uint32_t count,
		   struct vbmq_domain *model, struct vbmq_err *err)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *owned = model;
	_cleanup_free_ char *own_name = strdup(name), *own_pattern = strdup(pattern), *own_origin = strdup(origin);
	struct vbmq_template *t;
	int r = vbmq_fleet_check_pattern(pattern, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < f->n_templates; i++)
		if (strcmp(f->templates[i].name, name) == 0)
			return vbmq_err_set(err, -EEXIST, "template '%s' is there twice", name);
	if (f->n_templates == VBMQ_TEMPLATES_MAX)
		return vbmq_err_set(err, -E2BIG, "more than %u templates", VBMQ_TEMPLATES_MAX);
	t = own_name && own_pattern && own_origin ? vbmq_array_add(f->templates, f->n_templates, VBMQ_TEMPLATES_MAX)
						  : NULL;
	if (!t)
		return vbmq_err_oom(err);
	t->name = VBMQ_STEAL(own_name);
	t->pattern = VBMQ_STEAL(own_pattern);
	t->origin = VBMQ_STEAL(own_origin);
	t->count = count;
	t->model = VBMQ_STEAL(owned);
	return 0;
}

/* --- nodes ------------------------------------------------------------------------------------------------------------ */

struct load {
	uint64_t *vcpus; /* by index of node */
	const struct vbmq_host *host;
};

static void count_guest(struct load *l, const struct vbmq_domain *d)
{
	for (size_t n = 0; n < l->host->n_nodes; n++)
		if (vbmq_cpuset_has(&d->memory_nodes, l->host->nodes[n].id))
			l->vcpus[n] += d->n_vcpus;
}

/* Linux number of the node with the fewest vCPUs for its usable CPUs; there is one: hosts have usable CPUs. */
static uint32_t least_loaded(const struct load *l)
{
	uint64_t best_vcpus = 0, best_cpus = 0;
	uint32_t best = 0;

	for (size_t n = 0; n < l->host->n_nodes; n++) {
		struct vbmq_cpuset usable = vbmq_cpuset_and(&l->host->nodes[n].cpus, &l->host->usable);
		uint64_t cpus = vbmq_cpuset_count(&usable);

		if (cpus && (!best_cpus || l->vcpus[n] * best_cpus < best_vcpus * cpus)) {
			best = l->host->nodes[n].id;
			best_vcpus = l->vcpus[n];
			best_cpus = cpus;
		}
	}
	return best;
}

/* --- guests ----------------------------------------------------------------------------------------------------------- */

static int add_guest(const struct vbmq_template *t, uint32_t number, struct load *load, struct vbmq_snapshot *s,
		     struct vbmq_err *err)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	int node;

	if (vbmq_domain_copy(t->model, &d) < 0)
		return vbmq_err_oom(err);
	free(d->name);
	d->name = guest_name(t->pattern, number);
	if (!d->name)
		return vbmq_err_oom(err);
	derive_uuid(d->name, d->uuid);
	if (t->memory_auto)
		d->memory_nodes = vbmq_cpuset_of(least_loaded(load));
	count_guest(load, d);
	node = vbmq_cpuset_next(&d->memory_nodes, 0);
	for (size_t i = 0; i < d->n_disks; i++)
		if (vbmq_cpuset_has(&t->auto_disks, (unsigned)i))
			d->disks[i].node = node < 0 ? VBMQ_NODE_UNKNOWN : node;
	return vbmq_snapshot_add(s, VBMQ_STEAL(d), err);
}

static int check_nodes(const struct vbmq_template *t, const struct vbmq_host *h, struct vbmq_err *err)
{
	const struct vbmq_cpuset *nodes = &t->model->memory_nodes;

	for (int n = vbmq_cpuset_next(nodes, 0); n >= 0; n = vbmq_cpuset_next(nodes, (unsigned)n + 1))
		if (vbmq_host_node_index(h, (uint32_t)n) < 0)
			return vbmq_err_set(err, -EINVAL, "its memory is on node %d, which host '%s' does not have", n,
					    h->name);
	for (size_t i = 0; i < t->model->n_disks; i++)
		if (t->model->disks[i].node != VBMQ_NODE_UNKNOWN &&
		    vbmq_host_node_index(h, (uint32_t)t->model->disks[i].node) < 0)
			return vbmq_err_set(err, -EINVAL, "disk %s is on node %d, which host '%s' does not have",
					    t->model->disks[i].target, t->model->disks[i].node, h->name);
	return 0;
}

int vbmq_fleet_fill(const struct vbmq_fleet *f, const uint32_t *counts, struct vbmq_snapshot *s, struct vbmq_err *err)
{
	_cleanup_free_ uint64_t *vcpus = calloc(s->host->n_nodes + 1, sizeof(*vcpus));
	struct load load = { .vcpus = vcpus, .host = s->host };
	uint64_t n = s->n_domains;
	int r = 0;

	if (!vcpus)
		return vbmq_err_oom(err);
	for (size_t i = 0; i < f->n_templates; i++)
		n += counts ? counts[i] : f->templates[i].count;
	if (n > VBMQ_DOMAINS_MAX)
		return vbmq_err_set(err, -E2BIG, "the fleet makes it %llu domains, at most %u are planned together",
				    (unsigned long long)n, VBMQ_DOMAINS_MAX);
	for (size_t i = 0; i < s->n_domains; i++)
		count_guest(&load, s->domains[i]);
	for (size_t i = 0; i < f->n_templates && r == 0; i++) {
		r = check_nodes(&f->templates[i], s->host, err);
		for (uint32_t k = 0; k < (counts ? counts[i] : f->templates[i].count) && r == 0; k++)
			r = add_guest(&f->templates[i], k + 1, &load, s, err);
		if (r < 0 && r != -ENOMEM)
			vbmq_err_prefix(err, "%s: template '%s': ", f->templates[i].origin, f->templates[i].name);
	}
	return r;
}

static int by_name(const void *key, const void *item)
{
	const struct vbmq_domain *const *d = item;

	return strcmp(key, (*d)->name);
}

uint32_t *vbmq_fleet_members(const struct vbmq_fleet *f, const uint32_t *counts, const struct vbmq_snapshot *s)
{
	_cleanup_free_ uint32_t *of = malloc((s->n_domains + 1) * sizeof(*of));

	for (size_t i = 0; of && i < s->n_domains; i++)
		of[i] = VBMQ_NO_TEMPLATE;
	for (size_t i = 0; of && i < f->n_templates; i++)
		for (uint32_t k = 0; k < (counts ? counts[i] : f->templates[i].count); k++) {
			_cleanup_free_ char *name = guest_name(f->templates[i].pattern, k + 1);
			struct vbmq_domain **found =
				name ? bsearch(name, s->domains, s->n_domains, sizeof(*s->domains), by_name) : NULL;

			if (!name)
				return NULL;
			if (found)
				of[found - s->domains] = (uint32_t)i;
		}
	return VBMQ_STEAL(of);
}
