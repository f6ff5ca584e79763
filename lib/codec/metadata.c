/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The wishes in a domain's metadata.
 *
 * Two judges look at the element: the RELAX NG schema, which is the published contract, and the walk below, which reads
 * the values and knows how to say what is wrong (libxml2's RELAX NG messages name neither attribute nor allowed values).
 * Both must agree to accept. What the walk refuses is reported in its words; what only the schema refuses, in libxml2's.
 * The tests hold the two to each other on every example.
 *
 * The schema is compiled at its first use and kept. libxml2 does not promise that threads may share one, so it is used
 * under a lock (validation takes microseconds). It is validated on a copy of the element, as a document of its own, because
 * RELAX NG validates documents. One thing is beyond us: libxml2 2.9 compiles the schema's patterns anew for each
 * validation, and that code of it does not survive running out of memory.
 */

#include "codec/metadata.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <libxml/entities.h>
#include <libxml/relaxng.h>

#include "codec/xml.h"
#include "domain-metadata-rng.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"
#include "util/strbuf.h"

enum rule_kind { RULE_WORD, RULE_COUNT, RULE_INTEGER, RULE_TARGET };

struct rule {
	const char *attribute;
	enum rule_kind kind;
	const char *const *words;
	int32_t max;
	const char *allowed;
};

#define RULES_MAX 3

struct element {
	const char *name;
	struct rule rules[RULES_MAX];
	const char *knows; /* its attributes, for messages */
};

/* What was read of one element, in the order of its rules. */
struct values {
	bool said[RULES_MAX];
	int32_t number[RULES_MAX];
	char target[VBMQ_TARGET_MAX + 1];
};

static const char *const yes_no_words[] = { "no", "yes", NULL };

/* Sizes inside the texts are those of VBMQ_IOTHREADS_MAX, VBMQ_QUEUES_MAX, VBMQ_PRIORITY_* and VBMQ_TARGET_MAX. */
static const struct element domain_element = {
	"domain",
	{ { "enabled", RULE_WORD, yes_no_words, 0, "neither 'yes' nor 'no'" },
	  { "priority", RULE_INTEGER, NULL, 0, "not a number from -1000 to 1000" } },
	"enabled, priority",
};
static const struct element iothreads_element = {
	"iothreads",
	{ { "count", RULE_COUNT, NULL, VBMQ_IOTHREADS_MAX, "neither 'auto' nor 1..256" },
	  { "exclusive", RULE_WORD, vbmq_exclusive_words, 0, "none of 'core', 'cpu', 'none'" },
	  { "poll", RULE_WORD, vbmq_poll_words, 0, "none of 'dedicated', 'adaptive', 'off'" } },
	"count, exclusive, poll",
};
static const struct element vcpus_element = {
	"vcpus",
	{ { "placement", RULE_WORD, vbmq_vcpus_words, 0, "neither 'follow' nor 'dedicated'" } },
	"placement",
};
static const struct element disk_element = {
	"disk",
	{ { "target", RULE_TARGET, NULL, 0,
	    "not a disk target such as 'vda' (a letter, then at most 31 of A-Z a-z 0-9 _ -)" },
	  { "iothreads", RULE_COUNT, NULL, VBMQ_IOTHREADS_MAX, "neither 'auto' nor 1..256" },
	  { "queues", RULE_COUNT, NULL, VBMQ_QUEUES_MAX, "neither 'auto' nor 1..1024" } },
	"target, iothreads, queues",
};

/* The element as its writer sees it, prefix included. */
static const char *shown(const xmlNode *node, char ret[96])
{
	bool prefix = node->ns && node->ns->prefix;

	snprintf(ret, 96, "<%.32s%s%.48s>", prefix ? (const char *)node->ns->prefix : "", prefix ? ":" : "",
		 (const char *)node->name);
	return ret;
}

static bool is_blank(const char *text)
{
	return !text[strspn(text, " \t\r\n")];
}

static bool is_target(const char *text)
{
	size_t n = strlen(text);

	if (!n || n > VBMQ_TARGET_MAX || text[0] == '-' || text[0] == '_' || (text[0] >= '0' && text[0] <= '9'))
		return false;
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static int parse_value(const struct rule *rule, const char *value, size_t at, struct values *ret)
{
	uint32_t count;
	int r = 0;

	switch (rule->kind) {
	case RULE_WORD:
		r = vbmq_parse_word(value, rule->words);
		if (r >= 0)
			ret->number[at] = r;
		break;
	case RULE_COUNT:
		if (!strcmp(value, "auto")) {
			ret->number[at] = VBMQ_COUNT_AUTO;
			break;
		}
		r = vbmq_parse_u32(value, 1, (uint32_t)rule->max, &count);
		if (r >= 0)
			ret->number[at] = (int32_t)count;
		break;
	case RULE_INTEGER:
		r = vbmq_parse_i32(value, VBMQ_PRIORITY_MIN, VBMQ_PRIORITY_MAX, &ret->number[at]);
		break;
	case RULE_TARGET:
		if (!is_target(value))
			return -EINVAL;
		memcpy(ret->target, value, strlen(value) + 1);
		break;
	}
	ret->said[at] = r >= 0;
	return r < 0 ? -EINVAL : 0;
}

static int walk_attributes(const char *name, const xmlNode *node, const struct element *element, struct values *ret,
			   struct vbmq_err *err)
{
	char tag[96];

	for (const xmlAttr *a = node->properties; a; a = a->next) {
		_cleanup_xml_str_ char *text = NULL;
		const struct rule *rule = NULL;
		size_t at;

		for (at = 0; at < RULES_MAX && element->rules[at].attribute && !rule; at++)
			if (!a->ns && !strcmp((const char *)a->name, element->rules[at].attribute))
				rule = &element->rules[at];
		if (!rule)
			return vbmq_xml_fail(name, node, -EINVAL, err,
					     "%s does not know the attribute '%.64s', only: %s", shown(node, tag),
					     (const char *)a->name, element->knows);
		if (vbmq_xml_attr(node, rule->attribute, &text, err) < 0)
			return -ENOMEM;
		if (parse_value(rule, text, at - 1, ret) < 0)
			return vbmq_xml_fail(name, node, -EINVAL, err, "attribute '%s' of %s: '%.64s' is %s",
					     rule->attribute, shown(node, tag), text, rule->allowed);
	}
	if (element->rules[0].kind == RULE_TARGET && !ret->said[0])
		return vbmq_xml_fail(name, node, -EINVAL, err, "%s needs the attribute '%s': the disk it speaks of",
				     shown(node, tag), element->rules[0].attribute);
	return 0;
}

/* Only elements (if any are allowed at all), comments and white space may stand in ours. */
static int walk_no_text(const char *name, const xmlNode *node, bool elements, struct vbmq_err *err)
{
	char tag[96], inner[96];

	for (const xmlNode *n = node->children; n; n = n->next) {
		if (n->type == XML_ELEMENT_NODE && !elements)
			return vbmq_xml_fail(name, n, -EINVAL, err, "%s must be empty, but %s stands in it",
					     shown(node, tag), shown(n, inner));
		if ((n->type == XML_TEXT_NODE || n->type == XML_CDATA_SECTION_NODE) && n->content &&
		    !is_blank((const char *)n->content))
			return vbmq_xml_fail(name, node, -EINVAL, err, "%s must not hold text", shown(node, tag));
	}
	return 0;
}

static int take_disk(const char *name, const xmlNode *node, const struct values *v, struct vbmq_wish *wish,
		     struct vbmq_err *err)
{
	struct vbmq_disk_wish *disk;
	char tag[96];

	if (vbmq_wish_find_disk(wish, v->target))
		return vbmq_xml_fail(name, node, -EINVAL, err, "attribute 'target' of %s: disk '%s' has a %s already",
				     shown(node, tag), v->target, tag);
	if (wish->n_disks >= VBMQ_DISKS_MAX)
		return vbmq_xml_fail(name, node, -EINVAL, err, "more than %u %s", VBMQ_DISKS_MAX, shown(node, tag));
	disk = vbmq_wish_disk(wish, v->target, true);
	if (!disk)
		return vbmq_err_oom(err);
	if (v->said[1])
		disk->iothreads = v->number[1];
	if (v->said[2])
		disk->queues = v->number[2];
	return 0;
}

/* One child of <vbmq:domain>. seen: bit 0 iothreads, bit 1 vcpus. */
static int walk_child(const char *name, const xmlNode *node, struct vbmq_wish *wish, unsigned *seen,
		      struct vbmq_err *err)
{
	static const struct element *const known[] = { &iothreads_element, &vcpus_element, &disk_element };
	struct values v = { .said = { false } };
	const char *uri = node->ns ? (const char *)node->ns->href : "";
	char tag[96];
	size_t which;
	int r;

	for (which = 0; which < VBMQ_ELEMENTSOF(known); which++)
		if (!strcmp(uri, VBMQ_METADATA_URI) && !strcmp((const char *)node->name, known[which]->name))
			break;
	if (which == VBMQ_ELEMENTSOF(known))
		return vbmq_xml_fail(name, node, -EINVAL, err,
				     "element %s is unknown here; known in the namespace " VBMQ_METADATA_URI
				     ": iothreads, vcpus, disk",
				     shown(node, tag));
	if (which < 2 && *seen & (1u << which))
		return vbmq_xml_fail(name, node, -EINVAL, err, "%s stands here a second time", shown(node, tag));
	*seen |= 1u << which;
	r = walk_attributes(name, node, known[which], &v, err);
	if (r >= 0)
		r = walk_no_text(name, node, false, err);
	if (r < 0)
		return r;
	if (known[which] == &disk_element)
		return take_disk(name, node, &v, wish, err);
	if (known[which] == &vcpus_element) {
		wish->vcpus = v.said[0] ? (enum vbmq_vcpus)v.number[0] : VBMQ_VCPUS_UNSAID;
		return 0;
	}
	wish->iothreads = v.said[0] ? v.number[0] : VBMQ_COUNT_UNSAID;
	wish->exclusive = v.said[1] ? (enum vbmq_exclusive)v.number[1] : VBMQ_EXCLUSIVE_UNSAID;
	wish->poll = v.said[2] ? (enum vbmq_poll)v.number[2] : VBMQ_POLL_UNSAID;
	return 0;
}

static int walk(const char *name, const xmlNode *node, struct vbmq_wish *wish, struct vbmq_err *err)
{
	struct values v = { .said = { false } };
	unsigned seen = 0;
	int r = walk_attributes(name, node, &domain_element, &v, err);

	if (r >= 0)
		r = walk_no_text(name, node, true, err);
	for (const xmlNode *n = node->children; n && r >= 0; n = n->next)
		if (n->type == XML_ELEMENT_NODE)
			r = walk_child(name, n, wish, &seen, err);
	if (r < 0)
		return r;
	wish->present = true;
	wish->enabled = v.said[0] ? (enum vbmq_tristate)v.number[0] : VBMQ_UNSAID;
	wish->has_priority = v.said[1];
	wish->priority = v.said[1] ? v.number[1] : 0;
	return 0;
}

struct verdict {
	int line; /* 0: no message yet */
	bool oom;
	char message[256];
};

static void on_invalid(void *data, vbmq_xml_error error)
{
	struct verdict *v = data;

	if (error->code == XML_ERR_NO_MEMORY)
		v->oom = true;
	if (v->line)
		return;
	v->line = error->line > 0 ? error->line : 1;
	vbmq_xml_clean_message(error->message, v->message, sizeof(v->message));
}

static xmlRelaxNG *compile_schema(struct verdict *v)
{
	xmlRelaxNGParserCtxt *parser =
		xmlRelaxNGNewMemParserCtxt(vbmq_domain_metadata_rng, (int)sizeof(vbmq_domain_metadata_rng));
	xmlRelaxNG *schema;

	if (!parser)
		return NULL;
	xmlRelaxNGSetParserStructuredErrors(parser, on_invalid, v);
	schema = xmlRelaxNGParse(parser);
	xmlRelaxNGFreeParserCtxt(parser);
	return schema;
}

/* 0 valid, 1 not valid (then v says why), negative: could not be asked. */
static int ask_schema(xmlDoc *doc, struct verdict *v)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static xmlRelaxNG *schema; /* stays until the process ends */
	xmlRelaxNGValidCtxt *valid = NULL;
	int r = -ENOMEM;

	pthread_mutex_lock(&lock);
	if (!schema)
		schema = compile_schema(v);
	if (schema)
		valid = xmlRelaxNGNewValidCtxt(schema);
	if (valid) {
		xmlRelaxNGSetValidStructuredErrors(valid, on_invalid, v);
		r = xmlRelaxNGValidateDoc(valid, doc);
		r = r < 0 || v->oom ? -ENOMEM : r > 0;
	}
	xmlRelaxNGFreeValidCtxt(valid);
	pthread_mutex_unlock(&lock);
	return r;
}

static int check_schema(const char *name, xmlNode *node, struct vbmq_err *err)
{
	_cleanup_xml_doc_ xmlDoc *doc = xmlNewDoc((const xmlChar *)"1.0");
	struct verdict v = { .line = 0 };
	xmlNode *copy;
	int r;

	if (!doc)
		return vbmq_err_oom(err);
	copy = xmlDocCopyNode(node, doc, 1);
	if (!copy)
		return vbmq_err_oom(err);
	xmlDocSetRootElement(doc, copy);
	r = ask_schema(doc, &v);
	if (r < 0)
		return vbmq_err_oom(err);
	if (r > 0)
		return vbmq_err_set(err, -EINVAL, "%s:%d: not valid: %s", name,
				    v.line ? v.line : (int)xmlGetLineNo(node),
				    v.line ? v.message : "the schema of " VBMQ_METADATA_URI " refuses it");
	return 0;
}

int vbmq_metadata_parse_node(const char *name, struct _xmlNode *node, struct vbmq_wish *ret, struct vbmq_err *err)
{
	struct vbmq_wish wish = VBMQ_WISH_INIT;
	char tag[96];
	int r;

	vbmq_xml_init();
	if (!node->ns || strcmp((const char *)node->ns->href, VBMQ_METADATA_URI) != 0 ||
	    strcmp((const char *)node->name, "domain") != 0)
		return vbmq_xml_fail(name, node, -EINVAL, err,
				     "%s is not the element 'domain' of the namespace " VBMQ_METADATA_URI,
				     shown(node, tag));
	r = walk(name, node, &wish, err);
	if (r >= 0)
		r = check_schema(name, node, err);
	if (r < 0) {
		vbmq_wish_done(&wish);
		return r;
	}
	*ret = wish;
	return 0;
}

int vbmq_metadata_parse(const char *name, const char *xml, size_t len, struct vbmq_wish *ret, struct vbmq_err *err)
{
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	int r = vbmq_xml_parse(name, xml, len, VBMQ_METADATA_MAX, &doc, err);

	return r < 0 ? r : vbmq_metadata_parse_node(name, xmlDocGetRootElement(doc), ret, err);
}

static void add_word(struct vbmq_strbuf *b, const char *attribute, const char *const *words, int value)
{
	if (value >= 0)
		vbmq_strbuf_printf(b, " %s=\"%s\"", attribute, words[value]);
}

static void add_count(struct vbmq_strbuf *b, const char *attribute, int32_t value)
{
	if (value == VBMQ_COUNT_AUTO)
		vbmq_strbuf_printf(b, " %s=\"auto\"", attribute);
	else if (value > 0)
		vbmq_strbuf_printf(b, " %s=\"%d\"", attribute, value);
}

int vbmq_metadata_format(const struct vbmq_wish *w, char **ret, struct vbmq_err *err)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	char *text;

	vbmq_strbuf_add(&b, "<vbmq:domain xmlns:vbmq=\"" VBMQ_METADATA_URI "\"");
	add_word(&b, "enabled", yes_no_words, w->enabled);
	if (w->has_priority)
		vbmq_strbuf_printf(&b, " priority=\"%d\"", w->priority);
	vbmq_strbuf_add(&b, ">\n");
	if (w->iothreads >= 0 || w->exclusive >= 0 || w->poll >= 0) {
		vbmq_strbuf_add(&b, "  <vbmq:iothreads");
		add_count(&b, "count", w->iothreads);
		add_word(&b, "exclusive", vbmq_exclusive_words, w->exclusive);
		add_word(&b, "poll", vbmq_poll_words, w->poll);
		vbmq_strbuf_add(&b, "/>\n");
	}
	if (w->vcpus >= 0) {
		vbmq_strbuf_add(&b, "  <vbmq:vcpus");
		add_word(&b, "placement", vbmq_vcpus_words, w->vcpus);
		vbmq_strbuf_add(&b, "/>\n");
	}
	for (size_t i = 0; i < w->n_disks; i++) {
		/* A wish can come from elsewhere than XML; what the schema refuses must not leave through here. */
		if (!is_target(w->disks[i].target))
			return vbmq_err_set(err, -EINVAL, "disk '%s' cannot stand in metadata: the name is %s",
					    w->disks[i].target, disk_element.rules[0].allowed);
		vbmq_strbuf_printf(&b, "  <vbmq:disk target=\"%s\"", w->disks[i].target);
		add_count(&b, "iothreads", w->disks[i].iothreads);
		add_count(&b, "queues", w->disks[i].queues);
		vbmq_strbuf_add(&b, "/>\n");
	}
	vbmq_strbuf_add(&b, "</vbmq:domain>\n");
	text = vbmq_strbuf_steal(&b);
	if (!text)
		return vbmq_err_oom(err);
	*ret = text;
	return 0;
}
