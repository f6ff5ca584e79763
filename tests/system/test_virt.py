# SPDX-License-Identifier: LGPL-2.1-or-later
"""lib/virt and lib/capture on a real libvirtd and QEMU: what they say is what /proc says."""

import errno
import os
import signal

import pytest

from vbmqtest import Disk, Libvirtd, cpulist, wait_for
from vbmqtest.actctl import Actctl

VBMQ = "urn:vbmq:domain:1"
METADATA = f"<vbmq:domain xmlns:vbmq='{VBMQ}' enabled='yes' priority='7'><vbmq:iothreads count='2'/></vbmq:domain>"


@pytest.fixture(scope="module")
def lv():
    with Libvirtd() as libvirtd:
        yield libvirtd


@pytest.fixture
def act(lv):
    with Actctl(lv.uri) as a:
        assert "error" not in a.opened, a.opened
        yield a


@pytest.fixture
def guest(lv):
    g = lv.guest("db1", vcpus=2, iothreads=2, disks=[Disk("vda", queues=4, mapping=[(1, [0, 2]), (2, [1, 3])]), Disk("vdb")],
                 vcpupin={0: "1"}, iothreadpin={2: "0"}, metadata=METADATA)
    yield g
    if g.pid:
        g.destroy()
    g.undefine()


def captured(act, name):
    answer = act.ok("capture")
    return next(d for d in answer["snapshot"]["domains"] if d["name"] == name)


def again(act):
    return act.ok("again")["snapshot"]["domains"][0]


def thread(domain, kind, number):
    return next(t for t in domain["threads"] if t["kind"] == kind and t["id"] == number)


def test_capture_is_the_truth(guest, act):
    domain = captured(act, "db1")
    truth = guest.threads()
    assert domain["pid"] == guest.pid and domain["id"] == guest.id and domain["uuid"] == guest.uuid
    assert domain["state"] == "paused"
    for name, kind, number in (("vcpu0", "vcpu", 0), ("vcpu1", "vcpu", 1), ("iothread1", "iothread", 1),
                               ("iothread2", "iothread", 2)):
        t = thread(domain, kind, number)
        assert t["tid"] == truth[name].tid and t["start"] == truth[name].start
        assert cpulist(t["affinity"]) == truth[name].affinity
    assert cpulist(thread(domain, "vcpu", 0)["pin"]) == {1}
    assert cpulist(thread(domain, "iothread", 2)["affinity"]) == {0}
    own = {"vcpu0", "vcpu1", "iothread1", "iothread2"}
    rest = frozenset().union(*(t.affinity for n, t in truth.items() if n not in own))
    emulator = thread(domain, "emulator", 0)
    assert cpulist(emulator["affinity"]) == rest and emulator["tid"] == guest.pid
    assert emulator["start"] == truth["main"].start


def test_capture_of_disks(lv, guest, act):
    if not lv.maps:
        pytest.skip("libvirt or QEMU here is too old for queue maps")
    disks = {d["target"]: d for d in captured(act, "db1")["disks"]}
    assert [q["iothread"] for q in disks["vda"]["queues"]] == [1, 2, 1, 2]
    # without queues= QEMU makes as many as vCPUs, on the main loop without a mapping
    assert [q["iothread"] for q in disks["vdb"]["queues"]] == [0, 0]
    assert disks["vda"]["alias"] == "virtio-disk0"


def test_capture_twice_is_the_same(guest, act):
    assert act.ok("capture")["snapshot"] == act.ok("capture")["snapshot"]


def test_queues_that_only_qemu_knows(lv, act):
    """A map without queue numbers and without queues=: round robin over as many queues as QEMU made."""
    if not lv.maps:
        pytest.skip("libvirt or QEMU here is too old for queue maps")
    g = lv.guest("rr", vcpus=3, iothreads=2, disks=[Disk("vda", mapping=[(1, None), (2, None)])])
    try:
        want = g.qmp("qom-get", path="/machine/peripheral/virtio-disk0", property="iothread-vq-mapping")
        assert [m["iothread"] for m in want] == ["iothread1", "iothread2"]
        assert [q["iothread"] for q in captured(act, "rr")["disks"][0]["queues"]] == [1, 2, 1]
    finally:
        g.destroy()
        g.undefine()


