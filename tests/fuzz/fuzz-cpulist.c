/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPU lists. First byte: flags. Accepted text must survive the round trip, and mean what hwloc's parser of the same form
 * makes of it.
 */
#include <hwloc.h>
#include <string.h>

#include "fuzz.h"
#include "util/cleanup.h"
#include "util/cpuset.h"

/* hwloc reads "0-3,8" as well; it knows no '^', wants no white space and takes a leading zero for octal. */
static bool is_common(const char *text)
{
	for (const char *c = text; *c; c++) {
		bool first = c == text || c[-1] == ',' || c[-1] == '-';

		if (strchr("^ \t\r\n\v\f", *c) || (first && c[0] == '0' && c[1] >= '0' && c[1] <= '9'))
			return false;
	}
	return *text;
}

static void compare_with_hwloc(const char *text, const struct vbmq_cpuset *set)
{
	hwloc_bitmap_t bitmap = hwloc_bitmap_alloc();

	FUZZ_ASSERT(bitmap && hwloc_bitmap_list_sscanf(bitmap, text) == 0);
	FUZZ_ASSERT(hwloc_bitmap_weight(bitmap) == (int)vbmq_cpuset_count(set));
	for (int cpu = vbmq_cpuset_next(set, 0); cpu >= 0; cpu = vbmq_cpuset_next(set, (unsigned)cpu + 1))
		FUZZ_ASSERT(hwloc_bitmap_isset(bitmap, (unsigned)cpu));
	hwloc_bitmap_free(bitmap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned flags = size && (data[0] & 1) ? VBMQ_CPULIST_EXCLUDE : 0;
	const char *text = (const char *)data + (size ? 1 : 0);
	size_t len = size ? size - 1 : 0;
	_cleanup_free_ char *canonical = NULL, *again = NULL, *copy = NULL;
	struct vbmq_err err = VBMQ_ERR_INIT;
	struct vbmq_cpuset set = vbmq_cpuset_of(77), back;
	int r;

	r = vbmq_cpulist_parse(text, len, flags, &set, &err);
	fuzz_check_err(r, &err);
	if (r < 0) {
		back = vbmq_cpuset_of(77);
		FUZZ_ASSERT(vbmq_cpuset_equal(&set, &back));
		return 0;
	}
	canonical = vbmq_cpulist_format(&set);
	FUZZ_ASSERT(canonical);
	FUZZ_ASSERT(vbmq_cpulist_parse(canonical, strlen(canonical), 0, &back, &err) == 0);
	FUZZ_ASSERT(vbmq_cpuset_equal(&set, &back));
	again = vbmq_cpulist_format(&back);
	FUZZ_ASSERT(again && strcmp(again, canonical) == 0);
	copy = fuzz_text(text, len);
	if (is_common(copy))
		compare_with_hwloc(copy, &set);
	return 0;
}
