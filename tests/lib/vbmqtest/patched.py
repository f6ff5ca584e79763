# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU with our patches: which one, whether it is one, and what it says itself of a guest's disks.

VBMQ_QEMU (meson option "qemu") names it."""

import os
import subprocess

import pytest

from .host import core_of
from .proc import SCALE

QEMU = os.environ.get("VBMQ_QEMU")


def missing():
    """Why tests of it cannot be run; None when they can."""
    if not QEMU:
        return "VBMQ_QEMU names no patched QEMU"
    if not os.access(QEMU, os.X_OK):
        return f"VBMQ_QEMU={QEMU} cannot be run"
    qmp = '{"execute":"qmp_capabilities"}{"execute":"query-commands"}{"execute":"quit"}'
    done = subprocess.run([QEMU, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"], input=qmp, text=True,
                          capture_output=True, timeout=60 * SCALE, check=False)
    lacks = [c for c in ("virtio-blk-set-iothread-vq-mapping", "query-virtio-placement") if f'"{c}"' not in done.stdout]
    return f"{QEMU} has no {' and no '.join(lacks)}" if lacks else None


def needed():
    """Marks of a file of tests that want it."""
    why = missing()
    return [pytest.mark.skipif(bool(why), reason=str(why)),
            pytest.mark.skipif(len(set(core_of().values())) < 2, reason="one core: there is none to dedicate")]


def placement(guest):
    """{disk alias: the device as QEMU tells it}"""
    return {d["id"]: d for d in guest.qmp("query-virtio-placement")}


def served(guest, alias="virtio-disk0"):
    """Serving I/O thread by queue; None is the main loop."""
    return [q.get("iothread") for q in placement(guest)[alias]["queues"]]


def told(guest, alias="virtio-disk0"):
    """The same as the device's own property tells it."""
    entries = guest.qmp("qom-get", path=f"/machine/peripheral/{alias}", property="iothread-vq-mapping")
    by_queue = {q: e["iothread"] for e in entries for q in e["vqs"]}
    return [by_queue[q] for q in range(len(by_queue))]


def iothreads(guest):
    return sorted(i["id"] for i in guest.qmp("query-iothreads"))
