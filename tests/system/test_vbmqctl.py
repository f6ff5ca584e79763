# SPDX-License-Identifier: LGPL-2.1-or-later
"""vbmqctl on real guests: configure and its way back, everything without vbmqd (--direct), plans that are out of date."""

import json
import os
import subprocess
import xml.etree.ElementTree as ET

import pytest

from vbmqtest import Disk, cpulist, wait_for
from vbmqtest.documents import validate
from vbmqtest.host import alone, core_of, look
from vbmqtest.proc import online_cpus

ALL = frozenset(online_cpus())
LIMIT = 120

pytestmark = pytest.mark.skipif(len(set(core_of().values())) < 2, reason="one core: there is none to dedicate")


def canonical(xml):
    return ET.canonicalize(xml, strip_text=True)


def queue_map(guest):
    """{queue: I/O thread} of the only disk, as QEMU tells it; None when the main loop serves it."""
    disks = [d for d in guest.qmp("qom-list", path="/machine/peripheral") if "virtio-blk" in d["type"]]
    path = "/machine/peripheral/" + disks[0]["name"]
    found = guest.qmp("qom-get", path=path, property="iothread-vq-mapping")
    if not found:
        one = guest.qmp("qom-get", path=path, property="iothread")
        return {q: one.rsplit("/", 1)[-1] for q in range(guest.qmp("qom-get", path=path, property="num-queues"))} if one else None
    return {q: e["iothread"] for e in found for q in e["vqs"]}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_configure_from_plain_to_mapped_and_back(world, count):
    """A plain guest is configured while it runs: nothing changes for it. After its next start its queues lie on I/O threads, and
    each of these has a core of its own. --revert gives back the very configuration that was there."""
    if not world.lv.maps:
        pytest.skip("libvirt or QEMU here is too old for queue maps")
    guest = world.guest("db1", 0, vcpus=4, disks=[Disk("vda", queues=4)])
    guest.virsh("metadata", "--uri", "urn:vbmq:domain:1", "--key", "vbmq", "--config", "--live", "--set",
                f"<domain><iothreads count='{count}'/></domain>")
    found, running = guest.xml(inactive=True), guest.xml()
    done = world.ctl.run("configure", "db1", "--dry-run")
    asked, count = count, min(count, world.spare)  # never more threads than cores, and never silently fewer
    assert f"+  <iothreads>{count}</iothreads>" in done.stdout, done
    assert ("fewer-iothreads" in done.stderr) == (count < asked), done
    assert guest.xml(inactive=True) == found
    _, document = world.ctl.json("configure", "db1", "--dry-run")
    assert (document["schema"], document["changed"], document["dry_run"]) == ("vbmq-configure/1", True, True)
    assert guest.xml(inactive=True) == found
    _, document = world.ctl.json("configure", "db1")
    assert (document["domain"], document["changed"], document["dry_run"]) == ("db1", True, False)
    configured = guest.xml(inactive=True)
    assert configured != found
    assert guest.xml() == running and queue_map(guest) is None
    assert world.ctl.json("configure", "db1")[1]["changed"] is False
    assert guest.xml(inactive=True) == configured

    vbmqd = world.vbmqd(wait=False)
    guest.destroy()
    guest.start()
    mapped = queue_map(guest)
    assert sorted(mapped) == [0, 1, 2, 3] and len(set(mapped.values())) == count
    wait_for(lambda: {what for _, what in alone(guest)} == set(mapped.values()), LIMIT, "a core for each I/O thread")
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    assert len({min(place) for place in alone(guest).values()}) == count
    idle = [v for k, v in look(guest).items() if k[1].startswith("iothread") and k[1] not in mapped.values()]
    assert len(idle) == asked - count  # vbmqd gave it all it asked for; those that serve nothing need no core
    assert vbmqd.report()["counts"]["bad_checks"] == 0 and "drift" not in vbmqd.log
    _, plan = world.ctl.json("plan", ok=(0, 4))
    told = {q["index"]: f"iothread{q['iothread']}" for q in plan["domains"][0]["disks"][0]["queues"]}
    assert told == mapped
    assert not plan["steps"]

    assert "-  <iothreads>" in world.ctl.run("configure", "db1", "--revert", "--dry-run").stdout
    assert guest.xml(inactive=True) == configured
    world.ctl.run("configure", "db1", "--revert")
    assert canonical(guest.xml(inactive=True)) == canonical(found)
    assert world.ctl.run("configure", "db1", "--revert", ok=(1,)).stderr.count("nothing to revert") == 1
    guest.destroy()
    guest.start()
    assert queue_map(guest) is None


def stayed(before, after):
    """No thread that is in both stands elsewhere; QEMU starts and ends workers as it likes."""
    both = before.keys() & after.keys()
    return both and all(before[k] == after[k] for k in both)


