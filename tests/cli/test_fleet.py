# SPDX-License-Identifier: LGPL-2.1-or-later
"""vbmqctl plan of described fleets: counts that can be checked by hand, limits, errors, and that --max is what planning says."""
import json
import os
import pathlib
import random
import re
import subprocess
import sys

import pytest

VBMQCTL = os.environ["VBMQCTL"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))
from vbmqtest import documents  # noqa: E402

EXAMPLE, DB1, WEB1 = (ROOT / "docs/examples" / n for n in ("fleet.conf", "db1.xml", "web1.xml"))
HOST = "synthetic:node:2 l3:4 core:8 pu:2"


def run(*args, code=0, **kw):
    r = subprocess.run([VBMQCTL, *map(str, args)], capture_output=True, text=True, errors="replace",
                       timeout=240, **kw)
    assert r.returncode == code, "%s: exit %d\n%s%s" % (" ".join(map(str, args)), r.returncode, r.stdout, r.stderr)
    return r


@pytest.fixture
def fleet(tmp_path):
    def write(text, name="fleet.conf"):
        f = tmp_path / name
        f.write_bytes(text if isinstance(text, bytes) else text.encode())
        return f
    return write


def plan(*args, host=HOST, code=0):
    doc = json.loads(run("plan", "--json", "--host", host, *args, code=code).stdout)
    documents.validate(doc, "plan")
    return doc


def template(doc, name):
    return next(t for t in doc["fleet"]["templates"] if t["name"] == name)


def test_the_example_is_counted_right(tmp_path):
    doc = plan("--fleet", EXAMPLE, "--max")
    assert [d["name"] for d in doc["domains"]] == ["db01", "db02", "db03"] + sorted("web-%d" % i for i in range(1, 13))
    db, web = template(doc, "db"), template(doc, "web")
    assert db["placed"] == {"wholly": 3, "short": 0, "failed": 0} and web["placed"]["wholly"] == 12
    assert (db["iothreads"], db["iothreads_own"], db["vcpus"], db["vcpus_own"]) == (9, 9, 12, 12)
    assert (web["iothreads"], web["iothreads_own"], web["vcpus"], web["vcpus_own"]) == (12, 12, 48, 0)
    assert db["queues"] == 15 and web["queues_most"] == 4
    left = doc["fleet"]["left"]
    assert sum(n["dedicated"] for n in left["nodes"]) == 9 + 12 + 12 and sum(n["free"] for n in left["nodes"]) == 31
    assert left["cores"] == 64 - 33 - 64 // 8, "an eighth of the cores stays shared"
    assert left["floating_vcpus"] == 48 and left["shared_cpus"] == 2 * 31
    assert db["max"]["guests"] == 3 + left["cores"] // 7
    # k guests take k cores and float with 4k vCPUs, 4 of them on each CPU of what is left beside the databases
    assert web["max"]["guests"] == max(k for k in range(12 + left["cores"] + 1) if 4 * k <= 4 * (128 - 2 * (21 + k)))
    f = tmp_path / "plan.json"
    f.write_text(json.dumps(doc))
    assert "valid plan" in run("validate", f).stdout


def test_the_same_bytes_every_time_and_a_snapshot_says_the_same(tmp_path):
    first = run("plan", "--json", "--host", HOST, "--fleet", EXAMPLE).stdout
    assert first == run("plan", "--json", "--host", HOST, "--fleet", EXAMPLE, env=dict(os.environ, LC_ALL="C")).stdout
    s = tmp_path / "s.json"
    run("capture", "--host", HOST, "--fleet", EXAMPLE, "-o", s)
    captured = json.loads(run("plan", "--json", "--snapshot", s).stdout)
    doc = json.loads(first)
    del doc["fleet"]
    assert captured == doc


def test_a_fleet_comes_on_top_of_a_snapshot(tmp_path):
    s = tmp_path / "s.json"
    run("capture", "--host", HOST, "--domain", DB1, "-o", s)
    doc = json.loads(run("plan", "--json", "--snapshot", s, "--fleet", EXAMPLE).stdout)
    assert {"db1", "db01", "web-12"} < {d["name"] for d in doc["domains"]}
    text = run("plan", "--snapshot", s, "--fleet", EXAMPLE).stdout
    assert re.search(r"^\(others\) +1 +1 +0 +0 ", text, re.M)


