# lib.sh - shared by all lab scripts (sourced).
# One lab = one hub network namespace ($LAB-hub: a bridge, and the fake BMC
# daemon) + one set of namespaces per node.  Nothing leaves the hub: it has no
# uplink, so every address below exists only inside these namespaces.
set -uo pipefail
LABDIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=$(cd "$LABDIR/../.." && pwd)
LAB=${NOVA_EVAC_LAB:-nevac}                 # several labs can coexist
DIR=/tmp/nova-evac-lab-$LAB                 # all state (node disks, pids, logs)
NET=${NOVA_EVAC_NET:-10.77.0}
TOKEN=${NOVA_EVAC_TOKEN:-3000}              # corosync's token timeout, ms
CACHE=${NOVA_EVAC_CACHE:-/var/cache/nova-evac-lab}
BMC_IP=$NET.254 BMC_PORT=6230
CLOUD_IP=$NET.250                           # where the cloud answers, simulated or real
HUB=$LAB-hub CLOUD_NS=$LAB-cloud
CTLS=3
[[ $LAB =~ ^[a-zA-Z0-9][a-zA-Z0-9_]{0,11}$ ]] || { echo "NOVA_EVAC_LAB=$LAB: letters, digits and _, 12 at most" >&2; exit 2; }
[[ $NET =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "NOVA_EVAC_NET=$NET: three numbers, as in 10.77.0" >&2; exit 2; }

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# start time (clock ticks) of a pid: pid+starttime identifies a process for good
starttime() { local s; s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1; s=${s##*) }; set -- $s; echo "${20}"; }

# pid of a node's init if (and only if) that very process is still alive
node_pid() {
    local pid st
    read -r pid st 2>/dev/null <"$DIR/nodes/$1/pid" || return 1
    [ "$(starttime "$pid")" = "$st" ] || return 1
    # a zombie has left its namespaces already
    case $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) in Z*|X*|'') return 1;; esac
    echo "$pid"
}
nodes() { ls "$DIR/nodes" 2>/dev/null; }
node_ip() { cat "$DIR/nodes/$1/ip"; }

# bounded wait: wait_for SECONDS command...
wait_for() { local t=$((SECONDS+$1)); shift; until "$@"; do [ $SECONDS -lt $t ] || return 1; sleep 0.1; done; }

# Run detached from the caller: own session, no inherited descriptor (a caller's
# pipe must not stay open), a clean environment. NOVA_EVAC_LAB_PART marks what is
# the lab's own, for the sweep in down.sh. LAST is its pid.
close_fds() { local fd; for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done 2>/dev/null; }
detached() {  # detached LOG [VAR=VALUE...] COMMAND...
    local log=$1; shift
    ( close_fds
      cd /
      exec setsid env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
          NOVA_EVAC_LAB="$LAB" NOVA_EVAC_NET="$NET" NOVA_EVAC_TOKEN="$TOKEN" NOVA_EVAC_CACHE="$CACHE" \
          NOVA_EVAC_LAB_PART="$DIR" "$@"
    ) </dev/null >>"$log" 2>&1 &
    LAST=$!; disown
}
pid_save() { printf '%s %s\n' "$2" "$(starttime "$2")" >"$1.tmp" && mv "$1.tmp" "$1"; }   # FILE PID
# is the process of a pid file still that process, and no zombie?
pid_alive() {  # FILE
    local pid st s
    read -r pid st 2>/dev/null <"$1" || return 1
    s=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
    s=${s##*) }; set -- $s
    [ "${20}" = "$st" ] && case $1 in Z|X) return 1;; esac
}
pid_gone() { ! pid_alive "$1"; }
# end the process of a pid file, if it still is that process, and its group where
# it leads one (what detached started does)
pid_kill() {  # FILE [SIGNAL [SECONDS]]
    local pid st sig=${2:-KILL} to=
    [ -e "$1" ] || return 0
    if pid_alive "$1"; then
        read -r pid st <"$1"; to=$pid
        [ "$(ps -o pgid= -p "$pid" 2>/dev/null | tr -d ' ')" = "$pid" ] && to=-$pid
        kill -"$sig" -- "$to" 2>/dev/null
        wait_for "${3:-10}" pid_gone "$1" || { kill -KILL -- "$to" 2>/dev/null; wait_for 10 pid_gone "$1" || return 1; }
    fi
    rm -f "$1"
}

# ---- the cloud -----------------------------------------------------------
cloud() { cat "$DIR/cloud" 2>/dev/null || echo none; }
auth_url() { case ${1:-$(cloud)} in nova) echo "http://$CLOUD_IP:15000/v3";; *) echo "http://$CLOUD_IP:5000/v3";; esac; }
in_cloud() { nsenter --net="/run/netns/$CLOUD_NS" -- "$@"; }
cloud_net() {
    [ -e "/run/netns/$CLOUD_NS" ] && return
    ip netns add "$CLOUD_NS" &&
    in_cloud sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 &&
    ip -n "$HUB" link add p-cloud type veth peer name eth0 address 02:70:00:00:00:fa netns "$CLOUD_NS" &&
    ip -n "$HUB" link set p-cloud master br0 up &&
    ip -n "$CLOUD_NS" link set lo up &&
    ip -n "$CLOUD_NS" addr add "$CLOUD_IP/24" dev eth0 &&
    ip -n "$CLOUD_NS" link set eth0 up
}
# the effect of a compute host's power on its nova-compute and its guests
cloud_power() {  # on|off NODE
    case $2 in compute-*) ;; *) return 0;; esac
    local out body="{\"power\":\"$1\"}" gated=
    [ "$1" = on ] && [ -e "$DIR/gated" ] && gated=1 body='{"power":"on","compute":"held"}'
    case $(cloud) in
    novasim) out=$(in_cloud curl -sS --noproxy '*' -m 10 -f -X POST -H 'Content-Type: application/json' \
                 -d "$body" "http://$CLOUD_IP:5000/control/hosts/$2" 2>&1) ||
                 { echo "novasim, power $1 of $2: $out" >&2; return 1; };;
    nova) case $1 in
          off) "$LABDIR/nova/compute.sh" kill "$2" && "$LABDIR/nova/compute.sh" wipe "$2";;
          on)  [ -n "$gated" ] || pid_alive "$DIR/nova/pid/$2" || "$LABDIR/nova/compute.sh" start "$2" --nowait;;
          esac;;
    esac || return 1
    [ -z "$gated" ] || detached "$DIR/nodes/$2/gate.log" "$LABDIR/gate.sh" start "$2"
}

