# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host as it is found, wholly, without any code of the toolkit: what there is of it in two pictures is compared bit by bit."""

import errno
import json
import os
import subprocess

from .proc import SCALE, cpulist, online_cpus, tasks

CGROUPS = "/sys/fs/cgroup"
CPUSET = ("cpuset.cpus", "cpuset.cpus.effective", "cpuset.cpus.partition", "cpuset.mems")
PROPERTIES = ("Id", "AllowedCPUs", "EffectiveCPUs", "AllowedMemoryNodes", "CPUAffinity", "DropInPaths", "NeedDaemonReload")
# What systemd, libvirt and irqbalance are told to do. (Not /run/systemd/transient: guests' scopes come and go there.)
DIRECTORIES = ("/etc", "/run/systemd/system", "/run/systemd/system.control")
KERNEL = ("/proc/irq/default_smp_affinity", "/sys/devices/virtual/workqueue/cpumask", "/sys/devices/system/cpu/online",
          "/sys/devices/system/cpu/isolated")


def run(*command, check=True):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120 * SCALE, check=False)
    assert not check or done.returncode == 0, (command, done.stdout)
    return done.stdout


def read(path):
    """None where there is no such file, or none that can be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return None


def cgroup_of(pid):
    """Of a process or a thread: "/system.slice/cron.service" """
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        return f.read().strip().rpartition(":")[2]


def threads():
    """{(pid, tid, start): (cgroup, affinity)} of all threads of all programs; without threads of the kernel."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe"):
                found.update({(int(pid), t.tid, t.start): (cgroup_of(f"{pid}/task/{t.tid}"), t.affinity)
                              for t in tasks(pid).values()})
        except (FileNotFoundError, ProcessLookupError):
            pass  # a thread of the kernel, or it ended
    return found


def cpusets():
    """{cgroup: {file: text}}; an empty text: all that the cgroup above it has."""
    found = {}
    for path, _, names in os.walk(CGROUPS):
        found[path[len(CGROUPS):] or "/"] = {n: read(f"{path}/{n}") for n in CPUSET if n in names}
    return found


def units():
    """{unit: {property: text}} as systemd tells, of all slices and scopes."""
    text = run("systemctl", "show", "--no-pager", *(f"--property={p}" for p in PROPERTIES), "*.slice", "*.scope")
    found = {}
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines())
        found[values.pop("Id")] = values
    return found


def files():
    """{path: what changes when the file is written or replaced}; of a directory: mode and owner."""
    found = {}
    for top in DIRECTORIES:
        for path, directories, names in os.walk(top):
            for name in directories + names:
                try:
                    s = os.lstat(f"{path}/{name}")
                except FileNotFoundError:
                    continue
                own = () if name in directories else (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
                found[f"{path}/{name}"] = (oct(s.st_mode), s.st_uid, s.st_gid, *own)
    return found


def polling(lv, guests):
    """{guest: what QEMU says of its I/O threads, without what differs from start to start}"""
    text = lv.virsh("; ".join(f"qemu-monitor-command {g.name} '{{\"execute\":\"query-iothreads\"}}'" for g in guests))
    answers = [json.loads(line)["return"] for line in text.splitlines() if line.strip()]
    assert len(answers) == len(guests), text
    return {g.name: [{k: v for k, v in t.items() if k != "thread-id"} for t in a] for g, a in zip(guests, answers)}


def picture(lv, guests):
    """Of the host, and of these guests, which all run."""
    found = {
        "thread": threads(),
        "cpuset": {(group, name): text for group, values in cpusets().items() for name, text in values.items()},
        "unit": {(unit, name): text for unit, values in units().items() for name, text in values.items()},
        "file": files(),
        "kernel": {path: read(path) for path in KERNEL},
        "polling": polling(lv, guests),
    }
    assert {g.pid for g in guests} <= {pid for pid, _, _ in found["thread"]}, "a guest has ended"
    return found


def linux_keeps(group):
    """Whether Linux refuses to empty the cgroup's cpuset.cpus again, as it does while there are processes below."""
    try:
        with open(f"{CGROUPS}{group}/cpuset.cpus", "w", encoding="ascii") as f:
            f.write("\n")
    except OSError as e:
        return e.errno == errno.ENOSPC
    return False


def _no_limit(text):
    return not text or cpulist(text) >= set(online_cpus())


def differences(before, after):
    """What is not as it was. Threads, cgroups and units that came or went in between are nobody's doing; files are.

    One thing is not bit by bit: cpuset.cpus of a cgroup with processes cannot be emptied once it was set; all CPUs are
    the same then, if Linux really refuses (linux_keeps)."""
    found = []
    for what, old in before.items():
        new = after[what]
        for key in sorted(set(old) | set(new), key=str) if what in ("file", "kernel") else sorted(set(old) & set(new), key=str):
            a, b = old.get(key), new.get(key)
            if a == b or (what == "cpuset" and key[1] == "cpuset.cpus" and _no_limit(a) and _no_limit(b) and
                          (b == "" or linux_keeps(key[0]))):
                continue
            found.append(f"{what} {key}: {a} -> {b}")
    return found
