# SPDX-License-Identifier: LGPL-2.1-or-later
"""vbmqd as an operator has it (vbmqtest/site.py): on a host with two nodes, four L3 domains, SMT and cgroup v2, under its own
systemd, with the host's libvirtd and irqbalance. /proc, cgroups and systemd are the judges.

One story, told by the tests in their order: guests take long to start where everything is emulated twice. All are started
together, paused, so nothing runs in them; there are more of them than cores, and one is pinned by somebody else. A test that
fails leaves to the next ones a host on which they say so.
"""

import json
import os

import pytest

from vbmqtest import Disk, cpulist, format_cpulist, wait_for
from vbmqtest import site
from vbmqtest.host import Watcher, alone, core_of, look, nodes, union
from vbmqtest.picture import cgroup_of, differences, linux_keeps, picture, run, threads, units
from vbmqtest.proc import SCALE, online_cpus

ALL = frozenset(online_cpus())
CORES = frozenset(core_of().values())
LIMIT = 60
COUNT = 8
FOREIGN = core_of()[0]
PINNED, PINNED_SERVICE = max(FOREIGN), "/system.slice/vbmq-pinned.service"
CONF = f"""[daemon]
call-timeout={min(300, int(10 * SCALE))}s
recheck=15s
[policy]
shared-min-cores=2
"""
WISH = "<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1' priority='{}'><vbmq:iothreads count='1'/></vbmq:domain>"
# Of whose memory: those who get cores of their own find as many on the right node.
NODES = [i % 2 if i < COUNT - 2 else 1 for i in range(COUNT)]

pytestmark = pytest.mark.scenario


class Story:
    """What the tests share. found: the host before vbmqd touched it."""

    def __init__(self):
        self.lv = site.SystemLibvirtd()
        text = format_cpulist(FOREIGN)
        kw = {"iothreads": 1, "disks": [Disk("vda", iothread=1)], "vcpus": 1}
        xmls = {"foreign": dict(kw, vcpupin={0: text}, iothreadpin={1: text})}
        for i in range(COUNT):
            memory = f"<numatune><memory mode='preferred' nodeset='{NODES[i]}'/></numatune>"
            xmls[f"g{i:02}"] = dict(kw, metadata=WISH.format(i), extra=memory)
        self.foreign, *self.guests = self.lv.define_all(xmls)
        run("systemd-run", "--unit=vbmq-user", "--slice=user.slice", "sleep", "infinity")
        # Somebody's own affinity, where nobody is ever put: Linux 6.1 forgets it when a slice is limited.
        run("systemd-run", "--unit=vbmq-pinned", f"--property=CPUAffinity={PINNED}", "sleep", "infinity")
        self.lv.start_all([self.foreign], 1)
        self.pinned = {k: v for k, v in look(self.foreign).items() if k[1] in ("vcpu0", "iothread1")}
        self.vbmqd = site.Unit(os.environ["VBMQ_BUILD"], CONF)
        self.found = picture(self.lv, [self.foreign])
        self.limits, self.banned = site.limits(), site.irqbalance_banned()
        self.spare = 0  # cores that have owners when all guests run
        self.verdict = "infeasible"  # once all guests run

    @property
    def everybody(self):
        return [self.foreign] + [g for g in self.guests if g.pid]

    def at_rest(self):
        """The plan, if it is about all guests and nothing is left to do."""
        if (str(self.vbmqd.get("State")), str(self.vbmqd.get("Verdict"))) != ("idle", self.verdict):
            return None
        plan = self.vbmqd.plan()[1]
        return plan if not plan["steps"] and {d["name"] for d in plan["domains"]} == {g.name for g in self.everybody} else None

    def settled(self):
        return wait_for(self.at_rest, LIMIT, f"vbmqd to be at rest, {self.verdict}")

    def owners(self):
        """{guest: its core}"""
        return {name: core for (name, what), core in alone(*self.everybody).items() if name != "foreign"}

    def all_owners(self):
        """The plan, when as many guests as cores can be dedicated have one, those of the highest priority."""
        def so():
            plan = self.at_rest()
            cores = plan and {core_of()[c] for c in cpulist(plan["host"]["dedicated"])}
            return (plan, len(cores)) if cores and set(self.owners()) == {g.name for g in self.guests[-len(cores):]} else None

        plan, count = wait_for(so, 2 * LIMIT, "vbmqd to be at rest, the guests of highest priority alone on dedicated cores")
        self.spare = self.spare or count
        assert count == self.spare
        assert not union(self.owners().values()) & FOREIGN
        return plan

    def foreign_is_untouched(self):
        now = look(self.foreign)
        return all(now[k] == v for k, v in self.pinned.items())

    def pin(self):
        """Anew: whoever else changes a limit of the slice, or takes a CPU away, makes Linux 6.1 forget it."""
        for _, tid, _ in (key for key, (group, _) in threads().items() if group == PINNED_SERVICE):
            os.sched_setaffinity(tid, {PINNED})

    def reload(self, conf):
        self.vbmqd.write_conf(conf)
        self.vbmqd.call("Reload")

    def close(self):
        self.vbmqd.vbmqctl("restore", ok=(0, 1, 3))
        print(self.vbmqd.log[-20000:])
        self.vbmqd.stop()
        self.lv.stop()
        run("systemctl", "stop", "vbmq-user", "vbmq-pinned", check=False)


