# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Run by tools/check inside the emulated host: those system tests of a build made on the machine whose result depends on the
# host: nodes, SMT, CPUs that go, foreign pins. The others would take half an hour more there: everything is emulated, guests
# twice, and times are ten times those of the machine.
build=$1
export VBMQ_EMULATED=1
mapfile -t names < <(meson test -C "$build" --no-rebuild --list --suite system |
	sed 's|.* / ||' | grep -xE 'system-host')
meson test -C "$build" --no-rebuild --print-errorlogs -t 10 "${names[@]}"
rc=$?
cp "$build"/meson-logs/testlog.* "$VBMQ_OUT/"
exit $rc
