/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "output.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/cpuset.h"

struct libscols_table *cli_table(const struct cli *cli, const char *const *columns)
{
	struct libscols_table *t;

	scols_init_debug(0);
	t = scols_new_table();
	if (!t)
		return NULL;
	scols_table_enable_colors(t, cli->color);
	for (; *columns; columns++) {
		bool right = **columns == '>';

		if (!scols_table_new_column(t, *columns + right, 0, right ? SCOLS_FL_RIGHT : 0)) {
			scols_unref_table(t);
			return NULL;
		}
	}
	return t;
}

int cli_row(const struct cli *cli, struct libscols_table *t, const char *color, const char *const *cells)
{
	struct libscols_line *line = t ? scols_table_new_line(t, NULL) : NULL;
	size_t n = t ? scols_table_get_ncols(t) : 0;

	for (size_t i = 0; line && i < n; i++)
		if (cells[i] && scols_line_set_data(line, i, cells[i]) != 0)
			line = NULL;
	if (line && color && cli->color)
		scols_line_set_color(line, color);
	return line ? 0 : cli_failf(CLI_FAILED, "out of memory");
}

int cli_table_print(struct libscols_table *t)
{
	int r = scols_print_table(t);

	scols_unref_table(t);
	return r ? cli_failf(CLI_FAILED, "cannot print the table: %s", strerror(-r)) : 0;
}

static void print_diags(const struct cli *cli, const struct vbmq_diags *diags, bool all)
{
	static const char *const colors[] = { "", "\033[33m", "\033[31m" };

	for (size_t i = 0; i < diags->n; i++) {
		const struct vbmq_diag *d = &diags->items[i];

		if (d->severity == VBMQ_INFO && !all)
			continue;
		printf("%s%s%s %s: %s [%s]\n", cli->color ? colors[d->severity] : "", vbmq_severity_words[d->severity],
		       cli->color ? "\033[0m" : "", d->subject, d->text, d->code);
	}
}

void cli_print_diags(const struct cli *cli, const struct vbmq_plan *plan, bool all)
{
	print_diags(cli, &plan->placement->diags, all);
	for (size_t i = 0; i < plan->placement->n_domains; i++)
		print_diags(cli, &plan->placement->domains[i].diags, all);
}

static char *step_detail(const struct vbmq_step *s)
{
	_cleanup_free_ char *cpus = NULL;
	char *text = NULL;
	int r;

	switch (s->op) {
	case VBMQ_STEP_PIN:
		cpus = vbmq_cpulist_format(s->cpus);
		r = asprintf(&text, "CPU %s%s%s", cpus ? cpus : "?", s->exclusive ? ", of its own" : "",
			     s->interim ? ", on the way" : "");
		break;
	case VBMQ_STEP_SET_POLLING:
		r = asprintf(&text, "%s poll-max-ns %llu, grow %u, shrink %u",
			     s->polling.mode == VBMQ_POLL_UNSAID ? "" : vbmq_poll_words[s->polling.mode],
			     (unsigned long long)s->polling.max_ns, s->polling.grow, s->polling.shrink);
		break;
	case VBMQ_STEP_LIMIT_SLICE:
		cpus = vbmq_cpulist_format(s->cpus);
		r = asprintf(&text, "%s: CPU %s%s", vbmq_part_words[s->id],
			     !cpus || *cpus ? (cpus ?: "?") : "not limited", s->interim ? ", on the way" : "");
		break;
	case VBMQ_STEP_BAN_IRQS:
		cpus = vbmq_cpulist_format(s->cpus);
		r = asprintf(&text, "irqbalance: no interrupts on %s",
			     !cpus || *cpus ? (cpus ?: "?") : "what it bans by itself");
		break;
	case VBMQ_STEP_MOVE_IRQ:
		cpus = vbmq_cpulist_format(s->cpus);
		r = asprintf(&text, "%s %s CPU %s", s->target, s->exclusive ? "to" : "back to", cpus ? cpus : "?");
		break;
	case VBMQ_STEP_MAP_QUEUES:
		r = asprintf(&text, "%s, %zu queues", s->target, s->n_map);
		break;
	default:
		r = asprintf(&text, "%s", "");
		break;
	}
	return r < 0 ? NULL : text;
}

