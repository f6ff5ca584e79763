#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Count the tests that ran, each TAP test and each pytest case for itself, not the programs that hold them.

    count-tests.py --stage NAME --results FILE TESTLOG...   meson's testlog.json, pytest's junit XML, output (.tap)
    count-tests.py --sum FILE                               the last line of tools/check

Failures and skips (with their reasons) are printed; the counts are added to FILE as one line of JSON. A program that
fails although each of its tests passed (it crashed, a sanitizer spoke, it ran out of time) is one failure more; a log
that cannot be read, or in which nothing ran, is one too. Exit status 1 if anything failed.
"""
import argparse
import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

TAP = re.compile(r"^(not )?ok\b(?:\s+\d+)?(?:\s*-)?\s*(.*?)(?:\s+#\s*(SKIP|TODO)\b\s*(.*))?$", re.I)
PYTEST = re.compile(r"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s\b")
PYTEST_WORDS = {"passed": "passed", "failed": "failed", "error": "failed", "errors": "failed", "skipped": "skipped",
                "xfailed": "skipped", "xpassed": "failed"}


class Count:
    def __init__(self):
        self.passed, self.failures, self.skips = 0, [], []

    def fail(self, what):
        self.failures.append(what)

    def skip(self, what, reason):
        self.skips.append((what, reason or "no reason given"))


def tap(count, name, lines):
    """Returns how many tests were seen."""
    seen = 0
    for line in lines:
        m = TAP.match(line)
        if not m:
            if line.startswith("1..0"):
                count.skip(name, line.partition("#")[2].replace("SKIP", "", 1).replace("skip", "", 1).strip())
                seen += 1
            continue
        seen += 1
        what = "%s: %s" % (name, m.group(2))
        if m.group(3):
            count.skip(what, m.group(4))
        elif m.group(1):
            count.fail(what)
        else:
            count.passed += 1
    return seen


def pytest(count, name, lines):
    seen = 0
    for line in lines:
        m = PYTEST.match(line.strip())
        if not m:
            continue
        n = {"passed": 0, "failed": 0, "skipped": 0}
        for part in m.group(1).split(", "):
            number, word = part.split()
            if word in PYTEST_WORDS:
                n[PYTEST_WORDS[word]] += int(number)
        seen += sum(n.values())
        count.passed += n["passed"]
        named = [x.strip() for x in lines if re.match(r"^(FAILED|ERROR) \S", x)]
        for i in range(n["failed"]):
            count.fail("%s: %s" % (name, named[i] if i < len(named) else "a case"))
        for x in lines:
            s = re.match(r"^(?:SKIPPED \[(\d+)\]|XFAIL) (\S+?):? (.*)$", x)
            if s:
                for _ in range(min(int(s.group(1) or 1), n["skipped"])):
                    count.skip("%s: %s" % (name, s.group(2)), s.group(3))
                    n["skipped"] -= 1
        for _ in range(n["skipped"]):
            count.skip("%s: a case" % name, "")
    return seen


def testlog(count, path):
    for line in path.read_text(errors="replace").splitlines():
        t = json.loads(line)
        name, result = t["name"], t["result"]
        out = t.get("stdout", "").splitlines()
        failed = len(count.failures)
        seen = tap(count, name, out) or pytest(count, name, out)
        good = result in ("OK", "EXPECTEDFAIL")
        if not good and result != "SKIP" and len(count.failures) == failed:
            count.fail("%s: %s, exit status %s" % (name, result.lower(), t.get("returncode")))
        elif not seen and result == "SKIP":
            count.skip(name, (out or [""])[-1].strip())
        elif not seen and good:
            count.passed += 1


def junit(count, path):
    for case in ET.parse(path).iter("testcase"):
        name = "%s.%s" % (case.get("classname"), case.get("name"))
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            count.fail(name)
        elif skipped is not None:
            count.skip(name, skipped.get("message"))
        else:
            count.passed += 1


def output(count, path):
    tap(count, path.stem, path.read_text(errors="replace").splitlines())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--stage")
    p.add_argument("--results", type=pathlib.Path)
    p.add_argument("--sum", type=pathlib.Path)
    p.add_argument("logs", nargs="*", type=pathlib.Path)
    a = p.parse_args()
    if a.sum:
        stages = [json.loads(line) for line in a.sum.read_text().splitlines()] if a.sum.exists() else []
        n = [sum(s[k] for s in stages) for k in ("passed", "failed", "skipped")]
        print("%d passed, %d failed" % (n[0], n[1]) + (", %d skipped" % n[2] if n[2] else ""))
        return 1 if n[1] or not n[0] else 0
    count = Count()
    for log in a.logs:
        before = (count.passed, len(count.failures), len(count.skips))
        try:
            {".xml": junit, ".tap": output}.get(log.suffix, testlog)(count, log)
        except (OSError, ValueError, KeyError, ET.ParseError) as e:
            count.fail("%s: %s" % (log.name, e))
        if before == (count.passed, len(count.failures), len(count.skips)):
            count.fail("%s: no test ran" % log.name)
    for f in count.failures:
        print("  FAILED  %s: %s" % (a.stage, f))
    for what, reason in count.skips:
        print("  skipped %s: %s (%s)" % (a.stage, what, reason))
    with a.results.open("a") as f:
        f.write(json.dumps({"stage": a.stage, "passed": count.passed, "failed": len(count.failures),
                            "skipped": len(count.skips)}) + "\n")
    return 1 if count.failures else 0


if __name__ == "__main__":
    sys.exit(main())
