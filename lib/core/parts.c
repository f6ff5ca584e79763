/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Keeping the host's own work off dedicated cores.
 *
 * A unit's share is what it had before we came (all online CPUs, where it was not limited) less the dedicated cores; so a
 * limit that the operator set stays in force, and CPUs that nobody of ours uses (isolcpus=, a DPDK switch in system.slice)
 * stay open to those who were there. A unit in whose cgroup a guest runs is left as it was: the limit would cage the guest
 * as well. irqbalance bans what it bans anyway, and the dedicated cores.
 *
 * Once nothing is dedicated any more, everything is as found, and we hold nothing.
 *
 * Limits. The kernel may keep per-CPU threads and interrupts it manages itself on any CPU. What of a
 * service's own affinity a limit cuts off does not come back with the limit's end before Linux 6.2 (bus/pins.c).
 */

#include "core/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/diff.h"
#include "util/array.h"
#include "util/cleanup.h"
#include "util/setref.h"
#include "util/strbuf.h"

#define CHECKS_MAX 10000000u

struct place {
	const struct vbmq_snapshot *snapshot;
	const struct vbmq_policy *policy;
	struct vbmq_placement *placement;
	bool said; /* why units cannot be limited at all */
};

static struct vbmq_cpuset or_all(const struct vbmq_host *h, const struct vbmq_cpuset *limit)
{
	return vbmq_cpuset_is_empty(limit) ? h->online : *limit;
}

/* --- placement -------------------------------------------------------------------------------------------------------- */

static const struct vbmq_domain *guest_in(const struct vbmq_snapshot *s, unsigned part)
{
	for (size_t i = 0; i < s->n_domains; i++)
		if (s->domains[i]->in_part == part + 1)
			return s->domains[i];
	return NULL;
}

static int say(struct place *p, const char *code, unsigned part, const char *text)
{
	return vbmq_diag_add(&p->placement->diags, code, VBMQ_WARNING, vbmq_part_words[part], "%s", text);
}

static int say_unable(struct place *p, enum vbmq_part_state state)
{
	if (p->said || !p->policy->limit_slices || vbmq_cpuset_is_empty(&p->placement->dedicated))
		return 0;
	p->said = true;
	return vbmq_diag_add(&p->placement->diags, VBMQ_DIAG_SLICES, VBMQ_WARNING, "host",
			     "The host's own services may run on dedicated cores: %s. CPUAffinity= in "
			     "/etc/systemd/system.conf keeps them off, or slices=no in vbmqd.conf ends this remark.",
			     state == VBMQ_PART_CGROUP_V1 ? "this host has cgroup v1, where systemd has no AllowedCPUs="
							  : "the kernel's cpuset controller is not there");
}

/* What a unit should have while cores are dedicated. */
static int share_of(struct place *p, unsigned part, const struct vbmq_cpuset *base, struct vbmq_cpuset *ret)
{
	struct vbmq_cpuset all = or_all(p->snapshot->host, base), less;
	const struct vbmq_domain *guest;

	*ret = *base;
	if (!p->policy->limit_slices || !vbmq_cpuset_intersects(&all, &p->placement->dedicated))
		return 0;
	guest = guest_in(p->snapshot, part);
	if (guest)
		return vbmq_diag_add(
			&p->placement->diags, VBMQ_DIAG_SLICES, VBMQ_WARNING, vbmq_part_words[part],
			"It is not kept off dedicated cores: guest '%s' runs in it and would be confined with "
			"it. Let libvirt use cgroups (cgroup_controllers in qemu.conf), so that guests are "
			"in machine.slice.",
			guest->name);
	less = vbmq_cpuset_andnot(&all, &p->placement->dedicated);
	if (vbmq_cpuset_is_empty(&less))
		return say(p, VBMQ_DIAG_SLICES, part,
			   "It is not kept off dedicated cores: they are all that its AllowedCPUs= leaves it.");
	*ret = less;
	return 0;
}

static int place_unit(struct place *p, unsigned i)
{
	const struct vbmq_part *part = &p->snapshot->host->parts[i];
	struct vbmq_place_part *to = &p->placement->parts[i];
	bool drifted = part->held && !vbmq_cpuset_equal(&part->cpus, &part->applied);
	int r = 0;

	if (part->state == VBMQ_PART_CGROUP_V1 || part->state == VBMQ_PART_NO_CPUSET)
		return say_unable(p, part->state);
	if (part->state != VBMQ_PART_OK)
		return 0;
	if (drifted)
		r = vbmq_diag_add(&p->placement->diags, VBMQ_DIAG_DRIFT, VBMQ_WARNING, vbmq_part_words[i],
				  "Somebody changed the AllowedCPUs= that VBMq had set; policy 'drift' says: %s.",
				  vbmq_drift_words[p->policy->drift]);
	if (r < 0 || (drifted && p->policy->drift == VBMQ_DRIFT_RESPECT))
		return r;
	r = share_of(p, i, part->held ? &part->found : &part->cpus, &to->cpus);
	to->planned = part->held || !vbmq_cpuset_equal(&to->cpus, &part->cpus);
	return r;
}

