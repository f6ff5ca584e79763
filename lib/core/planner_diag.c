/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is to be said about the result: a look at the model after the last pass. Says, decides nothing. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/planner_internal.h"
#include "util/strbuf.h"

struct say {
	const struct vbmq_pl *pl;
	const struct vbmq_pl_domain *d;
	struct vbmq_place_domain *to;
	const char *name;
};

/* "db1/iothread1", "db1/vcpu0", "db1/emulator"; caller frees, NULL: no memory */
static char *thread_subject(const struct say *s, const struct vbmq_pl_thread *t)
{
	struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
	char digits[10];
	size_t at = sizeof(digits);

	vbmq_strbuf_add(&b, s->name); /* by hand: on a crowded host there are many remarks */
	vbmq_strbuf_add(&b, "/");
	vbmq_strbuf_add(&b, vbmq_thread_kind_words[t->kind]);
	for (uint32_t left = t->id; at > 0 && (left || at == sizeof(digits)); left /= 10)
		digits[--at] = (char)('0' + left % 10);
	if (t->kind != VBMQ_THREAD_EMULATOR)
		vbmq_strbuf_add_bytes(&b, digits + at, sizeof(digits) - at);
	return vbmq_strbuf_steal(&b);
}

static int say_drifted_disks(const struct say *s)
{
	int r = 0;

	for (size_t i = 0; i < s->d->d->n_disks && r == 0; i++) {
		const struct vbmq_disk *disk = &s->d->d->disks[i];
		_cleanup_free_ char *subject = NULL;
		struct vbmq_strbuf b = VBMQ_STRBUF_INIT;

		if (!vbmq_disk_drifted(disk))
			continue;
		vbmq_strbuf_printf(&b, "%s/%s", s->name, disk->target);
		subject = vbmq_strbuf_steal(&b);
		if (!subject)
			return -ENOMEM;
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_DRIFT, VBMQ_WARNING, subject,
				  "Somebody changed the map of its queues that VBMq had set; policy 'drift' says: %s.",
				  vbmq_drift_words[s->pl->policy->drift]);
	}
	return r;
}

static int say_disks(const struct say *s)
{
	const struct vbmq_domain *d = s->d->d;
	bool cold = vbmq_caps_has(d->caps, VBMQ_CAP_COLD_MAP) || vbmq_caps_has(d->caps, VBMQ_CAP_LIVE_MAP);
	int r = 0;

	for (size_t i = 0; i < d->wish.n_disks && r == 0; i++) {
		const char *target = d->wish.disks[i].target;
		bool there = false;

		for (size_t j = 0; j < d->n_disks && !there; j++)
			there = strcmp(d->disks[j].target, target) == 0;
		if (!there)
			r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_UNKNOWN_DISK, VBMQ_WARNING, s->name,
					  "The metadata speaks of disk '%s', but the domain has no such virtio disk.",
					  target);
	}
	if (r == 0 && d->n_disks == 0 && vbmq_cpuset_is_empty(&d->busy_iothreads))
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_NO_DISKS, VBMQ_INFO, s->name,
				  "The domain has no virtio disk that an I/O thread could serve.");
	for (size_t i = 0; i < d->n_disks && r == 0 && s->d->running; i++) {
		_cleanup_free_ char *subject = NULL;
		struct vbmq_strbuf b = VBMQ_STRBUF_INIT;
		bool served = false;

		for (size_t q = 0; q < d->disks[i].n_queues && !served; q++)
			served = s->d->map[i][q] != 0;
		if (served)
			continue;
		vbmq_strbuf_printf(&b, "%s/%s", s->name, d->disks[i].target);
		subject = vbmq_strbuf_steal(&b);
		if (!subject)
			return -ENOMEM;
		if (d->disks[i].no_ioeventfd)
			r = vbmq_diag_add(
				&s->to->diags, VBMQ_DIAG_NO_IOEVENTFD, VBMQ_WARNING, subject,
				"Its <driver> says ioeventfd='off', so no I/O thread can serve it. Remove that and "
				"restart the guest.");
		else if (cold)
			r = vbmq_diag_add(
				&s->to->diags, VBMQ_DIAG_NEEDS_RESTART, VBMQ_WARNING, subject,
				"Its queues are on the main loop and this QEMU cannot move them while it runs. "
				"Use 'vbmqctl configure %s' and restart the guest.",
				s->name);
		else
			r = vbmq_diag_add(
				&s->to->diags, VBMQ_DIAG_NO_MAPPING, VBMQ_WARNING, subject,
				"Its queues are on the main loop, and this QEMU or libvirt is too old to map them "
				"to several I/O threads (QEMU 9.0 and libvirt 10.0 can).");
	}
	return r;
}

