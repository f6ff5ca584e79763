/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libxml/parserInternals.h>
#include <libxml/xmlstring.h>
#include <string.h>

#include "codec/svg_parts.h"

#define REPLACEMENT 0xfffdu
#define ELLIPSIS 0x2026u

/* XML 1.0 cannot hold some of these at all, others would draw nothing or turn what follows. */
static bool is_bad(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || (c >= 0xd800 && c <= 0xdfff) ||
	       c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe || c > 0x10ffff ||
	       (c >= 0xe0000 && c <= 0xe0fff);
}

/* The next character, cleaned; at the end 0. */
static uint32_t next(const char **text)
{
	int len = (int)strnlen(*text, 4);
	int c = len ? xmlGetUTF8Char((const unsigned char *)*text, &len) : 0;

	if (c < 0) {
		*text += 1;
		return REPLACEMENT;
	}
	*text += len;
	return c && is_bad((uint32_t)c) ? REPLACEMENT : (uint32_t)c;
}

static void put(struct vbmq_strbuf *b, uint32_t c)
{
	unsigned char bytes[4];
	int n = xmlCopyCharMultiByte(bytes, (int)c);

	if (n > 0)
		vbmq_strbuf_add_bytes(b, bytes, (size_t)n);
}

/* Thousandths of the font's size; fonts differ, so rather too much: bold capitals of a wide one. */
static unsigned advance(uint32_t c)
{
	if (c >= 0x250)
		return 1050;
	if (c >= 'A' && c <= 'Z')
		return 780;
	if (c == 'm' || c == 'w' || c == 'M' || c == 'W' || c == '%' || c == '@')
		return 1040;
	if (c == 'i' || c == 'l' || c == 'j' || c == ' ' || c == '.' || c == ',' || c == ':')
		return 400;
	return 690;
}

void vbmq_svg_clean(const char *text, struct vbmq_strbuf *ret)
{
	uint32_t c;

	while ((c = next(&text)))
		put(ret, c);
}

void vbmq_svg_fit(const char *text, unsigned width, unsigned size, struct vbmq_strbuf *ret)
{
	const unsigned room = width * 1000 / size, dots = advance(ELLIPSIS);
	unsigned total = 0, left, at = 0;
	const char *p = text;
	bool cut = false;
	uint32_t c;

	while ((c = next(&p)))
		total += advance(c);
	if (total <= room) {
		vbmq_svg_clean(text, ret);
		return;
	}
	/* Numbers at the end of names tell guests apart: the middle goes, and both ends get half of the room. */
	left = room > dots ? (room - dots) / 2 : 0;
	for (p = text; (c = next(&p)); at += advance(c)) {
		if (at + advance(c) <= left || at >= total - left) {
			put(ret, c);
		} else if (!cut) {
			put(ret, ELLIPSIS);
			cut = true;
		}
	}
}
