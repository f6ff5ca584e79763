/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libxml2 behind a narrow door.
 *
 * The bytes may be hostile (a guest's owner writes his metadata, vbmqctl reads any file). What can be done to an XML
 * parser goes through entities and external loading, and both need a DOCTYPE, which no libvirt document has: the parser
 * is stopped where one begins, before its first declaration is read. NONET, no DTD loading and no entity substitution
 * stand behind that as a second wall; libxml2's own limits (depth 256, 10 MB a text node, names of 50 kB) stay on because
 * XML_PARSE_HUGE is not given.
 *
 * Threads: a parser context belongs to one call. Error handlers are set on the context, never through the process-wide
 * setters, so nothing is printed to stderr and two threads do not meet. What libxml2 initialises on first use is done by
 * pthread_once beforehand.
 */

#include "codec/xml.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/relaxng.h>

#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

#define MESSAGE_MAX 512

struct trouble {
	int line; /* 0: none yet */
	bool oom;
	bool doctype;
	char message[MESSAGE_MAX];
};

static void init_once(void)
{
	xmlInitParser();
	xmlRelaxNGInitTypes();
}

void vbmq_xml_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init_once);
}

void vbmq_xml_str_freep(char **s)
{
	xmlFree(*s);
}

/* A value cut for a message may end inside a character; what reads our messages (D-Bus) insists on whole ones. */
static void whole_characters(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p;) {
		int n = 4;

		if (xmlGetUTF8Char(p, &n) < 0) {
			*p++ = '?';
			continue;
		}
		p += n;
	}
}

