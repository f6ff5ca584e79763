/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory that runs out where a test says so. The linker sends malloc, calloc, realloc and strdup of the code under test
 * here (link_args of vbmq_oom_dep); libraries keep their own.
 */

#include <stdbool.h>
#include <stddef.h>

/* The allocation after n more fails; all: and every one after it. */
void oom_arm(size_t n, bool all);
/* No more fail. True: one did since oom_arm(). */
bool oom_disarm(void);
/* Whether an allocation that is counted here, but not made here, may be made; for allocators that libraries are given. */
bool oom_may_allocate(void);
/* Never fails. */
void *oom_spare(size_t n);
