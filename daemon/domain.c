/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/domain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/snapshot.h"
#include "util/array.h"

#define FIRST_RETRY_MS 1000u

const char *const vbmqd_domain_state_words[] = { "clean", "dirty", "reading", "failed", "unresponsive", NULL };

/* Index of uuid, or where it belongs; *ret_found tells. */
static size_t position(const struct vbmqd_domains *d, const char *uuid, bool *ret_found)
{
	size_t low = 0, high = d->n;

	*ret_found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(d->items[mid]->uuid, uuid);

		if (c == 0) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct vbmqd_domain *domain_free(struct vbmqd_domain *d)
{
	vbmq_domain_free(d->seen);
	free(d->name);
	free(d);
	return NULL;
}

struct vbmqd_domain *vbmqd_domains_find(const struct vbmqd_domains *d, const char *uuid)
{
	bool found;
	size_t i = position(d, uuid, &found);

	return found ? d->items[i] : NULL;
}

struct vbmqd_domain *vbmqd_domains_find_name(const struct vbmqd_domains *d, const char *name_or_uuid)
{
	for (size_t i = 0; i < d->n; i++) {
		if (strcmp(d->items[i]->name, name_or_uuid) == 0)
			return d->items[i];
	}
	return vbmqd_domains_find(d, name_or_uuid);
}

/* Follows a rename. Without memory the old name stays until the next event. */
static void rename_domain(struct vbmqd_domain *d, const char *name)
{
	char *copy;

	if (!name || !name[0] || strcmp(d->name, name) == 0)
		return;
	copy = strdup(name);
	if (!copy)
		return;
	free(d->name);
	d->name = copy;
	d->changed = true;
}

struct vbmqd_domain *vbmqd_domains_add(struct vbmqd_domains *d, const char *uuid, const char *name)
{
	struct vbmqd_domain *new, **slot;
	bool found;
	size_t i = position(d, uuid, &found);

	if (found) {
		rename_domain(d->items[i], name);
		return d->items[i];
	}
	new = calloc(1, sizeof(*new));
	if (!new)
		return NULL;
	new->name = strdup(name && name[0] ? name : uuid);
	strncpy(new->uuid, uuid, sizeof(new->uuid) - 1);
	new->state = VBMQD_DOMAIN_DIRTY;
	new->changed = true;
	slot = new->name ? vbmq_array_add(d->items, d->n, VBMQ_DOMAINS_MAX) : NULL;
	if (!slot)
		return domain_free(new);
	memmove(&d->items[i + 1], &d->items[i], (d->n - 1 - i) * sizeof(d->items[0]));
	d->items[i] = new;
	return new;
}

void vbmqd_domains_remove(struct vbmqd_domains *d, const char *uuid)
{
	bool found;
	size_t i = position(d, uuid, &found);

	if (!found)
		return;
	domain_free(d->items[i]);
	memmove(&d->items[i], &d->items[i + 1], (d->n - 1 - i) * sizeof(d->items[0]));
	d->n--;
}

void vbmqd_domains_done(struct vbmqd_domains *d)
{
	for (size_t i = 0; i < d->n; i++)
		domain_free(d->items[i]);
	free(d->items);
	*d = (struct vbmqd_domains){ .n = 0 };
}

void vbmqd_domain_mark(struct vbmqd_domain *d)
{
	d->stirred = true;
	vbmqd_domain_tuned(d);
}

void vbmqd_domain_tuned(struct vbmqd_domain *d)
{
	if (d->state == VBMQD_DOMAIN_READING)
		d->dirty_again = true;
	else if (!d->hung)
		d->state = VBMQD_DOMAIN_DIRTY;
}

void vbmqd_domain_listed(struct vbmqd_domain *d)
{
	if (d->state == VBMQD_DOMAIN_READING)
		d->stirred = true; /* it is being looked at */
	else if (!d->fresh)
		vbmqd_domain_mark(d);
}

void vbmqd_domain_begin(struct vbmqd_domain *d, bool own)
{
	d->fresh = own && d->late;
	d->late = false;
	if (!own)
		vbmqd_domain_mark(d);
}

void vbmqd_domain_late(struct vbmqd_domain *d)
{
	d->late = d->state == VBMQD_DOMAIN_CLEAN;
}

void vbmqd_domain_read_ok(struct vbmqd_domain *d, struct vbmq_domain *seen, const struct vbmq_err *metadata)
{
	vbmq_domain_free(d->seen);
	d->seen = seen;
	d->metadata = *metadata;
	d->state = d->dirty_again ? VBMQD_DOMAIN_DIRTY : VBMQD_DOMAIN_CLEAN;
	d->dirty_again = false;
	d->changed = true;
}

uint64_t vbmqd_back_off_ms(unsigned failures, uint64_t first_ms, uint64_t max_ms)
{
	uint64_t ms = first_ms;

	for (unsigned i = 1; i < failures && ms < max_ms; i++)
		ms *= 2;
	return ms < max_ms ? ms : max_ms;
}

void vbmqd_domain_failed(struct vbmqd_domain *d, const struct vbmq_err *err, uint64_t now, uint64_t retry_max_ms)
{
	d->error = *err;
	d->failures++;
	d->retry_at = now + vbmqd_back_off_ms(d->failures, FIRST_RETRY_MS, retry_max_ms) * 1000u;
	d->state = VBMQD_DOMAIN_FAILED;
	d->dirty_again = false;
	d->changed = true;
}

void vbmqd_domain_worked(struct vbmqd_domain *d)
{
	if (!d->failures && !d->error.code)
		return;
	d->failures = 0;
	d->retry_at = 0;
	d->error = VBMQ_ERR_INIT;
	d->changed = true;
}

void vbmqd_domain_hung(struct vbmqd_domain *d)
{
	d->state = VBMQD_DOMAIN_UNRESPONSIVE;
	d->hung = true;
	d->dirty_again = false;
	d->changed = true;
}

void vbmqd_domain_returned(struct vbmqd_domain *d)
{
	if (!d->hung)
		return;
	d->hung = false;
	d->state = VBMQD_DOMAIN_DIRTY;
	d->changed = true;
}

void vbmqd_domain_silent(struct vbmqd_domain *d, uint64_t now, uint64_t retry_max_ms)
{
	struct vbmq_err e = VBMQ_ERR_INIT;

	vbmq_err_set(&e, -ETIMEDOUT, "its monitor does not answer");
	vbmqd_domain_failed(d, &e, now, retry_max_ms);
	d->state = VBMQD_DOMAIN_UNRESPONSIVE;
}

bool vbmqd_domain_backing_off(const struct vbmqd_domain *d, uint64_t now)
{
	return d->failures && now < d->retry_at;
}
