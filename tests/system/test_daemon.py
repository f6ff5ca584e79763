# SPDX-License-Identifier: LGPL-2.1-or-later
"""vbmqd on a real libvirtd with real QEMU processes; /proc is the judge.

Two CPUs are enough: with one core kept for the shared set, one is left to be dedicated.
"""

import os
import signal
import threading
import time

import pytest

from vbmqtest import Disk, Libvirtd, wait_for
from vbmqtest.bus import Bus
from vbmqtest.ctl import Ctl
from vbmqtest.daemon import CallError, Vbmqd
from vbmqtest.host import nodes
from vbmqtest.proc import SCALE, online_cpus

PROGRAM = os.environ.get("VBMQ_TEST_VBMQD") or os.path.join(os.environ["VBMQ_BUILD"], "daemon", "vbmqd")
WISH = "<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1' enabled='yes' priority='{}'><vbmq:iothreads count='1'/></vbmq:domain>"
CONF = f"[daemon]\ncall-timeout={int(2 * SCALE)}s\n" + "recheck=1h\n[policy]\nshared-min-cores=1\n"
ALL = frozenset(online_cpus())

pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="needs two CPUs")


@pytest.fixture(name="lv", scope="module")
def _lv():
    with Libvirtd() as lv:
        yield lv


@pytest.fixture(autouse=True)
def _no_guests_left(lv):
    yield
    if lv.process is None:
        lv.start()
    for name, guest in list(lv.guests.items()):
        pid = guest.pid
        if pid:
            os.kill(pid, signal.SIGCONT)
            lv.virsh("destroy", name, check=False)
        guest.undefine()
        del lv.guests[name]


@pytest.fixture(name="make")
def _make(lv):
    made = []
    with Bus() as bus:
        def make(conf=CONF, **kw):
            made.append(Vbmqd(PROGRAM, bus, uri=lv.uri, conf=conf, **kw))
            return made[-1]

        yield make
        for daemon in made:
            print(daemon.log)
            daemon.stop()


@pytest.fixture(name="vbmqd")
def _vbmqd(make):
    daemon = make().start()
    daemon.wait_verdict("ok")
    return daemon


def managed(lv, name, priority=0, **kw):
    return lv.guest(name, metadata=WISH.format(priority), disks=[Disk("vda", iothread=1)], iothreads=1, **kw)


def places(guest):
    """Affinity of its I/O thread, and the union of all other threads' affinities."""
    threads = guest.threads()
    own = threads.pop("iothread1").affinity
    return own, frozenset().union(*(t.affinity for t in threads.values()))


def is_placed(guest):
    own, others = places(guest)
    return len(own) == 1 and not own & others


def lasting(*guests):
    """Affinities of the threads that live as long as their guest; QEMU starts and ends others as it likes."""
    found = {}
    for guest in guests:
        for name, thread in guest.threads().items():
            if "/" not in name or name.startswith("SPICE"):
                found[guest.name, name] = thread.affinity
    return found


def unchanged(before, guest):
    """No thread that was there before has another affinity now."""
    after = guest.affinities()
    return all(after[tid] == affinity for tid, affinity in before.items() if tid in after)


def wait_placed(*guests):
    for guest in guests:
        wait_for(lambda g=guest: is_placed(g), 20, f"{guest.name} to be placed")


@pytest.mark.scenario
def test_a_guest_starts(lv, vbmqd):
    wait_placed(managed(lv, "one"))
    vbmqd.wait_verdict("ok")
    assert vbmqd.domains()["one"][2] == "clean"
    checks = vbmqd.verify()["checks"]
    assert checks and all(c["check"] == "ok" for c in checks), checks


def test_a_guest_that_runs_already(lv, make):
    guest = managed(lv, "one")
    make().start().wait_verdict("ok")
    assert is_placed(guest)


@pytest.mark.scenario
def test_an_unmanaged_guest_is_held_off(lv, vbmqd):
    one = managed(lv, "one")
    wait_placed(one)
    own = places(one)[0]
    two = lv.guest("two", iothreads=1)
    wait_for(lambda: not own & frozenset().union(*two.affinities().values()), 20, "two to be held off the core of one")
    vbmqd.wait_verdict("ok")