def test_pins(guest, act):
    act.ok("hold", "db1")
    for kind, number, name in (("vcpu", 1, "vcpu1"), ("iothread", 1, "iothread1")):
        for cpus in ("0", "1", "0-1"):
            assert act.ok("pin", kind, number, cpus)["cpus"] == cpus
            assert guest.threads()[name].affinity == cpulist(cpus)
    assert "<iothreadpin iothread='1' cpuset='0-1'/>" in guest.xml()
    assert "iothreadpin iothread='1'" not in guest.xml(inactive=True)


def test_read_again_after_pins(lv, act):
    """Without the monitor, and yet what a whole reading says; whatever is not as it was is found."""
    g = lv.guest("again", vcpus=1, max_vcpus=2, iothreads=1)
    try:
        act.ok("hold", "again")
        act.ok("pin", "iothread", 1, "1")
        act.ok("pin", "emulator", 0, "0")
        quick = again(act)
        assert quick == captured(act, "again")
        assert {t["kind"]: t["affinity"] for t in quick["threads"] if t["kind"] != "vcpu"} == {
            "iothread": "1", "emulator": "0"}
        os.kill(g.pid, signal.SIGSTOP)  # it cannot be asked, and need not be
        try:
            assert again(act) == quick
        finally:
            os.kill(g.pid, signal.SIGCONT)
        g.virsh("setvcpus", 2, "--live")
        g.virsh("iothreadadd", 5, "--live")
        whole = again(act)
        assert whole == captured(act, "again")
        assert len(whole["threads"]) == 5
    finally:
        g.destroy()
        g.undefine()


def test_pin_emulator_spares_a_thread_that_came_since(guest, act):
    """An I/O thread that the snapshot does not know is told by its name."""
    act.ok("hold", "db1")
    guest.virsh("iothreadadd", 6, "--live")
    before = guest.threads()
    assert act.ok("pin", "emulator", 0, "0")["cpus"] == "0"
    after = guest.threads()
    assert after["iothread6"].affinity == before["iothread6"].affinity != {0}
    assert after["main"].affinity == {0}


def test_pin_emulator_moves_all_the_rest_and_nothing_else(guest, act):
    before = guest.threads()
    act.ok("hold", "db1")
    assert act.ok("pin", "emulator", 0, "1")["cpus"] == "1"
    own = {"vcpu0", "vcpu1", "iothread1", "iothread2"}
    after = guest.threads()
    assert len(set(after) - own) >= 2
    for name, t in after.items():
        assert t.affinity == (before[name].affinity if name in own else {1}), name


def test_odd_tasks_and_single_task_pin(guest, act):
    act.ok("hold", "db1")
    truth = guest.threads()
    other = next(t for n, t in truth.items() if n.startswith("IO mon_iothread"))
    assert act.ok("pin-task", other.tid, other.start, "0")["cpus"] == "0"
    assert guest.threads()["main"].affinity == {0, 1}
    assert act.ok("domain", "db1")["odd"] == [[other.tid, "0"]]
    # the number of a thread that is not the one meant
    assert act("pin-task", other.tid, other.start + 1, "1")["error"] == errno.ESRCH
    assert guest.affinities()[other.tid] == {0}


def test_add_pin_poll_delete_iothread(guest, act):
    act.ok("hold", "db1")
    assert act.ok("add", 7)["exists"] is True
    assert "iothread7" in guest.threads()
    assert act.ok("pin", "iothread", 7, "1")["cpus"] == "1"
    assert guest.threads()["iothread7"].affinity == {1}
    # the emulator's pin must leave the new one alone, although the held snapshot does not know it
    assert act.ok("pin", "emulator", 0, "0")["cpus"] == "0"
    assert guest.threads()["iothread7"].affinity == {1}
    assert act.ok("polling", 7, 1000000, 1000, 1)["polling"] == [1000000, 1000, 1]
    told = next(i for i in guest.qmp("query-iothreads") if i["id"] == "iothread7")
    assert (told["poll-max-ns"], told["poll-grow"], told["poll-shrink"]) == (1000000, 1000, 1)
    assert act.ok("polling", 7, 32768, 0, 0)["polling"] == [32768, 0, 0]
    assert act.ok("del", 7)["exists"] is False
    assert "iothread7" not in guest.threads()
    assert act("pin", "iothread", 7, "1")["error"]


def test_map_queues_needs_a_patched_qemu(guest, act):
    act.ok("hold", "db1")
    assert act("map", "vda", "1,1,1,1")["error"] == errno.ENOTSUP


