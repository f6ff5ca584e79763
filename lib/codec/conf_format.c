/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>

#include "codec/conf.h"
#include "codec/conf_keys.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

#define WRAP 100u /* bytes of text in a comment line */

static void add_msec(struct vbmq_strbuf *b, uint64_t ms)
{
	if (ms % 3600000 == 0)
		vbmq_strbuf_printf(b, "%lluh", (unsigned long long)(ms / 3600000));
	else if (ms % 60000 == 0)
		vbmq_strbuf_printf(b, "%llumin", (unsigned long long)(ms / 60000));
	else if (ms % 1000 == 0)
		vbmq_strbuf_printf(b, "%llus", (unsigned long long)(ms / 1000));
	else
		vbmq_strbuf_printf(b, "%llums", (unsigned long long)ms);
}

/* A list may be longer than a line: as many lines as it takes, cut at commas. */
static void add_cpus(struct vbmq_strbuf *b, const char *name, const struct vbmq_cpuset *set)
{
	_cleanup_free_ char *text = vbmq_cpulist_format(set);
	const size_t room = VBMQ_CONF_LINE_MAX - strlen(name) - 1;
	const char *at = text;

	if (!text) {
		b->failed = true;
		return;
	}
	vbmq_strbuf_printf(b, "%s=", name);
	while (strlen(at) > room) {
		size_t n = room;

		while (at[n] != ',') /* members are shorter than 10 bytes, room is larger */
			n--;
		vbmq_strbuf_add_bytes(b, at, n);
		vbmq_strbuf_printf(b, "\n%s=", name);
		at += n + 1;
	}
	vbmq_strbuf_add(b, at);
}

static void add_value(struct vbmq_strbuf *b, const struct vbmq_conf_entry *e, const struct vbmq_conf *c)
{
	const void *field = (const char *)c + e->offset;
	int word;

	switch (e->type) {
	case VBMQ_CONF_URI:
		vbmq_strbuf_add(b, *(char *const *)field ? *(char *const *)field : e->key.fallback);
		break;
	case VBMQ_CONF_BOOL:
		vbmq_strbuf_add(b, *(const bool *)field ? "yes" : "no");
		break;
	case VBMQ_CONF_FLAG:
		vbmq_strbuf_add(b, e->words[*(const bool *)field ? 1 : 0]);
		break;
	case VBMQ_CONF_WORD:
		memcpy(&word, field, sizeof(word));
		vbmq_strbuf_add(b, e->words[word]);
		break;
	case VBMQ_CONF_MSEC:
		add_msec(b, *(const uint64_t *)field);
		break;
	case VBMQ_CONF_U64:
		vbmq_strbuf_printf(b, "%llu", (unsigned long long)*(const uint64_t *)field);
		break;
	case VBMQ_CONF_AUTO:
	case VBMQ_CONF_U32:
		if (e->type == VBMQ_CONF_AUTO && *(const uint32_t *)field == 0)
			vbmq_strbuf_add(b, "auto");
		else
			vbmq_strbuf_printf(b, "%u", *(const uint32_t *)field);
		break;
	case VBMQ_CONF_COUNT:
	case VBMQ_CONF_I32:
		if (e->type == VBMQ_CONF_COUNT && *(const int32_t *)field == VBMQ_COUNT_AUTO)
			vbmq_strbuf_add(b, "auto");
		else
			vbmq_strbuf_printf(b, "%d", *(const int32_t *)field);
		break;
	case VBMQ_CONF_CPUS:
		break; /* add_cpus() */
	}
}

int vbmq_conf_format(const struct vbmq_conf *c, char **ret, struct vbmq_err *err)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	const char *section = "";
	int r = c->uri ? vbmq_conf_check_uri(c->uri, err) : 0;
	char *text;

	if (r < 0)
		return r;
	for (size_t i = 0; i < vbmq_conf_n_entries; i++) {
		const struct vbmq_conf_entry *e = &vbmq_conf_entries[i];

		if (strcmp(section, e->key.section) != 0)
			vbmq_strbuf_printf(&b, "%s[%s]\n", *section ? "\n" : "", e->key.section);
		section = e->key.section;
		if (e->type == VBMQ_CONF_CPUS) {
			add_cpus(&b, e->key.name, (const struct vbmq_cpuset *)((const char *)c + e->offset));
		} else {
			vbmq_strbuf_printf(&b, "%s=", e->key.name);
			add_value(&b, e, c);
		}
		vbmq_strbuf_add(&b, "\n");
	}
	text = vbmq_strbuf_steal(&b);
	if (!text) {
		vbmq_strbuf_done(&b);
		return vbmq_err_oom(err);
	}
	*ret = text;
	return 0;
}

/* Text as comment lines, broken at spaces. */
static void add_comment(struct vbmq_strbuf *b, const char *text)
{
	while (*text) {
		size_t n = strlen(text);

		if (n > WRAP)
			for (n = WRAP; n > 1 && text[n] != ' ';)
				n--;
		vbmq_strbuf_add(b, "# ");
		vbmq_strbuf_add_bytes(b, text, n);
		vbmq_strbuf_add(b, "\n");
		text += n;
		while (*text == ' ')
			text++;
	}
}

int vbmq_conf_example(char **ret, struct vbmq_err *err)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	const char *section = "";
	char *text;

	vbmq_strbuf_add(
		&b,
		"# vbmqd.conf: all keys with their defaults. Take the '#' off and change what shall differ; or\n"
		"# put only that into a file below vbmqd.conf.d/, which is read after this one. See vbmqd.conf(5).\n");
	for (size_t i = 0; i < vbmq_conf_n_keys(); i++) {
		const struct vbmq_conf_key *key = vbmq_conf_key(i);

		if (strcmp(section, key->section) != 0)
			vbmq_strbuf_printf(&b, "\n[%s]\n", key->section);
		section = key->section;
		vbmq_strbuf_add(&b, "\n");
		add_comment(&b, key->help);
		vbmq_strbuf_printf(&b, "# %s\n#%s=%s\n", key->range, key->name, key->fallback);
	}
	text = vbmq_strbuf_steal(&b);
	if (!text) {
		vbmq_strbuf_done(&b);
		return vbmq_err_oom(err);
	}
	*ret = text;
	return 0;
}
