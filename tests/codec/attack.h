/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Ill-treats one document of ours: cut at every byte, bits flipped, text replaced, memory that runs out. */

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

/* Parses len bytes (a buffer that ends there, so that ASan sees reads beyond) under the name "doc", and formats what came
 * out into *ret_again, which the attack frees. */
typedef int (*attack_parse)(const char *text, size_t len, char **ret_again, struct vbmq_err *err);

/* Parses a copy of exactly len bytes and checks the error contract: err set if and only if it failed, text with "doc". */
int attack_one(attack_parse parse, const char *text, size_t len, char **ret_again, struct vbmq_err *err);

/* Parses to the very same bytes. */
void attack_round_trip(attack_parse parse, const char *text);

/* Cut before every byte: always refused. */
void attack_cuts(attack_parse parse, const char *text);

/* n documents with one to three bits flipped (fixed seed): refused, or read and stable from then on. Returns how many were
 * refused. */
size_t attack_flips(attack_parse parse, const char *text, size_t n);

struct attack_case {
	const char *from, *to; /* the first occurrence of from becomes to */
	const char *error; /* part of the message; NULL: must parse */
};
void attack_replace(attack_parse parse, const char *text, const struct attack_case *cases, size_t n_cases);

/* Runs work(data) with the 1st, 2nd, 3rd ... allocation failing until it passes; it must return -ENOMEM until then (jansson says syntax error at
 * times). Test
 * programs that call it are linked with attack_wrap_args (meson.build). */
void attack_memory(int (*work)(void *data, struct vbmq_err *err), void *data);
