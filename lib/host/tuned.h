/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "util/cpuset.h"

#define VBMQ_TUNED_PROFILE_MAX 63u

/*
 * The cores that TuneD's active profile isolates (cpu-partitioning, realtime-virtual-host, and profiles made of them), as its files
 * say. sysroot NULL: "/". False: none, or they cannot be told. ret_profile: the active profile, or the part of it that says so.
 */
bool vbmq_tuned_isolated(const char *sysroot, struct vbmq_cpuset *ret, char ret_profile[VBMQ_TUNED_PROFILE_MAX + 1]);
