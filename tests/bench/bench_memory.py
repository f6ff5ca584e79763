# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory: what vbmqd holds with many guests, beside a bare libvirt event client, and whether it grows with work."""

import os

from common import EVENTCLIENT, Client, Watched, arguments, guest_shape, need_system, publish, table
from vbmqtest import Libvirtd

GOAL_KIB = 4096


def fields(path):
    with open(path, encoding="ascii") as f:
        return {line.split(":")[0]: int(line.split()[1]) for line in f if line.rstrip().endswith("kB")}


def split(pid):
    """Resident anonymous KiB by what it is: heap, stacks and other memory without a file, data of programs and libraries."""
    kind, found = None, {"heap": 0, "stacks and arenas": 0, "data of files": 0}
    with open(f"/proc/{pid}/smaps", encoding="ascii") as f:
        for line in f:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                name = words[5] if len(words) > 5 else ""
                kind = "heap" if name == "[heap]" else "data of files" if name.startswith("/") else "stacks and arenas"
            elif words[0] == "Anonymous:":
                found[kind] += int(words[1])
    return found


def memory(pid):
    status, rollup = fields(f"/proc/{pid}/status"), fields(f"/proc/{pid}/smaps_rollup")
    return {"rss_kib": status["VmRSS"], "anon_kib": status["RssAnon"], "pss_kib": rollup["Pss"],
            "pss_anon_kib": rollup["Pss_Anon"], "pss_file_kib": rollup["Pss_File"], "split_kib": split(pid)}


def main():
    args = arguments(__doc__, guests=(20, "guests"), cycles=(200, "plan cycles"))
    need_system()
    load = os.getloadavg()
    with Libvirtd() as libvirtd:
        client = watched = None
        try:
            for i in range(args.guests):
                libvirtd.guest(f"memory{i}", **guest_shape())
            client = Client(EVENTCLIENT, libvirtd.uri)
            watched = Watched(libvirtd, recheck="1h")
            watched.settle(args.guests)
            results = {"guests": args.guests, "cycles": args.cycles, "settled": memory(watched.pid)}
            for n in range(args.cycles):
                watched.vbmqd.fresh_plan()
                if n + 1 == args.cycles // 2:
                    results["half"] = memory(watched.pid)
            watched.settle(args.guests)
            results["after"] = memory(watched.pid)
            results["bare"] = memory(client.pid)
        finally:
            if watched:
                watched.stop()
            if client:
                client.stop()
    for when in ("settled", "after"):
        results[f"more_anon_kib_{when}"] = results[when]["anon_kib"] - results["bare"]["anon_kib"]
    results["goal_more_anon_kib"] = GOAL_KIB
    rows = []
    for name, key in (("bare event client", "bare"), ("vbmqd, settled", "settled"),
                      (f"vbmqd, after {args.cycles // 2} plan cycles", "half"),
                      (f"vbmqd, after {args.cycles} plan cycles", "after")):
        m = results[key]
        rows.append([name, m["anon_kib"], m["anon_kib"] - results["bare"]["anon_kib"], *m["split_kib"].values(),
                     m["pss_kib"], m["rss_kib"]])
    table(f"Resident memory at {args.guests} guests, KiB (goal: at most {GOAL_KIB} more anonymous than the bare client)",
          ["", "anonymous", "more", "heap", "stacks, arenas", "data of files", "Pss", "Rss"], rows)
    publish("memory", args, load, results)


if __name__ == "__main__":
    main()
