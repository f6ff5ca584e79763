# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the pages that a rule follows promise of it, and the whole table on small hosts."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

import fleets
import score
from fleets import Fleet, Operator
from model import Disk, Guest, count, members, parse, show
from rules import ALL, floating, kubevirt, least_loaded, nova, numad, ovirt, round_robin, vbmq
from test_score import host

HERE = pathlib.Path(__file__).resolve().parent
GIVEN = (vbmq.Given, ovirt.HighPerformance, round_robin.RoundRobin, floating.Floating)


def db(name, vcpus=4, disks=1, node=0):
    return Guest(name, vcpus, (Disk(vcpus, node),) * disks, True)


def web(name, vcpus=2, disks=1, node=0):
    return Guest(name, vcpus, (Disk(vcpus, node),) * disks, False)


def run(rule, guests, h=None, late=None):
    """A placement of the guests; h: 2 nodes of 2 L3 domains of 2 cores of 2 CPUs, core N has CPUs N and N + 8."""
    at_work = rule(h or host(), Fleet("hand", guests, late or web("late", 1)))
    admitted = [g.name for g in guests if at_work.add(g)]
    p = at_work.placement()
    assert sorted(p.guests) == sorted(admitted) and set(admitted).isdisjoint(p.refused)
    return p


def at(placed):
    """(vCPUs, emulator, I/O threads) as CPU lists."""
    return [show(v) for v in placed.vcpus], show(placed.emulator), [show(t.cpus) for t in placed.iothreads]


@pytest.mark.parametrize("rule", ALL, ids=lambda r: r.name)
def test_every_queue_is_served_once(rule):
    p = run(rule, [db("a"), web("b", disks=2), web("c", vcpus=1)])
    for g in p.guests.values():
        assert sorted(q for t in g.iothreads for q in t.queues) == g.guest.queues
        assert len(g.vcpus) == g.guest.vcpus and all(m and m & ~p.host.usable == 0 for m in [g.emulator, *g.vcpus])
    assert rule.sources and score.score(p)["threads"] == sum(len(g.iothreads) for g in p.guests.values())


def test_nova():
    a = db("a")
    vcpus, emulator, threads = at(run(nova.Unset, [a]).guests["a"])
    # Siblings together, and the one I/O thread where the emulator is: on all of the instance's CPUs.
    assert vcpus == ["2", "10", "3", "11"] and emulator == "2-3,10-11" and threads == [emulator]
    p = run(nova.Share, [a, web("b")])
    assert at(p.guests["a"])[2] == [show(p.shared)] == at(p.guests["b"])[2] and not p.shared & p.host.union(p.guests["a"].vcpus)
    p = run(nova.Isolate, [a])
    vcpus, emulator, threads = at(p.guests["a"])
    assert threads == [emulator] and count(parse(emulator)) == 1 and emulator not in vcpus
    assert len(p.host.nodes_in(p.host.union(p.guests["a"].vcpus) | parse(emulator))) == 1


def test_nova_packs_nodes_and_refuses():
    p = run(nova.Unset, [db("a", 2), db("b", 2), db("c", 2)])
    where = {n: p.host.nodes_in(p.host.union(g.vcpus)) for n, g in p.guests.items()}
    # The operator made room for two on one node and for one on the other: that one is fuller and taken first.
    assert where["a"] != where["b"] == where["c"]
    assert run(nova.Unset, [db(n, 4) for n in "abcde"]).refused
    # Large enough for the node without the reserved core only; too large for any node: two cells.
    assert run(nova.Unset, [db("a", 8)]).guests["a"].memory == {1}
    assert run(nova.Unset, [db("a", 10)]).guests["a"].memory == {0, 1}


