# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine as the kernel tells it, who is alone on which core of it, and a watcher that never looks away."""

import os
import re
import threading
import time

from .proc import cpulist, online_cpus, task, tasks

SYSFS = "/sys/devices/system"
IOTHREAD = re.compile(r"IO iothread(\d+)$")  # libvirt lets QEMU name its threads
VCPU = re.compile(r"CPU (\d+)/")


def _list(path):
    with open(f"{SYSFS}/{path}", encoding="ascii") as f:
        return frozenset(cpulist(f.read()))


def core_of():
    """{CPU: the CPUs of its core}, of CPUs that are online."""
    return {c: _list(f"cpu/cpu{c}/topology/thread_siblings_list") for c in online_cpus()}


def nodes():
    """{node: its CPUs}"""
    try:
        names = os.listdir(f"{SYSFS}/node")
    except FileNotFoundError:
        return {0: frozenset(online_cpus())}
    return {int(n[4:]): _list(f"node/{n}/cpulist") for n in names if re.fullmatch(r"node\d+", n)}


def role(t):
    """"iothread1", "vcpu0", or the thread's name."""
    if m := IOTHREAD.match(t.name):
        return f"iothread{m[1]}"
    if m := VCPU.match(t.name):
        return f"vcpu{m[1]}"
    return t.name


def look(*guests):
    """{(guest, role, tid): affinity} of every thread of these guests, from /proc alone."""
    found = {}
    for guest in guests:
        try:
            found.update({(guest.name, role(t), t.tid): t.affinity for t in tasks(guest.pid).values()})
        except FileNotFoundError:
            pass  # it ended
    return found


def alone(*guests):
    """{(guest, role): its core} of the I/O threads that are bound to one core on which no other thread of any of these guests
    may run. All guests of the host must be named."""
    seen, core = look(*guests), core_of()
    result = {}
    for key, cpus in seen.items():
        cores = {core.get(c) for c in cpus}
        if not key[1].startswith("iothread") or len(cores) != 1:
            continue
        mine = cores.pop()
        if mine and not any(other & mine for k, other in seen.items() if k != key):
            result[key[:2]] = mine
    return result


def union(affinities):
    return frozenset().union(*affinities)


class Watcher:
    """A thread that samples every QEMU of one Libvirtd, from with until the end of it. Once announce() has said that a thread
    has a place for itself, that holds until the thread itself is seen elsewhere, or allowed more than it was (it lost its place);
    meanwhile nobody else may come there. Only a thread that libvirt just started, on all CPUs, is forgiven as long as it was not
    held off that place before. (I/O threads of one guest are not judged by each other: degrading puts them on one core.)"""

    def __init__(self, lv, pause=0.002):
        self.pidfiles = lv.pidfiles
        self.pause = pause
        self.owners = {}  # (pid, tid, start) -> its CPUs, the whole core
        self.held = {}  # owner -> threads that were seen off its place
        self.violations = []
        self.samples = 0
        self.announced = 0
        self._all = frozenset(online_cpus())
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error = None

    def pids(self):
        found = {}
        for name in os.listdir(self.pidfiles):
            try:
                if name.endswith(".pid"):
                    with open(f"{self.pidfiles}/{name}", encoding="ascii") as f:
                        found[name[:-4]] = int(f.read())
            except (FileNotFoundError, ValueError):
                pass  # it ends or just comes
        return found

    def announce(self, plan):
        """A plan without steps: what it calls exclusive is so. True when the plan is one."""
        if plan["steps"]:
            return False
        core, pids = core_of(), self.pids()
        for domain in plan["domains"]:
            wanted = {f"{t['kind']}{t['id']}": cpulist(t["cpus"]) for t in domain["threads"] if t.get("exclusive")}
            pid = pids.get(domain["name"])
            if not wanted or not pid:
                continue
            try:
                there = tasks(pid).values()
            except FileNotFoundError:
                continue
            for t in there:
                if role(t) in wanted:
                    cpus = wanted[role(t)]
                    with self._lock:
                        self.announced += (pid, t.tid, t.start) not in self.owners
                        self.owners[pid, t.tid, t.start] = cpus, union(core[c] for c in cpus)
        return True

    def _confirmed(self, owner, own, place, other):
        """A sample is not taken in one moment: only what shows between two looks at the owner counts."""
        def stands():
            t = task(owner[0], owner[1])
            return t and t.start == owner[2] and t.affinity == own

        if not stands():
            return False
        now = task(other[0], other[1])
        return now and now.start == other[2] and now.affinity & place and stands()

    def _sample(self):
        seen = {}
        for pid in self.pids().values():
            try:
                seen.update({(pid, t.tid, t.start): (role(t), t.affinity) for t in tasks(pid).values()})
            except FileNotFoundError:
                pass
        with self._lock:
            owners = dict(self.owners)
        for owner, (own, place) in owners.items():
            if owner not in seen or seen[owner][1] != own:
                with self._lock:
                    self.owners.pop(owner, None)
                self.held.pop(owner, None)
                continue
            held = self.held.setdefault(owner, set())
            for other, (what, cpus) in seen.items():
                if other == owner or other[0] == owner[0] and what.startswith("iothread"):
                    continue
                if not cpus & place:
                    held.add(other)
                elif (cpus != self._all or other in held) and self._confirmed(owner, own, place, other):
                    self.violations.append((owner, seen[owner], other, what, sorted(cpus)))
        self.samples += 1

    def _run(self):
        try:
            took = 0
            while not self._stop.wait(max(self.pause, took)):  # half of a CPU is enough, where a look takes long
                begin = time.monotonic()
                self._sample()
                took = time.monotonic() - begin
        except Exception as e:  # pylint: disable=broad-except
            self._error = e

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, exception, *rest):
        self._stop.set()
        self._thread.join()
        if exception is None:
            assert not self._error, repr(self._error)
            assert self.samples and self.announced, "the watcher saw nothing"
            assert not self.violations, self.violations[:5]
