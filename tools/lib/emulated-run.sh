# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs inside the emulated host (tools/emulated-host put it on the work disk): puts the trees where they were, waits until
# the system is up, runs the command with its output on the second serial port, sends back files and the exit code.
stty -F /dev/ttyS1 raw -echo 2>/dev/null
stty -F /dev/ttyS2 raw -echo 2>/dev/null
exec </dev/null >/dev/ttyS1 2>&1
while read -r tree; do
	mkdir -p "$tree" && mount --bind "/mnt/tree$tree" "$tree" || exit
done </mnt/trees
export VBMQ_OUT=/run/vbmq-out VBMQ_TIME_SCALE=10 # everything is emulated here, guests twice
mkdir -p "$VBMQ_OUT"
systemctl is-system-running --wait >/run/vbmq-state 2>&1
if ! grep -q running /run/vbmq-state; then
	echo "emulated host: the system is $(cat /run/vbmq-state): $(systemctl list-units --failed --plain --no-legend | tr '\n' ';')"
fi
read -r up _ </proc/uptime
echo "emulated host: up after $up s, $(nproc) CPUs, kernel $(uname -r)"
bash /mnt/command 2>&1 | cat # not a terminal: nobody is to draw progress bars
rc=${PIPESTATUS[0]}
journalctl -b -p warning --no-pager >"$VBMQ_OUT/journal-warnings.txt" 2>/dev/null
tar -C "$VBMQ_OUT" -cf /dev/disk/by-id/virtio-vbmq-out . || echo "emulated host: could not send back $VBMQ_OUT"
sync
echo u >/proc/sysrq-trigger # the root disk is left clean, for when it is kept
sleep 0.3 # let the last output leave the serial port's buffer
echo "$rc" >/dev/ttyS2
sleep 0.2
systemctl poweroff --force --force >/dev/null 2>&1