@pytest.fixture(name="story", scope="module")
def _story():
    story = Story()
    yield story
    story.close()


def test_the_unit_starts_and_touches_nothing_without_a_wish(story):
    """Only the foreign guest runs: nobody wants a core."""
    vbmqd = story.vbmqd.start()
    assert len(nodes()) == 2 and len(CORES) == 8 and len(ALL) == 16
    assert cgroup_of(vbmqd.pid) == "/system.slice/vbmqd.service"
    story.verdict = "ok"
    assert not story.settled()["host"]["dedicated"]
    story.verdict = "infeasible"
    changed = differences(story.found, picture(story.lv, [story.foreign]))
    assert not changed
    assert site.irqbalance_banned() == story.banned
    assert "16 CPUs, 8 cores, 4 L3 domains, 2 nodes" in vbmqd.vbmqctl("status")


def test_many_guests_start_together_beside_a_foreign_one(story):
    """More than there are cores for. At no observed moment does anybody come to a place that another has for itself; at the end
    those of the highest priority have cores of their own, siblings idle, in their cgroups too, and the foreign guest's core is
    nobody's."""
    vbmqd = story.vbmqd
    with Watcher(story.lv, pause=1) as watcher:
        story.lv.start_all(story.guests, meanwhile=lambda: watcher.announce(vbmqd.plan()[1]))
        plan = story.all_owners()
        assert watcher.announce(plan)
        before = watcher.samples
        wait_for(lambda: watcher.samples > before + 2, LIMIT, "the watcher to look again")
    owners = story.owners()
    assert len(CORES) - 3 <= story.spare <= len(CORES) - 2  # two stay shared, the foreign guest's may be one of them
    assert story.foreign_is_untouched()
    shared = cpulist(plan["host"]["shared"])
    dedicated = union(owners.values())
    assert dedicated == cpulist(plan["host"]["dedicated"]) and not dedicated & shared
    for (name, what, tid), cpus in look(*story.everybody).items():
        if name == "foreign" and what in ("vcpu0", "iothread1"):
            continue
        own = name in owners and what.startswith("iothread")
        assert cpus <= owners[name] if own else not cpus & dedicated, (name, what, cpus)
        group = cgroup_of(tid)
        assert group.startswith("/machine.slice/machine-qemu"), group
        limit = site.read(f"{site.CGROUPS}{group}/cpuset.cpus.effective")
        assert not own or limit is None or cpulist(limit) == cpus, (group, limit)
    for g in story.guests[-story.spare:]:
        assert owners[g.name] <= nodes()[node_of(g)], f"{g.name} on the node of its memory"
    for g in story.guests[:-story.spare]:
        codes = {d["code"] for p in plan["domains"] if p["name"] == g.name for d in p["diagnostics"]}
        assert "iothreads-on-shared-set" in codes, g.name
    print(f"{watcher.samples} samples, {watcher.announced} announced")