def test_capabilities(guest, act):
    caps = act.ok("domain", "db1")["caps"]
    # pin, polling, add-iothread, cold-map: libvirt >= 10.0 and QEMU >= 9.0 as installed; no live map in stock QEMU
    assert caps & 0b10111 == 0b00111
    version = lv_version(guest)
    assert bool(caps & 0b1000) == (version >= (10, 0))


def lv_version(guest):
    text = guest.libvirtd.virsh("version", "--daemon")
    line = next(line for line in text.splitlines() if "daemon" in line)
    return tuple(map(int, line.split()[-1].split(".")))


def test_restart_is_another_instance(guest, act):
    act.ok("hold", "db1")
    act.ok("check")
    guest.destroy()
    guest.start()
    assert act("check")["error"] == errno.ENOENT
    assert act("pin", "vcpu", 0, "0")["error"] in (errno.ESRCH, errno.ENOENT)
    assert guest.threads()["vcpu0"].affinity == {1}


def test_unknown_domain(act):
    assert act("hold", "nobody")["error"] == errno.ENOENT


def test_bad_metadata_is_told_and_does_not_hide_the_domain(lv, act):
    bad = METADATA.replace("count='2'", "count='many'")
    g = lv.guest("badmeta", metadata=bad)
    try:
        answer = act.ok("domain", "badmeta")
        assert "many" in answer["metadata_error"]
        seen = captured(act, "badmeta")
        assert seen["pid"] == g.pid
        assert seen["metadata_error"].startswith("badmeta:") and "many" in seen["metadata_error"]
    finally:
        g.destroy()
        g.undefine()


def test_list(guest, act):
    names = {d["name"]: d["active"] for d in act.ok("list")["domains"]}
    assert names["db1"] is True
    guest.destroy()
    names = {d["name"]: d["active"] for d in act.ok("list")["domains"]}
    assert names["db1"] is False


def test_events(lv, act):
    def reasons():
        seen.extend((e["event"], e["reason"]) for e in act.events() if e.get("name") == "ev1")
        return seen

    seen = []
    g = lv.guest("ev1", metadata=METADATA)
    wait_for(lambda: ("changed", "started") in reasons(), 5, "the start event")
    g.virsh("vcpupin", 0, 0)
    wait_for(lambda: ("tuned", "tunable") in reasons(), 5, "the pin event")
    g.virsh("metadata", "--uri", VBMQ, "--key", "vbmq", "--live", f"<domain xmlns='{VBMQ}' enabled='no'/>")
    wait_for(lambda: ("changed", "metadata") in reasons(), 5, "the metadata event")
    seen.clear()
    g.virsh("metadata", "--uri", "urn:other:1", "--key", "o", "--live", "<other/>")
    g.virsh("attach-disk", make_disk(lv), "vdz", "--subdriver", "raw")
    wait_for(lambda: ("changed", "device-added") in reasons(), 5, "the hot-plug event")
    assert ("changed", "metadata") not in seen
    g.destroy()
    wait_for(lambda: ("gone", "stopped") in reasons(), 5, "the stop event")
    g.undefine()


def make_disk(lv):
    path = f"{lv.dir}/disks/hot.raw"
    with open(path, "wb") as f:
        f.truncate(1 << 20)
    return path


def test_hot_plugged_disk_is_captured(lv, act):
    g = lv.guest("hot", disks=1)
    try:
        g.virsh("attach-disk", make_disk(lv), "vdz", "--subdriver", "raw")
        assert [d["target"] for d in captured(act, "hot")["disks"]] == ["vda", "vdz"]
    finally:
        g.destroy()
        g.undefine()


def test_vcpu_hot_plug(lv, act):
    g = lv.guest("vcpus", vcpus=1, max_vcpus=3)
    try:
        assert [t["id"] for t in captured(act, "vcpus")["threads"] if t["kind"] == "vcpu"] == [0]
        g.virsh("setvcpus", 3, "--live")
        domain = captured(act, "vcpus")
        truth = g.threads()
        assert {t["id"]: t["tid"] for t in domain["threads"] if t["kind"] == "vcpu"} == {
            i: truth[f"vcpu{i}"].tid for i in range(3)}
        # queues are as many as vCPUs were when the disk was made
        assert len(domain["disks"][0]["queues"]) == 1
    finally:
        g.destroy()
        g.undefine()
