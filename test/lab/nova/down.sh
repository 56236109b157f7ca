#!/bin/bash
# down.sh: end everything that up.sh and compute.sh started (by the pids they recorded).
. "$(dirname "$0")/env.sh"
[ -d "$RUN/pid" ] || exit 0
rc=0
for f in "$RUN"/pid/*; do
    n=$(basename "$f"); case $n in mariadb|epmd|'*') ;; *) stop "$n" KILL || rc=1;; esac
done
# a seed must be whole: mariadb flushes at its end
if [ "${1:-}" = --clean ]; then stop mariadb TERM 30 || rc=1; else stop mariadb KILL || rc=1; fi
stop epmd KILL || rc=1
exit $rc
