/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domain XML. First byte: live or not, lenient or not. What is accepted keeps the limits of the model, fits into a
 * snapshot (as far as its ids are consistent), and is written back to XML that is accepted again.
 */
#include <string.h>

#include "codec/domxml.h"
#include "codec/json_snapshot.h"
#include "core/snapshot.h"
#include "fuzz.h"
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

static struct vbmq_host *small_host(void)
{
	struct vbmq_host *h = vbmq_host_new();

	FUZZ_ASSERT(h);
	h->online = h->allowed = vbmq_cpuset_of(0);
	h->cores = calloc(1, sizeof(*h->cores));
	h->l3s = calloc(1, sizeof(*h->l3s));
	h->nodes = calloc(1, sizeof(*h->nodes));
	FUZZ_ASSERT(h->cores && h->l3s && h->nodes);
	h->n_cores = h->n_l3s = h->n_nodes = 1;
	h->cores[0].cpus = h->l3s[0].cpus = h->nodes[0].cpus = vbmq_cpuset_of(0);
	h->cores[0].kind = -1;
	FUZZ_ASSERT(vbmq_host_finish(h, NULL) == 0);
	return h;
}

/* Takes d. A snapshot may refuse it, but what it takes is a document that reads back. */
static void put_into_snapshot(struct vbmq_domain *d)
{
	struct vbmq_snapshot *s = vbmq_snapshot_new(), *back = NULL;
	_cleanup_free_ char *out = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	int r;

	FUZZ_ASSERT(s);
	s->host = small_host();
	r = vbmq_snapshot_add(s, d, &err);
	if (r == 0)
		r = vbmq_snapshot_finish(s, &err);
	fuzz_check_err(r, &err);
	if (r == 0) {
		FUZZ_ASSERT(vbmq_snapshot_format(s, false, &out, &err) == 0);
		if (vbmq_snapshot_parse("again.json", out, strlen(out), &back, &err) < 0) {
			fprintf(stderr, "%s\n%s\n", err.text, out);
			abort();
		}
	}
	vbmq_snapshot_free(back);
	vbmq_snapshot_free(s);
}

static void configure(const char *xml, size_t len, bool live)
{
	_cleanup_free_ char *out = NULL, *again = NULL;
	struct vbmq_wish wish = VBMQ_WISH_INIT;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_domain *d = NULL;
	int r = vbmq_domxml_configure("fuzz.xml", xml, len, NULL, &wish, true, &out, &err);

	fuzz_check_err(r, &err);
	if (r < 0)
		return;
	FUZZ_ASSERT(vbmq_domxml_configure("again.xml", out, strlen(out), NULL, &wish, true, &again, &err) == 0);
	FUZZ_ASSERT(strcmp(out, again) == 0);
	FUZZ_ASSERT(vbmq_domxml_parse("again.xml", out, strlen(out), live, &d, &err) == 0);
	check_domain(d);
	vbmq_domain_free(d);
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
	put_into_snapshot(d);
	if (metadata.code == 0)
		configure(xml, size, live);
	return 0;
}
