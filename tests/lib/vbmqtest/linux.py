# SPDX-License-Identifier: LGPL-2.1-or-later
"""Linux guests of tools/guest-image: what is run in them, and what they say of themselves."""

import os
import re
import subprocess

import pytest

from .proc import wait_for

BOOT, REPORT = 400, 120
# What a kernel does when the machine under it is short of CPU time, which is no fault of the guest's: it finds its timer dead
# and panics, and complains of stalls.
PATIENT = "no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
# A race of TCG while a guest with several vCPUs maps its devices; upstream's issue 1921, and nothing to do with disks.
TCG_RACE = "iotlb_to_section: Assertion `section_index < d->map.sections_nb' failed"
FIO = ["fio", "--eta=never", "--thread", "--ioengine=libaio", "--rw=read", "--bs=4k", "--iodepth=16", "--verify=crc32c",
       "--verify_fatal=1", "--output=/dev/null", "--name=image"]


def images():
    """{"kernel": path, "initrd": path, "initrd-small": path} of tools/guest-image; VBMQ_GUEST_IMAGE: a directory with copies."""
    copies = os.environ.get("VBMQ_GUEST_IMAGE")
    if copies:
        return {"kernel": f"{copies}/vmlinuz", "initrd": f"{copies}/initrd", "initrd-small": f"{copies}/initrd-small"}
    tool = os.path.join(os.path.dirname(__file__), "..", "..", "..", "tools", "guest-image")
    done = subprocess.run([tool, "--offline"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no Linux guest: {done.stderr.strip()[-200:]}")
    return dict(line.split("=", 1) for line in done.stdout.split())


def image_is_whole(path):
    """Every block of the disk's image carries the checksum that fio in the guest has put there."""
    return subprocess.run([*FIO, f"--filename={path}"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300,
                          check=False).returncode == 0


class Linux:
    """A booted guest. queues: of its disk, or of each of its disks. run: what its /init does (tools/lib/guest-init.sh)."""

    def __init__(self, lv, files, vcpus, queues, run, wish=None, small=False, more="", disk_mib=64, **kw):
        self.lv = lv
        self.console = f"{lv.dir}/disks/linux.console"
        self.control = None
        queues = [queues] if isinstance(queues, int) else queues
        self.disks = {f"vd{chr(ord('a') + i)}": f"{lv.dir}/disks/linux-{i}.raw" for i in range(len(queues))}
        for old in (self.console, *self.disks.values()):
            if os.path.exists(old):
                os.unlink(old)
        devices = (f"<serial type='file'><source path='{self.console}' append='on'/><target port='0'/></serial>"
                   "<serial type='pty'><target port='1'/></serial>")
        for (target, path), n in zip(self.disks.items(), queues):
            with open(path, "wb") as f:
                f.truncate(disk_mib << 20)
            devices += ("<disk type='file' device='disk'>"
                        f"<driver name='qemu' type='raw' cache='none' io='native' queues='{n}'/>"
                        f"<source file='{path}'/><target dev='{target}' bus='virtio'/></disk>")
        self.guest = lv.define(
            "linux", vcpus=vcpus, disks=0, devices=devices, metadata=wish, kernel=files["kernel"], memory_mib=384,
            initrd=files["initrd-small" if small else "initrd"],
            cmdline=f"console=ttyS0 quiet vbmq.interval=1 vbmq.control=ttyS1 {PATIENT} {run} {more}", **kw)
        for _ in range(4):
            self.guest.start(running=True)
            if self.boots():
                break
            os.unlink(self.console)
            os.unlink(f"{lv.dir}/log/qemu/linux.log")
        else:
            raise AssertionError("TCG has failed four times to boot the guest")
        assert not self.ended(), self.ended()
        wait_for(lambda: "run=none" in run or [r for r in self.records("IOPS") if r["read"] != "0"], BOOT, "its load to begin")

    def boots(self):
        """False if TCG has failed and the guest is to be started once more."""
        try:
            wait_for(lambda: self.records("READY") or self.ended(), BOOT / 2, "the guest to boot")
        except AssertionError as e:
            # Vcpus that wait for each other for ever have been seen with eight of them on two CPUs. It is not that if the
            # guest waits for its disks.
            waits = {target: self.outstanding(i) for i, target in enumerate(self.disks)}
            with open(self.console, encoding="utf-8", errors="replace") as f:
                said = f.read()[-400:]
            assert not any(waits.values()), f"{e}: requests without an answer: {waits}; it said: {said}"
            print(f"the guest is started once more: {e}, though all requests to its disks have been answered; it said: {said}")
            self.guest.destroy()
            return False
        if TCG_RACE not in (self.ended() or ""):
            return True
        print("the guest is started once more: QEMU's TCG has lost a race")
        wait_for(lambda: self.guest.virsh("domstate").strip() == "shut off", REPORT, "libvirt to know that QEMU ended")
        return False

    def outstanding(self, disk):
        """{queue: requests in its rings that are not answered, whether QEMU has taken them or not}; rings that are not set up
        hold none."""
        path = f"/machine/peripheral/virtio-disk{disk}/virtio-backend"
        found = {}
        for queue in range(self.guest.qmp("x-query-virtio-status", path=path)["num-vqs"]):
            if self.guest.qmp("x-query-virtio-queue-status", path=path, queue=queue)["vring-desc"]:
                rings = self.guest.qmp("x-query-virtio-queue-element", path=path, queue=queue)
                found[queue] = (rings["avail"]["idx"] - rings["used"]["idx"]) % 65536
        return {queue: n for queue, n in found.items() if n}

    def ended(self):
        """Why it cannot be expected to say anything any more; None while it can."""
        if not self.guest.pid:
            with open(f"{self.lv.dir}/log/qemu/linux.log", encoding="utf-8", errors="replace") as f:
                return f"QEMU ended: {f.read()[-400:]}"
        try:
            with open(self.console, encoding="utf-8", errors="replace") as f:
                panic = [x for x in f if "Kernel panic" in x]
        except FileNotFoundError:
            return None
        return panic[0] if panic else None

    def records(self, word):
        """The guest's own lines "VBMQ-word key=value ..." as dictionaries."""
        try:
            with open(self.console, encoding="utf-8", errors="replace") as f:
                return [dict(re.findall(r"(\w+)=(\S+)", x)) for x in f if x.startswith(f"VBMQ-{word} ") and x.endswith("\n")]
        except FileNotFoundError:
            return []

    def works(self):
        """Goes on: the next three reports of the guest itself show requests, and no error was seen."""
        have = len(self.records("IOPS"))
        wait_for(lambda: len(self.records("IOPS")) >= have + 3 * len(self.disks), REPORT, "the guest to report rates")
        assert not self.records("ERROR")
        rates = [int(r["read"]) + int(r["write"]) for r in self.records("IOPS")[have + len(self.disks):]]
        assert all(rates), rates
        return rates

    def moved(self, lv):
        """It has migrated: its libvirtd is another one now."""
        self.lv, self.guest.libvirtd = lv, lv
        self.close()

    def close(self):
        if self.control is not None:
            os.close(self.control)
            self.control = None

    def ask(self, command, word, n=1, timeout=REPORT):
        """A command for its /init; the n records with which that answers."""
        if self.control is None:
            pty = re.search(r"<serial type='pty'[^>]*>\s*<source path='([^']*)'", self.guest.xml())[1]
            # Kept open: QEMU listens only while somebody holds the other end.
            self.control = os.open(pty, os.O_WRONLY | os.O_NOCTTY)
        have = len(self.records(word))
        os.write(self.control, f"{command}\n".encode())
        wait_for(lambda: len(self.records(word)) >= have + n, timeout, f"the guest's answer to {command}")
        return self.records(word)[have:]

    def disk_records(self):
        """What the guest sees of each disk's device."""
        return {r.pop("disk"): r for r in self.ask("disk", "DISK", len(self.disks))}

    def ends_well(self):
        """Its load ended by itself without an error, all of its disks is what it wrote (as it says, and as the images say), and
        its kernel saw no trouble."""
        end = self.ask("end", "END", timeout=BOOT)[0]
        assert not self.records("ERROR") and not self.records("KERNEL"), (self.records("ERROR"), self.records("KERNEL"))
        assert end == {"load": "0", "verify": "0", "kernel": "0", "inflight": "0"}, end
        self.close()
        self.guest.destroy()
        for path in self.disks.values():
            assert image_is_whole(path), path
        return end