static int say_shortage(const struct say *s)
{
	const struct vbmq_pl_domain *d = s->d;
	size_t room = d->n_units * (d->wish.exclusive == VBMQ_EXCLUSIVE_CPU ? s->pl->pack : 1);
	bool said = d->wish.iothreads > VBMQ_COUNT_AUTO;
	int r = 0;

	if (d->wish.exclusive != VBMQ_EXCLUSIVE_NONE && d->n_io) {
		if (d->n_units == 0)
			r = vbmq_diag_add(
				&s->to->diags, VBMQ_DIAG_SHARED_SET, VBMQ_ERROR, s->name,
				"No core is left for its I/O threads (%zu wished); they run on the shared set.",
				d->n_io);
		else if (d->n_serving > room)
			r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_SHARED_CORE, VBMQ_ERROR, s->name,
					  "Its %zu I/O threads share %zu dedicated core(s): no more are left.",
					  d->n_serving, d->n_units);
		else if (d->n_serving < d->n_io)
			r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_FEWER_IOTHREADS, said ? VBMQ_ERROR : VBMQ_WARNING,
					  s->name,
					  "Only %zu of %zu I/O threads serve its disks: no more cores are left.",
					  d->n_serving, d->n_io);
	}
	if (r == 0 && d->n_vcpus && !d->vcpus_got)
		r = vbmq_diag_add(
			&s->to->diags, VBMQ_DIAG_VCPUS_SHARED, VBMQ_ERROR, s->name,
			"Its %zu vCPUs should have a core each, but there are not enough left; they run on the "
			"shared set.",
			d->n_vcpus);
	return r;
}

static bool serves_fixed_vcpu(const struct say *s, const struct vbmq_pl_thread *t)
{
	for (size_t i = 0; i < s->d->d->n_disks; i++)
		for (size_t q = 0; q < s->d->d->disks[i].n_queues; q++) {
			const struct vbmq_cpuset *vcpus = &s->d->d->disks[i].queues[q].vcpus;

			if (s->d->map[i][q] != t->id)
				continue;
			for (size_t v = 0; v < s->d->n_threads; v++) {
				const struct vbmq_pl_thread *vcpu = &s->d->threads[v];

				if (vcpu->kind == VBMQ_THREAD_VCPU && vbmq_cpuset_has(vcpus, vcpu->id) &&
				    vbmq_cost_is_fixed(s->pl->host, &s->pl->sets[vcpu->cpus].cpus))
					return true;
			}
		}
	return false;
}

static int say_place(const struct say *s, const struct vbmq_pl_thread *t, const struct vbmq_place_thread *p,
		     const char *subject)
{
	const struct vbmq_why *why = p->why;
	int r = 0;

	if (why->from_device > VBMQ_DISTANCE_LOCAL || why->from_memory > VBMQ_DISTANCE_LOCAL)
		r = vbmq_diag_add(
			&s->to->diags, VBMQ_DIAG_REMOTE_NODE, VBMQ_WARNING, subject,
			"Its core is on another node than %s (distance to the device %u, to the memory %u; 10 is "
			"local, 0 not known).",
			why->from_device > VBMQ_DISTANCE_LOCAL ? "its device" : "the guest's memory", why->from_device,
			why->from_memory);
	if (r == 0 && why->nearness > VBMQ_NEAR_L3 && serves_fixed_vcpu(s, t))
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_REMOTE_L3, VBMQ_INFO, subject,
				  "Requests it completes interrupt a vCPU outside its L3 domain.");
	return r;
}

