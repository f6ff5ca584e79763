/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* validate: is this file what it should be? The kind is told by its first characters. */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "codec/conf.h"
#include "codec/domxml.h"
#include "codec/json_plan.h"
#include "codec/json_snapshot.h"
#include "codec/json_undo.h"
#include "codec/metadata.h"
#include "host/topology.h"
#include "output.h"
#include "util/cleanup.h"
#include "util/file.h"

static int check_domain_xml(const char *name, const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_domain *d;
	int r = vbmq_domxml_parse(name, text, len, false, &d, err);

	if (r >= 0)
		vbmq_domain_free(d);
	return r;
}

static int check_metadata(const char *name, const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_wish wish;
	int r = vbmq_metadata_parse(name, text, len, &wish, err);

	if (r >= 0)
		vbmq_wish_done(&wish);
	return r;
}

static int check_topology(const char *name, const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_host *h;
	int r = vbmq_topology_xml(name, text, len, &h, err);

	if (r >= 0)
		vbmq_host_free(h);
	return r;
}

static int check_snapshot(const char *name, const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_snapshot *s;
	int r = vbmq_snapshot_parse(name, text, len, &s, err);

	if (r >= 0)
		vbmq_snapshot_free(s);
	return r;
}

static int check_plan(const char *name, const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_plan *p;
	int r = vbmq_plan_parse(name, text, len, &p, err);

	if (r >= 0)
		vbmq_plan_free(p);
	return r;
}

static int check_undo(const char *name, const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_undo *u;
	int r = vbmq_undo_parse(name, text, len, &u, err);

	if (r >= 0)
		vbmq_undo_free(u);
	return r;
}

static int check_conf(const char *name, const char *text, size_t len, struct vbmq_err *err)
{
	struct vbmq_conf c;
	int r;

	vbmq_conf_init(&c);
	r = vbmq_conf_parse(name, text, len, &c, err);
	vbmq_conf_done(&c);
	return r;
}

/* The first match wins; marker NULL: anything that begins so. JSON documents name their schema near the start or end, so
 * the marker is looked for in the whole text. */
static const struct kind {
	const char *name;
	char first;
	const char *marker;
	int (*check)(const char *name, const char *text, size_t len, struct vbmq_err *err);
} kinds[] = {
	{ "host description (lstopo XML)", '<', "<topology", check_topology },
	{ "libvirt domain", '<', "<devices", check_domain_xml },
	{ "vbmq metadata", '<', VBMQ_METADATA_URI, check_metadata },
	{ "libvirt domain", '<', NULL, check_domain_xml },
	{ "snapshot", '{', "\"" VBMQ_SNAPSHOT_SCHEMA "\"", check_snapshot },
	{ "plan", '{', "\"" VBMQ_PLAN_SCHEMA "\"", check_plan },
	{ "undo record", '{', "\"" VBMQ_UNDO_SCHEMA "\"", check_undo },
	{ "snapshot", '{', NULL, check_snapshot },
	{ "configuration", 0, NULL, check_conf },
};

static const struct kind *tell_kind(const char *text, size_t len)
{
	size_t at = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	at += strspn(text + at, " \t\r\n");
	for (size_t i = 0;; i++) {
		const struct kind *k = &kinds[i];

		if (k->first && text[at] != k->first)
			continue;
		if (!k->marker || memmem(text, len, k->marker, strlen(k->marker)))
			return k;
	}
}

int cmd_validate(struct cli *cli)
{
	json_t *files = json_array();
	int code = CLI_OK;

	for (int i = 0; i < cli->n_args; i++) {
		struct vbmq_err err = VBMQ_ERR_INIT;
		_cleanup_free_ char *text = NULL;
		const struct kind *kind = NULL;
		size_t len;
		int r = vbmq_file_read(cli->args[i], VBMQ_SNAPSHOT_JSON_MAX, &text, &len, &err);

		if (r >= 0) {
			kind = tell_kind(text, len);
			r = kind->check(cli->args[i], text, len, &err);
		}
		if (r < 0)
			code = CLI_FAILED;
		if (cli->json)
			json_array_append_new(files, json_pack("{s:s,s:s?,s:b,s:s?}", "file", cli->args[i], "kind",
							       kind ? kind->name : NULL, "valid", r >= 0, "error",
							       r < 0 ? err.text : NULL));
		else if (r < 0)
			cli_failf(CLI_FAILED, "%s", err.text);
		else
			printf("%s: valid %s\n", cli->args[i], kind->name);
	}
	if (cli->json)
		return cli_print_json(json_pack("{s:s,s:o}", "schema", "vbmq-validate/1", "files", files)) ? CLI_FAILED
													   : code;
	json_decref(files);
	return code;
}
