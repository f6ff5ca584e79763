# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Run by tools/check inside the emulated host: those system tests of a build made on the machine whose result depends on the
# host (placement, hot-plug, drift, crashes); those of lib/virt and of vbmqctl look at libvirt and at files. Everything is emulated here, guests twice: times are ten
# times those of the machine.
build=$1
mapfile -t names < <(meson test -C "$build" --no-rebuild --list --suite system |
	sed 's|.* / ||' | grep -xE 'system-(daemon|host|change)')
meson test -C "$build" --no-rebuild --print-errorlogs -t 10 "${names[@]}"
rc=$?
cp "$build"/meson-logs/testlog.* "$VBMQ_OUT/"
exit $rc
