# SPDX-License-Identifier: LGPL-2.1-or-later
"""vbmqd over the whole host: cores run short, many guests at once, nodes and SMT, CPUs that go away, what others pinned.

The tests take the host as it is: two CPUs without SMT have one core to give, the emulated host (tools/emulated-host) three.
"""

import os
import threading

import pytest

from vbmqtest import Disk, cpulist, wait_for
from vbmqtest.host import Watcher, alone, core_of, look, nodes, role, union
from vbmqtest.proc import online_cpus, tasks

ALL = frozenset(online_cpus())
EMULATED = bool(os.environ.get("VBMQ_EMULATED_HOST"))
LIMIT = 120

pytestmark = [pytest.mark.scenario,
              pytest.mark.skipif(len(set(core_of().values())) < 2, reason="one core: there is none to dedicate")]


def wait_alone(want, *guests):
    """want: {guest: how many I/O threads have a core of their own}; guests: all there are, in this order or any."""
    def so():
        count = {name: 0 for name in want}
        for name, _ in alone(*guests):
            count[name] = count.get(name, 0) + 1
        return count == want

    want = {g.name: n for g, n in want.items() if n}
    try:
        wait_for(so, LIMIT, f"I/O threads on cores of their own: {want}")
    except AssertionError as e:
        raise AssertionError(f"{e}; alone: {alone(*guests)}; all: {look(*guests)}") from None


def codes(plan, name):
    return {d["code"]: d["severity"] for p in plan["domains"] if p["name"] == name for d in p["diagnostics"]}


def plan_of(world, want=0):
    status, plan = world.ctl.json("plan", ok=(0, 4))
    assert status == want, plan
    return plan


def test_the_watcher_sees_what_it_is_for(world):
    """The judge is judged: a thread that was held off and comes back for a moment does not escape it."""
    vbmqd = world.vbmqd()
    one, plain = world.guest("one"), world.lv.guest("plain", disks=0)
    wait_alone({one: 1}, one, plain)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    vbmqd.call("Pause")
    own = alone(one, plain)["one", "iothread1"]
    with pytest.raises(AssertionError, match="vcpu0"):
        with Watcher(world.lv) as watcher:
            assert watcher.announce(vbmqd.plan()[1])
            wait_for(lambda: watcher.samples > 1, LIMIT, "the watcher to look")
            tid = next(k[2] for k in look(plain) if k[1] == "vcpu0")
            os.sched_setaffinity(tid, own)
            wait_for(lambda: watcher.violations, LIMIT, "the watcher to see it")


# --- cores run short ----------------------------------------------------------------------------------------------------


def test_shortage_degrades_in_order_and_priority_wins(world):
    """big leaves one core; pair wants two: both of its I/O threads share it. A guest of higher priority takes that core: pair
    goes to the shared set. When it stops, all is as before."""
    if not world.lv.maps:
        pytest.skip("libvirt or QEMU here is too old for queue maps")
    vbmqd = world.vbmqd()
    guests, want = [], {}
    if world.spare > 1:
        guests.append(world.guest("big", world.spare - 1, priority=30))
        want[guests[0]] = world.spare - 1
    pair = world.guest("pair", 2, priority=5)
    guests.append(pair)

    def together():
        seen = look(*guests)
        places = {cpus for (name, what, _), cpus in seen.items() if name == "pair" and what.startswith("iothread")}
        others = union(c for (name, what, _), c in seen.items() if name != "pair" or not what.startswith("iothread"))
        cores = {core_of()[c] for c in union(places)}
        return len(cores) == 1 and not union(cores) & others

    with Watcher(world.lv) as watcher:
        wait_for(together, LIMIT, "both I/O threads of pair on one core that nobody else may use")
        vbmqd.wait_verdict("infeasible")
        wait_alone(want, *guests)
        plan = plan_of(world, 4)
        assert watcher.announce(plan)
        assert codes(plan, "pair").get("iothreads-share-core") == "error"
        assert "iothreads-on-shared-set" not in codes(plan, "pair")
        assert not plan["steps"]

        lord = world.guest("lord", 1, priority=50)
        guests.append(lord)
        want[lord] = 1
        wait_alone(want, *guests)
        vbmqd.wait_verdict("infeasible")
        plan = plan_of(world, 4)
        assert watcher.announce(plan)
        assert codes(plan, "pair").get("iothreads-on-shared-set") == "error"
        assert not [d for d in codes(plan, "lord").values() if d == "error"]
        shared = cpulist(plan["host"]["shared"])
        assert all(cpus <= shared for (name, _, _), cpus in look(*guests).items() if name == "pair")

        lord.destroy()
        guests.remove(lord)
        wait_for(together, LIMIT, "both I/O threads of pair on one core again")
        vbmqd.wait_verdict("infeasible")
        assert watcher.announce(plan_of(world, 4))


