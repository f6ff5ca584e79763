/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus_domain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager.h"
#include "util/cleanup.h"

#define PREFIX "/org/vbmq1/domain"
#define INTERFACE "org.vbmq1.Domain"
#define PATH_MAX_BYTES (sizeof(PREFIX) + 1 + 36)

static void to_path(const char *uuid, char ret[PATH_MAX_BYTES])
{
	snprintf(ret, PATH_MAX_BYTES, PREFIX "/%s", uuid);
	for (char *p = ret; *p; p++) {
		if (*p == '-')
			*p = '_';
	}
}

static struct vbmqd_domain *from_path(const struct vbmqd_manager *m, const char *path)
{
	char uuid[37];

	if (strncmp(path, PREFIX "/", sizeof(PREFIX)) != 0 || strlen(path + sizeof(PREFIX)) != 36)
		return NULL;
	memcpy(uuid, path + sizeof(PREFIX), sizeof(uuid));
	for (char *p = uuid; *p; p++) {
		if (*p == '_')
			*p = '-';
	}
	return vbmqd_domains_find(&m->domains, uuid);
}

const char *vbmqd_bus_domain_capability(const struct vbmqd_domain *d)
{
	return d->seen ? vbmq_capability_words[vbmq_caps_level(d->seen->caps)] : "";
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
		    void *userdata, sd_bus_error *error)
{
	const struct vbmqd_domain *d = userdata;
	_cleanup_free_ char *cpus = NULL;
	const char *text = NULL;

	if (strcmp(property, "Name") == 0) {
		text = d->name;
	} else if (strcmp(property, "Uuid") == 0) {
		text = d->uuid;
	} else if (strcmp(property, "State") == 0) {
		text = vbmqd_domain_state_words[d->state];
	} else if (strcmp(property, "Capability") == 0) {
		text = vbmqd_bus_domain_capability(d);
	} else if (strcmp(property, "Error") == 0) {
		text = d->error.code ? d->error.text : d->metadata.code ? d->metadata.text : "";
	} else {
		text = cpus = vbmq_cpulist_format(&d->dedicated);
	}
	return text ? sd_bus_message_append(reply, "s", text) : -ENOMEM;
}

static int get_managed(sd_bus *bus, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct vbmqd_domain *d = userdata;

	return sd_bus_message_append(reply, "b", d->managed);
}

static int get_priority(sd_bus *bus, const char *path, const char *interface, const char *property,
			sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct vbmqd_domain *d = userdata;

	return sd_bus_message_append(reply, "i", d->priority);
}

static const sd_bus_vtable domain_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Uuid", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Capability", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Managed", "b", get_managed, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Priority", "i", get_priority, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("DedicatedCpus", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Error", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_VTABLE_END,
};

static int find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
		sd_bus_error *error)
{
	struct vbmqd_domain *d = from_path(userdata, path);

	*ret_found = d;
	return d != NULL;
}

static int enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error)
{
	const struct vbmqd_manager *m = userdata;
	char **nodes = calloc(m->domains.n + 1, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	for (size_t i = 0; i < m->domains.n; i++) {
		char path[PATH_MAX_BYTES];

		to_path(m->domains.items[i]->uuid, path);
		nodes[i] = strdup(path);
		if (!nodes[i]) {
			while (i--)
				free(nodes[i]);
			free(nodes);
			return -ENOMEM;
		}
	}
	*ret_nodes = nodes;
	return 1;
}

int vbmqd_bus_domain_export(sd_bus *bus, struct vbmqd_manager *m)
{
	int r;

	r = sd_bus_add_fallback_vtable(bus, NULL, PREFIX, INTERFACE, domain_vtable, find, m);
	return r < 0 ? r : sd_bus_add_node_enumerator(bus, NULL, PREFIX, enumerate, m);
}

void vbmqd_bus_domain_changed(sd_bus *bus, const struct vbmqd_domain *d)
{
	char path[PATH_MAX_BYTES];

	to_path(d->uuid, path);
	sd_bus_emit_properties_changed(bus, path, INTERFACE, "Name", "State", "Capability", "Managed", "Priority",
				       "DedicatedCpus", "Error", NULL);
}
