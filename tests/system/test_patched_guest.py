# SPDX-License-Identifier: LGPL-2.1-or-later
"""Linux guests on QEMU that has our patches: what they say themselves of their disks, their interrupts and their data.

VBMQ_QEMU (meson option "qemu") names that QEMU; without it, or with one that has not got the patches, every test here is skipped.
VBMQ_REMAPS: how often the queues of a guest's disks are moved under load (default 100); the figures of 1,000 and more
are in docs/benchmarks/patched-qemu.md."""

import os
import time

import pytest

from vbmqtest import cpulist, wait_for
from vbmqtest.linux import BOOT, Linux, image_is_whole, images
from vbmqtest.patched import QEMU, iothreads, needed, placement, served

LIMIT = 120
URN = "urn:vbmq:domain:1"
SHARED = f"<vbmq:domain xmlns:vbmq='{URN}'><vbmq:iothreads count='{{}}' exclusive='none'/></vbmq:domain>"
LIBVIRTD = {"emulator": QEMU}
pytestmark = needed()


@pytest.fixture(name="linux", scope="module")
def _linux():
    return images()


# --- where queues complete ------------------------------------------------------------------------------------------------


def told_by_linux(guest):
    """{disk alias: {queue: effective affinity of its interrupt}}; disks are numbered as their devices are named."""
    disks = guest.disk_records()
    names = {record["virtio"]: f"virtio-disk{ord(target[2]) - ord('a')}" for target, record in disks.items()}
    told = {name: {} for name in names.values()}
    for record in guest.records("IRQ"):
        device, _, what = record["name"].partition("-")
        if device in names and what.startswith("req."):
            told[names[device]][int(what[4:])] = record["affinity"]
    return told


@pytest.mark.parametrize("vcpus,possible", [(n, None) for n in range(1, 9)] + [(4, 9)])
def test_queues_complete_where_linux_says(world, linux, vcpus, possible):
    """One disk for each number of queues up to that of vCPUs: QEMU's vCPU of every queue is the one in
    /proc/irq/*/effective_affinity_list. Up to eight possible vCPUs Linux addresses them as bits of a set (xAPIC, flat), and
    one by one where there are more."""
    guest = Linux(world.lv, linux, vcpus, range(1, vcpus + 1), "vbmq.run=none", small=True, disk_mib=1, max_vcpus=possible)
    linux_says = told_by_linux(guest)
    qemu_says = {alias: {q["queue"]: str(q.get("irq", {}).get("cpu-index", "?")) for q in device["queues"]}
                 for alias, device in placement(guest.guest).items()}
    print(f"{vcpus} vCPUs{f' of {possible}' if possible else ''}: vCPU by queue")
    for queues in range(1, vcpus + 1):
        alias = f"virtio-disk{queues - 1}"
        print(f"  {queues} queues: Linux {' '.join(linux_says[alias].values())}   QEMU {' '.join(qemu_says[alias].values())}")
        assert sorted(linux_says[alias]) == list(range(queues))
        if queues == vcpus:
            assert sorted(linux_says[alias].values()) == [str(v) for v in range(vcpus)]
    assert qemu_says == linux_says


def test_completion_vcpus_get_into_the_snapshot(world, linux):
    """And from there to who asks for it."""
    guest = Linux(world.lv, linux, 4, 2, "vbmq.run=none", wish=SHARED.format(1), small=True, disk_mib=1)
    says = {q: cpulist(v) for q, v in told_by_linux(guest)["virtio-disk0"].items()}
    vbmqd = world.vbmqd()
    got = vbmqd.snapshot()["domains"][0]["disks"][0]["queues"]
    assert {q: cpulist(x["vcpus"]) for q, x in enumerate(got) if x["exact"]} == says
    _, document = world.ctl.json("stats", "linux")
    told = document["domains"][0]["disks"][0]["queues"]
    assert {q["index"]: cpulist(q["vcpus"]) for q in told if q.get("exact")} == says


def test_interrupts_that_cannot_be_steered_are_told(world, linux):
    """A guest that does not use MSI-X: nothing is known of where its queues complete, and doctor says so."""
    guest = Linux(world.lv, linux, 2, 2, "vbmq.run=none", small=True, more="pci=nomsi")
    queues = placement(guest.guest)["virtio-disk0"]
    assert queues["ioeventfd-started"] and not any("irq" in q for q in queues["queues"])
    _, snapshot = world.ctl.json("capture", "--direct")
    assert [(q["vcpus"], q["exact"]) for q in snapshot["domains"][0]["disks"][0]["queues"]] == [("", False)] * 2
    findings = world.ctl.json("doctor", "--direct", ok=(0, 1))[1]["findings"]
    assert [f for f in findings if f["subject"] == "linux" and "cannot be steered" in f["finding"]]