def test_no_more_threads_than_cores_when_the_policy_says_auto(world):
    """Nothing runs yet: configure, asked for as many threads as make sense, does not ask for more than there are cores."""
    cores = len(set(core_of().values()))
    guest = world.define("auto", 0, vcpus=4, disks=[Disk("vda", queues=4)])
    xml = world.ctl.json("configure", "auto", "--dry-run")[1]["xml"]
    count = xml.count("<queue id=")
    assert count == 4 or "<queue" not in xml
    threads = int(xml.split("<iothreads>")[1].split("<")[0])
    assert 1 <= threads <= min(4, cores - 1)
    assert "iothread" not in guest.xml(inactive=True)


# --- many guests ----------------------------------------------------------------------------------------------------


def test_many_guests_at_once(world):
    """Started together, more than there are cores for: whatever the order in which they come, those of the highest priority end
    with cores of their own, and at no moment does anybody come to a place that another has for itself."""
    count = 8 if EMULATED else 20  # a guest's start takes a minute where it is emulated twice
    vbmqd = world.vbmqd()
    guests = [world.define(f"g{i:02}", 1, priority=i % 10, vcpus=1) for i in range(count)]
    with Watcher(world.lv) as watcher:
        starters = [threading.Thread(target=lambda part=guests[i::4]: [g.start() for g in part]) for i in range(4)]
        for s in starters:
            s.start()
        while any(s.is_alive() for s in starters):
            watcher.announce(vbmqd.plan()[1])
            starters[0].join(0.1)
            for s in starters:
                s.join(0.01)
        assert all(g.pid for g in guests)
        first = sorted(guests, key=lambda g: -(int(g.name[1:]) % 10))
        sure = [g for g in first[:world.spare] if int(g.name[1:]) % 10 > int(first[world.spare].name[1:]) % 10]
        wait_for(lambda: vbmqd.plan()[1]["steps"] == [] and len(alone(*guests)) == min(world.spare, count), 2 * LIMIT,
                 "all to settle")
        vbmqd.wait_verdict("infeasible", timeout=LIMIT)
        plan = vbmqd.plan()[1]
        assert watcher.announce(plan)
        owners = {name for name, _ in alone(*guests)}
        assert {g.name for g in sure} <= owners
        for g in guests:
            lost = codes(plan, g.name).get("iothreads-on-shared-set")
            assert lost is None if g.name in owners else lost == "error", g.name
        shared = cpulist(plan["host"]["shared"])
        assert all(cpus <= shared for (name, what, _), cpus in look(*guests).items()
                   if name not in owners or not what.startswith("iothread"))

        # The owners go, all at once: the next ones move up.
        rest = [g for g in guests if g.name not in owners]
        stoppers = [threading.Thread(target=g.destroy) for g in guests if g.name in owners]
        for s in stoppers:
            s.start()
        for s in stoppers:
            s.join()
        wait_for(lambda: len(alone(*rest)) == min(world.spare, len(rest)), LIMIT, "the next ones to move up")
        vbmqd.wait_verdict("infeasible", "ok", timeout=LIMIT)
        assert watcher.announce(vbmqd.plan()[1])
    print(f"{watcher.samples} samples, {watcher.announced} announced")


# --- what others pinned ---------------------------------------------------------------------------------------------


def test_foreign_pins_are_kept_off_and_never_touched(world):
    """The owner of one guest pinned threads by hand, on a core: nobody is put there, and they are never touched. What he left
    floating is held off dedicated cores."""
    mine = core_of()[max(ALL)]
    text = ",".join(map(str, sorted(mine)))
    foreign = world.lv.guest("foreign", iothreads=1, disks=[Disk("vda", iothread=1)], vcpupin={0: text}, iothreadpin={1: text})
    vbmqd = world.vbmqd()
    pinned = {k: v for k, v in look(foreign).items() if k[1] in ("vcpu0", "iothread1")}
    assert set(pinned.values()) == {mine}
    one = world.guest("one")
    if world.spare == 1:
        vbmqd.wait_verdict("ok", "infeasible", timeout=LIMIT)
        assert all(not place & mine for place in alone(one, foreign).values())
    else:
        wait_alone({one: 1}, one, foreign)
        own = alone(one, foreign)["one", "iothread1"]
        assert not own & mine
        free = {k: v for k, v in look(foreign).items() if k not in pinned}
        assert free and not any(v & own for v in free.values())
    plan = vbmqd.fresh_plan()[1]
    assert "foreign-pin" in codes(plan, "foreign")
    touched = {(s.get("op"), s.get("id")) for s in vbmqd.report().get("steps", []) if s["domain"] == "foreign"}
    assert not touched & {("pin-vcpu", 0), ("pin-iothread", 1)}
    now = look(foreign)
    assert all(now[k] == v for k, v in pinned.items())
    vbmqd.restore()
    assert all(look(foreign)[k] == v for k, v in pinned.items())


