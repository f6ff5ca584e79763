/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Binding of api.h to D-Bus. Methods that change something go through polkit first (a table says which action); the message is
 * kept and the handler runs when the answer is there. Methods that need a cycle keep their message until it ends. So the main
 * loop never waits for anybody.
 */
#include "daemon/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "bus/open.h"
#include "config.h"
#include "core/rebalance.h"
#include "daemon/api.h"
#include "daemon/bus_domain.h"
#include "daemon/bus_reply.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/polkit.h"
#include "util/cleanup.h"
#include "util/err.h"

#define NAME "org.vbmq1"
#define RETRY_FIRST_MS 1000u
#define RETRY_MAX_MS 60000u

struct shown { /* properties as last announced */
	enum vbmqd_state state;
	enum vbmqd_verdict verdict;
	enum vbmqd_mode mode;
	bool connected, paused;
	char plan_id[VBMQ_PLAN_ID_LEN + 1];
};

struct vbmqd_bus {
	struct vbmqd_manager *m;
	sd_event *event;
	sd_event_source *retry;
	char *where;
	unsigned failures;
	bool announced; /* ready was called */
	void (*ready)(void *data);
	void (*fatal)(void *data, const char *why);
	void *data;
	sd_bus *bus;
	struct vbmqd_polkit *polkit;
	struct shown shown;
};

/* --- properties ----------------------------------------------------------------------------------------------------- */

static const char *plan_id(const struct vbmqd_manager *m)
{
	return m->plan ? m->plan->id : "";
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
		    void *userdata, sd_bus_error *error)
{
	const struct vbmqd_bus *b = userdata;
	const struct vbmqd_manager *m = b->m;
	const char *text = VBMQ_VERSION;

	if (strcmp(property, "Mode") == 0)
		text = vbmqd_mode_words[vbmqd_manager_mode(m)];
	else if (strcmp(property, "State") == 0)
		text = vbmqd_state_words[vbmqd_manager_state(m)];
	else if (strcmp(property, "LastPlanId") == 0)
		text = plan_id(m);
	else if (strcmp(property, "Verdict") == 0)
		text = vbmqd_verdict_words[m->verdict];
	return sd_bus_message_append(reply, "s", text);
}

static int get_flag(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
		    void *userdata, sd_bus_error *error)
{
	const struct vbmqd_bus *b = userdata;

	return sd_bus_message_append(reply, "b", strcmp(property, "Paused") == 0 ? b->m->paused : b->m->conn != NULL);
}

/* --- methods that read ---------------------------------------------------------------------------------------------- */

static int method_get_snapshot(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct vbmqd_bus *b = userdata;
	_cleanup_free_ char *text = NULL;
	struct vbmq_err e = VBMQ_ERR_INIT;

	if (vbmqd_api_snapshot(b->m, &text, &e) < 0)
		return vbmqd_bus_error(error, &e);
	return vbmqd_bus_reply(msg, NULL, text);
}

static int method_get_plan(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct vbmqd_bus *b = userdata;
	_cleanup_free_ char *id = NULL, *text = NULL;
	struct vbmq_err e = VBMQ_ERR_INIT;

	if (vbmqd_api_plan(b->m, &id, &text, &e) < 0)
		return vbmqd_bus_error(error, &e);
	return vbmqd_bus_reply(msg, id, text);
}

static int method_get_report(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct vbmqd_bus *b = userdata;
	_cleanup_free_ char *text = NULL;
	struct vbmq_err e = VBMQ_ERR_INIT;

	if (vbmqd_api_report(b->m, &text, &e) < 0)
		return vbmqd_bus_error(error, &e);
	return vbmqd_bus_reply(msg, NULL, text);
}

static int method_explain(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct vbmqd_bus *b = userdata;
	_cleanup_free_ char *text = NULL;
	struct vbmq_err e = VBMQ_ERR_INIT;
	const char *domain;
	int r;

	r = sd_bus_message_read(msg, "s", &domain);
	if (r < 0)
		return r;
	if (vbmqd_api_explain(b->m, domain, &text, &e) < 0)
		return vbmqd_bus_error(error, &e);
	return vbmqd_bus_reply(msg, NULL, text);
}

