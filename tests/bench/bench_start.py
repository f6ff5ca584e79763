# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start to verified: from a domain's start event until vbmqd has applied and verified, over the bare libvirt calls."""

import os
import time

from common import STARTCLOCK, Client, Watched, arguments, figure, guest_shape, need_system, publish, show, table
from vbmqtest import Libvirtd, cpulist

NAME = "started"
ALIAS = "virtio-disk0"
DEBOUNCES = ("10ms", "250ms")
GOAL = 1.5


def mask(cpus):
    return f"{sum(1 << c for c in cpulist(cpus)):x}"


def step_words(steps):
    """The steps of a plan as startclock wants them."""
    words = []
    for s in steps:
        op = s["op"]
        if op == "pin-emulator":
            words.append(f"emulator:{mask(s['cpus'])}")
        elif op in ("pin-vcpu", "pin-iothread"):
            words.append(f"{op[4:]}:{s['id']}:{mask(s['cpus'])}")
        elif op == "set-polling":
            p = s["polling"]
            words.append(f"polling:{s['id']}:{p['max_ns']}:{p['grow']}:{p['shrink']}")
        elif op == "add-iothread":
            words.append(f"add:{s['id']}")
        else:
            raise RuntimeError(f"no bare call for step {op}")
    return words


class Side:
    """One libvirtd with one guest, and how long its start takes."""

    def __init__(self, watch):
        self.libvirtd = Libvirtd()
        self.guest = self.libvirtd.define(NAME, **guest_shape())
        self.watched = Watched(self.libvirtd, debounce=watch, recheck="1h") if watch else None
        self.pid_file = f"{self.libvirtd.dir}/run/libvirt/qemu/{NAME}.pid"

    def run(self, words, checked=False):
        """Starts the guest and stops it again; what startclock measured."""
        bare = ["--checked"] * checked + [ALIAS, *words]
        how = ["--bus", self.watched.bus.address] if self.watched else bare
        clock = Client(STARTCLOCK, self.libvirtd.uri, NAME, self.pid_file, *how)
        try:
            self.guest.start()
            result = clock.result()
        finally:
            clock.stop()
        if self.watched:
            self.watched.settle(1)
            self.report = self.watched.vbmqd.report()
        self.guest.destroy()
        self.guest.wait_gone()
        if self.watched:
            self.watched.settle(0)
            time.sleep(0.3)  # quiet: longer than either debounce
        return result

    def stop(self):
        if self.watched:
            self.watched.stop()
        self.libvirtd.stop()


def parts(marks):
    """Milliseconds of each part of vbmqd's way, from what it says on its bus."""
    at = dict(reversed([(what, ns / 1e6) for what, ns in marks]))  # the first of each
    return {
        "event to cycle": at["state planning"],
        "read and plan": at["Planned"] - at["state planning"],
        "apply": at_after(marks, "state applying", "end of apply") - at["Planned"],
        "check and verify": at["Applied"] - at_after(marks, "state applying", "end of apply"),
        "/proc": at["verified"] - at["Applied"],
    }


def at_after(marks, start, what):
    """The mark after start: when vbmqd turned to reading again."""
    names = [m[0] for m in marks]
    i = names.index(start)
    return marks[i + 1][1] / 1e6


def truth(result, dedicated):
    """One thread and no other on the dedicated CPU."""
    sets = [frozenset(cpulist(c)) for c in result["threads"].values()]
    assert sum(s == dedicated for s in sets) == 1 and all(s == dedicated or not s & dedicated for s in sets), result
    return sorted(map(sorted, sets))


def main():
    args = arguments(__doc__, rounds=(15, "measured rounds"))
    need_system()
    load = os.getloadavg()
    sides = {d: Side(d) for d in DEBOUNCES}
    sides["bare"] = Side(None)
    total = {name: [] for name in (*sides, "checked")}
    split = {name: [] for name in DEBOUNCES}
    bare_split = []
    try:
        for d in DEBOUNCES:
            sides[d].run([])  # not measured: vbmqd learns what this QEMU can do
        words = step_words(sides[DEBOUNCES[0]].report["steps"])
        dedicated = frozenset().union(*(cpulist(s["cpus"]) for s in sides[DEBOUNCES[0]].report["steps"]
                                        if s["op"] == "pin-iothread"))
        sides["bare"].run(words)
        order = list(sides)
        for n in range(args.rounds):
            states = []
            turn = [*order, "checked"]
            for name in turn[n % 4:] + turn[:n % 4]:
                result = sides["bare" if name == "checked" else name].run(words, checked=name == "checked")
                total[name].append(result["marks"][-1][1] / 1e6)
                states.append(truth(result, dedicated))
                if name in split:
                    split[name].append(parts(result["marks"]))
                elif name == "bare":
                    bare_split.append(result["marks"])
            assert all(s == states[0] for s in states), states
    finally:
        for side in sides.values():
            side.stop()

    results = {"rounds": args.rounds, "steps": words, "goal_ratio": GOAL, "bare_ms": figure(total["bare"]),
               "checked_ms": figure(total["checked"]), "vbmqd": {}}
    rows = [["bare libvirt calls", show(results["bare_ms"]), "", ""],
            ["the same, every step checked", show(results["checked_ms"]), "", ""]]
    for d in DEBOUNCES:
        ratio = figure([a / b for a, b in zip(total[d], total["bare"])])
        checked = figure([a / b for a, b in zip(total[d], total["checked"])])
        results["vbmqd"][d] = {
            "ms": figure(total[d]),
            "ratio": ratio,
            "ratio_to_checked": checked,
            "parts_ms": {p: figure([s[p] for s in split[d]]) for p in split[d][0]},
        }
        rows.append([f"vbmqd, debounce {d}", show(results["vbmqd"][d]["ms"]), show(ratio), show(checked)])
    table(f"Start event to verified, ms: median (min..max) of {args.rounds} rounds",
          ["", "ms", f"ratio to the first, goal {GOAL}", "to the second"], rows)
    names = list(split[DEBOUNCES[0]][0])
    table("The parts of it, ms", ["vbmqd", *(f"debounce {d}" for d in DEBOUNCES)],
          [[p, *(show(results["vbmqd"][d]["parts_ms"][p]) for d in DEBOUNCES)] for p in names])
    marks = [m[0] for m in bare_split[0]]
    ends = [[m[i][1] / 1e6 for m in bare_split] for i in range(len(marks))]
    results["bare_parts_ms"] = {}
    before = [0.0] * len(bare_split)
    for what, end in zip(marks, ends):
        results["bare_parts_ms"][what] = figure([e - b for e, b in zip(end, before)])
        before = end
    table("The bare calls, ms up to each mark", ["", "ms"], [[w, show(f)] for w, f in results["bare_parts_ms"].items()])
    publish("start", args, load, results)


if __name__ == "__main__":
    main()
