/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scene.h"
#include "util/array.h"
#include "util/setref.h"

static const struct vbmq_cpuset *ref(const struct vbmq_cpuset *cpus)
{
	const struct vbmq_cpuset *r = vbmq_setref_new(cpus);

	if (!r)
		abort();
	return r;
}

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* "A/iothread1": domain A (index), kind, id */
static void split(const char *thread, char *ret_domain, enum vbmq_thread_kind *ret_kind, uint32_t *ret_id)
{
	const char *slash = must(strchr(thread, '/'));

	snprintf(ret_domain, 32, "%.*s", (int)(slash - thread), thread);
	*ret_id = 0;
	for (int k = 0; vbmq_thread_kind_words[k]; k++) {
		size_t n = strlen(vbmq_thread_kind_words[k]);

		if (strncmp(slash + 1, vbmq_thread_kind_words[k], n) == 0) {
			*ret_kind = (enum vbmq_thread_kind)k;
			*ret_id = (uint32_t)strtoul(slash + 1 + n, NULL, 10);
			return;
		}
	}
	abort();
}

static uint32_t domain_index(const struct vbmq_plan *p, const char *name)
{
	for (uint32_t i = 0; i < p->placement->n_domains; i++)
		if (strcmp(p->placement->domains[i].name, name) == 0)
			return i;
	abort();
}

struct vbmq_plan *hand_plan(const struct vbmq_snapshot *s)
{
	struct vbmq_plan *p = must(calloc(1, sizeof(*p)));

	p->placement = must(calloc(1, sizeof(*p->placement)));
	p->placement->shared = s->host->usable;
	for (size_t i = 0; i < s->n_domains; i++) {
		struct vbmq_place_domain *d = must(vbmq_array_add(p->placement->domains, p->placement->n_domains, 100));

		d->name = must(strdup(s->domains[i]->name));
		memcpy(d->uuid, s->domains[i]->uuid, sizeof(d->uuid));
		for (size_t j = 0; j < s->domains[i]->n_threads; j++) {
			struct vbmq_place_thread *t = must(vbmq_array_add(d->threads, d->n_threads, 100));

			t->kind = s->domains[i]->threads[j].kind;
			t->id = s->domains[i]->threads[j].id;
			t->cpus = ref(&s->domains[i]->threads[j].affinity);
		}
	}
	return p;
}

static struct vbmq_step *add_step(struct vbmq_plan *p, const char *thread, enum vbmq_step_op op)
{
	struct vbmq_step *s = must(vbmq_array_add(p->steps, p->n_steps, 1000));
	char domain[32];

	split(thread, domain, &s->kind, &s->id);
	s->op = op;
	s->domain = domain_index(p, domain);
	return s;
}

void hand_pin(struct vbmq_plan *p, const char *thread, const char *cpus)
{
	struct vbmq_step *s = add_step(p, thread, VBMQ_STEP_PIN);
	struct vbmq_place_domain *d = &p->placement->domains[s->domain];
	struct vbmq_cpuset to;

	s->exclusive = cpus[0] == '!';
	to = scene_cpus(cpus + s->exclusive);
	s->cpus = ref(&to);
	for (size_t i = 0; i < d->n_threads; i++) {
		if (d->threads[i].kind == s->kind && d->threads[i].id == s->id) {
			vbmq_setref_drop(d->threads[i].cpus);
			d->threads[i].cpus = vbmq_setref(s->cpus);
			d->threads[i].exclusive = s->exclusive;
			d->threads[i].planned = true;
		}
	}
}

void hand_polling(struct vbmq_plan *p, const char *thread, uint64_t max_ns)
{
	struct vbmq_step *s = add_step(p, thread, VBMQ_STEP_SET_POLLING);

	s->polling = (struct vbmq_polling){ .max_ns = max_ns, .grow = 1000, .shrink = 1, .mode = VBMQ_POLL_UNSAID };
}

void hand_add(struct vbmq_plan *p, const char *thread)
{
	struct vbmq_step *s = add_step(p, thread, VBMQ_STEP_ADD_IOTHREAD);
	struct vbmq_place_domain *d = &p->placement->domains[s->domain];
	struct vbmq_place_thread *t = must(vbmq_array_add(d->threads, d->n_threads, 100)), *last = t;

	/* before the emulator, which is last */
	t = &d->threads[d->n_threads - 2];
	*last = *t;
	*t = (struct vbmq_place_thread){
		.kind = VBMQ_THREAD_IOTHREAD, .id = s->id, .cpus = ref(&VBMQ_CPUSET_EMPTY), .to_add = true
	};
}

void hand_del(struct vbmq_plan *p, const char *thread)
{
	add_step(p, thread, VBMQ_STEP_DEL_IOTHREAD);
}

void hand_map(struct vbmq_plan *p, const char *disk, const uint32_t *map, size_t n)
{
	struct vbmq_step *s = must(vbmq_array_add(p->steps, p->n_steps, 1000));
	const char *slash = must(strchr(disk, '/'));
	char domain[32];

	snprintf(domain, sizeof(domain), "%.*s", (int)(slash - disk), disk);
	s->op = VBMQ_STEP_MAP_QUEUES;
	s->domain = domain_index(p, domain);
	snprintf(s->target, sizeof(s->target), "%s", slash + 1);
	s->map = must(calloc(n, sizeof(*map)));
	memcpy(s->map, map, n * sizeof(*map));
	s->n_map = n;
}

void hand_shared(struct vbmq_plan *p, const char *cpus)
{
	p->placement->shared = scene_cpus(cpus);
}

const struct vbmq_thread *hand_thread(const struct vbmq_snapshot *s, const char *thread)
{
	enum vbmq_thread_kind kind;
	const struct vbmq_domain *d;
	char domain[32];
	uint32_t id;

	split(thread, domain, &kind, &id);
	d = vbmq_snapshot_find(s, domain);
	return d ? vbmq_domain_thread(d, kind, id) : NULL;
}
