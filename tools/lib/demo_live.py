# SPDX-License-Identifier: LGPL-2.1-or-later
"""The show with the project's QEMU: a guest that was started plain gets I/O threads, its queues are spread over them, and all of
it is taken back, while it runs and reads its disk. What is judged is counted by QEMU (query-virtio-placement) and told by /proc."""
import time

from demo_show import QUEUES, Show, columns, format_cpulist, heading, say, some
from vbmqtest import wait_for
from vbmqtest.proc import SCALE

KICKS_BEFORE = 0.5  # per request: at least
KICKS_AFTER = 0.01  # at most
COUNTERS = ("busy-ns", "poll-ns", "blocked-ns", "poll-hits", "poll-misses")


def kicks_per_request(rates):
    """Over all these queues; None where nothing was requested."""
    requests = sum(r["requests"] for r in rates)
    return sum(r["kicks"] for r in rates) / requests if requests else None


class LiveShow(Show):
    load = "vbmq.interval=2 vbmq.run=fio vbmq.fio=randread,bs=4k,qd=1"  # one at a time: nothing hides what a request costs

    def __init__(self, *args):
        super().__init__(*args)
        self.criteria = []
        self.by_hand = set()  # guests whose owner gave them an I/O thread
        self.measured = not self.options.nested

    def judge(self, what, wanted, got, good):
        self.criteria.append((what, wanted, got, good))

    # --- what is ---

    def queues(self):
        """{(guest, disk, queue): what QEMU tells of it}"""
        return {(name, disk["id"], q["queue"]): q for name, guest in self.guests.items()
                for disk in guest.qmp("query-virtio-placement") for q in disk["queues"]}

    def iothreads(self):
        """{(guest, I/O thread): its parameters}"""
        return {(name, i["id"]): {k: v for k, v in i.items() if k not in COUNTERS} for name, guest in self.guests.items()
                for i in guest.qmp("query-iothreads")}

    def measure(self):
        """{(guest, disk, queue): requests and kicks of a few seconds}; empty when nothing runs"""
        if not self.measured:
            return {}
        begin, first = time.monotonic(), self.queues()

        def counted():
            now, seconds = self.queues(), time.monotonic() - begin
            rates = {k: {"requests": now[k]["stats"]["completed"] - first[k]["stats"]["completed"],
                         "kicks": now[k]["stats"]["kicks"] - first[k]["stats"]["kicks"]} for k in first}
            for r in rates.values():
                r["per second"] = r["requests"] / seconds
            enough = seconds >= 3 and all(r["requests"] >= 100 for r in rates.values())
            return rates if enough or seconds >= 60 * SCALE else None

        return wait_for(counted, 120, "requests")

    def state(self):
        """All that restore must give back, by what it is of."""
        state = {("thread", *t[:4]): format_cpulist(t[4]) for t in self.threads()}
        state.update({("queue", *k): (q.get("iothread"), q["thread-id"]) for k, q in self.queues().items()})
        state.update({("polling", *k): v for k, v in self.iothreads().items()})
        for name, disk in {k[:2] for k in self.queues()}:
            state["map", name, disk] = self.guests[name].qmp("qom-get", path="/machine/peripheral/" + disk,
                                                             property="iothread-vq-mapping")
        return state

    def placed(self):
        """Are all queues of managed guests where they belong, and do their threads poll?"""
        mine = [q.get("iothread") for k, q in self.queues().items() if self.wanted[k[0]]]
        polling = [i["poll-mode"] for k, i in self.iothreads().items() if self.wanted[k[0]]]
        return all(mine) and all(p == "dedicated" for p in polling) and not self.faults()

    # --- for people ---

    def threads_table(self):
        """Threads of a guest that may run on the same CPUs in one row."""
        threads, groups = self.threads(), {}
        for t in sorted(threads, key=lambda t: (t[1].startswith("iothread"), not t[1].startswith("main"), t[1])):
            lone = self.alone(t, threads)
            groups.setdefault((t[0], format_cpulist(t[4]), t[2] if lone else 0), []).append(t[1])
        rows = [("GUEST", "MAY RUN ON", "THREADS", "")]
        for (name, cpus, lone), names in sorted(groups.items(), key=lambda g: (g[0][0], g[0][2])):
            named = [n for n in names if n.startswith(("main", "vcpu", "iothread"))]
            more = len(names) - len(named)
            rows.append((name, "CPU " + cpus, ", ".join(named + (["%d more" % more] if more else [])),
                         "nobody else on its core" if lone else ""))
        columns(rows)

    def side_by_side(self, was, now, before, after):
        rows = [("", "", "", "SERVED BY", "", "REQUESTS/S", "", "KICKS/REQUEST", ""),
                ("GUEST", "DISK", "QUEUE", "before", "now", "before", "now", "before", "now")]
        for k in sorted(was):
            rows.append((k[0], "vda", str(k[2]), was[k].get("iothread", "main loop"), now[k].get("iothread", "main loop"),
                         *("%.0f" % r[k]["per second"] if r else "-" for r in (before, after)),
                         *(self.kicks([r[k]] if r else []) for r in (before, after))))
        columns(rows if self.measured else [r[:5] for r in rows], right=(2, 5, 6, 7, 8))
        if self.measured:
            say("(counted by QEMU itself; guests are emulated here, so their requests/s measure the emulator and not VBMq)")

    @staticmethod
    def kicks(rates):
        value = kicks_per_request(rates)
        return "-" if value is None else "%.3f" % value

    # --- the show ---

    def run(self):
        m = self.machine
        heading("This host: %s, %s, %s" % (some(len(m.cpus), "CPU"), some(len(m.cores), "core"), some(m.nodes, "node")))
        for name, count in self.plan_guests():
            if name == "db2":
                self.by_hand.add(name)
            self.define(name, count, iothreads=int(name in self.by_hand))
        rows = []
        for name, count in self.wanted.items():
            rows.append((name, "one <disk> of %d queues" % QUEUES,
                         "an I/O thread that its owner gave it" if name in self.by_hand else "plain: no <iothreads>",
                         "asks VBMq for " + some(count, "I/O thread") if count else "knows nothing of VBMq"))
        columns(rows)
        say("Starting them %s ..." % ("under fio: random reads of 4 KiB, one at a time on each of their 2 vCPUs" if self.measured
                                      else "paused, for here they would be emulated twice"))
        self.start(*self.guests)
        found, pids = self.before()
        before, was = self.measure(), self.queues()
        self.judge_before(before, was)
        if self.measured:
            self.ctl("stats")

        heading("2. vbmqd starts: I/O threads are added, placed, and take over the queues. Nothing is restarted")
        begin = time.monotonic()
        self.vbmqd.start()
        try:
            wait_for(self.placed, 60, "")
            say("It took %.1f s." % (time.monotonic() - begin))
        except AssertionError:
            say("After %.0f s not all is where it belongs." % (time.monotonic() - begin))
        self.vbmqd.wait_state("idle", timeout=60)
        self.ctl("status", ok=(0, 4, 5))
        self.ctl(*(["stats"] if self.measured else ["show", "db1"]))

        heading("3. Before and now")
        after, now = self.measure(), self.queues()
        for _ in range(2):
            if self.measured and (kicks_per_request(self.managed_rates(after)) or 0) > KICKS_AFTER:
                say("(measured again: threads that get no request for a tenth of a second sleep, which a busy machine brings about)")
                after, now = self.measure(), self.queues()
        self.side_by_side(was, now, before, after)
        say("\nWhat /proc says of every thread (Cpus_allowed_list):")
        self.threads_table()
        self.judge_after(after, now)

        heading("4. And back: vbmqctl restore leaves everything as it was found, still without a restart")
        self.ctl("restore")
        self.judge_restored(found, self.state(), self.measure())
        self.judge_guests(pids)
        self.vbmqd.end()

    def before(self):
        heading("1. As guests are: every thread may run everywhere, and QEMU's main loop serves all queues of a plain disk")
        for name in self.booted:
            wait_for(lambda n=name: any(int(r["read"]) for r in self.records(n, "IOPS")), 120, "the load of %s" % name)
        self.threads_table()
        if not self.faults():
            self.wrong.append("the proof finds nothing wrong before anything was done: it proves nothing")
        return self.state(), {n: (g.pid, min(t[3] for t in self.threads() if t[0] == n)) for n, g in self.guests.items()}

    def managed_rates(self, rates, plain=False):
        return [r for k, r in rates.items() if self.wanted[k[0]] and not (plain and k[0] in self.by_hand)]

    def judge_kicks(self, when, rates, least=None, most=None):
        """Of the guests that are managed (and plain, where at least so many are wanted), if each of their queues was used."""
        if not self.measured:
            return
        mine = self.managed_rates(rates, plain=least is not None)
        value = kicks_per_request(mine) if all(r["requests"] for r in mine) else None
        good = value is not None and (value >= least if least else value <= most)
        self.judge(when + ": kicks per request", ">= %g" % least if least else "<= %g" % most, self.kicks(mine), good)

    def judge_before(self, rates, queues):
        mine = [q for k, q in queues.items() if self.wanted[k[0]] and k[0] not in self.by_hand]
        n = sum("iothread" not in q for q in mine)
        self.judge("plain: queues on the main loop (QEMU)", str(len(mine)), str(n), n == len(mine))
        self.judge_kicks("plain", rates, least=KICKS_BEFORE)

    def judge_after(self, rates, queues):
        threads = [t for t in self.threads() if self.wanted[t[0]] and t[1].startswith("iothread")]
        everybody, n = self.threads(), sum(self.wanted.values())
        lone = sum(bool(self.alone(t, everybody)) for t in threads)
        self.judge("placed: I/O threads with a core to themselves (/proc)", str(n), str(lone), lone == n and not self.faults())
        polling = sum(i.get("poll-mode") == "dedicated" for k, i in self.iothreads().items() if self.wanted[k[0]])
        self.judge("placed: I/O threads that always poll (QEMU)", str(n), str(polling), polling == n)
        mine = {k: q.get("iothread") for k, q in queues.items() if self.wanted[k[0]]}
        self.judge("placed: queues served by them (QEMU)", str(len(mine)), str(sum(map(bool, mine.values()))), all(mine.values()))
        spread = len({(k[0], i) for k, i in mine.items() if i})
        want = sum(min(c, QUEUES) for c in self.wanted.values())
        self.judge("placed: I/O threads over which they are spread (QEMU)", str(want), str(spread), spread == want)
        self.judge_kicks("placed", rates, most=KICKS_AFTER)
        self.wrong += self.faults()

    def judge_restored(self, found, now, rates):
        main = {k[1]: v for k, v in found.items() if k[0] == "thread" and k[2].startswith("main")}
        n, wrong = 0, []
        for k in sorted(found.keys() | now.keys(), key=str):
            comes_and_goes = k[0] == "thread" and k[2] == "worker"
            if comes_and_goes and k not in now:
                continue
            want = found.get(k, main[k[1]] if comes_and_goes else None)
            n += 1
            if now.get(k) != want:
                wrong.append("after restore, %s: %s, was %s" % (" ".join(map(str, k)), now.get(k), want))
        self.wrong += wrong
        self.judge("restored: threads, queues, maps, polling as found", str(n), str(n - len(wrong)), not wrong)
        self.judge_kicks("restored", rates, least=KICKS_BEFORE)
        say("%d of %d things stand exactly as before vbmqd touched them" % (n - len(wrong), n))

    def judge_guests(self, pids):
        now = {n: (g.pid, min(t[3] for t in self.threads() if t[0] == n)) for n, g in self.guests.items()}
        again = sum(now[n] != pids[n] or len(self.records(n, "READY")) > 1 for n in self.guests)
        self.judge("all the while: guests that were started again", "0", str(again), not again)
        if not self.measured:
            return
        errors = sum(len(self.records(n, "ERROR")) for n in self.booted)
        self.judge("all the while: errors that guests saw", "0", str(errors), not errors)

    def verdict(self):
        heading("What was promised, and what was seen")
        columns([("", "WANTED", "SEEN", "")] + [(*c[:3], "ok" if c[3] else "NOT ok") for c in self.criteria], right=(1, 2))
        self.wrong += ["%s: %s instead of %s" % (c[0], c[2], c[1]) for c in self.criteria if not c[3]]
        return super().verdict()

    def passed(self):
        seen = [c[2] for c in self.criteria if c[0].endswith("kicks per request")]
        return "without a restart, %s%s" % ("from %s kicks per request to %s and back; " % tuple(seen[:2]) if seen else "",
                                            super().passed())
