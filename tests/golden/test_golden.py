# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshot in, plan out, byte for byte; and what must hold for every plan, judged by code that is not the planner's.

VBMQ_UPDATE_EXPECTED=1 rewrites the plans: read the diff before committing it.
"""
import json
import os
import pathlib
import random
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from vbmqtest import documents  # noqa: E402

VBMQCTL = os.environ["VBMQCTL"]
CASES = sorted(p.name for p in (HERE / "cases").iterdir() if (p / "snapshot.json").exists())


def cpus(text):
    out = set()
    for part in filter(None, text.split(",")):
        a, _, b = part.partition("-")
        out |= set(range(int(a), int(b or a) + 1))
    return out


def plan(snapshot):
    r = subprocess.run([VBMQCTL, "plan", "--snapshot", "-", "--json"], input=snapshot, capture_output=True, text=True, timeout=60)
    assert r.returncode in (0, 4), r.stderr
    return r.returncode, r.stdout


class World:
    """The host of a snapshot, for judging."""

    def __init__(self, snapshot):
        h = snapshot["host"]
        self.core = {}
        for i, c in enumerate(h["cores"]):
            for cpu in cpus(c["cpus"]):
                self.core[cpu] = i
        self.siblings = {i: cpus(c["cpus"]) for i, c in enumerate(h["cores"])}
        self.usable = cpus(h["online"]) & cpus(h["allowed"])
        self.isolated = cpus(h["isolated"])

    def whole(self, some):
        return set().union(*[self.siblings[self.core[c]] for c in some]) if some else set()


def room(world, snapshot, domain, thread):
    """The CPUs that an exclusive thread has for itself."""
    wish = next(d for d in snapshot["domains"] if d["name"] == domain["name"]).get("wish", {})
    exclusive = wish.get("exclusive", snapshot["policy"]["defaults"]["exclusive"])
    mine = cpus(thread["cpus"])
    return mine if exclusive == "cpu" and thread["kind"] == "iothread" else world.whole(mine)


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    folder = HERE / "cases" / name
    code, got = plan((folder / "snapshot.json").read_text())
    if os.environ.get("VBMQ_UPDATE_EXPECTED"):
        (folder / "plan.json").write_text(got)
    assert got == (folder / "plan.json").read_text(), "the plan changed; VBMQ_UPDATE_EXPECTED=1 rewrites it"
    doc = json.loads(got)
    documents.validate(doc, "plan")
    errors = [d for dom in doc["domains"] for d in dom["diagnostics"] if d["severity"] == "error"]
    errors += [d for d in doc["diagnostics"] if d["severity"] == "error"]
    assert (code == 4) == bool(errors)


@pytest.mark.parametrize("name", CASES)
def test_what_must_hold(name):
    snapshot = json.loads((HERE / "cases" / name / "snapshot.json").read_text())
    world = World(snapshot)
    doc = json.loads(plan(json.dumps(snapshot))[1])
    shared, dedicated = cpus(doc["host"]["shared"]), cpus(doc["host"]["dedicated"])
    assert shared and shared <= world.usable and not shared & dedicated
    assert not shared & world.isolated
    owners = {}
    for d in doc["domains"]:
        ids = {t["id"] for t in d["threads"] if t["kind"] == "iothread" and not t.get("remove")}
        for t in d["threads"]:
            here = cpus(t["cpus"])
            assert here, "a thread must be somewhere"
            if t.get("exclusive"):
                assert here <= dedicated
                for c in room(world, snapshot, d, t):
                    key = (d["name"], t["kind"], t["id"])
                    assert owners.setdefault(c, key) == key, "CPU %d belongs to %s and %s" % (c, owners[c], key)
            elif t.get("planned") and not shares_a_core(doc, d, t):
                assert here <= shared, "%s %s floats outside the shared set" % (d["name"], t["kind"])
        for disk in d["disks"]:
            assert [q["index"] for q in disk["queues"]] == list(range(len(disk["queues"])))
            for q in disk["queues"]:
                assert q["iothread"] == 0 or q["iothread"] in ids
    for d in doc["domains"]:
        for t in d["threads"]:
            if t.get("planned") and not t.get("exclusive"):
                for c in cpus(t["cpus"]):
                    owner = owners.get(c)
                    assert owner is None or owner[0] == d["name"]


def shares_a_core(doc, domain, thread):
    """The second stage of degradation: I/O threads of one domain on one core."""
    codes = {g["code"] for g in domain["diagnostics"]}
    return thread["kind"] == "iothread" and "iothreads-share-core" in codes


@pytest.mark.parametrize("name", CASES)
def test_order_does_not_matter(name):
    text = (HERE / "cases" / name / "snapshot.json").read_text()
    snapshot = json.loads(text)
    shuffle = random.Random(name).shuffle
    shuffle(snapshot["domains"])
    for d in snapshot["domains"]:
        shuffle(d["threads"])
        shuffle(d["disks"])
    assert plan(json.dumps(snapshot))[1] == plan(text)[1]


def has_threads(name):
    """Described domains have none that could be moved."""
    return '"shutoff"' not in (HERE / "cases" / name / "snapshot.json").read_text()


@pytest.mark.parametrize("name", filter(has_threads, CASES))
def test_applied_plan_needs_no_steps(name):
    """Put every thread where the plan wants it: the next plan has nothing to do and the same placement."""
    snapshot = json.loads((HERE / "cases" / name / "snapshot.json").read_text())
    doc = json.loads(plan(json.dumps(snapshot))[1])
    for d, p in zip(sorted(snapshot["domains"], key=lambda x: x["name"]), doc["domains"]):
        become(d, p)
    again = json.loads(plan(json.dumps(snapshot))[1])
    assert again["steps"] == []
    assert again["host"] == doc["host"]
    for a, b in zip(again["domains"], doc["domains"]):
        assert [(t["kind"], t.get("id"), t["cpus"], t.get("exclusive")) for t in a["threads"]] == \
            [(t["kind"], t.get("id"), t["cpus"], t.get("exclusive")) for t in b["threads"] if not t.get("remove")]


def become(d, p):
    known = {(t["kind"], t["id"]): t for t in d["threads"]}
    for t in p["threads"]:
        key = (t["kind"], t.get("id", 0))
        if t.get("remove"):
            d["threads"].remove(known[key])
            continue
        if t.get("add"):
            known[key] = {"kind": "iothread", "id": t["id"], "tid": 900000 + t["id"], "start": 1, "added": True}
            d["threads"].append(known[key])
        if t.get("planned"):
            now = known[key]
            if now.get("affinity") != t["cpus"]:
                now["applied"] = t["cpus"]
            if "applied" in now:
                now["applied"] = t["cpus"]
            now["affinity"] = t["cpus"]
        if "polling" in t:
            known[key]["polling"] = t["polling"]
    for disk, placed in zip(sorted(d["disks"], key=lambda x: x["target"]), p["disks"]):
        if placed.get("remap"):
            for q, want in zip(disk["queues"], placed["queues"]):
                q["iothread"] = want["iothread"]


def test_there_are_enough_hosts_and_cases():
    hosts = {json.dumps(json.loads((HERE / "cases" / c / "snapshot.json").read_text())["host"], sort_keys=True) for c in CASES}
    assert len(CASES) >= 40 and len(hosts) >= 12
