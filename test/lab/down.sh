#!/bin/bash
# down.sh - end every process of the lab (identity checked), remove its namespaces
# and its state. Idempotent; NOVA_EVAC_KEEP_LOGS=DIR copies the logs first.
. "$(dirname "$0")/cluster/lib.sh"
rc=0
[ -z "${NOVA_EVAC_KEEP_LOGS:-}" ] || [ ! -d "$DIR" ] || "$LABDIR/logs.sh" "$NOVA_EVAC_KEEP_LOGS" || echo "not all logs were kept" >&2
# End the watchdog first, or it takes a new lab of this name down (unless it became this
# very process). Then end the BMC, or it may power a node back on.
read -r w _ 2>/dev/null <"$DIR/watchdog.pid"; [ "${w:-}" = $$ ] || pid_kill "$DIR/watchdog.pid" || rc=1
# a bring-up whose owner is gone: it must not go on behind our back
if [ "${w:-}" = $$ ]; then pid_kill "$DIR/up.pid" KILL || rc=1; fi
pid_kill "$DIR/bmc.pid" || rc=1
pid_kill "$DIR/novasim.pid" || rc=1
for n in $(nodes); do node_kill "$n" || { echo "node $n will not die" >&2; rc=1; }; done
[ ! -d "$DIR/nova/pid" ] || "$LABDIR/nova/down.sh" || rc=1
# End all other processes of the lab: each carries a mark in its environment. Spare this
# process and its ancestors.
declare -A spare=()
p=$$
while [ "${p:-0}" -gt 1 ]; do spare[$p]=1; s=$(cat "/proc/$p/stat" 2>/dev/null) || break; s=${s##*) }; set -- $s; p=$2; done
for ((i=0;i<10;i++)); do        # again: one of them may just have started another
    found=
    for e in /proc/[0-9]*/environ; do
        p=${e#/proc/}; p=${p%/environ}
        [ -z "${spare[$p]:-}" ] && grep -qzFx "NOVA_EVAC_LAB_PART=$DIR" "$e" 2>/dev/null && kill -KILL "$p" 2>/dev/null && found=1
    done
    [ -n "$found" ] || break
    sleep 0.1
done
for n in $(nodes); do net_destroy "$n"; done
for ns in /run/netns/"$LAB"-*; do
    [ ! -e "$ns" ] || ip netns del "${ns##*/}" || rc=1
done
rm -rf "${DIR:?}" || { sleep 0.5; rm -rf "${DIR:?}" || rc=1; }
exit $rc
