/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The monitor passthrough of libvirt, and what is remembered of running instances so that it is used little: every call
 * takes the domain's query job, and the first one marks the domain with libvirt's taint "custom-monitor" (a note in the log
 * and in virsh dominfo, nothing else; queries count as well).
 */

#include "virt/private.h"
#include "virt/read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "codec/qmp_reply.h"
#include "util/parse.h"
#include "util/strbuf.h"

void vbmq_virt_json_string(struct vbmq_strbuf *b, const char *text)
{
	vbmq_strbuf_add(b, "\"");
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			vbmq_strbuf_printf(b, "\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			vbmq_strbuf_printf(b, "\\u%04x", (unsigned)(unsigned char)*text);
		else
			vbmq_strbuf_add_bytes(b, text, 1);
	}
	vbmq_strbuf_add(b, "\"");
}

int vbmq_virt_lookup(struct vbmq_virt *v, const char *name_or_uuid, virDomainPtr *ret, struct vbmq_err *err)
{
	virDomainPtr dom = NULL;
	char uuid[37];

	/* A name may look like a UUID; an exact UUID wins. */
	if (vbmq_parse_uuid(name_or_uuid, uuid) == 0)
		dom = virDomainLookupByUUIDString(v->conn, uuid);
	if (!dom)
		dom = virDomainLookupByName(v->conn, name_or_uuid);
	if (!dom)
		return vbmq_virt_error(err, v->conn, "domain '%s'", name_or_uuid);
	*ret = dom;
	return 0;
}

int vbmq_virt_qmp(struct vbmq_virt *v, virDomainPtr dom, const char *command, char **ret_reply, struct vbmq_err *err)
{
	char *reply = NULL;
	size_t len;

	if (virDomainQemuMonitorCommand(dom, command, &reply, VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT) < 0)
		return vbmq_virt_error(err, v->conn, "monitor command %.60s", command);
	if (!reply)
		return vbmq_err_set(err, -EIO, "monitor command %.60s: no reply", command);
	len = strlen(reply);
	if (len > VBMQ_QMP_REPLY_MAX) {
		free(reply);
		return vbmq_err_set(err, -EFBIG, "monitor command %.60s: a reply of %zu bytes is too long", command,
				    len);
	}
	*ret_reply = reply;
	return 0;
}

int vbmq_virt_gone(struct vbmq_virt *v, virDomainPtr dom, int32_t id, int code, struct vbmq_err *err)
{
	virDomainPtr now;
	char uuid[VIR_UUID_STRING_BUFLEN];
	bool gone;

	/* The id in dom is that of the lookup: look again. */
	if (code == -ENOENT || !vbmq_virt_conn_alive(v) || virDomainGetUUIDString(dom, uuid) < 0)
		return code;
	now = virDomainLookupByUUIDString(v->conn, uuid);
	if (!now) {
		const virError *e = virGetLastError();

		gone = e && e->code == VIR_ERR_NO_DOMAIN;
	} else {
		gone = (int32_t)virDomainGetID(now) != id;
		(void)virDomainFree(now);
	}
	return gone ? vbmq_err_set(err, -ENOENT, "domain '%s' does not run any more", virDomainGetName(dom)) : code;
}

struct vbmq_virt_instance *vbmq_virt_instance(struct vbmq_virt *v, const char *uuid, int32_t id, bool create)
{
	struct vbmq_virt_instance *i = v->instances;

	while (i && strcmp(i->uuid, uuid))
		i = i->next;
	if (i && i->id == id)
		return i;
	if (!create)
		return NULL;
	if (!i) {
		i = calloc(1, sizeof(*i));
		if (!i)
			return NULL;
		memcpy(i->uuid, uuid, sizeof(i->uuid));
		i->next = v->instances;
		v->instances = i;
	}
	i->id = id; /* the domain was started anew: nothing of the old instance holds */
	vbmq_virt_domain_freep(&i->dom);
	i->dom = NULL;
	free(i->xml);
	i->xml = NULL;
	free(i->threads);
	i->threads = NULL;
	i->n_threads = 0;
	i->memory_until_ms = 0;
	return i;
}

