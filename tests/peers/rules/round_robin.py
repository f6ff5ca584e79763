# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every new I/O thread on the next CPU by number, as scripts with iothreadpin do that count; from the lowest again at the end."""
from model import IoThread, Placed, bits, members, spread_queues
from rules.base import GivenVcpus


class RoundRobin(GivenVcpus):
    name = "round-robin over CPUs"
    sources = (
        "https://libvirt.org/formatdomain.html#cpu-tuning (iothreadpin)",
        "https://github.com/cocoonstack/cocoon/pull/226 (the pile-up when the count begins anew with each guest; here it goes on)",
    )

    def __init__(self, host, fleet):
        super().__init__(host, fleet)
        self.order = members(host.usable)
        self.at = 0

    def place(self, guest, home):
        threads = []
        for queues in spread_queues(guest, guest.wanted_threads):
            threads.append(IoThread(bits([self.order[self.at % len(self.order)]]), queues))
            self.at += 1
        return Placed(guest, self.vcpus(guest, home), None, threads, {home})
