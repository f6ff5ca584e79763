#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tools/demo runs, here or on the emulated host: a libvirtd, a bus and a vbmqd of its own, and one of the shows."""
import argparse
import os
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "tests", "lib")]
from demo_live import LiveShow  # noqa: E402
from demo_show import say  # noqa: E402
from demo_stock import StockShow  # noqa: E402
from vbmqtest import Libvirtd  # noqa: E402
from vbmqtest.bus import Bus  # noqa: E402


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", required=True)
    p.add_argument("--guest", help="directory with vmlinuz and initrd; not needed when nested")
    p.add_argument("--emulator", help="the QEMU with the project's patches; without: the one that is installed")
    p.add_argument("--nested", action="store_true", help="the host is emulated itself: guests are paused")
    options = p.parse_args()
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(143))
    scratch = tempfile.mkdtemp(prefix="vbmq-show-")
    try:
        with Bus() as bus, Libvirtd(emulator=options.emulator) as lv:
            show = (LiveShow if options.emulator else StockShow)(options, lv, bus, scratch)
            try:
                show.run()
            except Exception as e:  # pylint: disable=broad-except
                show.wrong.append("the show broke off: %s" % e)
                if os.path.exists(show.vbmqd.log_path):
                    say("\nthe end of vbmqd's log:\n" + "\n".join(show.vbmqd.log.splitlines()[-25:]))
            finally:
                show.vbmqd.stop()
            return show.verdict()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
