/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Dedicated vCPUs and the I/O threads that serve them would pull each other about; so each such domain first gets a home, an L3
 * domain that suits its memory and devices and has room, and both sides are drawn there. One whose threads stand on cores of their own has
 * its home where most of them are, unless another is nearer to memory and devices, or has room for so many more of them that
 * it outweighs the moves (policy move_gain); places that an earlier pass gave count as well, or the next plan would choose
 * another home than this one.
 */

#include <errno.h>
#include <stdlib.h>

#include "core/planner_internal.h"

struct home {
	uint64_t numa;
	size_t in_l3, in_node; /* of the cores it needs, how many it would find */
	size_t stand; /* threads of it that stand there */
};

static bool better_home(const struct home *a, const struct home *b)
{
	if (a->numa != b->numa)
		return a->numa < b->numa;
	if (a->in_l3 != b->in_l3)
		return a->in_l3 > b->in_l3;
	if (a->in_node != b->in_node)
		return a->in_node > b->in_node;
	return a->stand > b->stand;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Counting every thread that comes to live with the others, or at least in the same node, as one step nearer. */
static bool is_worth(const struct vbmq_pl *pl, const struct home *from, const struct home *to, size_t n_stand)
{
	uint64_t gain = (to->in_l3 > from->in_l3 ? to->in_l3 - from->in_l3 : 0) +
			(to->in_node > from->in_node ? to->in_node - from->in_node : 0);

	return to->numa < from->numa ||
	       gain * VBMQ_COST_FIXED > (uint64_t)pl->policy->move_gain * (n_stand - to->stand);
}

static void count_standing(const struct vbmq_pl *pl, const struct vbmq_pl_domain *d, uint32_t l3, struct home *home)
{
	for (size_t t = 0; t < d->n_threads; t++)
		if (vbmq_pl_stands_alone(pl, &d->threads[t]) &&
		    pl->host->cores[pl->sets[d->threads[t].now].core].l3 == l3) {
			home->stand++;
		}
}

/* free[l3]: cores not claimed yet; the home takes what it needs, then the neighbours of its node. */
static int choose_home(struct vbmq_pl_pool *p, struct vbmq_pl_domain *d, size_t *free_cores)
{
	const struct vbmq_host *h = p->pl->host;
	size_t need = d->n_vcpus + d->n_units;
	struct home best = { .numa = UINT64_MAX }, stays = { .numa = UINT64_MAX };
	uint32_t chosen = 0, stay = 0;
	size_t n_stand = 0;

	p->served.n_nodes = 0;
	for (size_t i = 0; i < d->d->n_disks && i < VBMQ_DISKS_MAX; i++)
		if (d->d->disks[i].node != VBMQ_NODE_UNKNOWN)
			p->served.nodes[p->served.n_nodes++] = d->d->disks[i].node;
	for (uint32_t l = 0; l < h->n_l3s; l++) {
		struct home home = { .in_l3 = least(free_cores[l], need) };

		if (free_cores[l] == 0)
			continue;
		home.numa = vbmq_pl_numa(p->pl, d, &p->served, h->l3s[l].node);
		for (uint32_t o = 0; o < h->n_l3s; o++)
			if (h->l3s[o].node == h->l3s[l].node)
				home.in_node += free_cores[o];
		home.in_node = least(home.in_node, need);
		count_standing(p->pl, d, l, &home);
		n_stand += home.stand;
		if (home.stand > stays.stand) {
			stays = home;
			stay = l;
		}
		if (best.numa == UINT64_MAX || better_home(&home, &best)) {
			best = home;
			chosen = l;
		}
	}
	if (best.numa == UINT64_MAX)
		return 0;
	if (stays.stand && !is_worth(p->pl, &stays, &best, n_stand))
		chosen = stay;
	for (uint32_t l = chosen, o = 0; need && o <= h->n_l3s; l = o++) {
		size_t n = l < h->n_l3s && h->l3s[l].node == h->l3s[chosen].node ? least(free_cores[l], need) : 0;

		if (n)
			free_cores[l] -= n;
		need -= n;
	}
	return vbmq_pl_set(p->pl, &h->l3s[chosen].cpus, &d->home);
}

/* In the order in which they were granted: those who stand come before newcomers. */
int vbmq_pl_choose_homes(struct vbmq_pl_pool *p)
{
	const struct vbmq_host *h = p->pl->host;
	_cleanup_free_ size_t *free_cores = calloc(h->n_l3s, sizeof(*free_cores));
	uint32_t last = VBMQ_PL_NONE;

	if (!free_cores)
		return -ENOMEM;
	for (int c = vbmq_cpuset_next(&p->all, 0); c >= 0; c = vbmq_cpuset_next(&p->all, (unsigned)c + 1))
		free_cores[h->cores[c].l3]++;
	for (size_t u = 0; u < p->pl->n_units; u++) {
		const struct vbmq_pl_unit *unit = &p->pl->units[u];
		struct vbmq_pl_domain *d = &p->pl->domains[unit->domain];

		if (!d->vcpus_got || d->home != VBMQ_PL_NONE || unit->domain == last ||
		    d->threads[unit->threads[0]].kind != VBMQ_THREAD_VCPU)
			continue;
		last = unit->domain;
		if (choose_home(p, d, free_cores) < 0)
			return -ENOMEM;
	}
	return 0;
}
