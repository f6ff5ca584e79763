# SPDX-License-Identifier: LGPL-2.1-or-later
"""vbmqd as an operator has it: installed, a unit of the host's own systemd, on the system bus, with the host's own libvirtd,
machined and irqbalance. All of this changes the host, so it is for the emulated one (tools/emulated-host)."""

import glob
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

from .bus import Bus
from .daemon import Vbmqd
from .guest import Guest, domain_xml
from .libvirtd import Libvirtd
from .picture import CGROUPS, read, run
from .proc import SCALE, cpulist, wait_for

PARTS = ("init.scope", "system.slice", "user.slice")  # what vbmqd may limit


class SystemBus(Bus):
    """The host's own."""

    def __init__(self):  # pylint: disable=super-init-not-called
        self.polkit = self.process = None

    @property
    def address(self):
        return "unix:path=/run/dbus/system_bus_socket"

    def stop(self):
        pass


class SystemLibvirtd(Libvirtd):
    """The host's own. stop() ends the guests that were made here, and no others."""

    def __init__(self):  # pylint: disable=super-init-not-called
        self.emulator = "/usr/bin/qemu-system-x86_64"
        self.env = dict(os.environ, LC_ALL="C")
        self.dir = tempfile.mkdtemp(prefix="vbmqtest-")
        self.guests = {}
        self.process = None
        os.chmod(self.dir, 0o755)
        os.mkdir(f"{self.dir}/disks")
        # A client that cannot answer for half a minute is slow here, not gone.
        with open("/etc/libvirt/libvirtd.conf", "a", encoding="ascii") as f:
            f.write("\nkeepalive_interval = -1\n")
        run("systemctl", "try-restart", "libvirtd")

    uri = "qemu:///system"
    pidfiles = "/run/libvirt/qemu"

    def stop(self):
        self.virsh("; ".join(f"destroy {name}; undefine {name}" for name in self.guests), check=False, timeout=600)
        shutil.rmtree(self.dir, ignore_errors=True)

    def define_all(self, xmls):
        """{name: keywords of domain_xml}; one call, for each takes a second where everything is emulated."""
        commands = []
        for name, kw in xmls.items():
            path = f"{self.dir}/disks/{name}.xml"
            with open(path, "w", encoding="utf-8") as f:
                f.write(domain_xml(name, emulator=self.emulator, directory=f"{self.dir}/disks", **kw))
            commands.append(f"define {path}")
            self.guests[name] = Guest(self, name)
        self.virsh("; ".join(commands), timeout=600)
        return [self.guests[name] for name in xmls]

    def start_all(self, guests, starters=4, meanwhile=lambda: None):
        """Starts them together, paused, as many at once as there are starters; calls meanwhile() until all are started."""
        failed = []

        def work(part):
            try:
                self.virsh("; ".join(f"start --paused {g.name}" for g in part), timeout=600)
            except Exception as e:  # pylint: disable=broad-except
                failed.append(e)

        threads = [threading.Thread(target=work, args=(guests[i::starters],)) for i in range(starters)]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            meanwhile()
            for t in threads:
                t.join(1)
        assert not failed, failed
        assert all(g.pid for g in guests)


