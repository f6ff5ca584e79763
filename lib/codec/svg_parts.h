/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Parts of the picture, for the svg*.c files only. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/plan.h"
#include "core/policy.h"
#include "core/snapshot.h"
#include "util/strbuf.h"

/* --- svg_map.c: what is to be drawn ----------------------------------------------------------------------------------- */

enum vbmq_svg_use {
	VBMQ_SVG_SHARED,
	VBMQ_SVG_RESERVED, /* shared, and the policy never dedicates it */
	VBMQ_SVG_DEDICATED,
	VBMQ_SVG_PINNED, /* its owner pinned threads to it */
	VBMQ_SVG_ISOLATED, /* usable, nobody's, and not shared */
	VBMQ_SVG_UNUSABLE, /* offline or not allowed */
	VBMQ_SVG_USES,
};

#define VBMQ_SVG_NOBODY UINT32_MAX

struct vbmq_svg_core {
	enum vbmq_svg_use use;
	uint32_t domain; /* index of the first owner, or of who pinned; VBMQ_SVG_NOBODY */
	const struct vbmq_place_thread *thread; /* its thread, of dedicated cores */
	uint32_t n_more; /* further threads there */
};

struct vbmq_svg_guest { /* one that has cores, for the legend */
	uint32_t domain;
	uint32_t iothreads, vcpus; /* with a place of their own */
	uint32_t pinned; /* cores */
};

struct vbmq_svg_map {
	const struct vbmq_snapshot *snapshot;
	const struct vbmq_placement *placement;
	struct vbmq_svg_core *cores; /* one a core of the host */
	uint32_t owner_of[VBMQ_CPUS_MAX]; /* domain whose thread has this CPU for itself */
	struct vbmq_svg_guest *guests; /* in the order of the placement */
	size_t n_guests;
	uint32_t *guest_of; /* domain -> index in guests, or VBMQ_SVG_NOBODY */
};

int vbmq_svg_map(const struct vbmq_snapshot *s, const struct vbmq_policy *policy, const struct vbmq_placement *p,
		 struct vbmq_svg_map *ret); /* 0 or -ENOMEM */
void vbmq_svg_map_done(struct vbmq_svg_map *m);

/* What a pointer resting on the core is told, a line each thread. */
void vbmq_svg_tip(const struct vbmq_svg_map *m, uint32_t core, struct vbmq_strbuf *ret);
/* "iothread1", "vcpu0", "emulator" */
void vbmq_svg_thread_name(const struct vbmq_place_thread *t, char ret[32]);

/* --- svg_text.c: text of any origin ----------------------------------------------------------------------------------- */

/* Adds text that may stand in XML; bytes that are not UTF-8, controls and what turns the direction become U+FFFD. */
void vbmq_svg_clean(const char *text, struct vbmq_strbuf *ret);
/* The same, cut in its middle to what fits into width pixels at this size of font. */
void vbmq_svg_fit(const char *text, unsigned width, unsigned size, struct vbmq_strbuf *ret);
