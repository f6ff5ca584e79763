/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The only place that knows which libvirt is which. The code is written for the API of libvirt 9.0 (stock Debian 12);
 * whatever is newer is guarded here, by LIBVIR_VERSION_NUMBER for what the compiler sees and by the daemon's version for
 * what it understands.
 */

#include <libvirt/libvirt.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

#if LIBVIR_VERSION_NUMBER < 9000000
#error "libvirt 9.0 or newer is needed"
#endif

/* From this version of the daemon on, <driver><iothreads> of a disk is understood. */
#define VBMQ_LIBVIRT_DISK_IOTHREADS 10000000UL

/* Calls that interrupt another thread's wait are lost by the client library of 9.0 (source and runs), not by that of 11.3 (runs);
 * what is between is taken for the former, which costs little: see nudge.c. */
#define VBMQ_LIBVIRT_CLIENT_WAKES 11003000UL
