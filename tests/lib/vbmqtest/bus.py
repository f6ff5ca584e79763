# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private D-Bus with a polkitd played by dbusmock, if wanted."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

from .proc import SCALE, wait_for

CONF = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={dir}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
  </policy>
  {include}
</busconfig>
"""


class Bus:
    """include: path of a bus policy to load on top of the open one."""

    def __init__(self, include=None):
        self.dir = tempfile.mkdtemp(prefix="vbmqbus-")
        os.chmod(self.dir, 0o755)
        self.polkit = None
        self.include = f"<include>{include}</include>" if include else ""
        self.process = None
        self.start()

    @property
    def address(self):
        return f"unix:path={self.dir}/bus"

    def start(self):
        with open(f"{self.dir}/bus.conf", "w", encoding="ascii") as f:
            f.write(CONF.format(dir=self.dir, include=self.include))
        self.process = subprocess.Popen(["dbus-daemon", "--nofork", "--nopidfile", f"--config-file={self.dir}/bus.conf"],
                                        stdin=subprocess.DEVNULL)
        wait_for(lambda: self.owner("org.freedesktop.DBus"), 20, "the private bus")

    def kill(self):
        self.process.kill()
        self.process.wait()
        os.unlink(f"{self.dir}/bus")

    def busctl(self, *args, uid=None):
        command = ["busctl", f"--address={self.address}", *args]
        if uid is not None:
            command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", *command]
        return subprocess.run(command, capture_output=True, text=True, timeout=60 * SCALE, check=False)

    @contextlib.contextmanager
    def monitor(self, interface):
        """Yields a function that gives all signals of the interface so far: [(member, arguments)]."""
        process = subprocess.Popen(["busctl", f"--address={self.address}", "--json=short",
                                    f"--match=type='signal',interface='{interface}'", "monitor"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)

        def heard():
            messages = [json.loads(line) for line in list(lines)]
            return [(m["member"], m["payload"]["data"]) for m in messages]

        try:
            assert "Monitoring" in process.stderr.readline()
            reader.start()
            yield heard
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()

    def owner(self, name):
        done = self.busctl("call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                           "NameHasOwner", "s", name)
        return done.returncode == 0 and "true" in done.stdout

    def start_polkit(self):
        """A polkitd that refuses everything until it is told otherwise."""
        env = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=self.address)
        self.polkit = subprocess.Popen(["/usr/bin/python3", "-m", "dbusmock", "--template", "polkitd"], env=env,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        wait_for(lambda: self.owner("org.freedesktop.PolicyKit1"), 20, "the mock of polkitd")

    def allow(self, *actions):
        done = self.busctl("call", "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                           "org.freedesktop.DBus.Mock", "SetAllowed", "as", str(len(actions)), *actions)
        assert done.returncode == 0, done.stderr

    def stop(self):
        for process in (self.polkit, self.process):
            if process and process.poll() is None:
                process.terminate()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
