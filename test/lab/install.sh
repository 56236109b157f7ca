#!/bin/bash
# install.sh: the Debian packages that the lab and the tests need. Idempotent.
# No service is started: a policy-rc.d that exits 101 stands for as long as it takes.
set -u
export DEBIAN_FRONTEND=noninteractive
CACHE=${NOVA_EVAC_CACHE:-/var/cache/nova-evac-lab}
[ "$(id -u)" = 0 ] || { echo "install.sh: must be root" >&2; exit 1; }
mkdir -p "$CACHE"
# From nova, keystone and placement only the python3-* packages: they carry the
# programs, ask no question and start nothing. resource-agents has ocf-tester.
PKGS="pacemaker corosync crmsh pcs pacemaker-cli-utils pacemaker-resource-agents resource-agents fence-agents
      iproute2 iputils-ping procps util-linux libxml2-utils xsltproc python3 jq curl binutils gcc libc6-dev
      python3-nova python3-keystone python3-placement mariadb-server-core mariadb-client-core
      rabbitmq-server uwsgi-core uwsgi-plugin-python3"
pol=/usr/sbin/policy-rc.d ours=
trap '[ -z "$ours" ] || rm -f $pol' EXIT
trap 'exit 130' INT TERM HUP

installed() {
    local want have
    want=$(wc -w <<<"$PKGS")
    have=$(dpkg-query -W -f '${db:Status-Status}\n' $PKGS 2>/dev/null | grep -cx installed)
    [ "$have" = "$want" ]
}
complete() { installed && [ -x "$CACHE/pacemaker-remoted" ] && [ -s "$CACHE/nova-api-paste.ini" ]; }
unpack() {  # unpack PACKAGE FILE NAME: one file of a package that cannot be installed
    [ -s "$CACHE/$3" ] && return
    local d rc; d=$(mktemp -d) && chmod 755 "$d" || return 1
    # apt's own user may write here; a .new, so that no half file is ever taken for it
    ( cd "$d" && apt-get -o APT::Sandbox::User=root download -qq "$1" && dpkg -x ./*.deb x &&
      install -m755 "x/$2" "$CACHE/$3.new" && mv "$CACHE/$3.new" "$CACHE/$3" )
    rc=$?; rm -rf "$d"; return $rc
}
everything() {
    installed || apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends $PKGS >/dev/null || return 1
    # pacemaker-remote conflicts with pacemaker in Debian, but is one binary.
    unpack "pacemaker-remote=$(dpkg-query -W -f '${Version}' pacemaker)" usr/sbin/pacemaker-remoted pacemaker-remoted &&
        # nova-common would ask questions; its api-paste.ini is all that is missing.
        unpack nova-common usr/share/nova-common/api-paste.ini nova-api-paste.ini
}

complete && exit 0
exec 8>"$CACHE/install.lock"
flock -w 900 8 || { echo "install.sh: another install has run for 15 minutes" >&2; exit 1; }
complete && exit 0
if [ ! -e $pol ]; then
    ours=1; printf '#!/bin/sh\nexit 101\n' >$pol; chmod 755 $pol
fi
[ -n "$(ls /var/lib/apt/lists/*Packages* 2>/dev/null)" ] || apt-get update -qq
for try in 1 2 3 4 5; do
    everything && exit 0
    echo "install.sh: try $try of 5 failed" >&2
    sleep $((try * 3))          # a lock of apt's lists, which no option waits for
    apt-get update -qq
done
exit 1
