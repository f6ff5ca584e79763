/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "reading.h"

/*
 * The coupled parts as one integer program: dedicated vCPUs and the I/O threads that serve them, which threads of a guest share a
 * core, which queue which of them serves, and whole L3 domains kept free. Given is only who got how many cores.
 */

enum coupled_level { COUPLED_NUMA, COUPLED_LOCALITY, COUPLED_MOVES, COUPLED_BOOT, COUPLED_BROKEN, N_COUPLED };
extern const char *const coupled_names[];

struct coupled_result {
	enum { COUPLED_BEST, COUPLED_WORSE, COUPLED_UNSOLVED, COUPLED_ODD } is; /* ODD: better than can be */
	enum coupled_level level; /* WORSE: the first on which it is, UNSOLVED: where the program gave up */
	int64_t got, least;
	bool nothing; /* no thread that anything is coupled with */
};

/* n_nodes: so much of the search tree is looked at, for every level of every priority. */
void coupled_compare(const struct reading *r, unsigned n_nodes, struct coupled_result *ret);
