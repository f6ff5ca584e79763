/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "reading.h"

/*
 * The exact part as an integer program. Grants: how many cores each class of priority gets, round by round. Places: numa, locality
 * and moves of the highest class, then of the next one, and so on, then fragmentation, of all. NULL if the placement has the least
 * of everything, or a text that says what it has not (static).
 */
const char *exact_grants(const struct reading *r);
const char *exact_places(const struct reading *r);
