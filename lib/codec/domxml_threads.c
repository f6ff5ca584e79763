/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The threads of a guest as its XML tells them: one a vCPU that is online, one an I/O thread, one for the rest ("emulator").
 *
 * I/O threads: <iothreads> is a count, <iothreadids> may name some or all ids; the rest get the lowest free ids (libvirt's
 * rule). Pins: <vcpupin> of an offline vCPU is legal and waits for it to come; pins of what cannot exist are errors.
 */

#include "codec/domxml_parts.h"

#include <errno.h>
#include <stdlib.h>

#include "util/array.h"
#include "util/err.h"

#define THREADS_MAX (VBMQ_VCPUS_MAX + VBMQ_IOTHREADS_MAX + 1)

/* They are made in the order (kind, id), so they can be looked up by halves. */
static struct vbmq_thread *find(struct vbmq_domxml *x, enum vbmq_thread_kind kind, uint32_t id)
{
	size_t low = 0, high = x->d->n_threads;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct vbmq_thread *t = &x->d->threads[middle];

		if (t->kind == kind && t->id == id)
			return t;
		if (t->kind < kind || (t->kind == kind && t->id < id))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int add_thread(struct vbmq_domxml *x, enum vbmq_thread_kind kind, uint32_t id, struct vbmq_err *err)
{
	struct vbmq_thread *t = vbmq_array_add(x->d->threads, x->d->n_threads, THREADS_MAX);

	if (!t)
		return vbmq_err_oom(err);
	t->kind = kind;
	t->id = id;
	t->polling.max_ns = UINT64_MAX;
	t->polling.mode = VBMQ_POLL_UNSAID;
	return 0;
}

/* <vcpus><vcpu id= enabled= hotpluggable=/>: which are online. With it, current= says nothing. */
static int read_vcpu_states(struct vbmq_domxml *x, xmlNode *vcpus, uint32_t max, struct vbmq_cpuset *ret_online,
			    struct vbmq_err *err)
{
	struct vbmq_cpuset seen = VBMQ_CPUSET_EMPTY, online = VBMQ_CPUSET_EMPTY;
	uint32_t boot = 0, id;

	VBMQ_XML_EACH(node, vcpus, "vcpu")
	{
		bool yes = vbmq_xml_attr_is(node, "enabled", "yes");
		int r = vbmq_xml_attr_u32(x->name, node, "id", 0, max - 1, &id, err);

		if (r < 0)
			return r;
		if (!r || (!yes && !vbmq_xml_attr_is(node, "enabled", "no")))
			return vbmq_xml_fail(x->name, node, -EINVAL, err,
					     "<vcpu> in <vcpus> needs the attributes 'id' and 'enabled' (yes or no)");
		if (vbmq_cpuset_has(&seen, id))
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "vCPU %u stands in <vcpus> twice", id);
		vbmq_cpuset_add(&seen, id);
		if (yes) {
			vbmq_cpuset_add(&online, id);
			boot += !vbmq_xml_attr_is(node, "hotpluggable", "yes");
		}
	}
	if (vbmq_cpuset_is_empty(&online))
		return vbmq_xml_fail(x->name, vcpus, -EINVAL, err, "no vCPU is enabled in <vcpus>");
	x->boot_vcpus = boot;
	*ret_online = online;
	return 0;
}

