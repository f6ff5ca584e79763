# SPDX-License-Identifier: LGPL-2.1-or-later
"""A libvirtd of one's own: private configuration, state, sockets and guests; needs root, but no systemd.

Any number can run side by side. The machine's own libvirt, if there is one, is neither used nor seen: see guardian.py.
"""

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref

from .guest import Guest, domain_xml
from .proc import SCALE, wait_for

LIBVIRTD_CONF = """\
unix_sock_dir = "{dir}/sock"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_filters = "3:util.netlink 3:remote 4:event"
log_outputs = "2:file:{dir}/libvirtd.log"
host_uuid = "{uuid}"
"""

QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
stdio_handler = "file"
remember_owner = 0
relaxed_acs_check = 1
"""

_live = weakref.WeakSet()


@atexit.register
def _stop_all():
    for libvirtd in list(_live):
        libvirtd.stop()


class VirshError(Exception):
    pass


class Libvirtd:
    """cgroups: let libvirt use the machine's cgroups (names of guests must then be unique on the machine).
    emulator: path of another QEMU. qemu_conf: more lines for it. libvirtd_conf: more lines for libvirtd.conf.
    env: more environment for libvirtd. hostname: another name of the host, so that guests can migrate here from another one."""

    def __init__(self, cgroups=False, emulator=None, qemu_conf="", env=None, libvirtd_conf="", hostname=None):
        if os.geteuid() != 0:
            raise RuntimeError("a private libvirtd needs root")
        if not shutil.which("libvirtd"):
            raise RuntimeError("libvirtd is not installed (tools/deps does it)")
        self.emulator = emulator or "/usr/bin/qemu-system-x86_64"
        self.env = dict(os.environ, LC_ALL="C", **(env or {}))
        self.dir = tempfile.mkdtemp(prefix="vbmqtest-")
        os.chmod(self.dir, 0o755)
        self.process = None
        self.guests = {}
        self._guardian = None
        try:
            self._prepare(cgroups, qemu_conf, libvirtd_conf, hostname)
            _live.add(self)
            self.start()
        except BaseException:
            self.stop()
            raise

    def _prepare(self, cgroups, qemu_conf, libvirtd_conf, hostname):
        for name in ("etc", "run", "lib", "log", "cache", "sock", "disks"):
            os.mkdir(os.path.join(self.dir, name))
        with open("/proc/sys/kernel/random/uuid", encoding="ascii") as f:
            uuid = f.read().strip()
        conf = LIBVIRTD_CONF.format(dir=self.dir, uuid=uuid) + libvirtd_conf
        with open(f"{self.dir}/etc/libvirtd.conf", "w", encoding="ascii") as f:
            f.write(conf)
        with open(f"{self.dir}/etc/qemu.conf", "w", encoding="ascii") as f:
            f.write(QEMU_CONF + ("" if cgroups else "cgroup_controllers = []\n") + qemu_conf)
        # What the machine's own libvirtd found out about QEMU, if it did: libvirt checks that it still holds.
        with contextlib.suppress(FileNotFoundError):
            shutil.copytree("/var/cache/libvirt/qemu/capabilities", f"{self.dir}/cache/qemu/capabilities")
        guardian = os.path.join(os.path.dirname(__file__), "guardian.py")
        self._guardian = subprocess.Popen(
            ["unshare", "--mount", "--uts", "--propagation", "private", sys.executable, guardian, self.dir, hostname or ""],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answer = self._guardian.stdout.readline().strip()
        if answer != "ready":
            raise RuntimeError(f"no private libvirt world: {answer or 'unshare failed'}")

    @property
    def socket(self):
        return f"{self.dir}/sock/libvirt-sock"

    @property
    def uri(self):
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def pidfiles(self):
        """The directory in which it writes down which process a guest is."""
        return f"{self.dir}/run/libvirt/qemu"

    @property
    def log(self):
        """What libvirtd had to say (warnings and errors)."""
        with contextlib.suppress(FileNotFoundError):
            with open(f"{self.dir}/libvirtd.log", encoding="utf-8", errors="replace") as f:
                return f.read()
        return ""

    def in_world(self, *command, **popen):
        """Starts a command inside the private mount namespace."""
        return subprocess.Popen(["nsenter", "-t", str(self._guardian.pid), "--mount", "--uts", "--wdns=/", "--", *command], **popen)

    def start(self):
        """Starts libvirtd (again); guests that still run are taken over."""
        assert self.process is None
        for name in ("libvirt-sock", "libvirt-sock-ro", "libvirt-admin-sock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.dir}/sock/{name}")
        with open(f"{self.dir}/libvirtd.out", "ab") as out:
            self.process = self.in_world("libvirtd", "-f", f"{self.dir}/etc/libvirtd.conf", "-p", f"{self.dir}/libvirtd.pid",
                                         stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env)

        def answers():
            if self.process.poll() is not None:
                with open(f"{self.dir}/libvirtd.out", encoding="utf-8", errors="replace") as f:
                    raise RuntimeError(f"libvirtd ended at once: {f.read()}\n{self.log}")
            return os.path.exists(self.socket) and self.virsh("uri", check=False).returncode == 0

        wait_for(answers, 60, "libvirtd to answer")
        return self

    def kill(self, sig=signal.SIGKILL):
        """Ends libvirtd alone; its guests live on."""
        process, self.process = self.process, None
        if process and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(sig)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def restart(self, sig=signal.SIGTERM):
        self.kill(sig)
        return self.start()

    def stop(self):
        """Ends libvirtd and every guest, and removes all traces. Harmless when done before."""
        self.kill()
        guardian, self._guardian = self._guardian, None
        if guardian:
            guardian.stdin.close()
            guardian.wait(30)
            guardian.stdout.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        _live.discard(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def virsh(self, *args, check=True, timeout=60):
        done = subprocess.run(["virsh", "-q", "-k", "0", "-c", self.uri, *map(str, args)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout * SCALE, env=self.env, check=False)
        if check and done.returncode:
            raise VirshError(f"virsh {' '.join(map(str, args))}: {done.stderr.strip()}")
        return done if not check else done.stdout

    @property
    def maps(self):
        """Whether a disk's queues can be mapped to several I/O threads in XML: libvirt 10.0 and QEMU 9.0."""
        versions = dict(re.findall(r"(Using library: libvirt|Running hypervisor: QEMU) (\d+)", self.virsh("version")))
        return int(versions["Using library: libvirt"]) >= 10 and int(versions["Running hypervisor: QEMU"]) >= 9

    def define(self, name, **kw):
        """Defines a guest (keywords of domain_xml) with its disk files; not started."""
        xml = domain_xml(name, emulator=self.emulator, directory=f"{self.dir}/disks", **kw)
        path = f"{self.dir}/disks/{name}.xml"
        with open(path, "w", encoding="utf-8") as f:
            f.write(xml)
        self.virsh("define", path)
        self.guests[name] = guest = Guest(self, name)
        return guest

    def guest(self, name, running=False, **kw):
        """Defines and starts a guest; with its vCPUs stopped (no CPU time is spent) unless running."""
        return self.define(name, **kw).start(running)


def boot_time(function):
    """Seconds a call takes; for prints of tests and benchmarks."""
    begin = time.monotonic()
    function()
    return time.monotonic() - begin
