/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cli.h"
#include "source.h"

struct json_t;

/* Domains for people and as JSON; the source must be planned. */
int cli_print_domains(const struct cli *cli, const struct cli_source *s);
int cli_print_domain(const struct cli *cli, const struct cli_source *s, const struct vbmq_domain *d);
struct json_t *cli_domains_json(const struct cli_source *s); /* array; NULL: no memory */
struct json_t *cli_domain_json(const struct cli_source *s, const struct vbmq_domain *d); /* "vbmq-show/1" */
