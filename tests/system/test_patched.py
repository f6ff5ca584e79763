# SPDX-License-Identifier: LGPL-2.1-or-later
"""What vbmqd does with QEMU that has our patches: guests are converted while they run, kept so, and put back.

VBMQ_QEMU (meson option "qemu") names that QEMU; without it, or with one that has not got the patches, every test here is skipped.
The truth is asked of QEMU itself (query-virtio-placement, qom-get) and of /proc."""

import json
import os
import re
import subprocess
import time

import pytest

from vbmqtest import Disk, Libvirtd, cpulist, wait_for
from vbmqtest.guest import disk_xml
from vbmqtest.host import alone, core_of, look
from vbmqtest.proc import SCALE, online_cpus

QEMU = os.environ.get("VBMQ_QEMU")
ALL = frozenset(online_cpus())
LIMIT = 120
SHARED = "<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1'><vbmq:iothreads count='{}' exclusive='none'/></vbmq:domain>"
PORTS = "<controller type='pci' index='0' model='pcie-root'/>" + "".join(
    f"<controller type='pci' index='{i}' model='pcie-root-port'/>" for i in range(1, 6))


def missing():
    if not QEMU:
        return "VBMQ_QEMU names no patched QEMU"
    if not os.access(QEMU, os.X_OK):
        return f"VBMQ_QEMU={QEMU} cannot be run"
    qmp = '{"execute":"qmp_capabilities"}{"execute":"query-commands"}{"execute":"quit"}'
    done = subprocess.run([QEMU, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"], input=qmp, text=True,
                          capture_output=True, timeout=60 * SCALE, check=False)
    lacks = [c for c in ("virtio-blk-set-iothread-vq-mapping", "query-virtio-placement") if f'"{c}"' not in done.stdout]
    return f"{QEMU} has no {' and no '.join(lacks)}" if lacks else None


WHY = missing()
pytestmark = [pytest.mark.skipif(bool(WHY), reason=str(WHY)),
              pytest.mark.skipif(len(set(core_of().values())) < 2, reason="one core: there is none to dedicate")]


@pytest.fixture(name="libvirtd", scope="module")
def _libvirtd():
    with Libvirtd(emulator=QEMU) as lv:
        yield lv


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


def plain(world, name="db1", wish=2, queues=4, start=True, **kw):
    """A guest that was defined with nothing but a disk, and a wish."""
    metadata = SHARED.format(wish) if isinstance(wish, int) else wish
    guest = world.lv.define(name, metadata=metadata, vcpus=kw.pop("vcpus", queues), disks=[Disk("vda", queues=queues)], **kw)
    return guest.start() if start else guest


def wait_served(guest, want, alias="virtio-disk0"):
    wait_for(lambda: served(guest, alias) == want, LIMIT, f"{alias} of {guest.name} to be served by {want}")
    assert told(guest, alias) == want


def as_found(guest, before):
    """All threads that were there are where they were, and no other ones are there."""
    now = guest.affinities()
    return now == {t: before.get(t) for t in now} and not iothreads(guest)


# --- conversion -----------------------------------------------------------------------------------------------------------


def test_a_plain_guest_is_converted_while_it_runs_and_put_back(world):
    """I/O threads are added through libvirt, and the queues moved to them; restore gives back what was found."""
    guest = plain(world)
    before, pid = guest.affinities(), guest.pid
    assert served(guest) == [None] * 4 and not iothreads(guest)
    vbmqd = world.vbmqd()
    assert vbmqd.domains()["db1"][1] == "live-map"
    assert served(guest) == told(guest) == ["iothread1", "iothread1", "iothread2", "iothread2"]
    listed = guest.virsh("iothreadinfo")
    assert sorted(re.findall(r"^\s*(\d+)\s", listed, re.M)) == ["1", "2"], listed
    verified = vbmqd.verify()
    assert verified["ok"] and verified["counts"]["bad_checks"] == 0
    plan = vbmqd.fresh_plan()[1]
    assert not plan["steps"] and plan["domains"][0]["capability"] == "live-map"
    kinds = {e["kind"] for e in vbmqd.undo()["entries"]}
    assert {"added", "map"} <= kinds

    report = vbmqd.restore()
    assert report["ok"], report
    assert guest.pid == pid
    assert served(guest) == [None] * 4 and told(guest) == []
    wait_for(lambda: as_found(guest, before), LIMIT, "all to be as found")
    assert not vbmqd.undo()["entries"]
    assert "<iothreads>" not in guest.xml()


def test_an_iothread_of_its_own_core_polls_as_it_should(world):
    """The default wish: a core of its own and dedicated polling, where QEMU has a mode for it (long polling where not)."""
    vbmqd = world.vbmqd()
    guest = plain(world, wish="<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1'><vbmq:iothreads count='1'/></vbmq:domain>")
    wait_served(guest, ["iothread1"] * 4)
    wait_for(lambda: alone(guest), LIMIT, "its I/O thread to be alone on a core")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    told = guest.qmp("query-iothreads")[0]
    if "poll-mode" in told:
        assert told["poll-mode"] == "dedicated"
    else:
        assert (told["poll-max-ns"], told["poll-grow"], told["poll-shrink"]) == (1000000, 1000, 1)
    domain = vbmqd.snapshot()["domains"][0]
    assert ("poll-mode" in domain["capabilities"]) == ("poll-mode" in told)
    assert vbmqd.restore()["ok"]
    assert served(guest) == [None] * 4 and not iothreads(guest) and not alone(guest)


def test_a_map_by_hand_in_the_xml_is_respected(world):
    """The owner's <driver iothread=> stays what it is; his other disk, of which he said nothing, is ours."""
    guest = world.lv.define("db1", metadata=SHARED.format(3), vcpus=4, iothreads=2,
                            disks=[Disk("vda", queues=4, iothread=2), Disk("vdb", queues=4)]).start()
    world.vbmqd()
    queues = placement(guest)
    assert [q["iothread"] for q in queues["virtio-disk0"]["queues"]] == ["iothread2"] * 4
    assert {q.get("iothread") for q in queues["virtio-disk1"]["queues"]} == {"iothread1", "iothread2", "iothread3"}


def test_a_disk_without_ioeventfd_stays_on_the_main_loop(world):
    """QEMU would refuse it; nobody keeps trying, and the plan says why."""
    disk = ("<disk type='file' device='disk'><driver name='qemu' type='raw' ioeventfd='off' queues='2'/>"
            "<source file='{}'/><target dev='vda' bus='virtio'/></disk>")
    path = f"{world.lv.dir}/disks/off.raw"
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    guest = world.lv.define("db1", metadata=SHARED.format(1), vcpus=2, disks=0, devices=disk.format(path)).start()
    vbmqd = world.vbmqd()
    assert [q.get("iothread") for q in placement(guest)["virtio-disk0"]["queues"]] == [None, None]
    codes = {d["code"] for d in vbmqd.fresh_plan()[1]["domains"][0]["diagnostics"]}
    assert "no-ioeventfd" in codes


def test_two_disks_share_the_threads(world):
    guest = world.lv.define("db1", metadata=SHARED.format(2), vcpus=2,
                            disks=[Disk("vda", queues=2), Disk("vdb", queues=2), Disk("vdc", queues=1)]).start()
    world.vbmqd()
    assert served(guest, "virtio-disk0") == served(guest, "virtio-disk1") == ["iothread1", "iothread2"]
    assert served(guest, "virtio-disk2")[0] in ("iothread1", "iothread2")


def test_a_wish_that_changes_is_followed(world):
    """From one thread to three, to one again: threads that are not needed any more go when nothing is mapped to them."""
    vbmqd = world.vbmqd()
    guest = plain(world, wish=1)
    wait_served(guest, ["iothread1"] * 4)

    def wish(count):
        guest.virsh("metadata", "--uri", "urn:vbmq:domain:1", "--key", "vbmq", "--live", "--set",
                    f"<domain><iothreads count='{count}' exclusive='none'/></domain>")

    wish(3)
    wait_for(lambda: len(set(served(guest))) == 3, LIMIT, "three threads to serve it")
    assert iothreads(guest) == ["iothread1", "iothread2", "iothread3"]
    wish(1)
    wait_served(guest, ["iothread1"] * 4)
    wait_for(lambda: iothreads(guest) == ["iothread1"], LIMIT, "the others to be gone")
    vbmqd.wait_verdict("ok", timeout=LIMIT)


# --- it stays so ----------------------------------------------------------------------------------------------------------


def test_restart_of_vbmqd_adopts_and_can_still_put_back(world):
    guest = plain(world)
    before = guest.affinities()
    vbmqd = world.vbmqd()
    want, threads = served(guest), guest.threads()
    vbmqd.end()
    vbmqd.start()
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert served(guest) == want and guest.threads() == threads
    assert not vbmqd.fresh_plan()[1]["steps"]
    assert vbmqd.restore()["ok"]
    assert served(guest) == [None] * 4 and as_found(guest, before)


def test_a_map_that_somebody_changed_is_repaired(world):
    """By the QMP command, to the main loop and to another thread: no event tells of it, the re-check sees it."""
    vbmqd = world.vbmqd(recheck="1s")
    guest = plain(world)
    want = ["iothread1", "iothread1", "iothread2", "iothread2"]
    wait_served(guest, want)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    vbmqd.call("Pause")
    guest.qmp("virtio-blk-set-iothread-vq-mapping", id="virtio-disk0")
    assert served(guest) == [None] * 4
    verified = vbmqd.verify()
    assert not verified["ok"] and [c["disk"] for c in verified["checks"] if c["check"] == "map"] == ["vda"]
    vbmqd.call("Resume")
    wait_served(guest, want)
    guest.qmp("virtio-blk-set-iothread-vq-mapping", id="virtio-disk0", mapping=[{"iothread": "iothread2"}])
    wait_served(guest, want)
    vbmqd.wait_verdict("ok", timeout=LIMIT)


def test_a_disk_that_is_plugged_in_is_served_too(world, tmp_path):
    vbmqd = world.vbmqd()
    guest = plain(world, devices=PORTS)
    wait_served(guest, ["iothread1", "iothread1", "iothread2", "iothread2"])
    image, xml = tmp_path / "vdb.raw", tmp_path / "vdb.xml"
    image.write_bytes(bytes(1 << 20))
    xml.write_text(disk_xml(Disk("vdb", queues=2), str(image)))
    guest.virsh("attach-device", xml, "--live")
    wait_for(lambda: "virtio-disk1" in placement(guest) and served(guest, "virtio-disk1") == ["iothread1", "iothread2"], LIMIT,
             "the new disk's queues to be spread")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    guest.virsh("detach-device", xml, "--live")
    guest.virsh("reset")
    wait_for(lambda: "virtio-disk1" not in placement(guest), LIMIT, "the disk to be gone")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert served(guest) == ["iothread1", "iothread1", "iothread2", "iothread2"]


def test_reset_keeps_the_map_and_save_and_restore_gets_it_back(world):
    """A reset changes nothing. A guest that is saved and restored is a new QEMU with the queues on the main loop: it is converted
    again, and the undo record is about the new one."""
    vbmqd = world.vbmqd()
    guest = plain(world)
    want = ["iothread1", "iothread1", "iothread2", "iothread2"]
    wait_served(guest, want)
    guest.virsh("reset")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert served(guest) == want
    pid, image = guest.pid, f"{world.lv.dir}/disks/db1.save"
    guest.virsh("save", image, timeout=120)
    world.lv.virsh("restore", image, "--paused", timeout=120)
    assert guest.pid != pid
    wait_served(guest, want)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    tasks = set(guest.affinities())
    assert {e["tid"] for e in vbmqd.undo()["entries"] if e.get("tid")} <= tasks


def test_restart_of_libvirtd(world):
    """libvirt has the added threads in its live XML; of the map it knows nothing, and need not."""
    vbmqd = world.vbmqd()
    guest = plain(world)
    want = ["iothread1", "iothread1", "iothread2", "iothread2"]
    wait_served(guest, want)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    world.lv.restart()
    wait_for(lambda: str(vbmqd.get("State")) == "idle" and "db1" in vbmqd.domains(), LIMIT, "vbmqd to be back")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert served(guest) == want and not vbmqd.fresh_plan()[1]["steps"]


# --- block jobs -----------------------------------------------------------------------------------------------------------


def test_a_block_job_runs_meanwhile(world):
    """The disk is being mirrored, slowly, while its queues are moved there and back; the mirror then comes to its end."""
    guest = plain(world)
    copy = f"{world.lv.dir}/disks/copy.raw"
    guest.virsh("blockcopy", "vda", copy, "--transient-job", "--bandwidth", "65536", "--bytes", "--format", "raw")
    vbmqd = world.vbmqd()
    assert served(guest) == ["iothread1", "iothread1", "iothread2", "iothread2"]
    assert "Copy" in guest.virsh("blockjob", "vda", "--info", "--raw")
    assert vbmqd.restore()["ok"]
    assert served(guest) == [None] * 4
    assert vbmqd.call("Resume") is None
    wait_served(guest, ["iothread1", "iothread1", "iothread2", "iothread2"])
    guest.virsh("blockjob", "vda", "--bandwidth", "0")

    def copied():
        told = dict(line.split("=", 1) for line in guest.virsh("blockjob", "vda", "--info", "--raw").split() if "=" in line)
        return told["cur"] == told["end"]

    wait_for(copied, LIMIT, "the copy to be complete")
    guest.virsh("blockjob", "vda", "--pivot")
    assert "copy.raw" in guest.xml()
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert served(guest) == ["iothread1", "iothread1", "iothread2", "iothread2"]


# --- Linux guests -----------------------------------------------------------------------------------------------------------


@pytest.fixture(name="linux", scope="module")
def _linux():
    """{"kernel": path, "initrd": path, "initrd-small": path} of tools/guest-image; VBMQ_GUEST_IMAGE: a directory with copies."""
    copies = os.environ.get("VBMQ_GUEST_IMAGE")
    if copies:
        return {"kernel": f"{copies}/vmlinuz", "initrd": f"{copies}/initrd", "initrd-small": f"{copies}/initrd-small"}
    tool = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "guest-image")
    done = subprocess.run([tool, "--offline"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no Linux guest: {done.stderr.strip()[-200:]}")
    return dict(line.split("=", 1) for line in done.stdout.split())


class Linux:
    """A booted guest with one disk of so many queues. run: what its /init does (tools/lib/guest-init.sh)."""

    def __init__(self, world, images, vcpus, queues, run, wish=None, small=False, more="", **kw):
        self.console, path = f"{world.lv.dir}/disks/linux.console", f"{world.lv.dir}/disks/linux.raw"
        for old in (self.console, path):
            if os.path.exists(old):
                os.unlink(old)
        with open(path, "wb") as f:
            f.truncate(64 << 20)
        devices = (f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='native' queues='{queues}'/>"
                   f"<source file='{path}'/><target dev='vda' bus='virtio'/></disk>"
                   f"<serial type='file'><source path='{self.console}'/><target port='0'/></serial>")
        self.guest = world.lv.define(
            "linux", vcpus=vcpus, disks=0, devices=devices, metadata=wish, kernel=images["kernel"], memory_mib=384,
            initrd=images["initrd-small" if small else "initrd"],
            cmdline=f"console=ttyS0 quiet vbmq.interval=1 {run} {more}", **kw).start(running=True)
        wait_for(lambda: self.records("READY") or not self.guest.pid, 400, "the guest to boot")
        if not self.guest.pid:
            with open(f"{world.lv.dir}/log/qemu/linux.log", encoding="utf-8", errors="replace") as f:
                raise AssertionError(f"QEMU ended: {f.read()[-400:]}")
        wait_for(lambda: "run=none" in run or [r for r in self.records("IOPS") if r["read"] != "0"], 400, "its load to begin")

    def records(self, word):
        """The guest's own lines "VBMQ-word key=value ..." as dictionaries."""
        try:
            with open(self.console, encoding="utf-8", errors="replace") as f:
                return [dict(re.findall(r"(\w+)=(\S+)", x)) for x in f if x.startswith(f"VBMQ-{word} ") and x.endswith("\n")]
        except FileNotFoundError:
            return []

    def works(self):
        """Goes on: the next three reports of the guest itself show requests, and no error was seen."""
        have = len(self.records("IOPS"))
        wait_for(lambda: len(self.records("IOPS")) >= have + 3, LIMIT, "the guest to report rates")
        assert not self.records("ERROR")
        rates = [int(r["read"]) + int(r["write"]) for r in self.records("IOPS")[have + 1:]]
        assert all(rates), rates
        return rates


@pytest.mark.parametrize("vcpus,queues", [(4, 4), (4, 2), (3, 1)])
def test_completion_vcpus_are_what_linux_says(world, linux, vcpus, queues):
    """The vCPU that each queue interrupts, in vbmqd's snapshot, is where the guest's kernel has put that interrupt. (With
    more than eight possible vCPUs Linux addresses them one by one also where it has no x2APIC.)"""
    guest = Linux(world, linux, vcpus, queues, "vbmq.run=none", wish=SHARED.format(1), small=True, max_vcpus=9)
    says = {int(r["name"].rsplit(".", 1)[1]): int(r["affinity"]) for r in guest.records("IRQ") if "-req." in r["name"]}
    assert sorted(says) == list(range(queues)), says
    vbmqd = world.vbmqd()
    got = vbmqd.snapshot()["domains"][0]["disks"][0]["queues"]
    exact = {q: cpulist(x["vcpus"]) for q, x in enumerate(got) if x["exact"]}
    assert exact == {q: {v} for q, v in says.items()}, (got, says)
    assert len(set(says.values())) == len(says)
    _, document = world.ctl.json("stats", "linux")
    told = document["domains"][0]["disks"][0]["queues"]
    assert {q["index"]: cpulist(q["vcpus"]) for q in told if q.get("exact")} == exact


def test_interrupts_that_cannot_be_steered_are_told(world, linux):
    """A guest that does not use MSI-X: nothing is known of where its queues complete, and doctor says so."""
    guest = Linux(world, linux, 2, 2, "vbmq.run=none", small=True, more="pci=nomsi")
    queues = placement(guest.guest)["virtio-disk0"]
    assert queues["ioeventfd-started"] and not any("irq" in q for q in queues["queues"])
    _, snapshot = world.ctl.json("capture", "--direct")
    assert [(q["vcpus"], q["exact"]) for q in snapshot["domains"][0]["disks"][0]["queues"]] == [("", False)] * 2
    findings = world.ctl.json("doctor", "--direct", ok=(0, 1))[1]["findings"]
    assert [f for f in findings if f["subject"] == "linux" and "cannot be steered" in f["finding"]]


def test_a_guest_under_load_is_converted_remapped_and_put_back(world, linux):
    """fio writes, reads back and compares in the guest all the while. VBMQ_REMAPS: how often its queues move, all by vbmqd."""
    guest = Linux(world, linux, 2, 2, "vbmq.run=fio vbmq.fio=randrw,bs=4k,qd=4,jobs=2,verify", wish=SHARED.format(2))
    before = guest.guest.affinities()
    guest.works()
    _, document = world.ctl.json("stats", "linux")
    domain = document["domains"][0]
    assert domain["counters"]
    busy = [q for q in domain["disks"][0]["queues"] if q["requests"]]
    assert busy and all(q["iothread"] == 0 and q["kicks_per_1000"] > 0 for q in busy), document
    assert [t["iothread"] for t in domain["threads"]] == [0]

    vbmqd = world.vbmqd()
    assert served(guest.guest) == ["iothread1", "iothread2"]
    guest.works()
    _, document = world.ctl.json("stats", "linux")
    domain = document["domains"][0]
    assert [(q["iothread"], q["requests"] > 0) for q in domain["disks"][0]["queues"]] == [(1, True), (2, True)], document
    threads = {t["iothread"]: t for t in domain["threads"]}
    assert set(threads) == {0, 1, 2} and all(threads[i]["on_cpu"] > 0 for i in (1, 2))
    if "poll-mode" in vbmqd.snapshot()["domains"][0]["capabilities"]:
        assert all(threads[i]["busy"] + threads[i]["polling_time"] > 0 for i in (1, 2)), threads

    begin, moves = time.monotonic(), int(os.environ.get("VBMQ_REMAPS") or 10)
    for i in range(moves):
        count = 1 + i % 2
        guest.guest.virsh("metadata", "--uri", "urn:vbmq:domain:1", "--key", "vbmq", "--live", "--set",
                          f"<domain><iothreads count='{count}' exclusive='none'/></domain>")
        wait_for(lambda n=count: len(set(served(guest.guest))) == n, LIMIT, f"{count} threads to serve it (move {i})")
    took = time.monotonic() - begin
    rates = guest.works()
    print(f"{moves} moves in {took:.1f} s, then {rates} IOPS")

    assert vbmqd.restore()["ok"]
    assert served(guest.guest) == [None] * 2 and not iothreads(guest.guest)
    guest.works()
    after = guest.guest.affinities()
    assert all(after[t] == cpus for t, cpus in before.items() if t in after)
