/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A sentence about what does not hold: in a static buffer, good until the next one. Single-threaded. */
const char *say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
