/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "util/cleanup.h"

#define TEXT_MAX 2048
#define FIELD_MAX (TEXT_MAX + 300)

/* Set once before the first thread is made; the level may change later (reload, LogControl1). */
static bool to_journal;
static bool with_prefix;
static atomic_int max_level = LOG_INFO;

/* systemd sets JOURNAL_STREAM to device:inode of the stream; it is inherited, so it counts only if it is our stderr. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char is[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(is, sizeof(is), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	return strcmp(is, stream) == 0;
}

void vbmqd_log_open(void)
{
	to_journal = stderr_is_journal();
	with_prefix = !isatty(STDERR_FILENO);
}

void vbmqd_log_set_level(int max_priority)
{
	atomic_store(&max_level, max_priority);
}

int vbmqd_log_level(void)
{
	return atomic_load(&max_level);
}

static void send_stderr(int priority, const struct vbmqd_about *about, const char *text)
{
	char line[FIELD_MAX];
	const char *who = about && about->domain ? about->domain : NULL;
	int n;

	if (with_prefix)
		n = snprintf(line, sizeof(line), "<%d>%s%s%s\n", priority, who ? who : "", who ? ": " : "", text);
	else
		n = snprintf(line, sizeof(line), "vbmqd: %s%s%s\n", who ? who : "", who ? ": " : "", text);
	if (n > (int)sizeof(line) - 1)
		n = sizeof(line) - 1;
	/* One write a line, so that lines of several threads do not mix. There is nowhere to report a failure to. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

static void send_journal(int priority, const struct vbmqd_about *about, const char *text)
{
	char fields[6][FIELD_MAX];
	struct iovec iov[6];
	int n = 0;
	const struct {
		const char *name;
		const char *value;
	} extra[] = {
		{ "VBMQ_DOMAIN", about ? about->domain : NULL },
		{ "VBMQ_DOMAIN_UUID", about ? about->uuid : NULL },
		{ "VBMQ_PLAN_ID", about ? about->plan_id : NULL },
		{ "MESSAGE_ID", about ? about->message_id : NULL },
	};

	if (about && about->domain)
		snprintf(fields[n++], FIELD_MAX, "MESSAGE=%.255s: %s", about->domain, text);
	else
		snprintf(fields[n++], FIELD_MAX, "MESSAGE=%s", text);
	snprintf(fields[n++], FIELD_MAX, "PRIORITY=%d", priority);
	for (size_t i = 0; i < VBMQ_ELEMENTSOF(extra); i++) {
		if (extra[i].value)
			snprintf(fields[n++], FIELD_MAX, "%s=%s", extra[i].name, extra[i].value);
	}
	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){ .iov_base = fields[i], .iov_len = strlen(fields[i]) };
	if (sd_journal_sendv(iov, n) < 0)
		send_stderr(priority, about, text);
}

void vbmqd_log_about(int priority, const struct vbmqd_about *about, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	if (priority > atomic_load(&max_level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (to_journal)
		send_journal(priority, about, text);
	else
		send_stderr(priority, about, text);
}
