# SPDX-License-Identifier: LGPL-2.1-or-later
"""VBMq itself: what `vbmqctl plan` says for the snapshot of this host with these guests. Nothing is planned here.

All guests run on a QEMU with the patches, are managed with the default policy, and have no I/O thread of their own. The fleet is
planned in one go, and then once more with the guest that came later, from the state in which the first plan left the host.
"""
import json
import os
import subprocess
import uuid

from model import IoThread, Placed, Placement, bits, parse, show
from rules.base import Rule

CAPABILITIES = ["pin", "polling", "add-iothread", "cold-map", "live-map", "poll-mode", "placement"]


class Vbmq(Rule):
    sources = ("ARCHITECTURE.md, lib/core/planner.c",)

    def __init__(self, host, fleet):
        super().__init__(host, fleet)
        self.before = {}  # documents of the guests as the last plan left them
        self.homes = {}

    def place(self, guest, home):
        self.homes[guest.name] = home
        self.before[guest.name] = self.describe(guest, home)

    def describe(self, guest, home):
        number = len(self.before) + 1
        everywhere = show(self.host.usable)
        threads = [{"kind": k, "id": i, "tid": number * 1000 + n, "start": number * 1000 + n, "affinity": everywhere}
                   for n, (k, i) in enumerate([("vcpu", v) for v in range(guest.vcpus)] + [("emulator", 0)])]
        disks = [{"target": "vd" + chr(ord("a") + d), "node": disk.node, "mapped": False, "started": True,
                  "queues": [{"iothread": 0, "vcpus": show(bits(guest.completes(d, q))), "exact": True} for q in range(disk.queues)]}
                 for d, disk in enumerate(guest.disks)]
        document = {"name": guest.name, "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, guest.name)), "id": number, "pid": number * 1000,
                    "state": "running", "responsive": True, "vcpus": guest.vcpus, "memory_nodes": str(home), "busy_iothreads": "",
                    "capabilities": CAPABILITIES, "threads": threads, "disks": disks, "wish": {}}
        self.vcpus(guest, home, document)
        return document

    def vcpus(self, guest, home, document):
        raise NotImplementedError

    def policy(self):
        return {}

    def placement(self):
        snapshot = {"schema": "vbmq-snapshot/1", "host": self.host.document, "domains": list(self.before.values()),
                    "policy": self.policy()}
        done = subprocess.run([os.environ["VBMQCTL"], "plan", "--snapshot", "-", "--json"], input=json.dumps(snapshot),
                              capture_output=True, text=True, check=False)
        if done.returncode not in (0, 4):
            raise RuntimeError(f"vbmqctl plan: {done.stderr}")
        plan = json.loads(done.stdout)
        shared = parse(plan["host"]["shared"])
        guests = {}
        by_name = {g.name: g for g in self.fleet.guests + [self.fleet.newcomer]}
        for domain in plan["domains"]:
            name = domain["name"]
            guests[name] = self._placed(by_name[name], domain)
            self.before[name] = self._applied(self.before[name], domain)
        return Placement(self.host, guests, [], shared, shared)

    def _placed(self, guest, domain):
        serves = {}
        for d, disk in enumerate(sorted(domain["disks"], key=lambda disk: disk["target"])):
            for q in disk["queues"]:
                serves.setdefault(q["iothread"], []).append((d, q["index"]))
        at = {(t["kind"], t.get("id", 0)): parse(t["cpus"]) for t in domain["threads"] if not t.get("remove")}
        emulator = at["emulator", 0]
        threads = [IoThread(at["iothread", i] if i else emulator, serves[i]) for i in sorted(serves)]
        return Placed(guest, [at["vcpu", v] for v in range(guest.vcpus)], emulator, threads, {self.homes[guest.name]})

    @staticmethod
    def _applied(was, domain):
        """The guest's document once all steps of the plan are done."""
        old = {(t["kind"], t["id"]): t for t in was["threads"]}
        threads = []
        for n, t in enumerate(domain["threads"]):
            new = dict(old.get((t["kind"], t.get("id", 0))) or
                       {"kind": t["kind"], "id": t["id"], "tid": was["pid"] + 500 + n, "start": was["pid"] + 500 + n, "added": True})
            new["affinity"] = t["cpus"]
            if t.get("planned"):
                new.update(applied=t["cpus"], own=t.get("exclusive", False))
            if "polling" in t:
                new["polling"] = {k: t["polling"][k] for k in ("max_ns", "grow", "shrink")}
                new["found_polling"] = {"max_ns": 32768, "grow": 0, "shrink": 0}
            threads.append(new)
        disks = {d["target"]: d for d in domain["disks"]}
        return dict(was, threads=threads, disks=[
            dict(d, queues=[dict(q, iothread=p["iothread"]) for q, p in zip(d["queues"], disks[d["target"]]["queues"])])
            for d in was["disks"]])


class Given(Vbmq):
    """The operator has pinned the vCPUs of dedicated guests, as under every rule that does not place vCPUs."""

    name = "VBMq, vCPUs where they are"

    def vcpus(self, guest, home, document):
        pins = self.operator.pin(guest, home) if guest.dedicated else None
        for t in document["threads"]:
            if pins and t["kind"] == "vcpu":
                t["affinity"] = t["pin"] = str(pins[t["id"]])


class Places(Vbmq):
    """Dedicated guests have placement='dedicated': VBMq places their vCPUs too."""

    name = "VBMq, places vCPUs too"

    def vcpus(self, guest, home, document):
        if guest.dedicated:
            document["wish"] = {"vcpus": "dedicated"}


class HalfShared(Places):
    """The same with shared-min-cores: half of the cores stay shared, whoever wants more."""

    name = "VBMq, places vCPUs too, half stays shared"

    def policy(self):
        return {"shared_min_cores": len(self.host.cores) // 2}
