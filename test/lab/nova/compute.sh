#!/bin/bash
# compute.sh start NAME [--nowait] | kill NAME (SIGKILL) | stop NAME (SIGTERM) | wipe NAME
#            ctl NAME KNOB [VALUE|-]   set a driver knob ('-' removes it)  | guests NAME | status
#   wipe: forget the host's guests, as if its power had gone.  Knobs: see py/labdrv.py
. "$(dirname "$0")/env.sh"
inside "$0" "$@"
cmd=${1:-status} name=${2:-}
[ -d "$RUN" ] || die "the lab $LAB has no real Nova"
if [ "$cmd" != status ]; then
    [ -n "$name" ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }
    case " $COMPUTES " in *" $name "*) ;; *) die "no such compute host: $name";; esac
fi
S=$RUN/state/$name
case $cmd in
start)
    alive "$name" && { echo "$name already runs" >&2; exit 1; }
    mkdir -p "$S/ctl"
    # The host's identity, which its Nova refuses to make where it knows the host already, as
    # from a seed. Zed has none, and does not read it.
    [ -s "$S/compute_id" ] || $PY -c 'import sys, uuid; print(uuid.uuid5(uuid.NAMESPACE_DNS, sys.argv[1]))' "$name" >"$S/compute_id" || die "identity of $name"
    resume=false; [ ! -e "$S/ctl/resume_guests" ] || resume=true
    printf '[DEFAULT]\nhost = %s\nstate_path = %s\nresume_guests_state_on_host_boot = %s\n[oslo_concurrency]\nlock_path = %s/lock\n' \
        "$name" "$S" "$resume" "$S" >"$RUN/etc/$name.conf"
    at=$(( $(stat -c %s "$RUN/log/$name.log" 2>/dev/null || echo 0) + 1 ))
    start "$name" $PY "$NOVA/py/launch.py" nova-compute --config-file "$RUN/etc/nova.conf" --config-file "$RUN/etc/$name.conf"
    [ "${3:-}" = --nowait ] && exit 0
    for i in $(seq 600); do
        alive "$name" || { echo "$name has ended:" >&2; tail -3 "$RUN/log/$name.log" >&2; exit 1; }
        # the log line that follows init_host (evacuated guests are cleaned up before it)
        grep -q 'Looking for unclaimed instances' < <(tail -c "+$at" "$RUN/log/$name.log") && exit 0
        sleep 0.1
    done
    echo "$name did not come up in 60 s, its last line: $(tail -1 "$RUN/log/$name.log")" >&2; exit 1 ;;
kill)   stop "$name" KILL ;;
stop)   stop "$name" TERM 60 ;;
wipe)   rm -f "$S/guests.json" ;;
guests) cat "$S/guests.json" 2>/dev/null || echo '{}' ;;
ctl)    mkdir -p "$S/ctl"
        if [ "${4:-}" = - ]; then rm -f "$S/ctl/${3:?knob}"
        else printf '%s\n' "${4:-}" >"$S/${3:?knob}.new" && mv "$S/$3.new" "$S/ctl/$3"; fi ;;
status) for c in $COMPUTES; do if alive "$c"; then echo "$c up $(cat "$RUN/pid/$c")"; else echo "$c down"; fi; done ;;
*)      sed -n '2,4s/^# //p' "$0"; exit 2 ;;
esac
