#!/bin/bash
# load.sh FILE: load a crmsh configuration and wait until all of it runs. In it,
# @NET@ stands for the lab's network and @AUTH_URL@ for the cloud's keystone.
. "$(dirname "$0")/cluster/lib.sh"
[ -r "${1:?usage: load.sh FILE}" ] || die "cannot read $1"
sed "s|@NET@|$NET|g; s|@AUTH_URL@|$(auth_url)|g" "$1" >"$DIR/nodes/ctl1/disk/root/load.crm"
out=$("$LABDIR/exec.sh" ctl1 timeout 60 crm configure load update /root/load.crm 2>&1) || { echo "$out" >&2; die "crmsh refused $1"; }
[ -z "$out" ] || echo "$out"
settled() { "$LABDIR/exec.sh" ctl1 timeout 10 crm_mon -1 -r --output-as=xml 2>/dev/null | "$LABDIR/cluster/settled.py" 2>/dev/null &&
    "$LABDIR/exec.sh" ctl1 sh -c 'timeout 10 crmadmin -qS "$(crmadmin -qD)"' 2>/dev/null | grep -x S_IDLE >/dev/null; }
if ! wait_for 60 settled; then
    "$LABDIR/exec.sh" ctl1 timeout 10 crm_mon -1 -r -f --output-as=xml | "$LABDIR/cluster/settled.py"
    "$LABDIR/exec.sh" ctl1 timeout 10 crm_mon -1 -r -f >&2
    die "not everything of $1 runs after 60 s"
fi
