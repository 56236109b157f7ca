#!/bin/bash
# up.sh [--cloud novasim|nova|none] [--config FILE] [--remotes N] [--owner PID] - bring up
# three controllers ctl1..3, N (three) remote nodes compute-1.. and, at NET.250, a cloud
# that the nodes can reach. FILE is a crmsh configuration to load (see load.sh). With
# --owner the lab goes down by itself when that process ends. A lab of the same name
# still up is taken down. NOVASIM_ARGS: more arguments for novasim.
. "$(dirname "$0")/cluster/lib.sh"
n=$CTLS remotes=3 cloud=novasim config= owner=
while [ $# -gt 0 ]; do case $1 in
    --cloud|--config|--remotes|--owner) [ $# -ge 2 ] || die "$1 needs a value"; declare "${1#--}=$2"; shift 2;;
    *) sed -n '2,6s/^# //p' "$0" >&2; exit 2;;
esac; done
case $cloud in novasim|nova|none) ;; *) die "--cloud $cloud: it can be novasim, nova or none";; esac
[[ $remotes =~ ^[1-9]$ ]] && { [ "$cloud" != nova ] || [ "$remotes" = 3 ]; } || die "--remotes $remotes: it can be 1 to 9, and with the real Nova 3"
[ "$(id -u)" = 0 ] || die "must be root"
[ -x "$ROOT/bin/nova-evac" ] || die "bin/nova-evac is missing: make build"
[ "$cloud" != novasim ] || [ -x "$ROOT/bin/novasim" ] || die "bin/novasim is missing: make build"
[ -z "$config" ] || [ -r "$config" ] || die "cannot read $config"
start=; [ -z "$owner" ] || start=$(starttime "$owner") || die "--owner $owner: there is no such process"
"$LABDIR/install.sh" || die "install failed"
exec 7>"$DIR.lock"; flock -w 5 7 || die "another up.sh of lab $LAB is at work"
if read -r p st 2>/dev/null <"$DIR/owner" && pid_alive "$DIR/owner" && [ "$p" != "${owner:-}" ]; then
    die "lab $LAB is in use by process $p; take another name (NOVA_EVAC_LAB), or end it with down.sh"
fi
"$LABDIR/down.sh" 7>&- || die "could not clean up the previous lab"
us() { local now=${EPOCHREALTIME/./}; echo $((now / 100000)); }
t0=$(us)
since() { local d=$(( $(us) - t0 )); echo "$((d/10)).$((d%10))s"; }
mkdir -p "$DIR/nodes"; chmod 755 "$DIR"
# a failed or interrupted bring-up leaves nothing behind
ok=; trap '[ -n "$ok" ] || { [ -z "${NOVA_EVAC_FAILED_LOGS:-}" ] || "$LABDIR/logs.sh" "$NOVA_EVAC_FAILED_LOGS" 7>&-; "$LABDIR/down.sh" 7>&-; }' EXIT
trap 'exit 130' INT TERM HUP
pid_save "$DIR/up.pid" $$
export NOVA_EVAC_LAB_PART=$DIR              # whatever we start can be told by it
dd if=/dev/urandom of="$DIR/authkey" bs=256 count=1 status=none
chgrp haclient "$DIR/authkey"; chmod 640 "$DIR/authkey"
echo "$cloud" >"$DIR/cloud"
if [ -n "$owner" ]; then
    detached "$DIR/watchdog.log" "$LABDIR/cluster/watchdog" "$owner" "$start" "$LABDIR/down.sh"
    pid_save "$DIR/watchdog.pid" "$LAST"
    echo "$owner $start" >"$DIR/owner"
fi
hub_up || die "hub failed"

