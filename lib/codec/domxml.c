/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libvirt domain XML -> struct vbmq_domain.
 *
 * The XML may be libvirt's own output (normalised, complete) or a file somebody wrote, so what libvirt would fill in is
 * filled in here by its rules: one vCPU, ids of I/O threads, the bus of a disk. Elements that do not matter for placement
 * are not looked at, so a newer libvirt's XML is fine. What matters must be unambiguous: contradictions are errors with
 * the line, because a plan made from a guess would be applied to a guest.
 */

#include "codec/domxml.h"

#include <errno.h>
#include <string.h>

#include "codec/domxml_parts.h"
#include "codec/metadata.h"
#include "core/host.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"
#include "util/sha256.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

static int check_name(const char *name, const xmlNode *node, const char *value, struct vbmq_err *err)
{
	if (!*value || strlen(value) > VBMQ_NAME_MAX)
		return vbmq_xml_fail(name, node, -EINVAL, err, "<name>: a domain's name has 1 to %u bytes",
				     VBMQ_NAME_MAX);
	if (!value[strspn(value, " \t")])
		return vbmq_xml_fail(name, node, -EINVAL, err, "<name>: the name is blank");
	for (const unsigned char *p = (const unsigned char *)value; *p; p++)
		if (*p < 0x20 || *p == 0x7f || *p == '/')
			return vbmq_xml_fail(name, node, -EINVAL, err,
					     "<name>: control characters and '/' cannot be in a domain's name");
	return 0;
}

static int read_name(struct vbmq_domxml *x, struct vbmq_err *err)
{
	_cleanup_xml_str_ char *text = NULL;
	xmlNode *node;
	int r = vbmq_xml_only(x->name, x->root, "name", &node, err);

	if (r < 0)
		return r;
	if (!node)
		return vbmq_xml_fail(x->name, x->root, -EINVAL, err, "<domain> has no <name>");
	r = vbmq_xml_text(node, &text, err);
	if (r >= 0)
		r = check_name(x->name, node, text, err);
	if (r < 0)
		return r;
	x->d->name = strdup(text);
	return x->d->name ? 0 : vbmq_err_oom(err);
}

/* A name-based UUID (version 8 of RFC 9562): the same name always gives the same one. */
static void derive_uuid(const char *domain_name, char ret[37])
{
	static const char space[] = VBMQ_METADATA_URI;
	struct vbmq_sha256 sha;
	uint8_t digest[32];
	char hex[33];

	vbmq_sha256_init(&sha);
	vbmq_sha256_add(&sha, space, sizeof(space));
	vbmq_sha256_add(&sha, domain_name, strlen(domain_name));
	vbmq_sha256_end(&sha, digest);
	digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80);
	digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
	vbmq_sha256_hex(digest, 32, hex);
	vbmq_parse_uuid(hex, ret); /* accepts 32 digits, writes the dashes */
}

static int read_uuid(struct vbmq_domxml *x, struct vbmq_err *err)
{
	_cleanup_xml_str_ char *text = NULL;
	xmlNode *node;
	int r = vbmq_xml_only(x->name, x->root, "uuid", &node, err);

	if (r < 0)
		return r;
	if (!node) {
		derive_uuid(x->d->name, x->d->uuid);
		return 0;
	}
	r = vbmq_xml_text(node, &text, err);
	if (r < 0)
		return r;
	if (vbmq_parse_uuid(text, x->d->uuid) < 0)
		return vbmq_xml_fail(x->name, node, -EINVAL, err, "<uuid>: '%.64s' is not a UUID", text);
	return 0;
}

static int read_id(struct vbmq_domxml *x, struct vbmq_err *err)
{
	uint32_t id;
	int r;

	x->d->id = -1;
	x->d->state = x->live ? VBMQ_DOMAIN_RUNNING : VBMQ_DOMAIN_SHUTOFF;
	if (!x->live || vbmq_xml_attr_is(x->root, "id", "-1"))
		return 0;
	r = vbmq_xml_attr_u32(x->name, x->root, "id", 0, INT32_MAX, &id, err);
	if (r > 0)
		x->d->id = (int32_t)id;
	return r < 0 ? r : 0;
}

