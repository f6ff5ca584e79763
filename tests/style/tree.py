#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules of the house that a reader would otherwise have to police: licence lines, file sizes, paths, hosts, formatting."""
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1])


def files():
    try:
        out = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"], capture_output=True,
                             check=True).stdout
        return [ROOT / f for f in out.decode().split("\0") if f and (ROOT / f).is_file()]
    except (subprocess.CalledProcessError, OSError):
        return [p for p in ROOT.rglob("*") if p.is_file() and ".git" not in p.parts]


ALL = files()
SOURCES = [p for p in ALL if p.suffix in (".c", ".h", ".py") or p.name == "meson.build"]
PRODUCT = [p for p in ALL if p.suffix in (".c", ".h") and p.relative_to(ROOT).parts[0] in ("lib", "daemon", "cli", "libvirt-hooks")]


@functools.cache
def text(path):
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def licence():
    scripts = [p for p in ALL if p.parent.name in ("tools", "qemu-patches") and p.suffix == "" and text(p).startswith("#!")]
    for p in SOURCES + scripts:
        want = "GPL-2.0-or-later" if p.parent.name == "qemu-patches" else "LGPL-2.1-or-later"
        top = "\n".join(text(p).splitlines()[:4])
        if "SPDX-License-Identifier:" not in top:
            yield "%s: no SPDX line on top" % p.relative_to(ROOT)
        elif "SPDX-License-Identifier: " + want not in top:
            yield "%s: its licence is not %s" % (p.relative_to(ROOT), want)


def size():
    for p in PRODUCT:
        n = len(text(p).splitlines())
        if n > 600:
            yield "%s: %d lines; one noun a file, at most about 600" % (p.relative_to(ROOT), n)


def machine_paths():
    pattern = re.compile(r"(^|[^A-Za-z0-9_./-])/(work|root|farm)/")
    for p in ALL:
        if p.suffix == ".patch" or "data" in p.parts or "corpus" in p.parts:
            continue
        for n, line in enumerate(text(p).splitlines(), 1):
            if pattern.search(line):
                yield "%s:%d: a path of the machine it was written on" % (p.relative_to(ROOT), n)


def registries():
    hosts = set()
    for base in [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*")]:
        if base.is_file():
            hosts |= set(re.findall(r"(?:https?|ftp)://([^/\s]+)", text(base)))
    for p in ALL:
        content = text(p)
        for h in hosts:
            if h in content:
                yield "%s: names a package registry" % p.relative_to(ROOT)


def unfinished():
    words = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")([:( ]|$)")
    for p in ALL:
        if p.suffix in (".c", ".h", ".py", ".sh", ".rst", ".md", ".build"):
            for n, line in enumerate(text(p).splitlines(), 1):
                if words.search(line):
                    yield "%s:%d: unfinished business" % (p.relative_to(ROOT), n)


def no_shared():
    for p in PRODUCT:
        if "../shared" in text(p):
            yield "%s: the product does not depend on the shared folder" % p.relative_to(ROOT)


def start(command):
    """The two tools take nearly all of the time: they run beside each other, and while the files are looked at here."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def start_formatting():
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    if not tool:
        return None
    version = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
    if not re.search(r"version 14\.", version):
        return None
    names = [str(p) for p in ALL if p.suffix in (".c", ".h") and "corpus" not in p.parts]
    return start([tool, "--dry-run", "-Werror", *names])


def start_shell():
    tool = shutil.which("shellcheck")
    if not tool:
        return None
    names = [str(p) for p in ALL if p.suffix == ".sh" or (p.suffix == "" and re.match(r"#!/(usr/bin/env )?(/?bin/)?(ba)?sh\b", text(p)))]
    return start([tool, "-x", "-S", "warning", "-f", "gcc", *names])


FORMATTING, SHELL = start_formatting(), start_shell()


def formatting():
    if not FORMATTING:
        yield None
        return
    for line in FORMATTING.communicate()[0].splitlines():
        if "code should be clang-formatted" in line:
            yield line.replace(str(ROOT) + os.sep, "")


def shell():
    if not SHELL:
        yield None
        return
    yield from SHELL.communicate()[0].splitlines()


def mapped():
    page = text(ROOT / "ARCHITECTURE.md")
    dirs = {"/".join(p.relative_to(ROOT).parts[:2]) for p in ALL
            if len(p.relative_to(ROOT).parts) > 2 and p.relative_to(ROOT).parts[0] in ("lib", "daemon", "tests")}
    dirs |= {p.relative_to(ROOT).parts[0] for p in ALL if len(p.relative_to(ROOT).parts) > 1 and not p.relative_to(ROOT).parts[0].startswith(".")}
    for d in sorted(dirs):
        if "`%s`" % d not in page and "`%s/`" % d not in page:
            yield "ARCHITECTURE.md does not mention `%s`" % d


CHECKS = [("every source names its licence", licence), ("no file grew beyond its noun", size),
          ("no path of the build machine", machine_paths), ("no package registry is named", registries),
          ("no unfinished business", unfinished), ("the product needs nothing of shared/", no_shared),
          ("ARCHITECTURE.md maps every directory", mapped), ("clang-format 14 has nothing to change", formatting),
          ("shellcheck is silent", shell)]
print("1..%d" % len(CHECKS))
failed = 0
for i, (name, check) in enumerate(CHECKS, 1):
    faults = list(check())
    if faults == [None]:
        print("ok %d - %s # SKIP the tool is not installed in the version the tree is formatted with" % (i, name))
        continue
    for f in faults[:40]:
        print("# " + f)
    failed += bool(faults)
    print("%sok %d - %s" % ("not " if faults else "", i, name))
sys.exit(bool(failed))
