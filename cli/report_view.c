/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon and the direct way both hand over the report as its document; there is one view of it. */

#include "report_view.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "codec/json_plan.h"
#include "output.h"
#include "util/cleanup.h"

static const char *text(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

static int load(const char *json, json_t **ret)
{
	json_error_t e;
	json_t *j = json_loads(json, JSON_REJECT_DUPLICATES, &e);

	if (!j || strcmp(text(j, "schema"), VBMQ_REPORT_SCHEMA) != 0) {
		json_decref(j);
		return cli_failf(CLI_FAILED, "vbmqd's report is not a %s document (another version of vbmqd?)",
				 VBMQ_REPORT_SCHEMA);
	}
	*ret = j;
	return 0;
}

static size_t count_bad(const json_t *checks)
{
	size_t bad = 0, i;
	const json_t *c;

	json_array_foreach((json_t *)(uintptr_t)checks, i, c) bad += strcmp(text(c, "check"), "ok") != 0;
	return bad;
}

int cli_report_verified(const char *json)
{
	_cleanup_(json_decrefp) json_t *j = NULL;
	size_t unread;
	int r = load(json, &j);

	if (r)
		return r;
	if (count_bad(json_object_get(j, "checks")))
		return CLI_DRIFT;
	unread = json_array_size(json_object_get(j, "unread"));
	if (unread)
		return cli_failf(CLI_FAILED, "%zu domain%s did not answer in time: not verified", unread,
				 unread == 1 ? "" : "s");
	return CLI_OK;
}

int cli_report_ok(const char *json, bool *ret)
{
	_cleanup_(json_decrefp) json_t *j = NULL;
	int r = load(json, &j);

	if (r == 0)
		*ret = json_is_true(json_object_get(j, "ok"));
	return r;
}

static int print_steps(const struct cli *cli, const json_t *steps)
{
	static const char *const columns[] = {
		">STEP", "DOMAIN", "OPERATION", "WHAT", "CPUS", "RESULT", "CAUSE", NULL
	};
	struct libscols_table *t = cli_table(cli, columns);
	const json_t *s;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)steps, i, s)
	{
		const char *outcome = text(s, "outcome");
		const json_t *id = json_object_get(s, "id");
		char number[24], what[VBMQ_TARGET_MAX + 1] = "";

		snprintf(number, sizeof(number), "%zu", i + 1);
		if (json_object_get(s, "irq"))
			snprintf(what, sizeof(what), "%s", text(s, "name"));
		else if (id)
			snprintf(what, sizeof(what), "%lld", (long long)json_integer_value(id));
		else
			snprintf(what, sizeof(what), "%s",
				 json_object_get(s, "unit") ? text(s, "unit") : text(s, "disk"));
		if (cli_row(cli, t,
			    strcmp(outcome, "failed") == 0 ? "red"
			    : strcmp(outcome, "done") == 0 ? "green"
							   : NULL,
			    (const char *const[]){ number, json_object_get(s, "domain") ? text(s, "domain") : "(host)",
						   text(s, "op"), what, text(s, "cpus"), outcome, text(s, "text") }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

static int print_bad_checks(const struct cli *cli, const json_t *checks)
{
	static const char *const columns[] = { "DOMAIN", "WHAT", "RESULT", "WANTED", "IS", "CAUSE", NULL };
	struct libscols_table *t = cli_table(cli, columns);
	const json_t *c;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)checks, i, c)
	{
		const json_t *id = json_object_get(c, "id");
		char what[64];

		if (strcmp(text(c, "check"), "ok") == 0)
			continue;
		if (json_object_get(c, "irq"))
			snprintf(what, sizeof(what), "irq %lld",
				 (long long)json_integer_value(json_object_get(c, "irq")));
		else if (json_object_get(c, "host"))
			snprintf(what, sizeof(what), "%s", text(c, "host"));
		else if (json_object_get(c, "disk"))
			snprintf(what, sizeof(what), "%s", text(c, "disk"));
		else if (strcmp(text(c, "kind"), "emulator") == 0)
			snprintf(what, sizeof(what), "emulator");
		else
			snprintf(what, sizeof(what), "%s%lld", text(c, "kind"), (long long)json_integer_value(id));
		if (cli_row(cli, t, "red",
			    (const char *const[]){ json_object_get(c, "domain") ? text(c, "domain") : "(host)", what,
						   text(c, "check"), text(c, "want"), text(c, "is"), text(c, "text") }))
			return CLI_FAILED;
	}
	return cli_table_print(t);
}

int cli_report_print(const struct cli *cli, const char *json)
{
	_cleanup_(json_decrefp) json_t *j = NULL;
	const json_t *steps, *checks, *name;
	int r = load(json, &j);
	size_t bad, i;

	if (r)
		return r;
	steps = json_object_get(j, "steps");
	checks = json_object_get(j, "checks");
	if (json_array_size(steps) && print_steps(cli, steps))
		return CLI_FAILED;
	bad = count_bad(checks);
	if (bad && print_bad_checks(cli, checks))
		return CLI_FAILED;
	json_array_foreach(json_object_get(j, "unread"), i, name)
		printf("%s did not answer: nothing is known of it now.\n", json_string_value(name));
	if (json_is_true(json_object_get(j, "dry_run")))
		printf("Dry run: %zu steps would be made, nothing was changed.\n", json_array_size(steps));
	else if (json_array_size(checks))
		printf("%zu of %zu checks hold%s.\n", json_array_size(checks) - bad, json_array_size(checks),
		       bad					       ? "; the others are above"
		       : json_array_size(json_object_get(j, "unread")) ? ""
								       : ": everything is as planned");
	else
		printf("%zu steps%s.\n", json_array_size(steps),
		       json_is_true(json_object_get(j, "ok")) ? ", all done" : "; not all were done, see above");
	return 0;
}
