/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Parts of documents, for the json_*.c files of this directory only. Readers latch errors in the value's reader and may
 * leave half-filled structs behind, which their owner frees as usual; writers latch theirs in the writer. */

#include "codec/json_read.h"
#include "codec/json_write.h"
#include "core/capacity.h"
#include "core/host.h"
#include "core/plan.h"
#include "core/snapshot.h"

/* Threads of one domain, those to be added included. */
#define VBMQ_JSON_THREADS_MAX (VBMQ_VCPUS_MAX + 2u * VBMQ_IOTHREADS_MAX + 1u)

/* json_policy.c. *ret of the readers must be initialised (VBMQ_WISH_INIT, vbmq_policy_init()). */
json_t *vbmq_json_wish_new(struct vbmq_json_writer *w, const struct vbmq_wish *wish);
void vbmq_json_wish(struct vbmq_json *v, struct vbmq_wish *ret);
json_t *vbmq_json_policy_new(struct vbmq_json_writer *w, const struct vbmq_policy *p);
void vbmq_json_policy(struct vbmq_json *v, struct vbmq_policy *ret);

/* json_host.c, json_domain.c. *ret comes from vbmq_host_new(), vbmq_domain_new(); the host is not finished. */
json_t *vbmq_json_host_new(struct vbmq_json_writer *w, const struct vbmq_host *h);
void vbmq_json_host(struct vbmq_json *v, struct vbmq_host *ret);
json_t *vbmq_json_domain_new(struct vbmq_json_writer *w, const struct vbmq_domain *d);
void vbmq_json_domain(struct vbmq_json *v, struct vbmq_domain *ret);

/* json_snapshot.c: the tree of a snapshot, without its policy if so wished. */
json_t *vbmq_json_snapshot_new(struct vbmq_json_writer *w, const struct vbmq_snapshot *s, bool with_policy);

/* json_irqs.c. ..._steady() takes out what changes while nothing happens to the host; NULL may be passed. */
json_t *vbmq_json_irqs_new(struct vbmq_json_writer *w, const struct vbmq_snapshot *s);
json_t *vbmq_json_irqs_steady(json_t *snapshot);
void vbmq_json_irqs(struct vbmq_json *list, struct vbmq_snapshot *ret);
json_t *vbmq_json_place_irqs_new(struct vbmq_json_writer *w, const struct vbmq_placement *p);
void vbmq_json_place_irqs(struct vbmq_json *list, struct vbmq_placement *ret);
void vbmq_json_need_irq_name(struct vbmq_json *o, char ret[VBMQ_TARGET_MAX + 1]);

/* json_step.c: {"op","domain",...}. domains is an object that maps names to indexes. */
json_t *vbmq_json_step_new(struct vbmq_json_writer *w, const struct vbmq_step *s, const char *domain);
void vbmq_json_step(struct vbmq_json *v, const json_t *domains, struct vbmq_step *ret);

/* json_fleet.c: {"templates","left",...} */
json_t *vbmq_json_fleet_new(struct vbmq_json_writer *w, const struct vbmq_fleet_report *r);
