/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "apply/actuator.h"
#include "cli.h"

/* The hands for the host's own parts without vbmqd: systemd over --bus, irqbalance over its socket. cli is borrowed. */
struct vbmq_part_actuator cli_parts_actuator(struct cli *cli);