def test_direct_apply_verify_restore(world):
    """Without a daemon: the same, with the record on disk before and gone after."""
    one, plain = world.guest("one"), world.lv.guest("plain", emulatorpin="0", disks=0)
    before = look(one, plain)
    polling = one.qmp("query-iothreads")
    assert world.ctl.json("verify", "--direct", ok=(5,))[1]["counts"]["bad_checks"] > 0
    assert world.ctl.run("plan", "--direct").returncode == 0
    _, report = world.ctl.json("apply", "--direct", "--dry-run")
    assert report["dry_run"] and stayed(before, look(one, plain))
    assert not os.path.exists(world.ctl.undo_path)

    _, report = world.ctl.json("apply", "--direct")
    assert report["ok"] and {s["outcome"] for s in report["steps"]} == {"done"}
    assert set(alone(one, plain)) == {("one", "iothread1")}
    assert world.ctl.json("verify", "--direct")[1]["ok"]
    undo = world.ctl.undo()
    changed = {k for k, v in look(one, plain).items() if before.get(k, v) != v}
    recorded = {e["tid"] for e in undo["entries"] if e["kind"] == "affinity"}
    own = {k[2] for k in changed if k[1].startswith(("vcpu", "iothread"))} | {one.pid}  # the rest goes with the emulator
    assert own and own <= recorded
    assert os.stat(world.ctl.undo_path).st_mode & 0o777 == 0o600

    # Again: nothing to do, and the record still says what was there before the first time.
    _, report = world.ctl.json("apply", "--direct")
    assert not report["steps"] and world.ctl.undo() == undo

    _, report = world.ctl.json("restore", "--direct", "--dry-run")
    assert report["steps"] and world.ctl.undo() == undo and alone(one, plain)
    _, report = world.ctl.json("restore", "--direct")
    assert report["ok"] and report["steps"]
    assert stayed(before, look(one, plain))
    assert one.qmp("query-iothreads") == polling
    assert not world.ctl.undo()["entries"]


def test_direct_is_refused_while_vbmqd_runs(world):
    world.guest("one")
    vbmqd = world.vbmqd(wait=False)
    for verb in ("apply", "restore"):
        assert "vbmqd is running" in world.ctl.run(verb, "--direct", ok=(1,)).stderr
    assert not os.path.exists(world.ctl.undo_path)
    vbmqd.wait_verdict("ok", timeout=LIMIT)
    world.ctl.run("verify")
    assert world.ctl.json("verify", "--direct", ok=(0, 5))[1]["schema"] == "vbmq-report/1"


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "bus"])
def test_a_plan_that_is_out_of_date_is_refused(world, direct):
    """The plan of before is not applied to the state of now, by nobody; and nothing is applied in its place."""
    how = ["--direct"] if direct else []
    one = world.guest("one")
    if not direct:
        vbmqd = world.vbmqd(mode="observe", wait=False)
        vbmqd.wait_verdict("drift", timeout=LIMIT)
    _, plan = world.ctl.json("plan", *how)
    assert plan["steps"]
    report = world.ctl.json("apply", *how, "--plan", plan["plan_id"], "--dry-run")[1]
    assert report["plan_id"] == plan["plan_id"]
    one.virsh("emulatorpin", min(ALL), "--live")
    before = look(one)
    done = world.ctl.run("apply", *how, "--plan", plan["plan_id"], ok=(1,))
    assert "the state has moved" in done.stderr and not done.stdout, done
    assert look(one) == before
    _, plan = world.ctl.json("plan", *how)
    report = world.ctl.json("apply", *how, "--plan", plan["plan_id"])[1]
    assert report["ok"] and set(alone(one)) == {("one", "iothread1")}


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "bus"])
def test_rebalance_moves_what_would_stand_for_ever(world, direct, tmp_path):
    """A thread on the core of the lowest CPU, because once it had to be there. Every day it stays; a rebalance gives that core
    back to the host, through the very steps it showed, and the plan afterwards has nothing to add."""
    first = set(core_of()[min(ALL)])
    others = ALL - first
    one = world.guest("one")
    rules = tmp_path / "rules.conf"
    rules.write_text(f"[policy]\nshared-min-cores=1\ndedicated-cpus={','.join(map(str, first))}\n")
    free = "[policy]\nshared-min-cores=1\n"
    if direct:
        world.ctl.json("apply", "--direct", "--policy", str(rules))
        rules.write_text(free)
        how = ["--direct", "--policy", str(rules)]
    else:
        vbmqd = world.vbmqd(wait=False)
        with open(vbmqd.conf, encoding="utf-8") as f:
            usual = f.read()
        vbmqd.write_conf(usual + f"dedicated-cpus={','.join(map(str, first))}\n")
        vbmqd.call("Reload")
        vbmqd.wait_verdict("ok", timeout=LIMIT)
        wait_for(lambda: set(next(iter(alone(one).values()), {})) <= first and alone(one), LIMIT, "the thread on the boot core")
        vbmqd.write_conf(usual)
        vbmqd.call("Reload")
        how = []
    assert world.ctl.json("plan", *how)[1]["steps"] == []
    assert set(alone(one)[("one", "iothread1")]) <= first
    before = look(one)

    _, shown = world.ctl.json("rebalance", *how, "--dry-run")
    assert shown["better"] and [(m["domain"], m["kind"], m["id"]) for m in shown["moves"]] == [("one", "iothread", 1)]
    assert cpulist(shown["moves"][0]["to"]) <= others and shown["before"]["core_cost"] > shown["after"]["core_cost"]
    assert stayed(before, look(one))
    assert "Nothing was changed: leave out --dry-run" in world.ctl.run("rebalance", *how, "--dry-run").stdout
    assert "Nothing to gain with so few moves" in world.ctl.run("rebalance", *how, "--max-moves", "0").stdout
    assert stayed(before, look(one))
    stale = world.ctl.run("rebalance", *how, "--plan", "0" * 32, ok=(1,))
    assert "is stale" in stale.stderr and stayed(before, look(one))

    _, done = world.ctl.json("rebalance", *how, "--plan", shown["plan_id"])
    assert done["plan_id"] == shown["plan_id"] == done["report"]["plan_id"] and done["report"]["ok"]
    assert done["report"]["counts"]["bad_checks"] == 0
    assert set(alone(one)[("one", "iothread1")]) <= others
    assert world.ctl.json("plan", *how)[1]["steps"] == []
    assert "Nothing to gain: " in world.ctl.run("rebalance", *how).stdout
    if not direct:
        vbmqd.wait_verdict("ok", timeout=LIMIT)
        assert world.ctl.json("verify")[1]["ok"] and "rebalancing" in vbmqd.log


