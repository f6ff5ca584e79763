/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One domain, read again after an apply.
 *
 * Pins and polling are all that most applies change. Where threads stand is told by /proc and what libvirt thinks of it by the
 * XML; the monitor would only repeat what it said a moment ago, at the price of most of a reading. So state and XML are
 * read, and the rest is taken over, if the XML still describes the same threads and disks of the same instance.
 */

#include "virt/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/domxml.h"
#include "util/cleanup.h"
#include "virt/xml.h"

VBMQ_DEFINE_CLEANUP(struct vbmq_domain *, vbmq_domain_free);

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_shape(const struct vbmq_domain *a, const struct vbmq_domain *b)
{
	if (strcmp(a->uuid, b->uuid) != 0 || !same_text(a->name, b->name) || a->n_vcpus != b->n_vcpus ||
	    a->n_threads != b->n_threads || a->n_disks != b->n_disks)
		return false;
	for (size_t i = 0; i < a->n_threads; i++) {
		if (a->threads[i].kind != b->threads[i].kind || a->threads[i].id != b->threads[i].id)
			return false;
	}
	for (size_t i = 0; i < a->n_disks; i++) {
		const struct vbmq_disk *x = &a->disks[i], *y = &b->disks[i];

		if (strcmp(x->target, y->target) != 0 || !same_text(x->alias, y->alias) ||
		    !same_text(x->source, y->source) || x->mapped != y->mapped)
			return false;
	}
	return true;
}

static int take_over(struct vbmq_domain *d, const struct vbmq_domain *known)
{
	d->caps = known->caps;
	for (size_t i = 0; i < d->n_threads; i++) {
		d->threads[i].tid = known->threads[i].tid;
		d->threads[i].polling = known->threads[i].polling;
	}
	for (size_t i = 0; i < d->n_disks; i++) {
		struct vbmq_disk *disk = &d->disks[i];
		const struct vbmq_disk *was = &known->disks[i];
		struct vbmq_queue *queues = calloc(was->n_queues, sizeof(*queues));

		if (!queues)
			return -ENOMEM;
		memcpy(queues, was->queues, was->n_queues * sizeof(*queues));
		free(disk->queues);
		disk->queues = queues;
		disk->n_queues = was->n_queues;
		disk->started = was->started;
	}
	return 0;
}

int vbmq_virt_reread_domain(struct vbmq_virt *v, const struct vbmq_domain *known, struct vbmq_domain **ret,
			    struct vbmq_err *err)
{
	struct vbmq_err metadata = VBMQ_ERR_INIT, why = VBMQ_ERR_INIT;
	_cleanup_(vbmq_domain_freep) struct vbmq_domain *d = NULL;
	_cleanup_free_ char *xml = NULL;
	struct vbmq_virt_facts facts;
	int r = -ESTALE;

	if (known->responsive && vbmq_virt_look_again(v, known->uuid, known->id, &facts, &why) == 0 && facts.id >= 0 &&
	    facts.id == known->id && vbmq_virt_xml_text(v, &facts, 0, &xml, &why) == 0)
		r = vbmq_domxml_parse_lenient(known->uuid, xml, strlen(xml), true, &d, &metadata, &why);
	if (r < 0 || metadata.code || !same_shape(d, known))
		return vbmq_err_set(err, -ESTALE, "domain '%s' is not as it was read before", known->name);
	d->id = facts.id;
	d->state = vbmq_virt_state(facts.state);
	d->responsive = true;
	if (take_over(d, known) < 0)
		return vbmq_err_oom(err);
	*ret = VBMQ_STEAL(d);
	return 0;
}