def test_shortage_and_a_core_that_returns(lv, vbmqd):
    if len(ALL) != 2:
        pytest.skip("made for two CPUs")
    one = managed(lv, "one", priority=10)
    wait_placed(one)
    own = places(one)[0]
    two = managed(lv, "two", priority=5)
    vbmqd.wait_verdict("infeasible")
    wait_for(lambda: not own & frozenset().union(*two.affinities().values()), 20, "two on the shared set")
    codes = {d["code"] for p in vbmqd.plan()[1]["domains"] if p["name"] == "two" for d in p["diagnostics"]}
    assert "iothreads-on-shared-set" in codes
    assert is_placed(one)
    one.destroy()
    wait_placed(two)
    vbmqd.wait_verdict("ok")


@pytest.mark.scenario
def test_a_guest_stops_and_its_record_goes(lv, vbmqd):
    one = managed(lv, "one")
    wait_placed(one)
    assert vbmqd.undo()["entries"]
    one.destroy()
    wait_for(lambda: "one" not in vbmqd.domains() and not vbmqd.undo()["entries"], 20, "the record to be pruned")


@pytest.mark.scenario
def test_restore_is_bit_equal(lv, vbmqd):
    vbmqd.call("Pause")
    one = managed(lv, "one", emulatorpin="0")
    two = lv.guest("two", iothreads=2, vcpupin={0: "0"})
    before, all_before = lasting(one, two), [g.affinities() for g in (one, two)]
    polling = one.qmp("query-iothreads")
    vbmqd.call("Resume")
    wait_placed(one)
    vbmqd.wait_verdict("ok")
    assert lasting(one, two) != before
    report = vbmqd.restore()
    assert report["steps"] and {s["outcome"] for s in report["steps"]} == {"done"}
    assert lasting(one, two) == before
    assert all(map(unchanged, all_before, (one, two)))
    assert one.qmp("query-iothreads") == polling
    assert vbmqd.get("Paused") == 1
    vbmqd.verify()
    assert lasting(one, two) == before
    assert not vbmqd.undo()["entries"]
    vbmqd.call("Resume")
    wait_placed(one)


def test_observe_touches_nothing_until_told(lv, make):
    vbmqd = make(conf=CONF.replace("[daemon]", "[daemon]\nmode=observe")).start()
    one = managed(lv, "one")
    before = lasting(one)
    wait_for(lambda: vbmqd.plan()[1]["steps"], 20, "a plan with steps")
    vbmqd.wait_verdict("drift")
    assert lasting(one) == before
    vbmqd.apply(vbmqd.plan()[0])
    assert is_placed(one)


def test_dry_run_touches_nothing(lv, make):
    vbmqd = make(args=["--dry-run"]).start()
    one = managed(lv, "one")
    before = lasting(one)
    wait_for(lambda: vbmqd.plan()[1]["steps"], 20, "a plan with steps")
    report = vbmqd.apply()
    assert report["dry_run"] and {s["outcome"] for s in report["steps"]} == {"dry-run"}
    assert lasting(one) == before


def test_signals_tell_what_happens(lv, vbmqd):
    """busctl monitor and scripts live by them."""
    with vbmqd.bus.monitor("org.vbmq1.Manager") as heard:
        one = managed(lv, "one")
        wait_placed(one)
        vbmqd.wait_verdict("ok")
        plan_id, report = vbmqd.plan()[0], vbmqd.report()
        wait_for(lambda: ("Planned", [plan_id]) in heard(), 20, "Planned")
        wait_for(lambda: ("Applied", [report["plan_id"], "ok"]) in heard(), 20, "Applied")
        assert not [m for m, _ in heard() if m == "Drifted"]
        one.virsh("iothreadpin", "1", min(places(one)[1]), "--live")
        wait_for(lambda: ("Drifted", ["one"]) in heard(), 20, "Drifted")
        wait_placed(one)


