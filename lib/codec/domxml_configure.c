/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writes a placement's queue maps into a domain's XML, for its next start.
 *
 * The tree that was parsed is edited in place and written back, so all that is not ours stays: comments, unknown elements,
 * other people's metadata, white space. New elements get the indentation of their neighbours. What is written:
 *   - every virtio-blk disk without a map of its own: <driver queues= ><iothreads>, or iothread= where one thread serves
 *     all its queues or the libvirt is too old for maps;
 *   - <iothreads> and <iothreadids>, so that every thread a map names exists. Threads are only added. The ids are listed
 *     when they are not simply 1..n, because libvirt would fill the gaps of a bare count otherwise.
 * After one run every disk has a map, which is why a second run changes nothing.
 */

#include "codec/domxml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/xmlsave.h>

#include "codec/domxml_parts.h"
#include "util/cleanup.h"
#include "util/err.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

struct edit {
	const char *name;
	xmlNode *root;
	const struct vbmq_domain *before; /* the XML as it reads */
	const struct vbmq_place_domain *place;
	const struct vbmq_wish *wish;
	bool with_map;
	struct vbmq_cpuset needed; /* ids of I/O threads that maps written here name */
};

/* --- the tree -------------------------------------------------------------------------------------------------------- */

/* White space in front of node if that is all there is: its indentation. */
static const char *indent_of(const xmlNode *node)
{
	const xmlNode *before = node ? node->prev : NULL;
	const char *text;

	if (!before || before->type != XML_TEXT_NODE || !before->content)
		return NULL;
	text = (const char *)before->content;
	return text[strspn(text, " \t\r\n")] ? NULL : text;
}

static xmlNode *new_element(const xmlNode *parent, const char *element)
{
	return xmlNewDocNode(parent->doc, NULL, (const xmlChar *)element, NULL);
}

/* after: the sibling it shall follow. Indented like that one. */
static xmlNode *insert_after(xmlNode *after, const char *element)
{
	const char *indent = indent_of(after);
	xmlNode *node = new_element(after, element), *space;

	if (!node || !xmlAddNextSibling(after, node)) {
		xmlFreeNode(node);
		return NULL;
	}
	if (!indent)
		return node;
	space = xmlNewDocText(node->doc, (const xmlChar *)indent);
	if (space && xmlAddPrevSibling(node, space))
		return node;
	xmlFreeNode(space);
	return NULL; /* the document is given up, node with it */
}

/* As the last child; a parent that has its own line gets one line a child, two columns deeper. */
static xmlNode *append(xmlNode *parent, const char *element)
{
	const char *indent = indent_of(parent);
	xmlNode *last = xmlGetLastChild(parent), *node, *tail;
	char *inner;

	if (last && last->type == XML_TEXT_NODE && last->prev)
		return insert_after(last->prev, element);
	node = new_element(parent, element);
	if (!node || !xmlAddChild(parent, node)) {
		xmlFreeNode(node);
		return NULL;
	}
	if (last && last->type == XML_TEXT_NODE) { /* only white space stood there: now it ends the parent */
		xmlUnlinkNode(last);
		xmlFreeNode(last);
	}
	if (!indent)
		return node;
	if (asprintf(&inner, "%s  ", indent) < 0)
		return NULL;
	tail = xmlNewDocText(parent->doc, (const xmlChar *)inner);
	free(inner);
	if (tail && xmlAddPrevSibling(node, tail)) {
		tail = xmlNewDocText(parent->doc, (const xmlChar *)indent);
		if (tail && xmlAddNextSibling(node, tail))
			return node;
	}
	xmlFreeNode(tail);
	return NULL;
}

static int set_number(xmlNode *node, const char *attribute, uint32_t value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	return xmlSetProp(node, (const xmlChar *)attribute, (const xmlChar *)text) ? 0 : -ENOMEM;
}

/* --- disks ----------------------------------------------------------------------------------------------------------- */

static const struct vbmq_place_disk *find_place(const struct edit *e, const char *target)
{
	for (size_t i = 0; i < e->place->n_disks; i++)
		if (!strcmp(e->place->disks[i].target, target))
			return &e->place->disks[i];
	return NULL;
}

/* The I/O threads of the placement's map in the order in which its queues name them; none: 0. */
static size_t list_threads(const struct vbmq_place_disk *place, uint32_t ids[VBMQ_IOTHREADS_MAX])
{
	size_t n = 0;

	for (size_t q = 0; q < place->n_queues; q++) {
		uint32_t id = place->queues[q].iothread;
		size_t i = 0;

		while (i < n && ids[i] != id)
			i++;
		if (id && i == n && n < VBMQ_IOTHREADS_MAX)
			ids[n++] = id;
	}
	return n;
}

