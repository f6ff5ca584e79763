/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "ilp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <glpk.h>

#define VARS_MAX 20000

struct ilp {
	glp_prob *lp;
	int64_t row[VARS_MAX + 1], cost[VARS_MAX + 1]; /* by variable */
	int index[VARS_MAX + 1];
	double value[VARS_MAX + 1];
	unsigned limit, n_nodes;
};

struct ilp *ilp_new(void)
{
	struct ilp *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	glp_term_out(GLP_OFF);
	p->lp = glp_create_prob();
	glp_set_obj_dir(p->lp, GLP_MIN);
	return p;
}

void ilp_free(struct ilp *p)
{
	glp_delete_prob(p->lp);
	free(p);
}

void ilp_done(void)
{
	glp_free_env();
}

int ilp_var(struct ilp *p)
{
	int v = glp_add_cols(p->lp, 1);

	if (v > VARS_MAX)
		abort();
	glp_set_col_kind(p->lp, v, GLP_BV);
	return v;
}

int ilp_number(struct ilp *p, int64_t upper)
{
	int v = glp_add_cols(p->lp, 1);

	if (v > VARS_MAX)
		abort();
	glp_set_col_bnds(p->lp, v, upper > 0 ? GLP_DB : GLP_FX, 0, (double)upper);
	return v;
}

int ilp_count(struct ilp *p, int64_t upper)
{
	int v = ilp_number(p, upper);

	glp_set_col_kind(p->lp, v, GLP_IV);
	return v;
}

void ilp_add(struct ilp *p, int var, int64_t coefficient)
{
	p->row[var] += coefficient;
}

void ilp_cost(struct ilp *p, int var, int64_t coefficient)
{
	p->cost[var] += coefficient;
}

void ilp_end(struct ilp *p, int64_t lower, int64_t upper)
{
	int row = glp_add_rows(p->lp, 1), n = 0;

	for (int v = 1; v <= glp_get_num_cols(p->lp); v++) {
		if (p->row[v] == 0)
			continue;
		n++;
		p->index[n] = v;
		p->value[n] = (double)p->row[v];
		p->row[v] = 0;
	}
	glp_set_mat_row(p->lp, row, n, p->index, p->value);
	glp_set_row_bnds(p->lp, row,
			 lower == ILP_FREE   ? GLP_UP
			 : upper == ILP_FREE ? GLP_LO
			 : lower == upper    ? GLP_FX
					     : GLP_DB,
			 (double)lower, (double)upper);
}

void ilp_limit(struct ilp *p, unsigned n_nodes)
{
	p->limit = n_nodes;
}

static void count_node(glp_tree *tree, void *data)
{
	struct ilp *p = data;

	if (glp_ios_reason(tree) == GLP_ISELECT && p->limit && ++p->n_nodes > p->limit)
		glp_ios_terminate(tree);
}

bool ilp_minimise(struct ilp *p, int64_t *ret)
{
	glp_iocp how;
	int r, n = glp_get_num_cols(p->lp);

	for (int v = 1; v <= n; v++)
		glp_set_obj_coef(p->lp, v, (double)p->cost[v]);
	glp_init_iocp(&how);
	how.msg_lev = GLP_MSG_OFF;
	how.presolve = GLP_ON;
	how.tol_obj = 1e-9;
	how.cb_func = count_node;
	how.cb_info = p;
	p->n_nodes = 0;
	r = glp_intopt(p->lp, &how);
	if (r == GLP_ENOPFS || r == GLP_ENODFS || r == GLP_ESTOP || (r == 0 && glp_mip_status(p->lp) == GLP_NOFEAS))
		return false;
	if (r != 0 || glp_mip_status(p->lp) != GLP_OPT) {
		fprintf(stderr, "oracle: GLPK gives up (%d, status %d)\n", r, glp_mip_status(p->lp));
		abort();
	}
	*ret = llround(glp_mip_obj_val(p->lp));
	ilp_fix(p, *ret);
	return true;
}

void ilp_fix(struct ilp *p, int64_t value)
{
	for (int v = 1; v <= glp_get_num_cols(p->lp); v++) {
		ilp_add(p, v, p->cost[v]);
		p->cost[v] = 0;
	}
	ilp_end(p, value, value);
}
