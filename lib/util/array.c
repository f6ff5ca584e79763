/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "util/array.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 8u

/* Capacity implied by a count: growth is needed exactly when the count stands on it. */
static size_t capacity(size_t n)
{
	size_t cap = FIRST_CAPACITY;

	if (n == 0)
		return 0;
	while (cap < n)
		cap *= 2;
	return cap;
}

void *vbmq_array_add_bytes(void **items, size_t *n_items, size_t max, size_t item_size)
{
	size_t cap = capacity(*n_items);
	char *grown, *item;

	if (*n_items >= max || *n_items >= SIZE_MAX / 4 / item_size)
		return NULL;
	if (*n_items == cap) {
		cap = capacity(*n_items + 1);
		grown = realloc(*items, cap * item_size);
		if (!grown)
			return NULL;
		*items = grown;
	}
	item = (char *)*items + *n_items * item_size;
	memset(item, 0, item_size);
	(*n_items)++;
	return item;
}
