/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks over lstopo XML before hwloc gets it. Private to lib/host. */

#include <stddef.h>

struct vbmq_err;

/*
 * 0, or -EINVAL / -ERANGE with the cause and, where there is one, the line: not XML, another document, objects nested
 * deeper than any machine, numbers above our limits. What passes is not yet valid: hwloc judges that. xml need not be
 * NUL-terminated. err is not prefixed with a name.
 */
int vbmq_topology_xml_check(const char *xml, size_t len, struct vbmq_err *err);