static int place_irqbalance(struct place *p)
{
	const struct vbmq_part *part = &p->snapshot->host->parts[VBMQ_PART_IRQBALANCE];
	struct vbmq_place_part *to = &p->placement->parts[VBMQ_PART_IRQBALANCE];
	const struct vbmq_cpuset *dedicated = &p->placement->dedicated;
	bool wanted = p->policy->ban_irqs && !vbmq_cpuset_is_empty(dedicated);

	if (part->state == VBMQ_PART_OK && part->held) {
		to->planned = true;
		to->cpus = wanted ? vbmq_cpuset_or(&part->found, dedicated) : VBMQ_CPUSET_EMPTY;
		return 0;
	}
	if (!wanted || part->state == VBMQ_PART_ABSENT || vbmq_cpuset_is_subset(dedicated, &part->cpus))
		return 0;
	if (part->state == VBMQ_PART_SILENT)
		return say(p, VBMQ_DIAG_IRQBALANCE, VBMQ_PART_IRQBALANCE,
			   "It runs, but its socket in /run/irqbalance does not answer: it may put interrupts on "
			   "dedicated cores.");
	if (part->state == VBMQ_PART_FOREIGN)
		return say(p, VBMQ_DIAG_IRQBALANCE, VBMQ_PART_IRQBALANCE,
			   "Its list of banned CPUs was set by somebody else and lacks dedicated cores; it is left "
			   "alone. Take IRQBALANCE_BANNED_CPULIST (or TuneD's setting of it) away, or put them in.");
	to->planned = true;
	to->cpus = vbmq_cpuset_or(&part->cpus, dedicated);
	return 0;
}

static int say_nova(struct place *p)
{
	_cleanup_free_ char *cpus = vbmq_cpulist_format(&p->snapshot->host->nova);

	if (!p->policy->keep_off_nova || vbmq_cpuset_is_empty(&p->snapshot->host->nova))
		return 0;
	return !cpus ? -ENOMEM
		     : vbmq_diag_add(
			       &p->placement->diags, VBMQ_DIAG_NOVA, VBMQ_INFO, "host",
			       "CPUs %s are Nova's (cpu_dedicated_set): nobody gets them here. nova=no in [host] of "
			       "vbmqd.conf ends that.",
			       cpus);
}

