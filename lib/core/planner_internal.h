/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The planner's working model, private to planner*.c. The theory of operation is at the top of planner.c; here is what
 * the parts pass to each other, in the order in which they run.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/cost.h"
#include "core/leash.h"
#include "core/placement.h"
#include "core/snapshot.h"
#include "util/cleanup.h"

#define VBMQ_PL_NONE UINT32_MAX

enum vbmq_pl_role {
	VBMQ_PL_FIXED, /* not ours: stays where it is (cpus) */
	VBMQ_PL_BACK, /* we moved it earlier, its owner's narrow pin is given back (cpus) */
	VBMQ_PL_FLOAT, /* leash and shared set, unless this pass gives it a place of its own */
};

struct vbmq_pl_thread {
	enum vbmq_thread_kind kind;
	uint32_t id;
	const struct vbmq_thread *was; /* in the snapshot; NULL: would be added */
	enum vbmq_pl_role role;
	uint32_t leash; /* set: where it may be at all */
	uint32_t stands; /* vCPU: set where it runs as far as completion locality goes */
	bool hard; /* FIXED or BACK on a narrow set: these cores are taken */
	bool conflict; /* its owner's leash has no CPU that could be shared */
	bool mandatory; /* I/O thread that serves something the planner cannot take from it */
	bool asked; /* I/O thread within the explicit count of the wish */
	uint32_t is; /* set: where it stands */
	uint32_t now; /* set: the same, or where an earlier pass put it ... */
	bool stood; /* false: ... which is another core */

	/* result of the pass */
	uint32_t cpus; /* set */
	uint32_t unit; /* the unit that has its place, or VBMQ_PL_NONE */
	bool serves; /* I/O thread: in use */
	bool exists; /* I/O thread: there now or to be added */
	bool crowded; /* others of its domain share its CPU */
	uint32_t why; /* index in whys, or VBMQ_PL_NONE */
};

struct vbmq_pl_domain {
	const struct vbmq_domain *d;
	struct vbmq_wish wish;
	bool managed;
	bool touch; /* it answers and can be pinned */
	bool running;
	bool free_map; /* queues can be mapped as we like: live, or at the next start */
	struct vbmq_pl_thread *threads; /* sorted by kind, id; with the I/O threads that may be added */
	size_t n_threads;
	uint32_t *io; /* I/O threads that may serve, by index in threads: mandatory, existing, added; each by id */
	size_t n_io; /* as many as are wanted */
	size_t n_mandatory;
	size_t n_vcpus; /* vCPUs that want a core each */
	bool *disk_free; /* disk's queues are ours to map, by index */
	uint32_t says; /* the set that was asked about last: */
	enum vbmq_leash leash; /* what it is to this domain's owner */

	/* result of the pass */
	size_t n_units; /* I/O units (cores) it got */
	size_t n_dealt; /* of them, those whose threads are known */
	size_t n_serving; /* of io, from its start */
	bool vcpus_got; /* its vCPUs have a core each */
	uint32_t home; /* set: the L3 domain where its dedicated vCPUs should gather, or VBMQ_PL_NONE */
	uint32_t **map; /* I/O thread id by disk and queue */
};

/* What takes a core: one I/O thread, one vCPU, or several I/O threads of one domain. */
struct vbmq_pl_unit {
	uint32_t domain;
	int32_t priority;
	uint32_t *threads; /* indexes in the domain's threads, owned */
	size_t n_threads;
	bool part; /* exclusive=cpu: takes CPUs, not the core */
	size_t size; /* CPUs it needs on one core (part), 1 otherwise */
	uint32_t leash;
	uint32_t fits; /* index of its set of eligible cores */
	uint32_t core; /* matched, then assigned */
};

/* Different CPU sets, each once. */
struct vbmq_pl_set {
	struct vbmq_cpuset cpus;
	uint32_t core; /* inside which it is, or VBMQ_PL_NONE */
	uint32_t on_base; /* set: what of it may be shared; VBMQ_PL_NONE: not asked yet */
	uint32_t floating; /* set: what of it this pass shares; valid while floats */
	uint32_t *near; /* nearness of every zone to it; NULL: not asked yet */
	bool floats; /* some planned thread without a place of its own is on this leash */
};

/* Sets of core indexes on which a unit of some shape may stand. */
struct vbmq_pl_fits {
	bool part;
	size_t size;
	uint32_t leash;
	struct vbmq_cpuset cores;
	bool full; /* no unit of this shape can be granted any more in this pass */
	bool fell_short; /* when room_at units were granted, there was room for as many as room of this shape */
	size_t room_at, room;
	size_t n_units; /* granted */
};

