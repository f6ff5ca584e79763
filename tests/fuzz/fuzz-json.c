/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON documents. First byte: which one. What is accepted is written, read back, and written to the same bytes; the plan id
 * of an accepted snapshot does not change on the way.
 */
#include <string.h>

#include "codec/json_plan.h"
#include "codec/json_snapshot.h"
#include "codec/json_undo.h"
#include "codec/plan_id.h"
#include "fuzz.h"
#include "util/cleanup.h"

static void fuzz_snapshot(const char *text, size_t len, bool pretty)
{
	_cleanup_free_ char *out = NULL, *again = NULL;
	struct vbmq_snapshot *s = NULL, *back = NULL;
	char id[VBMQ_PLAN_ID_LEN + 1], id_back[VBMQ_PLAN_ID_LEN + 1];
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_policy policy;
	int r = vbmq_snapshot_parse("fuzz.json", text, len, &s, &err);

	fuzz_check_err(r, &err);
	if (r < 0)
		return;
	FUZZ_ASSERT(vbmq_snapshot_format(s, pretty, &out, &err) == 0);
	if (vbmq_snapshot_parse("again.json", out, strlen(out), &back, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	FUZZ_ASSERT(vbmq_snapshot_format(back, pretty, &again, &err) == 0);
	FUZZ_ASSERT(strcmp(out, again) == 0);
	vbmq_policy_init(&policy);
	FUZZ_ASSERT(vbmq_plan_id(s, &policy, id, &err) == 0 && vbmq_plan_id(back, &policy, id_back, &err) == 0);
	FUZZ_ASSERT(strcmp(id, id_back) == 0);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
	vbmq_snapshot_free(back);
}

static void fuzz_plan(const char *text, size_t len, bool pretty)
{
	_cleanup_free_ char *out = NULL, *again = NULL;
	struct vbmq_plan *p = NULL, *back = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = vbmq_plan_parse("fuzz.json", text, len, &p, &err);

	fuzz_check_err(r, &err);
	if (r < 0)
		return;
	FUZZ_ASSERT(vbmq_plan_format(p, NULL, pretty, &out, &err) == 0);
	if (vbmq_plan_parse("again.json", out, strlen(out), &back, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	FUZZ_ASSERT(vbmq_plan_format(back, NULL, pretty, &again, &err) == 0);
	FUZZ_ASSERT(strcmp(out, again) == 0);
	vbmq_plan_free(p);
	vbmq_plan_free(back);
}

static void fuzz_undo(const char *text, size_t len)
{
	_cleanup_free_ char *out = NULL, *again = NULL;
	struct vbmq_undo *u = NULL, *back = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r = vbmq_undo_parse("fuzz.json", text, len, &u, &err);

	fuzz_check_err(r, &err);
	if (r < 0)
		return;
	FUZZ_ASSERT(vbmq_undo_format(u, &out, &err) == 0);
	if (vbmq_undo_parse("again.json", out, strlen(out), &back, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	FUZZ_ASSERT(vbmq_undo_format(back, &again, &err) == 0);
	FUZZ_ASSERT(strcmp(out, again) == 0);
	vbmq_undo_free(u);
	vbmq_undo_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (size == 0)
		return 0;
	switch (data[0]) {
	case 's':
	case 'S':
		fuzz_snapshot(text, size - 1, data[0] == 'S');
		break;
	case 'p':
	case 'P':
		fuzz_plan(text, size - 1, data[0] == 'P');
		break;
	case 'u':
		fuzz_undo(text, size - 1);
		break;
	default:
		break;
	}
	return 0;
}
