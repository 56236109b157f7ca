#!/bin/bash
# exec.sh NODE CMD... - run a command inside a node (all of its namespaces)
. "$(dirname "$0")/cluster/lib.sh"
n=${1:?usage: exec.sh NODE CMD...}; shift
pid=$(node_pid "$n") || die "$n is not running"
t=; [ -t 0 ] && t=${TERM:-xterm}
exec nsenter -t "$pid" -m -u -i -n -p -- env -i -C / \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root LC_ALL=C.UTF-8 TERM="${t:-dumb}" \
    "${@:-bash}"
