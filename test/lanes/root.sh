#!/bin/bash
# root.sh SUITE: make, or complete, the Debian root of a suite with all that the lab needs,
# and print its directory. Mirror, proxy and keys are those of this machine's apt. The first
# time takes about four minutes; the root is kept in NOVA_EVAC_ROOTS.
. "$(dirname "$0")/lib.sh"
suite=${1:?usage: root.sh SUITE}
[ "$(id -u)" = 0 ] || die "must be root"
root=$ROOTS/$suite
mkdir -p "$ROOTS"
exec 9>"$root.lock"; flock --wait 1800 9 || die "$root has been in use for half an hour"
make() {
    command -v debootstrap >/dev/null ||
        apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends debootstrap >/dev/null || return 1
    [ -n "$(ls /var/lib/apt/lists/*Packages* 2>/dev/null)" ] || apt-get update -qq || return 1
    local mirror script proxies
    mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(SITE)' 'Created-By: Packages' | sed -n 's/^Debian|Debian|//p' | head -n 1)
    [ -n "$mirror" ] || die "no source of this machine's apt is a Debian archive"
    # debootstrap knows the suites of its own time, and all of them are made as sid is
    script=/usr/share/debootstrap/scripts/$suite; [ -e "$script" ] || script=${script%/*}/sid
    proxies=$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)
    rm -rf "${root:?}.new"
    eval "$proxies"; export http_proxy https_proxy
    bound debootstrap --variant=minbase --include=ca-certificates "$suite" "$root.new" "$mirror" "$script" >"$root.log" 2>&1 ||
        { tail -n 5 "$root.log" >&2; return 1; }
    printf '#!/bin/sh\nexit 101\n' >"$root.new/usr/sbin/policy-rc.d"; chmod 755 "$root.new/usr/sbin/policy-rc.d"
    apt-config dump Acquire | grep -v '^Acquire::IndexTargets' >"$root.new/etc/apt/apt.conf.d/90machine"
    rm -rf "$root.new"/var/lib/apt/lists/*
    install "$root.new" && mv "$root.new" "$root"
}
install() {
    cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
    "$LANES/in.sh" --write "$1" sh -c 'test/lab/install.sh && apt-get clean' >&2
}
if [ -d "$root" ]; then install "$root"; else make || die "could not make a root of $suite; see $root.log"; fi
echo "$root"