def test_kubevirt_takes_whole_cores():
    vcpus, emulator, threads = at(run(kubevirt.Pool, [db("a", 2)]).guests["a"])
    # Core 0 is reserved. Two CPUs for the vCPUs, two for the pool; the emulator thread stays with the vCPUs.
    assert (vcpus, threads, emulator) == (["1", "9"], ["2", "10"], "1,9")
    vcpus, emulator, threads = at(run(kubevirt.Isolate, [db("a", 2, disks=2)]).guests["a"])
    assert (vcpus, emulator, threads) == (["1", "9"], "2", ["2", "2"])
    vcpus, emulator, threads = at(run(kubevirt.Auto, [db("a", 4, disks=2)]).guests["a"])
    assert vcpus == ["1", "9", "2", "10"] and threads == ["1,9", "2,10"]


def test_kubevirt_fills_a_node_first():
    p = run(kubevirt.Auto, [db("a", 2), db("b", 6), db("c", 2)])
    assert [sorted(p.host.nodes_in(p.host.union(p.guests[n].vcpus))) for n in "abc"] == [[0], [0, 1], [1]]
    # A whole node if so much is asked for.
    assert p.host.nodes_in(p.host.union(run(kubevirt.Auto, [db("a", 8)]).guests["a"].vcpus)) == {1}
    p = run(kubevirt.Pool, [db("a", 8), db("b", 4)])
    assert p.refused == ["b"] and not p.shared & p.host.union(p.guests["a"].vcpus)


def test_ovirt():
    p = run(ovirt.HighPerformance, [db("a", 4, node=0), db("b", 4, node=1), db("c", 2, node=1), web("d")])
    assert [at(p.guests[n])[1:] for n in "abc"] == [("0-1", ["0-1"]), ("4-5", ["4-5"]), ("4-5", ["4-5"])]
    assert not any(v & parse("0-1,4-5") for n in "abc" for v in p.guests[n].vcpus)
    assert at(p.guests["d"])[2] == [show(p.shared)]


def test_least_loaded_l3():
    p = run(least_loaded.LeastLoadedL3, [web(n, 2) for n in "abcde"] + [web("one", 1)])
    # A domain each, two cores of it; the fifth shares with the first. One vCPU: nothing is pinned.
    assert [at(p.guests[n])[2] for n in "abcde"] == [["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"], ["0", "1"]]
    assert at(p.guests["one"])[2] == ["0-15"]
    p = run(least_loaded.LeastLoadedL3, [web("a", 3), db("b", 4), db("c", 8)])
    assert at(p.guests["a"])[2] == ["0", "1", "8"]
    assert at(p.guests["b"]) == (["2-3,10-11"] * 4, "2-3,10-11", ["2", "3", "10", "11"])
    assert at(p.guests["c"])[0] == ["0-15"] * 8 and len(at(p.guests["c"])[2]) == 8


def test_numad():
    p = run(numad.Numad, [web("a", 4), web("b", 4), web("c", 2), web("d", 8)])
    assert [at(p.guests[n])[2][0] for n in "abcd"] == ["0-3,8-11", "4-7,12-15", "0-3,8-11", "0-15"]
    assert all(set(g.vcpus) == {g.emulator} == {t.cpus for t in g.iothreads} for g in p.guests.values())


def test_round_robin():
    p = run(round_robin.RoundRobin, [web(f"g{i}", 4) for i in range(5)])
    assert [at(g)[2] for g in p.guests.values()] == [[str((4 * i + k) % 16) for k in range(4)] for i in range(5)]


def test_floating():
    p = run(floating.Floating, [db("a", 4, disks=2), web("b")])
    assert at(p.guests["a"])[2] == [show(p.shared)] * 2 and at(p.guests["b"])[2] == [show(p.shared)]


def test_vcpus_are_the_same_for_all_that_do_not_place_them():
    guests = [db("a", 2), web("b"), db("c", 4, node=1)]
    pins = [[g.vcpus for n, g in run(rule, guests).guests.items() if g.guest.dedicated] for rule in GIVEN if rule.keep is None]
    assert len(pins) == 3 and all(p == pins[0] for p in pins) and all(count(v) == 1 for some in pins[0] for v in some)