void vbmq_virt_note_dom(struct vbmq_virt *v, const char *uuid, int32_t id, virDomainPtr dom)
{
	struct vbmq_virt_instance *i;

	pthread_mutex_lock(&v->lock);
	i = id >= 0 ? vbmq_virt_instance(v, uuid, id, true) : NULL;
	if (i && !i->dom && virDomainRef(dom) == 0)
		i->dom = dom;
	pthread_mutex_unlock(&v->lock);
}

virDomainPtr vbmq_virt_recall_dom(struct vbmq_virt *v, const char *uuid, int32_t id)
{
	struct vbmq_virt_instance *i;
	virDomainPtr dom = NULL;

	pthread_mutex_lock(&v->lock);
	i = vbmq_virt_instance(v, uuid, id, false);
	if (i && i->dom && virDomainRef(i->dom) == 0)
		dom = i->dom;
	pthread_mutex_unlock(&v->lock);
	return dom;
}

void vbmq_virt_note_memory(struct vbmq_virt *v, const struct vbmq_domain *d, uint64_t until_ms)
{
	struct vbmq_virt_instance *i;

	pthread_mutex_lock(&v->lock);
	i = vbmq_virt_instance(v, d->uuid, d->id, true);
	if (i) {
		i->memory_nodes = d->memory_nodes;
		i->memory_until_ms = until_ms;
	}
	pthread_mutex_unlock(&v->lock);
}

bool vbmq_virt_recall_memory(struct vbmq_virt *v, struct vbmq_domain *d, uint64_t now_ms)
{
	const struct vbmq_virt_instance *i;
	bool known;

	pthread_mutex_lock(&v->lock);
	i = vbmq_virt_instance(v, d->uuid, d->id, false);
	known = i && now_ms < i->memory_until_ms;
	if (known)
		d->memory_nodes = i->memory_nodes;
	pthread_mutex_unlock(&v->lock);
	return known;
}

void vbmq_virt_instances_free(struct vbmq_virt_instance *list)
{
	while (list) {
		struct vbmq_virt_instance *next = list->next;

		vbmq_virt_domain_freep(&list->dom);
		free(list->threads);
		free(list->xml);
		free(list);
		list = next;
	}
}

/* The program a thread runs; false: it cannot be told. */
static bool identify(uint32_t tid, struct vbmq_virt_program *ret)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%u/exe", tid);
	if (stat(path, &st) < 0)
		return false;
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	ret->mtime = st.st_mtim;
	return true;
}

static struct vbmq_virt_program *find_program(struct vbmq_virt *v, const struct vbmq_virt_program *p)
{
	size_t n = v->n_programs < VBMQ_VIRT_PROGRAMS_MAX ? v->n_programs : VBMQ_VIRT_PROGRAMS_MAX;

	for (size_t i = 0; i < n; i++) {
		const struct vbmq_virt_program *q = &v->programs[i];

		if (q->dev == p->dev && q->ino == p->ino && q->mtime.tv_sec == p->mtime.tv_sec &&
		    q->mtime.tv_nsec == p->mtime.tv_nsec)
			return &v->programs[i];
	}
	return NULL;
}

bool vbmq_virt_program_caps(struct vbmq_virt *v, uint32_t tid, struct vbmq_caps *ret)
{
	struct vbmq_virt_program p;
	const struct vbmq_virt_program *known;

	if (!identify(tid, &p))
		return false;
	pthread_mutex_lock(&v->lock);
	known = find_program(v, &p);
	if (known)
		*ret = known->caps;
	pthread_mutex_unlock(&v->lock);
	return known != NULL;
}

void vbmq_virt_program_learn(struct vbmq_virt *v, uint32_t tid, struct vbmq_caps caps)
{
	struct vbmq_virt_program p;

	if (!identify(tid, &p))
		return;
	p.caps = caps;
	pthread_mutex_lock(&v->lock);
	if (!find_program(v, &p))
		v->programs[v->n_programs++ % VBMQ_VIRT_PROGRAMS_MAX] = p;
	pthread_mutex_unlock(&v->lock);
}