int cli_print_steps(const struct cli *cli, const struct vbmq_plan *plan, const struct vbmq_step *steps, size_t n,
		    const struct vbmq_report *report)
{
	static const char *const plain[] = { ">STEP", "DOMAIN", "OPERATION", ">ID", "DETAIL", NULL };
	static const char *const with_result[] = { ">STEP",  "DOMAIN", "OPERATION", ">ID",
						   "DETAIL", "RESULT", "CAUSE",	    NULL };
	struct libscols_table *t = cli_table(cli, report ? with_result : plain);

	for (size_t i = 0; i < n; i++) {
		const struct vbmq_step_result *result = report && i < report->n_results ? &report->results[i] : NULL;
		_cleanup_free_ char *detail = step_detail(&steps[i]);
		bool of_host = vbmq_step_is_of_host(&steps[i]);
		char number[24], id[16];

		snprintf(number, sizeof(number), "%zu", i + 1);
		snprintf(id, sizeof(id), "%u", steps[i].id);
		if (cli_row(cli, t, result && result->outcome == VBMQ_OUTCOME_FAILED ? "red" : NULL,
			    (const char *const[]){ number,
						   of_host ? "(host)" : plan->placement->domains[steps[i].domain].name,
						   vbmq_step_word(&steps[i]),
						   (of_host && steps[i].op != VBMQ_STEP_MOVE_IRQ) ||
								   steps[i].op == VBMQ_STEP_MAP_QUEUES
							   ? ""
							   : id,
						   detail, result ? vbmq_outcome_words[result->outcome] : NULL,
						   result ? result->text : NULL }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

const char *cli_polling(const struct vbmq_polling *p, char buf[48])
{
	if (p->mode == VBMQ_POLL_DEDICATED)
		return vbmq_poll_words[p->mode];
	if (p->max_ns == UINT64_MAX)
		return p->mode == VBMQ_POLL_UNSAID ? "" : vbmq_poll_words[p->mode];
	if (p->max_ns == 0)
		return vbmq_poll_words[VBMQ_POLL_OFF];
	snprintf(buf, 48, "up to %llu ns", (unsigned long long)p->max_ns);
	return buf;
}

const char *cli_thread_name(enum vbmq_thread_kind kind, uint32_t id, char buf[32])
{
	if (kind == VBMQ_THREAD_EMULATOR)
		return "emulator";
	snprintf(buf, 32, "%s%u", vbmq_thread_kind_words[kind], id);
	return buf;
}

int cli_print_json(json_t *document)
{
	int r = document ? json_dumpf(document, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : -1;

	json_decref(document);
	if (r < 0)
		return cli_failf(CLI_FAILED, "cannot print the document: out of memory or output closed");
	putchar('\n');
	return 0;
}

json_t *cli_cpus_json(const struct vbmq_cpuset *set)
{
	_cleanup_free_ char *text = vbmq_cpulist_format(set);

	return text ? json_string(text) : NULL;
}

int cli_print_text(const char *text)
{
	size_t len = strlen(text);

	fputs(text, stdout);
	if (!len || text[len - 1] != '\n')
		putchar('\n');
	return 0;
}

const char *cli_completes_text(enum vbmq_completes completes)
{
	static const char *const texts[] = {
		[VBMQ_COMPLETES_UNKNOWN] = "",		[VBMQ_COMPLETES_CORE] = "same core",
		[VBMQ_COMPLETES_L3] = "same L3",	[VBMQ_COMPLETES_NODE] = "same node",
		[VBMQ_COMPLETES_REMOTE] = "other node",
	};

	return texts[completes];
}