/* <vcpu placement= cpuset= current=>MAX</vcpu> and <vcpus>. */
static int read_vcpus(struct vbmq_domxml *x, uint32_t *ret_max, struct vbmq_err *err)
{
	struct vbmq_cpuset online = VBMQ_CPUSET_EMPTY;
	xmlNode *vcpu, *vcpus = NULL;
	uint32_t max = 1, current;
	int r = vbmq_xml_only(x->name, x->root, "vcpu", &vcpu, err);

	if (r >= 0)
		r = vbmq_xml_only(x->name, x->root, "vcpus", &vcpus, err);
	if (r >= 0 && vcpu)
		r = vbmq_xml_text_u32(x->name, vcpu, 1, VBMQ_VCPUS_MAX, &max, err);
	current = max;
	if (r >= 0 && vcpu)
		r = vbmq_xml_attr_u32(x->name, vcpu, "current", 1, max, &current, err);
	if (r >= 0 && vcpu && !vbmq_xml_attr_is(vcpu, "placement", "auto")) {
		r = vbmq_xml_attr_cpus(x->name, vcpu, "cpuset", &x->d->cpuset, err);
		x->d->has_cpuset = r > 0;
	}
	if (r < 0)
		return r;
	vbmq_cpuset_add_range(&online, 0, current - 1);
	if (vcpus && vbmq_xml_next(vcpus->children, "vcpu")) {
		r = read_vcpu_states(x, vcpus, max, &online, err);
		if (r < 0)
			return r;
	}
	for (int id = vbmq_cpuset_next(&online, 0); id >= 0; id = vbmq_cpuset_next(&online, (unsigned)id + 1)) {
		r = add_thread(x, VBMQ_THREAD_VCPU, (uint32_t)id, err);
		if (r < 0)
			return r;
	}
	x->d->n_vcpus = vbmq_cpuset_count(&online);
	if (!x->boot_vcpus)
		x->boot_vcpus = x->d->n_vcpus;
	*ret_max = max;
	return 0;
}

/* The ids of <iothreadids>, and how many there are in all. */
static int read_iothread_ids(struct vbmq_domxml *x, xmlNode *ids, struct vbmq_err *err)
{
	uint32_t id;

	VBMQ_XML_EACH(node, ids, "iothread")
	{
		int r = vbmq_xml_attr_u32(x->name, node, "id", 1, VBMQ_DOMXML_IOTHREAD_ID_MAX, &id, err);

		if (r < 0)
			return r;
		if (!r)
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "<iothread> needs the attribute 'id'");
		if (vbmq_cpuset_has(&x->iothreads, id))
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "I/O thread %u stands in <iothreadids> twice",
					     id);
		vbmq_cpuset_add(&x->iothreads, id);
		if (vbmq_cpuset_count(&x->iothreads) > VBMQ_IOTHREADS_MAX)
			return vbmq_xml_fail(x->name, node, -E2BIG, err, "more than %u I/O threads",
					     VBMQ_IOTHREADS_MAX);
	}
	return 0;
}

