# SPDX-License-Identifier: LGPL-2.1-or-later
"""The truth about threads, read from /proc without any code of the toolkit."""

import os
import time
from dataclasses import dataclass

# How many times longer than usual things may take: set where everything is emulated (tools/emulated-host).
SCALE = float(os.environ.get("VBMQ_TIME_SCALE") or 1)


def cpulist(text):
    """"0-3,8" -> {0, 1, 2, 3, 8}"""
    cpus = set()
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def format_cpulist(cpus):
    parts, run = [], []
    for cpu in sorted(cpus) + [None]:
        if run and cpu != run[-1] + 1 if cpu is not None else run:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run = []
        if cpu is not None:
            run.append(cpu)
    return ",".join(parts)


@dataclass(frozen=True)
class Task:
    tid: int
    name: str
    start: int
    affinity: frozenset


def task(pid, tid):
    """One thread, or None when it has ended."""
    base = f"/proc/{pid}/task/{tid}"
    try:
        with open(f"{base}/status", encoding="ascii", errors="replace") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        with open(f"{base}/stat", encoding="ascii", errors="replace") as f:
            start = int(f.read().rsplit(")", 1)[1].split()[19])
        return Task(tid, status["Name"], start, frozenset(cpulist(status["Cpus_allowed_list"])))
    except (FileNotFoundError, ProcessLookupError):
        return None


def tasks(pid):
    """All threads of a process by tid."""
    found = (task(pid, int(tid)) for tid in sorted(os.listdir(f"/proc/{pid}/task"), key=int))
    return {t.tid: t for t in found if t}


def online_cpus():
    with open("/sys/devices/system/cpu/online", encoding="ascii") as f:
        return cpulist(f.read())


def wait_for(predicate, timeout=10.0, what="the condition"):
    """Polls until predicate() is true and returns its value; AssertionError after timeout seconds."""
    begin = time.monotonic()
    deadline = begin + timeout * SCALE
    while True:
        value = predicate()
        now = time.monotonic()
        if value:
            return value
        if now >= deadline:
            raise AssertionError(f"waited {timeout * SCALE:g} s in vain for {what}")
        time.sleep(max(0.02, min(0.5, now - begin)))  # what is waited for needs the CPU, too
        begin = time.monotonic()