int vbmq_parts_place(const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		     struct vbmq_placement *placement)
{
	struct place p = { .snapshot = snapshot, .policy = policy, .placement = placement };

	for (unsigned i = 0; i < VBMQ_SLICES; i++)
		if (place_unit(&p, i) < 0)
			return -ENOMEM;
	if (place_irqbalance(&p) < 0)
		return -ENOMEM;
	return say_nova(&p);
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */

#define STEPS_OF_PARTS (2 * VBMQ_PARTS)

struct around {
	struct vbmq_step before[STEPS_OF_PARTS], after[STEPS_OF_PARTS];
	size_t n_before, n_after;
};

/* False: no memory. */
static bool add_unit(struct around *a, const struct vbmq_host *h, unsigned i, const struct vbmq_cpuset *want)
{
	struct vbmq_step s = { .op = VBMQ_STEP_LIMIT_SLICE,
			       .domain = VBMQ_STEP_OF_HOST,
			       .kind = VBMQ_THREAD_EMULATOR,
			       .id = i,
			       .cpus = vbmq_setref_new(want) };
	struct vbmq_cpuset is = or_all(h, &h->parts[i].cpus), to = or_all(h, want), both = vbmq_cpuset_and(&is, &to);

	if (!s.cpus)
		return false;
	if (vbmq_cpuset_equal(&h->parts[i].cpus, want)) {
		vbmq_setref_drop(s.cpus);
		return true;
	}
	if (vbmq_cpuset_is_subset(&is, &to)) {
		a->after[a->n_after++] = s;
		return true;
	}
	if (!vbmq_cpuset_is_subset(&to, &is) && !vbmq_cpuset_is_empty(&both)) {
		a->after[a->n_after++] = s;
		s.cpus = vbmq_setref_new(&both);
		s.interim = true;
		if (!s.cpus)
			return false;
	}
	a->before[a->n_before++] = s;
	return true;
}

static bool add_irqbalance(struct around *a, const struct vbmq_part *part, const struct vbmq_place_part *to)
{
	bool same = part->held && vbmq_cpuset_equal(&part->applied, &to->cpus) &&
		    vbmq_cpuset_is_subset(&to->cpus, &part->cpus);

	if (same && !vbmq_cpuset_is_empty(&to->cpus))
		return true;
	a->after[a->n_after++] = (struct vbmq_step){ .op = VBMQ_STEP_BAN_IRQS,
						     .domain = VBMQ_STEP_OF_HOST,
						     .kind = VBMQ_THREAD_EMULATOR,
						     .id = VBMQ_PART_IRQBALANCE,
						     .cpus = vbmq_setref_new(&to->cpus) };
	return a->after[a->n_after - 1].cpus;
}

static void around_done(struct around *a)
{
	for (size_t i = 0; i < a->n_before; i++)
		vbmq_setref_drop(a->before[i].cpus);
	for (size_t i = 0; i < a->n_after; i++)
		vbmq_setref_drop(a->after[i].cpus);
}

int vbmq_parts_add_steps(const struct vbmq_snapshot *snapshot, const struct vbmq_placement *placement,
			 struct vbmq_step **steps, size_t *n)
{
	const struct vbmq_host *h = snapshot->host;
	_cleanup_(around_done) struct around a = { .n_before = 0 };
	struct vbmq_step *all;

	for (unsigned i = 0; i < VBMQ_SLICES; i++)
		if (placement->parts[i].planned && !add_unit(&a, h, i, &placement->parts[i].cpus))
			return -ENOMEM;
	if (placement->parts[VBMQ_PART_IRQBALANCE].planned &&
	    !add_irqbalance(&a, &h->parts[VBMQ_PART_IRQBALANCE], &placement->parts[VBMQ_PART_IRQBALANCE]))
		return -ENOMEM;
	if (a.n_before + a.n_after == 0)
		return 0;
	all = calloc(*n + a.n_before + a.n_after, sizeof(*all));
	if (!all)
		return -ENOMEM;
	memcpy(all, a.before, a.n_before * sizeof(*all));
	if (*n)
		memcpy(all + a.n_before, *steps, *n * sizeof(*all));
	memcpy(all + a.n_before + *n, a.after, a.n_after * sizeof(*all));
	free(*steps);
	*steps = all;
	*n += a.n_before + a.n_after;
	a.n_before = a.n_after = 0; /* they are the steps' now */
	return 0;
}

/* --- verify ----------------------------------------------------------------------------------------------------------- */

static bool is_as_wanted(unsigned part, const struct vbmq_part *is, const struct vbmq_place_part *want)
{
	return part == VBMQ_PART_IRQBALANCE ? vbmq_cpuset_is_subset(&want->cpus, &is->cpus)
					    : vbmq_cpuset_equal(&want->cpus, &is->cpus);
}

static int explain(struct vbmq_check *c)
{
	_cleanup_free_ char *is = vbmq_cpulist_format(&c->is), *want = vbmq_cpulist_format(&c->want);
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

	if (!is || !want)
		return -ENOMEM;
	if (c->id == VBMQ_PART_IRQBALANCE)
		vbmq_strbuf_printf(&b, "bans CPUs %s, should ban %s", *is ? is : "(none)", want);
	else
		vbmq_strbuf_printf(&b, "is limited to CPUs %s, should be to %s", *is ? is : "(not limited)",
				   *want ? want : "(not limited)");
	c->text = vbmq_strbuf_steal(&b);
	return c->text ? 0 : -ENOMEM;
}

static int say_pending(struct vbmq_check *c)
{
	c->text = strdup("was told so; it acts and tells at its next scan, and has not yet");
	return c->text ? 0 : -ENOMEM;
}

int vbmq_parts_verify(const struct vbmq_snapshot *after, const struct vbmq_placement *placement,
		      struct vbmq_report *report)
{
	for (unsigned i = 0; i < VBMQ_PARTS; i++) {
		const struct vbmq_part *is = &after->host->parts[i];
		struct vbmq_check *c;

		/* an irqbalance that has ended since bans nothing and moves nothing */
		if (!placement->parts[i].planned || is->state != VBMQ_PART_OK)
			continue;
		c = vbmq_array_add(report->checks, report->n_checks, CHECKS_MAX);
		if (!c)
			return -ENOMEM;
		c->is_part = true;
		c->id = i;
		c->want = placement->parts[i].cpus;
		c->is = is->cpus;
		if (is_as_wanted(i, is, &placement->parts[i])) {
			if (is->pending && say_pending(c) < 0)
				return -ENOMEM;
			continue;
		}
		c->kind = VBMQ_CHECK_DRIFT;
		report->n_bad_checks++;
		if (explain(c) < 0)
			return -ENOMEM;
	}
	return 0;
}
