# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the system tests, the benchmarks and tools/demo share: private libvirtd instances, guests, and the truth of /proc.

    from vbmqtest import Libvirtd
    with Libvirtd() as lv:
        guest = lv.guest("db1", vcpus=2, disks=1, iothreads=1)
        guest.threads()["iothread1"].affinity
"""

from .guest import Disk, Guest, domain_xml
from .libvirtd import Libvirtd, VirshError
from .proc import Task, cpulist, format_cpulist, tasks, wait_for

__all__ = [
    "Disk",
    "Guest",
    "Libvirtd",
    "Task",
    "VirshError",
    "cpulist",
    "domain_xml",
    "format_cpulist",
    "tasks",
    "wait_for",
]
