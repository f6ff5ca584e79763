/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "codec/qmp_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec/qmp_reply.h"
#include "util/cleanup.h"
#include "util/err.h"
#include "util/parse.h"

static int qmp_error(const char *command, const json_t *error, struct vbmq_err *err)
{
	const char *class = json_string_value(json_object_get(error, "class"));
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (!class || !desc)
		return vbmq_err_set(err, -EPROTO, "%s: QEMU reported an error without class or description", command);
	return vbmq_err_set(err, strcmp(class, "CommandNotFound") ? -EREMOTEIO : -ENOTSUP, "%s: QEMU says: %s (%s)",
			    command, desc, class);
}

static int check_reply(const char *command, json_t *doc, json_t **ret, struct vbmq_err *err)
{
	json_t *value, *error;

	if (!json_is_object(doc))
		return vbmq_err_set(err, -EPROTO, "%s: the reply is not a JSON object", command);
	if (json_object_get(doc, "event"))
		return vbmq_err_set(err, -EPROTO, "%s: an event came in place of the reply", command);
	value = json_object_get(doc, "return");
	error = json_object_get(doc, "error");
	if (!value == !error)
		return vbmq_err_set(err, -EPROTO, "%s: the reply has %s 'return' %s 'error'", command,
				    value ? "both" : "neither", value ? "and" : "nor");
	if (error)
		return qmp_error(command, error, err);
	*ret = value;
	return 0;
}

int vbmq_qmp_reply(const char *command, const char *reply, size_t len, json_t **ret_doc, json_t **ret,
		   struct vbmq_err *err)
{
	_cleanup_json_ json_t *doc = NULL;
	json_error_t cause;
	int r;

	if (len > VBMQ_QMP_REPLY_MAX)
		return vbmq_err_set(err, -EFBIG, "%s: a reply of %zu bytes; at most %u are read", command, len,
				    VBMQ_QMP_REPLY_MAX);
	doc = json_loadb(reply, len, JSON_REJECT_DUPLICATES, &cause);
	/* jansson fails without a word where it gets no memory at once */
	if (!doc && (!cause.text[0] || json_error_code(&cause) == json_error_out_of_memory))
		return vbmq_err_oom(err);
	if (!doc)
		return vbmq_err_set(err, -EPROTO, "%s: the reply is not JSON: %s at byte %d", command, cause.text,
				    cause.position);
	r = check_reply(command, doc, ret, err);
	if (r >= 0)
		*ret_doc = VBMQ_STEAL(doc);
	return r;
}

int vbmq_qmp_check_array(const char *command, const json_t *j, size_t max, struct vbmq_err *err)
{
	if (!json_is_array(j))
		return vbmq_err_set(err, -EPROTO, "%s: 'return' is not a list", command);
	if (json_array_size(j) > max)
		return vbmq_err_set(err, -E2BIG, "%s: a list of %zu entries; at most %zu are read", command,
				    json_array_size(j), max);
	return 0;
}

static const char *path(char ret[32], size_t i)
{
	if (i == SIZE_MAX)
		return "";
	snprintf(ret, 32, "[%zu].", i);
	return ret;
}

static int get(const char *command, const json_t *item, size_t i, const char *key, bool right(const json_t *),
	       const char *type, const json_t **ret, struct vbmq_err *err)
{
	const json_t *value = json_object_get(item, key);
	char at[32];

	if (!json_is_object(item))
		return vbmq_err_set(err, -EPROTO, "%s: %s%s cannot be read: not in an object", command, path(at, i),
				    key);
	if (!value)
		return vbmq_err_set(err, -EPROTO, "%s: %s%s is missing", command, path(at, i), key);
	if (!right(value))
		return vbmq_err_set(err, -EPROTO, "%s: %s%s is not a %s", command, path(at, i), key, type);
	*ret = value;
	return 0;
}

static bool is_integer(const json_t *j)
{
	return json_is_integer(j);
}

static bool is_text(const json_t *j)
{
	return json_is_string(j) && strlen(json_string_value(j)) == json_string_length(j);
}

static bool is_boolean(const json_t *j)
{
	return json_is_boolean(j);
}

int vbmq_qmp_get_u64(const char *command, const json_t *item, size_t i, const char *key, uint64_t min, uint64_t max,
		     uint64_t *ret, struct vbmq_err *err)
{
	const json_t *value = NULL;
	json_int_t n;
	char at[32];
	int r = get(command, item, i, key, is_integer, "number", &value, err);

	if (r < 0)
		return r;
	n = json_integer_value(value);
	if (n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		return vbmq_err_set(err, -EPROTO, "%s: %s%s is %lld, outside %" PRIu64 "..%" PRIu64, command,
				    path(at, i), key, (long long)n, min, max);
	*ret = (uint64_t)n;
	return 0;
}

int vbmq_qmp_get_text(const char *command, const json_t *item, size_t i, const char *key, const char **ret,
		      struct vbmq_err *err)
{
	const json_t *value = NULL;
	int r = get(command, item, i, key, is_text, "text", &value, err);

	if (r >= 0)
		*ret = json_string_value(value);
	return r;
}

int vbmq_qmp_get_bool(const char *command, const json_t *item, size_t i, const char *key, bool *ret,
		      struct vbmq_err *err)
{
	const json_t *value = NULL;
	int r = get(command, item, i, key, is_boolean, "boolean", &value, err);

	if (r >= 0)
		*ret = json_is_true(value);
	return r;
}

bool vbmq_qmp_iothread_id(const char *name, uint32_t *ret)
{
	static const char prefix[] = "iothread";

	return !strncmp(name, prefix, sizeof(prefix) - 1) &&
	       vbmq_parse_u32(name + sizeof(prefix) - 1, 1, UINT32_MAX, ret) >= 0;
}
