/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * SHA-256 (FIPS 180-4) for plan ids. Hand-written because util and core may use libc only; it identifies states, it
 * protects nothing.
 */

#include <stddef.h>
#include <stdint.h>

struct vbmq_sha256 {
	uint32_t h[8];
	uint64_t n_bytes;
	uint8_t block[64];
};

void vbmq_sha256_init(struct vbmq_sha256 *s);
void vbmq_sha256_add(struct vbmq_sha256 *s, const void *bytes, size_t n);
void vbmq_sha256_end(struct vbmq_sha256 *s, uint8_t ret[32]);
/* Lower-case hexadecimal of the first n_hex / 2 bytes (n_hex even, <= 64); ret has room for n_hex + 1. */
void vbmq_sha256_hex(const uint8_t digest[32], size_t n_hex, char *ret);