def test_the_hosts_own_work_is_kept_off(story):
    """system.slice, user.slice and init.scope are limited, at run time only; what is in them, also what comes later, stays off
    dedicated cores. machine.slice and other slices are not ours, nor what runs in them."""
    rest = ALL - cpulist(story.settled()["host"]["dedicated"])
    assert site.limits() == dict.fromkeys(site.PARTS, (rest, rest))
    run("systemd-run", "--unit=vbmq-late", "sleep", "infinity")
    try:
        seen = threads()
        for unit in site.PARTS:
            mine = {k: cpus for k, (group, cpus) in seen.items() if group.startswith(f"/{unit}")}
            assert mine and all(cpus <= rest for cpus in mine.values()), (unit, mine)
        assert any(group == "/system.slice/vbmq-late.service" for group, _ in seen.values())
        assert {cpus for group, cpus in seen.values() if group == PINNED_SERVICE} == {frozenset({PINNED})}
        assert all(cpus == ALL for group, cpus in seen.values() if group.startswith("/vbmqtest.slice"))
    finally:
        run("systemctl", "stop", "vbmq-late")
    for unit, values in units().items():
        assert unit in site.PARTS or not values["AllowedCPUs"], (unit, values)
    assert not any("AllowedCPUs" in name for _, _, names in os.walk("/etc/systemd") for name in names)


def test_a_limit_that_somebody_takes_away_is_set_again(story):
    """All CPUs, not none: Linux leaves the cgroup as it is when systemd wants to write none."""
    limit = site.limits()["system.slice"]
    run("systemctl", "set-property", "--runtime", "system.slice", f"AllowedCPUs={format_cpulist(ALL)}")
    wait_for(lambda: site.limits()["system.slice"] == limit, LIMIT, "the limit to be set again")
    story.settled()


def test_irqbalance_is_told_and_told_again_when_it_restarts(story):
    dedicated = cpulist(story.settled()["host"]["dedicated"])
    assert not dedicated <= story.banned
    wait_for(lambda: dedicated <= site.irqbalance_banned(), LIMIT, "irqbalance to ban dedicated cores")
    site.restart_irqbalance()
    wait_for(lambda: dedicated <= site.irqbalance_banned(), LIMIT, "the new irqbalance to ban dedicated cores")
    story.settled()


@pytest.mark.parametrize("whole", [False, True], ids=["one-CPU", "whole-core"])
def test_a_cpu_goes_offline_and_comes_back(story, whole):
    """The core of the guest with the highest priority goes, or one CPU of it: that guest gets another one, the least of the owners
    loses his. Linux 6.1 forgets affinities then, so it is a moment in which only the end counts; but at the end nobody is where
    another is alone. When the CPU returns, so does the order."""
    vbmqd, last = story.vbmqd, story.guests[-1]
    key = (last.name, "iothread1")
    own = story.owners()[last.name]
    place = next(v for k, v in look(last).items() if k[:2] == key)
    gone = sorted(own) if whole else [max(place)]
    count = story.spare - 1  # half a core is none

    def moved():
        place = alone(*story.everybody).get(key)
        affinities = look(*story.everybody)
        return (place and not place & set(gone) and len(story.owners()) >= count and
                not any(c & set(gone) for k, c in affinities.items()))

    try:
        for c in gone:
            site.set_online(c, 0)
        wait_for(moved, LIMIT, f"nobody on {gone} and {last.name} on a core of its own")
        plan = story.settled()
        assert not set(gone) & cpulist(plan["host"]["cpus"])
        assert not union(story.owners().values()) & FOREIGN and story.foreign_is_untouched()
        for part, (told, limit) in site.limits().items():
            assert limit and not (told | limit) & cpulist(plan["host"]["dedicated"]), part
    finally:
        for c in gone:
            site.set_online(c, 1)
    wait_for(lambda: ALL == cpulist(vbmqd.plan()[1]["host"]["cpus"]), LIMIT, "the plan to know of the CPU again")
    story.all_owners()
    assert story.foreign_is_untouched()


def test_restore_puts_all_back(story):
    """The host and the guest that was there are as they were found; guests that came later are as they were started."""
    vbmqd = story.vbmqd
    story.pin()
    assert set(look(*story.guests).values()) != {ALL} and set(site.limits().values()) != set(story.limits.values())
    print(vbmqd.vbmqctl("restore"))
    assert not vbmqd.undo()["entries"]
    wait_for(lambda: site.irqbalance_banned() == story.banned, LIMIT, "irqbalance to ban what it banned")
    now = picture(story.lv, story.everybody)
    assert len(set(now["thread"]) & set(story.found["thread"])) > 20
    changed = differences(story.found, now)
    assert not changed
    assert set(look(*story.guests).values()) == {ALL}
    assert story.foreign_is_untouched()
    assert set(map(str, now["polling"].values())) == {str(story.found["polling"]["foreign"])}
    for part, (told, limit) in site.limits().items():
        assert told == story.limits[part][0] and limit in (story.limits[part][1], ALL)
        print(f"{part}: cpuset.cpus '{format_cpulist(limit)}'; Linux refuses to empty it: {linux_keeps('/' + part)}")


