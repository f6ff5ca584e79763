# SPDX-License-Identifier: LGPL-2.1-or-later
"""oVirt's High Performance VM: one I/O thread, which runs with the emulator thread on the first two CPUs of a node.

That node is the one to which most of the VM's vCPUs are pinned. The pins are made by hand and leave these two CPUs out, as the page
asks for. Guests that are not dedicated are of type Server: one I/O thread, nothing pinned.
"""
from model import IoThread, Placed, bits, count, members
from rules.base import GivenVcpus


def first_two(host, node):
    return bits(members(host.nodes[node])[:2])


class HighPerformance(GivenVcpus):
    name = "oVirt, High Performance VM"
    sources = (
        "https://github.com/oVirt/ovirt-site/blob/main/source/develop/release-management/features/virt/high-performance-vm.md"
        " (Set the IO and Emulator threads pinning topology)",
    )

    @staticmethod
    def keep(host, node):
        return first_two(host, node) if count(host.nodes[node]) > 2 else 0

    def place(self, guest, home):
        vcpus = self.vcpus(guest, home)
        if vcpus[0] is None:
            return Placed(guest, vcpus, None, [IoThread(None, guest.queues)], {home})
        node = max(sorted(self.host.nodes), key=lambda n: sum(bool(v & self.host.nodes[n]) for v in vcpus))
        both = first_two(self.host, node)
        return Placed(guest, vcpus, both, [IoThread(both, guest.queues)], {home})
