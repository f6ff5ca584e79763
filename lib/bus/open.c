/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/open.h"

#include <string.h>

#include "util/cleanup.h"

int vbmq_bus_open(const char *where, sd_bus **ret)
{
	_cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
	int r;

	if (strcmp(where, "system") == 0) {
		r = sd_bus_open_system(&bus);
	} else if (strcmp(where, "session") == 0) {
		r = sd_bus_open_user(&bus);
	} else {
		r = sd_bus_new(&bus);
		if (r >= 0)
			r = sd_bus_set_address(bus, where);
		if (r >= 0)
			r = sd_bus_set_bus_client(bus, 1);
		if (r >= 0)
			r = sd_bus_start(bus);
	}
	if (r < 0)
		return r;
	*ret = VBMQ_STEAL(bus);
	return 0;
}