def test_guests_of_a_domain_xml():
    doc = plan("--guest", "5x%s" % WEB1, "-g", "2x%s" % DB1, "--device", "/dev/nvme0n1=1")
    assert [d["name"] for d in doc["domains"]] == ["db1-1", "db1-2"] + ["web1-%d" % i for i in range(1, 6)]
    assert len({d["uuid"] for d in doc["domains"]}) == 7
    assert template(doc, "db1")["iothreads_own"] == 8 and template(doc, "web1")["iothreads_own"] == 5
    assert [d["priority"] for d in doc["domains"][:2]] == [10, 10]
    on_node_1 = {str(c) for c in range(64, 128)}
    assert all(t["cpus"] in on_node_1 for d in doc["domains"][:2] for t in d["threads"] if t["kind"] == "iothread")


@pytest.mark.parametrize("seed", range(8))
def test_max_is_what_planning_says(fleet, seed):
    """One more than --max does not fit, --max does; without --max, and counted from the diagnostics of the guests."""
    rng = random.Random(seed)
    host = "synthetic:node:%d l3:%d core:%d pu:%d" % (rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 5), rng.randint(1, 2))
    tried = [{"vcpus": rng.randint(1, 6), "iothreads": rng.randint(1, 4), "count": rng.randint(0, 4),
              "placement": rng.choice(["follow", "dedicated"]), "disk": "vda queues=%d" % rng.randint(4, 8)} for _ in range(2)]

    def text(counts):
        return "".join("[t%d]\n%s" % (i, "".join("%s=%s\n" % kv for kv in {**t, "count": counts[i]}.items()))
                       for i, t in enumerate(tried))

    def trouble(counts):
        """Guests of which something is said that means a shortage, by template."""
        r = subprocess.run([VBMQCTL, "plan", "--json", "--host", host, "-f", fleet(text(counts), "try.conf")],
                           capture_output=True, text=True, timeout=240)
        assert r.returncode in (0, 4), r.stderr
        short = {"fewer-iothreads", "iothreads-share-core", "iothreads-on-shared-set", "vcpus-on-shared-set"}
        bad = [d["name"][:2] for d in json.loads(r.stdout)["domains"] if short & {g["code"] for g in d["diagnostics"]}]
        return [bad.count("t0"), bad.count("t1")]

    counts = [t["count"] for t in tried]
    r = subprocess.run([VBMQCTL, "plan", "--json", "--max", "--host", host, "-f", fleet(text(counts))], capture_output=True,
                       text=True, timeout=240)
    doc = json.loads(r.stdout)
    for i in range(2):
        most, others = template(doc, "t%d" % i)["max"]["guests"], 1 - i
        without = trouble([0 if k == i else counts[k] for k in range(2)])
        for n, fits in ((most, True), (most + 1, False)):
            said = trouble([n if k == i else counts[k] for k in range(2)])
            assert (said[i] == 0 and said[others] <= without[others]) == fits, (host, text(counts), n)


@pytest.mark.parametrize("host,cores,smt", [(HOST, 64, 2), ("synthetic:core:4 pu:1", 4, 1), ("synthetic:core:1 pu:2", 1, 2),
                                            ("synthetic:node:4 l3:3 core:5 pu:1", 60, 1)])
