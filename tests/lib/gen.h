/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Random snapshots and policies for property tests and fuzzing. The source is a fixed seed (xorshift) or bytes (a fuzzer's
 * input; zeroes when they run out). Whatever comes out is valid for vbmq_snapshot_finish() and finished.
 * All functions abort on out of memory: this is test code.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/snapshot.h"

struct gen {
	uint64_t state;
	const uint8_t *bytes; /* NULL: xorshift */
	size_t n_bytes;
};

struct gen gen_seed(uint64_t seed);
struct gen gen_bytes(const uint8_t *bytes, size_t n);
uint32_t gen_below(struct gen *g, uint32_t n); /* 0..n-1; 0 for n 0 */
bool gen_chance(struct gen *g, unsigned percent);
struct vbmq_cpuset gen_subset(struct gen *g, const struct vbmq_cpuset *of, unsigned percent);

/* A regular host: nodes x l3s x cores x smt, siblings numbered behind all first CPUs as Linux mostly does. */
struct vbmq_host *gen_regular_host(unsigned nodes, unsigned l3s, unsigned cores, unsigned smt);
struct vbmq_host *gen_host(struct gen *g, unsigned max_cpus);

/* A running domain with everything floating over the usable CPUs: vcpus, I/O threads 1..iothreads, the emulator. */
struct vbmq_domain *gen_plain_domain(const struct vbmq_host *h, const char *name, unsigned vcpus, unsigned iothreads,
				     uint32_t caps);
struct vbmq_disk *gen_add_disk(struct vbmq_domain *d, const char *target, unsigned queues, int32_t node);
struct vbmq_domain *gen_domain(struct gen *g, const struct vbmq_host *h, unsigned number);

struct vbmq_snapshot *gen_snapshot(struct gen *g, unsigned max_cpus, unsigned max_domains);
void gen_policy(struct gen *g, const struct vbmq_host *h, struct vbmq_policy *ret);
