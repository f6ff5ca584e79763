# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/record-host on the hand-made trees: what it keeps must give the same answers as what it read."""
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
MANIFESTS = sorted((SOURCE / "tests/data/sysfs").glob("*.txt"))
CHECKER = os.environ.get("VBMQ_TEST_BLOCKDEV")


def unpack(manifest, root):
    expects = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        if line.startswith("? "):
            expects.append(line)
        if not line.startswith("/"):
            continue
        if line.endswith("/") and " = " not in line:
            (root / line[1:]).mkdir(parents=True, exist_ok=True)
        elif " =" in line:
            path, value = line.split(" =", 1)
            target = root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(value[1:].replace("\\n", "\n") + "\n" if value else "", encoding="utf-8")
        else:
            path, link = line.split(" -> ", 1)
            target = root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(link)
    return expects


@pytest.mark.skipif(not CHECKER, reason="run by meson: VBMQ_TEST_BLOCKDEV names the checker")
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda p: p.stem)
def test_round_trip(manifest, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    expects = unpack(manifest, root)
    subprocess.run([sys.executable, SOURCE / "tools/record-host", "--sysroot", root, "--by-id", "--mounts",
                    tmp_path / "again"], check=True)
    again = tmp_path / "again.txt"
    # device names and links are recorded; images and names that no class entry has are not
    recorded = again.read_text(encoding="utf-8")
    kept = [e for e in expects if f"\n{e.split()[1]} =" in recorded or f"\n{e.split()[1]} ->" in recorded]
    # a loop device needs its image, which the recorder leaves alone
    kept = [e for e in kept if "/dev/loop" not in e]
    assert kept or manifest.stem in ("filesystems",)
    again.write_text(recorded + "\n".join(kept) + "\n", encoding="utf-8")
    if kept:
        done = subprocess.run([CHECKER, again], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
