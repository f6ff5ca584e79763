# SPDX-License-Identifier: LGPL-2.1-or-later
"""The keeper of one private libvirt world; run by libvirtd.py as `unshare --mount --uts ...
guardian.py DIRECTORY [HOSTNAME]`.

It lives in a mount namespace of its own, in which the fixed directories of libvirtd (/run, /etc/libvirt, /var/lib/libvirt,
...) are bound to DIRECTORY. Everything that belongs to the world runs in this namespace, and nothing else does: that is how
it is told from other libvirtds and their guests. When standard input closes, for whatever reason the parent went away
(SIGKILL included), every process of the namespace is killed and DIRECTORY is removed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

# /run wholly, not only /run/libvirt: the latter need not exist, and must not come into being on the machine.
BOUND = {
    "run": "/run",
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}


def others():
    """Processes of this mount namespace but for us."""
    mine = os.stat("/proc/self/ns/mnt").st_ino
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            if os.stat(f"/proc/{entry}/ns/mnt").st_ino == mine:
                found.append(int(entry))
        except OSError:
            pass  # it ended, or is a zombie
    return found


def cgroups(pids):
    """Directories of the machine's cgroup trees that libvirt made for guests: ".../machine/qemu-1-name.libvirt-qemu"."""
    found = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as f:
                paths = [line.rstrip("\n").split(":", 2)[1:] for line in f]
        except OSError:
            continue
        for controllers, path in paths:
            head, mark, _ = path.partition(".libvirt-qemu")
            tree = controllers.removeprefix("name=") or "unified"
            for root in (f"/sys/fs/cgroup/{tree}", "/sys/fs/cgroup"):
                if mark and os.path.isdir(root + head + mark):
                    found.add(root + head + mark)
    return found


def remove_cgroups(found):
    for top in found:
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                pass  # still in use by something that is not ours


def kill_all(seconds):
    deadline = time.monotonic() + seconds
    while (pids := others()) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
    return not pids


def main():
    directory = sys.argv[1]
    os.setsid()
    if sys.argv[2:] and sys.argv[2]:
        socket.sethostname(sys.argv[2])
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(sig, signal.SIG_IGN)
    for name, target in BOUND.items():
        source = os.path.join(directory, name)
        os.makedirs(source, exist_ok=True)
        if not os.path.isdir(target):
            print(f"there is no {target}: is libvirtd installed?", flush=True)
            sys.exit(1)
        subprocess.run(["mount", "--bind", source, target], check=True)
    print("ready", flush=True)
    sys.stdin.buffer.read()
    groups = cgroups(others())
    clean = kill_all(20)
    remove_cgroups(groups)
    os.chdir("/")
    shutil.rmtree(directory, ignore_errors=True)
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
