/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * CPU sets that many have in common: allocated once, never changed, counted. A placement and its steps speak of thousands of threads,
 * but of few different sets, and a set takes half a kilobyte. Counting is safe between threads.
 */

#include "util/cpuset.h"

const struct vbmq_cpuset *vbmq_setref_new(const struct vbmq_cpuset *cpus); /* a copy, one reference; NULL: no memory */
const struct vbmq_cpuset *vbmq_setref(const struct vbmq_cpuset *ref); /* one more reference to what _new() made */
void vbmq_setref_drop(const struct vbmq_cpuset *ref); /* one less, freed with the last; NULL: no effect */