def test_restore_is_bit_equal_and_a_foreign_ban_list_is_left_alone(story):
    """All that runs now, before and after: it is paused, resumed, everything placed, and restored once more. Meanwhile irqbalance
    has a list from somebody in its environment: it is neither added to nor taken away."""
    vbmqd, lv = story.vbmqd, story.lv
    site.restart_irqbalance(IRQBALANCE_BANNED_CPULIST="3")
    try:
        wait_for(lambda: site.irqbalance_banned() == {3}, LIMIT, "irqbalance to ban CPU 3")
        before, xml = picture(lv, story.everybody), [g.xml() for g in story.guests[-2:]]
        vbmqd.call("Resume")
        plan = story.all_owners()
        assert "irqbalance-foreign" in {d["code"] for d in plan["diagnostics"]}
        assert site.irqbalance_banned() == {3}
        changed = differences(before, picture(lv, story.everybody))
        assert len(changed) > len(story.guests)
        vbmqd.vbmqctl("restore")
        changed = differences(before, picture(lv, story.everybody))
        assert not changed
        assert [g.xml() for g in story.guests[-2:]] == xml
        assert site.irqbalance_banned() == {3}
    finally:
        site.restart_irqbalance()


def test_rebalance_draws_together_what_is_left(story):
    """Most guests end. Two are left, on two L3 domains, because once they had to be; every day they stay. A rebalance moves one
    of them, at no moment onto anybody, the host's own work makes room before, and afterwards there is nothing to do."""
    vbmqd, lv = story.vbmqd, story.lv
    two = story.guests[-2:]
    lv.virsh("; ".join(f"destroy {g.name}" for g in story.guests[:-2]), timeout=600)
    first, second = sorted((l3 for l3 in l3_domains() if l3 <= nodes()[1]), key=min)
    places = {core_of()[min(first)], core_of()[min(second)]}
    story.verdict = "ok"
    story.reload(f"{CONF}dedicated-cpus={format_cpulist(union(places))}\n")
    vbmqd.call("Resume")
    wait_for(lambda: set(story.owners().values()) == places, LIMIT, f"the two that are left to be on {places}")
    story.settled()
    story.reload(CONF)
    wait_for(lambda: not vbmqd.fresh_plan()[1]["steps"], LIMIT, "the everyday plan to leave them there")
    story.settled()
    assert set(story.owners().values()) == places
    was, limits = look(*two), site.limits()

    shown = json.loads(vbmqd.vbmqctl("rebalance", "--json", "--dry-run"))
    assert shown["better"] and [(m["kind"], m["id"]) for m in shown["moves"]] == [("iothread", 1)]
    assert shown["after"]["l3_domains_free"] == shown["before"]["l3_domains_free"] + 1
    assert {k: v for k, v in look(*two).items() if k in was} == was and site.limits() == limits
    assert "Nothing to gain with so few moves" in vbmqd.vbmqctl("rebalance", "--max-moves", "0")
    with Watcher(lv, pause=1) as watcher:
        assert watcher.announce(vbmqd.plan()[1])
        done = json.loads(vbmqd.vbmqctl("rebalance", "--json", "--plan", shown["plan_id"]))
    assert done["report"]["ok"] and done["report"]["counts"]["bad_checks"] == 0, done["report"]
    after = story.owners()
    assert len(after) == 2 and any(union(after.values()) <= l3 for l3 in (first, second)), after
    rest = ALL - union(after.values())
    assert site.limits() == dict.fromkeys(site.PARTS, (rest, rest))
    assert union(after.values()) == cpulist(story.settled()["host"]["dedicated"])
    wait_for(lambda: union(after.values()) <= site.irqbalance_banned(), LIMIT, "irqbalance to ban the new core")
    assert "Nothing to gain" in vbmqd.vbmqctl("rebalance")
    vbmqd.vbmqctl("verify")
    assert story.foreign_is_untouched()


def node_of(guest):
    return NODES[int(guest.name[1:])]


def l3_domains():
    base = "/sys/devices/system/cpu/cpu{}/cache/index3/shared_cpu_list"
    return {frozenset(cpulist(site.read(base.format(c)))) for c in ALL}