def test_what_is_left_is_what_fits(fleet, host, cores, smt):
    """But for cores that must stay shared, as every four floating vCPUs want a CPU."""
    doc = plan("--max", "-f", fleet("[one]\ncount=0\nvcpus=1\ndisk=vda\n"), host=host)
    kept = max(1, cores // 8)
    assert doc["fleet"]["left"]["cores"] == cores - kept
    assert template(doc, "one")["max"]["guests"] == max(n for n in range(cores) if cores - n >= max(kept, -(-n // (4 * smt))))


def test_infeasible_is_4_and_overcommitted_too(fleet):
    f = fleet("[big]\ncount=3\nvcpus=2\ndisk=vda\niothreads=2\n")
    doc = plan("-f", f, "--max", host="synthetic:core:4 pu:1", code=4)
    assert template(doc, "big")["placed"]["failed"] > 0 and template(doc, "big")["max"] == {"guests": 1}
    r = run("plan", "--host", "synthetic:core:4 pu:1", "-f", f, "--max", code=4)
    assert "1 (2 fewer)" in r.stdout and "error big: " in r.stdout
    f = fleet("[fleet]\novercommit=2\n[a]\ncount=5\nvcpus=2\n")
    assert plan("-f", f, host="synthetic:core:4 pu:1", code=4)["fleet"]["overcommitted"] is True
    assert "max" not in template(plan("-f", f, host="synthetic:core:5 pu:1"), "a")
    assert template(plan("-f", f, "--max", host="synthetic:core:4 pu:1", code=4), "a")["max"] == {"guests": 4}
    f = fleet("[a]\ncount=5\nvcpus=2\n")
    assert template(plan("-f", f, "--max", host="synthetic:core:4 pu:1"), "a")["max"] == {"unlimited": True}


def test_memory_and_devices_by_node(fleet):
    f = fleet("[a]\ncount=4\nvcpus=2\nmemory-nodes=auto\ndisk=vda node=auto\niothreads=1\n"
              "[b]\nvcpus=2\nmemory-nodes=1\ndisk=vda node=0\niothreads=1\n")
    doc = plan("-f", f)
    nodes = [int(t["cpus"]) // 64 for d in doc["domains"] for t in d["threads"] if t["kind"] == "iothread"]
    assert nodes[:4] == [0, 1, 0, 1]
    assert template(doc, "a")["numa_misses"] == 0 and template(doc, "b")["numa_misses"] == 1


@pytest.mark.parametrize("text,says", [
    ("", "no template"), ("vcpus=1\n", ":1: 'vcpus' stands before any template"),
    ("[db]\ncount=2\n", "template [db] of line 1 does not say how many vcpus"), ("\n[db]\nvcpus=0\n", ":3: vcpus=0: allowed is 1..4096"),
    ("[db]\nvcpus=1\nname=db\n", ":3: name=db: "), ("[db]\nvcpus=1\nname=a/%d\n", "no control characters"),
    ("[db]\nvcpus=1\nname=%d%d\n", "just one %d"), (b"[db]\nvcpus=1\nname=x\xff%d\n", "UTF-8"),
    ("[db]\nvcpus=1\nspeed=9\n", ":3: a template has no key 'speed'"), ("[db]\nvcpus=1\nvcpus=1\n", ":3: 'vcpus' is there twice"),
    ("[db]\nvcpus=1\ndisk=vda nodes=3\n", "'nodes=3': allowed is [queues="), ("[db]\nvcpus=1\ndisk=vda\ndisk=vda\n", ":4: disk vda is there twice"),
    ("[db]\nvcpus=1\ndisk=vda node=7\n", ":1: template 'db': disk vda is on node 7"),
    ("[db]\nvcpus=1\nmemory-nodes=0,7\n", ":1: template 'db': its memory is on node 7"),
    ("[db]\nvcpus=1\n[db]\nvcpus=1\n", ":3: template [db] is there twice, first in"), ("[d b]\nvcpus=1\n", ":1: [d b]: a template's name"),
    ("[a]\nvcpus=1\nname=x%d\n[b]\nvcpus=1\nname=x%d\n", ":4: template 'b': domain 'x1' is there twice"),
    ("[fleet]\novercommit=0\n", ":2: overcommit=0: allowed is 1..1000"), ("[a]\nvcpus=1\nplacement=maybe\n", "allowed is follow | dedicated"),
    ("[a]\nvcpus=1\ncount=10000\n[b]\nvcpus=1\n", "the fleet makes it 10001 domains"), ("[a]\nvcpus=1\nname=%s%%d\n" % ("x" * 185), "bytes, at most 190"),
    (b"[a]\nvcpus=1\0\n", ":2: a NUL byte"), ("[a]\nvcpus\n", ":2: neither a [section] nor key=value")])
def test_errors_name_file_line_and_cause(fleet, text, says):
    r = run("plan", "--host", HOST, "--fleet", fleet(text), code=1)
    assert ("fleet.conf" in r.stderr or "10001" in says) and says in r.stderr and not r.stdout, r.stderr


@pytest.mark.parametrize("args,says", [(["--guest", "3web.xml"], "NxFILE"), (["--guest", "x%s" % WEB1], "NxFILE"), (["--guest", "4x"], "NxFILE"),
                                       (["--guest", "10001x%s" % WEB1], "10000"), (["--max"], "--max needs --fleet or --guest")])
def test_wrong_usage_is_2(args, says):
    assert says in run("plan", "--host", HOST, *args, code=2).stderr


def test_other_verbs_take_fleets_too():
    assert "db01" in run("status", "--host", HOST, "--fleet", EXAMPLE).stdout
    assert "next best" in run("explain", "--host", HOST, "--fleet", EXAMPLE, "db01").stdout
    run("apply", "--fleet", EXAMPLE, code=2)