struct vbmq_pl {
	const struct vbmq_snapshot *snapshot;
	const struct vbmq_host *host;
	const struct vbmq_policy *policy;
	struct vbmq_pl_domain *domains;
	size_t n_domains;
	struct vbmq_pl_set *sets;
	size_t n_sets;
	uint32_t *table; /* finds sets: index + 1, or 0 */
	size_t table_size;
	uint32_t everywhere; /* the set of all usable CPUs */

	/* the pool (planner_cores.c); sets of core indexes unless they say CPU */
	struct vbmq_cpuset
		held_places; /* places of their own that threads of guests which do not answer have: nobody else's */
	struct vbmq_cpuset shareable; /* CPUs that are shared when there are no guests */
	struct vbmq_cpuset base; /* CPUs that are shared when nothing is dedicated */
	struct vbmq_cpuset places; /* CPUs where owners want vCPUs, or I/O threads that are not ours */
	struct vbmq_cpuset
		apart; /* CPUs that are not for the sake of those whom owners pinned there (planner_owner.c) */
	struct vbmq_cpuset base_all; /* both */
	struct vbmq_cpuset cpu_ok; /* CPUs that may be dedicated */
	struct vbmq_cpuset whole_ok; /* cores that may be dedicated whole */
	struct vbmq_cpuset part_ok; /* cores with at least one CPU that may be dedicated */
	struct vbmq_cpuset isolated; /* cores that never are in the shared set */
	uint32_t *zone; /* core -> its zone: L3 domain and node, which is all that nearness and distance depend on */
	uint32_t *zone_core; /* zone -> its first core */
	size_t n_zones;
	int32_t fastest; /* kind of core; -1: all alike */
	uint32_t boot; /* core of the lowest usable CPU */
	struct vbmq_cpuset kept; /* cores that this pass keeps shared for the sake of a leash */
	size_t n_vcpus; /* vCPUs that no place of their owner's or ours keeps: they float, unless they get a core each */
	size_t n_cores, n_cpus; /* usable, without those that are wholly set apart */
	size_t n_shareable; /* cores with a CPU of base, and not held by a guest that does not answer */
	size_t shared_min; /* so many cores stay shared at least */
	size_t budget; /* so many cores that are not isolated may be dedicated */
	size_t pack; /* threads of a domain on one core under exclusive=cpu */

	/* the pass */
	int32_t least; /* priority of domains that are granted anything */
	struct vbmq_cpuset mixed; /* CPUs of which threads that never have a place of their own have but one core */
	struct vbmq_pl_fits *fits;
	size_t n_fits;
	struct vbmq_pl_unit *units; /* in the order in which they were granted */
	size_t n_units;
	struct vbmq_cpuset shared; /* CPUs */
	struct vbmq_cpuset dedicated;
	bool slipped; /* somebody really stood on his core and has another CPU of it now */
	struct vbmq_why *whys; /* after the last pass: of threads that have a place of their own */
	size_t n_whys;
};

/* planner_model.c: from snapshot and policy, once */
int vbmq_pl_init(struct vbmq_pl *pl, const struct vbmq_snapshot *snapshot, const struct vbmq_policy *policy,
		 struct vbmq_err *err);
void vbmq_pl_done(struct vbmq_pl *pl);
struct vbmq_pl_thread *vbmq_pl_find(struct vbmq_pl_domain *d, enum vbmq_thread_kind kind, uint32_t id);

/* planner_owner.c: what owners said, of I/O threads that are ours only the guest's cpuset; false: nothing */
bool vbmq_pl_said(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, const struct vbmq_thread *t,
		  struct vbmq_cpuset *ret);
int vbmq_pl_leash(struct vbmq_pl *pl, struct vbmq_pl_domain *d, const struct vbmq_cpuset *says, enum vbmq_leash *ret);
int vbmq_pl_set_apart(struct vbmq_pl *pl); /* sets places, apart, base_all, and takes apart from base */

/* planner_sets.c: adding a set moves the others in memory */
#define VBMQ_PL_NOWHERE 0u /* the empty set */
int vbmq_pl_sets_init(struct vbmq_pl *pl);
void vbmq_pl_sets_done(struct vbmq_pl *pl);
int vbmq_pl_set(struct vbmq_pl *pl, const struct vbmq_cpuset *cpus, uint32_t *ret); /* finds or adds */
/* What of a set may be shared, as a set; if all of that is owners', that. */
int vbmq_pl_on_base(struct vbmq_pl *pl, uint32_t set, uint32_t *ret);

/* planner_want.c: which I/O threads may serve, once */
int vbmq_pl_want(struct vbmq_pl *pl, struct vbmq_pl_domain *d);
/* I/O threads; what cannot be added is not removed either, or the next plan would want less than this one */
bool vbmq_pl_can_add(const struct vbmq_pl_domain *d);

