#!/bin/bash
# logs.sh DIR: copy all logs of the lab there: each node's, the BMC's, the cloud's.
. "$(dirname "$0")/cluster/lib.sh"
to=${1:?usage: logs.sh DIR}
[ -d "$DIR" ] || die "lab $LAB is not up"
mkdir -p "$to" || exit 1
for n in $(nodes); do
    mkdir -p "$to/$n"
    cp -r "$DIR/nodes/$n/disk/var-log/." "$DIR/nodes/$n/console.log" "$to/$n/" || rc=1
done 2>/dev/null
for f in bmc.log novasim.log watchdog.log; do [ ! -e "$DIR/$f" ] || cp "$DIR/$f" "$to/"; done
[ ! -d "$DIR/nova/log" ] || { mkdir -p "$to/nova" && cp -r "$DIR/nova/log/." "$to/nova/"; }
exit "${rc:-0}"
