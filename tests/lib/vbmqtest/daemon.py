# SPDX-License-Identifier: LGPL-2.1-or-later
"""A vbmqd under test, and its D-Bus calls as plain methods."""

import json
import os
import shutil
import signal
import subprocess
import tempfile

import dbus
import dbus.bus

from .proc import SCALE, wait_for

MANAGER = "org.vbmq1.Manager"


class CallError(Exception):
    """name: the D-Bus error's name without its prefix."""

    def __init__(self, error):
        super().__init__(error.get_dbus_message())
        self.name = error.get_dbus_name().rsplit(".", 1)[1]


def document(descriptor):
    """The JSON in a memfd."""
    with os.fdopen(descriptor.take(), "rb") as f:
        return json.loads(os.pread(f.fileno(), os.fstat(f.fileno()).st_size, 0))


class Vbmqd:
    """program: path of vbmqd. bus: a Bus. conf: text of the configuration. Not started."""

    def __init__(self, program, bus, uri=None, conf="", args=()):
        self.program = program
        self.bus = bus
        self.dir = tempfile.mkdtemp(prefix="vbmqd-")
        self.conf = f"{self.dir}/vbmqd.conf"
        self.run_dir = f"{self.dir}/run"
        self.log_path = f"{self.dir}/log"
        self.write_conf(conf)
        # A test never touches the machine it runs on: guests are its own, slices and irqbalance are not.
        os.mkdir(self.conf + ".d")
        with open(self.conf + ".d/00-host.conf", "w", encoding="utf-8") as f:
            f.write("[host]\nslices=no\nirqbalance=no\ninterrupts=no\nnova=no\n")
        self.args = ["--config", self.conf, "--run-dir", self.run_dir, "--bus", bus.address, "--debug", *args]
        if uri:
            self.args += ["--uri", uri]
        self.process = None
        self._connection = None

    def write_conf(self, text):
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(text)

    def start(self, wait=True, env=None):
        assert self.process is None
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.program, *self.args], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, **(env or {})))
        if wait:
            wait_for(lambda: self.process.poll() is not None or self.bus.owner("org.vbmq1"), 30, "vbmqd on its bus")
            assert self.process.poll() is None, self.log
        return self

    @property
    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    @property
    def undo_path(self):
        return f"{self.run_dir}/undo.json"

    def undo(self):
        with open(self.undo_path, encoding="utf-8") as f:
            return json.load(f)

    def end(self, sig=signal.SIGTERM, timeout=20):
        """Ends the process by a signal; its exit status."""
        process, self.process = self.process, None
        self._connection = None
        process.send_signal(sig)
        return process.wait(timeout * SCALE)

    def stop(self):
        """Ends it, if it runs, and removes its files. A sanitizer's complaint is a failure."""
        log = ""
        try:
            if self.process:
                if self.process.poll() is None:
                    self.end()
                else:
                    self.process = None
        finally:
            log = self.log if os.path.exists(self.log_path) else ""
            shutil.rmtree(self.dir, ignore_errors=True)
        assert "Sanitizer" not in log, log

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    # --- the bus ---

    def connection(self):
        if self._connection is None:
            self._connection = dbus.bus.BusConnection(self.bus.address)
        return self._connection

    def object(self, path="/org/vbmq1"):
        return self.connection().get_object("org.vbmq1", path, introspect=False)

    def call(self, method, *args, interface=MANAGER, path="/org/vbmq1", signature=None, timeout=60):
        try:
            return self.object(path).get_dbus_method(method, interface)(*args, signature=signature, timeout=timeout * SCALE)
        except dbus.DBusException as e:
            raise CallError(e) from None

    def get(self, name, interface=MANAGER, path="/org/vbmq1"):
        return self.call("Get", interface, name, interface="org.freedesktop.DBus.Properties", path=path)

    def snapshot(self):
        return document(self.call("GetSnapshot"))

    def plan(self):
        """(id, document) of the newest plan."""
        plan_id, fd = self.call("GetPlan")
        return str(plan_id), document(fd)

    def fresh_plan(self):
        plan_id, fd = self.call("Plan", dbus.Dictionary({}, signature="sv"))
        return str(plan_id), document(fd)

    def explain(self, domain=""):
        return document(self.call("Explain", domain))

    def verify(self):
        return document(self.call("Verify"))

    def report(self):
        return document(self.call("GetReport"))

    def apply(self, plan_id="", **options):
        values = dbus.Dictionary({k.replace("_", "-"): v for k, v in options.items()}, signature="sv")
        return document(self.call("Apply", plan_id, values))

    def restore(self, domain=""):
        return document(self.call("Restore", domain))

    def domains(self):
        """{name: (uuid, capability, state)}"""
        return {str(n): (str(u), str(c), str(s)) for n, u, c, s in self.call("ListDomains")}

    def wait_state(self, *states, timeout=30):
        wait_for(lambda: str(self.get("State")) in states, timeout, f"state {' or '.join(states)}")

    def wait_verdict(self, *verdicts, timeout=30):
        wait_for(lambda: str(self.get("Verdict")) in verdicts and str(self.get("State")) in ("idle", "paused"), timeout,
                 f"verdict {' or '.join(verdicts)}")
