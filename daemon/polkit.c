/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/polkit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

#define CHECKS_MAX 256u
#define ANSWER_USEC (120u * 1000000u) /* a person types a password */
#define FLAG_ALLOW_INTERACTION 1u

struct check {
	struct vbmqd_polkit *polkit;
	sd_bus_message *message;
	sd_bus_slot *slot;
	vbmqd_polkit_fn fn;
	void *data;
	struct check *prev, *next;
};

struct vbmqd_polkit {
	struct check *checks;
	unsigned n_checks;
};

int vbmqd_polkit_new(struct vbmqd_polkit **ret)
{
	struct vbmqd_polkit *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*ret = p;
	return 0;
}

static struct check *check_free(struct check *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		c->polkit->checks = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->polkit->n_checks--;
	sd_bus_slot_unref(c->slot);
	sd_bus_message_unref(c->message);
	free(c);
	return NULL;
}

static void conclude(struct check *c, const sd_bus_error *error)
{
	c->fn(c->data, c->message, error);
	check_free(c);
}

struct vbmqd_polkit *vbmqd_polkit_free(struct vbmqd_polkit *p)
{
	sd_bus_error stop = SD_BUS_ERROR_MAKE_CONST(SD_BUS_ERROR_DISCONNECTED, "vbmqd is stopping");

	if (!p)
		return NULL;
	while (p->checks)
		conclude(p->checks, &stop);
	free(p);
	return NULL;
}

static bool polkit_is_absent(const sd_bus_error *e)
{
	return sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
	       sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
	       sd_bus_error_has_name(e, "org.freedesktop.systemd1.UnitMasked") ||
	       sd_bus_error_has_name(e, "org.freedesktop.DBus.Error.Spawn.ChildExited");
}

static int on_answer(sd_bus_message *reply, void *data, sd_bus_error *unused)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	struct check *c = data;
	int authorized = 0, challenge = 0, r;

	if (sd_bus_message_is_method_error(reply, NULL)) {
		const sd_bus_error *e = sd_bus_message_get_error(reply);

		if (polkit_is_absent(e))
			sd_bus_error_set(&error, SD_BUS_ERROR_ACCESS_DENIED,
					 "only root may do this: polkit is not running");
		else
			sd_bus_error_setf(&error, SD_BUS_ERROR_ACCESS_DENIED, "polkit refused to decide: %s",
					  e->message ? e->message : e->name);
	} else {
		r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
		if (r > 0)
			r = sd_bus_message_read(reply, "bb", &authorized, &challenge);
		if (r < 0)
			sd_bus_error_set(&error, SD_BUS_ERROR_ACCESS_DENIED, "polkit's answer cannot be read");
		else if (!authorized && challenge)
			sd_bus_error_set(&error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
					 "authentication is needed, and the call does not allow to ask for it");
		else if (!authorized)
			sd_bus_error_set(&error, SD_BUS_ERROR_ACCESS_DENIED, "polkit says no");
	}
	conclude(c, sd_bus_error_is_set(&error) ? &error : NULL);
	return 0;
}

static int ask(struct check *c, const char *action)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
	sd_bus *bus = sd_bus_message_get_bus(c->message);
	unsigned flags =
		sd_bus_message_get_allow_interactive_authorization(c->message) > 0 ? FLAG_ALLOW_INTERACTION : 0;
	int r;

	r = sd_bus_message_new_method_call(bus, &call, "org.freedesktop.PolicyKit1",
					   "/org/freedesktop/PolicyKit1/Authority",
					   "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
	if (r >= 0)
		r = sd_bus_message_append(call, "(sa{sv})s", "system-bus-name", 1, "name", "s",
					  sd_bus_message_get_sender(c->message), action);
	if (r >= 0)
		r = sd_bus_message_append(call, "a{ss}us", 0, flags, "");
	if (r < 0)
		return r;
	return sd_bus_call_async(bus, &c->slot, call, on_answer, c, ANSWER_USEC);
}

int vbmqd_polkit_check(struct vbmqd_polkit *p, sd_bus_message *message, const char *action, vbmqd_polkit_fn fn,
		       void *data, sd_bus_error *error)
{
	_cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
	struct check *c;
	uid_t uid;
	int r;

	r = sd_bus_query_sender_creds(message, SD_BUS_CREDS_EUID, &creds);
	if (r >= 0)
		r = sd_bus_creds_get_euid(creds, &uid);
	if (r >= 0 && uid == 0)
		return 1;
	if (r < 0)
		return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "cannot find out who is calling");
	if (p->n_checks >= CHECKS_MAX)
		return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED, "too many calls wait for authorization");
	c = calloc(1, sizeof(*c));
	if (!c)
		return sd_bus_error_set_errno(error, -ENOMEM);
	*c = (struct check){
		.polkit = p, .message = sd_bus_message_ref(message), .fn = fn, .data = data, .next = p->checks
	};
	if (p->checks)
		p->checks->prev = c;
	p->checks = c;
	p->n_checks++;
	r = ask(c, action);
	if (r < 0) {
		check_free(c);
		return sd_bus_error_set_errnof(error, r, "cannot ask polkit: %s", strerror(-r));
	}
	return 0;
}
