# SPDX-License-Identifier: LGPL-2.1-or-later
"""--svg: a picture that is SVG 1.1 by an allow-list, holds every core once, is the same every time, and bears hostile names."""
import json
import os
import pathlib
import random
import re
import subprocess

import pytest
from lxml import etree

VBMQCTL = os.environ["VBMQCTL"]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DB1, WEB1, FLEET = (ROOT / "docs/examples" / n for n in ("db1.xml", "web1.xml", "fleet.conf"))
SHARED = pathlib.Path(os.environ.get("VBMQ_SHARED") or ROOT.parent / "shared") / "hosts"
HOST = "synthetic:node:2 l3:1 core:4 pu:2"
NS = "{http://www.w3.org/2000/svg}"
# What the picture is made of; nothing that loads, links, runs or moves.
MAY = {"svg": {"version", "width", "height"}, "style": {"type"}, "defs": set(), "g": set(), "title": set(),
       "pattern": {"id", "width", "height", "patternUnits"}, "path": {"d", "stroke", "fill"},
       "rect": {"x", "y", "width", "height", "class", "style", "fill"}, "text": {"x", "y", "class"}}


def run(*args, code=0, **kw):
    r = subprocess.run([VBMQCTL, *map(str, args)], capture_output=True, timeout=240, **kw)
    assert r.returncode == code, (args, r.returncode, r.stdout, r.stderr)
    return r


def picture(*args, code=0, verb="plan"):
    return judge(run(verb, "--svg", "-", *args, code=code).stdout)


def judge(svg):
    assert svg.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n') and svg.endswith(b"</svg>\n")
    root = etree.fromstring(svg)
    wide, high = int(root.get("width")), int(root.get("height"))
    for e in root.iter():
        name = e.tag.replace(NS, "")
        assert name in MAY and set(e.attrib) <= MAY[name], etree.tostring(e)
        assert not re.search(r"javascript|http|import|expression|//", " ".join(e.attrib.values()) + (name == "style" and e.text or ""))
        for v in ("x", "y", "width", "height"):
            assert re.fullmatch(r"\d+", e.get(v, "0")), "whole pixels on the sheet"
        if name == "rect" and e.getparent().tag != NS + "pattern":
            assert int(e.get("x")) + int(e.get("width")) <= wide and int(e.get("y")) + int(e.get("height")) <= high
        if name == "text":
            assert int(e.get("x")) < wide and int(e.get("y")) < high
    return root


def texts(e, cls=None):
    return [t.text or "" for t in e.iter(NS + "text") if cls is None or cls in t.get("class", "").split()]


def cores(root):
    """What the pointer is told about each core, and the words in its cell without the CPUs' numbers."""
    return {g.find(NS + "title").text: [t for t in texts(g) if not t.isdigit()] for g in root.iter(NS + "g")}


def cpus(text):
    for part in text.split(","):
        a, _, b = part.partition("-")
        yield from range(int(a), int(b or a) + 1)


def check_against_plan(root, doc, n_cores):
    """Every CPU stands there once; who has it for himself is named on its core, and nobody else is."""
    told = cores(root)
    assert len(told) == n_cores
    seen = sorted(c for tip in told for c in cpus(re.match(r"core \d+: CPUs (\S+),", tip).group(1)))
    assert seen == sorted(set(seen)) and set(cpus(doc["host"]["cpus"])) <= set(seen)
    want = {(int(t["cpus"]), "%s%d of %s" % (t["kind"], t["id"], d["name"])) for d in doc["domains"] for t in d["threads"] if t.get("exclusive")}
    have = {(int(m[0]), m[1]) for tip in told for m in re.findall(r"^CPU (\d+): ([^:\n]*)", tip, re.M)}
    assert have == want and want
    for tip, words in told.items():
        owner = re.search(r"^CPU \d+: (\S+) of (.*?)(:|$)", tip, re.M)
        if owner:
            assert words[1].startswith(owner.group(1)) and (words[0] == owner.group(2) or "…" in words[0])
    shared = [t for t in texts(root) if t.startswith("shared set (")]
    assert len(shared) == len({re.search(r"node (\d+)", t).group(1) for t in told})


@pytest.mark.parametrize("host,args,code", [
    (HOST, ["--domain", DB1, "--domain", WEB1, "--device", "/dev/nvme0n1=1"], 0),
    ("synthetic:node:2 l3:4 core:8 pu:2", ["--fleet", FLEET], 0),
    ("synthetic:node:2 l3:16 core:8 pu:2", ["--guest", "200x%s" % WEB1], 0),
    ("synthetic:node:8 l3:1 core:2 pu:8", ["--guest", "9x%s" % WEB1], 0),
    ("synthetic:core:5 pu:1", ["--guest", "9x%s" % WEB1], 4), ("synthetic:core:100 pu:1", ["--guest", "9x%s" % WEB1], 0)])
def test_the_picture_is_the_plan(host, args, code):
    doc = json.loads(run("plan", "--json", "--host", host, *args, code=code).stdout)
    root = picture("--host", host, *args, code=code)
    n = 1
    for k in re.findall(r"(?:node|l3|core):(\d+)", host):
        n *= int(k)
    check_against_plan(root, doc, n)
    head = texts(root)[:3]
    assert head[1] == "plan " + doc["plan_id"] and ("NOT FULFILLED" in head[2]) == (code == 4)


@pytest.mark.parametrize("path", sorted(SHARED.glob("*.xml")) or [None], ids=lambda p: p.stem if p else "none")
def test_real_hosts(path):
    if path is None:
        pytest.skip("the folder of real hosts (option 'shared', ../shared/hosts) is absent")
    doc = json.loads(run("plan", "--json", "--host", path, "--domain", WEB1).stdout)
    root = picture("--host", path, "--domain", WEB1)
    check_against_plan(root, doc, len(list(root.iter(NS + "g"))))


