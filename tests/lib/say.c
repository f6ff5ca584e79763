/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "say.h"

#include <stdarg.h>
#include <stdio.h>

const char *say(const char *fmt, ...)
{
	static char said[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
	return said;
}