static int check_nodes(const char *name, const xmlNode *node, const struct vbmq_cpuset *nodes, struct vbmq_err *err)
{
	int last = vbmq_cpuset_last(nodes);

	if (last >= (int)VBMQ_NODES_MAX)
		return vbmq_xml_fail(name, node, -ERANGE, err, "<%s>: node %d is beyond the last possible one, %u",
				     (const char *)node->name, last, VBMQ_NODES_MAX - 1);
	return 0;
}

/* Adds the nodes named by <memory nodeset=> or <memnode nodeset=>. 1: it named some. */
static int add_nodeset(struct vbmq_domxml *x, const xmlNode *node, struct vbmq_err *err)
{
	struct vbmq_cpuset nodes;
	int r = vbmq_xml_attr_cpus(x->name, node, "nodeset", &nodes, err);

	if (r <= 0)
		return r;
	if (check_nodes(x->name, node, &nodes, err) < 0)
		return -ERANGE;
	x->d->memory_nodes = vbmq_cpuset_or(&x->d->memory_nodes, &nodes);
	return 1;
}

/* Number of <cell>s in <cpu><numa>; 0: none. */
static int count_cells(struct vbmq_domxml *x, uint32_t *ret, struct vbmq_err *err)
{
	xmlNode *cpu, *numa = NULL;
	uint32_t n = 0;
	int r = vbmq_xml_only(x->name, x->root, "cpu", &cpu, err);

	if (r >= 0 && cpu)
		r = vbmq_xml_only(x->name, cpu, "numa", &numa, err);
	if (r < 0)
		return r;
	VBMQ_XML_EACH(cell, numa, "cell")
	n++;
	*ret = n;
	return 0;
}

/*
 * Where the guest's memory must lie (strict, interleave, restrictive) or should (preferred): for placement the same.
 * <memnode> speaks for one guest cell, <memory> for the cells that have none.
 */
static int read_numatune(struct vbmq_domxml *x, struct vbmq_err *err)
{
	struct vbmq_cpuset cells = VBMQ_CPUSET_EMPTY;
	xmlNode *tune, *memory = NULL;
	uint32_t n_cells = 0, cell;
	int r = vbmq_xml_only(x->name, x->root, "numatune", &tune, err);

	if (r < 0 || !tune)
		return r;
	r = count_cells(x, &n_cells, err);
	if (r >= 0)
		r = vbmq_xml_only(x->name, tune, "memory", &memory, err);
	if (r < 0)
		return r;
	VBMQ_XML_EACH(node, tune, "memnode")
	{
		r = vbmq_xml_attr_u32(x->name, node, "cellid", 0, VBMQ_NODES_MAX - 1, &cell, err);
		if (r < 0)
			return r;
		if (!r)
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "<memnode> needs the attribute 'cellid'");
		if (vbmq_cpuset_has(&cells, cell))
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "guest cell %u has a second <memnode>", cell);
		if (cell >= n_cells)
			return vbmq_xml_fail(x->name, node, -EINVAL, err,
					     "<memnode> speaks of guest cell %u, but <cpu><numa> has %u cells", cell,
					     n_cells);
		vbmq_cpuset_add(&cells, cell);
		r = add_nodeset(x, node, err);
		if (r < 0)
			return r;
	}
	if (!memory || (n_cells && vbmq_cpuset_count(&cells) >= n_cells) ||
	    vbmq_xml_attr_is(memory, "placement", "auto"))
		return 0;
	r = add_nodeset(x, memory, err);
	return r < 0 ? r : 0;
}

