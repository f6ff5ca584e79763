# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts what is wrong with a placement. Knows no rule and nothing of the planner: what it looks at is where threads may run.

Each figure is a number of I/O threads unless something else is said. A thread "meets" another if both may run on one core.

  threads       I/O threads of the guests that were admitted
  own_core      of these, stay on one core and meet nobody: no thread of any guest, nothing of the host's own
  own_guest     meet no thread of another guest and nothing of the host's own
  io_pairs      pairs of I/O threads of different guests that meet
  with_vcpu     meet a vCPU of some guest, their own included
  with_emulator meet the emulator thread of some guest, their own included
  with_host     meet the host's own processes
  off_device    may run on a node without a device whose queues they serve
  off_memory    may run on a node without memory of their guest
  off_numa      may run on a node that has neither
  l3_judged     serve a queue that is completed by a vCPU that stays in one L3 domain
  l3_missed     of these, may run in an L3 domain in which none of these vCPUs is
  queues_judged pairs of a queue and a vCPU that completes it and stays in one L3 domain
  queues_missed of these, those whose I/O thread may run outside that L3 domain
  l3_partly     L3 domains of which some cores are taken and some are not; a core is taken if a thread may run there that has no
                more room than half an L3 domain or one core
  l3_stranded   those beyond what had to be: with so many cores taken on each node, one partly taken L3 domain is needed on a node
                unless the sizes of some of its L3 domains add up to that number
  shared_cpus   CPUs on which floating vCPUs may run
  floating      vCPUs that stay on no single core
  dedicated     vCPUs of guests that are to have theirs for themselves
  dedicated_own of these, stay on one core, where no floating vCPU and no thread of another guest may be
