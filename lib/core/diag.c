/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "core/diag.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "util/array.h"
#include "util/strbuf.h"

#define DIAGS_MAX 100000u

const char *const vbmq_severity_words[] = { "info", "warning", "error", NULL };

static const char *const codes[] = {
	VBMQ_DIAG_NOT_MANAGED,	VBMQ_DIAG_FEWER_IOTHREADS, VBMQ_DIAG_SHARED_CORE,  VBMQ_DIAG_SHARED_SET,
	VBMQ_DIAG_VCPUS_SHARED, VBMQ_DIAG_NEEDS_RESTART,   VBMQ_DIAG_NO_MAPPING,   VBMQ_DIAG_UNUSED_IOTHREAD,
	VBMQ_DIAG_FOREIGN_PIN,	VBMQ_DIAG_PIN_CONFLICT,	   VBMQ_DIAG_REMOTE_NODE,  VBMQ_DIAG_REMOTE_L3,
	VBMQ_DIAG_DRIFT,	VBMQ_DIAG_UNRESPONSIVE,	   VBMQ_DIAG_UNKNOWN_DISK, VBMQ_DIAG_POLL_DEGRADED,
	VBMQ_DIAG_POLL_OFF,	VBMQ_DIAG_NO_IOEVENTFD,	   VBMQ_DIAG_NO_DISKS,	   VBMQ_DIAG_BAD_METADATA,
	VBMQ_DIAG_NOVA,		VBMQ_DIAG_SLICES,	   VBMQ_DIAG_IRQBALANCE,   VBMQ_DIAG_INTERRUPTS,
};

const char *vbmq_diag_code(const char *code)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i] == code)
			return code; /* mostly it comes from here */
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(codes[i], code) == 0)
			return codes[i];
	return NULL;
}

int vbmq_diag_add(struct vbmq_diags *d, const char *code, enum vbmq_severity severity, const char *subject,
		  const char *text_fmt, ...)
{
	struct vbmq_strbuf text = VBMQ_STRBUF_INIT;
	struct vbmq_diag *diag;
	char *subject_copy, *text_copy;
	va_list ap;

	va_start(ap, text_fmt);
	vbmq_strbuf_vprintf(&text, text_fmt, ap);
	va_end(ap);
	text_copy = vbmq_strbuf_steal(&text);
	subject_copy = strdup(subject);
	diag = text_copy && subject_copy ? vbmq_array_add(d->items, d->n, DIAGS_MAX) : NULL;
	if (!diag) {
		free(text_copy);
		free(subject_copy);
		return -ENOMEM;
	}
	diag->code = vbmq_diag_code(code);
	diag->severity = severity;
	diag->subject = subject_copy;
	diag->text = text_copy;
	return 0;
}

void vbmq_diags_done(struct vbmq_diags *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->items[i].subject);
		free(d->items[i].text);
	}
	free(d->items);
	*d = (struct vbmq_diags){ .items = NULL };
}