static int method_list_domains(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct vbmqd_bus *b = userdata;
	int r;

	r = sd_bus_message_new_method_return(msg, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(ssss)");
	for (size_t i = 0; i < b->m->domains.n && r >= 0; i++) {
		const struct vbmqd_domain *d = b->m->domains.items[i];

		r = sd_bus_message_append(reply, "(ssss)", d->name, d->uuid, vbmqd_bus_domain_capability(d),
					  vbmqd_domain_state_words[d->state]);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* --- methods that need a cycle -------------------------------------------------------------------------------------- */

static void plan_answered(void *data, const struct vbmqd_answer *a)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *msg = data;

	if (a->err.code)
		vbmqd_bus_reply_error(msg, &a->err);
	else
		vbmqd_bus_reply(msg, a->plan_id, a->document);
}

static void report_answered(void *data, const struct vbmqd_answer *a)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *msg = data;

	if (a->err.code)
		vbmqd_bus_reply_error(msg, &a->err);
	else
		vbmqd_bus_reply(msg, NULL, a->document);
}

static int submit(struct vbmqd_bus *b, sd_bus_message *msg, struct vbmqd_request *q, sd_bus_error *error)
{
	struct vbmq_err e = VBMQ_ERR_INIT;

	/* The answer may come before submit returns. */
	q->answer = q->kind == VBMQD_REQUEST_PLAN ? plan_answered : report_answered;
	q->data = sd_bus_message_ref(msg);
	if (vbmqd_api_submit(b->m, q, &e) < 0) {
		sd_bus_message_unref(msg);
		return vbmqd_bus_error(error, &e);
	}
	return 1;
}

static int method_plan(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct vbmqd_request q = { .kind = VBMQD_REQUEST_PLAN };
	int r;

	r = vbmqd_bus_read_options(msg, NULL, error);
	return r < 0 ? r : submit(userdata, msg, &q, error);
}

static int method_verify(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	struct vbmqd_request q = { .kind = VBMQD_REQUEST_VERIFY };

	return submit(userdata, msg, &q, error);
}

static int do_apply(struct vbmqd_bus *b, sd_bus_message *msg, sd_bus_error *error)
{
	struct vbmqd_bus_options options = { .max_moves = VBMQ_MOVES_ANY };
	struct vbmqd_request q = { .kind = VBMQD_REQUEST_APPLY };
	const char *id;
	int r;

	r = sd_bus_message_read(msg, "s", &id);
	if (r >= 0)
		r = vbmqd_bus_read_options(msg, &options, error);
	if (r < 0)
		return r;
	q.dry_run = options.dry_run;
	q.rebalance = options.rebalance;
	q.max_moves = options.max_moves;
	if (id[0] && strlen(id) != VBMQ_PLAN_ID_LEN)
		return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "a plan id has %u hexadecimal digits",
					 VBMQ_PLAN_ID_LEN);
	strncpy(q.plan_id, id, sizeof(q.plan_id) - 1);
	return submit(b, msg, &q, error);
}

static int do_restore(struct vbmqd_bus *b, sd_bus_message *msg, sd_bus_error *error)
{
	struct vbmqd_request q = { .kind = VBMQD_REQUEST_RESTORE };
	struct vbmq_err e = VBMQ_ERR_INIT;
	const char *domain;
	int r;

	r = sd_bus_message_read(msg, "s", &domain);
	if (r < 0)
		return r;
	if (vbmqd_api_resolve(b->m, domain, q.uuid, &e) < 0)
		return vbmqd_bus_error(error, &e);
	return submit(b, msg, &q, error);
}

/* --- methods that change the daemon --------------------------------------------------------------------------------- */

static int do_pause(struct vbmqd_bus *b, sd_bus_message *msg, sd_bus_error *error)
{
	vbmqd_api_pause(b->m);
	return sd_bus_reply_method_return(msg, "");
}

static int do_resume(struct vbmqd_bus *b, sd_bus_message *msg, sd_bus_error *error)
{
	vbmqd_api_resume(b->m);
	return sd_bus_reply_method_return(msg, "");
}

static int do_reload(struct vbmqd_bus *b, sd_bus_message *msg, sd_bus_error *error)
{
	struct vbmq_err e = VBMQ_ERR_INIT;

	if (vbmqd_manager_reload(b->m, &e) < 0) {
		vbmqd_log_about(LOG_ERR, &(struct vbmqd_about){ .message_id = VBMQD_MSG_BAD_CONFIG },
				"keeping the settings in force: %s", e.text);
		return vbmqd_bus_error(error, &e);
	}
	vbmqd_log(LOG_NOTICE, "settings read again");
	return sd_bus_reply_method_return(msg, "");
}

/* --- who may -------------------------------------------------------------------------------------------------------- */

typedef int (*handler_fn)(struct vbmqd_bus *b, sd_bus_message *msg, sd_bus_error *error);

static const struct guarded {
	const char *member;
	const char *action;
	handler_fn handler;
} guarded[] = {
	{ "Apply", VBMQD_ACTION_APPLY, do_apply },    { "Restore", VBMQD_ACTION_APPLY, do_restore },
	{ "Pause", VBMQD_ACTION_MANAGE, do_pause },   { "Resume", VBMQD_ACTION_MANAGE, do_resume },
	{ "Reload", VBMQD_ACTION_MANAGE, do_reload },
};

