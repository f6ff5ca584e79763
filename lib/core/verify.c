/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Was the plan carried out: every planned thread and disk of the placement against a later snapshot. An exclusive thread
 * is also checked against everybody who may run on its CPUs or their idle siblings; threads of its own domain that the
 * placement put beside it (I/O threads that share a core) are not strangers.
 */

#include "core/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/diff.h"
#include "core/irqs.h"
#include "core/parts.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/strbuf.h"

#define CHECKS_MAX 10000000u
#define NAMED_MAX 4u /* overlapping threads named in a text */

struct verify {
	const struct vbmq_snapshot *after;
	const struct vbmq_placement *placement;
	struct vbmq_report *report;
	struct vbmq_cpuset idle; /* dedicated CPUs on which nobody is placed: siblings of exclusive threads */
};

static struct vbmq_check *add_check(struct verify *v, uint32_t domain)
{
	struct vbmq_check *c = vbmq_array_add(v->report->checks, v->report->n_checks, CHECKS_MAX);

	if (c)
		c->domain = domain;
	return c;
}

static int fail(struct verify *v, struct vbmq_check *c, enum vbmq_check_kind kind, struct vbmq_strbuf *text)
{
	c->kind = kind;
	v->report->n_bad_checks++;
	c->text = vbmq_strbuf_steal(text);
	return c->text ? 0 : -ENOMEM;
}

static void add_lists(struct vbmq_strbuf *b, const struct vbmq_cpuset *is, const struct vbmq_cpuset *want)
{
	_cleanup_free_ char *is_text = vbmq_cpulist_format(is), *want_text = vbmq_cpulist_format(want);

	if (!is_text || !want_text) {
		b->failed = true;
		return;
	}
	vbmq_strbuf_printf(b, "may run on CPUs %s, should on %s", is_text[0] ? is_text : "(none)", want_text);
}

static void add_thread_name(struct vbmq_strbuf *b, const struct vbmq_domain *d, const struct vbmq_thread *t)
{
	if (t->kind == VBMQ_THREAD_EMULATOR)
		vbmq_strbuf_printf(b, "%s/emulator", d->name);
	else
		vbmq_strbuf_printf(b, "%s/%s%u", d->name, vbmq_thread_kind_words[t->kind], t->id);
}

/* Threads of its own domain that the placement has on the same core as well. */
static bool is_mate(const struct vbmq_place_domain *d, const struct vbmq_domain *other, const struct vbmq_thread *t)
{
	const struct vbmq_place_thread *p;

	if (strcmp(d->uuid, other->uuid) != 0)
		return false;
	p = vbmq_place_thread(d, t->kind, t->id);
	return p && p->exclusive && vbmq_cpuset_equal(p->cpus, &t->affinity);
}

/* Names those who may run in area; *ret_n how many there are. */
static void find_strangers(const struct verify *v, uint32_t domain, const struct vbmq_place_thread *p,
			   const struct vbmq_cpuset *area, struct vbmq_strbuf *b, size_t *ret_n)
{
	const struct vbmq_place_domain *d = &v->placement->domains[domain];

	*ret_n = 0;
	for (size_t i = 0; i < v->after->n_domains; i++) {
		const struct vbmq_domain *other = v->after->domains[i];

		for (size_t j = 0; j < other->n_threads; j++) {
			const struct vbmq_thread *t = &other->threads[j];

			if (!vbmq_cpuset_intersects(&t->affinity, area))
				continue;
			if (t->kind == p->kind && t->id == p->id && strcmp(other->uuid, d->uuid) == 0)
				continue;
			if (is_mate(d, other, t))
				continue;
			if (*ret_n < NAMED_MAX) {
				vbmq_strbuf_add(b, *ret_n ? ", " : "");
				add_thread_name(b, other, t);
			}
			(*ret_n)++;
		}
	}
	if (*ret_n > NAMED_MAX)
		vbmq_strbuf_printf(b, " and %zu more", *ret_n - NAMED_MAX);
}

static int check_place(struct verify *v, struct vbmq_check *c, const struct vbmq_place_thread *p,
		       const struct vbmq_thread *is)
{
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_cpuset area;
	size_t n = 0;

	if (!vbmq_cpuset_equal(&is->affinity, p->cpus)) {
		add_lists(&b, &is->affinity, p->cpus);
		return fail(v, c, VBMQ_CHECK_DRIFT, &b);
	}
	if (p->exclusive) {
		area = vbmq_host_whole_cores(v->after->host, p->cpus);
		area = vbmq_cpuset_and(&area, &v->idle);
		area = vbmq_cpuset_or(&area, p->cpus);
		vbmq_strbuf_add(&b, "its core is also open to ");
		find_strangers(v, c->domain, p, &area, &b, &n);
		if (n)
			return fail(v, c, VBMQ_CHECK_OVERLAP, &b);
		vbmq_strbuf_done(&b);
		b = VBMQ_STRBUF_INIT;
	}
	if (p->has_polling && !vbmq_polls_as(&is->polling, &p->polling)) {
		vbmq_strbuf_printf(&b, "polls with max %llu ns, grow %u, shrink %u; should with %llu, %u, %u",
				   (unsigned long long)is->polling.max_ns, is->polling.grow, is->polling.shrink,
				   (unsigned long long)p->polling.max_ns, p->polling.grow, p->polling.shrink);
		return fail(v, c, VBMQ_CHECK_POLLING, &b);
	}
	return 0;
}

