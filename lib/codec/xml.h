/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* XML of any origin -> tree, and strict reading of it. For the files of codec that read XML; nobody else includes it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libxml/tree.h>

#include "util/cpuset.h"

struct vbmq_err;

/* Once in the process, from any thread; every function here that needs it calls it itself. */
void vbmq_xml_init(void);

/*
 * Parses bytes (UTF-8, UTF-16, whatever the declaration says and libxml2 knows). Refused: more than max bytes, anything
 * that is not well-formed, a DOCTYPE (so there are no entities but the five of XML), more than 256 levels. Nothing is
 * loaded from anywhere, nothing is printed. -EINVAL with "NAME:LINE: cause", -EFBIG, -ENOMEM.
 */
int vbmq_xml_parse(const char *name, const char *xml, size_t len, size_t max, xmlDoc **ret, struct vbmq_err *err);

static inline void vbmq_xml_doc_freep(xmlDoc **doc)
{
	xmlFreeDoc(*doc);
}
void vbmq_xml_str_freep(char **s); /* for text that libxml2 allocated */
#define _cleanup_xml_doc_ _cleanup_(vbmq_xml_doc_freep)
#define _cleanup_xml_str_ _cleanup_(vbmq_xml_str_freep)

/* Sets err to "NAME:LINE: ..." with the line of node; returns code. */
int vbmq_xml_fail(const char *name, const xmlNode *node, int code, struct vbmq_err *err, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* Elements without namespace, by local name. next_element: the first of that name at or after node among its siblings. */
bool vbmq_xml_is(const xmlNode *node, const char *element);
xmlNode *vbmq_xml_next(xmlNode *node, const char *element);
#define VBMQ_XML_EACH(child, parent, element)                                                        \
	for (xmlNode *child = (parent) ? vbmq_xml_next((parent)->children, (element)) : NULL; child; \
	     child = vbmq_xml_next(child->next, (element)))
/* The one child of that name: *ret NULL where there is none; two of them are -EINVAL. parent NULL: none. */
int vbmq_xml_only(const char *name, xmlNode *parent, const char *element, xmlNode **ret, struct vbmq_err *err);

/* *ret: the attribute's value or the element's text, NULL where there is none; release with _cleanup_xml_str_. -ENOMEM. */
int vbmq_xml_attr(const xmlNode *node, const char *attribute, char **ret, struct vbmq_err *err);
int vbmq_xml_text(const xmlNode *node, char **ret, struct vbmq_err *err);

/* 1: there and set, 0: not there and *ret as before, negative: not of the form, or out of range. */
int vbmq_xml_attr_u32(const char *name, const xmlNode *node, const char *attribute, uint32_t min, uint32_t max,
		      uint32_t *ret, struct vbmq_err *err);
int vbmq_xml_attr_u64(const char *name, const xmlNode *node, const char *attribute, uint64_t min, uint64_t max,
		      uint64_t *ret, struct vbmq_err *err);
/* libvirt's lists ("0-7,^3", white space around members); an empty set is refused. */
int vbmq_xml_attr_cpus(const char *name, const xmlNode *node, const char *attribute, struct vbmq_cpuset *ret,
		       struct vbmq_err *err);
/* The element's text as a number; white space around it is fine. */
int vbmq_xml_text_u32(const char *name, const xmlNode *node, uint32_t min, uint32_t max, uint32_t *ret,
		      struct vbmq_err *err);
int vbmq_xml_parse_cpus(const char *name, const xmlNode *node, const char *what, const char *text,
			struct vbmq_cpuset *ret, struct vbmq_err *err);
/* Attribute equals value? Absent is false. Cannot fail. */
bool vbmq_xml_attr_is(const xmlNode *node, const char *attribute, const char *value);

/* Of libxml2 since 2.12 the argument is const: the only place that knows. */
#if LIBXML_VERSION >= 21200
typedef const xmlError *vbmq_xml_error;
#else
typedef xmlError *vbmq_xml_error;
#endif
/* libxml2's message without its line feed, cut to cap. */
void vbmq_xml_clean_message(const char *message, char *ret, size_t cap);
