# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Run by tools/check inside the emulated host: the system suite of a build made on the machine.
build=$1
# Everything is emulated here, guests twice: times are ten times those of the machine.
meson test -C "$build" --no-rebuild --print-errorlogs --suite system -t 10
rc=$?
cp "$build"/meson-logs/testlog.* "$VBMQ_OUT/"
exit $rc
