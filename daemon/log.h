/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The daemon's journal. Structured (sd_journal_send, with VBMQ_DOMAIN, VBMQ_DOMAIN_UUID, VBMQ_PLAN_ID and, for the events
 * worth a catalog entry, MESSAGE_ID) when standard error is connected to the journal, else lines on standard error, with a
 * "<N>" priority prefix unless that is a terminal. Safe from every thread.
 */

#include <stdbool.h>
#include <syslog.h>

/* What a message is about; every member may be NULL. */
struct vbmqd_about {
	const char *domain;
	const char *uuid;
	const char *plan_id;
	const char *message_id; /* one of VBMQD_MSG_* */
};

/* Notable events, for `journalctl MESSAGE_ID=`; documented in vbmqd(8). */
#define VBMQD_MSG_APPLIED "6f0f3a1c4b1b4f0c9a3d5b7f0c2e8d11"
#define VBMQD_MSG_APPLY_FAILED "9c1d2b7e5a8f4d63b0e94c7a1f3d6e22"
#define VBMQD_MSG_DRIFT "2d7b8e1f6c5a4b39a8d0e3f4c1b29a33"
#define VBMQD_MSG_UNRESPONSIVE "b4e6c8d2f1a34e5796c0d8b7a5f3e144"
#define VBMQD_MSG_CONNECTED "5a3c9e7d1b2f4866a7d4c0e9b8f61255"
#define VBMQD_MSG_DISCONNECTED "c8f2a6b4d0e14977b3c5e1d9f7a08366"
#define VBMQD_MSG_RESTORED "e1d4b7a0c3f64a88c2f5d8e6b9a19477"
#define VBMQD_MSG_BAD_CONFIG "7b0e5d9c2a8f4b99d1c6e3a7f4b2a588"

void vbmqd_log_open(void);
void vbmqd_log_set_level(int max_priority); /* LOG_ERR..LOG_DEBUG; more detailed messages are dropped */
int vbmqd_log_level(void);

void vbmqd_log_about(int priority, const struct vbmqd_about *about, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#define vbmqd_log(priority, ...) vbmqd_log_about((priority), NULL, __VA_ARGS__)
