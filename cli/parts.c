/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What daemon/parts.c does, for apply --direct and restore --direct: a connection a step, for there are six at most. */

#include "parts.h"

#include <stdio.h>
#include <string.h>

#include "bus_client.h"
#include "host/irqbalance.h"
#include "host/parts.h"
#include "util/cleanup.h"
#include "util/err.h"

#define PATIENCE_USEC UINT64_C(5000000)

static int set_unit(const struct cli *cli, uint32_t part, const struct vbmq_cpuset *cpus, struct vbmq_err *err)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	uint8_t mask[VBMQ_PARTS_MASK_MAX];
	size_t n = vbmq_parts_mask(cpus, mask);
	int r = cli_bus_open(cli, &bus);

	if (r >= 0)
		r = sd_bus_message_new_method_call(bus, &m, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
						   "org.freedesktop.systemd1.Manager", "SetUnitProperties");
	if (r >= 0)
		r = sd_bus_message_append(m, "sb", vbmq_part_words[part], 1);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sv)");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'r', "sv");
	if (r >= 0)
		r = sd_bus_message_append(m, "s", "AllowedCPUs");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', "ay");
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', mask, n);
	for (unsigned i = 0; i < 3 && r >= 0; i++)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_call(bus, m, PATIENCE_USEC, &error, NULL);
	if (r < 0)
		vbmq_err_set(err, r, "systemd does not set its AllowedCPUs=: %s",
			     error.message ? error.message : strerror(-r));
	sd_bus_error_free(&error);
	return r < 0 ? r : 0;
}

static int limit_unit(const struct cli *cli, const struct vbmq_step *step, struct vbmq_err *err)
{
	struct vbmq_cpuset all;
	int r = 0;

	if (vbmq_cpuset_is_empty(&step->cpus)) {
		r = vbmq_parts_possible(NULL, &all, err);
		if (r >= 0)
			r = set_unit(cli, step->id, &all, err);
	}
	return r < 0 ? r : set_unit(cli, step->id, &step->cpus, err);
}

static int execute(void *ctx, const struct vbmq_step *step, struct vbmq_err *err)
{
	if (step->op == VBMQ_STEP_LIMIT_SLICE)
		return limit_unit(ctx, step, err);
	return vbmq_irqbalance_ban(NULL, &step->cpus, err);
}

static int observe(void *ctx, const struct vbmq_step *step, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	if (step->op == VBMQ_STEP_LIMIT_SLICE)
		return vbmq_parts_read_unit(NULL, step->id, ret, err);
	*ret = step->cpus;
	return 0;
}

struct vbmq_part_actuator cli_parts_actuator(struct cli *cli)
{
	static const struct vbmq_part_actuator_ops ops = { execute, observe };

	return (struct vbmq_part_actuator){ &ops, cli };
}
