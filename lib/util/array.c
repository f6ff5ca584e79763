/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "util/array.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 8u

/* The capacity follows from the count: FIRST_CAPACITY, and from there on the power of two that holds it. */
void *vbmq_array_add_bytes(void **items, size_t *n_items, size_t max, size_t item_size)
{
	const size_t n = *n_items;
	bool full = n == 0 || (n >= FIRST_CAPACITY && (n & (n - 1)) == 0); /* it stands on its capacity */
	char *grown, *item;

	if (*n_items >= max || *n_items >= SIZE_MAX / 4 / item_size)
		return NULL;
	if (full) {
		grown = realloc(*items, (n ? 2 * n : FIRST_CAPACITY) * item_size);
		if (!grown)
			return NULL;
		*items = grown;
	}
	item = (char *)*items + *n_items * item_size;
	memset(item, 0, item_size);
	(*n_items)++;
	return item;
}
