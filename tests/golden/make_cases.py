#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Describes the golden cases and writes their snapshots: tests/golden/cases/NAME/snapshot.json.

Run by hand after a case was added or changed; the plans beside the snapshots are written by
VBMQ_UPDATE_EXPECTED=1 and read in review. A case is a host, domains, and a policy; everything a snapshot can say can be said.
"""
import json
import pathlib
import uuid

CASES = pathlib.Path(__file__).resolve().parent / "cases"
PIN, POLL, ADD, COLD, LIVE, MODE, PLACE = "pin", "polling", "add-iothread", "cold-map", "live-map", "poll-mode", "placement"
STOCK = [PIN, POLL, ADD, COLD]
OLD = [PIN, POLL, ADD]
PATCHED = STOCK + [LIVE, MODE, PLACE]


def cpulist(cpus):
    cpus, out = sorted(set(cpus)), []
    i = 0
    while i < len(cpus):
        j = i
        while j + 1 < len(cpus) and cpus[j + 1] == cpus[j] + 1:
            j += 1
        out.append(str(cpus[i]) if i == j else "%d-%d" % (cpus[i], cpus[j]))
        i = j + 1
    return ",".join(out)


def host(name, nodes, offline=(), isolated=(), allowed=None, far=20, split_smt=True, distances=None, memory_only=()):
    """nodes: list of (node id, [cores per L3, ...], smt). CPUs as Linux numbers them: first threads, then siblings."""
    first, total = [], sum(sum(l3s) for _, l3s, _ in nodes)
    cores, l3s_out, node_cpus, number = [], [], {}, 0
    for node_id, l3s, smt in nodes:
        node_cpus[node_id] = []
        for size in l3s:
            l3_cpus = []
            for _ in range(size):
                if split_smt:
                    cpus = [number + t * total for t in range(smt)]
                else:
                    cpus = [len(first) + t for t in range(smt)]
                    first.extend(cpus)
                cores.append({"cpus": cpulist(cpus), "l3": len(l3s_out), "node": node_id, "die": 0, "package": node_id})
                l3_cpus += cpus
                number += 1
            l3s_out.append({"cpus": cpulist(l3_cpus), "node": node_id})
            node_cpus[node_id] += l3_cpus
    ids = sorted([n for n, _, _ in nodes] + list(memory_only))
    online = sorted(c for cpus in node_cpus.values() for c in cpus if c not in offline)
    dist = distances or [[10 if a == b else far for b in ids] for a in ids]
    return {"name": name, "online": cpulist(online), "allowed": cpulist(online if allowed is None else allowed),
            "isolated": cpulist(isolated), "cores": cores, "l3": l3s_out,
            "nodes": [{"id": n, "cpus": cpulist(node_cpus.get(n, [])), "memory_kib": 67108864} for n in ids], "distances": dist}


def all_cpus(h):
    out = []
    for part in h["online"].split(","):
        a, _, b = part.partition("-")
        out += range(int(a), int(b or a) + 1)
    return cpulist(out)


class Guest:
    """A domain. running with its threads everywhere unless told otherwise; tids are made up but stable."""
    count = 0

    def __init__(self, h, name, vcpus=4, disks=None, iothreads=(), caps=STOCK, state="running", wish=None, nodes="", **extra):
        Guest.count += 1
        tid = 1000 * Guest.count
        everywhere = all_cpus(h) if state != "shutoff" else ""
        self.d = {"name": name, "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "id": Guest.count if everywhere else -1,
                  "pid": tid if everywhere else 0, "state": state, "responsive": True, "vcpus": vcpus, "memory_nodes": nodes,
                  "capabilities": caps, "busy_iothreads": "", "threads": [], "disks": []}
        if wish is not None:
            self.d["wish"] = wish
        for kind, ids in (("vcpu", range(vcpus)), ("iothread", iothreads), ("emulator", [0])):
            for i in ids:
                tid += 1
                t = {"kind": kind, "id": i, "tid": tid if everywhere else 0, "start": tid if everywhere else 0,
                     "affinity": everywhere}
                if kind == "iothread":
                    t["polling"] = {"max_ns": 32768, "grow": 0, "shrink": 0}
                self.d["threads"].append(t)
        for target, disk in (disks or {"vda": {}}).items():
            queues = disk.get("queues", vcpus)
            on = disk.get("map", [0] * queues)
            served = [[v for v in range(vcpus) if (v if queues >= vcpus else v * queues // vcpus) == q] for q in range(queues)]
            self.d["disks"].append({"target": target, "source": "/dev/" + target, "mapped": any(on), "started": True,
                                    "queues": [{"iothread": on[q], "vcpus": cpulist(served[q]), "exact": False}
                                               for q in range(queues)],
                                    **({"node": disk["node"]} if "node" in disk else {})})
        self.d.update(extra)

    def thread(self, kind, number, **values):
        for t in self.d["threads"]:
            if t["kind"] == kind and t["id"] == number:
                t.update(values)
        return self

    def pin(self, kind, number, cpus):
        return self.thread(kind, number, affinity=cpus, pin=cpus)


BASE_POLICY = {"auto_max": 4, "dedicated": "", "defaults": {"enabled": True, "exclusive": "core", "iothreads": "auto",
                                                            "poll": "dedicated", "priority": 0, "vcpus": "follow"},
               "drift": "repair", "hold_others": True, "manage_by_default": False, "poll_grow": 1000, "poll_max_ns": 1000000,
               "poll_shrink": 1, "reserved": "", "shared_min_cores": 0}


def policy(**changes):
    p = json.loads(json.dumps(BASE_POLICY))
    for key, value in changes.items():
        if key in p["defaults"]:
            p["defaults"][key] = value
        else:
            p[key] = value
    return p


# --- hosts: 1 to 8 nodes, 2 to 512 CPUs -------------------------------------------------------------------------------------

def hosts():
    return {
        "tiny": host("tiny", [(0, [2], 1)]),
        "laptop": host("laptop", [(0, [4], 2)], split_smt=False),
        "one-socket": host("one-socket", [(0, [16], 2)]),
        "two-sockets": host("two-sockets", [(0, [8], 2), (1, [8], 2)], far=21),
        "no-smt": host("no-smt", [(0, [12], 1), (1, [12], 1)], far=32),
        "many-l3": host("many-l3", [(0, [4] * 8, 2), (1, [4] * 8, 2)], far=32),
        "four-nodes": host("four-nodes", [(n, [6], 2) for n in range(4)],
                           distances=[[10, 12, 32, 32], [12, 10, 32, 32], [32, 32, 10, 12], [32, 32, 12, 10]]),
        "eight-nodes": host("eight-nodes", [(n, [4, 4], 2) for n in range(8)], far=16),
        "big": host("big", [(n, [8] * 4, 2) for n in range(8)], far=32),                         # 512 CPUs
        "wide": host("wide", [(0, [8] * 16, 2), (1, [8] * 16, 2)], far=32),                      # 512 CPUs, 32 L3 domains
        "smt8": host("smt8", [(0, [4], 8), (8, [4], 8)], split_smt=False, far=40),
        "uneven": host("uneven", [(0, [10], 2), (1, [3, 3], 1), (2, [1], 1)], far=21),
        "cpuless": host("cpuless", [(0, [6], 2), (1, [6], 2)], memory_only=(2, 3), far=21),
        "offline": host("offline", [(0, [8], 2)], offline=(3, 9, 11, 15)),
        "restricted": host("restricted", [(0, [8], 2), (1, [8], 2)], allowed=list(range(4, 12)) + list(range(20, 28))),
        "isolated": host("isolated", [(0, [8], 2), (1, [8], 2)], isolated=list(range(4, 8)) + list(range(20, 24))),
    }


W = dict  # a wish that is present, even when empty


def cases():
    """Yields (name, host, [Guest...], policy)."""
    H = hosts()
    P = policy

    def g(hostname, name, **k):
        return Guest(H[hostname], name, **k)

    for hn in sorted(H):
        Guest.count = 0
        yield "first-guest-on-" + hn, hn, [g(hn, "db1", wish=W(), caps=PATCHED)], P()
    Guest.count = 0
    yield "no-domains", "two-sockets", [], P()
    yield "unmanaged-is-held-off", "laptop", [g("laptop", "db1", wish=W(iothreads=1), caps=PATCHED), g("laptop", "other", vcpus=2)], P()
    yield "unmanaged-is-let-be", "laptop", [g("laptop", "db1", wish=W(iothreads=1), caps=PATCHED), g("laptop", "other", vcpus=2)], P(hold_others=False)
    yield "managed-by-default", "one-socket", [g("one-socket", "a", caps=PATCHED), g("one-socket", "b", caps=PATCHED, wish=W(enabled=False))], P(manage_by_default=True)
    yield "near-the-device", "two-sockets", [g("two-sockets", "db1", wish=W(), caps=PATCHED, disks={"vda": {"node": 1}})], P()
    yield "near-the-memory", "two-sockets", [g("two-sockets", "db1", wish=W(), caps=PATCHED, nodes="1")], P()
    yield "device-and-memory-apart", "two-sockets", [g("two-sockets", "db1", wish=W(), caps=PATCHED, nodes="0", disks={"vda": {"node": 1}})], P()
    yield "memory-on-cpuless-node", "cpuless", [g("cpuless", "db1", wish=W(), caps=PATCHED, nodes="3", disks={"vda": {"node": 2}})], P()
    yield "two-disks-two-nodes", "four-nodes", [g("four-nodes", "db1", vcpus=8, wish=W(iothreads=2), caps=PATCHED,
                                                  disks={"vda": {"node": 0}, "vdb": {"node": 3}})], P()
    followed = g("many-l3", "db1", wish=W(iothreads=2), caps=PATCHED)
    for v in range(4):
        followed.pin("vcpu", v, str(8 + v))
    yield "follows-pinned-vcpus", "many-l3", [followed], P()
    yield "cold-map-needs-restart", "one-socket", [g("one-socket", "db1", wish=W())], P()
    yield "pin-poll-cannot-map", "one-socket", [g("one-socket", "db1", wish=W(), caps=OLD)], P()
    yield "cold-map-in-force", "one-socket", [g("one-socket", "db1", wish=W(), iothreads=(1, 2), disks={"vda": {"map": [1, 1, 2, 2]}})], P()
    yield "mapped-by-hand", "one-socket", [g("one-socket", "db1", wish=W(), caps=PATCHED, iothreads=(1, 5), disks={"vda": {"map": [5, 1, 5, 1]}})], P()
    yield "explicit-count-on-stock", "one-socket", [g("one-socket", "db1", wish=W(iothreads=3))], P()
    yield "next-start", "two-sockets", [g("two-sockets", "db1", state="shutoff", wish=W()), g("two-sockets", "web1", state="shutoff", vcpus=2, wish=W())], P()
    yield "shortage-fewer-threads", "laptop", [g("laptop", n, wish=W(), caps=PATCHED) for n in ("a", "b")], P()
    yield "shortage-count-said", "laptop", [g("laptop", n, wish=W(iothreads=2), caps=PATCHED) for n in ("a", "b")], P()
    yield "shortage-shared-set", "tiny", [g("tiny", n, wish=W(), caps=PATCHED) for n in ("a", "b", "c")], P()
    yield "shortage-priority", "tiny", [g("tiny", "a", wish=W(), caps=PATCHED), g("tiny", "b", wish=W(priority=10), caps=PATCHED)], P()
    yield "shortage-fair", "one-socket", [g("one-socket", "g%02d" % i, wish=W(), caps=PATCHED) for i in range(8)], P()
    yield "exclusive-cpu", "laptop", [g("laptop", "db1", wish=W(exclusive="cpu", iothreads=2), caps=PATCHED)], P()
    yield "exclusive-none", "laptop", [g("laptop", "db1", wish=W(exclusive="none", iothreads=2), caps=PATCHED)], P()
    yield "dedicated-vcpus", "two-sockets", [g("two-sockets", "db1", wish=W(vcpus="dedicated", iothreads=2), caps=PATCHED, nodes="1")], P()
    yield "dedicated-vcpus-shortage", "laptop", [g("laptop", "db1", vcpus=6, wish=W(vcpus="dedicated", iothreads=1), caps=PATCHED)], P()
    yield "polling-off", "one-socket", [g("one-socket", "db1", wish=W(poll="off"), iothreads=(1,), disks={"vda": {"map": [1] * 4}})], P()
    yield "polling-adaptive", "one-socket", [g("one-socket", "db1", wish=W(poll="adaptive"), iothreads=(1,), disks={"vda": {"map": [1] * 4}})], P()
    yield "foreign-pins-are-taken", "two-sockets", [g("two-sockets", "db1", wish=W(iothreads=2), caps=PATCHED, disks={"vda": {"node": 0}}),
                                                   g("two-sockets", "theirs", vcpus=2).pin("vcpu", 0, "0").pin("vcpu", 1, "1")], P()
    yield "node-wide-pin-is-a-leash", "two-sockets", [g("two-sockets", "db1", wish=W(iothreads=2), caps=PATCHED, disks={"vda": {"node": 0}}),
                                                     g("two-sockets", "theirs", vcpus=1).pin("vcpu", 0, "0-7,16-23")], P()
    yield "cpuset-leash", "two-sockets", [g("two-sockets", "db1", wish=W(iothreads=2), caps=PATCHED, cpuset="8-15,24-31")], P()
    yield "reserved-and-dedicated-cpus", "one-socket", [g("one-socket", "db1", wish=W(), caps=PATCHED)], P(reserved="0-3,16-19", dedicated="2-5,18-21")
    yield "shared-min-cores", "laptop", [g("laptop", "db1", wish=W(), caps=PATCHED)], P(shared_min_cores=3)
    yield "unresponsive-is-left", "one-socket", [g("one-socket", "db1", wish=W(), caps=PATCHED), g("one-socket", "hung", wish=W(), caps=PATCHED, responsive=False)], P()
    yield "paused-is-planned", "one-socket", [g("one-socket", "db1", state="paused", wish=W(), caps=PATCHED)], P()
    drifted = g("one-socket", "db1", wish=W(iothreads=1), caps=PATCHED, iothreads=(1,), disks={"vda": {"map": [1] * 4}})
    drifted.thread("iothread", 1, affinity="0-3", applied="4")
    yield "drift-repaired", "one-socket", [drifted], P()
    yield "drift-respected", "one-socket", [drifted], P(drift="respect")
    settled = g("one-socket", "db1", wish=W(iothreads=1), iothreads=(1,), disks={"vda": {"map": [1] * 4}})
    settled.thread("iothread", 1, affinity="9", applied="9", polling={"max_ns": 1000000, "grow": 1000, "shrink": 1})
    for kind, i in [("vcpu", v) for v in range(4)] + [("emulator", 0)]:
        settled.thread(kind, i, affinity="0-8,10-24,26-31", applied="0-8,10-24,26-31")
    yield "settled-does-not-move", "one-socket", [settled], P()
    yield "newcomer-moves-nobody", "one-socket", [settled, g("one-socket", "aaa", wish=W(), caps=PATCHED)], P()
    crossed = [g("two-sockets", n, wish=W(iothreads=1), iothreads=(1,), disks={"vda": {"map": [1] * 4, "node": node}})
               for n, node in (("a", 0), ("b", 1))]
    crossed[0].thread("iothread", 1, affinity="8", applied="8")
    crossed[1].thread("iothread", 1, affinity="1", applied="1")
    yield "crossed-over-nodes", "two-sockets", crossed, P()
    added = g("one-socket", "db1", wish=W(iothreads=1), caps=PATCHED, iothreads=(1, 2, 3), disks={"vda": {"map": [1] * 4}})
    for i in (1, 2, 3):
        added.thread("iothread", i, added=True)
    yield "surplus-threads-go", "one-socket", [added], P()
    yield "unknown-disk", "one-socket", [g("one-socket", "db1", wish=W(disks=[{"target": "vdz", "iothreads": 2}]), caps=PATCHED)], P()
    yield "no-disks", "one-socket", [g("one-socket", "db1", wish=W(), caps=PATCHED, disks={"vda": {}})], P()
    yield "per-disk-threads", "one-socket", [g("one-socket", "db1", wish=W(iothreads=4, disks=[{"target": "vdb", "iothreads": 1}]), caps=PATCHED,
                                               disks={"vda": {}, "vdb": {}})], P()
    yield "fewer-queues-than-vcpus", "one-socket", [g("one-socket", "db1", vcpus=8, wish=W(iothreads=2), caps=PATCHED, disks={"vda": {"queues": 4}})], P()
    yield "more-queues-than-vcpus", "one-socket", [g("one-socket", "db1", vcpus=2, wish=W(), caps=PATCHED, disks={"vda": {"queues": 8}})], P()
    yield "scsi-thread-is-not-unused", "one-socket", [g("one-socket", "db1", wish=W(), iothreads=(1,), busy_iothreads="1")], P()
    yield "fleet-on-wide", "wide", [g("wide", "g%03d" % i, vcpus=4, wish=W(iothreads=2), caps=PATCHED, nodes=str(i % 2)) for i in range(40)], P()
    yield "fleet-on-big", "big", [g("big", "g%03d" % i, vcpus=4, wish=W(iothreads=1), caps=PATCHED, nodes=str(i % 8),
                                    disks={"vda": {"node": (i * 3) % 8}}) for i in range(60)], P()
    yield "metadata-refused", "one-socket", [g("one-socket", "db1", caps=PATCHED, metadata_error="db1:3: attribute 'count': 'many'")], P(manage_by_default=True)

    left = g("one-socket", "db1", wish=W(enabled=False), iothreads=(1,), disks={"vda": {"map": [1] * 4}})
    left.thread("iothread", 1, affinity="4", applied="4", polling={"max_ns": 1000000, "grow": 1000, "shrink": 1},
                found_polling={"max_ns": 32768, "grow": 0, "shrink": 0})
    hung = g("laptop", "hung", wish=W(iothreads=1), caps=PATCHED, iothreads=(1,), disks={"vda": {"map": [1] * 4}}, responsive=False)
    hung.thread("iothread", 1, affinity="4", applied="4", own=True)
    for kind, i in [("vcpu", v) for v in range(4)] + [("emulator", 0)]:
        hung.thread(kind, i, affinity="0-3,6-7", applied="0-3,6-7")
    yield "hung-keeps-its-core", "laptop", [hung, g("laptop", "late", wish=W(), caps=PATCHED), g("laptop", "plain")], P()
    yield "managed-no-more", "one-socket", [left], P()
    # What is left of a fleet: one thread each in four L3 domains of two nodes. It stays every day; rebalance draws it together.
    scattered = [g("many-l3", "g%d" % i, vcpus=2, wish=W(iothreads=1), iothreads=(1,), nodes=str(i // 2),
                   disks={"vda": {"queues": 1, "map": [1], "node": i // 2}}) for i in range(4)]
    at = [5, 13, 40, 52]
    rest = cpulist(c for c in range(128) if c % 64 not in at)
    for x, cpu in zip(scattered, at):
        x.thread("iothread", 1, affinity=str(cpu), applied=str(cpu), own=True, polling={"max_ns": 1000000, "grow": 1000, "shrink": 1})
        for kind, i in (("vcpu", 0), ("vcpu", 1), ("emulator", 0)):
            x.thread(kind, i, affinity=rest, applied=rest)
    yield "scattered-over-l3s", "many-l3", scattered, P()
    # Two guests pinned by hand, one on each node, and all others kept off their CPUs: that covers no node, and is a leash all the same.
    pinned = [g("two-sockets", "pin%d" % n, vcpus=4) for n in range(2)]
    for n, x in enumerate(pinned):
        for v in range(4):
            x.pin("vcpu", v, str(8 * n + v))
    yield "cpuset-beside-pins", "two-sockets", pinned + [
        g("two-sockets", "web%d" % i, wish=W(iothreads=2), caps=PATCHED, cpuset="4-7,12-15,16-31", disks={"vda": {"node": i}}) for i in range(2)], P()
    for name, vcpus in (("own-pool-is-a-place", 4), ("roomy-pool-is-a-leash", 2)):
        pool = g("two-sockets", "db1", vcpus=vcpus, wish=W(iothreads=2), caps=PATCHED, cpuset="0-3,16-19", disks={"vda": {"node": 0}})
        for kind, i in [("vcpu", v) for v in range(vcpus)] + [("emulator", 0)]:
            pool.thread(kind, i, affinity="0-3,16-19")
        yield name, "two-sockets", [pool, g("two-sockets", "web1", vcpus=2)], P()
    crowd = g("laptop", "theirs", vcpus=7)
    for v in range(7):
        crowd.pin("vcpu", v, str(v))
    yield "pins-leave-too-little", "laptop", [crowd, g("laptop", "web1", wish=W())], P()
    yield "nobody-is-managed", "laptop", [g("laptop", "theirs", vcpus=1).pin("vcpu", 0, "0-1"), g("laptop", "web1", vcpus=2)], P()


def main():
    H = hosts()
    for name, hostname, guests, pol in cases():
        domains = [x.d for x in guests]
        if name == "no-disks":
            domains[0]["disks"] = []
        folder = CASES / name
        folder.mkdir(parents=True, exist_ok=True)
        doc = {"schema": "vbmq-snapshot/1", "host": H[hostname], "domains": domains, "policy": pol}
        (folder / "snapshot.json").write_text(json.dumps(doc, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
