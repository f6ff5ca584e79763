/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The planner: the bytes become a host with domains and a policy (tests/lib/gen.h); whatever is planned overlaps with
 * nothing, its steps lead there without overlap on the way, from there nothing is left to do, and the same input gives the
 * same plan.
 */
#include <string.h>

#include "codec/json_plan.h"
#include "core/diff.h"
#include "core/plan.h"
#include "fuzz.h"
#include "gen.h"
#include "props.h"
#include "util/cleanup.h"

#define MAX_CPUS 64
#define MAX_DOMAINS 8
#define ID "00000000000000000000000000000000"

static void must_hold(const char *trouble)
{
	if (trouble) {
		fprintf(stderr, "%s\n", trouble);
		abort();
	}
}

static struct vbmq_plan *plan(const struct vbmq_snapshot *s, const struct vbmq_policy *policy)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_plan *p = NULL;
	int r = vbmq_plan_make(s, policy, ID, &p, &err);

	fuzz_check_err(r, &err);
	if (r < 0)
		fprintf(stderr, "%s\n", err.text);
	FUZZ_ASSERT(r == 0);
	return p;
}

/* As a document: reads back, and is the same the second time. */
static void check_document(const struct vbmq_snapshot *s, const struct vbmq_plan *p, const struct vbmq_plan *second)
{
	_cleanup_free_ char *text = NULL, *same = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_plan *back = NULL;

	FUZZ_ASSERT(vbmq_plan_format(p, s->host, false, &text, &err) == 0);
	FUZZ_ASSERT(vbmq_plan_format(second, s->host, false, &same, &err) == 0);
	FUZZ_ASSERT(strcmp(text, same) == 0);
	if (vbmq_plan_parse("plan.json", text, strlen(text), &back, &err) < 0) {
		fprintf(stderr, "%s\n%s\n", err.text, text);
		abort();
	}
	vbmq_plan_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gen g = gen_bytes(data, size);
	struct vbmq_snapshot *s = gen_snapshot(&g, MAX_CPUS, MAX_DOMAINS);
	struct vbmq_plan *p, *second;
	struct vbmq_policy policy;

	gen_policy(&g, s->host, &policy);
	p = plan(s, &policy);
	second = plan(s, &policy);
	check_document(s, p, second);
	must_hold(props_placement(s, &policy, p->placement));
	must_hold(props_steps(s, p->placement, p->steps, p->n_steps));
	must_hold(props_at_rest(s, &policy, p->placement));
	vbmq_plan_free(second);
	vbmq_plan_free(p);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
	return 0;
}
