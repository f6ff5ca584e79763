# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nova 2026.1: one I/O thread a VM, pinned like the emulator thread; hw:emulator_threads_policy says where that is.

Guests that are dedicated have hw:cpu_policy=dedicated: a CPU of cpu_dedicated_set each, all on one host node if they fit on one
(hw:numa_nodes is otherwise the least number that does), siblings together where there are any (hw:cpu_thread_policy=prefer), the
node that is used most first (packing_host_numa_cells_allocation_strategy). Others float on cpu_shared_set.

In its favour: the operator knows the fleet and makes the two sets as large as it needs; a core is reserved for the host, and the
host's own processes stay on it. That the I/O thread has the emulator's CPUs no page says; it was seen in nova/virt/libvirt/driver.py.
"""
from model import IoThread, Placed, Refused, bits, count, members
from rules.base import Rule


class Nova(Rule):
    sources = (
        "https://github.com/openstack/nova/blob/master/releasenotes/notes/iothread-for-vms-1ba1b8c4189dd5a3.yaml",
        "https://docs.openstack.org/nova/latest/admin/cpu-topologies.html (pinning, thread and emulator thread policies, the two sets)",
    )
    extra = 0  # CPUs of the dedicated set beyond the vCPUs

    def __init__(self, host, fleet):
        super().__init__(host, fleet)
        self.reserved = host.cores[0].cpus if len(host.cores) >= 4 else 0
        self.dedicated = self._dedicated_set()
        self.taken = 0

    def _cells(self, vcpus, room):
        """Sizes of the guest's NUMA cells: as few as fit into nodes of so many CPUs."""
        for n in range(1, vcpus + 1):
            if -(-vcpus // n) <= room:
                return [vcpus // n + (i < vcpus % n) for i in range(n)]
        return []

    def _dedicated_set(self):
        """Whole cores of each node, from the last, for an even share of the dedicated guests; an eighth of them all is left."""
        cores = {n: [c for c in self.host.node_cores(n) if not c.cpus & self.reserved] for n in sorted(self.host.nodes)}
        size_of = {n: sum(count(c.cpus) for c in some) for n, some in cores.items()}
        room = max(size_of.values())
        need = {n: 0 for n in cores}
        for g in self.fleet.guests + [self.fleet.newcomer]:
            if g.dedicated:
                for i, size in enumerate(self._cells(g.vcpus, room - self.extra)):
                    size += self.extra if i == 0 else 0
                    node = min(need, key=lambda n: (need[n] + size > size_of[n], need[n], n))
                    need[node] += size
        shareable = len(self.host.cores) - bool(self.reserved) - max(1, len(self.host.cores) // 8)
        out = 0
        for n, some in cores.items():
            for c in reversed(some):
                if need[n] <= 0 or shareable <= 0:
                    break
                out |= c.cpus
                need[n] -= count(c.cpus)
                shareable -= 1
        return out

    def shared(self):
        return self.host.usable & ~self.dedicated & ~self.reserved or self.host.usable

    def system(self):
        return self.reserved or self.shared()

    def _free(self, node):
        return self.host.nodes[node] & self.dedicated & ~self.taken

    def _take(self, node, n):
        """CPUs of a node, fullest free cores first."""
        free = self._free(node)
        cores = sorted((c for c in self.host.node_cores(node) if c.cpus & free),
                       key=lambda c: (-count(c.cpus & free), c.number))
        cpus = [cpu for c in cores for cpu in members(c.cpus & free)][:n]
        if len(cpus) < n:
            raise Refused
        self.taken |= bits(cpus)
        return cpus

    def place(self, guest, home):
        if not guest.dedicated:
            return Placed(guest, [None] * guest.vcpus, None, [IoThread(None, guest.queues)], {home})
        room = max(count(self.host.nodes[n] & self.dedicated) for n in self.host.nodes)
        before = self.taken
        try:
            cpus, nodes = [], []
            for size in self._cells(guest.vcpus, room - self.extra) or [guest.vcpus]:
                want = size + (self.extra if not nodes else 0)
                fit = [n for n in sorted(self.host.nodes) if n not in nodes and count(self._free(n)) >= want]
                if not fit:
                    raise Refused
                nodes.append(min(fit, key=lambda n: count(self._free(n))))
                cpus += self._take(nodes[-1], size)
            emulator = self.emulator(cpus, nodes[0])
        except Refused:
            self.taken = before
            raise
        return Placed(guest, [bits([c]) for c in cpus], emulator, [IoThread(emulator, guest.queues)], set(nodes))

    def emulator(self, cpus, node):
        raise NotImplementedError


class Unset(Nova):
    name = "Nova, emulator threads unset (default)"

    def emulator(self, cpus, node):
        return bits(cpus)


class Share(Nova):
    name = "Nova, emulator threads share"

    def emulator(self, cpus, node):
        return None


class Isolate(Nova):
    name = "Nova, emulator threads isolate"
    extra = 1

    def emulator(self, cpus, node):
        return bits(self._take(node, 1))
