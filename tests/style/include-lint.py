#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Holds the table of ARCHITECTURE.md: which room may include which, and which library.

The table is read from ARCHITECTURE.md itself ("may include" lines of the code map), so that page and tree cannot part.
One TAP result a room; a violation names file, line and what is allowed.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
ROOM_DIRS = {"util": "lib/util", "core": "lib/core", "codec": "lib/codec", "qmp": "lib/qmp", "host": "lib/host",
             "apply": "lib/apply", "virt": "lib/virt", "capture": "lib/capture", "bus": "lib/bus", "daemon": "daemon", "cli": "cli",
             "hook": "libvirt-hooks"}
LIBRARIES = {"libvirt/": "libvirt", "libxml/": "libxml2", "jansson.h": "jansson", "hwloc": "hwloc", "numa": "libnuma",
             "systemd/": "libsystemd", "libsmartcols/": "libsmartcols", "ini.h": "inih", "pthread.h": "threads"}
# Not "libc" for the pure rooms: what would let I/O, time or the environment in.
IMPURE = {"stdio.h", "unistd.h", "time.h", "fcntl.h", "dirent.h", "sys/stat.h", "sys/types.h", "sys/time.h", "signal.h",
          "locale.h", "syslog.h", "sys/socket.h", "sys/mman.h", "sched.h", "threads.h", "pthread.h", "wchar.h", "math.h",
          "float.h", "fenv.h", "setjmp.h"}


def table():
    """| `lib/core` | what | may include | ... rows of the code map."""
    allowed = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) < 3 or not cells[0].startswith("`"):
            continue
        name = cells[0].strip("`").rstrip("/")
        for room, path in ROOM_DIRS.items():
            if path == name:
                allowed[room] = {w.strip("` ") for w in re.split(r"[,;]", cells[2])}
    return allowed


def included(path):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if m:
            yield number, m.group(1) == "<", m.group(2)


def judge(room, allowed, path):
    for number, system, name in included(path):
        where = "%s:%d" % (path.relative_to(ROOT), number)
        if not system:
            target = name.split("/")[0] if "/" in name else None
            if target is None:
                if name == "config.h" and room in ("daemon", "cli", "hook"):
                    continue
                if room in ("daemon", "cli", "hook") or name.endswith("-rng.h") or "generated" in name:
                    continue
                yield "%s: \"%s\": includes are written from lib/ (\"%s/%s\")" % (where, name, room, name)
            elif target not in ROOM_DIRS:
                yield "%s: \"%s\" is in no room" % (where, name)
            elif target != room and target not in allowed:
                yield "%s: %s may not include %s (may: %s)" % (where, room, name, ", ".join(sorted(allowed)))
            continue
        for prefix, library in LIBRARIES.items():
            if name == prefix or (name.startswith(prefix) and prefix.endswith("/")) or \
                    (prefix in ("hwloc", "numa") and re.match(prefix + r"(/.*)?(if)?\.h$", name)):
                if library not in allowed and not (library == "threads" and "threads" in allowed):
                    yield "%s: %s may not use %s (may: %s)" % (where, room, library, ", ".join(sorted(allowed)))
        if "pure" in allowed and name in IMPURE:
            yield "%s: %s is pure and may not include <%s>" % (where, room, name)


def main():
    allowed = table()
    rooms = [r for r, d in ROOM_DIRS.items() if list((ROOT / d).glob("*.[ch]"))]
    print("1..%d" % len(rooms))
    bad = 0
    for i, room in enumerate(rooms, 1):
        if room not in allowed:
            faults = ["ARCHITECTURE.md has no row for %s" % ROOM_DIRS[room]]
        else:
            faults = [f for p in sorted((ROOT / ROOM_DIRS[room]).glob("*.[ch]")) for f in judge(room, allowed[room], p)]
        for f in faults:
            print("# " + f)
        bad += bool(faults)
        print("%sok %d - includes of %s" % ("not " if faults else "", i, ROOM_DIRS[room]))
    return bool(bad)


sys.exit(main())
