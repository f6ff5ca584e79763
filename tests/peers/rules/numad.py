# SPDX-License-Identifier: LGPL-2.1-or-later
"""vcpu placement='auto': libvirt asks numad for nodes before the guest starts and binds the whole process, its memory too.

numad advises the fewest nodes with enough free CPUs, the emptiest first and then those near it. How much is free is here known by
the vCPUs bound so far (numad measures); nothing is pinned inside the nodes, so dedicated guests are no different from others.
"""
from model import Host, IoThread, Placed, count, spread_queues
from rules.base import Rule


class Numad(Rule):
    name = "numad (placement='auto')"
    sources = (
        "https://manpages.ubuntu.com/manpages/noble/man8/numad.8.html (-w, DESCRIPTION)",
        "https://libvirt.org/formatdomain.html#cpu-allocation (vcpu placement)",
        "https://mail-archive.com/libvir-list@redhat.com/msg52972.html (what libvirt asks numad for)",
    )

    def __init__(self, host, fleet):
        super().__init__(host, fleet)
        self.bound = {n: 0 for n in host.nodes}

    def shared(self):
        return self.host.usable

    def _free(self, node):
        return count(self.host.nodes[node]) - self.bound[node]

    def _advice(self, vcpus):
        first = max(sorted(self.host.nodes), key=self._free)
        nodes, free = [], 0
        for n in sorted(self.host.nodes, key=lambda n: (n != first, self.host.distance[first, n], -self._free(n), n)):
            if nodes and (free >= vcpus or self._free(n) <= 0):
                continue
            nodes.append(n)
            free += max(0, self._free(n))
        return nodes

    def place(self, guest, home):
        nodes = self._advice(guest.vcpus)
        for i in range(guest.vcpus):
            self.bound[nodes[i % len(nodes)]] += 1
        cpus = Host.union(self.host.nodes[n] for n in nodes)
        threads = [IoThread(cpus, q) for q in spread_queues(guest, guest.wanted_threads)]
        return Placed(guest, [cpus] * guest.vcpus, cpus, threads, set(nodes))
