# SPDX-License-Identifier: LGPL-2.1-or-later
"""Planning: time and memory of `vbmqctl plan --snapshot`, beside `vbmqctl topology` of the same host."""

import json
import os
import subprocess
import sys
import tempfile

from common import RUNCLOCK, VBMQCTL, arguments, figure, publish, show, table
from vbmqtest.guest import Disk, domain_xml

HOSTS = (
    (8, "node:1 l3:1 core:4 pu:2"),
    (64, "node:2 l3:4 core:4 pu:2"),
    (256, "node:4 l3:8 core:4 pu:2"),
    (512, "node:8 l3:8 core:4 pu:2"),
)
GUESTS = (1, 10, 50, 100)
MANAGED = "<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1'/>"


def run(*words):
    """(seconds, peak KiB) of one vbmqctl; exit status 4, a wish that cannot be fulfilled, is a result as well."""
    done = subprocess.run([RUNCLOCK, VBMQCTL, *words], stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout)
    if result["status"] not in (0, 4):
        sys.exit(f"vbmqctl {' '.join(words)} ended with {result['status']}")
    return result["ns"] / 1e9, result["peak_kib"]


def capture(directory, host, guests):
    """A snapshot of a described host; each guest has 4 vCPUs and 2 disks of 4 queues."""
    domains = []
    for i in range(guests):
        path = f"{directory}/g{i}.xml"
        with open(path, "w", encoding="ascii") as f:
            f.write(domain_xml(f"g{i}", directory, "/usr/bin/qemu-system-x86_64", vcpus=4, metadata=MANAGED,
                               disks=[Disk("vda", queues=4), Disk("vdb", queues=4)]))
        domains += ["--domain", path]
    snapshot = f"{directory}/snapshot.json"
    run("capture", "--host", f"synthetic:{host}", *domains, "--output", snapshot, "--quiet")
    return snapshot


def main():
    args = arguments(__doc__, rounds=(5, "measured rounds"))
    load = os.getloadavg()
    results = []
    for cpus, host in HOSTS:
        for guests in GUESTS:
            with tempfile.TemporaryDirectory(prefix="vbmqbench-") as directory:
                snapshot = capture(directory, host, guests)
                pairs = []
                for n in range(args.rounds):
                    commands = [("plan", "--snapshot", snapshot), ("topology", "--host", f"synthetic:{host}")]
                    order = commands[::-1] if n % 2 else commands
                    pairs.append({c[0]: run(*c) for c in order})
            results.append({
                "cpus": cpus, "guests": guests, "host": host,
                "plan_ms": figure([p["plan"][0] * 1000 for p in pairs]),
                "topology_ms": figure([p["topology"][0] * 1000 for p in pairs]),
                "ratio": figure([p["plan"][0] / p["topology"][0] for p in pairs]),
                "plan_peak_kib": max(p["plan"][1] for p in pairs),
                "topology_peak_kib": max(p["topology"][1] for p in pairs),
            })
    table(f"vbmqctl plan --snapshot beside vbmqctl topology: median (min..max) of {args.rounds} rounds",
          ["CPUs", "guests", "ratio", "plan, ms", "topology, ms", "plan, peak MiB", "topology, peak MiB"],
          [[r["cpus"], r["guests"], show(r["ratio"]), show(r["plan_ms"], digits=1), show(r["topology_ms"], digits=1),
            f"{r['plan_peak_kib'] / 1024:.1f}", f"{r['topology_peak_kib'] / 1024:.1f}"] for r in results])
    publish("plan", args, load, results)


if __name__ == "__main__":
    main()