static int check_thread(struct verify *v, uint32_t domain, const struct vbmq_domain *is_domain,
			const struct vbmq_place_thread *p)
{
	const struct vbmq_thread *is = is_domain ? vbmq_domain_thread(is_domain, p->kind, p->id) : NULL;
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_check *c = add_check(v, domain);

	if (!c)
		return -ENOMEM;
	c->thread = p->kind;
	c->id = p->id;
	c->want = *p->cpus;
	if (!is) {
		if (p->to_remove)
			return 0;
		vbmq_strbuf_add(&b, is_domain ? "the thread is not there" : "the domain is not there");
		return fail(v, c, VBMQ_CHECK_MISSING, &b);
	}
	c->is = is->affinity;
	if (p->to_remove) {
		vbmq_strbuf_add(&b, "the thread should have been removed");
		return fail(v, c, VBMQ_CHECK_DRIFT, &b);
	}
	return check_place(v, c, p, is);
}

static int check_disk(struct verify *v, uint32_t domain, const struct vbmq_domain *is_domain,
		      const struct vbmq_place_disk *p)
{
	const struct vbmq_disk *is = NULL;
	_cleanup_(vbmq_strbuf_done) struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	struct vbmq_check *c = add_check(v, domain);

	if (!c)
		return -ENOMEM;
	c->is_disk = true;
	memcpy(c->target, p->target, sizeof(c->target));
	for (size_t i = 0; is_domain && i < is_domain->n_disks && !is; i++)
		if (strcmp(is_domain->disks[i].target, p->target) == 0)
			is = &is_domain->disks[i];
	if (!is) {
		vbmq_strbuf_add(&b, is_domain ? "the disk is not there" : "the domain is not there");
		return fail(v, c, VBMQ_CHECK_MISSING, &b);
	}
	if (p->at_next_start)
		return 0; /* holds from the next start only: nothing to see yet */
	if (is->n_queues != p->n_queues) {
		vbmq_strbuf_printf(&b, "it has %zu queues, the plan knows %zu", is->n_queues, p->n_queues);
		return fail(v, c, VBMQ_CHECK_MAP, &b);
	}
	for (size_t q = 0; q < p->n_queues; q++) {
		if (is->queues[q].iothread == p->queues[q].iothread)
			continue;
		vbmq_strbuf_printf(&b, "queue %zu is on I/O thread %u, should be on %u (0: the main loop)", q,
				   is->queues[q].iothread, p->queues[q].iothread);
		return fail(v, c, VBMQ_CHECK_MAP, &b);
	}
	return 0;
}

static int check_domain(struct verify *v, uint32_t domain)
{
	const struct vbmq_place_domain *d = &v->placement->domains[domain];
	const struct vbmq_domain *is = vbmq_snapshot_find(v->after, d->uuid);

	for (size_t i = 0; i < d->n_threads; i++)
		if (d->threads[i].planned && check_thread(v, domain, is, &d->threads[i]) < 0)
			return -ENOMEM;
	for (size_t i = 0; i < d->n_disks && d->managed; i++)
		if (check_disk(v, domain, is, &d->disks[i]) < 0)
			return -ENOMEM;
	return 0;
}

int vbmq_verify(const struct vbmq_snapshot *after, const struct vbmq_plan *plan, struct vbmq_report *report,
		struct vbmq_err *err)
{
	struct verify v = { .after = after, .placement = plan->placement, .report = report };

	v.idle = v.placement->dedicated;
	for (size_t i = 0; i < v.placement->n_domains; i++)
		for (size_t j = 0; j < v.placement->domains[i].n_threads; j++)
			if (v.placement->domains[i].threads[j].exclusive)
				v.idle = vbmq_cpuset_andnot(&v.idle, v.placement->domains[i].threads[j].cpus);
	for (uint32_t i = 0; i < v.placement->n_domains; i++)
		if (check_domain(&v, i) < 0)
			return vbmq_err_oom(err);
	if (vbmq_parts_verify(after, plan->placement, report) < 0 ||
	    vbmq_irqs_verify(after, plan->placement, report) < 0)
		return vbmq_err_oom(err);
	return 0;
}
