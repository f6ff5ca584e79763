# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the shows of tools/demo have in common: guests, and the truth about their threads. It is taken from /proc, /sys and QEMU
itself: nothing of the toolkit has a say in a verdict."""
import os
import re
import subprocess
import sys

from vbmqtest import cpulist, format_cpulist, tasks, wait_for
from vbmqtest.daemon import Vbmqd

METADATA = ("<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1' enabled='yes' priority='{priority}'>"
            "<vbmq:iothreads count='{count}' exclusive='core'/></vbmq:domain>")
DISK = ("<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='native' queues='{queues}'{more}/>"
        "<source file='{path}'/><target dev='vda' bus='virtio'/></disk>")
CONSOLE = "<serial type='file'><source path='{path}'/><target port='0'/></serial>"
QUEUES = 2


def say(text=""):
    print(text, flush=True)


def heading(text):
    say("\n=== %s %s" % (text, "=" * max(3, 100 - len(text))))


def some(n, word):
    return "%d %s%s" % (n, word, "" if n == 1 else "s")


def columns(rows, right=()):
    """Prints rows of strings as a table; columns whose numbers are in right are flush right."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        say("  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip())


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
    """options: of demo.py. lv: a Libvirtd with the QEMU to be shown. A show adds to wrong what is not as promised. Guests boot
    Linux and are under load; nested, they are paused and have no system."""

    load = ""  # kernel command line

    def __init__(self, options, lv, bus, scratch):
        self.options, self.lv, self.bus, self.scratch = options, lv, bus, scratch
        self.machine = Machine()
        self.guests, self.wanted, self.booted = {}, {}, []
        self.wrong = []
        self.vbmqd = Vbmqd(options.build + "/daemon/vbmqd", bus, uri=lv.uri,
                           conf="[daemon]\nrecheck = 10s\ncall-timeout = %s\n" % ("1min" if options.nested else "10s"))

    # --- guests ---

    def plan_guests(self):
        """[(name, I/O threads wanted or 0 for one that knows nothing of vbmq)]"""
        n = len(self.machine.cores)
        if n < 2:
            sys.exit("tools/demo: this machine has one core, so there is none to dedicate: try --emulated-host")
        if n == 2:
            say("This machine has two cores: one stays for everybody, so one I/O thread of one guest can have a core of its\n"
                "own. On a bigger one there are two managed guests with three I/O threads: see --emulated-host.")
            return [("db1", 1), ("web1", 0)]
        if n == 3:
            return [("db1", 2), ("web1", 0)]
        return [("db1", 2), ("db2", 1), ("web1", 0)]

    def define(self, name, count, iothreads=0):
        """iothreads: it has one or none to begin with."""
        o, disk = self.options, "%s/disks/%s.raw" % (self.lv.dir, name)
        with open(disk, "wb") as f:
            f.truncate(64 << 20)
        more = {}
        if not o.nested:
            subprocess.run(["dd", "if=/dev/urandom", "of=" + disk, "bs=1M", "count=64"], check=True, stderr=subprocess.DEVNULL)
            more = dict(kernel=o.guest + "/vmlinuz", initrd=o.guest + "/initrd", memory_mib=384,
                        cmdline="console=ttyS0 quiet no_timer_check " + self.load)
            self.booted.append(name)
        devices = DISK.format(path=disk, queues=QUEUES, more=" iothread='1'" if iothreads else "") + CONSOLE.format(path=self.console(name))
        if count:
            more["metadata"] = METADATA.format(count=count, priority=10 if name == "db1" else 0)
        self.guests[name] = self.lv.define(name, vcpus=2, disks=0, devices=devices, iothreads=iothreads, **more)
        self.wanted[name] = count

    def console(self, name):
        return "%s/disks/%s.console" % (self.lv.dir, name)

    def records(self, name, word):
        """The guest's own lines "VBMQ-word key=value ..." as dictionaries."""
        try:
            with open(self.console(name), encoding="utf-8", errors="replace") as f:
                return [dict(re.findall(r"(\w+)=(\S+)", x)) for x in f if x.startswith("VBMQ-%s " % word) and x.endswith("\n")]
        except FileNotFoundError:
            return []

    def start(self, *names):
        for name in names:
            if os.path.exists(self.console(name)):
                os.unlink(self.console(name))
            self.guests[name].start(running=name in self.booted)
        self.wait_booted(*names)

    def wait_booted(self, *names):
        for name in names:
            if name in self.booted:
                wait_for(lambda n=name: self.records(n, "READY"), 600, "%s to boot" % name)

    def managed(self):
        return [n for n, c in self.wanted.items() if c]

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

    def alone(self, thread, threads):
        """Its core, if it may run on one core only and no other thread may run there."""
        cores = {self.machine.core.get(c) for c in thread[4]}
        core = cores.pop() if len(cores) == 1 else None
        return core if core and not any(t[4] & core for t in threads if t[2] != thread[2]) else None

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
        command = [self.options.build + "/cli/vbmqctl", args[0], "-c", self.lv.uri, "--no-color", "--bus", self.bus.address,
                   *args[1:]]
        for _ in range(3 if self.options.nested else 1):  # vbmqctl's patience is meant for machines that are not emulated
            status = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=600, check=False).returncode
            if status != 1:
                break
        if status not in ok:
            self.wrong.append("vbmqctl %s ended with status %d" % (args[0], status))

    # --- the show ---

    def run(self):
        raise NotImplementedError

    def verdict(self):
        """Prints it; the exit status."""
        heading("Verdict")
        for w in self.wrong:
            say("  - " + w)
        if self.wrong:
            say("FAIL: %s" % ("%d things are not as promised" % len(self.wrong) if len(self.wrong) > 1
                              else "1 thing is not as promised"))
        else:
            say("PASS: " + self.passed())
        return 1 if self.wrong else 0

    def passed(self):
        n, guests = sum(self.wanted.values()), len(self.managed())
        return ("%s of %s ran on %s, with no other thread of %d guests allowed there"
                % (some(n, "I/O thread"), some(guests, "guest"), "cores of their own" if n > 1 else "a core of its own",
                   len(self.wanted)))
