# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Run by tools/check inside the emulated host: of a build made on the machine, the system tests marked "scenario": a guest
# starts, another one comes, cores run short, CPUs go, vbmqd is killed, and so on, on a host with nodes and SMT. The others would
# take half an hour more: everything is emulated there, guests twice, and times are ten times those of the machine.
build=$1
export PYTEST_ADDOPTS="${PYTEST_ADDOPTS-} -m scenario"
rc=0
# The host's own tests are alone: when they take a CPU away, Linux 6.1 forgets everybody's affinity.
for names in 'system-daemon system-change' system-host; do
	# shellcheck disable=SC2086
	meson test -C "$build" --no-rebuild --print-errorlogs -t 10 --logbase "testlog-${names##* }" $names || rc=1
done
cp "$build"/meson-logs/testlog-* "$VBMQ_OUT/"
exit $rc
