/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * QMP: one command at a time, answered in order. Events that come in between are kept until they are asked for or dropped.
 */

#include "qtvm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QT_LINE_MAX (16u << 20)

/* The next object; a new reference. */
static int receive(struct qt_vm *vm, json_t **ret, const char *what, struct vbmq_err *err)
{
	for (;;) {
		char *nl = vm->n_in ? memchr(vm->in, '\n', vm->n_in) : NULL;
		ssize_t n;

		if (nl) {
			size_t len = (size_t)(nl - vm->in) + 1;
			json_error_t e;
			json_t *v = json_loadb(vm->in, len, 0, &e);

			vm->n_in -= len;
			memmove(vm->in, nl + 1, vm->n_in);
			if (!json_is_object(v)) {
				json_decref(v);
				return vbmq_err_set(err, -EPROTO, "QMP: not an object: %s", e.text);
			}
			*ret = v;
			return 0;
		}
		if (vm->size_in - vm->n_in < 4096) {
			size_t size = vm->size_in ? 2 * vm->size_in : 65536;
			char *p = size > QT_LINE_MAX ? NULL : realloc(vm->in, size);

			if (!p)
				return vbmq_err_oom(err);
			vm->in = p;
			vm->size_in = size;
		}
		n = qt_read_some(vm, vm->qmp_fd, vm->in + vm->n_in, vm->size_in - vm->n_in, what, err);
		if (n < 0)
			return (int)n;
		vm->n_in += (size_t)n;
	}
}

static int answer(struct qt_vm *vm, json_t **ret, const char *command, struct vbmq_err *err)
{
	char what[128];

	snprintf(what, sizeof(what), "the answer to %s", command);
	for (;;) {
		json_t *msg, *value;
		int r = receive(vm, &msg, what, err);

		if (r < 0)
			return r;
		if (json_object_get(msg, "event")) {
			if (json_array_append_new(vm->events, msg))
				return vbmq_err_oom(err);
			continue;
		}
		value = json_object_get(msg, "error");
		if (value) {
			const char *desc = json_string_value(json_object_get(value, "desc"));

			r = vbmq_err_set(err, -EREMOTEIO, "%s: %s", command, desc ? desc : "an error without text");
			json_decref(msg);
			return r;
		}
		value = json_object_get(msg, "return");
		if (!value) {
			json_decref(msg);
			return vbmq_err_set(err, -EPROTO, "%s: neither a return nor an error", command);
		}
		if (ret)
			*ret = json_incref(value);
		json_decref(msg);
		return 0;
	}
}

int qt_qmpj(struct qt_vm *vm, json_t **ret, struct vbmq_err *err, const char *command, json_t *args)
{
	json_t *msg = json_pack("{s:s, s:o*}", "execute", command, "arguments", args);
	char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	int r;

	json_decref(msg);
	if (!text)
		return vbmq_err_oom(err);
	if (vm->silent) {
		free(text);
		return vbmq_err_set(err, -ETIMEDOUT, "%s: QMP does not answer any more", command);
	}
	r = qt_write_all(vm->qmp_fd, text, strlen(text));
	free(text);
	if (r >= 0)
		r = qt_write_all(vm->qmp_fd, "\n", 1);
	if (r < 0 && r != -EPIPE) /* EPIPE: what there is to say is said when the answer is awaited */
		return vbmq_err_set(err, r, "%s: writing to QMP: %s", command, strerror(-r));
	r = answer(vm, ret, command, err);
	vm->silent = r < 0 && r != -EREMOTEIO;
	return r;
}

int qt_qmp(struct qt_vm *vm, json_t **ret, struct vbmq_err *err, const char *command, const char *fmt, ...)
{
	json_t *args = NULL;
	json_error_t e;
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		args = json_vpack_ex(&e, 0, fmt, ap);
		va_end(ap);
		if (!args)
			return vbmq_err_set(err, -EINVAL, "%s: arguments: %s", command, e.text);
	}
	return qt_qmpj(vm, ret, err, command, args);
}

int qt_qmp_hello(struct qt_vm *vm, struct vbmq_err *err)
{
	json_t *msg;
	int r = receive(vm, &msg, "the QMP greeting", err);

	if (r < 0)
		return r;
	r = json_object_get(msg, "QMP") ? 0 : vbmq_err_set(err, -EPROTO, "QMP: no greeting");
	json_decref(msg);
	return r < 0 ? r : qt_qmp(vm, NULL, err, "qmp_capabilities", NULL);
}

