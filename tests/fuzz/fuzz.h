/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A fuzz target is one function that takes any bytes and must neither crash, leak, hang, nor break the promises of the
 * code it calls (FUZZ_ASSERT). It is built twice: with replay.c as a test over tests/fuzz/corpus/NAME, and, with
 * -Dfuzz=true and clang, as a libFuzzer program.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ASSERT(condition)                                                                    \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

/* A call that took err: it failed if and only if err is set, and then with words. */
static inline void fuzz_check_err(int r, const struct vbmq_err *err)
{
	FUZZ_ASSERT((r < 0) == (err->code != 0));
	FUZZ_ASSERT(r >= 0 || (err->code == r && err->text[0] != '\0'));
}

/* A NUL-terminated copy; caller frees. */
static inline char *fuzz_text(const char *bytes, size_t n)
{
	char *copy = malloc(n + 1);

	FUZZ_ASSERT(copy);
	memcpy(copy, bytes, n);
	copy[n] = '\0';
	return copy;
}
