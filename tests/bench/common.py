# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benchmarks share: programs, figures, tables, the JSON document, the usual guest."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

from vbmqtest.bus import Bus
from vbmqtest.daemon import Vbmqd
from vbmqtest.guest import Disk
from vbmqtest.proc import wait_for

BUILD = os.environ["VBMQ_BUILD"]
VBMQD = f"{BUILD}/daemon/vbmqd"
VBMQCTL = f"{BUILD}/cli/vbmqctl"
STARTCLOCK = f"{BUILD}/tests/bench/startclock"
EVENTCLIENT = f"{BUILD}/tests/bench/eventclient"
RUNCLOCK = f"{BUILD}/tests/bench/runclock"

# As /run is: libvirtd's and vbmqd's records of what runs are synced after every change, which must not wait for a disk.
tempfile.tempdir = "/dev/shm"

CONF = "[daemon]\ndebounce={debounce}\nrecheck={recheck}\n[policy]\ndefault=manage\n"


def arguments(description, **options):
    """The command line of a benchmark: --json FILE, and a whole number for each option with its default and help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", metavar="FILE", help="write the document here instead of to standard output")
    for name, (default, text) in options.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default {default})")
    return parser.parse_args()


def need_system():
    """Ends the program (77) where there can be no private libvirtd."""
    missing = [p for p in ("libvirtd", "virsh", "qemu-system-x86_64", "dbus-daemon") if not shutil.which(p)]
    if os.geteuid() != 0:
        missing.insert(0, "root")
    if missing:
        print(f"skipped: this benchmark needs {', '.join(missing)}")
        sys.exit(77)


def figure(values):
    """Median with least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def show(f, scale=1.0, digits=2):
    return f"{f['median'] * scale:.{digits}f} ({f['min'] * scale:.{digits}f}..{f['max'] * scale:.{digits}f})"


def table(title, head, rows):
    print(f"\n{title}\n")
    rows = [list(map(str, head))] + [list(map(str, r)) for r in rows]
    width = [max(len(r[i]) for r in rows) for i in range(len(head))]
    for n, r in enumerate(rows):
        print("| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, width))) + " |")
        if n == 0:
            print("|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(width)) + "|")
    print(flush=True)


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split("\n", 1)[0].strip()


def publish(name, args, load_before, results):
    """The document: what was measured, on what, and how busy the machine was with other things."""
    document = {
        "schema": "vbmq-bench/1",
        "benchmark": name,
        "vbmqd": first_line(VBMQD, "--version"),
        "libvirt": first_line("libvirtd", "--version"),
        "qemu": first_line("qemu-system-x86_64", "--version"),
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": {"before": load_before, "after": os.getloadavg()},
        "results": results,
    }
    text = json.dumps(document, indent=1, sort_keys=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            f.write(text + "\n")
    else:
        print(text)


def guest_shape():
    """A guest whose plan has every kind of step there is on a stock QEMU, but for adding an I/O thread."""
    return {"vcpus": 2, "iothreads": 1, "disks": [Disk("vda", queues=2, iothread=1)]}


class Client:
    """A child that says "ready" on its standard output."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if line.strip() != "ready":
            raise RuntimeError(f"{command[0]} ended with {self.process.wait()}")

    @property
    def pid(self):
        return self.process.pid

    def result(self, timeout=90):
        """Its JSON object, when it has ended."""
        text, _ = self.process.communicate(timeout=timeout)
        if self.process.returncode:
            raise RuntimeError(f"{self.process.args[0]} ended with {self.process.returncode}")
        return json.loads(text)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Watched:
    """A libvirtd with a vbmqd on a bus of its own."""

    def __init__(self, libvirtd, debounce="250ms", recheck="1min"):
        self.libvirtd = libvirtd
        self.bus = Bus()
        self.vbmqd = Vbmqd(VBMQD, self.bus, uri=libvirtd.uri, conf=CONF.format(debounce=debounce, recheck=recheck))
        self.vbmqd.args.remove("--debug")
        self.vbmqd.start()
        self.vbmqd.wait_state("idle")

    def settle(self, domains, timeout=120):
        """Until as many domains are known, read and judged, and nothing goes on."""
        def settled():
            known = self.vbmqd.domains()
            return (len(known) == domains and all(s == "clean" for _, _, s in known.values())
                    and str(self.vbmqd.get("State")) == "idle"
                    and (domains == 0 or str(self.vbmqd.get("Verdict")) != "unknown"))
        wait_for(settled, timeout, f"vbmqd to know {domains} domains")

    @property
    def pid(self):
        return self.vbmqd.process.pid

    def stop(self):
        self.vbmqd.stop()
        self.bus.stop()
