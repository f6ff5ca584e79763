/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Growing arrays of plain structs: a pointer and a count side by side in the owning struct ("items", "n_items").
 * No capacity is stored: it is the power of two at or above the count (at least 8), so arrays must only be grown here.
 */

#include <stddef.h>

/*
 * Makes room for one more item at the end and zeroes it. *items may be NULL with *n_items 0.
 * Returns the new item (and increments *n_items), or NULL on out of memory or when max items are reached
 * (errno is not touched; the caller knows its limit). Pointers into the array are invalid afterwards.
 */
void *vbmq_array_add_bytes(void **items, size_t *n_items, size_t max, size_t item_size);

#define vbmq_array_add(items, n_items, max) \
	((__typeof__(items))vbmq_array_add_bytes((void **)&(items), &(n_items), (max), sizeof(*(items))))
