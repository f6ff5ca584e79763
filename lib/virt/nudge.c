/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A call that libvirt's client library forgets to send, and how it is reminded.
 *
 * Calls of several threads share one socket. The first thread to call sends and receives for all (it "has the buck") until
 * its own reply is there; others queue their call and interrupt it. In 9.0 the interruption is a g_main_loop_quit(), which
 * does nothing unless the loop is running: between two replies it is not, and one that comes then is lost. The queued call is
 * sent when that thread wakes for another reason, so mostly nobody notices. But when the thread with the buck waits for a
 * guest that hangs, there is no other reason: libvirtd answers everybody, and is not asked. Seen with 9.0 as a state or a list
 * that took the whole time limit while a guest hung; it is likely rather than rare, because a thread that makes a series of
 * calls is woken with one reply and interrupts with the next call at the very moment the other one goes back to its loop.
 *
 * The only thing from outside that interrupts once more is one more call. So a call that is not done after a while, with
 * others under way on the connection, has the libvirtd asked for its version: nothing is quicker there (it takes no lock and
 * is served by the workers that hung calls cannot occupy). That nudge can be lost, too, and is repeated. Nobody waits for it.
 */

#include "virt/private.h"

#include <stdlib.h>

#define NUDGES_MAX 4u /* at a time */

bool vbmq_nudge_needed(void)
{
	unsigned long version;

	return virGetVersion(&version, NULL, NULL) == 0 && version < VBMQ_LIBVIRT_CLIENT_WAKES;
}

static void *nudge_main(void *data)
{
	struct vbmq_virt *v = data;
	unsigned long version;

	(void)virConnectGetLibVersion(v->conn, &version);
	pthread_mutex_lock(&v->lock);
	v->n_nudges--;
	pthread_mutex_unlock(&v->lock);
	vbmq_virt_unref(v);
	return NULL;
}

void vbmq_nudge(struct vbmq_virt *v)
{
	if (v->n_calls < 2 || v->n_nudges >= NUDGES_MAX || v->dead)
		return;
	if (vbmq_call_thread(nudge_main, v) < 0) /* the next one, then */
		return;
	v->n_nudges++;
	v->refs++;
}
