/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * SetUnitProperties with runtime=true: systemd writes a drop-in below /run/systemd/system.control, so what is set outlives
 * a daemon-reload but not the boot, and has set the cgroup when it answers.
 *
 * An empty mask takes the limit out of systemd's books but not out of the cgroup: the kernel keeps the last one. So a limit is
 * widened to every CPU this machine can have before it is taken away (vbmq_parts_possible()), and one that leaves every
 * CPU reads as none (vbmq_parts_read_unit()). Threads that were pinned inside stay so: pins.c.
 */
#include "bus/parts.h"

#include <errno.h>
#include <string.h>

#include "bus/open.h"
#include "bus/pins.h"
#include "host/irqbalance.h"
#include "host/irqs.h"
#include "host/parts.h"
#include "util/cleanup.h"
#include "util/err.h"

#define PATIENCE_USEC UINT64_C(5000000)

static int append_mask(sd_bus_message *m, const struct vbmq_cpuset *cpus)
{
	uint8_t mask[VBMQ_PARTS_MASK_MAX];
	size_t n = vbmq_parts_mask(cpus, mask);
	int r;

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
	return r;
}

int vbmq_bus_parts_call_new(struct vbmq_bus_parts *p, const char *method, sd_bus_message **ret)
{
	int r = p->bus ? 0 : vbmq_bus_open(p->where, &p->bus);

	if (r >= 0)
		r = sd_bus_message_new_method_call(p->bus, ret, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
						   "org.freedesktop.systemd1.Manager", method);
	return r < 0 ? r : 0;
}

static int set_unit(struct vbmq_bus_parts *p, uint32_t part, const struct vbmq_cpuset *cpus, struct vbmq_err *err)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = vbmq_bus_parts_call_new(p, "SetUnitProperties", &m);

	if (r >= 0)
		r = sd_bus_message_append(m, "sb", vbmq_part_words[part], 1);
	if (r >= 0)
		r = append_mask(m, cpus);
	if (r >= 0)
		r = sd_bus_call(p->bus, m, PATIENCE_USEC, &error, NULL);
	if (r < 0) {
		vbmq_err_set(err, r, "systemd does not set its AllowedCPUs=: %s",
			     error.message ? error.message : strerror(-r));
		vbmq_bus_parts_close(p); /* it may be broken: the next step tries a new one */
	}
	sd_bus_error_free(&error);
	return r < 0 ? r : 0;
}

static int change_limit(struct vbmq_bus_parts *p, const struct vbmq_step *step, struct vbmq_err *err)
{
	struct vbmq_cpuset all;
	int r = 0;

	if (vbmq_cpuset_is_empty(step->cpus)) {
		r = vbmq_parts_possible(p->sysroot, &all, err);
		if (r >= 0)
			r = set_unit(p, step->id, &all, err);
	}
	return r < 0 ? r : set_unit(p, step->id, step->cpus, err);
}

static int limit_unit(struct vbmq_bus_parts *p, const struct vbmq_step *step, struct vbmq_err *err)
{
	struct vbmq_bus_pins pins;
	int r = vbmq_bus_pins_take(p->sysroot, vbmq_part_words[step->id], &pins, err);

	if (r < 0)
		return r;
	r = change_limit(p, step, err);
	/* After a failure the limit may have changed or not: then what Linux lets them have of their pins. */
	vbmq_bus_pins_give_back(p->sysroot, &pins, r < 0 ? &VBMQ_CPUSET_EMPTY : step->cpus);
	vbmq_bus_pins_done(&pins);
	return r;
}

static int execute(void *ctx, const struct vbmq_step *step, struct vbmq_err *err)
{
	struct vbmq_bus_parts *p = ctx;

	if (step->op == VBMQ_STEP_LIMIT_SLICE)
		return limit_unit(p, step, err);
	if (step->op == VBMQ_STEP_MOVE_IRQ)
		return vbmq_irqs_set(p->sysroot, step->id, step->target, step->cpus, step->exclusive, err);
	return vbmq_irqbalance_ban(p->sysroot, step->cpus, err);
}

static int observe(void *ctx, const struct vbmq_step *step, struct vbmq_cpuset *ret, struct vbmq_err *err)
{
	const struct vbmq_bus_parts *p = ctx;

	if (step->op == VBMQ_STEP_LIMIT_SLICE)
		return vbmq_parts_read_unit(p->sysroot, step->id, ret, err);
	if (step->op == VBMQ_STEP_MOVE_IRQ)
		return vbmq_irqs_get(p->sysroot, step->id, step->target, ret, err);
	*ret = *step->cpus;
	return 0;
}

struct vbmq_part_actuator vbmq_bus_parts_actuator(struct vbmq_bus_parts *p)
{
	static const struct vbmq_part_actuator_ops ops = { execute, observe };

	return (struct vbmq_part_actuator){ &ops, p };
}

void vbmq_bus_parts_close(struct vbmq_bus_parts *p)
{
	p->bus = sd_bus_flush_close_unref(p->bus);
}
