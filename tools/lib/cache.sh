# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Helpers of the scripts that keep something in $VBMQ_CACHE: a lock a product, a work directory that goes on any exit.
# Source after tools/lib/apt.sh.

vbmq_die() { echo "${0##*/}: $*" >&2; exit 1; }
vbmq_say() { echo "${0##*/}: $*" >&2; }

# vbmq_lock NAME [SECONDS]: one maker of NAME at a time, waited for half an hour or SECONDS; held until this process ends
# (children must not keep descriptor 8: 8>&-).
vbmq_lock() {
	mkdir -p "$VBMQ_CACHE" || vbmq_die "cannot make $VBMQ_CACHE (set VBMQ_CACHE to a directory you may write)"
	exec 8>"$VBMQ_CACHE/.lock-$1"
	flock -w "${2:-1800}" 8 || vbmq_die "another run has held $VBMQ_CACHE/.lock-$1 for ${2:-1800} seconds"
}
vbmq_unlock() { exec 8>&-; }

# vbmq_tmp VAR: a directory below the cache (so that a mv into place is atomic), its name put into VAR, removed on exit,
# after the process VBMQ_CHILD, and its process group if it leads one, has been ended if one is named.
VBMQ_CHILD=''
vbmq_tmp() {
	mkdir -p "$VBMQ_CACHE/tmp"
	# What a run that was killed outright could not take away.
	find "$VBMQ_CACHE/tmp" -mindepth 1 -maxdepth 1 -mtime +0 -exec rm -rf --one-file-system {} + 2>/dev/null || true
	VBMQ_TMP=$(mktemp -d "$VBMQ_CACHE/tmp/${0##*/}.XXXXXX")
	printf -v "$1" %s "$VBMQ_TMP"
	trap vbmq_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

vbmq_cleanup() {
	[ -z "$VBMQ_CHILD" ] || { { kill -- "-$VBMQ_CHILD" || kill "$VBMQ_CHILD"; } && wait "$VBMQ_CHILD"; } 2>/dev/null || true
	rm -rf --one-file-system "$VBMQ_TMP" 2>/dev/null || { sleep 1 && rm -rf --one-file-system "$VBMQ_TMP"; }
}
