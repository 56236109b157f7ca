#!/bin/bash
# kill-node.sh NODE [crash|power|unplug|replug|freeze|thaw]
#   crash  (default) kill -9 the node's init: every process of it dies at once,
#          its network namespace (addresses!) stays until it is fenced
#   power  power cut: cable first, then the same, then the addresses are gone
#   unplug / replug  the cable only: the node runs on, isolated
#   freeze / thaw    SIGSTOP / SIGCONT every process of the node
. "$(dirname "$0")/cluster/lib.sh"
n=${1:?usage: kill-node.sh NODE [mode]}
[ -d "$DIR/nodes/$n" ] || die "no such node $n"
all() { local p; p=$(node_pid "$n") || die "$n is not running"
        local ns; ns=$(readlink "/proc/$p/ns/pid"); local q
        for q in /proc/[0-9]*; do [ "$(readlink "$q/ns/pid" 2>/dev/null)" = "$ns" ] && echo "${q#/proc/}"; done; true; }
case ${2:-crash} in
crash)  power_lock "$n"; node_kill "$n" && cloud_power off "$n" 9>&-;;
power)  "$LABDIR/power.sh" off "$n";;
unplug) link_set "$n" down;;
replug) link_set "$n" up;;
freeze) pids=$(all) || exit 1; for p in $pids; do kill -STOP "$p" 2>/dev/null; done; true;;
thaw)   pids=$(all) || exit 1; for p in $pids; do kill -CONT "$p" 2>/dev/null; done; true;;
*) die "unknown mode $2";;
esac