/* <iothreadids><iothread id=><poll max= grow= shrink=/>: what it should poll. */
static int read_polling(struct vbmq_domxml *x, xmlNode *ids, struct vbmq_err *err)
{
	VBMQ_XML_EACH(node, ids, "iothread")
	{
		struct vbmq_thread *t;
		uint32_t id = 0;
		xmlNode *poll;
		int r = vbmq_xml_only(x->name, node, "poll", &poll, err);

		if (r >= 0 && poll)
			r = vbmq_xml_attr_u32(x->name, node, "id", 1, VBMQ_DOMXML_IOTHREAD_ID_MAX, &id, err);
		if (r < 0)
			return r;
		t = poll ? find(x, VBMQ_THREAD_IOTHREAD, id) : NULL;
		if (!t)
			continue;
		r = vbmq_xml_attr_u64(x->name, poll, "max", 0, INT64_MAX, &t->polling.max_ns, err);
		if (r >= 0)
			r = vbmq_xml_attr_u32(x->name, poll, "grow", 0, UINT32_MAX, &t->polling.grow, err);
		if (r >= 0)
			r = vbmq_xml_attr_u32(x->name, poll, "shrink", 0, UINT32_MAX, &t->polling.shrink, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_iothreads(struct vbmq_domxml *x, struct vbmq_err *err)
{
	xmlNode *count, *ids = NULL;
	uint32_t n = 0;
	int r = vbmq_xml_only(x->name, x->root, "iothreads", &count, err);

	if (r >= 0 && count)
		r = vbmq_xml_text_u32(x->name, count, 0, VBMQ_IOTHREADS_MAX, &n, err);
	if (r >= 0)
		r = vbmq_xml_only(x->name, x->root, "iothreadids", &ids, err);
	if (r >= 0)
		r = read_iothread_ids(x, ids, err);
	if (r < 0)
		return r;
	for (uint32_t id = 1; vbmq_cpuset_count(&x->iothreads) < n; id++)
		vbmq_cpuset_add(&x->iothreads, id);
	for (int id = vbmq_cpuset_next(&x->iothreads, 0); id >= 0;
	     id = vbmq_cpuset_next(&x->iothreads, (unsigned)id + 1)) {
		r = add_thread(x, VBMQ_THREAD_IOTHREAD, (uint32_t)id, err);
		if (r < 0)
			return r;
	}
	return read_polling(x, ids, err);
}

static int set_pin(struct vbmq_domxml *x, const xmlNode *node, struct vbmq_thread *t, struct vbmq_err *err)
{
	int r = vbmq_xml_attr_cpus(x->name, node, "cpuset", &t->pin, err);

	if (r < 0)
		return r;
	if (!r)
		return vbmq_xml_fail(x->name, node, -EINVAL, err, "<%s> needs the attribute 'cpuset'",
				     (const char *)node->name);
	t->has_pin = true;
	return 0;
}

static int read_vcpupins(struct vbmq_domxml *x, xmlNode *tune, uint32_t max, struct vbmq_err *err)
{
	struct vbmq_cpuset seen = VBMQ_CPUSET_EMPTY;
	uint32_t id;

	VBMQ_XML_EACH(node, tune, "vcpupin")
	{
		struct vbmq_thread offline, *t;
		int r = vbmq_xml_attr_u32(x->name, node, "vcpu", 0, UINT32_MAX, &id, err);

		if (r < 0)
			return r;
		if (!r)
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "<vcpupin> needs the attribute 'vcpu'");
		if (id >= max)
			return vbmq_xml_fail(x->name, node, -EINVAL, err,
					     "<vcpupin> of vCPU %u, but the domain has vCPUs 0 to %u", id, max - 1);
		if (vbmq_cpuset_has(&seen, id))
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "vCPU %u has a second <vcpupin>", id);
		vbmq_cpuset_add(&seen, id);
		t = find(x, VBMQ_THREAD_VCPU, id);
		r = set_pin(x, node, t ? t : &offline, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_iothreadpins(struct vbmq_domxml *x, xmlNode *tune, struct vbmq_err *err)
{
	uint32_t id;

	VBMQ_XML_EACH(node, tune, "iothreadpin")
	{
		struct vbmq_thread *t;
		int r = vbmq_xml_attr_u32(x->name, node, "iothread", 0, UINT32_MAX, &id, err);

		if (r < 0)
			return r;
		if (!r)
			return vbmq_xml_fail(x->name, node, -EINVAL, err,
					     "<iothreadpin> needs the attribute 'iothread'");
		t = find(x, VBMQ_THREAD_IOTHREAD, id);
		if (!t)
			return vbmq_xml_fail(x->name, node, -EINVAL, err,
					     "<iothreadpin> of I/O thread %u, which the domain does not have", id);
		if (t->has_pin)
			return vbmq_xml_fail(x->name, node, -EINVAL, err, "I/O thread %u has a second <iothreadpin>",
					     id);
		r = set_pin(x, node, t, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int vbmq_domxml_threads(struct vbmq_domxml *x, struct vbmq_err *err)
{
	xmlNode *tune = NULL, *emulator = NULL;
	uint32_t max = 0;
	int r = read_vcpus(x, &max, err);

	if (r >= 0)
		r = read_iothreads(x, err);
	if (r >= 0)
		r = add_thread(x, VBMQ_THREAD_EMULATOR, 0, err);
	if (r >= 0)
		r = vbmq_xml_only(x->name, x->root, "cputune", &tune, err);
	if (r >= 0)
		r = vbmq_xml_only(x->name, tune, "emulatorpin", &emulator, err);
	if (r >= 0)
		r = read_vcpupins(x, tune, max, err);
	if (r >= 0)
		r = read_iothreadpins(x, tune, err);
	if (r >= 0 && emulator)
		r = set_pin(x, emulator, &x->d->threads[x->d->n_threads - 1], err);
	return r;
}
