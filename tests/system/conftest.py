# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the system tests that have vbmqd and vbmqctl in them: one libvirtd a file, a bus, a vbmqd and guests a test."""

import contextlib
import os
import signal

import pytest

from vbmqtest import Disk, Libvirtd, wait_for
from vbmqtest.bus import Bus
from vbmqtest.ctl import Ctl
from vbmqtest.daemon import Vbmqd
from vbmqtest.host import core_of
from vbmqtest.proc import SCALE

PROGRAM = os.environ.get("VBMQ_TEST_VBMQD") or os.path.join(os.environ["VBMQ_BUILD"], "daemon", "vbmqd")
# A guest that starts is slow to answer on an emulated host; it does not hang.
CONF = (f"[daemon]\ncall-timeout={min(300, int(10 * SCALE))}s\n"
        "recheck={recheck}\nmode={mode}\ndebounce={debounce}\n[policy]\nshared-min-cores=1\n")


def pytest_configure(config):
    config.addinivalue_line("markers", "scenario: what happens on a host in service; also run on the emulated host")


class World:
    """What one test works with."""

    def __init__(self, lv, bus):
        self.lv, self.bus = lv, bus
        self.ctl = Ctl(lv.uri, bus)
        self.daemons = []
        self.spare = len(set(core_of().values())) - 1  # cores that may be dedicated with CONF

    def vbmqd(self, recheck="1h", mode="manage", wait=True, debounce="250ms", policy=""):
        conf = CONF.format(recheck=recheck, mode=mode, debounce=debounce) + policy
        daemon = Vbmqd(PROGRAM, self.bus, uri=self.lv.uri, conf=conf)
        self.daemons.append(daemon)
        daemon.start()
        if wait:
            daemon.wait_verdict("ok", timeout=60)
        return daemon

    def define(self, name, iothreads=1, priority=0, disks=None, **kw):
        """A guest with one disk whose queues are spread over its I/O threads, one each."""
        wish = f"<vbmq:iothreads count='{iothreads}'/>" if iothreads else ""
        if disks is None:
            spread = [(i + 1, [i]) for i in range(iothreads)]
            disks = [Disk("vda", queues=iothreads, mapping=spread) if iothreads > 1 else Disk("vda", iothread=iothreads or None)]
        metadata = f"<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1' priority='{priority}'>{wish}</vbmq:domain>"
        return self.lv.define(name, metadata=metadata, iothreads=iothreads, disks=disks, **kw)

    def guest(self, name, *args, **kw):
        return self.define(name, *args, **kw).start()

    def close(self):
        for daemon in self.daemons:
            print(daemon.log)
        try:
            for daemon in self.daemons:
                daemon.stop()
        finally:
            self.ctl.close()
            if self.lv.process is None:
                self.lv.start()
            self.end_guests()

    def end_guests(self):
        """Quicker than asking libvirt to end one after the other."""
        lv = self.lv
        names = list(lv.guests)
        if not names:
            return
        pids = [guest.pid for guest in lv.guests.values()]
        for pid in filter(None, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        lv.virsh("; ".join(f"undefine --nvram {name}" for name in names), check=False)
        wait_for(lambda: not set(lv.virsh("list", "--all", "--name").split()) & set(names), 60, "all guests to be gone")
        lv.guests.clear()


@pytest.fixture(name="libvirtd", scope="module")
def _libvirtd(request):
    """A file's LIBVIRTD says what is special about its own."""
    with Libvirtd(**getattr(request.module, "LIBVIRTD", {})) as lv:
        yield lv


@pytest.fixture(name="world")
def _world(libvirtd):
    with Bus() as bus:
        world = World(libvirtd, bus)
        yield world
        world.close()
