# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import sys
import textwrap

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))

from vbmqtest.bus import Bus  # noqa: E402
from vbmqtest.daemon import Vbmqd  # noqa: E402

PROGRAM = os.environ["VBMQ_TEST_VBMQD"]
UUID = "11111111-2222-3333-4444-55555555555{}"

DOMAIN = """
<domain type='test'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>64</memory>
  <vcpu>2</vcpu>
  <iothreads>1</iothreads>
  <os><type arch='i686'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' queues='2' iothread='1'/>
      <source file='{dir}/{name}.raw'/>
      <target dev='vda' bus='virtio'/>
    </disk>
  </devices>
</domain>
"""

METADATA = "<vbmq:domain xmlns:vbmq='urn:vbmq:domain:1' enabled='yes'/>"


class TestDriver:
    """A world of libvirt's test driver: two domains that have no process and no monitor."""

    __test__ = False

    def __init__(self, directory):
        self.dir = directory
        names = []
        for i, (name, metadata) in enumerate((("alpha", METADATA), ("beta", ""))):
            with open(f"{directory}/{name}.xml", "w", encoding="utf-8") as f:
                f.write(DOMAIN.format(name=name, uuid=UUID.format(i), metadata=metadata, dir=directory))
            open(f"{directory}/{name}.raw", "wb").close()
            names.append(f"<domain file='{name}.xml'/>")
        with open(f"{directory}/node.xml", "w", encoding="utf-8") as f:
            f.write(textwrap.dedent(f"<node><cpu><nodes>1</nodes></cpu>{''.join(names)}</node>"))
        self.uri = f"test://{directory}/node.xml"


@pytest.fixture(name="bus")
def _bus():
    with Bus() as bus:
        yield bus


@pytest.fixture(name="world")
def _world(tmp_path):
    return TestDriver(str(tmp_path))


@pytest.fixture(name="make")
def _make(bus):
    """Makes daemons that are gone, with a look for sanitizer reports, after the test."""
    made = []

    def make(**kw):
        made.append(Vbmqd(PROGRAM, kw.pop("bus", bus), **kw))
        return made[-1]

    yield make
    for daemon in made:
        daemon.stop()


@pytest.fixture(name="vbmqd")
def _vbmqd(make, world):
    daemon = make(uri=world.uri).start()
    daemon.wait_verdict("ok", "drift", "infeasible")
    return daemon