int qt_qmp_has(struct qt_vm *vm, const char *command, struct vbmq_err *err)
{
	json_t *list, *c;
	size_t i;
	int r = qt_qmp(vm, &list, err, "query-commands", NULL);

	if (r < 0)
		return r;
	json_array_foreach(list, i, c)
	{
		const char *name = json_string_value(json_object_get(c, "name"));

		if (name && !strcmp(name, command))
			r = 1;
	}
	json_decref(list);
	return r;
}

static int has_mapping(struct qt_vm *vm, struct vbmq_err *err)
{
	json_t *list, *p;
	size_t i;
	int r = qt_qmp(vm, &list, err, "device-list-properties", "{s:s}", "typename", "virtio-blk-pci");

	if (r < 0)
		return r;
	json_array_foreach(list, i, p)
	{
		const char *name = json_string_value(json_object_get(p, "name"));

		if (name && !strcmp(name, "iothread-vq-mapping"))
			r = 1;
	}
	json_decref(list);
	return r ? r : vbmq_err_set(err, -ENOENT, "%s is older than iothread-vq-mapping (QEMU 9.0)", qt_emulator());
}

int qt_probe(const char *commands, struct vbmq_err *err)
{
	struct vbmq_err cause = VBMQ_ERR_INIT;
	struct qt_vm *vm = NULL;
	char name[80];
	int n, r = qt_vm_new(&(struct qt_vm_conf){ .ram_mib = 16 }, &vm, &cause);

	if (r < 0)
		return vbmq_err_set(err, strstr(cause.text, "No such file") ? -ENOENT : r, "%s", cause.text);
	r = has_mapping(vm, err);
	for (; r > 0 && sscanf(commands, " %79s%n", name, &n) == 1; commands += n)
		r = qt_qmp_has(vm, name, err);
	if (r > 0) {
		int fd = qt_vm_getfd(vm, 0);

		r = fd < 0 ? vbmq_err_set(err, -ENOENT, "descriptors of QEMU cannot be copied: %s", strerror(-fd)) : 1;
		if (fd >= 0)
			close(fd);
	}
	qt_vm_free(vm);
	return r;
}

/* The first event that fits, removed; NULL: none. */
static json_t *take_event(struct qt_vm *vm, const char *name, const char *key, const char *value)
{
	json_t *e;
	size_t i;

	json_array_foreach(vm->events, i, e)
	{
		json_t *data = json_object_get(e, "data");
		const char *n = json_string_value(json_object_get(e, "event"));
		const char *v = key ? json_string_value(json_object_get(data, key)) : NULL;

		if (!n || strcmp(n, name) || (key && (!v || strcmp(v, value))))
			continue;
		data = data ? json_incref(data) : json_object();
		json_array_remove(vm->events, i);
		return data;
	}
	return NULL;
}

int qt_event(struct qt_vm *vm, const char *name, const char *key, const char *value, json_t **ret, struct vbmq_err *err)
{
	json_t *data;

	while (!(data = take_event(vm, name, key, value))) {
		json_t *msg;
		int r = receive(vm, &msg, name, err);

		if (r < 0)
			return r;
		if (!json_object_get(msg, "event")) {
			json_decref(msg);
			return vbmq_err_set(err, -EPROTO, "QMP: an answer that nobody asked for");
		}
		if (json_array_append_new(vm->events, msg))
			return vbmq_err_oom(err);
	}
	if (ret)
		*ret = data;
	else
		json_decref(data);
	return 0;
}

int qt_event_came(struct qt_vm *vm, const char *name, const char *key, const char *value, json_t **ret)
{
	json_t *data = take_event(vm, name, key, value);

	if (!data)
		return 0;
	if (ret)
		*ret = data;
	else
		json_decref(data);
	return 1;
}

void qt_events_drop(struct qt_vm *vm)
{
	json_array_clear(vm->events);
}

int qt_iothread_add(struct qt_vm *vm, const char *id, struct vbmq_err *err)
{
	return qt_qmp(vm, NULL, err, "object-add", "{s:s, s:s}", "qom-type", "iothread", "id", id);
}

int qt_iothread_tid(struct qt_vm *vm, const char *id, pid_t *ret, struct vbmq_err *err)
{
	json_t *list, *t;
	pid_t tid = 0;
	size_t i;
	int r = qt_qmp(vm, &list, err, "query-iothreads", NULL);

	if (r < 0)
		return r;
	json_array_foreach(list, i, t)
	{
		const char *name = json_string_value(json_object_get(t, "id"));

		if (name && !strcmp(name, id))
			tid = (pid_t)json_integer_value(json_object_get(t, "thread-id"));
	}
	json_decref(list);
	if (!tid)
		return vbmq_err_set(err, -ENOENT, "no I/O thread %s", id);
	*ret = tid;
	return 0;
}