def test_the_same_bytes_every_time_from_a_file_and_the_snapshot(tmp_path):
    args = ["--domain", DB1, "--domain", WEB1]
    first = run("plan", "--host", HOST, *args, "--svg", "-").stdout
    env = dict(os.environ, LC_ALL="de_DE.UTF-8", TZ="Asia/Kathmandu")
    assert run("plan", "--host", HOST, *reversed(args[1::2]), code=2) and run("plan", "--host", HOST, *args, "--svg", "-", env=env).stdout == first
    assert run("status", "--host", HOST, *args, "--svg", "-").stdout == first
    f, s = tmp_path / "p.svg", tmp_path / "s.json"
    r = run("plan", "--host", HOST, *args, "--svg", f, "--json")
    assert f.read_bytes() == first and json.loads(r.stdout)["schema"] == "vbmq-plan/1"
    assert f.stat().st_mode & 0o777 == 0o644
    run("capture", "--host", HOST, *args, "-o", s)
    assert run("plan", "--snapshot", s, "--svg", "-").stdout == first


def test_what_cannot_be_written_fails(tmp_path):
    r = run("plan", "--host", HOST, "--domain", WEB1, "--svg", tmp_path / "absent" / "p.svg", code=1)
    assert b"absent" in r.stderr and not r.stdout
    assert b"--json" in run("plan", "--host", HOST, "--svg", "-", "--json", code=2).stderr


def changed(tmp_path, change, policy=None, args=("--host", HOST, "--domain", DB1, "--domain", WEB1)):
    s = tmp_path / "s.json"
    doc = json.loads(run("capture", *args).stdout)
    change(doc)
    s.write_text(json.dumps(doc))
    f = tmp_path / "p.conf"
    f.write_text("[policy]\n%s\n" % (policy or ""))
    r = subprocess.run([VBMQCTL, "plan", "--snapshot", s, "--policy", f, "--svg", "-"], capture_output=True, timeout=240)
    assert r.returncode in (0, 4), r.stderr
    return judge(r.stdout)


def test_every_kind_of_core_is_told_in_words_and_by_pattern(tmp_path):
    def change(doc):
        host = doc["host"]
        host["online"], host["isolated"] = "0-9,11-13", "4-5"
        web = next(d for d in doc["domains"] if d["name"] == "web1")
        for t in web["threads"]:
            if t["kind"] == "vcpu":
                t["pin"] = str(6 + t["id"])

    told = cores(changed(tmp_path, change, "reserved-cpus = 0\ndedicated-cpus = 0-3,6-15"))
    words = {tip.split(":")[0]: w for tip, w in told.items()}
    assert words["core 0"] == ["reserved"] and words["core 2"] == ["isolated"] and words["core 7"] == ["unusable"]
    assert words["core 3"] == ["web1", "taken"]
    root = changed(tmp_path, change, "reserved-cpus = 0\ndedicated-cpus = 0-3,6-15")
    classes = [next(g.iter(NS + "rect")).get("class") for g in root.iter(NS + "g")]
    assert {"reserved", "isolated", "off", "pinned", "own"} <= set(classes)
    style = root.find(NS + "style").text
    for c, mark in (("reserved", "url(#dots)"), ("pinned", "url(#lines)"), ("off", "url(#cross)"), ("isolated", "dasharray")):
        assert re.search(r"\.%s\{[^}]*%s" % (c, re.escape(mark)), style), c
    assert sum("gone" in r.get("class", "") for r in root.iter(NS + "rect")) == 3, "CPUs 10, 14 and 15"
    legend = " ".join(texts(root))
    assert all(w in legend for w in ("reserved: never", "pinned by its owner", "isolated and free", "offline or not allowed"))


EVIL = ["</text><script>alert(1)</script>", "&amp;<!--]]>\"'", "x" * 255, "\u202egnp.exe\u202c", "\u200b\ufeff\u2066a\u2069", "a\u0085b\u2028c",
        "\u0001\u001b[31mred\u007f", "名前の長い仮想マシン" * 8, "🦊" * 60, "z\u0300\u0301\u0302\u0303", "\ufffe\uffff\U0001fffe\U000e0041", " ", "%s%n%d"]


@pytest.mark.parametrize("name", EVIL, ids=range(len(EVIL)))
def test_hostile_names(tmp_path, name):
    def change(doc):
        doc["host"]["name"] = name
        doc["domains"][0]["name"] = name
        doc["domains"][0]["disks"][0]["target"] = name[:7]

    root = changed(tmp_path, change)
    said = "".join(t for e in root.iter(NS + "text", NS + "title") for t in [e.text or ""])
    assert not re.search("[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff\U000e0041]", said)
    clean = re.sub("[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff\U0001fffe\U000e0041]", "\ufffd", name)
    assert any(" of " + clean in tip for tip in cores(root)), "the whole name, but for what must not be there"
    for t in texts(root, "name"):
        assert len(t) <= 26, "cut to its room"


def test_random_names(tmp_path):
    """Two hundred guests on one host."""
    rng = random.Random(7)

    def change(doc):
        for i, d in enumerate(doc["domains"]):
            d["name"] = "".join(chr(rng.choice([rng.randint(1, 127), rng.randint(1, 0x2fff), rng.randint(0xe000, 0x10ffff)]))
                                for _ in range(rng.randint(1, 50))) + str(i)

    root = changed(tmp_path, change, args=("--host", "synthetic:node:2 l3:16 core:8 pu:1", "--guest", "200x%s" % WEB1))
    assert len(cores(root)) == 256
