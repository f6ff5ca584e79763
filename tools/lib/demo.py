#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The show of tools/demo. It judges by /proc and /sys alone: nothing of the toolkit has a say in the verdict."""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "lib"))
from vbmqtest import Libvirtd, cpulist, format_cpulist, tasks, wait_for  # noqa: E402
from vbmqtest.bus import Bus  # noqa: E402
from vbmqtest.daemon import Vbmqd  # noqa: E402

METADATA = ("<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1' enabled='yes' priority='{priority}'>"
            "<vbmq:iothreads count='{count}' exclusive='core'/></vbmq:domain>")
DISK = ("<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='{io}' queues='{queues}'/>"
        "<source file='{path}'/><target dev='vda' bus='virtio'/></disk>")
CONSOLE = "<serial type='file'><source path='{path}'/><target port='0'/></serial>"


def say(text=""):
    print(text, flush=True)


def heading(text):
    say("\n=== %s %s" % (text, "=" * max(3, 100 - len(text))))


def sysfs(path):
    with open("/sys/devices/system/cpu/" + path, encoding="ascii") as f:
        return f.read().strip()


class Machine:
    """Cores as the kernel tells them."""

    def __init__(self):
        self.cpus = cpulist(sysfs("online"))
        self.core = {c: frozenset(cpulist(sysfs("cpu%d/topology/thread_siblings_list" % c))) for c in self.cpus}
        self.cores = sorted(set(self.core.values()), key=min)
        self.nodes = sum(bool(re.fullmatch(r"node\d+", n)) for n in os.listdir("/sys/devices/system/node")) or 1


