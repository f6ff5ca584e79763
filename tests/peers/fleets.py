# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hosts, the fleets of guests on them, and what their operator decided: where memory lies, and which vCPUs he pinned."""
import functools
import json
import os
import pathlib
import subprocess

from model import Disk, Guest, Host, count, members

SYNTHETIC = {
    "2 CPUs": "node:1 l3:1 core:2 pu:1",
    "8 CPUs": "node:1 l3:1 core:4 pu:2",
    "16 CPUs": "node:2 l3:1 core:4 pu:2",
    "64 CPUs, 8 L3": "node:2 l3:4 core:4 pu:2",
    "96 CPUs, no SMT": "node:4 l3:1 core:24 pu:1",
    "128 CPUs, 2 L3": "node:2 l3:1 core:32 pu:2",
    "256 CPUs, 32 L3": "node:8 l3:4 core:4 pu:2",
    "512 CPUs, 32 L3": "node:2 l3:16 core:8 pu:2",
}
FEW = ("8 CPUs", "16 CPUs")  # what a quick run looks at


def read_host(name, argument):
    done = subprocess.run([os.environ["VBMQCTL"], "capture", "--host", argument, "--quiet"],
                          capture_output=True, text=True, check=True)
    return Host(name, json.loads(done.stdout)["host"])


def synthetic_hosts(names=None):
    return [read_host(n, "synthetic:" + d) for n, d in SYNTHETIC.items() if names is None or n in names]


def real_hosts(shared):
    """Those of the folder of real topologies; none if it is absent."""
    folder = pathlib.Path(shared) / "hosts"
    return [read_host(p.stem, str(p)) for p in sorted(folder.glob("*.xml"))]


class Fleet:
    """Guests in the order in which they arrive, and one more that arrives later."""

    def __init__(self, name, guests, newcomer):
        self.name = name
        self.guests = guests
        self.newcomer = newcomer


def _devices(host):
    nodes = sorted(host.nodes)
    return [nodes[0], nodes[len(nodes) // 2]]


def _guest(host, name, number, vcpus, disks, dedicated):
    """A disk has as many queues as the guest has vCPUs, as QEMU has it by default; disks lie on two devices in turn."""
    devices = _devices(host)
    return Guest(name, vcpus, tuple(Disk(vcpus, devices[(number + d) % 2]) for d in range(disks)), dedicated)


def fleets(host):
    cpus = count(host.usable)
    make = functools.partial(_guest, host)

    size = max(1, min(32, cpus // 8))
    big = [make(f"big{i}", i, size, 1, True) for i in range(max(1, cpus // 2 // size))]
    small = [make(f"small{i}", i, min(2, cpus), 1, False) for i in range(max(1, cpus // 8))]
    mixed = []
    for i in range(max(1, cpus // 32)):
        mixed.append(make(f"db{i}", i, max(1, min(8, cpus // 4)), 2, True))
        mixed += [make(f"web{i}-{k}", i + k, min(4, cpus), 1, False) for k in range(2 if cpus >= 32 else 1)]
    over = []
    for i in range(max(1, cpus // 64)):
        over.append(make(f"db{i}", i, max(1, min(4, cpus // 4)), 1, True))
        over += [make(f"web{i}-{k}", i + k, min(4, cpus), 2, False) for k in range(max(2, 3 * min(cpus, 64) // 8))]
    late = make("late", 0, max(1, min(4, cpus // 8)), 1, True)
    late_floating = make("late", 0, min(4, cpus), 1, False)
    return [Fleet("few big", big, late), Fleet("many small", small, late_floating), Fleet("mixed", mixed, late),
            Fleet("over-committed", over, late_floating)]


class Operator:
    """Decides where memory lies and pins the vCPUs of dedicated guests, for all rules that do not do that themselves.

    A guest's home is the node of its first disk's device while a quarter of that stays free, else the node with the most room. Dedicated vCPUs
    are pinned one to a CPU, whole cores after each other, in the home node and then in the nearest ones. keep(host, node) gives
    the CPUs of a node that are not used for it: by default its first core, where there are four.
    """

    def __init__(self, host, keep=None):
        self.host = host
        self.load = {n: 0 for n in host.nodes}
        self.pinned = 0
        self.kept = Host.union((keep or self.first_core)(host, n) for n in host.nodes)

    @staticmethod
    def first_core(host, node):
        cores = host.node_cores(node)
        return cores[0].cpus if len(cores) >= 4 else 0

    def _room(self, node):
        return count(self.host.nodes[node]) - self.load[node]

    def home(self, guest):
        node = guest.disks[0].node
        if 4 * (self._room(node) - guest.vcpus) < count(self.host.nodes[node]):
            node = max(sorted(self.host.nodes), key=lambda n: (self._room(n), n == node))
        self.load[node] += guest.vcpus
        return node

    def pin(self, guest, home):
        """A CPU for each vCPU, or None: there are not enough left."""
        near = sorted(self.host.nodes, key=lambda n: (self.host.distance[home, n], n))
        free = [cpu for n in near for core in self.host.node_cores(n)
                for cpu in members(core.cpus & ~self.kept & ~self.pinned)]
        if len(free) < guest.vcpus:
            return None
        for cpu in free[:guest.vcpus]:
            self.pinned |= 1 << cpu
        return free[:guest.vcpus]