# our agents and the lab's, as they appear in every node; copies, so that a build
# does not change them under a running lab
mkdir -p "$DIR/agents/sbin" "$DIR/agents/ocf/openstack"
cp "$LABDIR"/cluster/agents/sbin/* "$CACHE/pacemaker-remoted" "$ROOT/bin/nova-evac" "$DIR/agents/sbin/" || die "no agents"
[ "$cloud" != novasim ] || cp "$ROOT/bin/novasim" "$DIR/novasim" || exit 1
ln -s nova-evac "$DIR/agents/sbin/fence_nova_evac"
for a in nova-evacuate nova-evac-gate; do ln -s /usr/sbin/nova-evac "$DIR/agents/ocf/openstack/$a"; done

{ echo "127.0.0.1 localhost"; echo "$BMC_IP bmc"; echo "$CLOUD_IP cloud"
  for ((i=1;i<=n;i++)); do echo "$NET.$((10+i)) ctl$i"; done
  for ((i=1;i<=remotes;i++)); do echo "$NET.$((100+i)) compute-$i"; done; } >"$DIR/hosts"

nodelist=; for ((i=1;i<=n;i++)); do nodelist+="  node {
    name: ctl$i
    nodeid: $i
    ring0_addr: $NET.$((10+i))
  }
"; done
for ((i=1;i<=n;i++)); do
    node_define ctl$i "$NET.$((10+i))" ctl
    sed "s/@NODE@/ctl$i/" >"$DIR/nodes/ctl$i/disk/etc-corosync/corosync.conf" <<C
totem {
    version: 2
    cluster_name: $LAB
    transport: knet
    crypto_cipher: none
    crypto_hash: none
    token: $TOKEN
    token_coefficient: 0
    knet_transport: udp
}
nodelist {
$nodelist}
quorum {
    provider: corosync_votequorum
    expected_votes: $n
    two_node: $(( n == 2 ))
    wait_for_all: 0
}
system {
    # no real-time scheduling, no cgroup moves, no CAP_SYS_RESOURCE needed
    sched_rr: no
    move_to_root_cgroup: no
    allow_knet_handle_fallback: yes
}
logging {
    to_stderr: no
    to_syslog: no
    to_logfile: yes
    logfile: /var/log/corosync/corosync.log
    timestamp: on
}
C
    # Seed the CIB: the default dc-deadtime of 20s would dominate the bring-up.
    # Start from `cibadmin --empty`: a crm_feature_set newer than the installed
    # pacemaker's makes every update be refused ("Protocol not supported").
    f=$DIR/nodes/ctl$i/disk/var-lib-pacemaker/cib/cib.xml
    cibadmin --empty | sed 's|<crm_config/>|<crm_config><cluster_property_set id="cib-bootstrap-options">\
      <nvpair id="cib-bootstrap-options-dc-deadtime" name="dc-deadtime" value="2s"/>\
      <nvpair id="cib-bootstrap-options-stonith-enabled" name="stonith-enabled" value="false"/>\
      </cluster_property_set></crm_config>|' >"$f"
    chown hacluster:haclient "$f"; chmod 600 "$f"
done
for ((i=1;i<=remotes;i++)); do node_define compute-$i "$NET.$((100+i))" remote; done

# fake BMC: listens in the hub, powers nodes off/on for the fence agents
detached "$DIR/bmc.log" nsenter --net="/run/netns/$HUB" \
    python3 "$LABDIR/cluster/bmc.py" "$BMC_IP" "$BMC_PORT" "$LABDIR/power.sh" "$DIR/bmc.pid"
wait_for 5 test -s "$DIR/bmc.pid" || { cat "$DIR/bmc.log" >&2; die "the BMC did not start in 5 s"; }

# The cloud before the nodes: its start keeps the machine so busy that corosync
# might lose its token.
if [ "$cloud" != none ]; then
    args=; [ "$cloud" != novasim ] || args=${NOVASIM_ARGS:-}
    "$LABDIR/cloud.sh" $args 7>&- & wait $! || die "the cloud did not come up"
    echo "$cloud answers after $(since)"
fi
for x in $(nodes); do node_on "$x" || die "node $x did not start"; done
: >"$DIR/booted"
ready() {   # every controller online, one DC, quorum: asked of every controller
    local i x; for ((i=1;i<=n;i++)); do
        x=$("$LABDIR/exec.sh" ctl$i timeout 5 crm_mon -1 --output-as=xml 2>/dev/null) || return 1
        [ "$(grep -c '<node name="ctl[0-9]*".* online="true".* pending="false"' <<<"$x")" = "$n" ] || return 1
        grep -q '<current_dc present="true".* with_quorum="true"' <<<"$x" || return 1
    done
}
wait_for 90 ready || { "$LABDIR/exec.sh" ctl1 timeout 10 crm_mon -1 >&2; die "the cluster did not form in 90 s"; }
echo "quorate, with a DC after $(since)"
if [ -n "$config" ]; then
    "$LABDIR/load.sh" "$config" 7>&- || die "the configuration did not come up"
    echo "configuration runs after $(since)"
fi
echo "lab $LAB is up: keystone at $(auth_url), admin / secret, project admin"
rm -f "$DIR/up.pid"
ok=1
