# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# apt with a source list of our own: sourced by tools/deps and the scripts that make images.
# The machine's own apt configuration is read, never written: every extra suite (backports, another
# release, source packages) goes into a private source list whose entries are copies of the machine's
# own Debian entries with another suite in them. So no package registry is named anywhere here.

VBMQ_CACHE=${VBMQ_CACHE:-/var/cache/vbmq}

vbmq_codename() {
	# shellcheck disable=SC1091
	(. /etc/os-release && echo "${VERSION_CODENAME:-}")
}

# vbmq_sources SUITE...: print deb822 entries for these suites, derived from the machine's entry of its release.
vbmq_sources() {
	/usr/bin/env -i PATH=/usr/bin:/bin python3 - "$(vbmq_codename)" "$@" <<'PY'
import glob, re, sys
code, suites = sys.argv[1], sys.argv[2:]
found = []
for f in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
    for para in re.split(r"\n\s*\n", open(f).read()):
        d = {}
        for line in para.splitlines():
            m = re.match(r"^([A-Za-z-]+):\s*(.*)$", line)
            if m:
                d[m.group(1).lower()] = m.group(2)
        if "deb" in d.get("types", "").split() and code in d.get("suites", "").split():
            found.append((d["uris"], d.get("components", "main"), d.get("signed-by", "")))
for f in ["/etc/apt/sources.list"] + sorted(glob.glob("/etc/apt/sources.list.d/*.list")):
    try:
        text = open(f).read()
    except OSError:
        continue
    for line in text.splitlines():
        m = re.match(r"^\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*?)\s*$", line)
        if m and m.group(3) == code:
            key = re.search(r"signed-by=([^\s\]]+)", m.group(1) or "")
            found.append((m.group(2), m.group(4), key.group(1) if key else ""))
if not found:
    sys.exit("no apt entry for the release '%s' on this machine: cannot derive the others" % code)
uri, comp, key = found[0]
types = "deb"
for s in suites:
    t = types
    if s.endswith("+src"):
        s, t = s[:-4], "deb-src"
    print("Types: %s\nURIs: %s\nSuites: %s\nComponents: %s" % (t, uri, s, comp.split()[0]))
    if key:
        print("Signed-By: " + key)
    print()
PY
}

# vbmq_mirror: the machine's own mirror address (for mmdebstrap), never printed.
vbmq_mirror() { vbmq_sources "$(vbmq_codename)" | sed -n 's/^URIs: //p' | head -n 1; }

# vbmq_apt_setup NAME SUITE...: make the private apt state NAME; afterwards vbmq_apt NAME <apt-get arguments>.
vbmq_apt_setup() {
	local name=$1 dir=$VBMQ_CACHE/apt/$1
	shift
	mkdir -p "$dir/parts" "$dir/lists/partial"
	vbmq_sources "$@" >"$dir/parts/vbmq.sources"
	vbmq_apt "$name" -qq update
}

vbmq_apt() {
	local dir=$VBMQ_CACHE/apt/$1
	shift
	DEBIAN_FRONTEND=noninteractive apt-get -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$dir/parts" \
		-o "Dir::State::lists=$dir/lists" -o Dir::Etc::preferencesparts=/dev/null -o Dpkg::Use-Pty=0 \
		-o Acquire::Retries=3 -o APT::Get::Assume-Yes=true "$@"
}