static const struct guarded *find_guarded(sd_bus_message *msg)
{
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(guarded); i++) {
		if (strcmp(guarded[i].member, sd_bus_message_get_member(msg)) == 0)
			return &guarded[i];
	}
	return NULL;
}

static void authorized(void *data, sd_bus_message *msg, const sd_bus_error *denied)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	const struct guarded *g = find_guarded(msg);
	int r;

	if (denied) {
		sd_bus_reply_method_error(msg, denied);
		return;
	}
	r = g->handler(data, msg, &error);
	if (sd_bus_error_is_set(&error))
		sd_bus_reply_method_error(msg, &error);
	else if (r < 0)
		sd_bus_reply_method_errno(msg, r, NULL);
}

static int method_guarded(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	const struct guarded *g = find_guarded(msg);
	struct vbmqd_bus *b = userdata;
	int r;

	r = vbmqd_polkit_check(b->polkit, msg, g->action, authorized, b, error);
	if (r > 0)
		return g->handler(b, msg, error);
	return r < 0 ? r : 1;
}

/* In step with daemon/data/org.vbmq1.xml; tests/bus compares the two. */
static const sd_bus_vtable manager_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Version", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Mode", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Connected", "b", get_flag, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("LastPlanId", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Verdict", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Paused", "b", get_flag, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_METHOD_WITH_ARGS("GetSnapshot", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", snapshot), method_get_snapshot,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("GetPlan", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", id, "h", plan), method_get_plan,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("GetReport", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", report), method_get_report,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("s", domain), SD_BUS_RESULT("h", explanation), method_explain,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("ListDomains", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(ssss)", domains), method_list_domains,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Plan", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", id, "h", plan), method_plan,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Verify", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", report), method_verify,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Apply", SD_BUS_ARGS("s", plan_id, "a{sv}", options), SD_BUS_RESULT("h", report),
				method_guarded, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Restore", SD_BUS_ARGS("s", domain), SD_BUS_RESULT("h", report), method_guarded,
				SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_guarded, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_guarded, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_guarded, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_SIGNAL_WITH_ARGS("Planned", SD_BUS_ARGS("s", plan_id), 0),
	SD_BUS_SIGNAL_WITH_ARGS("Applied", SD_BUS_ARGS("s", plan_id, "s", verdict), 0),
	SD_BUS_SIGNAL_WITH_ARGS("Drifted", SD_BUS_ARGS("s", domain), 0),
	SD_BUS_VTABLE_END,
};

/* --- signals -------------------------------------------------------------------------------------------------------- */

static void emit(struct vbmqd_bus *b, const char *signal, const char *first, const char *second)
{
	int r = 0;

	if (!b->bus)
		return;
	if (second)
		r = sd_bus_emit_signal(b->bus, VBMQD_BUS_PATH, VBMQD_BUS_MANAGER, signal, "ss", first, second);
	else
		r = sd_bus_emit_signal(b->bus, VBMQD_BUS_PATH, VBMQD_BUS_MANAGER, signal, "s", first);
	if (r < 0)
		vbmqd_log(LOG_DEBUG, "signal %s not sent: %s", signal, strerror(-r));
}

static void on_planned(void *data, const char *id)
{
	emit(data, "Planned", id, NULL);
}

static void on_applied(void *data, const char *id, enum vbmqd_verdict verdict)
{
	emit(data, "Applied", id, vbmqd_verdict_words[verdict]);
}

static void on_drifted(void *data, const char *domain)
{
	emit(data, "Drifted", domain, NULL);
}

static void on_changed(void *data)
{
	struct vbmqd_bus *b = data;
	const struct vbmqd_manager *m = b->m;
	struct shown now = { .state = vbmqd_manager_state(m),
			     .verdict = m->verdict,
			     .mode = vbmqd_manager_mode(m),
			     .connected = m->conn != NULL,
			     .paused = m->paused };
	/* sd-bus wants an array of strings it could change; it does not. */
	static char state[] = "State", verdict[] = "Verdict", mode[] = "Mode", connected[] = "Connected",
		    paused[] = "Paused", last_plan_id[] = "LastPlanId";
	char *names[7];
	size_t n = 0;

	memcpy(now.plan_id, plan_id(m), strlen(plan_id(m)));
	if (now.state != b->shown.state)
		names[n++] = state;
	if (now.verdict != b->shown.verdict)
		names[n++] = verdict;
	if (now.mode != b->shown.mode)
		names[n++] = mode;
	if (now.connected != b->shown.connected)
		names[n++] = connected;
	if (now.paused != b->shown.paused)
		names[n++] = paused;
	if (strcmp(now.plan_id, b->shown.plan_id) != 0)
		names[n++] = last_plan_id;
	names[n] = NULL;
	b->shown = now;
	if (n && b->bus)
		sd_bus_emit_properties_changed_strv(b->bus, VBMQD_BUS_PATH, VBMQD_BUS_MANAGER, names);
}

