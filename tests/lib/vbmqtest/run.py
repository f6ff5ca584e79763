# SPDX-License-Identifier: LGPL-2.1-or-later
"""python3 -m vbmqtest.run FILE...: pytest for meson; exit 77 (skipped) where system tests cannot run, and says why."""

import os
import shutil
import sys

import pytest


def missing():
    if os.geteuid() != 0:
        return "not root"
    for program in ("libvirtd", "virsh", "qemu-system-x86_64", "unshare", "nsenter"):
        if not shutil.which(program):
            return f"no {program}"
    return None


if __name__ == "__main__":
    if why := missing():
        print(f"skipped: system tests need root, libvirt and QEMU: {why}")
        sys.exit(77)
    if os.path.basename(sys.argv[1]) == "test_site.py" and not os.environ.get("VBMQ_EMULATED_HOST"):
        print("skipped: it changes the host: only for the emulated one (tools/emulated-host)")
        sys.exit(77)
    sys.exit(pytest.main(["-q", "-rA", "--tb=short", "-p", "no:cacheprovider", *sys.argv[1:]]))
