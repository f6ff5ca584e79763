/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "bus_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "bus/open.h"
#include "core/rebalance.h"
#include "util/cleanup.h"

#define SERVICE "org.vbmq1"
#define PATH "/org/vbmq1"
#define MANAGER "org.vbmq1.Manager"
#define TIMEOUT_USEC \
	(30 * 60 * UINT64_C(1000000)) /* vbmqd has its own deadlines; this only ends a wait for a dead one */
#define PATIENCE_USEC UINT64_C(2000000) /* afterwards the user is told that it goes on */
#define DOCUMENT_MAX (64 * 1024 * 1024)

static int connect_bus(const struct cli *cli, sd_bus **ret)
{
	int r = vbmq_bus_open(cli->bus, ret);

	if (r < 0)
		return cli_failf(CLI_NO_DAEMON,
				 "cannot connect to the bus '%s': %s (vbmqd is reached over D-Bus; --direct, "
				 "--snapshot and --host work without)",
				 cli->bus, strerror(-r));
	return 0;
}

static int bus_failure(const char *method, const sd_bus_error *e)
{
	static const char *const absent[] = {
		SD_BUS_ERROR_SERVICE_UNKNOWN,
		SD_BUS_ERROR_NAME_HAS_NO_OWNER,
		SD_BUS_ERROR_NO_REPLY,
		SD_BUS_ERROR_DISCONNECTED,
		"org.freedesktop.DBus.Error.Spawn.ExecFailed",
		"org.freedesktop.systemd1.NoSuchUnit",
		"org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
	};

	for (size_t i = 0; e->name && i < VBMQ_ELEMENTSOF(absent); i++)
		if (strcmp(e->name, absent[i]) == 0)
			return cli_failf(CLI_NO_DAEMON,
					 "vbmqd does not answer on the bus: %s (start it: systemctl start vbmqd; "
					 "--direct, --snapshot and --host work without)",
					 e->message ? e->message : e->name);
	if (sd_bus_error_has_name(e, SD_BUS_ERROR_ACCESS_DENIED) ||
	    sd_bus_error_has_name(e, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED))
		return cli_failf(CLI_FAILED, "%s: not allowed: %s (root may, others through polkit)", method,
				 e->message);
	return cli_failf(CLI_FAILED, "%s: %s", method, e->message ? e->message : e->name ? e->name : "failed");
}

/* --- one call, with patience ------------------------------------------------------------------------------------------ */

struct waiting {
	sd_bus_message *reply;
};

static int on_reply(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct waiting *w = data;

	w->reply = sd_bus_message_ref(m);
	return 0;
}

static void show_patience(const struct cli *cli, const char *method, unsigned ticks)
{
	if (!cli->quiet && isatty(STDERR_FILENO) && ticks)
		fprintf(stderr, "\r%s: waiting for vbmqd, %u s ...", method,
			ticks * (unsigned)(PATIENCE_USEC / 1000000));
}

/* method: the caller's own string; the one inside m moves when the message is sealed. */
static int call_and_wait(const struct cli *cli, sd_bus *bus, const char *method, sd_bus_message *m,
			 sd_bus_message **ret)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct waiting w = { .reply = NULL };
	unsigned ticks = 0;
	int r;

	r = sd_bus_message_set_allow_interactive_authorization(m, 1);
	if (r >= 0)
		r = sd_bus_call_async(bus, NULL, m, on_reply, &w, TIMEOUT_USEC);
	while (r >= 0 && !w.reply) {
		r = sd_bus_process(bus, NULL);
		if (r == 0) {
			r = sd_bus_wait(bus, PATIENCE_USEC);
			if (r == 0)
				show_patience(cli, method, ++ticks);
			else if (r == -EINTR)
				r = 0;
		}
	}
	if (ticks && !cli->quiet && isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	reply = w.reply;
	if (!reply)
		return cli_failf(CLI_NO_DAEMON, "%s: the bus connection was lost: %s", method, strerror(-r));
	if (sd_bus_message_is_method_error(reply, NULL))
		return bus_failure(method, sd_bus_message_get_error(reply));
	*ret = VBMQ_STEAL(reply);
	return 0;
}

