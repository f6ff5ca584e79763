#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# /init of the test guest (tools/guest-image). The kernel command line says what to do, the serial console what came of
# it:
#   vbmq.run=fio|dd|none|shell  what to run on every /dev/vd* (default: fio where it is in the image, else dd)
#   vbmq.fio=RW,bs=4k,qd=8,jobs=N,engine=libaio  load for fio (default randread, one job a vCPU)
#   vbmq.fio=...,verify         what is written is read back and compared; each job has a part of the disk to itself
#   vbmq.fio=...,verify,whole   and the disk is first written wholly, so that "end" can check all of it
#   vbmq.interval=SECONDS       how often rates are printed (default 2; 0: never)
#   vbmq.control=ttyS1          commands, a line each, are read from there:
#     irq   print the VBMQ-IRQ lines again
#     disk  print VBMQ-DISK: what the guest sees of each disk's device
#     end   have fio end, check the disks (see "whole") and the kernel's log; VBMQ-END tells
# Lines for programs, one record a line, "VBMQ-WORD key=value ...":
#   VBMQ-READY, VBMQ-QUEUE (which CPUs submit to a queue), VBMQ-IRQ (where its interrupts went), VBMQ-IOPS, VBMQ-ERROR,
#   VBMQ-DISK, VBMQ-KERNEL (a line of the kernel's log that tells of trouble), VBMQ-END.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts /tmp
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t devpts devpts /dev/pts
exec </dev/console >/dev/console 2>&1
echo 3 >/proc/sys/kernel/printk
ip link set lo up 2>/dev/null

for m in /lib/modules/*.ko; do
	[ -e "$m" ] && { insmod "$m" || echo "VBMQ-ERROR module=${m##*/}"; }
done

# Names of parameters are the fixed set below: nothing of the command line is evaluated.
run='' load=randread interval=2 control=''
read -r cmdline </proc/cmdline
for word in $cmdline; do
	case $word in
	vbmq.run=*) run=${word#*=} ;;
	vbmq.fio=*) load=${word#*=} ;;
	vbmq.interval=*) interval=${word#*=} ;;
	vbmq.control=ttyS1) control=/dev/ttyS1 ;;
	esac
done
[ -n "$run" ] || { run="dd"; [ -x /bin/fio ] && run=fio; }

disks() { for d in /sys/block/vd*; do [ -e "$d" ] && echo "${d##*/}"; done; }

report_queues() {
	for d in $(disks); do
		for q in /sys/block/"$d"/mq/*; do
			[ -e "$q/cpu_list" ] && echo "VBMQ-QUEUE disk=$d queue=${q##*/} cpus=$(tr -d ' ' <"$q/cpu_list")"
		done
	done
}

# config: the first 256 bytes of PCI configuration space; all: a digest of all of it.
report_disks() {
	for d in $(disks); do
		v=$(readlink -f "/sys/block/$d/device") pci=$(readlink -f "/sys/block/$d/device/../config")
		config=$(hexdump -v -e '1/1 "%02x"' "$pci")
		echo "VBMQ-DISK disk=$d virtio=${v##*/} features=$(cat "$v/features") queues=$(find "/sys/block/$d/mq" -name cpu_list | wc -l)" \
			"sectors=$(cat "/sys/block/$d/size") status=$(cat "$v/status")" \
			"limits=$(cd "/sys/block/$d/queue" && cat logical_block_size physical_block_size max_segments max_discard_segments \
				discard_granularity write_cache nr_requests max_sectors_kb | tr ' \n' '-,')" \
			"all=$(echo "$config" | md5sum | cut -c1-32) config=$(echo "$config" | cut -c1-512)"
	done
}

report_irqs() {
	cpus=$(head -n 1 /proc/interrupts | wc -w)
	grep virtio /proc/interrupts | while read -r irq rest; do
		irq=${irq%:} counts='' n=0 name=''
		for word in $rest; do
			[ $n -lt "$cpus" ] && counts=$counts${counts:+,}$word
			n=$((n + 1)) name=$word
		done
		echo "VBMQ-IRQ name=$name irq=$irq affinity=$(cat "/proc/irq/$irq/effective_affinity_list") counts=$counts"
	done
}

