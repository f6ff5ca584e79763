/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Scope-bound release. A destructor accepts NULL and half-built objects and returns NULL, so that
 *	x = vbmq_thing_free(x);
 * is the idiom, and ownership moves by VBMQ_STEAL(x).
 */

#include <stdlib.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* VBMQ_DEFINE_CLEANUP(struct vbmq_plan *, vbmq_plan_free) defines vbmq_plan_freep() for _cleanup_(vbmq_plan_freep). */
#define VBMQ_DEFINE_CLEANUP(type, func)     \
	static inline void func##p(type *p) \
	{                                   \
		if (*p)                     \
			func(*p);           \
	}                                   \
	struct vbmq_swallow_semicolon_##func

static inline void vbmq_freep(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ _cleanup_(vbmq_freep)

#define VBMQ_STEAL(p)                        \
	({                                   \
		__typeof__(p) _stolen = (p); \
		(p) = NULL;                  \
		_stolen;                     \
	})

#define VBMQ_ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