static uint32_t wished_queues(const struct edit *e, const struct vbmq_disk *disk)
{
	const struct vbmq_disk_wish *w = e->wish ? vbmq_wish_find_disk(e->wish, disk->target) : NULL;

	return w && w->queues > 0 ? (uint32_t)w->queues : (uint32_t)disk->n_queues;
}

/* Queue q of n. The planner's choice where it saw the same queues; otherwise, and where the main loop stands in the
 * placement (no map can say that), the threads in turn. */
static uint32_t thread_of(const struct vbmq_place_disk *place, uint32_t q, uint32_t n, const uint32_t *ids,
			  size_t n_ids)
{
	uint32_t id = n == place->n_queues ? place->queues[q].iothread : 0;

	return id ? id : ids[q % n_ids];
}

/* With one thread for the whole disk: the one that would serve most queues, of equals the lowest id. */
static uint32_t main_thread(const struct vbmq_place_disk *place, const uint32_t *ids, size_t n_ids)
{
	uint32_t best = ids[0];
	size_t best_queues = 0;

	for (size_t i = 0; i < n_ids; i++) {
		size_t queues = 0;

		for (size_t q = 0; q < place->n_queues; q++)
			queues += place->queues[q].iothread == ids[i];
		if (queues > best_queues || (queues == best_queues && ids[i] < best)) {
			best = ids[i];
			best_queues = queues;
		}
	}
	return best;
}

static int write_map(struct edit *e, xmlNode *driver, const struct vbmq_place_disk *place, uint32_t n,
		     const uint32_t *ids, size_t n_ids)
{
	xmlNode *list = append(driver, "iothreads");

	if (!list || set_number(driver, "queues", n) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n_ids; i++) {
		xmlNode *thread = NULL;

		for (uint32_t q = 0; q < n; q++) {
			xmlNode *queue;

			if (thread_of(place, q, n, ids, n_ids) != ids[i])
				continue;
			if (!thread)
				thread = append(list, "iothread");
			if (!thread || set_number(thread, "id", ids[i]) < 0)
				return -ENOMEM;
			queue = append(thread, "queue");
			if (!queue || set_number(queue, "id", q) < 0)
				return -ENOMEM;
		}
		if (thread)
			vbmq_cpuset_add(&e->needed, ids[i]);
	}
	return 0;
}

/* <driver> of a disk; libvirt writes it as the first child. */
static xmlNode *get_driver(xmlNode *disk)
{
	xmlNode *driver = vbmq_xml_next(disk->children, "driver"), *first = disk->children;

	if (driver)
		return driver;
	while (first && first->type != XML_ELEMENT_NODE)
		first = first->next;
	driver = first ? insert_after(first, "driver") : NULL; /* there is a <target> at least */
	if (driver && !xmlSetProp(driver, (const xmlChar *)"name", (const xmlChar *)"qemu"))
		return NULL;
	return driver;
}

static int edit_disk(struct edit *e, xmlNode *node, const struct vbmq_disk *disk)
{
	const struct vbmq_place_disk *place = find_place(e, disk->target);
	uint32_t ids[VBMQ_IOTHREADS_MAX], n, one;
	size_t n_ids = place ? list_threads(place, ids) : 0;
	xmlNode *driver;

	if (disk->mapped || !n_ids)
		return 0;
	driver = get_driver(node);
	if (!driver)
		return -ENOMEM;
	n = wished_queues(e, disk);
	if (e->with_map && n_ids > 1 && n > 1)
		return write_map(e, driver, place, n, ids, n_ids);
	one = main_thread(place, ids, n_ids);
	vbmq_cpuset_add(&e->needed, one);
	if (n != disk->n_queues && set_number(driver, "queues", n) < 0)
		return -ENOMEM;
	return set_number(driver, "iothread", one);
}

static int edit_disks(struct edit *e, struct vbmq_err *err)
{
	xmlNode *devices = vbmq_xml_next(e->root->children, "devices");

	VBMQ_XML_EACH(node, devices, "disk")
	{
		_cleanup_xml_str_ char *target = NULL;
		const struct vbmq_disk *disk = NULL;
		bool virtio;
		int r = vbmq_domxml_is_virtio_blk(e->name, node, &virtio, &target, err);

		if (r < 0)
			return r;
		for (size_t i = 0; i < e->before->n_disks && virtio && !disk; i++)
			if (!strcmp(e->before->disks[i].target, target))
				disk = &e->before->disks[i];
		if (disk && edit_disk(e, node, disk) < 0)
			return vbmq_err_oom(err);
	}
	return 0;
}

/* --- I/O threads ----------------------------------------------------------------------------------------------------- */

/* <iothreads> stands after the vCPUs, as libvirt writes it. */
static xmlNode *place_for_iothreads(const struct edit *e)
{
	static const char *const before[] = { "vcpus", "vcpu", "currentMemory", "memory", "name" };

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(before); i++) {
		xmlNode *node = vbmq_xml_next(e->root->children, before[i]);

		if (node)
			return node;
	}
	return NULL; /* not reached: a domain without <name> was refused */
}