"""
from model import count, members

FIGURES = ("threads", "own_core", "own_guest", "io_pairs", "with_vcpu", "with_emulator", "with_host", "off_device", "off_memory", "off_numa",
           "l3_judged", "l3_missed", "queues_judged", "queues_missed", "l3_partly", "l3_stranded", "shared_cpus", "floating",
           "dedicated", "dedicated_own")


def _single(mask):
    return mask & (mask - 1) == 0


def _union(masks):
    out = 0
    for m in masks:
        out |= m
    return out


def _meetings(host, guests):
    """How many pairs of I/O threads of different guests meet; threads with the same cores are counted together."""
    by_cores = {}
    for g in guests:
        for t in g.iothreads:
            tally = by_cores.setdefault(host.cores_in(t.cpus), {})
            tally[g.guest.name] = tally.get(g.guest.name, 0) + 1
    groups = list(by_cores.items())
    pairs = 0
    for i, (cores, tally) in enumerate(groups):
        total = sum(tally.values())
        pairs += (total * total - sum(n * n for n in tally.values())) // 2
        for other, others in groups[i + 1:]:
            if cores & other:
                pairs += total * sum(others.values()) - sum(n * others.get(name, 0) for name, n in tally.items())
    return pairs


def _alone(host, placement, guests):
    """(I/O threads that stay on one core where nobody else may be, those that meet nobody but threads of their guest)."""
    everybody, of_guest, core, guest = {}, {}, 0, 0
    system = host.cores_in(placement.system)
    for g in guests:
        mine = of_guest[g.guest.name] = {}
        for mask in g.vcpus + [g.emulator] + [t.cpus for t in g.iothreads]:
            cores = host.cores_in(mask)
            everybody[cores] = everybody.get(cores, 0) + 1
            mine[cores] = mine.get(cores, 0) + 1
    for g in guests:
        mine = of_guest[g.guest.name]
        for t in g.iothreads:
            cores = host.cores_in(t.cpus)
            met = sum(n for other, n in everybody.items() if cores & other) - 1
            own = sum(n for other, n in mine.items() if cores & other) - 1
            core += not cores & system and not met and _single(cores)
            guest += not cores & system and met == own
    return core, guest


def _taken(host, guests):
    """The set of cores that a closely held thread has."""
    out = 0
    for g in guests:
        for mask in g.vcpus + [t.cpus for t in g.iothreads]:
            cores = host.cores_in(mask)
            room = min(count(host.cores_in(cpus)) for cpus in host.l3s.values() if cpus & mask)
            if _single(cores) or 2 * count(cores) <= room:
                out |= cores
    return out


def _stranded(host, taken):
    """(partly taken L3 domains, those beyond the least possible)."""
    partly, least = 0, 0
    for node in host.nodes:
        cores = host.node_cores(node)
        sizes, used = {}, {}
        for c in cores:
            sizes[c.l3] = sizes.get(c.l3, 0) + 1
            used[c.l3] = used.get(c.l3, 0) + (taken >> c.number & 1)
        partly += sum(0 < used[n] < sizes[n] for n in sizes)
        sums = 1
        for size in sizes.values():
            sums |= sums << size
        least += not sums >> sum(used.values()) & 1
    return partly, partly - least


def _locality(host, g, out):
    device_of = [d.node for d in g.guest.disks]
    where = [host.l3s_in(mask) for mask in g.vcpus]
    for t in g.iothreads:
        nodes, l3s = host.nodes_in(t.cpus), host.l3s_in(t.cpus)
        devices = {device_of[d] for d, _ in t.queues}
        out["off_device"] += bool(devices and nodes - devices)
        out["off_memory"] += bool(nodes - g.memory)
        out["off_numa"] += bool(nodes - devices - g.memory)
        fixed = [where[v] for d, q in t.queues for v in g.guest.completes(d, q) if len(where[v]) == 1]
        homes = set().union(*fixed)
        out["l3_judged"] += bool(fixed)
        out["l3_missed"] += bool(fixed and l3s - homes)
        out["queues_judged"] += len(fixed)
        out["queues_missed"] += sum(bool(l3s - home) for home in fixed)


def _dedicated(host, guests, out):
    """Dedicated vCPUs, and those that have what that promises."""
    met = {}  # core -> names of the guests that have a thread there; two names for one that roams
    for g in guests:
        for kind, masks in (("vcpu", g.vcpus), ("other", [g.emulator] + [t.cpus for t in g.iothreads])):
            for cores in {host.cores_in(m) for m in masks}:
                for c in members(cores):
                    met.setdefault(c, set()).add(g.guest.name)
                    if kind == "vcpu" and not _single(cores):
                        met[c].add(None)
    for g in guests:
        if g.guest.dedicated:
            out["dedicated"] += len(g.vcpus)
            for m in g.vcpus:
                cores = host.cores_in(m)
                out["dedicated_own"] += _single(cores) and len(met[cores.bit_length() - 1]) == 1


def score(placement):
    """The figures of a placement, by name."""
    host = placement.host
    guests = list(placement.guests.values())
    out = {name: 0 for name in FIGURES}
    cores = host.cores_in
    vcpus = _union(cores(m) for g in guests for m in g.vcpus)
    emulators = _union(cores(g.emulator) for g in guests)
    system = cores(placement.system)
    out["floating"] = sum(not _single(cores(m)) for g in guests for m in g.vcpus)
    for g in guests:
        for t in g.iothreads:
            if not t.cpus & host.usable:
                raise ValueError(f"{g.guest.name}: an I/O thread without a CPU")
            here = cores(t.cpus)
            out["threads"] += 1
            out["with_vcpu"] += bool(here & vcpus)
            out["with_emulator"] += bool(here & emulators)
            out["with_host"] += bool(here & system)
        _locality(host, g, out)
    _dedicated(host, guests, out)
    out["own_core"], out["own_guest"] = _alone(host, placement, guests)
    out["io_pairs"] = _meetings(host, guests)
    out["l3_partly"], out["l3_stranded"] = _stranded(host, _taken(host, guests))
    out["shared_cpus"] = count(placement.shared)
    return out


def moves(host, before, after):
    """What the arrival of a guest did to the others.

    moved: threads that had to leave: none of their CPUs is left to them. lost: I/O threads that stayed on one core and do not any
    more. A thread that roams over a few cores more or less than before was not moved.
    """
    out = {"moved": 0, "lost": 0}
    for name, was in before.guests.items():
        now = after.guests.get(name)
        if not now:
            raise ValueError(f"{name} is gone")
        old, new = [t.cpus for t in was.iothreads], [t.cpus for t in now.iothreads]
        for a, b in ((was.vcpus, now.vcpus), ([was.emulator], [now.emulator]), (old, new)):
            out["moved"] += sum(not x & y for x, y in zip(a, b))
        out["lost"] += max(0, sum(_single(host.cores_in(m)) for m in old) - sum(_single(host.cores_in(m)) for m in new))
    return out