/* <memory model='dimm'> and friends among the devices name their nodes in <source><nodemask>. */
static int read_memory_devices(struct vbmq_domxml *x, struct vbmq_err *err)
{
	xmlNode *devices;
	int r = vbmq_xml_only(x->name, x->root, "devices", &devices, err);

	if (r < 0)
		return r;
	VBMQ_XML_EACH(memory, devices, "memory")
	{
		_cleanup_xml_str_ char *text = NULL;
		struct vbmq_cpuset nodes;
		xmlNode *source, *mask = NULL;

		r = vbmq_xml_only(x->name, memory, "source", &source, err);
		if (r >= 0)
			r = vbmq_xml_only(x->name, source, "nodemask", &mask, err);
		if (r < 0)
			return r;
		if (!mask)
			continue;
		r = vbmq_xml_text(mask, &text, err);
		if (r >= 0)
			r = vbmq_xml_parse_cpus(x->name, mask, "<nodemask>", text, &nodes, err);
		if (r >= 0)
			r = check_nodes(x->name, mask, &nodes, err);
		if (r < 0)
			return r;
		x->d->memory_nodes = vbmq_cpuset_or(&x->d->memory_nodes, &nodes);
	}
	return 0;
}

static int read_metadata(struct vbmq_domxml *x, struct vbmq_err *err)
{
	xmlNode *metadata, *ours = NULL;
	int r = vbmq_xml_only(x->name, x->root, "metadata", &metadata, err);

	if (r < 0 || !metadata)
		return r;
	for (xmlNode *n = metadata->children; n; n = n->next) {
		if (n->type != XML_ELEMENT_NODE || !n->ns || strcmp((const char *)n->ns->href, VBMQ_METADATA_URI) != 0)
			continue;
		if (ours)
			return vbmq_xml_fail(x->name, n, -EINVAL, err,
					     "a second element of " VBMQ_METADATA_URI
					     " in <metadata> (first on line %ld)",
					     xmlGetLineNo(ours));
		ours = n;
	}
	return ours ? vbmq_metadata_parse_node(x->name, ours, &x->d->wish, err) : 0;
}

static int check_root(struct vbmq_domxml *x, struct vbmq_err *err)
{
	if (!vbmq_xml_is(x->root, "domain"))
		return vbmq_xml_fail(x->name, x->root, -EINVAL, err,
				     "the document is <%.64s>, not the <domain> of libvirt (virsh dumpxml DOMAIN)",
				     (const char *)x->root->name);
	return 0;
}

/* metadata_err: where bad metadata goes; NULL: it is an error like any other. */
static int parse(const char *name, const char *xml, size_t len, bool live, struct vbmq_domain **ret,
		 struct vbmq_err *metadata_err, bool lenient, struct vbmq_err *err)
{
	static int (*const readers[])(struct vbmq_domxml *, struct vbmq_err *) = {
		check_root,    read_name,	    read_uuid,		 read_id,
		read_numatune, read_memory_devices, vbmq_domxml_threads, vbmq_domxml_disks,
	};
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	struct vbmq_domxml x = { .name = name, .live = live };
	struct vbmq_err metadata = VBMQ_ERR_INIT;
	int r = vbmq_xml_parse(name, xml, len, VBMQ_DOMXML_MAX, &doc, err);

	if (r < 0)
		return r;
	x.root = xmlDocGetRootElement(doc);
	x.d = d = vbmq_domain_new();
	if (!d)
		return vbmq_err_oom(err);
	d->responsive = true;
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(readers); i++) {
		r = readers[i](&x, err);
		if (r < 0)
			return r;
	}
	r = read_metadata(&x, &metadata);
	if (r == -ENOMEM || (r < 0 && !lenient)) {
		if (err)
			*err = metadata;
		return r;
	}
	if (r < 0 && metadata_err)
		*metadata_err = metadata;
	*ret = VBMQ_STEAL(d);
	return 0;
}

int vbmq_domxml_parse(const char *name, const char *xml, size_t len, bool live, struct vbmq_domain **ret,
		      struct vbmq_err *err)
{
	return parse(name, xml, len, live, ret, NULL, false, err);
}

int vbmq_domxml_parse_lenient(const char *name, const char *xml, size_t len, bool live, struct vbmq_domain **ret,
			      struct vbmq_err *ret_metadata_err, struct vbmq_err *err)
{
	return parse(name, xml, len, live, ret, ret_metadata_err, true, err);
}