# --- remaps under load ----------------------------------------------------------------------------------------------------

VERIFY = "vbmq.run=fio vbmq.fio=randrw,bs=4k,qd=4,jobs=2,verify,whole"


def wish(guest, inner):
    guest.virsh("metadata", "--uri", URN, "--key", "vbmq", "--live", "--set", f"<domain>{inner}</domain>")


def test_a_guest_under_load_is_converted_and_put_back(world, linux):
    """fio writes, reads back and compares in the guest all the while; counters tell where the load is."""
    guest = Linux(world.lv, linux, 2, 2, VERIFY, wish=SHARED.format(2), disk_mib=16)
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

    for count in (1, 2, 1):
        wish(guest.guest, f"<iothreads count='{count}' exclusive='none'/>")
        wait_for(lambda n=count: len(set(served(guest.guest))) == n, LIMIT, f"{count} threads to serve it")
    assert vbmqd.restore()["ok"]
    assert served(guest.guest) == [None] * 2 and not iothreads(guest.guest)
    guest.works()
    after = guest.guest.affinities()
    assert all(after[t] == cpus for t, cpus in before.items() if t in after)
    guest.ends_well()


def test_a_guest_would_see_wrong_data(world, linux):
    """What the other tests stand on: somebody writes over a quarter of the disk, and the guest and its image tell."""
    guest = Linux(world.lv, linux, 2, 2, VERIFY, disk_mib=4)
    guest.works()
    with open(guest.disks["vda"], "r+b") as f:
        f.seek(1 << 20)
        f.write(bytes(1 << 20))
        f.flush()
        os.fsync(f.fileno())
    assert guest.ask("end", "END", timeout=BOOT)[0]["verify"] != "0"
    guest.guest.destroy()
    assert not image_is_whole(guest.disks["vda"])


def test_a_guest_under_load_is_remapped(world, linux):
    """Two disks whose wishes change places again and again: the one goes from two threads to one, the other from one to two.
    Counted is what QEMU says after every change, and it is what vbmqd says it did."""
    def inner(first):
        return (f"<iothreads count='2' exclusive='none'/><disk target='vda' iothreads='{first}'/>"
                f"<disk target='vdb' iothreads='{3 - first}'/>")

    def maps():
        now = placement(guest.guest)
        return {d: tuple(q.get("iothread") for q in now[d]["queues"]) for d in ("virtio-disk0", "virtio-disk1")}

    def done():
        return vbmqd.log.count("linux: map-queues 0: done")

    metadata = f"<vbmq:domain xmlns:vbmq='{URN}'>{inner(1).replace('<', '<vbmq:')}</vbmq:domain>"
    guest = Linux(world.lv, linux, 2, [2, 2], VERIFY, wish=metadata, disk_mib=16)
    assert maps() == {"virtio-disk0": (None, None), "virtio-disk1": (None, None)}
    vbmqd = world.vbmqd(debounce="10ms")
    last, wanted = maps(), int(os.environ.get("VBMQ_REMAPS") or 100)
    assert [len(set(m)) for m in last.values()] == [1, 2] and None not in last["virtio-disk0"] + last["virtio-disk1"]
    base, seen, flips, begin = done(), 0, 0, time.monotonic()
    while seen < wanted:
        flips += 1
        have = done()
        wish(guest.guest, inner(1 + flips % 2))
        wait_for(lambda n=have: done() >= n + 2, LIMIT, f"both disks to be moved (change {flips})")
        now = maps()
        assert [len(set(m)) for m in now.values()] == [1 + flips % 2, 2 - flips % 2], (flips, now)
        assert None not in now["virtio-disk0"] + now["virtio-disk1"]
        seen += sum(now[d] != last[d] for d in now)
        last = now
    took = time.monotonic() - begin
    assert seen == done() - base == 2 * flips, (seen, done() - base, flips)
    rates = guest.works()
    print(f"{seen} remaps under verified load in {took:.1f} s ({seen / took:.1f} a second), then {rates} IOPS")
    assert vbmqd.restore()["ok"]
    assert maps() == {"virtio-disk0": (None, None), "virtio-disk1": (None, None)} and not iothreads(guest.guest)
    print(f"the guest says: {guest.ends_well()}")