static void on_domain_changed(void *data, const struct vbmqd_domain *d)
{
	struct vbmqd_bus *b = data;

	if (b->bus)
		vbmqd_bus_domain_changed(b->bus, d);
}

/* --- the connection ------------------------------------------------------------------------------------------------- */

static void announce(struct vbmqd_bus *b)
{
	if (b->announced)
		return;
	b->announced = true;
	b->ready(b->data);
}

static void close_bus(struct vbmqd_bus *b)
{
	b->polkit = vbmqd_polkit_free(b->polkit);
	b->bus = sd_bus_flush_close_unref(b->bus);
}

static void retry_later(struct vbmqd_bus *b, const char *why)
{
	uint64_t ms = vbmqd_back_off_ms(++b->failures, RETRY_FIRST_MS, RETRY_MAX_MS);

	vbmqd_log(b->failures == 1 ? LOG_WARNING : LOG_DEBUG, "no bus (%s): %s; working without and trying again",
		  b->where, why);
	sd_event_source_set_time(b->retry, vbmqd_now() + ms * 1000u);
	sd_event_source_set_enabled(b->retry, SD_EVENT_ONESHOT);
	announce(b);
}

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
	struct vbmqd_bus *b = userdata;
	uint32_t result = 0;

	if (sd_bus_message_is_method_error(reply, NULL)) {
		retry_later(b, sd_bus_message_get_error(reply)->message);
		return 0;
	}
	if (sd_bus_message_read(reply, "u", &result) < 0 || (result != 1 && result != 4)) {
		b->fatal(b->data, "the name " NAME " is taken: is vbmqd running already?");
		return 0;
	}
	b->failures = 0;
	announce(b);
	return 0;
}

static int on_disconnected(sd_bus_message *msg, void *userdata, sd_bus_error *error)
{
	/* Not torn down in its own callback, but by the retry. */
	retry_later(userdata, "the bus closed the connection");
	return 0;
}

static int open_bus(struct vbmqd_bus *b)
{
	int r;

	r = vbmq_bus_open(b->where, &b->bus);
	if (r >= 0)
		r = vbmqd_polkit_new(&b->polkit);
	if (r >= 0)
		r = sd_bus_add_object_vtable(b->bus, NULL, VBMQD_BUS_PATH, VBMQD_BUS_MANAGER, manager_vtable, b);
	if (r >= 0)
		r = vbmqd_bus_domain_export(b->bus, b->m);
	if (r >= 0)
		r = sd_bus_match_signal(b->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
					"org.freedesktop.DBus.Local", "Disconnected", on_disconnected, b);
	if (r >= 0)
		r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_request_name_async(b->bus, NULL, NAME, 0, on_name, b);
	return r;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *data)
{
	struct vbmqd_bus *b = data;
	int r;

	close_bus(b);
	r = open_bus(b);
	if (r < 0) {
		close_bus(b);
		retry_later(b, strerror(-r));
	}
	return 0;
}

int vbmqd_bus_new(struct vbmqd_manager *m, sd_event *event, const char *where, void (*ready)(void *data),
		  void (*fatal)(void *data, const char *why), void *data, struct vbmqd_bus **ret, struct vbmq_err *err)
{
	struct vbmqd_bus *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return vbmq_err_oom(err);
	*b = (struct vbmqd_bus){ .m = m,
				 .event = sd_event_ref(event),
				 .where = strdup(where),
				 .ready = ready,
				 .fatal = fatal,
				 .data = data };
	r = b->where ? sd_event_add_time(event, &b->retry, CLOCK_MONOTONIC, 0, 100000, on_retry, b) : -ENOMEM;
	if (r >= 0)
		r = sd_event_source_set_enabled(b->retry, SD_EVENT_OFF);
	if (r < 0) {
		vbmqd_bus_free(b);
		return vbmq_err_set(err, r, "cannot set up the bus: %s", strerror(-r));
	}
	m->listener = (struct vbmqd_listener){ .planned = on_planned,
					       .applied = on_applied,
					       .drifted = on_drifted,
					       .changed = on_changed,
					       .domain_changed = on_domain_changed,
					       .data = b };
	on_retry(b->retry, 0, b);
	*ret = b;
	return 0;
}

struct vbmqd_bus *vbmqd_bus_free(struct vbmqd_bus *b)
{
	if (!b)
		return NULL;
	b->m->listener = (struct vbmqd_listener){ .data = NULL };
	close_bus(b);
	sd_event_source_disable_unref(b->retry);
	sd_event_unref(b->event);
	free(b->where);
	free(b);
	return NULL;
}