# ---- network -------------------------------------------------------------
hub_up() {
    ip netns add "$HUB" || return 1
    nsenter --net="/run/netns/$HUB" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    ip -n "$HUB" link set lo up
    # An explicit MAC, else the bridge takes the lowest of its ports' and changes
    # it whenever a node is powered: the BMC then seems dead for 10-30 s (ARP).
    ip -n "$HUB" link add br0 address 02:70:00:00:00:fe type bridge stp_state 0 forward_delay 0
    ip -n "$HUB" addr add "$BMC_IP/24" dev br0
    ip -n "$HUB" link set br0 up
}
mac() { local a; IFS=. read -ra a <<<"$(node_ip "$1")"; printf '02:70:%02x:%02x:%02x:%02x' "${a[@]}"; }
port() { printf 'p-%s' "$1"; }               # hub side of a node's veth
net_create() {  # NAME: a fresh netns, wired to the bridge
    local ns=$LAB-$1
    net_destroy "$1"
    ip netns add "$ns" &&
    nsenter --net="/run/netns/$ns" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 &&
    # A fixed MAC per node: with a new one at each power-on, peers would keep
    # sending to the old one until their ARP entry expires (10-40 s).
    ip -n "$HUB" link add "$(port "$1")" type veth peer name eth0 address "$(mac "$1")" netns "$ns" &&
    ip -n "$HUB" link set "$(port "$1")" master br0 up &&
    ip -n "$ns" link set lo up &&
    ip -n "$ns" addr add "$(node_ip "$1")/24" dev eth0 &&
    ip -n "$ns" link set eth0 up
}
net_destroy() {
    # Delete the veth explicitly: a leaked reference to the netns (a mount in
    # some other mount namespace) must not keep the address answering.
    ip -n "$HUB" link del "$(port "$1")" 2>/dev/null
    ip netns del "$LAB-$1" 2>/dev/null
    return 0
}
link_set() { ip -n "$HUB" link set "$(port "$1")" "$2"; }   # unplug/replug the cable

# ---- node power ----------------------------------------------------------
node_define() {  # NAME IP ROLE(ctl|remote): creates its "disk"
    local d=$DIR/nodes/$1
    mkdir -p "$d"/disk/{etc-corosync,etc-pacemaker,var-lib-corosync,var-lib-pacemaker,var-log,root}
    echo "$2" >"$d/ip"; echo "$3" >"$d/role"; echo "$1" >"$d/hostname"
    cp -a /etc/corosync/uidgid.d "$d/disk/etc-corosync/" 2>/dev/null
    chown root:haclient "$d/disk/etc-pacemaker"; chmod 750 "$d/disk/etc-pacemaker"
    install -m 640 -o root -g haclient "$DIR/authkey" "$d/disk/etc-pacemaker/authkey"
    local s; for s in blackbox cib cores pengine; do
        install -d -m 750 -o hacluster -g haclient "$d/disk/var-lib-pacemaker/$s"; done
    install -d -m 770 -o hacluster -g haclient "$d/disk/var-log/pacemaker"
    install -d "$d/disk/var-log/corosync" "$d/disk/var-log/cluster" "$d/disk/var-log/pcsd"
    install -d -m 775 -o hacluster -g haclient "$d/disk/var-log/crmsh"   # crmsh dies without it
}
node_on() {
    local n=$1 d=$DIR/nodes/$1
    [ -d "$d" ] || { echo "no such node $n" >&2; return 1; }
    node_pid "$n" >/dev/null && return 0
    rm -f "$d/pid"
    net_create "$n" || return 1
    detached "$d/console.log" nsenter --net="/run/netns/$LAB-$n" \
        unshare --mount --uts --ipc --pid --fork --kill-child=SIGKILL --propagation private \
        "$LABDIR/cluster/node-init" "$DIR" "$n"
    wait_for 10 test -s "$d/pid" || { echo "node $n did not start, see $d/console.log" >&2; return 1; }
}
node_kill() {  # abrupt: SIGKILL to pid 1 of the pid namespace kills all of it
    local pid; pid=$(node_pid "$1") || return 0
    kill -9 "$pid" 2>/dev/null
    wait_for 10 node_dead "$1"
}
node_dead() { ! node_pid "$1" >/dev/null; }
# one power action at a time per node: fd 9, which whatever lives longer must close
power_lock() { exec 9>"$DIR/nodes/$1/power.lock"; flock -w 30 9 || die "another power action on $1 has run for 30 s"; }
node_off() {  # power cut: unplug first, so that no FIN/RST/ICMP betrays the death
    link_set "$1" down 2>/dev/null
    node_kill "$1" || return 1
    net_destroy "$1"          # else VIPs would survive in the netns
    rm -f "$DIR/nodes/$1/pid"
}