/* planner_cores.c: the pool, once; the questions, always */
int vbmq_pl_cores_init(struct vbmq_pl *pl);
struct vbmq_cpuset vbmq_pl_taken(const struct vbmq_pl *pl); /* CPUs of the cores where owners keep threads */
void vbmq_pl_ration(struct vbmq_pl *pl, size_t n_own); /* sets shared_min and budget; so many vCPUs have a core each */
int vbmq_pl_fits(struct vbmq_pl *pl, bool part, size_t size, uint32_t leash, uint32_t *ret);
struct vbmq_cpuset vbmq_pl_avail(const struct vbmq_pl *pl, uint32_t core, bool part, uint32_t leash); /* CPUs */
bool vbmq_pl_stands_alone(const struct vbmq_pl *pl, const struct vbmq_pl_thread *t); /* on a place it could be given */

/* the threads of a unit on the CPUs of its core; adds to pl->dedicated */
int vbmq_pl_place_unit(struct vbmq_pl *pl, const struct vbmq_pl_unit *u);

/* planner_grant.c: who gets a core (but not yet which) */
int vbmq_pl_grant(struct vbmq_pl *pl);
void vbmq_pl_units_done(struct vbmq_pl *pl);

/* planner_queues.c: which serving thread serves which queue */
int vbmq_pl_map_queues(struct vbmq_pl_domain *d);

/* planner_cost.c: what a core costs a thread, for a given state of the pool */
struct vbmq_pl_served { /* what one thread has to be near to */
	struct vbmq_cpuset vcpus;
	int32_t nodes[VBMQ_DISKS_MAX]; /* of the devices, one a disk */
	size_t n_nodes;
};

struct vbmq_pl_pool {
	struct vbmq_pl *pl;
	struct vbmq_pl_served served; /* scratch, too big for the stack of a thread */
	struct vbmq_cpuset all; /* cores some unit may have */
	struct vbmq_cpuset used; /* cores assigned already */
	size_t n_rationed; /* of them not isolated */
	uint32_t *rank; /* L3 domain -> place in the order of filling up */
	uint64_t *fragment; /* by core, from the ranks */
};

struct vbmq_pl_zone_cost {
	uint64_t numa, locality;
};

struct vbmq_pl_pool *vbmq_pl_pool_new(struct vbmq_pl *pl); /* nothing used yet; NULL: no memory */
struct vbmq_pl_pool *vbmq_pl_pool_free(struct vbmq_pl_pool *p);
int vbmq_pl_pool_rank(struct vbmq_pl_pool *p); /* to be called when used has changed */
uint64_t vbmq_pl_numa(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, const struct vbmq_pl_served *s,
		      uint32_t node);
int vbmq_pl_zone_costs(struct vbmq_pl_pool *p, struct vbmq_pl_domain *d, const struct vbmq_pl_thread *t,
		       struct vbmq_pl_zone_cost *sum); /* adds to sum[zone]; leaves p->served as it is for t */
bool vbmq_pl_moves(const struct vbmq_pl *pl, const struct vbmq_pl_thread *t, uint32_t core);

/* planner_home.c: the L3 domain where each domain's dedicated vCPUs should gather */
int vbmq_pl_choose_homes(struct vbmq_pl_pool *p);

/* planner_place.c: which core; then CPUs */
int vbmq_pl_place(struct vbmq_pl *pl);

/* planner_rest.c: 1 if another pass, from where the last one has put everybody, would change nothing; 0 if it might */
int vbmq_pl_rests(struct vbmq_pl *pl);

/* planner_why.c */
int vbmq_pl_explain(struct vbmq_pl *pl);

/* planner_diag.c: remarks on the result */
int vbmq_pl_diags(const struct vbmq_pl *pl, struct vbmq_placement *p);

/*
 * assign.c: rows to columns that have room for several, at least cost. Rows come in classes of equal rows: class k has supply[k] of
 * them; base[k * n_bases + base_of[c]] is what column c costs each, VBMQ_ASSIGN_NEVER where it may not go, less what its
 * discounts say. ret_flow[k * n_cols + c]: how many of them are there. -ENOENT: not all of them have room.
 */
#define VBMQ_ASSIGN_NEVER ((vbmq_cost_key)1 << 126)

struct vbmq_discount { /* sorted by class */
	uint32_t class, col;
	vbmq_cost_key less;
};

struct vbmq_assign {
	size_t n_classes, n_cols, n_bases, n_discounts;
	const uint32_t *supply; /* by class */
	const uint32_t *room; /* by column */
	const uint32_t *base_of; /* by column */
	const vbmq_cost_key *base;
	const struct vbmq_discount *discounts;
};

int vbmq_assign(const struct vbmq_assign *a, uint32_t *ret_flow);