static int list_ids(xmlNode *list, const struct vbmq_cpuset *ids)
{
	struct vbmq_cpuset missing = *ids;

	VBMQ_XML_EACH(node, list, "iothread")
	{
		uint32_t id;

		if (vbmq_xml_attr_u32("", node, "id", 0, UINT32_MAX, &id, NULL) > 0)
			vbmq_cpuset_del(&missing, id);
	}
	for (int id = vbmq_cpuset_next(&missing, 0); id >= 0; id = vbmq_cpuset_next(&missing, (unsigned)id + 1)) {
		xmlNode *node = append(list, "iothread");

		if (!node || set_number(node, "id", (uint32_t)id) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int edit_iothreads(struct edit *e, struct vbmq_err *err)
{
	xmlNode *count = vbmq_xml_next(e->root->children, "iothreads");
	xmlNode *list = vbmq_xml_next(e->root->children, "iothreadids");
	struct vbmq_cpuset ids = VBMQ_CPUSET_EMPTY;
	char text[16];
	uint32_t n;

	for (size_t i = 0; i < e->before->n_threads; i++)
		if (e->before->threads[i].kind == VBMQ_THREAD_IOTHREAD)
			vbmq_cpuset_add(&ids, e->before->threads[i].id);
	if (vbmq_cpuset_is_subset(&e->needed, &ids))
		return 0;
	ids = vbmq_cpuset_or(&ids, &e->needed);
	n = vbmq_cpuset_count(&ids);
	if (n > VBMQ_IOTHREADS_MAX)
		return vbmq_err_set(err, -E2BIG, "%s: the domain would have %u I/O threads, at most %u are possible",
				    e->name, n, VBMQ_IOTHREADS_MAX);
	if (!count)
		count = insert_after(place_for_iothreads(e), "iothreads");
	if (!count)
		return vbmq_err_oom(err);
	snprintf(text, sizeof(text), "%u", n);
	xmlNodeSetContent(count, (const xmlChar *)text); /* returns nothing before libxml2 2.13 */
	if (!count->children)
		return vbmq_err_oom(err);
	if (!list && vbmq_cpuset_last(&ids) == (int)n)
		return 0;
	if (!list)
		list = insert_after(count, "iothreadids");
	return list && list_ids(list, &ids) >= 0 ? 0 : vbmq_err_oom(err);
}

/* --- in and out ------------------------------------------------------------------------------------------------------ */

/* As UTF-8, with an XML declaration only where there was one. */
static int write_back(xmlDoc *doc, bool declared, char **ret, struct vbmq_err *err)
{
	xmlBuffer *buffer = xmlBufferCreate();
	xmlSaveCtxt *save = buffer ? xmlSaveToBuffer(buffer, "UTF-8", declared ? 0 : XML_SAVE_NO_DECL) : NULL;
	char *text = NULL;
	bool ok;

	if (!save) {
		xmlBufferFree(buffer);
		return vbmq_err_oom(err);
	}
	ok = xmlSaveDoc(save, doc) >= 0;
	ok = xmlSaveClose(save) >= 0 && ok;
	if (ok && xmlBufferContent(buffer))
		text = strdup((const char *)xmlBufferContent(buffer));
	xmlBufferFree(buffer);
	if (!text)
		return vbmq_err_oom(err);
	*ret = text;
	return 0;
}

/* "<?xml" may come in UTF-16 or after a byte order mark. */
static bool has_declaration(const char *xml, size_t len)
{
	static const char word[] = "<?xml";
	size_t found = 0;

	for (size_t i = 0; i < len && i < 16 && found < sizeof(word) - 1; i++)
		if (xml[i] == word[found])
			found++;
		else if (found && xml[i])
			return false;
	return found == sizeof(word) - 1;
}

int vbmq_domxml_configure(const char *name, const char *xml, size_t len, const struct vbmq_place_domain *place,
			  const struct vbmq_wish *wish, bool with_map, char **ret_xml, struct vbmq_err *err)
{
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *before = NULL;
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	struct edit e = { .name = name, .place = place, .wish = wish, .with_map = with_map };
	int r = vbmq_domxml_parse_lenient(name, xml, len, false, &before, NULL, err);

	if (r >= 0)
		r = vbmq_xml_parse(name, xml, len, VBMQ_DOMXML_MAX, &doc, err);
	if (r < 0)
		return r;
	e.before = before;
	e.root = xmlDocGetRootElement(doc);
	if (place && (r = edit_disks(&e, err)) >= 0)
		r = edit_iothreads(&e, err);
	if (r < 0)
		return r;
	return write_back(doc, has_declaration(xml, len), ret_xml, err);
}