int vbmq_xml_fail(const char *name, const xmlNode *node, int code, struct vbmq_err *err, const char *fmt, ...)
{
	char text[VBMQ_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	whole_characters(text);
	return vbmq_err_set(err, code, "%s:%ld: %s", name, xmlGetLineNo(node), text);
}

void vbmq_xml_clean_message(const char *message, char *ret, size_t cap)
{
	size_t n;

	snprintf(ret, cap, "%s", message ? message : "not well-formed");
	n = strlen(ret);
	while (n && (ret[n - 1] == '\n' || ret[n - 1] == ' '))
		ret[--n] = '\0';
	for (char *p = ret; *p; p++)
		if (*p == '\n')
			*p = ' ';
	whole_characters(ret);
}

/* The first error is the cause, the following ones are its echo. */
static void on_error(void *data, vbmq_xml_error error)
{
	xmlParserCtxt *ctxt = data;
	struct trouble *t = ctxt->_private;

	if (error->code == XML_ERR_NO_MEMORY || !error->message) /* no memory for the message, either */
		t->oom = true;
	if (t->line || error->level < XML_ERR_ERROR)
		return;
	t->line = error->line > 0 ? error->line : 1;
	vbmq_xml_clean_message(error->message, t->message, sizeof(t->message));
}

static void on_doctype(void *data, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
	xmlParserCtxt *ctxt = data;
	struct trouble *t = ctxt->_private;

	t->doctype = true;
	if (!t->line) {
		t->line = xmlSAX2GetLineNumber(ctxt);
		snprintf(t->message, sizeof(t->message), "a DOCTYPE has no place in this document; remove it");
	}
	xmlStopParser(ctxt);
}

static void set_handlers(xmlParserCtxt *ctxt, struct trouble *t)
{
	ctxt->_private = t;
	ctxt->sax->internalSubset = on_doctype;
#if LIBXML_VERSION >= 21300
	xmlCtxtSetErrorHandler(ctxt, on_error, ctxt);
#else
	ctxt->sax->serror = on_error; /* called with ctxt->userData, which is ctxt */
#endif
}

int vbmq_xml_parse(const char *name, const char *xml, size_t len, size_t max, xmlDoc **ret, struct vbmq_err *err)
{
	const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_BIG_LINES;
	struct trouble t = { .line = 0 };
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	xmlParserCtxt *ctxt;
	bool well_formed;

	if (len > max)
		return vbmq_err_set(err, -EFBIG, "%s: %zu bytes of XML are more than the %zu that are read", name, len,
				    max);
	if (!len)
		return vbmq_err_set(err, -EINVAL, "%s:1: the document is empty", name);
	vbmq_xml_init();
	ctxt = xmlNewParserCtxt();
	if (!ctxt)
		return vbmq_err_oom(err);
	set_handlers(ctxt, &t);
	doc = xmlCtxtReadMemory(ctxt, xml, (int)len, NULL, NULL, options);
	well_formed = ctxt->wellFormed;
	xmlFreeParserCtxt(ctxt);
	/* libxml2 has a word for every fault but having no memory */
	if (t.oom || (!t.line && (!doc || !xmlDocGetRootElement(doc))))
		return vbmq_err_oom(err);
	if (t.doctype || !doc || !well_formed)
		return vbmq_err_set(err, -EINVAL, "%s:%d: %s", name, t.line ? t.line : 1,
				    t.line ? t.message : "not well-formed");
	*ret = VBMQ_STEAL(doc);
	return 0;
}

bool vbmq_xml_is(const xmlNode *node, const char *element)
{
	return node->type == XML_ELEMENT_NODE && !node->ns && !strcmp((const char *)node->name, element);
}

xmlNode *vbmq_xml_next(xmlNode *node, const char *element)
{
	while (node && !vbmq_xml_is(node, element))
		node = node->next;
	return node;
}

int vbmq_xml_only(const char *name, xmlNode *parent, const char *element, xmlNode **ret, struct vbmq_err *err)
{
	xmlNode *first = parent ? vbmq_xml_next(parent->children, element) : NULL;
	xmlNode *second = first ? vbmq_xml_next(first->next, element) : NULL;

	if (second)
		return vbmq_xml_fail(name, second, -EINVAL, err,
				     "<%s> stands a second time in <%s> (first on line %ld)", element,
				     (const char *)parent->name, xmlGetLineNo(first));
	*ret = first;
	return 0;
}

int vbmq_xml_attr(const xmlNode *node, const char *attribute, char **ret, struct vbmq_err *err)
{
	xmlChar *value = NULL;

	if (xmlHasNsProp(node, (const xmlChar *)attribute, NULL)) {
		value = xmlGetNoNsProp(node, (const xmlChar *)attribute);
		if (!value)
			return vbmq_err_oom(err);
	}
	*ret = (char *)value;
	return 0;
}

int vbmq_xml_text(const xmlNode *node, char **ret, struct vbmq_err *err)
{
	xmlChar *value = xmlNodeGetContent(node);

	if (!value)
		return vbmq_err_oom(err);
	*ret = (char *)value;
	return 0;
}

bool vbmq_xml_attr_is(const xmlNode *node, const char *attribute, const char *value)
{
	const xmlAttr *a = xmlHasNsProp(node, (const xmlChar *)attribute, NULL);

	if (!a)
		return false;
	/* Without a DOCTYPE a value is made of text nodes only. */
	for (const xmlNode *n = a->children; n; n = n->next) {
		const char *part = n->content ? (const char *)n->content : "";
		size_t len = strlen(part);

		if (strncmp(value, part, len) != 0)
			return false;
		value += len;
	}
	return !*value;
}

int vbmq_xml_attr_u64(const char *name, const xmlNode *node, const char *attribute, uint64_t min, uint64_t max,
		      uint64_t *ret, struct vbmq_err *err)
{
	_cleanup_xml_str_ char *text = NULL;
	int r = vbmq_xml_attr(node, attribute, &text, err);

	if (r < 0)
		return r;
	if (!text)
		return 0;
	r = vbmq_parse_u64(text, min, max, ret);
	if (r < 0)
		return vbmq_xml_fail(name, node, r, err,
				     "attribute '%s' of <%s>: '%.64s' is not a number from %" PRIu64 " to %" PRIu64,
				     attribute, (const char *)node->name, text, min, max);
	return 1;
}

int vbmq_xml_attr_u32(const char *name, const xmlNode *node, const char *attribute, uint32_t min, uint32_t max,
		      uint32_t *ret, struct vbmq_err *err)
{
	uint64_t value;
	int r = vbmq_xml_attr_u64(name, node, attribute, min, max, &value, err);

	if (r > 0)
		*ret = (uint32_t)value;
	return r;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Cuts white space at both ends, in place. */
static char *trim(char *text)
{
	size_t n = strlen(text);

	while (n && is_space(text[n - 1]))
		text[--n] = '\0';
	while (is_space(*text))
		text++;
	return text;
}

int vbmq_xml_text_u32(const char *name, const xmlNode *node, uint32_t min, uint32_t max, uint32_t *ret,
		      struct vbmq_err *err)
{
	_cleanup_xml_str_ char *text = NULL;
	char *value;
	int r = vbmq_xml_text(node, &text, err);

	if (r < 0)
		return r;
	value = trim(text);
	r = vbmq_parse_u32(value, min, max, ret);
	if (r < 0)
		return vbmq_xml_fail(name, node, r, err, "<%s>: '%.64s' is not a number from %u to %u",
				     (const char *)node->name, value, min, max);
	return 0;
}

/* libvirt skips white space beside ',' and '-', the parser of util does not: take it out there, and only there. */
static char *squeeze(const char *text)
{
	char *out = malloc(strlen(text) + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	for (const char *p = text; *p; p++) {
		if (is_space(*p)) {
			const char *q = p;

			while (is_space(*q))
				q++;
			if (!n || !*q || strchr(",-", *q) || strchr(",-", out[n - 1]))
				continue;
		}
		out[n++] = *p;
	}
	out[n] = '\0';
	return out;
}

int vbmq_xml_parse_cpus(const char *name, const xmlNode *node, const char *what, const char *text,
			struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	struct vbmq_err cause = VBMQ_ERR_INIT;
	struct vbmq_cpuset set;
	_cleanup_free_ char *plain = squeeze(text);
	int r;

	if (!plain)
		return vbmq_err_oom(err);
	r = vbmq_cpulist_parse(plain, strlen(plain), VBMQ_CPULIST_EXCLUDE, &set, &cause);
	if (r < 0)
		return vbmq_xml_fail(name, node, r, err, "%s: %s", what, cause.text);
	if (vbmq_cpuset_is_empty(&set))
		return vbmq_xml_fail(name, node, -EINVAL, err, "%s: the list is empty", what);
	*ret = set;
	return 0;
}

int vbmq_xml_attr_cpus(const char *name, const xmlNode *node, const char *attribute, struct vbmq_cpuset *ret,
		       struct vbmq_err *err)
{
	_cleanup_xml_str_ char *text = NULL;
	char what[128];
	int r = vbmq_xml_attr(node, attribute, &text, err);

	if (r < 0)
		return r;
	if (!text)
		return 0;
	snprintf(what, sizeof(what), "attribute '%s' of <%s>", attribute, (const char *)node->name);
	r = vbmq_xml_parse_cpus(name, node, what, text, ret, err);
	return r < 0 ? r : 1;
}
