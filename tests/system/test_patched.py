# SPDX-License-Identifier: LGPL-2.1-or-later
"""What vbmqd does with QEMU that has our patches: guests are converted while they run, kept so, and put back.

VBMQ_QEMU (meson option "qemu") names that QEMU; without it, or with one that has not got the patches, every test here is skipped.
The truth is asked of QEMU itself (query-virtio-placement, qom-get) and of /proc."""

import re

import pytest

from vbmqtest import Disk, wait_for
from vbmqtest.guest import disk_xml
from vbmqtest.host import alone
from vbmqtest.patched import QEMU, iothreads, needed, placement, served, told

LIMIT = 120
SHARED = "<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1'><vbmq:iothreads count='{}' exclusive='none'/></vbmq:domain>"
PORTS = "<controller type='pci' index='0' model='pcie-root'/>" + "".join(
    f"<controller type='pci' index='{i}' model='pcie-root-port'/>" for i in range(1, 6))
LIBVIRTD = {"emulator": QEMU}
pytestmark = needed()


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


def test_dedicated_polling_comes_and_goes_with_the_core(world):
    """Of a thread that was there before: dedicated while it is alone on its core, adaptive while it is not, and in the end as found."""
    def state():
        told = guest.qmp("query-iothreads")[0]
        return {k: told.get(k) for k in ("poll-mode", "poll-max-ns", "poll-grow", "poll-shrink")}

    def wish(exclusive):
        guest.virsh("metadata", "--uri", "urn:vbmq:domain:1", "--key", "vbmq", "--live", "--set",
                    f"<domain><iothreads count='1' exclusive='{exclusive}'/></domain>")

    guest = world.lv.define("db1", metadata=SHARED.format(1), vcpus=2, iothreads=1, disks=[Disk("vda", queues=2, iothread=1)]).start()
    found = state()
    if not found["poll-mode"]:
        pytest.skip("this QEMU has no poll-mode")
    assert found["poll-mode"] == "adaptive"
    vbmqd = world.vbmqd()
    assert state()["poll-mode"] == "adaptive" and not alone(guest)
    wish("core")
    wait_for(lambda: state()["poll-mode"] == "dedicated", LIMIT, "dedicated polling")
    assert alone(guest)
    vbmqd.wait_verdict("ok", timeout=LIMIT)

    guest.qmp("qom-set", path="/objects/iothread1", property="poll-mode", value="adaptive")
    wait_for(lambda: [c["check"] for c in vbmqd.verify()["checks"] if c["check"] != "ok"] == ["polling"], LIMIT, "verify to tell")
    wait_for(lambda: vbmqd.apply()["ok"] and state()["poll-mode"] == "dedicated", LIMIT, "apply to mend it")
    assert alone(guest)

    wish("none")
    wait_for(lambda: state()["poll-mode"] == "adaptive" and not alone(guest), LIMIT, "its core to be given up")
    wish("core")
    wait_for(lambda: state()["poll-mode"] == "dedicated" and alone(guest), LIMIT, "dedicated polling again")
    assert vbmqd.restore()["ok"]
    assert state() == found and not alone(guest)


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
    # More than once: on a busy machine a guest may be slow to answer, and is then left out.
    wait_for(lambda: [c["disk"] for c in vbmqd.verify()["checks"] if c["check"] == "map"] == ["vda"], LIMIT, "verify to tell")
    vbmqd.call("Resume")
    wait_served(guest, want)
    guest.qmp("virtio-blk-set-iothread-vq-mapping", id="virtio-disk0", mapping=[{"iothread": "iothread2"}])
    wait_served(guest, want)
    vbmqd.wait_verdict("ok", timeout=LIMIT)


def test_a_map_that_somebody_changed_is_respected_if_the_policy_says_so(world):
    """With drift=respect, and over a restart of vbmqd. The main loop is where QEMU puts a queue, not where somebody wants it."""
    vbmqd = world.vbmqd(policy="drift=respect\n")
    guest = plain(world)
    want, other = ["iothread1", "iothread1", "iothread2", "iothread2"], ["iothread2", "iothread1", "iothread2", "iothread1"]
    by_hand = [{"iothread": "iothread1", "vqs": [1, 3]}, {"iothread": "iothread2", "vqs": [0, 2]}]

    def change():
        guest.qmp("virtio-blk-set-iothread-vq-mapping", id="virtio-disk0", mapping=by_hand)
        wait_for(lambda: codes() == ["drift"], LIMIT, "the plan to tell")

    def codes():
        found = vbmqd.fresh_plan()[1]["domains"][0]["diagnostics"]
        return [d["code"] for d in found if d["subject"] == "db1/vda"]

    wait_served(guest, want)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    change()
    assert "somebody changed affinities or queue maps" in vbmqd.log
    assert vbmqd.verify()["ok"]
    assert not vbmqd.fresh_plan()[1]["steps"] and vbmqd.apply()["ok"]
    assert served(guest) == other
    vbmqd.end()
    vbmqd.start()
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    wait_for(lambda: codes() == ["drift"], LIMIT, "the plan to tell")
    assert served(guest) == other

    guest.qmp("virtio-blk-set-iothread-vq-mapping", id="virtio-disk0")
    wait_for(lambda: vbmqd.apply()["ok"] and served(guest) == want, LIMIT, "its queues to be mapped again")
    change()
    image = f"{world.lv.dir}/disks/db1.save"
    guest.virsh("save", image, timeout=120)
    world.lv.virsh("restore", image, "--paused", timeout=120)
    wait_served(guest, want)
    change()
    assert vbmqd.restore()["ok"]
    assert served(guest) == [None] * 4


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
