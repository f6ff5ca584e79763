# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests move between a host with a QEMU that has not got our patches and one that has, alive and under load, over libvirt.

VBMQ_QEMU (meson option "qemu") names the patched one; without it every test here is skipped. The other one is the
machine's own, and VBMQ_QEMU_UNPATCHED (what qemu-patches/build --unpatched has built) where that is given."""

import json
import os
import subprocess

import pytest

from vbmqtest import Libvirtd, wait_for
from vbmqtest.linux import Linux, images
from vbmqtest.patched import QEMU, iothreads, needed, placement, served

LIMIT = 120
URN = "urn:vbmq:domain:1"
WISH = f"<vbmq:domain xmlns:vbmq='{URN}'><vbmq:iothreads count='2' exclusive='none'/></vbmq:domain>"
VERIFY = "vbmq.run=fio vbmq.fio=randrw,bs=4k,qd=4,jobs=2,verify,whole"
UNPATCHED = os.environ.get("VBMQ_QEMU_UNPATCHED")
OTHERS = {"debian": "/usr/bin/qemu-system-x86_64"} | ({"unpatched": UNPATCHED} if UNPATCHED else {})
LIBVIRTD = {"emulator": QEMU, "hostname": "vbmq-patched"}
pytestmark = needed()


def version(program):
    return subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def migrate(linux, to):
    """Live, to the other libvirtd, whose emulator is another program."""
    lv = linux.guest.libvirtd
    pid, path, socket = linux.guest.pid, f"{lv.dir}/moving.xml", f"{to.dir}/moving.sock"
    xml = linux.guest.virsh("dumpxml", "--migratable").replace(f"<emulator>{lv.emulator}<", f"<emulator>{to.emulator}<")
    assert f"<emulator>{to.emulator}<" in xml
    with open(path, "w", encoding="utf-8") as f:
        f.write(xml)
    linux.guest.virsh("migrate", "--live", "--unsafe", "--desturi", to.uri, "--migrateuri", f"unix://{socket}", "--xml", path,
                      timeout=300)
    linux.moved(to)
    assert linux.guest.pid not in (0, pid) and linux.guest.virsh("domstate").strip() == "running"
    with open(f"/proc/{linux.guest.pid}/cmdline", "rb") as f:
        assert f.read().split(b"\0")[0].decode() == to.emulator


@pytest.mark.parametrize("other", OTHERS)
def test_a_guest_migrates_to_the_patched_qemu_and_back(world, other):
    """Under load that is verified. On the patched host vbmqd, that runs there already, spreads its queues as soon as it has come;
    they are moved some more; it goes back, and comes again. Nothing that the guest sees of its disk has changed."""
    there = world.lv
    print(f"{version(OTHERS[other])} <-> {version(QEMU)}")
    vbmqd = world.vbmqd(wait=False)
    wait_for(lambda: vbmqd.get("Connected") and str(vbmqd.get("State")) == "idle", LIMIT, "vbmqd to be ready")
    with Libvirtd(emulator=OTHERS[other], hostname="vbmq-other") as here:
        linux = Linux(here, images(), 2, 2, VERIFY, wish=WISH, disk_mib=16)
        linux.works()
        device = linux.disk_records()
        print(f"the guest's disk: {device}")

        def arrives():
            migrate(linux, there)
            there.guests["linux"] = linux.guest
            wait_for(lambda: served(linux.guest) == ["iothread1", "iothread2"], LIMIT, "vbmqd to spread the queues again")
            vbmqd.wait_verdict("ok", timeout=LIMIT)
            assert vbmqd.domains()["linux"][1] == "live-map" and vbmqd.verify()["ok"]
            linux.works()
            assert linux.disk_records() == device
            irqs = {q["queue"]: q["irq"]["cpu-index"] for q in placement(linux.guest)["virtio-disk0"]["queues"]}
            assert sorted(irqs.values()) == [0, 1], irqs

        arrives()
        assert iothreads(linux.guest) == ["iothread1", "iothread2"]
        for count in (1, 2, 1, 2):
            linux.guest.virsh("metadata", "--uri", URN, "--key", "vbmq", "--live", "--set",
                              f"<domain><iothreads count='{count}' exclusive='none'/></domain>")
            wait_for(lambda n=count: len(set(served(linux.guest))) == n, LIMIT, f"{count} threads to serve it")
        linux.works()
        migrate(linux, here)
        wait_for(lambda: "linux" not in vbmqd.domains(), LIMIT, "vbmqd to forget the guest")
        linux.works()
        assert linux.disk_records() == device
        arrives()
        migrate(linux, here)
        linux.works()
        assert linux.disk_records() == device
        print(f"the guest says: {linux.ends_well()}")
        there.guests.clear()


def described(program, what, tmp_path):
    """What migrates, device by device, of one machine type."""
    path = tmp_path / "vmstate.json"
    subprocess.run([program, "-M", what, "-nodefaults", "-display", "none", "-dump-vmstate", path], timeout=120, check=True)
    return json.loads(path.read_text())


@pytest.mark.parametrize("machine", ["pc-q35-10.0", "pc-i440fx-10.0"])
@pytest.mark.parametrize("other", OTHERS)
def test_what_migrates_is_the_same(tmp_path, other, machine):
    """Every field of every section (-dump-vmstate). Debian's own QEMU is built with more devices, and those it has alone."""
    theirs, ours = described(OTHERS[other], machine, tmp_path), described(QEMU, machine, tmp_path)
    assert len(ours) > 100 and "virtio-blk-device" in ours
    assert not set(ours) - set(theirs)
    if other == "unpatched":
        assert ours == theirs
    assert {k: theirs[k] for k in ours} == ours