def test_what_a_guest_without_metadata_may_do(world):
    """default=off: a guest without metadata gets nothing, loses nothing but the dedicated cores, and gets these back."""
    vbmqd = world.vbmqd()
    plain = world.lv.guest("plain", iothreads=1, disks=[Disk("vda", iothread=1)])
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    before = look(plain)
    assert set(before.values()) == {ALL}
    one = world.guest("one")
    wait_alone({one: 1}, one, plain)
    own = alone(one, plain)["one", "iothread1"]
    assert all(cpus == ALL - own for cpus in look(plain).values())
    assert not any(path.get("exclusive") for p in vbmqd.plan()[1]["domains"] if p["name"] == "plain" for path in p["threads"])
    one.destroy()
    wait_for(lambda: set(look(plain).values()) == {ALL}, LIMIT, "plain to have all CPUs again")


# --- a host with more of everything -----------------------------------------------------------------------------------


@pytest.mark.skipif(len(nodes()) < 2, reason="the host has one NUMA node (tools/emulated-host has two)")
@pytest.mark.parametrize("node", sorted(nodes()))
def test_iothreads_are_on_the_node_of_the_guests_memory(world, node):
    vbmqd = world.vbmqd()
    guest = world.guest("numa", 1, extra=f"<numatune><memory mode='strict' nodeset='{node}'/></numatune>")
    wait_alone({guest: 1}, guest)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert alone(guest)["numa", "iothread1"] <= nodes()[node]
    plan = plan_of(world)
    assert "remote-node" not in codes(plan, "numa")
    snapshot = vbmqd.snapshot()
    assert cpulist(snapshot["domains"][0]["memory_nodes"]) == {node}


@pytest.mark.skipif(len(ALL) == len(set(core_of().values())), reason="the host has no SMT (tools/emulated-host has)")
def test_siblings_of_a_dedicated_core_stay_idle(world):
    vbmqd = world.vbmqd()
    guest = world.guest("smt", 2)
    plain = world.lv.guest("plain")
    wait_alone({guest: 2}, guest, plain)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    used = union(cpus for (name, what, _), cpus in look(guest).items() if what.startswith("iothread"))
    siblings = union(core_of()[c] for c in used)
    assert len(siblings) > len(used)
    others = union(c for (name, what, _), c in look(guest, plain).items() if name != "smt" or not what.startswith("iothread"))
    assert others == ALL - siblings


def set_online(cpu, value):
    with open(f"/sys/devices/system/cpu/cpu{cpu}/online", "w", encoding="ascii") as f:
        f.write(str(value))


@pytest.mark.skipif(not EMULATED, reason="CPUs are only taken away from the emulated host (tools/emulated-host), not from yours")
@pytest.mark.parametrize("whole", [False, True], ids=["one-CPU", "whole-core"])
def test_a_cpu_goes_offline_and_comes_back(world, whole):
    """The kernel lets a thread whose only CPU went away run anywhere: vbmqd gives it another core. When the CPU returns,
    everybody may use it again who might before."""
    vbmqd = world.vbmqd(recheck="1s")
    guest = world.guest("one", 1, vcpus=2)
    plain = world.lv.guest("plain", disks=0)
    wait_alone({guest: 1}, guest, plain)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    own = alone(guest, plain)["one", "iothread1"]
    cpu = max(next(c for k, c in look(guest).items() if k[1] == "iothread1"))
    gone = sorted(own) if whole else [cpu]
    try:
        for c in gone:
            set_online(c, 0)

        def moved():
            place = alone(guest, plain).get(("one", "iothread1"))
            return place and not place & set(gone) and not any(c & set(gone) for c in look(guest, plain).values())

        wait_for(moved, LIMIT, f"nobody on {gone} and the I/O thread on a core of its own")
        wait_for(lambda: not set(gone) & cpulist(vbmqd.plan()[1]["host"]["cpus"]), LIMIT, "the plan to know")
        vbmqd.wait_verdict("ok", timeout=LIMIT)
    finally:
        for c in gone:
            set_online(c, 1)
    wait_for(lambda: ALL == cpulist(vbmqd.plan()[1]["host"]["cpus"]), LIMIT, "the plan to know of the CPU again")

    def whole_again():
        place = alone(guest, plain).get(("one", "iothread1"))
        return place and all(c == ALL - place for c in look(plain).values())

    wait_for(whole_again, LIMIT, "everybody else on all other CPUs")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert {role(t) for t in tasks(guest.pid).values()} >= {"iothread1", "vcpu0", "vcpu1"}
