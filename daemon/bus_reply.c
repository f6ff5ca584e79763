/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus_reply.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/document.h"
#include "util/cleanup.h"
#include "util/err.h"

static const char *error_name(int code)
{
	static const struct {
		int code;
		const char *name;
	} names[] = {
		{ -ESTALE, "org.vbmq1.Error.StalePlan" },    { -ENOTCONN, "org.vbmq1.Error.NotConnected" },
		{ -ENOENT, "org.vbmq1.Error.NoSuchDomain" }, { -EBUSY, "org.vbmq1.Error.Busy" },
		{ -ECANCELED, "org.vbmq1.Error.Paused" },    { -EINVAL, SD_BUS_ERROR_INVALID_ARGS },
		{ -ENOMEM, SD_BUS_ERROR_NO_MEMORY },
	};

	for (size_t i = 0; i < VBMQ_ELEMENTSOF(names); i++) {
		if (names[i].code == code)
			return names[i].name;
	}
	return SD_BUS_ERROR_FAILED;
}

int vbmqd_bus_error(sd_bus_error *error, const struct vbmq_err *e)
{
	return sd_bus_error_set(error, error_name(e->code), e->text);
}

int vbmqd_bus_reply_error(sd_bus_message *msg, const struct vbmq_err *e)
{
	return sd_bus_reply_method_errorf(msg, error_name(e->code), "%s", e->text);
}

int vbmqd_bus_reply(sd_bus_message *msg, const char *plan_id, const char *text)
{
	struct vbmq_err e = VBMQ_ERR_INIT;
	int fd, r;

	fd = vbmqd_document(text, &e);
	if (fd < 0)
		return vbmqd_bus_reply_error(msg, &e);
	r = plan_id ? sd_bus_reply_method_return(msg, "sh", plan_id, fd) : sd_bus_reply_method_return(msg, "h", fd);
	close(fd); /* sd-bus has its own copy */
	return r;
}

static int read_option(sd_bus_message *msg, const char *key, struct vbmqd_bus_options *ret, sd_bus_error *error)
{
	int flag = 0;

	if (ret && strcmp(key, "max-moves") == 0)
		return sd_bus_message_read(msg, "v", "u", &ret->max_moves) < 0
			       ? sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "option '%s' is a number (u)", key)
			       : 0;
	if (!ret || (strcmp(key, "dry-run") != 0 && strcmp(key, "rebalance") != 0))
		return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "unknown option '%s'", key);
	if (sd_bus_message_read(msg, "v", "b", &flag) < 0)
		return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "option '%s' is a boolean", key);
	*(key[0] == 'd' ? &ret->dry_run : &ret->rebalance) = flag;
	return 0;
}

int vbmqd_bus_read_options(sd_bus_message *msg, struct vbmqd_bus_options *ret, sd_bus_error *error)
{
	int r;

	r = sd_bus_message_enter_container(msg, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(msg, 'e', "sv")) > 0) {
		const char *key;

		r = sd_bus_message_read(msg, "s", &key);
		if (r >= 0)
			r = read_option(msg, key, ret, error);
		if (r >= 0)
			r = sd_bus_message_exit_container(msg);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : sd_bus_message_exit_container(msg);
}
