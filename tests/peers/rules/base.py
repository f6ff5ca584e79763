# SPDX-License-Identifier: LGPL-2.1-or-later
"""A rule: told of one guest after the other, it says where all of them are."""
from fleets import Operator
from model import IoThread, Placed, Placement, Refused, bits


class Rule:
    """name: in tables; sources: the documentation followed. fleet: what is going to come, for whoever sizes pools by it."""

    name = ""
    sources = ()

    def __init__(self, host, fleet):
        self.host = host
        self.fleet = fleet
        self.operator = Operator(host, self.keep)
        self.guests = {}
        self.refused = []

    keep = None  # see Operator

    def add(self, guest):
        """One more guest; False if the rule does not admit it."""
        try:
            self.guests[guest.name] = self.place(guest, self.operator.home(guest))
        except Refused:
            self.refused.append(guest.name)
            return False
        return True

    def place(self, guest, home):
        """A Placed; None for a set of CPUs means: the shared ones, whatever they are when all have come."""
        raise NotImplementedError

    def shared(self):
        """Where floating threads may run."""
        raise NotImplementedError

    def system(self):
        """Where the host's own processes may run."""
        return self.shared()

    def placement(self):
        shared = self.shared()

        def known(cpus):
            return shared if cpus is None else cpus

        guests = {n: Placed(p.guest, [known(v) for v in p.vcpus], known(p.emulator),
                            [IoThread(known(t.cpus), t.queues) for t in p.iothreads], p.memory) for n, p in self.guests.items()}
        return Placement(self.host, guests, list(self.refused), shared, self.system())


class GivenVcpus(Rule):
    """A rule that does not place vCPUs: those of dedicated guests are where the operator pinned them.

    In its favour: the operator also keeps everything that floats, the host's own processes included, off the CPUs he pinned.
    """

    def shared(self):
        return self.host.usable & ~self.operator.pinned or self.host.usable

    def vcpus(self, guest, home):
        pins = self.operator.pin(guest, home) if guest.dedicated else None
        return [bits([cpu]) for cpu in pins] if pins else [None] * guest.vcpus
