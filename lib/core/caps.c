/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/caps.h"

#include <stddef.h>

const char *const vbmq_capability_words[] = { "pin-poll", "cold-map", "live-map", NULL };
const char *const vbmq_cap_words[] = {
	"pin", "polling", "add-iothread", "cold-map", "live-map", "poll-mode", "placement", NULL,
};

bool vbmq_caps_has(struct vbmq_caps caps, enum vbmq_cap cap)
{
	return caps.bits & (uint32_t)cap;
}

enum vbmq_capability vbmq_caps_level(struct vbmq_caps caps)
{
	if (vbmq_caps_has(caps, VBMQ_CAP_LIVE_MAP))
		return VBMQ_LIVE_MAP;
	if (vbmq_caps_has(caps, VBMQ_CAP_COLD_MAP))
		return VBMQ_COLD_MAP;
	return VBMQ_PIN_POLL;
}
