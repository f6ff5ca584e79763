# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scorer on placements made by hand, whose figures can be counted with the finger."""
import pytest

import score
from model import Disk, Guest, Host, IoThread, Placed, Placement, bits, count, members, parse, show, spread_queues


def host(nodes=2, l3s=2, cores=2, smt=2):
    """CPUs as Linux numbers them: first one of each core, then the siblings. 2 x 2 x 2 cores: core N has CPUs N and N + 8."""
    total = nodes * l3s * cores
    core = [bits(c + t * total for t in range(smt)) for c in range(total)]
    made = [{"cpus": show(core[c]), "l3": c // cores, "node": c // cores // l3s} for c in range(total)]
    l3 = [{"cpus": show(Host.union(core[n * cores:(n + 1) * cores])), "node": n // l3s} for n in range(nodes * l3s)]
    of_node = [Host.union(core[n * cores * l3s:(n + 1) * cores * l3s]) for n in range(nodes)]
    return Host("hand", {"name": "hand", "online": f"0-{total * smt - 1}", "cores": made, "l3": l3,
                         "nodes": [{"id": n, "cpus": show(cpus)} for n, cpus in enumerate(of_node)]})


def guest(name="a", vcpus=2, queues=2, node=0, dedicated=False):
    return Guest(name, vcpus, (Disk(queues, node),), dedicated)


def placed(g, vcpus, emulator, threads, memory=(0,)):
    """vcpus: CPU lists; threads: (CPU list, queues of the first disk)."""
    return Placed(g, [parse(v) for v in vcpus], parse(emulator), [IoThread(parse(c), [(0, q) for q in qs]) for c, qs in threads],
                  set(memory))


def judge(h, *guests, shared="0-15", system="0"):
    return score.score(Placement(h, {g.guest.name: g for g in guests}, [], parse(shared), parse(system)))


def test_alone_on_its_core():
    h = host()
    s = judge(h, placed(guest(), ["4-7"] * 2, "0-3", [("1", [0]), ("2", [1])]), system="7")
    # The emulator thread may come onto both cores.
    assert (s["threads"], s["own_core"], s["own_guest"]) == (2, 0, 2)
    assert (s["with_vcpu"], s["with_emulator"], s["with_host"]) == (0, 2, 0)
    s = judge(h, placed(guest(), ["4-7"] * 2, "3", [("1", [0]), ("2", [1])]), system="7")
    assert (s["own_core"], s["own_guest"], s["with_emulator"]) == (2, 2, 0)


@pytest.mark.parametrize("thread, other, meets", [("1", "9", True), ("9", "1", True), ("1", "1,9", True), ("1", "10", False)])
def test_a_sibling_is_the_same_core(thread, other, meets):
    """Another guest's vCPU, emulator thread, and the host's own processes."""
    a = placed(guest(), ["4"] * 2, "4", [(thread, [0, 1])])
    s = judge(host(), a, placed(guest("b"), [other] * 2, "5", [("6", [0, 1])]), system="0")
    assert (s["with_vcpu"], s["with_emulator"], s["with_host"], s["own_core"]) == ((1, 0, 0, 1) if meets else (0, 0, 0, 2))
    s = judge(host(), a, placed(guest("b"), ["5"] * 2, other, [("6", [0, 1])]), system="0")
    assert (s["with_vcpu"], s["with_emulator"], s["with_host"], s["own_guest"]) == ((0, 1, 0, 1) if meets else (0, 0, 0, 2))
    s = judge(host(), a, system=other)
    assert (s["with_host"], s["own_core"], s["own_guest"]) == ((1, 0, 0) if meets else (0, 1, 1))


def test_a_thread_that_roams_is_not_alone():
    s = judge(host(), placed(guest(), ["4"] * 2, "4", [("1-2", [0, 1])]), system="7")
    assert (s["own_core"], s["own_guest"]) == (0, 1)


def test_the_host_on_a_core_is_company():
    s = judge(host(), placed(guest(), ["4"] * 2, "4", [("1", [0, 1])]), system="9")
    assert (s["own_core"], s["own_guest"], s["with_host"]) == (0, 0, 1)


def test_pairs():
    h = host()
    a = placed(guest("a"), ["4"] * 2, "4", [("1", [0]), ("1", [1])])
    b = placed(guest("b"), ["4"] * 2, "4", [("9", [0]), ("2", [1])])  # CPU 9 is on the core of CPU 1
    c = placed(guest("c"), ["4"] * 2, "4", [("0-15", [0, 1])])
    assert judge(h, a)["io_pairs"] == 0  # two of one guest are no pair
    assert judge(h, a, b)["io_pairs"] == 2
    assert judge(h, a, b, c)["io_pairs"] == 2 + 4
    # The same set of cores in three guests: three pairs.
    same = [placed(guest(n), ["4"] * 2, "4", [("6,7", [0, 1])]) for n in "xyz"]
    assert judge(h, *same)["io_pairs"] == 3
    # As many as the definition gives, one pair after the other.
    d = placed(guest("d"), ["4"] * 2, "4", [("1-2", [0]), ("2-3", [1])])  # its own two meet: no pair
    assert judge(h, d)["io_pairs"] == 0
    mixed = [a, b, c, d, *same]
    threads = [(g.guest.name, h.cores_in(t.cpus)) for g in mixed for t in g.iothreads]
    slow = sum(m != n and bool(x & y) for i, (m, x) in enumerate(threads) for n, y in threads[i + 1:])
    assert judge(h, *mixed)["io_pairs"] == slow


@pytest.mark.parametrize("cpus, device, memory, want", [
    ("1", 0, 0, (0, 0, 0)), ("4", 0, 0, (1, 1, 1)), ("4", 1, 0, (0, 1, 0)), ("4", 0, 1, (1, 0, 0)), ("1,4", 0, 0, (1, 1, 1)), ("1,4", 0, 1, (1, 1, 0)),
])
def test_numa(cpus, device, memory, want):
    s = judge(host(), placed(guest(node=device), ["5"] * 2, "5", [(cpus, [0, 1])], [memory]))
    assert (s["off_device"], s["off_memory"], s["off_numa"]) == want


def test_l3():
    h = host()  # L3 domains: cores 0-1, 2-3, 4-5, 6-7
    near = judge(h, placed(guest(), ["0", "2"], "0", [("1", [0]), ("3", [1])]))
    assert (near["l3_judged"], near["l3_missed"], near["queues_judged"], near["queues_missed"]) == (2, 0, 2, 0)
    crossed = judge(h, placed(guest(), ["0", "2"], "0", [("3", [0]), ("1", [1])]))
    assert (crossed["l3_missed"], crossed["queues_missed"]) == (2, 2)
    # One thread for both: it has one of them in its domain, the other queue is served from outside.
    one = judge(h, placed(guest(), ["0", "2"], "0", [("1", [0, 1])]))
    assert (one["l3_judged"], one["l3_missed"], one["queues_judged"], one["queues_missed"]) == (1, 0, 2, 1)
    # It may leave the domain: that counts. vCPUs that roam over two domains do not.
    assert judge(h, placed(guest(), ["0", "2"], "0", [("1,5", [0, 1])]))["l3_missed"] == 1
    roam = judge(h, placed(guest(), ["0-3", "2"], "0", [("6", [0]), ("7", [])]))
    assert (roam["l3_judged"], roam["queues_judged"]) == (0, 0)


def test_which_vcpus_complete_a_queue():
    assert [guest(vcpus=4, queues=2).completes(0, q) for q in (0, 1)] == [[0, 1], [2, 3]]
    assert [guest(vcpus=2, queues=3).completes(0, q) for q in (0, 1, 2)] == [[0], [1], []]


@pytest.mark.parametrize("threads, partly, stranded", [
    (["0"], 1, 0),  # one core cannot be a whole domain
    (["0", "1"], 0, 0),
    (["0", "2"], 2, 2),  # a whole domain would have done
    (["0", "2", "3"], 1, 0),
    (["0", "4"], 2, 0),  # one on each node
    (["0-1"], 0, 0),  # has a whole domain of two: it is not held closely
])
def test_stranded(threads, partly, stranded):
    s = judge(host(), placed(guest(), ["0-15"] * 2, "0-15", [(t, [0]) for t in threads]))
    assert (s["l3_partly"], s["l3_stranded"]) == (partly, stranded)


def test_dedicated_vcpus():
    h = host()
    mine = placed(guest(vcpus=3, dedicated=True), ["1", "9", "2"], "3", [("3", [0, 1])])
    s = judge(h, mine, placed(guest("b"), ["4-7"] * 2, "4-7", [("4-7", [0, 1])]))
    assert (s["dedicated"], s["dedicated_own"], s["floating"]) == (3, 3, 2)
    # b's emulator thread on the sibling of CPU 2.
    assert judge(h, mine, placed(guest("b"), ["4-7"] * 2, "10", [("4-7", [0, 1])]))["dedicated_own"] == 2
    # One of its own that roams.
    mine = placed(guest(vcpus=3, dedicated=True), ["1", "1-2", "2"], "3", [("3", [0, 1])])
    assert judge(h, mine)["dedicated_own"] == 0


def test_shared():
    s = judge(host(), placed(guest(), ["4-7", "1,9"], "0", [("2", [0, 1])]), shared="0,4-8")
    assert (s["shared_cpus"], s["floating"]) == (6, 1)


def test_moves():
    h = host()

    def two(vcpu, thread):
        return Placement(h, {"a": placed(guest(), [vcpu, "4-7"], "4-7", [(thread, [0, 1])])}, [], 0, 0)

    assert score.moves(h, two("1", "2"), two("1", "2")) == {"moved": 0, "lost": 0}
    assert score.moves(h, two("1", "2"), two("3", "2")) == {"moved": 1, "lost": 0}
    assert score.moves(h, two("1", "2"), two("3", "10")) == {"moved": 2, "lost": 0}  # another CPU, if of the same core
    assert score.moves(h, two("1", "2"), two("1", "2-3")) == {"moved": 0, "lost": 1}
    assert score.moves(h, two("0-3", "2"), two("0-1", "2")) == {"moved": 0, "lost": 0}
    with pytest.raises(ValueError):
        score.moves(h, two("1", "2"), Placement(h, {}, [], 0, 0))


def test_a_thread_without_a_cpu_is_an_error():
    with pytest.raises(ValueError):
        judge(host(), placed(guest(), ["1"] * 2, "1", [("", [0, 1])]))


def test_sets():
    assert show(parse("0-3,8,10-11")) == "0-3,8,10-11" and members(parse("5,1")) == [1, 5] and count(parse("0-9")) == 10
    g = Guest("g", 4, (Disk(4, 0), Disk(4, 0)), False)
    for n in range(1, 9):
        dealt = spread_queues(g, n)
        assert len(dealt) == n and sorted(q for some in dealt for q in some) == g.queues and all(dealt)
