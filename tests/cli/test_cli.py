# SPDX-License-Identifier: LGPL-2.1-or-later
"""vbmqctl as its user calls it, without daemon, libvirt or root: what it prints, and its exit status."""
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

VBMQCTL = os.environ["VBMQCTL"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/lib"))
from vbmqtest import documents  # noqa: E402

SHARED = pathlib.Path(os.environ.get("VBMQ_SHARED") or ROOT.parent / "shared") / "hosts"
DB1, WEB1 = ROOT / "docs/examples/db1.xml", ROOT / "docs/examples/web1.xml"
HOST = "synthetic:node:2 l3:2 core:4 pu:2"
VERBS = ["status", "topology", "list", "show", "plan", "explain", "apply", "verify", "configure", "capture", "restore", "stats", "watch",
         "rebalance", "doctor", "validate", "pause", "resume", "reload", "version"]
NO_BUS = "unix:path=/nonexistent/vbmq-bus"


def run(*args, stdin=None, code=0, **kw):
    r = subprocess.run([VBMQCTL, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=60, **kw)
    assert r.returncode == code, "%s: exit %d\n%s%s" % (" ".join(map(str, args)), r.returncode, r.stdout, r.stderr)
    return r


def offline(verb, *args, **kw):
    return run(verb, *args, "--host", HOST, "--domain", DB1, "--domain", WEB1, "--device", "/dev/nvme0n1=1", **kw)


def test_help_names_every_verb_and_every_verb_has_help():
    text = run("--help").stdout
    for verb in VERBS:
        assert re.search(r"^  %s " % verb, text, re.M)
        h = run(verb, "--help").stdout
        assert h.startswith("Usage: vbmqctl %s" % verb) and "--json" in h
        assert run("help", verb).stdout == h
    assert "_complete" not in text


@pytest.mark.parametrize("args", [[], ["nonsense"], ["plan", "--nonsense"], ["plan", "extra"], ["show"], ["--json", "plan"],
                                  ["plan", "--host"], ["plan", "--domain", "x.xml"], ["plan", "--device", "a=0"],
                                  ["plan", "--host", HOST, "--snapshot", "s.json"], ["plan", "--capability", "magic"],
                                  ["watch", "--interval", "1ms"], ["watch", "--count", "0"], ["stats", "--watch=0"], ["stats", "--watch=1s"], ["stats", "--direct"], ["validate"],
                                  ["rebalance", "--max-moves", "-1"], ["rebalance", "--policy", "x.conf"],
                                  ["plan", "--host", HOST, "--domain", str(DB1), "--device", "nvme"],
                                  ["plan", "--host", HOST, "--domain", str(DB1), "--device", "/dev/nvme0n1=9"]])
def test_wrong_usage_is_2(args):
    r = run(*args, code=2)
    assert r.stderr or not args


@pytest.mark.parametrize("verb", ["status", "list", "plan", "explain", "apply", "rebalance", "verify", "capture", "restore", "pause",
                                  "resume", "reload"])
def test_no_daemon_is_3(verb):
    r = run(verb, "--bus", NO_BUS, code=3)
    assert "vbmqd" in r.stderr and not r.stdout


def test_plan_is_the_document_of_the_design():
    doc = json.loads(offline("plan", "--json").stdout)
    documents.validate(doc, "plan")
    assert doc["schema"] == "vbmq-plan/1"
    assert list(doc)[:4] == ["schema", "plan_id", "host", "domains"]
    db1 = next(d for d in doc["domains"] if d["name"] == "db1")
    threads = [t for t in db1["threads"] if t["kind"] == "iothread"]
    assert [t["id"] for t in threads] == [1, 2, 3, 4] and all(t["exclusive"] for t in threads)
    assert all(16 <= int(t["cpus"]) <= 31 for t in threads), "the device and the memory are on node 1"
    queues = db1["disks"][0]["queues"]
    assert [q["index"] for q in queues] == list(range(8)) and {q["iothread"] for q in queues} == {1, 2, 3, 4}
    assert all(s["op"] in ("add-iothread", "del-iothread", "pin-vcpu", "pin-iothread", "pin-emulator", "set-polling",
                           "map-queues") for s in doc["steps"])


def test_plan_is_deterministic_and_its_id_follows_the_input():
    a, b = offline("plan", "--json").stdout, offline("plan", "--json").stdout
    assert a == b
    other = json.loads(run("plan", "--json", "--host", HOST, "--domain", DB1, "--domain", WEB1).stdout)
    assert other["plan_id"] != json.loads(a)["plan_id"]
    swapped = run("plan", "--json", "--host", HOST, "--domain", WEB1, "--domain", DB1, "--device", "/dev/nvme0n1=1").stdout
    assert swapped == a


def test_capture_and_snapshot_give_the_same_plan(tmp_path):
    s = tmp_path / "s.json"
    offline("capture", "-o", s)
    documents.validate(json.loads(s.read_text()), "snapshot")
    assert run("plan", "--snapshot", s, "--json").stdout == offline("plan", "--json").stdout
    assert run("plan", "--snapshot", "-", "--json", stdin=s.read_text()).stdout == offline("plan", "--json").stdout
    assert run("validate", s).stdout == "%s: valid snapshot\n" % s


def test_plan_needs_neither_root_nor_libvirt():
    env = {"PATH": "/usr/bin:/bin"}
    user = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as d:
        # As nobody: the program and its input are copied to where nobody may read.
        os.chmod(d, 0o755)
        for f in (VBMQCTL, DB1):
            shutil.copy(f, d)
            os.chmod(os.path.join(d, os.path.basename(f)), 0o755)
        args = [os.path.join(d, "vbmqctl"), "plan", "--host", HOST, "--domain", os.path.join(d, "db1.xml")]
        kw = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        r = subprocess.run(args, capture_output=True, text=True, env=env, cwd=d, timeout=60, **kw)
    assert r.returncode == 0, r.stderr


def test_infeasible_is_4_and_the_plan_is_printed(tmp_path):
    f = tmp_path / "p.conf"
    f.write_text("[policy]\niothreads=8\n")
    doc = json.loads(run("plan", "--json", "--host", "synthetic:core:4 pu:1", "--domain", WEB1, "--policy",
                         f, code=0).stdout)
    assert not [g for d in doc["domains"] for g in d["diagnostics"] if g["severity"] == "error"]
    xml = DB1.read_text().replace('count="auto"', 'count="8"').replace("nodeset='1'", "nodeset='0'")
    big = tmp_path / "big.xml"
    big.write_text(xml)
    doc = json.loads(run("plan", "--json", "--host", "synthetic:core:4 pu:1", "--domain", big, code=4).stdout)
    codes = {g["code"] for d in doc["domains"] for g in d["diagnostics"] if g["severity"] == "error"}
    assert codes & {"fewer-iothreads", "iothreads-share-core", "iothreads-on-shared-set"}


@pytest.mark.parametrize("path", sorted(SHARED.glob("*.xml")) or [None], ids=lambda p: p.stem if p else "none")
def test_real_hosts(path, tmp_path):
    if path is None:
        pytest.skip("the folder of real hosts (option 'shared', ../shared/hosts) is absent")
    rules = tmp_path / "p.conf"
    rules.write_text("[policy]\nshared-min-cores=1\n")  # some of these hosts have six CPUs
    doc = json.loads(run("plan", "--json", "--host", path, "--domain", WEB1, "--domain", DB1_ANYWHERE, "--capability", "live-map",
                         "--policy", rules).stdout)
    owned = {}
    for d in doc["domains"]:
        for t in d["threads"]:
            if t.get("exclusive"):
                assert owned.setdefault(t["cpus"], d["name"]) == d["name"] and t["cpus"].isdigit()
    assert owned
    run("status", "--host", path, "--domain", WEB1)
    run("topology", "--host", path)


def anywhere():
    f = tempfile.NamedTemporaryFile("w", suffix=".xml", delete=False)
    f.write(re.sub(r"<numatune>.*</numatune>", "", DB1.read_text(), flags=re.S))
    f.close()
    return f.name


DB1_ANYWHERE = anywhere()


def teardown_module():
    os.unlink(DB1_ANYWHERE)


def test_tables_and_documents_of_the_other_verbs():
    text = offline("status").stdout
    assert len(re.findall(r"^\S*\s+.*dedicated ", text, re.M)) == 5 and "shared set 0-1,4-15,24-31" in text
    doc = json.loads(offline("status", "--json").stdout)
    assert doc["schema"] == "vbmq-status/1" and len(doc["cores"]) == 16
    assert {c["owner"] for c in doc["cores"] if c["use"] == "dedicated"} == {"db1", "web1"}
    assert "db1" in offline("list").stdout
    assert [d["name"] for d in json.loads(offline("list", "--json").stdout)["domains"]] == ["db1", "web1"]
    assert "iothread4" in offline("show", "db1").stdout
    shown = json.loads(offline("show", "db1", "--json").stdout)
    assert shown["schema"] == "vbmq-show/1" and len(shown["disks"][0]["queues"]) == 8
    assert "next best" in offline("explain", "db1", "iothread1").stdout
    explained = json.loads(offline("explain", "--json").stdout)
    documents.validate(explained, "explain")
    topology = json.loads(run("topology", "--json", "--host", HOST).stdout)
    assert topology["schema"] == "vbmq-topology/1" and len(topology["nodes"]) == 2 and len(topology["cores"]) == 16
    assert "node" in run("topology").stdout
    assert json.loads(run("version", "--json", "-c", "test:///nonexistent").stdout)["vbmqctl"] == run("--version").stdout.split()[1]
    assert len(offline("watch", "--count", "2", "--interval", "100ms").stdout.split("host synthetic")) == 3


def test_show_tells_how_a_thread_polls():
    """A bound only where there is one: dedicated polling has none."""
    shown = run("show", "db1", "--snapshot", ROOT / "schemas/examples/snapshot-valid-everything.json").stdout.splitlines()
    rows = {line.split()[0]: line for line in shown if line.startswith("iothread")}
    assert "dedicated" in rows["iothread2"] and " ns" not in rows["iothread2"]
    assert " off" in rows["iothread1"]


@pytest.mark.parametrize("args,says", [
    (["show", "nobody"], "no domain 'nobody'"), (["explain", "nobody"], "no domain 'nobody'"),
    (["explain", "db1", "iothread9"], "no thread 'iothread9'")])
def test_unknown_names_fail(args, says):
    r = offline(*args, code=1)
    assert says in r.stderr and "vbmqctl" in r.stderr


def test_validate_names_file_line_and_cause(tmp_path):
    good = run("validate", DB1, *sorted((ROOT / "schemas/examples").glob("metadata-valid-*.xml"))).stdout
    assert good.count(": valid ") == len(good.splitlines()) > 3
    for bad in sorted((ROOT / "schemas/examples").glob("metadata-invalid-*.xml")):
        r = run("validate", bad, code=1)
        assert bad.name in r.stderr, r.stderr
    xml = tmp_path / "bad.xml"
    xml.write_text(DB1.read_text().replace('count="auto"', 'count="many"'))
    r = run("validate", xml, code=1)
    assert re.search(r"bad\.xml:\d+: .*count.*many", r.stderr), r.stderr
    conf = tmp_path / "bad.conf"
    conf.write_text("[policy]\nauto-max=lots\n")
    r = run("validate", conf, code=1)
    assert "bad.conf:2:" in r.stderr and "auto-max" in r.stderr
    doc = json.loads(run("validate", "--json", DB1, conf, code=1).stdout)
    assert [f["valid"] for f in doc["files"]] == [True, False]


def test_colours_only_for_terminals():
    assert "\033[" not in offline("status").stdout
    assert "\033[" not in offline("plan").stdout


def test_output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w") as full:
        r = subprocess.run([VBMQCTL, "topology", "--host", HOST], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert r.returncode == 1 and "standard output" in r.stderr


def test_same_name_twice_is_refused():
    r = run("plan", "--host", HOST, "--domain", DB1, "--domain", DB1, code=1)
    assert "db1" in r.stderr and "twice" in r.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "de_DE.UTF-8"])
def test_locale_and_timezone_change_nothing(locale):
    env = dict(os.environ, LC_ALL=locale, TZ="Asia/Kathmandu")
    assert offline("plan", "--json", env=env).stdout == offline("plan", "--json").stdout


def test_completion_words():
    words = run("_complete", "verbs").stdout.split()
    assert words == VERBS_IN_ORDER()
    assert "--snapshot=" in run("_complete", "options", "plan").stdout.split()


def VERBS_IN_ORDER():
    return [line.split()[0] for line in run("--help").stdout.split("Verbs:\n")[1].split("\n\n")[0].splitlines()]


def golden(name):
    return ROOT / "tests/golden/cases" / name / "snapshot.json"


def test_rebalance_offline_shows_moves_and_gain():
    """Four threads in four L3 domains: every day they stay, together they need two, and no move is one too many."""
    snapshot = golden("scattered-over-l3s")
    assert json.loads(run("plan", "--snapshot", snapshot, "--json").stdout)["steps"] == []
    doc = json.loads(run("rebalance", "--snapshot", snapshot, "--json").stdout)
    documents.validate(doc, "rebalance")
    assert doc["better"] and "report" not in doc
    assert {m["from"] for m in doc["moves"]} <= {"5", "13", "40", "52"} and all(m["had_own"] for m in doc["moves"])
    assert doc["before"] == doc["everyday"] and len(doc["moves"]) == 3
    assert doc["after"]["own_core"] == doc["before"]["own_core"] == 4
    assert doc["after"]["numa_misses"] == doc["before"]["numa_misses"] == 0
    assert doc["after"]["l3_domains_free"] - doc["before"]["l3_domains_free"] == 3  # two on node 0, beside the boot core
    text = run("rebalance", "--snapshot", snapshot).stdout
    assert "%d threads would leave a core of their own" % len(doc["moves"]) in text and "Nothing was changed" in text
    assert re.search(r"L3 domains wholly free +11 of 15 +14 of 15", text), text
    one = json.loads(run("rebalance", "--snapshot", snapshot, "--json", "--max-moves", "1").stdout)
    assert len(one["moves"]) == 1 and one["plan_id"] != doc["plan_id"]
    assert one["before"]["l3_domains_free"] < one["after"]["l3_domains_free"] < doc["after"]["l3_domains_free"]
    assert run("rebalance", "--snapshot", snapshot, "--json", "--plan", doc["plan_id"]).stdout == \
        run("rebalance", "--snapshot", snapshot, "--json").stdout
    assert "is stale" in run("rebalance", "--snapshot", snapshot, "--plan", "0" * 32, code=1).stderr


def test_rebalance_says_when_there_is_nothing_to_gain():
    text = run("rebalance", "--snapshot", golden("settled-does-not-move")).stdout
    assert "Nothing to gain" in text
    text = run("rebalance", "--snapshot", golden("scattered-over-l3s"), "--max-moves", "0").stdout
    assert "Nothing to gain with so few moves" in text
    doc = json.loads(run("rebalance", "--snapshot", golden("settled-does-not-move"), "--json").stdout)
    documents.validate(doc, "rebalance")
    assert not doc["better"] and doc["moves"] == []


def test_explain_says_what_would_have_to_change(tmp_path):
    """Too few cores: what explain names is made by hand, and then the wish is fulfilled."""
    snapshot = json.loads(golden("shortage-count-said").read_text())
    text = run("explain", "--snapshot", golden("shortage-count-said"), "b").stdout
    assert "what it wishes would be possible with" in text and "iothreads of b from 2 to 1" in text
    assert re.search(r"^ *vda +0 +iothread1 +vCPU 0 +same L3", text, re.M)
    doc = json.loads(run("explain", "--snapshot", golden("shortage-count-said"), "b", "--json").stdout)
    documents.validate(doc, "explain")
    domain = doc["domains"][0]
    changes = {r["change"]: r for r in domain["remedies"]}
    assert list(changes)[0] == "iothreads" and "exclusive" in changes
    assert {q["distance"] for q in domain["queues"]} == {"l3"}
    file = tmp_path / "s.json"
    for wish in ({"iothreads": changes["iothreads"]["to"]}, {"exclusive": "cpu"}):
        changed = json.loads(json.dumps(snapshot))
        next(d for d in changed["domains"] if d["name"] == "b")["wish"].update(wish)
        file.write_text(json.dumps(changed))
        plan = json.loads(run("plan", "--snapshot", file, "--json").stdout)  # exit status 0: feasible
        assert not plan["infeasible"]
    run("plan", "--snapshot", golden("shortage-count-said"), code=4)
