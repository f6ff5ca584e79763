/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* /org/vbmq1/domain/UUID (with '_' for '-'), interface org.vbmq1.Domain: properties only. */

#include <systemd/sd-bus.h>

struct vbmqd_domain;
struct vbmqd_manager;

int vbmqd_bus_domain_export(sd_bus *bus, struct vbmqd_manager *m);
void vbmqd_bus_domain_changed(sd_bus *bus, const struct vbmqd_domain *d);
const char *vbmqd_bus_domain_capability(const struct vbmqd_domain *d); /* "" while not read */
