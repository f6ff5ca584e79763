/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A described fleet: what is read, what becomes of it on a host, and the picture, with memory that runs out anywhere. */

#include "attack.h"
#include "codec/fleet_conf.h"
#include "codec/json_plan.h"
#include "codec/svg.h"
#include "core/capacity.h"
#include "models.h"
#include "util/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

VBMQ_DEFINE_CLEANUP(struct vbmq_snapshot *, vbmq_snapshot_free);
VBMQ_DEFINE_CLEANUP(struct vbmq_plan *, vbmq_plan_free);

static const char fleet_text[] =
	"[fleet]\novercommit = 3\n"
	"[small]\ncount = 2\nname = s%02d.x\nvcpus = 1\nmemory-nodes = auto\n"
	"disk = vda queues=3 node=auto iothreads=1\ndisk = vdb\niothreads = 1\npriority = -3\n"
	"[none]\ncount = 0\nvcpus = 7\nmanaged = no\nmemory-nodes = 0\nplacement = dedicated\n";

static void test_what_is_read(void **state)
{
	struct vbmq_fleet f = { .templates = NULL };
	const struct vbmq_template *t;

	assert_int_equal(vbmq_fleet_conf_parse("doc", fleet_text, strlen(fleet_text), &f, NULL), 0);
	assert_int_equal(f.overcommit, 3);
	assert_int_equal(f.n_templates, 2);
	t = &f.templates[0];
	assert_string_equal(t->name, "small");
	assert_string_equal(t->pattern, "s%02d.x");
	assert_string_equal(t->origin, "doc:3");
	assert_int_equal(t->count, 2);
	assert_true(t->memory_auto && vbmq_cpuset_has(&t->auto_disks, 0) && !vbmq_cpuset_has(&t->auto_disks, 1));
	assert_int_equal(t->model->n_disks, 2);
	assert_int_equal(t->model->disks[0].n_queues, 3);
	assert_int_equal(t->model->disks[1].n_queues, 1); /* as many as vCPUs */
	assert_int_equal(t->model->wish.iothreads, 1);
	assert_int_equal(t->model->wish.priority, -3);
	assert_int_equal(vbmq_wish_find_disk(&t->model->wish, "vda")->iothreads, 1);
	t = &f.templates[1];
	assert_string_equal(t->pattern, "none-%d");
	assert_int_equal(t->model->wish.enabled, VBMQ_NO);
	assert_int_equal(t->model->wish.vcpus, VBMQ_VCPUS_DEDICATED);
	assert_int_equal(vbmq_cpuset_count(&t->model->memory_nodes), 1);
	vbmq_fleet_done(&f);
	assert_null(f.templates);
}

static const struct vbmq_snapshot *host_of; /* built beforehand: models bear no lack of memory */

/* From the text to the document and the picture. */
static int all_of_it(void *data, struct vbmq_err *err)
{
	_cleanup_(vbmq_snapshot_freep) struct vbmq_snapshot *s = NULL;
	_cleanup_(vbmq_plan_freep) struct vbmq_plan *plan = NULL;
	_cleanup_free_ char *json = NULL, *svg = NULL;
	_cleanup_free_ uint32_t *members = NULL;
	struct vbmq_fleet_report report = { .fleet = NULL };
	struct vbmq_fleet f = { .templates = NULL };
	struct vbmq_policy policy;
	int r = vbmq_fleet_conf_parse("doc", data, strlen(data), &f, err);

	vbmq_policy_init(&policy);
	if (r == 0) {
		s = vbmq_snapshot_new();
		r = s ? 0 : vbmq_err_oom(err);
	}
	if (r == 0) {
		s->host = host_of->host;
		r = vbmq_fleet_fill(&f, NULL, s, err);
	}
	if (r == 0)
		r = vbmq_snapshot_finish(s, err);
	if (r == 0)
		r = vbmq_plan_make(s, &policy, "0123456789abcdef0123456789abcdef", &plan, err);
	if (r == 0) {
		members = vbmq_fleet_members(&f, NULL, s);
		if (!members || vbmq_fleet_report(&f, members, s, &policy, plan->placement, &report) < 0)
			r = vbmq_err_oom(err);
	}
	if (r == 0)
		r = vbmq_plan_format_fleet(plan, s->host, &report, true, &json, err);
	if (r == 0)
		r = vbmq_svg_format(s, &policy, plan, &svg, err);
	if (s)
		s->host = NULL;
	vbmq_fleet_report_done(&report);
	vbmq_policy_done(&policy);
	vbmq_fleet_done(&f);
	return r;
}

static void test_memory(void **state)
{
	char text[sizeof(fleet_text)];

	struct vbmq_snapshot *model = model_snapshot();

	memcpy(text, fleet_text, sizeof(text));
	host_of = model;
	attack_memory(all_of_it, text);
	vbmq_snapshot_free(model);
}

static int parse_only(const char *text, size_t len, char **ret_again, struct vbmq_err *err)
{
	struct vbmq_fleet f = { .templates = NULL };
	int r = vbmq_fleet_conf_parse("doc", text, len, &f, err);

	vbmq_fleet_done(&f);
	if (r == 0)
		*ret_again = model_copy("");
	return r;
}

static void test_refused(void **state)
{
	static const struct attack_case cases[] = {
		{ "vcpus = 1", "vcpus = 1 ; one", NULL },
		{ "count = 2", "count = 10001", "doc:4: count=10001: allowed is 0..10000" },
		{ "s%02d", "s%2d", "doc:5: name=s%2d.x: " },
		{ "s%02d", "s%0d", "doc:5: name=s%0d.x: " },
		{ "node=auto", "node=-1", "doc:8: disk vda: 'node=-1': allowed is" },
		{ "queues=3", "queues", "doc:8: disk vda: 'queues': allowed is" },
		{ "disk = vdb", "disk = vdb=1", "doc:9: disk=: the first word is its target" },
		{ "disk = vdb", "disk =", "doc:9: disk=: the first word is its target" },
		{ "priority = -3", "priority = -1001", "doc:11: priority=-1001: allowed is -1000..1000" },
		{ "[none]", "[small]", "doc:12: template [small] is there twice, first in doc:3" },
		{ "= 0\nplace", "=\nplace", "doc:16: memory-nodes=: allowed is any | auto" },
		{ "= 0\nplace", "= 1-0\nplace", "doc:16: memory-nodes=1-0: " },
		{ "vcpus = 7\n", "", "doc: template [none] of line 12 does not say how many vcpus" },
		{ "[fleet]\n", "", "doc:1: 'overcommit' stands before any template" },
	};

	attack_replace(parse_only, fleet_text, cases, VBMQ_ELEMENTSOF(cases));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_memory),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
