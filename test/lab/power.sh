#!/bin/bash
# power.sh on|off|reboot|status NODE - act as the node's BMC. The hypervisor of a compute
# host (its nova-compute, its guests) lives and dies with its power.
. "$(dirname "$0")/cluster/lib.sh"
[ -d "$DIR/nodes/${2:?usage: power.sh on|off|reboot|status NODE}" ] || die "no such node $2"
[ "${1:-}" = status ] || power_lock "$2"
off() { node_off "$1" 9>&- && cloud_power off "$1" 9>&-; }
on() {
    node_pid "$1" >/dev/null && return
    node_on "$1" 9>&- && cloud_power on "$1" 9>&-
}
case ${1:-} in
on)     on "$2";;
off)    off "$2";;
reboot) off "$2" && on "$2";;
status) if node_pid "$2" >/dev/null; then echo on; else echo off; fi;;
*)      die "usage: power.sh on|off|reboot|status NODE";;
esac
