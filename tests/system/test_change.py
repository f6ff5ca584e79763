# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that change or vanish under vbmqd: vCPUs and disks come and go, a guest ends while it is worked on, its thread numbers
go to somebody else."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from vbmqtest import Disk, cpulist, wait_for
from vbmqtest.guest import disk_xml
from vbmqtest.host import Watcher, alone, core_of, look, union
from vbmqtest.proc import online_cpus, task, tasks

ALL = frozenset(online_cpus())
LIMIT = 120
PORTS = "<controller type='pci' index='0' model='pcie-root'/><controller type='pci' index='1' model='pcie-root-port'/>"

pytestmark = pytest.mark.skipif(len(set(core_of().values())) < 2, reason="one core: there is none to dedicate")


def owners(*guests):
    return {f"{name}/{what}" for name, what in alone(*guests)}


# --- hot-plug -----------------------------------------------------------------------------------------------------------


@pytest.mark.scenario
def test_a_vcpu_is_plugged(world):
    """No event tells of it: the re-check does. Until then libvirt lets the new thread run anywhere."""
    vbmqd = world.vbmqd(recheck="1s")
    one = world.guest("one", vcpus=1, max_vcpus=3)
    other = world.lv.guest("other", vcpus=1, max_vcpus=2, disks=0)
    wait_for(lambda: owners(one, other) == {"one/iothread1"}, LIMIT, "one to be placed")
    own = alone(one, other)["one", "iothread1"]
    for guest, count in ((one, 3), (other, 2)):
        guest.virsh("setvcpus", count, "--live")

    def held():
        seen = {k[:2]: v for k, v in look(one, other).items()}
        new = [seen.get(k) for k in (("one", "vcpu1"), ("one", "vcpu2"), ("other", "vcpu1"))]
        return all(new) and not union(new) & own

    wait_for(held, LIMIT, "the new vCPUs to be held off the dedicated core")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    shared = cpulist(vbmqd.plan()[1]["host"]["shared"])
    assert all(v == shared for k, v in look(one, other).items() if k[1].startswith("vcpu"))
    assert owners(one, other) == {"one/iothread1"}


@pytest.mark.scenario
def test_a_disk_is_plugged_and_unplugged(world, tmp_path):
    """Its I/O thread served nothing and had no core; now it gets one. Without the disk it gives it back."""
    vbmqd = world.vbmqd()
    one = world.guest("one", 2, vcpus=2, disks=0, devices=PORTS)
    wait_for(lambda: "one" in vbmqd.domains(), LIMIT, "one to be seen")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert not alone(one)
    image, xml = tmp_path / "vdb.raw", tmp_path / "vdb.xml"
    image.write_bytes(bytes(1 << 20))
    xml.write_text(disk_xml(Disk("vdb", iothread=2), str(image)))
    one.virsh("attach-device", xml, "--live")
    wait_for(lambda: owners(one) == {"one/iothread2"}, LIMIT, "the disk's I/O thread to get a core of its own")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    disks = vbmqd.plan()[1]["domains"][0]["disks"]
    assert [(d["target"], {q["iothread"] for q in d["queues"]}) for d in disks] == [("vdb", {2})]
    one.virsh("detach-device", xml, "--live")
    one.virsh("reset")  # there is no system in the guest that would let the device go
    wait_for(lambda: "vdb" not in one.xml(), LIMIT, "the disk to be gone")
    wait_for(lambda: not alone(one) and set(look(one).values()) == {ALL}, LIMIT, "its core to be everybody's again")
    vbmqd.wait_verdict("ok", timeout=LIMIT)


# --- gone in the middle -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_guests_vanish_while_an_apply_runs(world, delay):
    """Half of the guests are killed or destroyed while they are being placed; those that stay are placed, the daemon is well, and
    nothing of the dead is left in its record."""
    vbmqd = world.vbmqd()
    vbmqd.call("Pause")
    stay = [world.guest(f"stay{i}", priority=10 - i) for i in range(2)]
    go = [world.guest(f"go{i}", 3, priority=20) for i in range(3)]
    wait_for(lambda: len(vbmqd.domains()) == 5, LIMIT, "all to be seen")
    vbmqd.wait_state("paused", timeout=LIMIT)
    assert vbmqd.fresh_plan()[1]["steps"]
    with Watcher(world.lv) as watcher:
        vbmqd.call("Resume")
        wait_for(lambda: str(vbmqd.get("State")) != "idle" or not vbmqd.plan()[1]["steps"], LIMIT, "it to begin")
        time.sleep(delay)
        os.kill(go[0].pid, signal.SIGKILL)
        go[1].destroy()
        os.kill(go[2].pid, signal.SIGKILL)
        want = {f"stay{i}/iothread1" for i in range(min(2, world.spare))}
        wait_for(lambda: owners(*stay) == want, LIMIT, f"{want} to be placed")
        wait_for(lambda: set(vbmqd.domains()) == {"stay0", "stay1"}, LIMIT, "the dead to be forgotten")
        vbmqd.wait_verdict("ok" if world.spare > 1 else "infeasible", timeout=LIMIT)
        assert watcher.announce(vbmqd.plan()[1])
    uuids = {g.uuid for g in stay}
    wait_for(lambda: {e["uuid"] for e in vbmqd.undo()["entries"]} <= uuids, LIMIT, "the record to be pruned")
    assert all(c["check"] == "ok" for c in vbmqd.verify()["checks"])