class Unit(Vbmqd):
    """vbmqd of a build, installed and run by systemd. conf: text of the configuration."""

    def __init__(self, build, conf=""):  # pylint: disable=super-init-not-called
        source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        with open(f"{build}/daemon/data/vbmqd.service", encoding="ascii") as f:
            unit = f.read()
        self.bus = SystemBus()
        self.process = self._connection = None
        self.program = re.search(r"^ExecStart=(\S+)$", unit, re.M)[1]
        self.ctl_program = f"{build}/cli/vbmqctl"
        self.conf = "/etc/vbmqd-test.conf"
        self.run_dir = "/run/vbmq"
        self.write_conf(conf)
        os.makedirs(os.path.dirname(self.program), exist_ok=True)
        shutil.copy(f"{build}/daemon/vbmqd", self.program)
        shutil.copy(f"{build}/daemon/data/vbmqd.service", "/etc/systemd/system/vbmqd.service")
        shutil.copy(f"{source}/daemon/data/org.vbmq1.policy", "/usr/share/polkit-1/actions/")
        shutil.copy(f"{source}/daemon/data/org.vbmq1.conf", "/etc/dbus-1/system.d/")
        os.makedirs("/etc/systemd/system/vbmqd.service.d", exist_ok=True)
        with open("/etc/systemd/system/vbmqd.service.d/test.conf", "w", encoding="ascii") as f:
            f.write(f"[Service]\nExecStart=\nExecStart={self.program} --config {self.conf} --debug\n"
                    f"WatchdogSec={int(30 * SCALE)}\nTimeoutStartSec={int(60 * SCALE)}\nTimeoutStopSec={int(10 * SCALE)}\n")
        run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig")
        run("systemctl", "daemon-reload")

    def start(self, wait=True, env=None):
        run("systemctl", "start", "vbmqd")
        return self

    def restart(self):
        self._connection = None
        run("systemctl", "restart", "vbmqd")

    def stop(self):
        self._connection = None
        run("systemctl", "stop", "vbmqd")

    @property
    def log(self):
        return run("journalctl", "-b", "-u", "vbmqd", "-o", "cat", "--no-pager")

    @property
    def pid(self):
        return int(run("systemctl", "show", "-P", "MainPID", "vbmqd"))

    def vbmqctl(self, *args, ok=(0,)):
        """vbmqctl as its user calls it: it finds libvirtd and vbmqd itself."""
        done = subprocess.run([self.ctl_program, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120 * SCALE, check=False)
        assert done.returncode in ok, (args, done.returncode, done.stdout[-2000:], done.stderr)
        return done.stdout


# --- the host, without any code of the toolkit ---------------------------------------------------------------------------


def set_online(cpu, value):
    with open(f"/sys/devices/system/cpu/cpu{cpu}/online", "w", encoding="ascii") as f:
        f.write(str(value))


def limits():
    """{unit: its AllowedCPUs, as systemd tells and as Linux has it}; both empty or all CPUs: no limit."""
    found = {}
    for part in PARTS:
        told = run("systemctl", "show", "--property=AllowedCPUs", "--value", part)
        found[part] = frozenset(cpulist(told.replace(" ", ","))), frozenset(cpulist(read(f"{CGROUPS}/{part}/cpuset.cpus") or ""))
    return found


def _connect(s, path):
    """It takes one caller at a time, and none while it scans."""
    try:
        s.connect(path)
    except BlockingIOError:
        return False
    return True


def irqbalance_banned():
    """The CPUs that irqbalance keeps interrupts away from, as it says itself."""
    path = glob.glob("/run/irqbalance/irqbalance*.sock")[0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(60 * SCALE)
        wait_for(lambda: _connect(s, path), 60, "irqbalance to listen")
        me = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
        s.sendmsg([b"setup"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, me)])
        text = b""
        while part := s.recv(65536):
            text += part
    banned = re.search(r"BANNED ([0-9a-f,]*)", text.decode())
    mask = int(banned[1].replace(",", "") or "0", 16)
    return frozenset(i for i in range(mask.bit_length()) if mask >> i & 1)


def restart_irqbalance(**environment):
    """Starts it anew, with this in its environment as /etc/default/irqbalance would have it."""
    directory = "/run/systemd/system/irqbalance.service.d"
    shutil.rmtree(directory, ignore_errors=True)
    if environment:
        os.makedirs(directory)
        with open(f"{directory}/test.conf", "w", encoding="ascii") as f:
            f.write("[Service]\n" + "".join(f"Environment={k}={v}\n" for k, v in environment.items()))
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "irqbalance")
    wait_for(lambda: glob.glob("/run/irqbalance/irqbalance*.sock"), 60, "irqbalance to listen")