def test_operator():
    op = Operator(host(cores=4))  # core N has CPUs N and N + 16; nodes of 8 cores
    assert op.home(db("a", 8)) == 0 and op.pin(db("a", 8), 0) == [1, 17, 2, 18, 3, 19, 4, 20]
    # Node 0 has 8 of 16 left, 4 of which stay free: the next one that large goes to the other node.
    assert op.home(db("b", 8)) == 1
    assert op.home(web("c", 4)) == 0
    # What does not fit at home goes on in the nearest node; what does not fit at all is not pinned.
    assert [c for c in op.pin(db("d", 8), 0) if c in members(op.host.nodes[1])] == [9, 25]
    assert op.pin(db("e", 24), 0) is None


def test_vbmq_keeps_a_core_for_each_thread():
    p = run(vbmq.Places, [web("a", 2), web("b", 2)])
    s = score.score(p)
    assert s["own_core"] == s["threads"] == 4 and s["shared_cpus"] == 8
    half = score.score(run(vbmq.HalfShared, [db("a", 4), web("b", 4), web("c", 4)]))
    assert half["shared_cpus"] == 8


def test_vbmq_stands_still():
    """Planned on what it did itself, nothing moves: the document of the applied state is read as such."""
    for rule in (vbmq.Given, vbmq.Places):
        at_work = rule(host(), Fleet("hand", [db("a", 2), web("b")], web("late", 1)))
        for g in at_work.fleet.guests:
            at_work.add(g)
        first, second = at_work.placement(), at_work.placement()
        assert first.guests == second.guests and first.shared == second.shared


def test_table(tmp_path):
    """All of it on small hosts: complete, within what each figure can be, and the same every time."""
    outs = []
    for n in range(2):
        done = subprocess.run([sys.executable, HERE / "placement-rules", "--quick", "--json", tmp_path / str(n)], capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stderr
        outs.append((done.stdout, (tmp_path / str(n)).read_text()))
    assert outs[0] == outs[1]
    results = json.loads(outs[0][1])["results"]
    sizes = {(h.name, f.name): len(f.guests) for h in fleets.synthetic_hosts(fleets.FEW) for f in fleets.fleets(h)}
    assert {(r["host"], r["fleet"], r["rule"]) for r in results} == {(*k, rule.name) for k in sizes for rule in ALL}
    for r in results:
        assert r["guests"] + r["refused"] == sizes[r["host"], r["fleet"]]
        assert r["own_core"] <= r["own_guest"] <= r["threads"] and r["l3_missed"] <= r["l3_judged"] <= r["threads"]
        assert r["queues_missed"] <= r["queues_judged"] and r["off_numa"] <= min(r["off_device"], r["off_memory"])
        assert 0 <= r["l3_stranded"] <= r["l3_partly"] and r["dedicated_own"] <= r["dedicated"]
        assert all(r[k] <= r["threads"] for k in ("with_vcpu", "with_emulator", "with_host"))
        if r["rule"].startswith("VBMq"):
            # Never a core of somebody else: who shares one is on the shared set, with everybody.
            assert r["own_guest"] + r["with_host"] == r["threads"]
            assert r["refused"] == 0
    assert all(rule.name in outs[0][0] for rule in ALL)


@pytest.mark.skipif(not (pathlib.Path(os.environ.get("VBMQ_SHARED") or HERE.parents[2] / "shared") / "hosts").is_dir(),
                    reason="the folder of real hosts (option 'shared', ../shared/hosts) is absent")
def test_real_hosts_are_read():
    hosts = fleets.real_hosts(os.environ.get("VBMQ_SHARED") or HERE.parents[2] / "shared")
    assert len(hosts) >= 13
    for h in hosts:
        assert h.usable and set(h.core_of) == set(members(h.usable)) and h.union(h.nodes.values()) == h.usable
        for f in fleets.fleets(h):
            assert f.guests and f.newcomer.vcpus <= count(h.usable)
            assert all(d.node in h.nodes for g in f.guests for d in g.disks)
