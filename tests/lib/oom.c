/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "oom.h"

#include <stdint.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *text);

static size_t left = SIZE_MAX; /* allocations until one fails; SIZE_MAX: never */
static bool failed;
static bool forever;

void oom_arm(size_t n, bool all)
{
	left = n;
	forever = all;
	failed = false;
}

bool oom_disarm(void)
{
	left = SIZE_MAX;
	return failed;
}

bool oom_may_allocate(void)
{
	if (left == SIZE_MAX)
		return true;
	if (left > 0) {
		left--;
		return true;
	}
	if (!forever)
		left = SIZE_MAX;
	failed = true;
	return false;
}

void *oom_spare(size_t n)
{
	return __real_malloc(n);
}

void *__wrap_malloc(size_t n)
{
	return oom_may_allocate() ? __real_malloc(n) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return oom_may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_realloc(void *p, size_t n)
{
	return oom_may_allocate() ? __real_realloc(p, n) : NULL;
}

char *__wrap_strdup(const char *text)
{
	return oom_may_allocate() ? __real_strdup(text) : NULL;
}