def test_a_plan_of_another_state_is_stale(lv, make):
    """With a long limit: a guest that is slow to answer would be left out of the plan."""
    vbmqd = make(conf=CONF.replace(f"call-timeout={int(2 * SCALE)}s", "call-timeout=1min")).start()
    vbmqd.wait_verdict("ok", timeout=60)
    vbmqd.call("Pause")
    one = managed(lv, "one")
    wait_for(lambda: "one" in vbmqd.domains(), 20, "one to be seen")
    vbmqd.wait_state("paused")
    wait_for(lambda: vbmqd.fresh_plan()[0] == vbmqd.fresh_plan()[0], 60, "the firmware to be done with the disk")
    plan_id = vbmqd.fresh_plan()[0]
    assert vbmqd.apply(plan_id, dry_run=True)["plan_id"] == plan_id
    one.virsh("emulatorpin", "1", "--live")
    with pytest.raises(CallError) as error:
        vbmqd.apply(plan_id, dry_run=True)
    assert error.value.name == "StalePlan"


@pytest.mark.scenario
@pytest.mark.parametrize("policy", ["repair", "respect"])
def test_drift(lv, make, policy):
    vbmqd = make(conf=CONF + f"drift={policy}\n").start()
    one = managed(lv, "one")
    wait_placed(one)
    vbmqd.wait_verdict("ok")
    cpu = min(places(one)[1])
    one.virsh("iothreadpin", "1", cpu, "--live")
    wait_for(lambda: "somebody changed affinities" in vbmqd.log, 20, "the warning")
    if policy == "repair":
        wait_placed(one)
        vbmqd.wait_verdict("ok")
        vbmqd.verify()
    else:
        vbmqd.verify()
        assert places(one)[0] == {cpu}
        codes = {d["code"] for p in vbmqd.plan()[1]["domains"] for d in p["diagnostics"]}
        assert "drift" in codes


def test_drift_without_an_event_is_found_by_the_recheck(lv, make):
    vbmqd = make(conf=CONF.replace("recheck=1h", "recheck=1s")).start()
    one = managed(lv, "one")
    wait_placed(one)
    vbmqd.wait_verdict("ok")
    os.sched_setaffinity(one.threads()["iothread1"].tid, ALL)
    wait_for(lambda: "somebody changed affinities" in vbmqd.log, 20, "the warning")
    wait_placed(one)


@pytest.mark.scenario
def test_libvirtd_restarts(lv, vbmqd):
    one = managed(lv, "one")
    wait_placed(one)
    vbmqd.wait_verdict("ok")
    before = lasting(one)
    lv.kill()
    vbmqd.wait_state("disconnected")
    with pytest.raises(CallError) as error:
        vbmqd.apply()
    assert error.value.name == "NotConnected"
    lv.start()
    vbmqd.wait_verdict("ok")
    assert lasting(one) == before
    two = lv.guest("two")
    wait_for(lambda: not places(one)[0] & frozenset().union(*two.affinities().values()), 20, "two to be held off")


def test_a_stopped_qemu_stalls_nobody(lv, vbmqd):
    bad = lv.guest("bad", iothreads=1)
    vbmqd.wait_verdict("ok")
    os.kill(bad.pid, signal.SIGSTOP)
    begin = time.monotonic()
    one = managed(lv, "one")
    started = time.monotonic()
    wait_placed(one)
    print(f"placed {time.monotonic() - started:.2f} s after its start of {started - begin:.2f} s")
    threading.Thread(target=lv.virsh, args=("domstats", "bad"), kwargs={"check": False}, daemon=True).start()
    vbmqd.call("Plan", {}, signature="a{sv}")
    wait_for(lambda: vbmqd.domains()["bad"][2] == "unresponsive", 30, "bad to be called unresponsive")
    os.kill(bad.pid, signal.SIGCONT)
    wait_for(lambda: vbmqd.domains()["bad"][2] == "clean", 60, "bad to be read again")
    vbmqd.wait_verdict("ok", timeout=60)


def test_verify_names_who_was_not_looked_at(lv, vbmqd):
    """A guest that hangs is given all of call-timeout; then verify is not ok, and says whom it means."""
    bad, ctl = managed(lv, "bad"), Ctl(lv.uri, vbmqd.bus)
    wait_placed(bad)
    vbmqd.wait_verdict("ok")
    ctl.run("verify")
    assert not vbmqd.verify()["unread"]
    os.kill(bad.pid, signal.SIGSTOP)
    report = vbmqd.verify()
    assert report["unread"] == ["bad"] and not report["ok"]
    assert "did not answer in time: not verified" in ctl.run("verify", ok=(1,)).stderr
    os.kill(bad.pid, signal.SIGCONT)
    wait_for(lambda: vbmqd.verify()["ok"], 60, "bad to answer again")
    ctl.close()


