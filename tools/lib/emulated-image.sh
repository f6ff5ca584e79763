# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes $VBMQ_WORK/out/{root.img,kernel,initrd} for tools/emulated-host, of the release $VBMQ_CODE. Run by it, with a log.
set -euo pipefail
. tools/lib/apt.sh
. tools/lib/cache.sh
. tools/lib/initramfs.sh

work=$VBMQ_WORK code=$VBMQ_CODE
root=$work/root
packages="systemd systemd-sysv udev dbus polkitd kmod procps iproute2 util-linux e2fsprogs psmisc mdadm dmsetup
 libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils irqbalance
 hwloc-nox numactl python3 python3-pytest meson python3-jsonschema python3-dbusmock python3-lxml python3-dbus
 libhwloc15 libnuma1 libxml2 libjansson4 libsmartcols1 libinih1 libsystemd0 libcmocka0 libasan8 libubsan1 libtsan2"
suites="$code $code-updates"
if [ "$code" = bookworm ]; then
	suites="$suites bookworm-backports"
fi
vbmq_kernel "$work"

# libvirt and QEMU are taken from where tools/deps takes them for the machine; all else as the release has it.
cat >"$work/preferences" <<'PREF'
Package: libvirt* qemu* seabios ipxe-qemu
Pin: release n=bookworm-backports
Pin-Priority: 600
PREF
# shellcheck disable=SC2086
vbmq_sources $suites | mmdebstrap --mode=root --variant=apt --include="$(echo $packages | tr ' ' ,)" \
	--setup-hook="mkdir -p \"\$1/etc/apt/preferences.d\" && cp \"$work/preferences\" \"\$1/etc/apt/preferences.d/vbmq\"" \
	--dpkgopt=path-exclude=/usr/share/doc/* --dpkgopt=path-exclude=/usr/share/man/* \
	--dpkgopt=path-exclude=/usr/share/locale/* --dpkgopt=path-exclude=/usr/share/info/* --dpkgopt=force-unsafe-io \
	"$code" "$root" -

cp -a "$work/kernel/lib/modules" "$root/lib/" 2>/dev/null || cp -a "$work/kernel/usr/lib/modules" "$root/usr/lib/"
depmod -b "$root" "$VBMQ_KVER"

# What a first boot would do is done here; what no test looks at does not start.
echo 5eed5eed5eed5eed5eed5eed5eed5eed >"$root/etc/machine-id"
echo emulated >"$root/etc/hostname"
echo '/dev/vda / ext4 defaults 0 0' >"$root/etc/fstab"
mkdir -p "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system.conf.d" "$root/etc/libvirt"
printf '[Journal]\nStorage=volatile\nForwardToConsole=no\n' >"$root/etc/systemd/journald.conf.d/vbmq.conf"
printf '[Manager]\nDefaultTimeoutStartSec=300s\nDefaultTimeoutStopSec=20s\n' >"$root/etc/systemd/system.conf.d/vbmq.conf"
cat >>"$root/etc/libvirt/qemu.conf" <<'CONF'
user = "root"
group = "root"
security_driver = "none"
CONF
cat >"$root/etc/systemd/system/vbmq-run.service" <<'UNIT'
[Unit]
Description=The command given to tools/emulated-host
After=basic.target dbus.service
Wants=dbus.service

[Service]
Type=exec
ExecStart=/bin/sh -c 'mount /dev/disk/by-id/virtio-vbmq-work /mnt && exec /bin/bash /mnt/run'
Slice=vbmqtest.slice
Delegate=yes
TasksMax=infinity
LimitNOFILE=65536
TimeoutStartSec=infinity
StandardOutput=journal
Environment=HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl set-default multi-user.target
chroot "$root" systemctl enable vbmq-run.service
for unit in serial-getty@ttyS0.service serial-getty@ttyS1.service serial-getty@ttyS2.service getty@tty1.service getty.target \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
	libvirt-guests.service libvirtd-tcp.socket libvirtd-tls.socket virtlxcd.service systemd-networkd.service \
	systemd-timesyncd.service systemd-remount-fs.service systemd-random-seed.service systemd-update-utmp.service \
	systemd-update-utmp-runlevel.service networking.service mdmonitor.service mdmonitor-oneshot.timer mdcheck_start.timer \
	mdcheck_continue.timer systemd-pcrphase.service systemd-pcrphase-sysinit.service dm-event.socket lvm2-monitor.service \
	keyboard-setup.service console-setup.service apparmor.service nftables.service dnsmasq.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl disable libvirtd.service
chroot "$root" systemctl enable libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket # these start it
rm -f "$root"/etc/libvirt/qemu/networks/autostart/*.xml "$root"/var/cache/apt/archives/*.deb "$root"/etc/apt/sources.list.d/*
rm -rf "$root"/var/lib/apt/lists/* "${root:?}/boot" "${root:?}/usr/share/doc" "$root"/var/cache/apt/*.bin
touch "$root/etc/.updated" "$root/var/.updated"
mkdir -p "$root/mnt" "$root/boot"

cat >"$work/init" <<'INIT'
#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for m in /lib/modules/*.ko; do insmod "$m"; done
mkdir -p /new
n=0
until mount -t ext4 /dev/vda /new 2>/dev/null; do
	n=$((n + 1))
	[ $n -lt 100 ] || { echo "no root disk"; exit 1; }
	usleep 100000
done
umount /proc
umount /sys
mount -o move /dev /new/dev
exec switch_root /new /sbin/init
INIT
mkdir "$work/out"
vbmq_initramfs_tree "$work/tree" "$work/kernel" "$work/init" virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev \
	virtio_pci virtio_blk crc16 mbcache jbd2 crc32c_generic crc32c-intel ext4
vbmq_initramfs_pack "$work/tree" "$work/out/initrd"
cp "$VBMQ_KERNEL" "$work/out/kernel"
mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$root" "$work/out/root.img" \
	"$(($(du -sm "$root" | cut -f1) * 5 / 4 + 700))M"
rm -rf --one-file-system "$root"

# What libvirt finds out about QEMU takes long when all is emulated, so the first boot asks once, and it is kept.
mkdir -p "$work/stage/tree"
: >"$work/stage/trees"
echo 'virsh -c qemu:///system domcapabilities --virttype qemu >/dev/null && ls /var/cache/libvirt/qemu/capabilities' \
	>"$work/stage/command"
