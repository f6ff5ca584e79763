# SPDX-License-Identifier: LGPL-2.1-or-later
"""What rules place and the scorer judges. Sets of CPUs and of cores are whole numbers, one bit each."""
import dataclasses
import functools


def bits(numbers):
    out = 0
    for n in numbers:
        out |= 1 << n
    return out


def count(mask):
    return mask.bit_count()


def members(mask):
    """The numbers in a set, ascending."""
    out = []
    while mask:
        low = mask & -mask
        out.append(low.bit_length() - 1)
        mask ^= low
    return out


def parse(text):
    """A CPU list of the kernel ("0-3,8") as a set."""
    out = 0
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        out |= bits(range(int(first), int(last or first) + 1))
    return out


def show(mask):
    out = []
    for n in members(mask):
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


@dataclasses.dataclass(frozen=True)
class Core:
    number: int
    cpus: int  # usable ones only
    l3: int
    node: int  # Linux number


class Host:
    """The host of a snapshot document; cores and CPUs that cannot be used are left out."""

    def __init__(self, name, document):
        self.name = name
        self.document = document
        self.usable = parse(document["online"]) & parse(document.get("allowed", document["online"]))
        self.cores = []
        for c in document["cores"]:
            cpus = parse(c["cpus"]) & self.usable
            if cpus:
                self.cores.append(Core(len(self.cores), cpus, c["l3"], c["node"]))
        self.core_of = {cpu: core for core in self.cores for cpu in members(core.cpus)}
        self.nodes = {}  # CPUs of each node that has any
        self.l3s = {}
        for core in self.cores:
            self.nodes[core.node] = self.nodes.get(core.node, 0) | core.cpus
            self.l3s[core.l3] = self.l3s.get(core.l3, 0) | core.cpus
        ids = [n["id"] for n in document["nodes"]]
        table = document.get("distances") or [[10 if a == b else 20 for b in ids] for a in ids]
        self.distance = {(a, b): table[i][j] for i, a in enumerate(ids) for j, b in enumerate(ids)}
        # Fleets have many threads and few different sets of CPUs.
        self.cores_in = functools.lru_cache(None)(self._cores_in)
        self.nodes_in = functools.lru_cache(None)(self._nodes_in)
        self.l3s_in = functools.lru_cache(None)(self._l3s_in)

    def _cores_in(self, cpus):
        """The set of cores (by number) that have a CPU in cpus."""
        return bits({self.core_of[c].number for c in members(cpus & self.usable)})

    def _nodes_in(self, cpus):
        return frozenset(n for n, mask in self.nodes.items() if mask & cpus)

    def _l3s_in(self, cpus):
        return frozenset(n for n, mask in self.l3s.items() if mask & cpus)

    def node_cores(self, node):
        return [c for c in self.cores if c.node == node]

    @staticmethod
    def union(masks):
        out = 0
        for m in masks:
            out |= m
        return out


@dataclasses.dataclass(frozen=True)
class Disk:
    queues: int
    node: int  # of its device


@dataclasses.dataclass(frozen=True)
class Guest:
    name: str
    vcpus: int
    disks: tuple
    dedicated: bool  # its owner pays for vCPUs of its own

    @property
    def queues(self):
        """(disk, queue), all of them."""
        return [(d, q) for d, disk in enumerate(self.disks) for q in range(disk.queues)]

    def completes(self, disk, queue):
        """vCPUs that complete a queue: Linux spreads them over a disk's queues in order."""
        n = self.disks[disk].queues
        return [v for v in range(self.vcpus) if (v if n >= self.vcpus else v * n // self.vcpus) == queue]

    @property
    def wanted_threads(self):
        """How many I/O threads it gets under rules that leave the number to somebody else: one a queue and a vCPU, 4 at most."""
        return max(1, min(len(self.queues), self.vcpus, 4))


@dataclasses.dataclass
class IoThread:
    cpus: int
    queues: list  # (disk, queue)


@dataclasses.dataclass
class Placed:
    guest: Guest
    vcpus: list  # a set of CPUs each
    emulator: int
    iothreads: list
    memory: set  # nodes


@dataclasses.dataclass
class Placement:
    host: Host
    guests: dict  # name -> Placed
    refused: list  # names
    shared: int  # where floating vCPUs may run
    system: int  # where the host's own processes may run


class Refused(Exception):
    """The rule does not admit this guest: it stays out."""


def spread_queues(guest, threads):
    """The queues of every disk in equal runs over so many threads; disks are offset so that each thread gets some."""
    out = [[] for _ in range(threads)]
    for d, disk in enumerate(guest.disks):
        for q in range(disk.queues):
            out[(q * threads // disk.queues if disk.queues >= threads else (q + d * disk.queues) % threads)].append((d, q))
    return out


def disk_queues(guest, threads):
    """Whole disks, in turn, as where a disk has one thread."""
    out = [[] for _ in range(threads)]
    for d, q in guest.queues:
        out[d % threads].append((d, q))
    return out
