# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Run by tools/check inside the emulated host: the system suite of a build made on the machine, but for the tests of
# lib/virt alone, which look at libvirt and not at the host. Everything is emulated here, guests twice: times are ten
# times those of the machine.
build=$1
mapfile -t names < <(meson test -C "$build" --no-rebuild --list --suite system |
	sed 's|.* / ||' | grep -v '^system-virt')
meson test -C "$build" --no-rebuild --print-errorlogs -t 10 "${names[@]}"
rc=$?
cp "$build"/meson-logs/testlog.* "$VBMQ_OUT/"
exit $rc
