# SPDX-License-Identifier: LGPL-2.1-or-later
"""No pin for any I/O thread: Proxmox VE, OpenNebula, CloudStack, and libvirt when nothing is said. One thread a disk."""
from model import IoThread, Placed, disk_queues
from rules.base import GivenVcpus


class Floating(GivenVcpus):
    name = "floating (Proxmox VE, OpenNebula, CloudStack)"
    sources = (
        "https://github.com/proxmox/pve-docs/blob/master/qm.adoc (IO Thread: one per storage controller; affinity: not for I/O)",
        "https://github.com/OpenNebula/one/blob/master/src/vmm/LibVirtDriverKVM.cc (IOTHREADS; no iothreadpin is written)",
        "https://github.com/apache/cloudstack/pull/6909 (iothreads, one by default)",
    )

    def place(self, guest, home):
        threads = [IoThread(None, q) for q in disk_queues(guest, len(guest.disks))]
        return Placed(guest, self.vcpus(guest, home), None, threads, {home})
