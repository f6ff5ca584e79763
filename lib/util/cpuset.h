/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Sets of small numbers: host CPUs first of all, and with the same type NUMA nodes, vCPUs of a guest and queues of a
 * disk. A plain value of fixed size: copied by assignment, zero-initialised is the empty set, never fails.
 *
 * Text form: the kernel's list format (Documentation/core-api/cpu-list of /sys, "0-3,8"), ascending, merged, "" for the
 * empty set. The parser also takes white space around the whole list; with VBMQ_CPULIST_EXCLUDE the "^N" form of
 * libvirt's XML. It refuses descending ranges, empty members, signs, numbers at or above VBMQ_CPUS_MAX.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vbmq_err;

#define VBMQ_CPUS_MAX \
	4096u /* CPU numbers 0..4095; CONFIG_NR_CPUS of the big distributions is 8192 at most,
                                      * the largest machines of 2026 have 1,920 */
#define VBMQ_CPUSET_WORDS (VBMQ_CPUS_MAX / 64u)
#define VBMQ_CPULIST_TEXT_MAX 16384u /* longest text vbmq_cpulist_parse() looks at, in bytes */

/* Hosts have far fewer CPUs than there are numbers, so sets know how much of themselves is in use and nothing is done about the rest:
 * not even cleared. So nobody but these two files looks inside, and sets are compared with vbmq_cpuset_equal(), never byte by byte. */
struct vbmq_cpuset {
	uint32_t n; /* words in use; what is in the others means nothing */
	uint64_t w[VBMQ_CPUSET_WORDS];
};

#define VBMQ_CPUSET_EMPTY ((struct vbmq_cpuset){ .n = 0 })

static inline void vbmq_cpuset_add(struct vbmq_cpuset *s, unsigned cpu); /* cpu >= VBMQ_CPUS_MAX: no effect */
void vbmq_cpuset_add_range(struct vbmq_cpuset *s, unsigned first, unsigned last); /* inclusive */
static inline void vbmq_cpuset_del(struct vbmq_cpuset *s, unsigned cpu);
static inline bool vbmq_cpuset_has(const struct vbmq_cpuset *s, unsigned cpu);
bool vbmq_cpuset_is_empty(const struct vbmq_cpuset *s);
unsigned vbmq_cpuset_count(const struct vbmq_cpuset *s);
/* First member >= from, or -1. Loop: for (int c = vbmq_cpuset_next(s, 0); c >= 0; c = vbmq_cpuset_next(s, c + 1)) */
static inline int vbmq_cpuset_next(const struct vbmq_cpuset *s, unsigned from);
int vbmq_cpuset_last(const struct vbmq_cpuset *s); /* greatest member, or -1 */

bool vbmq_cpuset_equal(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b);
bool vbmq_cpuset_intersects(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b);
bool vbmq_cpuset_is_subset(const struct vbmq_cpuset *sub, const struct vbmq_cpuset *super);
uint64_t vbmq_cpuset_hash(const struct vbmq_cpuset *s); /* alike for equal sets; to find them by, not to sort them by */
int vbmq_cpuset_compare(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b); /* total order: by lowest differing
                                      * number, the set that has it comes first; for sorting */

struct vbmq_cpuset vbmq_cpuset_or(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b);
struct vbmq_cpuset vbmq_cpuset_and(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b);
struct vbmq_cpuset vbmq_cpuset_andnot(const struct vbmq_cpuset *a, const struct vbmq_cpuset *b); /* a minus b */
struct vbmq_cpuset vbmq_cpuset_of(unsigned cpu);
/* *to = *from, but only what is in use is written: where there are thousands. */
void vbmq_cpuset_copy(struct vbmq_cpuset *to, const struct vbmq_cpuset *from);

enum vbmq_cpulist_flags {
	VBMQ_CPULIST_EXCLUDE = 1 << 0, /* accept libvirt's "0-7,^3" (members are handled left to right) */
};

/* Parses len bytes (not necessarily NUL-terminated). -EINVAL with position and cause, -ERANGE for a number too big. */
int vbmq_cpulist_parse(const char *text, size_t len, unsigned flags, struct vbmq_cpuset *ret, struct vbmq_err *err);

/* Text form in newly allocated memory (caller frees), NULL on out of memory. */
char *vbmq_cpulist_format(const struct vbmq_cpuset *s);

/* --- what every loop asks ---------------------------------------------------------------------------------------------- */

static inline void vbmq_cpuset_add(struct vbmq_cpuset *s, unsigned cpu)
{
	if (cpu >= VBMQ_CPUS_MAX)
		return;
	while (s->n <= cpu / 64)
		s->w[s->n++] = 0;
	s->w[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

static inline void vbmq_cpuset_del(struct vbmq_cpuset *s, unsigned cpu)
{
	if (cpu < VBMQ_CPUS_MAX && cpu / 64 < s->n)
		s->w[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
}

static inline bool vbmq_cpuset_has(const struct vbmq_cpuset *s, unsigned cpu)
{
	return cpu < VBMQ_CPUS_MAX && cpu / 64 < s->n && (s->w[cpu / 64] >> (cpu % 64) & 1);
}

static inline int vbmq_cpuset_next(const struct vbmq_cpuset *s, unsigned from)
{
	uint64_t word;

	if (from >= VBMQ_CPUS_MAX || from / 64 >= s->n)
		return -1;
	word = s->w[from / 64] & (~UINT64_C(0) << (from % 64));
	for (unsigned i = from / 64;; word = s->w[i]) {
		if (word)
			return (int)(i * 64 + (unsigned)__builtin_ctzll(word));
		if (++i == s->n)
			return -1;
	}
}
