/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the tests of XML and QMP: fixtures, expected files, hostile variations of bytes. Failures are cmocka's. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* argv[1] of a test program: the source tree. */
void codec_test_init(int argc, char **argv);

/* Bytes of a file below the source tree; the caller frees. */
char *codec_read(const char *path, size_t *ret_len);

/* Names in a directory below the source tree that begin and end so, sorted; at least min of them. */
char **codec_list(const char *directory, const char *prefix, const char *suffix, size_t min, size_t *ret_n);
void codec_list_free(char **names, size_t n);

/* Compares text with the file; with VBMQ_UPDATE_EXPECTED=1 in the environment the file is rewritten instead. A line of the
 * file that ends in '*' matches every line with that beginning (texts that are not ours). Returns whether it matched. */
bool codec_expect(const char *path, const char *text);

/* Calls parse on variations of the bytes, each in an allocation of its exact size, so that ASan sees every read beyond:
 * n_flips times with some bytes changed (deterministic). parse may succeed or fail but must not crash. */
typedef void (*codec_try_fn)(const char *bytes, size_t len, void *data);
void codec_each_flip(const char *bytes, size_t len, unsigned n_flips, codec_try_fn parse, void *data);
/* Every beginning of the bytes but the whole; step 1 is every byte. */
void codec_each_cut(const char *bytes, size_t len, size_t step, codec_try_fn parse, void *data);
