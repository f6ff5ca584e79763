# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests without an operating system: they start in a fraction of a second, under TCG, and have all threads a real one has."""

import json
import os
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from .proc import tasks, wait_for


@dataclass
class Disk:
    """A virtio disk. iothread: one I/O thread for all queues; mapping: [(iothread, [queues] or None), ...]"""

    target: str = "vda"
    queues: int = None
    iothread: int = None
    mapping: list = field(default_factory=list)
    source: str = None
    size: int = 1 << 20


def disk_xml(disk, path):
    attributes = "name='qemu' type='raw'"
    if disk.queues:
        attributes += f" queues='{disk.queues}'"
    if disk.iothread:
        attributes += f" iothread='{disk.iothread}'"
    inner = ""
    if disk.mapping:
        for iothread, queues in disk.mapping:
            ids = "".join(f"<queue id='{q}'/>" for q in queues or [])
            inner += f"<iothread id='{iothread}'>{ids}</iothread>" if ids else f"<iothread id='{iothread}'/>"
        inner = f"<iothreads>{inner}</iothreads>"
    return (f"<disk type='file' device='disk'><driver {attributes}>{inner}</driver>"
            f"<source file={quoteattr(path)}/><target dev='{disk.target}' bus='virtio'/></disk>")


def domain_xml(name, directory, emulator, vcpus=2, memory_mib=32, disks=1, iothreads=0, vcpupin=None, iothreadpin=None,
               emulatorpin=None, metadata=None, cpuset=None, max_vcpus=None, kernel=None, initrd=None, cmdline="",
               devices="", extra=""):
    """The XML of a small guest. disks: a number, or a list of Disk. metadata: XML of the vbmq element.
    vcpupin, iothreadpin: {id: "cpulist"}. kernel, initrd, cmdline: a real Linux guest. devices, extra: raw XML."""
    if isinstance(disks, int):
        disks = [Disk("vd" + chr(ord("a") + i)) for i in range(disks)]
    text = [f"<domain type='qemu'><name>{escape(name)}</name>"]
    if metadata:
        text.append(f"<metadata>{metadata}</metadata>")
    text.append(f"<memory unit='MiB'>{memory_mib}</memory>")
    vcpu = f" cpuset='{cpuset}'" if cpuset else ""
    if max_vcpus:
        vcpu += f" current='{vcpus}'"
    text.append(f"<vcpu placement='static'{vcpu}>{max_vcpus or vcpus}</vcpu>")
    if iothreads:
        text.append(f"<iothreads>{iothreads}</iothreads>")
    tune = "".join(f"<vcpupin vcpu='{i}' cpuset='{c}'/>" for i, c in sorted((vcpupin or {}).items()))
    tune += f"<emulatorpin cpuset='{emulatorpin}'/>" if emulatorpin else ""
    tune += "".join(f"<iothreadpin iothread='{i}' cpuset='{c}'/>" for i, c in sorted((iothreadpin or {}).items()))
    if tune:
        text.append(f"<cputune>{tune}</cputune>")
    boot = f"<kernel>{escape(kernel)}</kernel>" if kernel else ""
    boot += f"<initrd>{escape(initrd)}</initrd>" if initrd else ""
    boot += f"<cmdline>{escape(cmdline)}</cmdline>" if cmdline else ""
    text.append(f"<os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os><features><acpi/><apic/></features>")
    text.append(f"{extra}<devices><emulator>{escape(emulator)}</emulator>")
    for disk in disks:
        path = disk.source or os.path.join(directory, f"{name}-{disk.target}.raw")
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.truncate(disk.size)
        text.append(disk_xml(disk, path))
    text.append("<controller type='usb' model='none'/><memballoon model='none'/>")
    text.append(f"{devices}</devices></domain>")
    return "".join(text)


class Guest:
    """A defined guest of one Libvirtd."""

    def __init__(self, libvirtd, name):
        self.libvirtd = libvirtd
        self.name = name

    def virsh(self, command, *args, **kw):
        return self.libvirtd.virsh(command, self.name, *args, **kw)

    def start(self, running=False):
        self.virsh("start", *([] if running else ["--paused"]))
        return self

    def destroy(self):
        self.virsh("destroy")

    def undefine(self):
        self.virsh("undefine", "--nvram", check=False)

    @property
    def uuid(self):
        return self.virsh("domuuid").strip()

    @property
    def id(self):
        return int(self.virsh("domid").strip())

    @property
    def pid(self):
        """Of QEMU, as libvirt wrote it down; 0 when it does not run."""
        try:
            with open(f"{self.libvirtd.pidfiles}/{self.name}.pid", encoding="ascii") as f:
                return int(f.read())
        except FileNotFoundError:
            return 0

    def xml(self, inactive=False):
        return self.virsh("dumpxml", *(["--inactive"] if inactive else []))

    def qmp(self, command, **arguments):
        """A monitor command; the "return" part of the answer."""
        text = json.dumps({"execute": command, "arguments": arguments} if arguments else {"execute": command})
        reply = json.loads(self.virsh("qemu-monitor-command", text))
        if "error" in reply:
            raise RuntimeError(f"{command}: {reply['error']}")
        return reply["return"]

    def threads(self):
        """Threads by what they are: "vcpu0", "iothread1", "main"; the others by name and tid."""
        known = {c["thread-id"]: f"vcpu{c['cpu-index']}" for c in self.qmp("query-cpus-fast")}
        known.update({i["thread-id"]: i["id"] for i in self.qmp("query-iothreads")})
        pid = self.pid
        known[pid] = "main"
        return {known.get(t.tid, f"{t.name}/{t.tid}"): t for t in tasks(pid).values()}

    def affinities(self):
        """{tid: frozenset of CPUs} of every thread, without asking the monitor."""
        return {t.tid: t.affinity for t in tasks(self.pid).values()}

    def wait_gone(self, timeout=10):
        pid = self.pid
        wait_for(lambda: not pid or not os.path.exists(f"/proc/{pid}"), timeout, f"{self.name} to end")