def test_term_with_a_hung_call_takes_no_two_seconds(lv, make):
    vbmqd = make(conf=CONF.replace(f"call-timeout={int(2 * SCALE)}s", "call-timeout=1min")).start()
    bad = lv.guest("bad", iothreads=1)
    vbmqd.wait_verdict("ok")
    os.kill(bad.pid, signal.SIGSTOP)
    threading.Thread(target=lambda: vbmqd.bus.busctl("call", "org.vbmq1", "/org/vbmq1", "org.vbmq1.Manager", "Verify"),
                     daemon=True).start()
    time.sleep(0.5)
    begin = time.monotonic()
    assert vbmqd.end() == 0
    assert time.monotonic() - begin < 2


@pytest.mark.scenario
def test_kill_in_mid_apply_and_restart(lv, make):
    """Killed at many different moments while it works on several guests; the end is always the same, and restore goes back
    to what was before the first start."""
    vbmqd = make()
    # Where the few pages lie that a guest without a system touches is chance, and changes; cores follow memory.
    strict = {"extra": "<numatune><memory mode='strict' nodeset='0'/></numatune>"} if len(nodes()) > 1 else {}
    guests = [managed(lv, "one", priority=10, **strict)] + [lv.guest(f"g{i}", iothreads=3, **strict) for i in range(3)]
    before = lasting(*guests)
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
        vbmqd.start()
        wait_for(lambda: "planned" in vbmqd.log, 20, "a plan")
        time.sleep(delay * SCALE)
        vbmqd.end(signal.SIGKILL)
        wait_for(lambda: not vbmqd.bus.owner("org.vbmq1"), 10, "the name to be free")
        os.truncate(vbmqd.log_path, 0)
    vbmqd.start()
    vbmqd.wait_verdict("ok")
    assert is_placed(guests[0])
    own = places(guests[0])[0]
    for g in guests[1:]:
        assert not own & frozenset().union(*g.affinities().values())
    settled = lasting(*guests)
    vbmqd.end(signal.SIGKILL)
    wait_for(lambda: not vbmqd.bus.owner("org.vbmq1"), 10, "the name to be free")
    vbmqd.start()
    vbmqd.wait_verdict("ok")
    assert not vbmqd.plan()[1]["steps"]
    assert lasting(*guests) == settled
    vbmqd.restore()
    assert lasting(*guests) == before


def test_stopping_leaves_guests_as_they_are(lv, vbmqd):
    one = managed(lv, "one")
    wait_placed(one)
    vbmqd.wait_verdict("ok")
    before = lasting(one)
    assert vbmqd.end() == 0
    assert lasting(one) == before


def test_a_guest_vanishes_in_the_middle(lv, vbmqd):
    """Guests come and go faster than the daemon works; the last state is what counts."""
    one = managed(lv, "one")
    for _ in range(4):
        g = managed(lv, "fleeting")
        os.kill(g.pid, signal.SIGKILL)
        wait_for(lambda g=g: "shut off" in g.virsh("domstate"), 10, "fleeting to be gone")
        g.undefine()
    wait_placed(one)
    wait_for(lambda: set(vbmqd.domains()) == {"one"}, 20, "fleeting to be forgotten")
    vbmqd.wait_verdict("ok")


def test_bad_metadata_is_reported_and_harms_nobody(lv, vbmqd):
    bad = lv.guest("bad", metadata="<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1' enabled='maybe'/>", iothreads=1)
    one = managed(lv, "one")
    wait_placed(one)
    vbmqd.wait_verdict("infeasible")
    codes = {d["code"] for p in vbmqd.plan()[1]["domains"] if p["name"] == "bad" for d in p["diagnostics"]}
    assert "bad-metadata" in codes
    path = "/org/vbmq1/domain/" + bad.uuid.replace("-", "_")
    assert "maybe" in vbmqd.get("Error", "org.vbmq1.Domain", path)
    assert vbmqd.get("Managed", "org.vbmq1.Domain", path) == 0
