# SPDX-License-Identifier: LGPL-2.1-or-later
"""The show with the QEMU that is installed: the queues' map waits for the guests' next start, placement does not."""
import time

from demo_show import Show, format_cpulist, heading, say
from vbmqtest import tasks, wait_for


class StockShow(Show):
    load = "vbmq.run=fio vbmq.fio=randread,bs=4k,qd=8 vbmq.interval=2"

    def reads(self, name):
        """What it reported, from the moment its load began."""
        return [int(r["read"]) for r in self.records(name, "IOPS") if r["read"] != "0"]

    def rates(self):
        for name in self.booted:
            have = len(self.reads(name))
            wait_for(lambda n=name, h=have: len(self.reads(n)) >= h + 3, 240, "%s to report rates" % name)
            got = self.reads(name)[-2:]
            say("%s: %d IOPS (4 KiB random read, queue depth 8; an emulated guest on a busy machine: no measurement)"
                % (name, sum(got) // len(got)))

    def table(self):
        say("%-8s %-18s %8s  %s" % ("GUEST", "THREAD", "TID", "MAY RUN ON"))
        threads = self.threads()
        for t in sorted(threads, key=lambda t: (t[0], t[1] != "main (emulator)", t[1], t[2])):
            say("%-8s %-18s %8d  %s%s" % (*t[:3], format_cpulist(t[4]),
                                          "   nobody else on its core" if self.alone(t, threads) else ""))

    def run(self):
        m, nested = self.machine, self.options.nested
        heading("This host: %d CPUs, %d cores, %d node%s" % (len(m.cpus), len(m.cores), m.nodes, "s" * (m.nodes > 1)))
        for name, count in self.plan_guests():
            self.define(name, count)
        say("Guests with one plain disk of two queues, as everybody has them: %s."
            % ", ".join("%s (%s)" % (n, "asks for %d I/O threads" % c if c > 1 else "asks for one I/O thread" if c
                                     else "knows nothing of vbmq") for n, c in self.wanted.items()))
        say("Starting them%s ..." % (", paused" if nested else " under fio load"))
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
            "a QEMU with the project's patches moves them now, in the running guest: tools/demo without --stock.")

        heading("The I/O threads and the map of the queues go into the configuration, to hold from the next start")
        for name in self.managed():
            self.ctl("configure", name, "--dry-run")
            self.ctl("configure", name, "--state-dir", self.scratch + "/state")

        heading("The guests are restarted, and vbmqd places them")
        for name in self.managed():
            self.guests[name].destroy()
            self.guests[name].start(running=not nested)
            begin = time.monotonic()
            pid = self.guests[name].pid
            wait_for(lambda p=pid: any(len({m.core.get(c) for c in t.affinity}) == 1 for t in tasks(p).values()), 120,
                     "vbmqd to place a thread of " + name)
            say("%s: first thread placed %.2f s after libvirt had started it" % (name, time.monotonic() - begin))
        self.wait_booted(*self.managed())
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