/* Then there may be something to be said. */
static bool is_far(const struct vbmq_why *why)
{
	return why && (why->from_device > VBMQ_DISTANCE_LOCAL || why->from_memory > VBMQ_DISTANCE_LOCAL ||
		       why->nearness > VBMQ_NEAR_L3);
}

static int say_iothread(const struct say *s, const struct vbmq_pl_thread *t, const struct vbmq_place_thread *p)
{
	bool unused = !t->serves && !p->to_remove && t->role == VBMQ_PL_FLOAT;
	bool polls = t->serves && p->has_polling && s->d->wish.poll == VBMQ_POLL_DEDICATED;
	bool degraded = polls && (p->polling.max_ns == 0 || !p->exclusive || t->crowded);
	_cleanup_free_ char *subject = NULL;
	int r = 0;

	if (!unused && !degraded && !is_far(p->why))
		return 0;
	subject = thread_subject(s, t);
	if (!subject)
		return -ENOMEM;
	if (unused)
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_UNUSED_IOTHREAD, VBMQ_INFO, subject,
				  "It serves no queue and gets no core of its own.");
	if (r == 0 && p->why)
		r = say_place(s, t, p, subject);
	if (r == 0 && degraded && p->polling.max_ns == 0)
		r = vbmq_diag_add(
			&s->to->diags, VBMQ_DIAG_POLL_OFF, VBMQ_INFO, subject,
			"It does not poll: a disk that it serves is reached over a socket, which QEMU waits for.");
	else if (r == 0 && degraded)
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_POLL_DEGRADED, VBMQ_INFO, subject,
				  "It polls adaptively: dedicated polling needs a core of its own.");
	return r;
}

/* Owner's pins: which CPUs, and whether two owners meet. */
static int say_pins(const struct say *s, uint32_t *owner_of_core)
{
	const struct vbmq_pl_domain *meets = NULL;
	struct vbmq_cpuset cpus = VBMQ_CPUSET_EMPTY;
	size_t n = 0;
	uint32_t self = (uint32_t)(s->d - s->pl->domains);
	const char *apart;
	int r = 0;

	for (size_t i = 0; i < s->d->n_threads; i++) {
		const struct vbmq_pl_thread *t = &s->d->threads[i];
		uint32_t core = s->pl->sets[t->cpus].core;

		if (!t->hard || !t->was || !(t->was->has_pin || s->d->d->has_cpuset))
			continue;
		n++;
		cpus = vbmq_cpuset_or(&cpus, &s->pl->sets[t->cpus].cpus);
		if (core == VBMQ_PL_NONE)
			continue;
		if (owner_of_core[core] != VBMQ_PL_NONE && owner_of_core[core] != self)
			meets = &s->pl->domains[owner_of_core[core]];
		else
			owner_of_core[core] = self;
	}
	apart = !vbmq_cpuset_intersects(&cpus, &s->pl->places) ? ""
		: vbmq_cpuset_is_empty(&s->pl->apart)
			? ", but what floats may run there too: without these CPUs too few would be shared"
			: "; what floats is kept off its vCPUs' CPUs";
	if (n) {
		_cleanup_free_ char *text = vbmq_cpulist_format(&cpus);

		if (!text)
			return -ENOMEM;
		r = vbmq_diag_add(
			&s->to->diags, VBMQ_DIAG_FOREIGN_PIN, VBMQ_INFO, s->name,
			"%zu of its threads are pinned by their owner (CPUs %s): left alone, and no other domain gets "
			"these cores for itself%s.",
			n, text, apart);
	}
	if (r == 0 && meets)
		r = vbmq_diag_add(
			&s->to->diags, VBMQ_DIAG_PIN_CONFLICT, VBMQ_WARNING, s->name,
			"Its owner pinned a thread to a core that domain '%s' is pinned to as well; change one of "
			"the pins.",
			meets->d->name);
	return r;
}

