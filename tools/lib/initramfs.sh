# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Debian's cloud kernel, unpacked and not installed, and an initramfs around busybox. Source after cache.sh.

# vbmq_kernel DIR: unpack the newest cloud kernel of this release below DIR/kernel; sets VBMQ_KERNEL (image) and VBMQ_KVER.
vbmq_kernel() {
	local dir=$1 code real
	code=$(vbmq_codename)
	(
		vbmq_apt_setup "kernel-$code" "$code" "$code-updates"
		cd "$dir" || exit
		vbmq_apt "kernel-$code" -qq download linux-image-cloud-amd64
		real=$(dpkg-deb -f linux-image-cloud-amd64_*.deb Depends | grep -o 'linux-image-[0-9][^ ,(]*' | head -n 1)
		[ -n "$real" ] || vbmq_die "linux-image-cloud-amd64 names no kernel"
		vbmq_apt "kernel-$code" -qq download "$real"
		dpkg-deb -x "$real"_*.deb kernel
		rm -f -- *.deb
	) >"$dir/kernel.log" 2>&1 || { cat "$dir/kernel.log" >&2; vbmq_die "could not get a kernel package"; }
	VBMQ_KERNEL=$(find "$dir/kernel" -path '*boot/vmlinuz-*' | head -n 1)
	[ -n "$VBMQ_KERNEL" ] || vbmq_die "the kernel package has no image"
	# shellcheck disable=SC2034
	VBMQ_KVER=${VBMQ_KERNEL##*/vmlinuz-}
}

# vbmq_initramfs_tree TREE KERNELDIR INIT MODULE...: busybox, INIT as /init, the modules numbered in loading order.
vbmq_initramfs_tree() {
	local t=$1 k=$2 init=$3 m n=10 from
	shift 3
	mkdir -p "$t"/{bin,sbin,dev,proc,sys,tmp,etc,lib/modules}
	cp "$(command -v busybox)" "$t/bin/busybox"
	"$t/bin/busybox" --list | grep -v '^busybox$' | sed "s|^|$t/bin/|" | xargs -n1 ln -sf busybox
	cp "$init" "$t/init"
	chmod 755 "$t/init"
	for m; do
		from=$(find "$k" -name "$m.ko*" | head -n 1)
		if [ -z "$from" ]; then
			grep -rqs --include=modules.builtin "/$m.ko" "$k" && continue
			vbmq_die "the kernel has no module $m"
		fi
		n=$((n + 1))
		case $from in
		*.xz) xz -dc "$from" ;;
		*.zst) zstd -dqc "$from" ;;
		*) cat "$from" ;;
		esac >"$t/lib/modules/$n-$m.ko"
	done
}

vbmq_initramfs_pack() { (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null --quiet -o -H newc -R 0:0) >"$2"; }
