#!/bin/bash
# cloud.sh [ARGS...]: start the lab's cloud in its own namespace. A running novasim is
# ended, and a new one started with these ARGS. The new cloud keeps nothing but the power
# of the hosts.
. "$(dirname "$0")/cluster/lib.sh"
[ -d "$DIR/nodes" ] || die "lab $LAB is not up"
cloud_net || die "no network for the cloud"
case $(cloud) in
novasim)
    pid_kill "$DIR/novasim.pid" || die "novasim does not end"
    rm -f "$DIR/novasim.url"
    remotes=$(nodes | grep -c ^compute-)
    detached "$DIR/novasim.log" nsenter --net="/run/netns/$CLOUD_NS" "$DIR/novasim" --listen "$CLOUD_IP:5000" \
        --hosts "$(seq -s, -f compute-%.0f $((remotes + 1)))" --ready-file "$DIR/novasim.url" "$@"
    pid_save "$DIR/novasim.pid" "$LAST"
    for ((i=0;i<100;i++)); do [ -s "$DIR/novasim.url" ] && break; pid_alive "$DIR/novasim.pid" || break; sleep 0.1; done
    [ -s "$DIR/novasim.url" ] || { tail -5 "$DIR/novasim.log" >&2; die "novasim did not come up in 10 s"; }
    for n in $(nodes); do
        if [ -e "$DIR/booted" ] && node_dead "$n"; then cloud_power off "$n" || exit 1; fi
    done;;
nova) "$LABDIR/nova/up.sh" "$@" || exit 1;;
esac
