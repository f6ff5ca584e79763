# SPDX-License-Identifier: LGPL-2.1-or-later
"""The L3 domain with the least on it, as cocoon does for Cloud Hypervisor: the nearest there is to what VBMq does.

One I/O thread a queue. Each launch counts what every CPU is held by already (queue pins, or the cpuset of a guest without pins),
takes the domain with the least of it a CPU, and gives every queue a hardware thread there: distinct cores first, then siblings, then
round. Which core of a domain comes first is not said; here the least held. Guests of one vCPU are not pinned. Guests that are
dedicated ask for `--cpuset-cpus auto`: their vCPUs get that domain as well (not alone), if it is large enough for them.
"""
from model import IoThread, Placed, bits, count, members
from rules.base import Rule


class LeastLoadedL3(Rule):
    name = "least-loaded L3 (cocoon)"
    sources = (
        "https://github.com/cocoonstack/cocoon/blob/master/docs/vm.md (CPU Isolation)",
        "https://github.com/cocoonstack/cocoon/pull/235",
    )

    def __init__(self, host, fleet):
        super().__init__(host, fleet)
        self.held = {cpu: 0 for cpu in members(host.usable)}

    def shared(self):
        return self.host.usable

    def _load(self, l3):
        cpus = members(self.host.l3s[l3])
        return sum(self.held[c] for c in cpus) / len(cpus)

    def _order(self, l3):
        """Hardware threads of a domain: the first of each core, then the second ones."""
        cores = [members(c.cpus) for c in self.host.cores if c.l3 == l3]
        cores.sort(key=lambda cpus: (sum(self.held[c] for c in cpus), cpus))
        return [cpus[i] for i in range(max(map(len, cores))) for cpus in cores if i < len(cpus)]

    def place(self, guest, home):
        l3 = min(sorted(self.host.l3s), key=self._load)
        domain = self.host.l3s[l3]
        auto = guest.dedicated and guest.vcpus <= count(domain)
        place = domain if auto else None
        memory = self.host.nodes_in(domain) if auto else {home}
        if guest.vcpus == 1:
            for c in members(place or 0):
                self.held[c] += 1
            return Placed(guest, [place], place, [IoThread(place, [q]) for q in guest.queues], memory)
        order = self._order(l3)
        threads = []
        for i, queue in enumerate(guest.queues):
            cpu = order[i % len(order)]
            self.held[cpu] += 1
            threads.append(IoThread(bits([cpu]), [queue]))
        return Placed(guest, [place] * guest.vcpus, place, threads, memory)
