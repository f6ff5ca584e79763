/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libvirt's own event loop (a poll(2) over handles and timeouts). It has no way to stop, and it sleeps without limit
 * when nothing is due: that is what we want of an idle daemon, so no timer wakes it. An eventfd among its handles does,
 * from any thread. (The loop has such a handle inside for its own use: adding or updating handles from other threads
 * interrupts the poll by itself.)
 */

#include "virt/connection.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/err.h"
#include "virt/compat.h"
#include "virt/error.h"

static atomic_int wake_fd = -1;

static void on_wake(int watch, int fd, int events, void *data)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));
}

int vbmq_virt_loop_init(struct vbmq_err *err)
{
	int fd;

	if (atomic_load(&wake_fd) >= 0)
		return 0;
	vbmq_virt_error_silence();
	if (virInitialize() < 0)
		return vbmq_virt_error(err, NULL, "libvirt does not initialise");
	if (virEventRegisterDefaultImpl() < 0)
		return vbmq_virt_error(err, NULL, "libvirt's event loop does not initialise");
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return vbmq_err_set(err, -errno, "no eventfd to wake libvirt's event loop: %s", strerror(errno));
	if (virEventAddHandle(fd, VIR_EVENT_HANDLE_READABLE, on_wake, NULL, NULL) < 0) {
		close(fd);
		return vbmq_virt_error(err, NULL, "libvirt's event loop takes no handle");
	}
	atomic_store(&wake_fd, fd); /* lives as long as the process, as libvirt's loop does */
	return 0;
}

int vbmq_virt_loop_run(const bool *stop)
{
	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
		if (virEventRunDefaultImpl() < 0)
			return -EIO;
	}
	return 0;
}

void vbmq_virt_loop_wake(void)
{
	const uint64_t one = 1;
	int fd = atomic_load(&wake_fd);

	if (fd >= 0)
		(void)!write(fd, &one, sizeof(one));
}
