# SPDX-License-Identifier: LGPL-2.1-or-later
"""vbmqctl, as its user calls it."""

import json
import os
import shutil
import subprocess
import tempfile

from .documents import validate
from .proc import SCALE


class Ctl:
    """Calls on one libvirtd and one bus, with directories of its own for records. ok: exit statuses that are no error."""

    def __init__(self, uri, bus):
        self.program = os.path.join(os.environ["VBMQ_BUILD"], "cli", "vbmqctl")
        self.uri, self.bus = uri, bus
        self.dir = tempfile.mkdtemp(prefix="vbmqctl-")
        self.options = ["--connect", uri, "--bus", bus.address, "--no-color"]

    @property
    def undo_path(self):
        return f"{self.dir}/run/undo.json"

    def undo(self):
        with open(self.undo_path, encoding="utf-8") as f:
            return json.load(f)

    def command(self, verb, *args):
        own = []
        if verb == "configure":
            own = ["--state-dir", f"{self.dir}/state"]
        elif "--direct" in args and verb in ("apply", "rebalance", "verify", "restore", "capture", "doctor"):
            own = ["--run-dir", f"{self.dir}/run"]
        return [self.program, verb, *self.options, *own, *args]

    def run(self, verb, *args, ok=(0,)):
        """The finished process, its output as text."""
        done = subprocess.run(self.command(verb, *args), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120 * SCALE, check=False)
        assert done.returncode in ok, (verb, args, done.returncode, done.stdout[-2000:], done.stderr)
        return done

    def json(self, verb, *args, ok=(0,)):
        """(exit status, document); the document is judged by its schema, if it has one."""
        done = self.run(verb, "--json", *args, ok=ok)
        document = json.loads(done.stdout)
        kind = document["schema"].split("/")[0].removeprefix("vbmq-")
        if kind in ("plan", "report", "snapshot", "explain", "stats", "rebalance"):
            validate(document, kind)
        return done.returncode, document

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)
