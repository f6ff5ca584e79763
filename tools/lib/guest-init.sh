#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# /init of the test guest (tools/guest-image). The kernel command line says what to do, the serial console what came of
# it:
#   vbmq.run=fio|dd|none|shell  what to run on every /dev/vd* (default: fio where it is in the image, else dd)
#   vbmq.fio=RW,bs=4k,qd=8,jobs=N,engine=libaio  load for fio (default randread, one job a vCPU)
#   vbmq.fio=...,verify         what is written is read back and compared; each job has a part of the disk to itself
#   vbmq.interval=SECONDS       how often rates are printed (default 2; 0: never)
# Lines for programs, one record a line, "VBMQ-WORD key=value ...":
#   VBMQ-READY, VBMQ-QUEUE (which CPUs submit to a queue), VBMQ-IRQ (where its interrupts went), VBMQ-IOPS, VBMQ-ERROR.
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
run='' load=randread interval=2
read -r cmdline </proc/cmdline
for word in $cmdline; do
	case $word in
	vbmq.run=*) run=${word#*=} ;;
	vbmq.fio=*) load=${word#*=} ;;
	vbmq.interval=*) interval=${word#*=} ;;
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

run_fio() {
	rw=randread bs=4k qd=8 jobs=$(grep -c ^processor /proc/cpuinfo) engine=libaio verify=''
	for word in $(echo "$load" | tr ',' ' '); do
		case $word in
		bs=*) bs=${word#*=} ;;
		qd=*) qd=${word#*=} ;;
		jobs=*) jobs=${word#*=} ;;
		engine=*) engine=${word#*=} ;;
		verify) verify=yes ;;
		*) rw=$word ;;
		esac
	done
	set -- --norandommap
	[ -z "$verify" ] || set -- --verify=crc32c --verify_fatal=1 --verify_backlog=64 --size=$((100 / jobs))% \
		--offset_increment=$((100 / jobs))%
	args=$#
	for d in $(disks); do set -- "$@" --name="$d" --filename="/dev/$d"; done
	[ $# -gt "$args" ] || { echo "VBMQ-ERROR no=disk"; return 1; }
	while :; do
		fio --eta=never --output=/dev/null --thread --time_based --runtime=86400 --direct=1 --randrepeat=0 \
			--ioengine="$engine" --rw="$rw" --bs="$bs" --iodepth="$qd" --numjobs="$jobs" "$@" || {
			echo "VBMQ-ERROR fio=$?"
			sleep 5
		}
	done
}

run_dd() {
	for d in $(disks); do
		for _ in $(grep ^processor /proc/cpuinfo | tr -dc '0-9\n'); do
			(while :; do dd if="/dev/$d" of=/dev/null bs=4k count=65536 iflag=direct 2>/dev/null || sleep 1; done) &
		done
	done
}

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