def test_a_capture_plans_the_same_anywhere(world, tmp_path):
    """The snapshot of a real host gives the same plan id, offline, as that host's own plan."""
    world.guest("one")
    file = tmp_path / "s.json"
    world.ctl.run("capture", "--direct", "-o", str(file))
    _, plan = world.ctl.json("plan", "--direct")
    done = world.ctl.run("plan", "--json", "--snapshot", str(file))
    assert json.loads(done.stdout)["plan_id"] == plan["plan_id"]
    assert json.loads(done.stdout)["steps"] == plan["steps"]


# --- stats --------------------------------------------------------------------------------------------------------------


def test_stats_of_a_guest_that_counts_nothing(world):
    """Stock QEMU: who serves which queue, and what the kernel says about the threads. A running guest's firmware works a vCPU,
    not the I/O thread, which sleeps on the CPUs it may run on."""
    one = world.guest("one", 1, vcpus=2)
    world.guest("two", 0)
    status, document = world.ctl.json("stats", "one")
    assert status == 0 and [d["name"] for d in document["domains"]] == ["one"]
    domain = document["domains"][0]
    assert domain["uuid"] == one.uuid and not domain["counters"] and 900e6 < domain["interval_ns"]
    threads = {t["iothread"]: t for t in domain["threads"]}
    seen = one.threads()
    assert set(threads) == {0, 1}
    assert threads[0]["tid"] == one.pid and threads[1]["tid"] == seen["iothread1"].tid
    assert all(cpulist(t["affinity"]) == ALL and t["cpu"] in ALL and 0 <= t["on_cpu"] <= 1000 for t in threads.values())
    assert threads[1]["on_cpu"] < 500 and "busy" not in threads[1] and threads[1]["polling"]["max_ns"] == 32768
    assert [(d["target"], [q["iothread"] for q in d["queues"]]) for d in domain["disks"]] == [("vda", [1] * 2)]
    assert not any("requests" in q or "in_flight" in q for d in domain["disks"] for q in d["queues"])

    done = world.ctl.run("stats")
    assert "iothread1" in done.stdout and "main loop" in done.stdout and done.stdout.count("two") == 3, done.stdout
    assert done.stderr.count("does not count requests") == 2, done.stderr
    assert not world.ctl.run("stats", "--quiet").stderr
    done = world.ctl.run("stats", "nobody", ok=(1,))
    assert "no running domain 'nobody'" in done.stderr and not done.stdout


def documents_of(stream):
    """JSON documents one after the other, as they come."""
    decoder, text = json.JSONDecoder(), ""
    for line in stream:
        text += line
        try:
            document, end = decoder.raw_decode(text)
        except ValueError:
            continue
        text = text[end:].lstrip()
        yield document


def test_stats_watches_guests_that_come_and_go(world):
    one = world.guest("one", 1, vcpus=1)
    seen = set()
    with subprocess.Popen(world.ctl.command("stats", "--json", "--watch", "--count", "60"), stdout=subprocess.PIPE, text=True) as p:
        for document in documents_of(p.stdout):
            validate(document, "stats")
            rates = {d["name"]: "interval_ns" in d for d in document["domains"]}
            if rates == {"one": True} and not seen:
                seen.add("one")
                world.guest("two", 0)
            elif rates.get("two") and "one" in rates and "two" not in seen:
                seen.add("two")
                one.destroy()
            elif rates == {"two": True}:
                seen.add("end")
                p.terminate()
                break
    assert seen == {"one", "two", "end"}
