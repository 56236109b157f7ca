#!/bin/bash
# gate.sh on|off: from now on nova-compute of a compute host that is powered on starts
# behind the gate, as with the systemd drop-in, or at once.
# gate.sh start NODE: like the drop-in, run the gate, then nova-compute.
. "$(dirname "$0")/cluster/lib.sh"
[ -d "$DIR/nodes" ] || die "lab $LAB is not up"
case ${1:-} in
on)  touch "$DIR/gated";;
off) rm -f "$DIR/gated";;
start)
    "$LABDIR/exec.sh" "$2" nova-evac gate --host "$2" --timeout 10m || exit
    case $(cloud) in
    novasim) in_cloud curl -sS --noproxy '*' -m 10 -f -X POST -H 'Content-Type: application/json' \
                 -d '{"compute":"start"}' "http://$CLOUD_IP:5000/control/hosts/$2";;
    nova)    "$LABDIR/nova/compute.sh" start "$2" --nowait;;
    esac;;
*)  die "usage: gate.sh on|off|start NODE";;
esac
