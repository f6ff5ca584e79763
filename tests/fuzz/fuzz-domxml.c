/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domain XML. First byte: bit 0 live, bit 1 lenient, bit 2 configure with a queue map. What is accepted keeps the limits of
 * the model, fits into a snapshot (as far as its ids are consistent), can be planned, and what configure makes of it is
 * accepted, planned and configured again without a further change.
 */
#include <string.h>

#include "codec/domxml.h"
#include "codec/json_snapshot.h"
#include "core/planner.h"
#include "core/snapshot.h"
#include "fuzz.h"
#include "gen.h"
#include "util/cleanup.h"

static void check_domain(const struct vbmq_domain *d)
{
	FUZZ_ASSERT(d->name && d->name[0] && strlen(d->name) <= VBMQ_NAME_MAX);
	FUZZ_ASSERT(strlen(d->uuid) == 36);
	FUZZ_ASSERT(d->n_vcpus > 0 && d->n_vcpus <= VBMQ_VCPUS_MAX);
	FUZZ_ASSERT(d->n_disks <= VBMQ_DISKS_MAX);
	for (size_t i = 0; i < d->n_threads; i++) {
		FUZZ_ASSERT(d->threads[i].tid == 0);
		FUZZ_ASSERT(vbmq_cpuset_is_empty(&d->threads[i].affinity));
		FUZZ_ASSERT(i == 0 || d->threads[i - 1].kind < d->threads[i].kind ||
			    d->threads[i - 1].id < d->threads[i].id);
	}
	for (size_t i = 0; i < d->n_disks; i++) {
		const struct vbmq_disk *disk = &d->disks[i];

		FUZZ_ASSERT(disk->target[0] && disk->n_queues > 0 && disk->n_queues <= VBMQ_QUEUES_MAX);
		FUZZ_ASSERT(i == 0 || strcmp(d->disks[i - 1].target, disk->target) < 0);
		for (size_t q = 0; q < disk->n_queues; q++)
			FUZZ_ASSERT(disk->queues[q].iothread == 0 ||
				    vbmq_domain_thread(d, VBMQ_THREAD_IOTHREAD, disk->queues[q].iothread));
	}
}

/* Takes d. A snapshot may refuse it (NULL), but what it takes is a document that reads back. */
static struct vbmq_snapshot *put_into_snapshot(struct vbmq_domain *d)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new(), *back = NULL;
	_cleanup_free_ char *out = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r;

	FUZZ_ASSERT(s);
	s->host = gen_regular_host(2, 1, 4, 2);
	r = vbmq_snapshot_add(s, d, &err);
	if (r == 0)
		r = vbmq_snapshot_finish(s, &err);
	fuzz_check_err(r, &err);
	if (r < 0)
		return vbmq_snapshot_free(s);
	FUZZ_ASSERT(vbmq_snapshot_format(s, false, &out, &err) == 0);
	if (vbmq_snapshot_parse("again.json", out, strlen(out), &back, &err) < 0) {
		fprintf(stderr, "%s\n%s\n", err.text, out);
		abort();
	}
	vbmq_snapshot_free(back);
	return s;
}

/* As 'vbmqctl configure' does it. NULL: the XML or its snapshot is refused. */
static char *configure(const char *xml, size_t len, bool with_map)
{
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_placement *placement = NULL;
	struct vbmq_domain *d = NULL;
	struct vbmq_snapshot *s;
	struct vbmq_policy policy;
	struct vbmq_wish wish;
	char *out = NULL;
	int r;

	if (vbmq_domxml_parse("fuzz.xml", xml, len, false, &d, &err) < 0)
		return NULL;
	d->caps.bits = VBMQ_CAP_PIN | VBMQ_CAP_POLLING | VBMQ_CAP_ADD_IOTHREAD | (with_map ? VBMQ_CAP_COLD_MAP : 0);
	s = put_into_snapshot(d);
	if (!s)
		return NULL;
	vbmq_policy_init(&policy);
	policy.manage_by_default = true;
	FUZZ_ASSERT(vbmq_policy_merge(&policy, &s->domains[0]->wish, &wish) == 0);
	r = vbmq_planner_run(s, &policy, &placement, &err);
	fuzz_check_err(r, &err);
	FUZZ_ASSERT(r == 0);
	r = vbmq_domxml_configure("fuzz.xml", xml, len, &placement->domains[0], &wish, with_map, &out, &err);
	fuzz_check_err(r, &err);
	FUZZ_ASSERT((r == 0) == (out != NULL));
	vbmq_placement_free(placement);
	vbmq_wish_done(&wish);
	vbmq_policy_done(&policy);
	vbmq_snapshot_free(s);
	return out;
}

static void check_configure(const char *xml, size_t len, bool with_map)
{
	_cleanup_free_ char *out = configure(xml, len, with_map), *again = NULL;

	if (!out)
		return;
	again = configure(out, strlen(out), with_map);
	if (!again || strcmp(out, again) != 0) {
		fprintf(stderr, "configured:\n%s\nand again:\n%s\n", out, again ? again : "refused");
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *xml = (const char *)data + 1;
	struct vbmq_err err = VBMQ_ERR_INIT, metadata = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;
	bool live;
	int r;

	if (size == 0)
		return 0;
	size--;
	live = data[0] & 1;
	if (data[0] & 2)
		r = vbmq_domxml_parse_lenient("fuzz.xml", xml, size, live, &d, &metadata, &err);
	else
		r = vbmq_domxml_parse("fuzz.xml", xml, size, live, &d, &err);
	fuzz_check_err(r, &err);
	if (r < 0) {
		FUZZ_ASSERT(!d);
		return 0;
	}
	check_domain(d);
	vbmq_snapshot_free(put_into_snapshot(d));
	check_configure(xml, size, data[0] & 4);
	return 0;
}