# --- numbers that come again ------------------------------------------------------------------------------------------

SLEEPER = """
import ctypes, os, signal, sys
class Args(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size",
                                               "tls", "set_tid", "set_tid_size", "cgroup")]
tid = ctypes.c_int(int(sys.argv[1]))
args = Args(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(tid), set_tid_size=1)
pid = ctypes.CDLL(None, use_errno=True).syscall(435, ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args)))
if pid == 0:
    os.execvp("sleep", ["sleep", "600"])
print(pid if pid > 0 else -ctypes.get_errno(), flush=True)
sys.stdin.read()
if pid > 0:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


class Impostor:
    """A process with a number of our choice (clone3 with set_tid)."""

    def __init__(self, tid):
        self.process = subprocess.Popen([sys.executable, "-c", SLEEPER, str(tid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.tid = int(self.process.stdout.readline())
        if self.tid < 0:
            self.close()
            pytest.skip(f"this kernel does not let us choose a process number: {os.strerror(-self.tid)}")
        assert self.tid == tid

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def test_a_thread_number_that_came_again_is_not_touched(world):
    """The guest is dead, its record is not; one of its threads' numbers is now that of a stranger."""
    one = world.guest("one")
    world.ctl.run("apply", "--direct")
    entries = [e for e in world.ctl.undo()["entries"] if e["kind"] == "affinity"]
    assert entries
    tid = next(k[2] for k in look(one) if k[1] == "iothread1")
    assert any(e["tid"] == tid for e in entries), entries
    pid = one.pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}") and "shut off" in one.virsh("domstate"), LIMIT, "one to be gone")
    stranger = Impostor(tid)
    try:
        odd = frozenset({min(ALL)})
        os.sched_setaffinity(stranger.tid, odd)
        world.ctl.run("restore", "--direct")
        assert task(stranger.tid, stranger.tid).affinity == odd
        one.start()
        world.ctl.run("apply", "--direct")
        world.ctl.run("restore", "--direct")
        assert task(stranger.tid, stranger.tid).affinity == odd
        assert set(look(one).values()) == {ALL}
    finally:
        stranger.close()


def test_a_guest_that_starts_anew_is_another_one(world):
    """Same name, same UUID, other threads: it is placed anew, and what was recorded of the former instance is not played on it."""
    vbmqd = world.vbmqd()
    one = world.guest("one")
    for _ in range(3):
        wait_for(lambda: owners(one) == {"one/iothread1"}, LIMIT, "one to be placed")
        vbmqd.wait_verdict("ok", timeout=LIMIT)
        mine = set(tasks(one.pid))
        entries = vbmqd.undo()["entries"]
        assert {e["tid"] for e in entries if e["kind"] == "affinity"} <= mine
        pid = one.pid
        threading.Thread(target=os.kill, args=(pid, signal.SIGKILL)).start()
        wait_for(lambda p=pid: not os.path.exists(f"/proc/{p}") and "shut off" in one.virsh("domstate"), LIMIT, "one to be gone")
        one.start()
    wait_for(lambda: owners(one) == {"one/iothread1"}, LIMIT, "one to be placed")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    vbmqd.restore()
    assert set(look(one).values()) == {ALL}


@pytest.mark.scenario
def test_a_guest_that_hangs_keeps_its_core(world):
    """What we gave a thread stays its own when its guest cannot be asked: nobody floats there, nobody gets it."""
    vbmqd = world.vbmqd(recheck="1s")
    one = world.guest("one")
    plain = world.lv.guest("plain", disks=0)
    wait_for(lambda: ("one", "iothread1") in alone(one, plain), 60, "one placed")
    vbmqd.wait_verdict("ok", timeout=60)
    own = alone(one, plain)["one", "iothread1"]
    os.kill(one.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: vbmqd.domains()["one"][2] == "unresponsive", 60, "one to be called unresponsive")
        late = world.lv.guest("late", disks=0)
        wait_for(lambda: "late" in vbmqd.domains(), 60, "late seen")
        vbmqd.fresh_plan()
        vbmqd.wait_state("idle")
        wait_for(lambda: not any(v & own for v in look(late).values()), 60, "late to be held off it")
        assert not any(v & own for v in look(plain, late).values()), look(plain, late)
    finally:
        os.kill(one.pid, signal.SIGCONT)