# Rates come from the block layer's own counters, so they are true for any load and need no run to end.
report_rates() {
	while :; do
		sleep "$interval"
		read -r up _ </proc/uptime
		for d in $(disks); do
			# shellcheck disable=SC2046
			set -- $(cat /sys/block/"$d"/stat)
			r0='' w0='' t0=''
			eval "r0=\${r_$d:-} w0=\${w_$d:-} t0=\${t_$d:-}"
			now=${up%.*}${up#*.}
			eval "r_$d=$1 w_$d=$5 t_$d=$now"
			[ -n "$r0" ] || continue
			dt=$((now - t0))
			[ $dt -gt 0 ] || continue
			echo "VBMQ-IOPS disk=$d uptime=$up read=$((($1 - r0) * 100 / dt)) write=$((($5 - w0) * 100 / dt))"
		done
	done
}

# fio_all ARGUMENT...: fio on all disks.
fio_all() {
	for d in $(disks); do set -- "$@" --name="$d" --filename="/dev/$d"; done
	fio --eta=never --output=/dev/null --thread --direct=1 "$@"
}

run_fio() {
	whole='' rw=randread bs=4k qd=8 jobs=$(grep -c ^processor /proc/cpuinfo) engine=libaio verify=''
	for word in $(echo "$load" | tr ',' ' '); do
		case $word in
		bs=*) bs=${word#*=} ;;
		qd=*) qd=${word#*=} ;;
		jobs=*) jobs=${word#*=} ;;
		engine=*) engine=${word#*=} ;;
		verify) verify=yes ;;
		whole) whole=yes ;;
		*) rw=$word ;;
		esac
	done
	set -- --norandommap
	[ -z "$verify" ] || set -- --verify=crc32c --verify_fatal=1 --verify_backlog=64 --size=$((100 / jobs))% \
		--offset_increment=$((100 / jobs))%
	[ -n "$(disks)" ] || { echo "VBMQ-ERROR no=disk"; return 1; }
	if [ -n "$whole" ]; then
		fio_all --ioengine="$engine" --rw=write --bs=4k --iodepth=16 --verify=crc32c --do_verify=0 || echo "VBMQ-ERROR fio=$?"
	fi
	# fio ends when it sees /tmp/end, which it removes.
	while [ ! -e /tmp/last ]; do
		rc=0
		fio_all --time_based --runtime=86400 --randrepeat=0 --trigger-file=/tmp/end --verify_state_save=0 \
			--ioengine="$engine" --rw="$rw" --bs="$bs" --iodepth="$qd" --numjobs="$jobs" "$@" || rc=$?
		[ $rc = 0 ] && continue
		echo "VBMQ-ERROR fio=$rc"
		sleep 5
	done
	echo "$rc" >/tmp/ended
}

# Only for a load that writes and was begun with "whole": every block then carries its own checksum.
check() {
	touch /tmp/last /tmp/end
	while [ ! -e /tmp/ended ]; do sleep 1; done
	rc=0 trouble=0 busy=0
	fio_all --ioengine=libaio --rw=read --bs=4k --iodepth=16 --verify=crc32c --verify_fatal=1 || rc=$?
	for d in $(disks); do
		# shellcheck disable=SC2046
		set -- $(cat "/sys/block/$d/inflight")
		busy=$((busy + $1 + $2))
	done
	dmesg | grep -iE 'error|timed? ?out|blocked for more|stall|BUG|Oops|Call Trace|lockup' >/tmp/trouble
	while read -r line; do
		trouble=$((trouble + 1))
		echo "VBMQ-KERNEL $line"
	done </tmp/trouble
	echo "VBMQ-END load=$(cat /tmp/ended) verify=$rc kernel=$trouble inflight=$busy"
}

listen() {
	while read -r word; do
		case $word in
		irq) report_irqs ;;
		disk) report_disks ;;
		end) check ;;
		*) echo "VBMQ-ERROR command=$word" ;;
		esac
	done
}

run_dd() {
	for d in $(disks); do
		for _ in $(grep ^processor /proc/cpuinfo | tr -dc '0-9\n'); do
			(while :; do dd if="/dev/$d" of=/dev/null bs=4k count=65536 iflag=direct 2>/dev/null || sleep 1; done) &
		done
	done
}

if [ -n "$control" ]; then
	exec 3<$control # open before it says that it is ready: nothing is lost then
	stty -F $control -echo
	dmesg -c >/dev/null # what is in the log from here on happened to a guest in service
	listen <&3 &
fi
report_queues
report_irqs
read -r up _ </proc/uptime
echo "VBMQ-READY kernel=$(uname -r) cpus=$(grep -c ^processor /proc/cpuinfo) run=$run uptime=$up"
case $run in
fio) run_fio & ;;
dd) run_dd ;;
none) ;;
shell) setsid cttyhack sh ;;
*) echo "VBMQ-ERROR run=$run" ;;
esac
[ "$interval" -gt 0 ] 2>/dev/null && [ "$run" != none ] && report_rates &
while :; do sleep 3600; done