static int say_thread(const struct say *s, const struct vbmq_pl_thread *t)
{
	_cleanup_free_ char *subject = NULL;
	bool drifted = t->was && t->was->held && !vbmq_cpuset_equal(&t->was->affinity, &t->was->applied);
	int r = 0;

	if (!t->conflict && !(drifted && s->d->touch))
		return 0;
	subject = thread_subject(s, t);
	if (!subject)
		return -ENOMEM;
	if (t->conflict)
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_PIN_CONFLICT, VBMQ_WARNING, subject,
				  "Its owner wants it on CPUs that are not usable or never shared; it is left alone.");
	if (r == 0 && drifted)
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_DRIFT, VBMQ_WARNING, subject,
				  "Somebody changed the affinity that VBMq had set; policy 'drift' says: %s.",
				  vbmq_drift_words[s->pl->policy->drift]);
	return r;
}

static int say_domain(const struct say *s, uint32_t *owner_of_core)
{
	const struct vbmq_pl_domain *d = s->d;
	int r = 0;

	if (d->d->metadata_error)
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_BAD_METADATA, VBMQ_ERROR, s->name, "%s",
				  d->d->metadata_error);
	else if (!d->managed)
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_NOT_MANAGED, VBMQ_INFO, s->name,
				  "Not managed (no metadata, or enabled='no'): its threads are %s.",
				  s->pl->policy->hold_others ? "only held off dedicated cores" : "left alone");
	if (r == 0 && d->running && !d->d->responsive)
		r = vbmq_diag_add(&s->to->diags, VBMQ_DIAG_UNRESPONSIVE, VBMQ_WARNING, s->name,
				  "Its monitor does not answer; everything is left as it is.");
	if (r == 0)
		r = say_pins(s, owner_of_core);
	for (size_t i = 0; i < d->n_threads && r == 0; i++)
		r = say_thread(s, &d->threads[i]);
	if (r < 0 || !d->managed || !d->touch)
		return r;
	r = say_disks(s);
	if (r == 0)
		r = say_drifted_disks(s);
	if (r == 0)
		r = say_shortage(s);
	for (size_t i = 0; i < s->to->n_threads && r == 0; i++) {
		const struct vbmq_place_thread *p = &s->to->threads[i];
		const struct vbmq_pl_thread *t;

		if (p->kind != VBMQ_THREAD_IOTHREAD)
			continue;
		t = vbmq_pl_find(&s->pl->domains[d - s->pl->domains], p->kind, p->id);
		if (t)
			r = say_iothread(s, t, p);
	}
	return r;
}

int vbmq_pl_diags(const struct vbmq_pl *pl, struct vbmq_placement *p)
{
	_cleanup_free_ uint32_t *owner_of_core = calloc(pl->host->n_cores, sizeof(*owner_of_core));

	if (!owner_of_core)
		return -ENOMEM;
	for (size_t c = 0; c < pl->host->n_cores; c++)
		owner_of_core[c] = VBMQ_PL_NONE;
	for (size_t i = 0; i < pl->n_domains; i++) {
		struct say s = {
			.pl = pl,
			.d = &pl->domains[i],
			.to = &p->domains[i],
			.name = p->domains[i].name,
		};

		if (say_domain(&s, owner_of_core) < 0)
			return -ENOMEM;
		for (size_t j = 0; j < s.to->diags.n; j++)
			p->infeasible = p->infeasible || s.to->diags.items[j].severity == VBMQ_ERROR;
	}
	return 0;
}
