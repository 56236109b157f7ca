# Sourced by every script: where things live and which ports are used. All of it runs
# inside the network namespace of the lab's cloud, with a loopback of its own, so the
# ports are fixed; keystone, nova and placement listen at CLOUD_IP too.
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
NOVA=$LABDIR/nova
RUN=$DIR/nova                   # everything mutable
SEED=$CACHE/seed-$NET           # bootstrapped MariaDB and fernet keys; they hold NET's addresses
PY=/usr/bin/python3             # Debian's python: another one on PATH has no nova

P_KEYSTONE=15000 P_NOVA=18774 P_PLACEMENT=18778 P_GLANCE=19292 P_NEUTRON=19696
P_RABBIT=15672 P_RABBIT_DIST=15673 P_EPMD=14369

ADMIN_PASS=secret

# Clusters come first: corosync loses its token where a Nova that starts has every CPU.
renice -n 10 $$ >/dev/null

COMPUTES="compute-1 compute-2 compute-3 compute-4"
TOKEN_EXPIRATION=${TOKEN_EXPIRATION:-3600}   # seconds, keystone [token]expiration
SERVICE_DOWN_TIME=${SERVICE_DOWN_TIME:-60}   # nova's default; forced_down does not wait for it
REPORT_INTERVAL=${REPORT_INTERVAL:-10}       # nova's default

export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$NOVA/py LC_ALL=C.UTF-8
export OS_AUTH_URL=http://127.0.0.1:$P_KEYSTONE/v3 OS_USERNAME=admin OS_PASSWORD=$ADMIN_PASS \
       OS_PROJECT_NAME=admin OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default \
       OS_REGION_NAME=RegionOne OS_IDENTITY_API_VERSION=3

# Go on inside the cloud's network namespace: inside "$0" "$@"
inside() {
    [ -e "/run/netns/$CLOUD_NS" ] || die "lab $LAB has no cloud"
    [ "$(stat -L -c %i /proc/self/ns/net)" = "$(stat -L -c %i "/run/netns/$CLOUD_NS")" ] ||
        exec nsenter --net="/run/netns/$CLOUD_NS" -- "$@"
}
# start NAME [VAR=VALUE...] CMD...: in the background; log and pid under $RUN
start() {
    local name=$1; shift
    detached "$RUN/log/$name.log" "$@"
    pid_save "$RUN/pid/$name" "$LAST"
}
alive() { pid_alive "$RUN/pid/$1"; }
stop() { pid_kill "$RUN/pid/$1" "${2:-TERM}" "${3:-10}"; }      # NAME [SIGNAL [SECONDS]]
wait_port() {   # wait_port PORT SECONDS [NAME]: that NAME, if given, must stay alive
    local i
    for i in $(seq $(( $2 * 10 ))); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
        [ -z "${3:-}" ] || alive "$3" || { echo "$3 has ended:" >&2; tail -5 "$RUN/log/$3.log" >&2; return 1; }
        sleep 0.1
    done
    echo "nothing answers on 127.0.0.1:$1 after $2 s" >&2; return 1
}
wait_http() {   # wait_http PORT PATH SECONDS NAME
    local i
    for i in $(seq $(( $3 * 10 ))); do
        curl -s --noproxy '*' -m 10 -o /dev/null -f "http://127.0.0.1:$1$2" && return 0
        alive "$4" || { echo "$4 has ended:" >&2; tail -5 "$RUN/log/$4.log" >&2; return 1; }
        sleep 0.1
    done
    echo "no good answer from http://127.0.0.1:$1$2 after $3 s; the last lines of $4:" >&2; tail -5 "$RUN/log/$4.log" >&2; return 1
}
