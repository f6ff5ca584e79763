# SPDX-License-Identifier: LGPL-2.1-or-later
"""KubeVirt on a kubelet whose CPU manager has the static policy, three of its ways.

Guests that are dedicated have dedicatedCpuPlacement: their pod gets CPUs for itself, one a vCPU and those that the I/O policy adds:
whole nodes if it asks for so many, then whole free cores, then single CPUs; one node is filled before the next. Others are in
Burstable pods: everything floats on the shared pool, which is all CPUs that no pod has for itself.

In its favour: the host's own processes stay on the reserved core (by itself the kubelet keeps only pods off), and full-pcpus-only is
not on, so no guest is refused for asking for half a core. Topology manager policy: none (the default).
"""
from model import IoThread, Placed, Refused, bits, count, disk_queues, members, spread_queues
from rules.base import Rule


class KubeVirt(Rule):
    sources = (
        "https://github.com/kubevirt/user-guide/blob/main/docs/storage/disks_and_volumes.md (IOThreads)",
        "https://github.com/kubevirt/user-guide/blob/main/docs/compute/dedicated_cpu_resources.md",
        "https://kubernetes.io/docs/concepts/policy/node-resource-managers/ (static policy and its options)",
        "https://kubernetes.io/blog/2018/07/24/feature-highlight-cpu-manager/ (the order in which CPUs are taken)",
    )

    def __init__(self, host, fleet):
        super().__init__(host, fleet)
        self.reserved = host.cores[0].cpus if len(host.cores) >= 2 else 0
        self.given = 0

    def shared(self):
        return self.host.usable & ~self.given

    def system(self):
        return self.reserved or self.shared()

    def _take(self, n):
        free, got = self.host.usable & ~self.reserved & ~self.given, []
        if count(free) < n:
            raise Refused
        begun = set()

        def order(nodes):
            return sorted(nodes, key=lambda node: (node not in begun, count(self.host.nodes[node] & free), node))

        def take(cpus, node):
            nonlocal free
            got.extend(members(cpus))
            free &= ~cpus
            begun.add(node)

        for node in order(self.host.nodes):
            whole = self.host.nodes[node]
            if whole & ~free == 0 and count(whole) <= n - len(got):
                take(whole, node)
        for node in order(self.host.nodes):
            for core in self.host.node_cores(node):
                if core.cpus & ~free == 0 and count(core.cpus) <= n - len(got):
                    take(core.cpus, node)
        for node in order(self.host.nodes):
            for core in sorted(self.host.node_cores(node), key=lambda c: (count(c.cpus & free), c.number)):
                for cpu in members(core.cpus & free):
                    if len(got) < n:
                        take(bits([cpu]), node)
        self.given |= bits(got)
        return sorted(got, key=lambda cpu: (self.host.core_of[cpu].number, cpu))

    def pool(self, guest):
        """The queues of each I/O thread."""
        return disk_queues(guest, min(len(guest.disks), 2 * guest.vcpus))

    def place(self, guest, home):
        pool = self.pool(guest)
        if not guest.dedicated:
            return Placed(guest, [None] * guest.vcpus, None, [IoThread(None, q) for q in pool], {home})
        cpus = self._take(guest.vcpus + self.extras(guest))
        vcpus, rest = cpus[:guest.vcpus], cpus[guest.vcpus:]
        emulator, places = self.pins(vcpus, rest, len(pool))
        threads = [IoThread(bits(p), q) for p, q in zip(places, pool)]
        return Placed(guest, [bits([c]) for c in vcpus], bits(emulator), threads, self.host.nodes_in(bits(cpus)))

    def extras(self, guest):
        raise NotImplementedError

    def pins(self, vcpus, rest, threads):
        """CPUs of the emulator thread and of each I/O thread."""
        raise NotImplementedError


class Pool(KubeVirt):
    """ioThreadsPolicy supplementalPool: a CPU more for each I/O thread, pinned one to one."""

    name = "KubeVirt, supplementalPool"
    sources = KubeVirt.sources + (
        "https://developers.redhat.com/blog/2025/06/23/feature-introduction-multiple-iothreads-openshift-virtualization",
        "https://github.com/kubevirt/kubevirt/pull/14569 (a CPU for each of its threads)",
    )

    def pool(self, guest):
        return spread_queues(guest, guest.wanted_threads)

    def extras(self, guest):
        return guest.wanted_threads

    def pins(self, vcpus, rest, threads):
        return vcpus, [[c] for c in rest]


class Isolate(KubeVirt):
    """auto with isolateEmulatorThread: a CPU more, for the emulator thread and all I/O threads."""

    name = "KubeVirt, auto + isolateEmulatorThread"

    def extras(self, guest):
        return 1

    def pins(self, vcpus, rest, threads):
        return rest, [rest] * threads


class Auto(KubeVirt):
    """auto: an I/O thread a disk, spread over the CPUs of the vCPUs."""

    name = "KubeVirt, auto"

    def extras(self, guest):
        return 0

    def pins(self, vcpus, rest, threads):
        if threads >= len(vcpus):
            return vcpus, [[vcpus[i % len(vcpus)]] for i in range(threads)]
        each = len(vcpus) // threads
        return vcpus, [vcpus[i * each:(i + 1) * each] for i in range(threads)]
