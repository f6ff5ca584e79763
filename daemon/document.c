/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/document.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/err.h"

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int vbmqd_document(const char *text, struct vbmq_err *err)
{
	int fd = memfd_create("vbmq-document", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = fd < 0 ? -errno : write_all(fd, text, strlen(text));

	if (r == 0 && (lseek(fd, 0, SEEK_SET) < 0 ||
		       fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0))
		r = -errno;
	if (r == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return vbmq_err_set(err, r, "cannot hand over the document: %s", strerror(-r));
}