class Show:
    def __init__(self, options, lv, bus, scratch):
        self.options, self.lv, self.bus, self.scratch = options, lv, bus, scratch
        self.machine = Machine()
        self.guests, self.wanted = {}, {}
        self.wrong = []
        self.vbmqd = Vbmqd(options.build + "/daemon/vbmqd", bus, uri=lv.uri,
                           conf="[daemon]\nrecheck = 10s\ncall-timeout = %s\n" % ("1min" if options.paused else "10s"))

    # --- guests ---

    def plan_guests(self):
        """(name, I/O threads wanted or 0 for one that knows nothing of vbmq)"""
        n = len(self.machine.cores)
        if n < 2:
            sys.exit("tools/demo: this machine has one core, so there is none to dedicate: try --emulated-host")
        if n == 2:
            say("This machine has two cores: one stays for everybody, so one I/O thread of one guest can have a core of its\n"
                "own. On a bigger one there would be two managed guests with three I/O threads: see --emulated-host.")
            return [("db1", 1), ("web1", 0)]
        if n == 3:
            return [("db1", 2), ("web1", 0)]
        return [("db1", 2), ("db2", 1), ("web1", 0)]

    def define(self, name, count):
        o, disk = self.options, "%s/disks/%s.raw" % (self.lv.dir, name)
        with open(disk, "wb") as f:
            f.truncate(64 << 20)
        if not o.paused:
            subprocess.run(["dd", "if=/dev/urandom", "of=" + disk, "bs=1M", "count=64"], check=True,
                           stderr=subprocess.DEVNULL)
        devices = DISK.format(path=disk, queues=2, io="native") + CONSOLE.format(path=self.console(name))
        boot = {} if o.paused else dict(
            kernel=o.guest + "/vmlinuz", initrd=o.guest + "/initrd", memory_mib=384,
            cmdline="console=ttyS0 quiet vbmq.run=fio vbmq.fio=randread,bs=4k,qd=8 vbmq.interval=2")
        if count:
            boot["metadata"] = METADATA.format(count=count, priority=10 if name == "db1" else 0)
        self.guests[name], self.wanted[name] = self.lv.define(name, vcpus=2, disks=0, devices=devices, **boot), count

    def console(self, name):
        return "%s/disks/%s.console" % (self.lv.dir, name)

    def records(self, name, word):
        """The guest's own lines "VBMQ-word key=value ..." as dictionaries."""
        try:
            with open(self.console(name), encoding="utf-8", errors="replace") as f:
                lines = [re.findall(r"(\w+)=(\S+)", x) for x in f if x.startswith("VBMQ-%s " % word)]
        except FileNotFoundError:
            return []
        return [dict(x) for x in lines]

    def start(self, *names):
        for name in names:
            if os.path.exists(self.console(name)):
                os.unlink(self.console(name))
            self.guests[name].start(running=not self.options.paused)
        if self.options.paused:
            return
        for name in names:
            wait_for(lambda n=name: self.records(n, "READY"), 240, "%s to boot" % name)

    def rates(self):
        if self.options.paused:
            return
        for name in self.guests:
            have = len(self.records(name, "IOPS"))
            wait_for(lambda n=name, h=have: len(self.records(n, "IOPS")) >= h + 3, 120, "%s to report rates" % name)
            got = [int(r["read"]) for r in self.records(name, "IOPS")[-2:]]
            say("%s: %d IOPS (4 KiB random read, queue depth 8; an emulated guest on a busy machine: no measurement)"
                % (name, sum(got) // len(got)))

    # --- what is ---

    def threads(self):
        """[(guest, what, tid, start time, affinity)] of every thread of every guest's QEMU"""
        found = []
        for name, guest in self.guests.items():
            known = {c["thread-id"]: "vcpu%d" % c["cpu-index"] for c in guest.qmp("query-cpus-fast")}
            known.update({i["thread-id"]: i["id"] for i in guest.qmp("query-iothreads")})
            known[guest.pid] = "main (emulator)"
            for t in tasks(guest.pid).values():
                found.append((name, known.get(t.tid, t.name), t.tid, t.start, t.affinity))
        return found

    def table(self):
        say("%-8s %-18s %8s  %s" % ("GUEST", "THREAD", "TID", "MAY RUN ON"))
        threads = self.threads()
        for name, what, tid, _, cpus in sorted(threads, key=lambda t: (t[0], t[1] != "main (emulator)", t[1], t[2])):
            cores = {self.machine.core[c] for c in cpus if c in self.machine.core}
            alone = len(cores) == 1 and not any(t[4] & min(cores, key=min) for t in threads if t[2] != tid)
            say("%-8s %-18s %8d  %s%s" % (name, what, tid, format_cpulist(cpus),
                                          "   nobody else on its core" if alone else ""))

    def faults(self):
        """Why the placement is not what it should be: empty when it is."""
        threads, faults = self.threads(), []
        for name, count in self.wanted.items():
            own = [t for t in threads if t[0] == name and t[1].startswith("iothread")]
            if count and len(own) != count:
                faults.append("%s has %d I/O threads instead of %d" % (name, len(own), count))
            for _, what, tid, _, cpus in own if count else []:
                cores = {self.machine.core.get(c) for c in cpus}
                if len(cores) != 1 or None in cores:
                    faults.append("%s/%s may run on %d cores (%s)" % (name, what, len(cores), format_cpulist(cpus)))
                    continue
                core = cores.pop()
                for other, who, otid, _, ocpus in threads:
                    if otid != tid and ocpus & core:
                        faults.append("%s/%s (%d) may run on core %s of %s/%s"
                                      % (other, who, otid, format_cpulist(core), name, what))
        return faults

    # --- the toolkit ---

    def ctl(self, *args, ok=(0,)):
        say("\n$ vbmqctl " + " ".join(args))
        command = [self.options.build + "/cli/vbmqctl", args[0], "--bus", self.bus.address, "-c", self.lv.uri, "--no-color",
                   *args[1:]]
        for _ in range(3 if self.options.paused else 1):  # vbmqctl's patience is meant for machines that are not emulated
            status = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=600, check=False).returncode
            if status != 1:
                break
        if status not in ok:
            self.wrong.append("vbmqctl %s ended with status %d" % (args[0], status))

    def run(self):
        m = self.machine
        heading("This host: %d CPUs, %d cores, %d node%s" % (len(m.cpus), len(m.cores), m.nodes, "s" * (m.nodes > 1)))
        for name, count in self.plan_guests():
            self.define(name, count)
        say("Guests with one plain disk of two queues, as everybody has them: %s."
            % ", ".join("%s (%s)" % (n, "asks for %d I/O threads" % c if c > 1 else "asks for one I/O thread" if c
                                     else "knows nothing of vbmq") for n, c in self.wanted.items()))
        say("Starting them%s ..." % (", paused" if self.options.paused else " under fio load"))
        self.start(*self.guests)

        heading("Before: every thread of every guest may run everywhere, and one main loop serves all queues of a disk")
        before = self.threads()
        self.table()
        self.rates()
        if not self.faults():
            self.wrong.append("the proof finds nothing wrong before anything was done: it proves nothing")

        heading("vbmqd starts")
        self.vbmqd.start()
        wait_for(lambda: set(self.vbmqd.domains()) == set(self.guests), 60, "vbmqd to know the guests")
        self.vbmqd.wait_state("idle", timeout=60)
        self.ctl("status", ok=(0, 4, 5))
        say("\nThe queues of a plain disk are bound to QEMU's main loop until the guest's next start (needs-restart);\n"
            "a QEMU with the project's patches would move them now, in the running guest.")

        heading("The I/O threads and the map of the queues go into the configuration, to hold from the next start")
        managed = [n for n, c in self.wanted.items() if c]
        for name in managed:
            self.ctl("configure", name, "--dry-run")
            self.ctl("configure", name, "--state-dir", self.scratch + "/state")

        heading("The guests are restarted, and vbmqd places them")
        for name in managed:
            self.guests[name].destroy()
            self.guests[name].start(running=not self.options.paused)
            begin = time.monotonic()
            pid = self.guests[name].pid
            wait_for(lambda p=pid: any(len({m.core.get(c) for c in t.affinity}) == 1 for t in tasks(p).values()), 120,
                     "vbmqd to place a thread of " + name)
            say("%s: first thread placed %.2f s after libvirt had started it" % (name, time.monotonic() - begin))
        if not self.options.paused:
            for name in managed:
                wait_for(lambda n=name: self.records(n, "READY"), 240, "%s to boot" % name)
        try:
            wait_for(lambda: not self.faults(), 120, "a placement that stands the proof")
        except AssertionError:
            pass  # the verdict below says what is wrong

        heading("After")
        self.table()
        self.rates()
        self.ctl("status", ok=(0, 4, 5))
        self.ctl("verify")
        faults = self.faults()
        self.wrong += faults
        say("\nproof from /proc: %s" % ("NOT as it should be" if faults else
                                        "every planned I/O thread has a core of its own, and nobody else may run there"))

        heading("And back: restore leaves every affinity as it was found")
        self.ctl("restore")
        # A thread that lived before by its id; of a restarted guest, what libvirt gave it at its first start.
        as_found = {t[2:4]: t[4] for t in before}
        fresh = {t[0]: t[4] for t in before if t[1].startswith("main")}
        now = self.threads()
        for name, what, tid, start, cpus in now:
            want = as_found.get((tid, start), fresh[name])
            if cpus != want:
                self.wrong.append("%s/%s (%d) is on %s after restore, was on %s"
                                  % (name, what, tid, format_cpulist(cpus), format_cpulist(want)))
        same = sum(t[4] == as_found.get(t[2:4], fresh[t[0]]) for t in now)
        say("%d of %d threads stand exactly as before vbmqd touched them" % (same, len(now)))
        self.vbmqd.end()

    def verdict(self):
        heading("Verdict")
        for w in self.wrong:
            say("  - " + w)
        n = sum(self.wanted.values())
        if self.wrong:
            say("FAIL: %d thing%s not as promised" % (len(self.wrong), "s are" if len(self.wrong) > 1 else " is"))
            return 1
        say("PASS: %d I/O thread%s of %d guest%s ran on %s, with no other thread of %d guests allowed there"
            % (n, "s" * (n > 1), sum(map(bool, self.wanted.values())), "s" * (sum(map(bool, self.wanted.values())) > 1),
               "cores of their own" if n > 1 else "a core of its own", len(self.wanted)))
        return 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", required=True)
    p.add_argument("--guest", help="directory with vmlinuz and initrd")
    p.add_argument("--paused", action="store_true", help="guests without a system that do not run")
    options = p.parse_args()
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(143))
    scratch = tempfile.mkdtemp(prefix="vbmq-show-")
    show = None
    try:
        with Bus() as bus, Libvirtd() as lv:
            show = Show(options, lv, bus, scratch)
            try:
                show.run()
            except Exception as e:  # pylint: disable=broad-except
                show.wrong.append("the show broke off: %s" % e)
                say("\nthe end of vbmqd's log:\n" + "\n".join(show.vbmqd.log.splitlines()[-25:]))
            finally:
                show.vbmqd.stop()
            return show.verdict()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
