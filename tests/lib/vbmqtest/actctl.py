# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests/system/actctl.c as a Python object."""

import json
import os
import subprocess


class Actctl:
    """One process, one connection. Every call returns the answer's dictionary; failed() tells an error."""

    def __init__(self, uri, timeout_ms=10000):
        self.process = subprocess.Popen([os.environ["VBMQ_ACTCTL"], uri, str(timeout_ms)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=dict(os.environ, LC_ALL="C"))
        self.opened = json.loads(self.process.stdout.readline())

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"actctl ended with {self.process.wait(10)}")
        answer = json.loads(line)
        assert "usage" not in answer, (words, answer)
        return answer

    def ok(self, *words):
        answer = self(*words)
        assert "error" not in answer, (words, answer)
        return answer

    def events(self):
        return self("events")["events"]

    def close(self, timeout=30):
        """Ends it in order; returns the exit status (a sanitizer's finding is not 0)."""
        if self.process.poll() is None:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self.process.stdout.close()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, exception, *rest):
        status = self.close()
        assert exception or status == 0, f"actctl ended with {status}"