static int new_call(sd_bus *bus, const char *method, sd_bus_message **ret)
{
	int r = sd_bus_message_new_method_call(bus, ret, SERVICE, PATH, MANAGER, method);

	return r < 0 ? cli_failf(CLI_FAILED, "%s: %s", method, strerror(-r)) : 0;
}

static int read_document(sd_bus_message *reply, char **ret_text)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;
	off_t at = 0;
	int fd;

	if (sd_bus_message_read(reply, "h", &fd) < 0)
		return cli_failf(CLI_FAILED, "vbmqd sent a reply without a document");
	if (fstat(fd, &st) < 0 || st.st_size > DOCUMENT_MAX)
		return cli_failf(CLI_FAILED, "vbmqd sent a document larger than %d bytes", DOCUMENT_MAX);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return cli_failf(CLI_FAILED, "out of memory");
	while (at < st.st_size) {
		ssize_t n = pread(fd, text + at, (size_t)(st.st_size - at), at);

		if (n <= 0)
			return cli_failf(CLI_FAILED, "cannot read vbmqd's document: %m");
		at += n;
	}
	text[at] = '\0';
	*ret_text = VBMQ_STEAL(text);
	return 0;
}

int cli_bus_document(struct cli *cli, const char *method, const char *argument, char **ret_text)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	int r;

	r = connect_bus(cli, &bus);
	if (r == 0)
		r = new_call(bus, method, &m);
	if (r == 0 && argument && sd_bus_message_append(m, "s", argument) < 0)
		r = cli_failf(CLI_FAILED, "%s: '%s' cannot be sent over the bus", method, argument);
	if (r == 0)
		r = call_and_wait(cli, bus, method, m, &reply);
	return r ? r : read_document(reply, ret_text);
}

/* Only what is asked for: a vbmqd that does not know an option refuses it. */
static int append_options(const struct cli *cli, sd_bus_message *m, bool rebalance)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = sd_bus_message_append(m, "{sv}", "dry-run", "b", (int)cli->dry_run);
	if (r >= 0 && rebalance)
		r = sd_bus_message_append(m, "{sv}", "rebalance", "b", 1);
	if (r >= 0 && rebalance && cli->max_moves != VBMQ_MOVES_ANY)
		r = sd_bus_message_append(m, "{sv}", "max-moves", "u", cli->max_moves);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int cli_bus_apply(struct cli *cli, const char *plan_id, bool rebalance, char **ret_text)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	int r;

	r = connect_bus(cli, &bus);
	if (r == 0)
		r = new_call(bus, "Apply", &m);
	if (r == 0 &&
	    (sd_bus_message_append(m, "s", plan_id ? plan_id : "") < 0 || append_options(cli, m, rebalance) < 0))
		r = cli_failf(CLI_FAILED, "the plan id '%s' cannot be sent over the bus", plan_id ? plan_id : "");
	if (r == 0)
		r = call_and_wait(cli, bus, "Apply", m, &reply);
	return r ? r : read_document(reply, ret_text);
}

int cli_bus_call(struct cli *cli, const char *method)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	int r;

	r = connect_bus(cli, &bus);
	if (r == 0)
		r = new_call(bus, method, &m);
	return r ? r : call_and_wait(cli, bus, method, m, &reply);
}

int cli_bus_property(struct cli *cli, const char *property, char **ret)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	sd_bus_error e = SD_BUS_ERROR_NULL;
	int r = connect_bus(cli, &bus);

	if (r)
		return r;
	if (sd_bus_get_property_string(bus, SERVICE, PATH, MANAGER, property, &e, ret) < 0)
		r = bus_failure(property, &e);
	sd_bus_error_free(&e);
	return r;
}

bool cli_bus_running(struct cli *cli)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;

	return vbmq_bus_open(cli->bus, &bus) >= 0 && sd_bus_get_name_creds(bus, SERVICE, 0, NULL) >= 0;
}
