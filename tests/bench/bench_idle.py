# SPDX-License-Identifier: LGPL-2.1-or-later
"""Idle: how often vbmqd wakes up and what CPU time that costs, with no and with many guests, beside a bare event client."""

import os
import time

from common import CONF, EVENTCLIENT, Client, Watched, arguments, guest_shape, need_system, publish, table
from vbmqtest import Libvirtd

NO_KEEPALIVE = "keepalive_interval = -1\n"


class Meter:
    """Context switches of all threads of a process (those of threads that end in between are missed, as with the call threads
    of a re-check), and its CPU time (ended threads included)."""

    def __init__(self, pid):
        self.pid = pid
        self.clock = (~pid << 3) | 2  # CPUCLOCK_SCHED of the process: clock_getcpuclockid(3)
        self.begin, self.cpu = self.read(), time.clock_gettime(self.clock)
        self.at = time.monotonic()

    def read(self):
        found = {}
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            base = f"/proc/{self.pid}/task/{tid}"
            with open(f"{base}/status", encoding="ascii") as f:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
            found[tid] = (int(status["voluntary_ctxt_switches"]), int(status["nonvoluntary_ctxt_switches"]))
        return found

    def result(self):
        """Wake-ups: a thread that slept went to sleep again, so the voluntary switches count them."""
        now, seconds = self.read(), time.monotonic() - self.at
        cpu = time.clock_gettime(self.clock) - self.cpu
        zero = (0, 0)
        delta = [[a - b for a, b in zip(v, self.begin.get(tid, zero))] for tid, v in now.items()]
        voluntary, involuntary = (sum(d[i] for d in delta) for i in range(2))
        return {"seconds": seconds, "threads": len(now), "voluntary": voluntary, "involuntary": involuntary,
                "wakeups_per_s": voluntary / seconds, "cpu_us_per_s": cpu * 1e6 / seconds}


class Place:
    """A libvirtd with guests, a bare client, and a vbmqd."""

    def __init__(self, guests, keepalive):
        self.guests, self.keepalive = guests, keepalive
        self.libvirtd = Libvirtd(libvirtd_conf="" if keepalive else NO_KEEPALIVE)
        for i in range(guests):
            self.libvirtd.guest(f"idle{i}", **guest_shape())
        self.client = Client(EVENTCLIENT, self.libvirtd.uri)
        self.watched = Watched(self.libvirtd, recheck="1h")
        self.watched.settle(guests)

    def set_recheck(self, recheck):
        self.watched.vbmqd.write_conf(CONF.format(debounce="250ms", recheck=recheck))
        self.watched.vbmqd.call("Reload")
        time.sleep(3)  # the settings are read, the host surveyed, all is quiet
        self.watched.settle(self.guests)
        self.watched.vbmqd._connection = None  # pylint: disable=protected-access

    def stop(self):
        self.watched.stop()
        self.client.stop()
        self.libvirtd.stop()


def main():
    args = arguments(__doc__, guests=(20, "guests of the full host"), window=(65, "seconds without a re-check"),
                     recheck_window=(130, "seconds with a re-check every minute"))
    need_system()
    load = os.getloadavg()
    results = []
    for keepalive in (True, False):
        places = []
        try:
            for guests in (0, args.guests):
                places.append(Place(guests, keepalive))
            for recheck, window in (("1h", args.window), ("1min", args.recheck_window)):
                if not keepalive and recheck == "1min":
                    continue
                for place in places:
                    place.set_recheck(recheck)
                meters = [(place, who, Meter(pid)) for place in places
                          for who, pid in (("vbmqd", place.watched.pid), ("bare client", place.client.pid))]
                time.sleep(window)
                for place, who, meter in meters:
                    results.append({"who": who, "guests": place.guests, "recheck": recheck if who == "vbmqd" else None,
                                    "libvirtd_keepalive": keepalive, **meter.result()})
        finally:
            for place in places:
                place.stop()
    table("Idle: wake-ups and CPU time of all threads",
          ["", "guests", "re-check", "libvirtd's keepalive", "s", "wake-ups", "a second", "CPU us/s"],
          [[r["who"], r["guests"], r["recheck"] or "-", "5 s" if r["libvirtd_keepalive"] else "off", f"{r['seconds']:.0f}",
            r["voluntary"], f"{r['wakeups_per_s']:.2f}", f"{r['cpu_us_per_s']:.1f}"] for r in results])
    publish("idle", args, load, results)


if __name__ == "__main__":
    main()
