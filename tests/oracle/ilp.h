/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Small integer programs, minimised level by level: GLPK behind a few calls. Coefficients are whole numbers.
 * Aborts on out of memory and when GLPK gives up by itself: this is test code, and a guess would be worse than an end.
 */

#include <stdbool.h>
#include <stdint.h>

struct ilp;

struct ilp *ilp_new(void);
void ilp_free(struct ilp *p);
void ilp_done(void); /* at the end of the program: what GLPK keeps for itself */
int ilp_var(struct ilp *p); /* a new 0-1 variable: its number, from 1 */
int ilp_count(struct ilp *p, int64_t upper); /* a new variable of whole numbers from 0 */
int ilp_number(struct ilp *p, int64_t upper); /* a new variable from 0 that the others make whole */

/* A row: begin, add (a variable may come twice), end with its bounds. */
void ilp_add(struct ilp *p, int var, int64_t coefficient);
#define ILP_FREE INT64_MAX
void ilp_end(struct ilp *p, int64_t lower, int64_t upper); /* ILP_FREE: no such bound */

/* The objective of a level: add to it, then minimise; from then on it stays at its least value. False: infeasible, or more nodes
 * of the search tree than the limit (0, at first: none). ilp_fix: at this value it stays, without looking for less. */
void ilp_cost(struct ilp *p, int var, int64_t coefficient);
void ilp_limit(struct ilp *p, unsigned n_nodes);
bool ilp_minimise(struct ilp *p, int64_t *ret);
void ilp_fix(struct ilp *p, int64_t value);
